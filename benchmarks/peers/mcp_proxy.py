"""
mcp-proxy of PyPI, which maps a server on stdio to HTTP: here `benchmarks.mcp_upstream --stdio`.

It knows no servers at an address but as a client on stdio, so that the server is its child and part of its tree: what
that costs is counted, too. All clients share the one session that it has with the server.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from benchmarks.mcp_load import is_answering
from benchmarks.peers.ground import ROOT, Endpoint, Ground
from benchmarks.peers.mcp_ground import START_TIMEOUT_S, SURROUNDINGS, UPSTREAM_MODULE, program_in, versions_in


class McpProxy:
    """One process with one loop, and the server as its child."""

    name = "mcp-proxy"
    upstream_module = UPSTREAM_MODULE
    start_timeout_s = START_TIMEOUT_S

    def command(self, ground: Ground) -> list[str]:
        """
        Return the command; it needs no configuration.

        :raises PeerMissing: if there is no mcp-proxy.
        """
        program = program_in("mcp-proxy", "mcp-proxy")
        own = ["--host", "127.0.0.1", "--port", f"{ground.port}", "--cwd", f"{ROOT}", "--log-level", "WARNING"]
        return [program, *own, "--", sys.executable, "-m", UPSTREAM_MODULE, "--stdio"]

    def environment(self) -> Mapping[str, str]:
        """Return nothing of its own."""
        return SURROUNDINGS

    def client_fields(self, ground: Ground) -> bytes:
        """Return nothing: anybody may call."""
        return b""

    def endpoint(self, ground: Ground) -> Endpoint:
        """Return the only address it has; it speaks of sessions only."""
        return Endpoint(ground.port, "/mcp", counted="with its server, a child")

    def is_ready(self, ground: Ground) -> bool:
        """Ask it a whole conversation."""
        return is_answering(self.endpoint(ground))

    def version(self) -> str:
        """
        Ask the packages.

        :raises PeerMissing: if there is no mcp-proxy.
        """
        return versions_in("mcp-proxy", "mcp-proxy", "mcp", "uvicorn")
