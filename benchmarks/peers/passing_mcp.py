"""A peer that passes bytes, asked with real MCP: what ends MCP elsewhere goes through it to the server behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.mcp_load import is_answering
from benchmarks.peers.ground import PATH, Endpoint, Ground, Peer
from benchmarks.peers.mcp_ground import UPSTREAM_MODULE


@dataclass(frozen=True)
class Passing:
    """The same peer, set up as for every other question, with the MCP server behind it."""

    peer: Peer
    upstream_module: str = UPSTREAM_MODULE
    start_timeout_s: float = 20.0

    @property
    def name(self) -> str:
        """The peer's own."""
        return self.peer.name

    def command(self, ground: Ground) -> list[str]:
        """
        Do what the peer does.

        :raises PeerMissing: if it is not installed.
        """
        return self.peer.command(ground)

    def environment(self) -> Mapping[str, str]:
        """Return the peer's own."""
        return self.peer.environment()

    def client_fields(self, ground: Ground) -> bytes:
        """Return the peer's own, without the session: here the server gives one to each client."""
        lines = self.peer.client_fields(ground).splitlines(keepends=True)
        return b"".join(line for line in lines if not line.lower().startswith(b"mcp-session-id:"))

    def endpoint(self, ground: Ground) -> Endpoint:
        """Return the address that every question asks; what passes bytes speaks what its server speaks."""
        return Endpoint(ground.port, f"{PATH}/mcp", self.client_fields(ground), stateless=True)

    def is_ready(self, ground: Ground) -> bool:
        """Ask it a whole conversation."""
        return is_answering(self.endpoint(ground))

    def version(self) -> str:
        """Return what the peer says of itself, if it does."""
        ask = getattr(self.peer, "version", None)
        return str(ask()) if ask else ""
