"""What every subject has in common: where it runs, how it is started, and what its clients say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
