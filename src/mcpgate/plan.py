"""Where one request goes and how its answer is read: what the phases before the relay tell it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from mcpgate.upstream.server import Placement, Server
from mcpgate.wire.http1 import AnswerHead


class Publication(Protocol):
    """What of an answer is written anew for this client (`policy/publication.py`)."""

    def block(self, head: AnswerHead, block: bytes) -> bytes:
        """The header lines of an answer."""

    def endpoint(self, target: bytes) -> bytes:
        """The public address that a legacy stream announces."""


class Plan(NamedTuple):
    """What was decided from a head: where it goes, and how the answer is read. Without ``publication`` it passes."""

    server: Server
    placement: Placement
    target: bytes
    holds_first_event: bool
    publication: Publication | None = None
