"""What every subject has in common: where it runs, how it is started, and what its clients say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from benchmarks import messages

PATH = "/mcp/bench"
ROOT = Path(__file__).resolve().parents[2]
#: By which clients say which session is theirs.
SESSION_FIELD = b"Mcp-Session-Id: %s\r\n" % messages.SESSION


class PeerMissing(Exception):
    """A subject cannot be measured because it is not installed here; the text says what to do."""


@dataclass(frozen=True)
class Ground:
    """Where one subject runs: its own folder, its ports, the upstream's port, and descriptors per process."""

    folder: Path
    port: int
    admin_port: int
    upstream_port: int
    descriptors: int


class Peer(Protocol):
    """Something that passes ``/mcp/bench/…`` on to the upstream's ``/…``."""

    @property
    def name(self) -> str:
        """The column it stands in."""

    def command(self, ground: Ground) -> list[str]:
        """Write the configuration and return the command that serves on ``ground.port`` in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Return what the command needs beyond the runner's own environment."""

    def client_fields(self, ground: Ground) -> bytes:
        """Return the header lines by which its clients say who they are and which session is theirs."""


class Bare:
    """What peers have in common that ask nobody who he is: their clients only name the session."""

    def environment(self) -> Mapping[str, str]:
        """Return nothing."""
        return {}

    def client_fields(self, ground: Ground) -> bytes:
        """Return the plain session."""
        return SESSION_FIELD


@dataclass(frozen=True)
class Endpoint:
    """
    Where a subject speaks MCP.

    :ivar fields: header lines by which its clients say who they are; which session is theirs it tells them itself.
    :ivar stateless: whether it speaks 2026-07-28, too.
    :ivar counted: what is counted besides the peer itself, to stand beside its figures.
    """

    port: int
    path: str
    fields: bytes = b""
    stateless: bool = False
    counted: str = ""


@runtime_checkable
class McpPeer(Peer, Protocol):
    """Something that is asked with real MCP only: it may end it, and bring a server of its own."""

    @property
    def upstream_module(self) -> str:
        """What runs as its upstream: ``python -m MODULE DESCRIPTOR``, the latter a listening socket."""

    @property
    def start_timeout_s(self) -> float:
        """How long it may take to start."""

    def endpoint(self, ground: Ground) -> Endpoint:
        """Return where it speaks MCP, once it is ready."""

    def is_ready(self, ground: Ground) -> bool:
        """
        Do what is to be done once it runs, and tell whether it answers. Asked again until it does.

        :raises OSError: if it does not listen yet.
        """
