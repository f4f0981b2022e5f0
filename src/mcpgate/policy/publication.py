"""What of a server's answer is written anew for one client: session ids, challenges, what browsers are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mcpgate.policy.sessions import Bond, Seal, names_session
from mcpgate.wire import bearer, cors, headers
from mcpgate.wire.http1 import AnswerHead

_SESSION = frozenset({b"mcp-session-id"})
_CHALLENGE = frozenset({b"www-authenticate"})


class Sealing(NamedTuple):
    """With what, and to whom, the session ids of one replica are bound."""

    seal: Seal
    bond: Bond


class Publication(NamedTuple):
    """
    The changes that one client needs in the answers of one replica; kept with what else follows from its head.

    :ivar sealing: ``None`` where the server's own session ids pass.
    :ivar metadata_of: where the gateway publishes the RFC 9728 document that a server with its own OAuth has at an
        address; ``None`` for every other server.
    :ivar cors: header lines for a browser; empty for everybody else.
    """

    sealing: Sealing | None
    metadata_of: Callable[[bytes], bytes] | None
    cors: bytes

    def is_needed(self) -> bool:
        """Whether there is anything to change at all."""
        return self != _NOTHING

    def block(self, head: AnswerHead, block: bytes) -> bytes:
        """The header lines of an answer as this client gets them."""
        session, challenge = head.noted.get(b"mcp-session-id"), head.noted.get(b"www-authenticate")
        if self.sealing is not None and session is not None:
            sealed = self.sealing.seal.seal_id(session, self.sealing.bond)
            block = headers.without(block, _SESSION) + b"Mcp-Session-Id: %b\r\n" % sealed
        if self.sealing is not None and b"location" in head.noted:
            block = self._with_sealed_location(block)
        if self.metadata_of is not None and challenge is not None:
            rewritten = bearer.rewritten_challenge(challenge, self.metadata_of)
            block = headers.without(block, _CHALLENGE) + b"WWW-Authenticate: %b\r\n" % rewritten
        if self.cors:
            block = headers.without(block, cors.FIELDS) + self.cors
        return block

    def _with_sealed_location(self, block: bytes) -> bytes:
        """A redirect within a session leads on: an address of ours in it is bound to this client, too."""
        before, name, rest = block.rpartition(b"Location: ")
        target, end, after = rest.partition(b"\r\n")
        if not name or not target.startswith(b"/") or b"#" in target or not names_session(target):
            return block
        return before + name + self.endpoint(target) + end + after

    def endpoint(self, target: bytes) -> bytes:
        """The public address that a legacy stream announces, bound to this client."""
        return target if self.sealing is None else self.sealing.seal.seal_target(target, self.sealing.bond)


_NOTHING = Publication(None, None, b"")
