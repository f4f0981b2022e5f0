"""What of a server's answer is written anew for one client: session ids, challenges, what browsers are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mcpgate.policy.sessions import Bond, Seal
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
    :ivar session_query: the query by which the request named its session, opened; empty if it named none there.
    :ivar cors: header lines for a browser; empty for everybody else.
    """

    sealing: Sealing | None
    metadata_of: Callable[[bytes], bytes] | None
    cors: bytes
    session_query: bytes = b""

    def is_needed(self) -> bool:
        """Whether there is anything to change at all."""
        return self != _NOTHING

    def block(self, head: AnswerHead, block: bytes) -> bytes:
        """The header lines of an answer as this client gets them."""
        session, challenge = head.noted.get(b"mcp-session-id"), head.noted.get(b"www-authenticate")
        if self.sealing is not None and session is not None:
            sealed = self.sealing.seal.seal_id(session, self.sealing.bond)
            block = headers.without(block, _SESSION) + b"Mcp-Session-Id: %b\r\n" % sealed
        if self.session_query and b"location" in head.noted:
            block = b"".join(self._led_on(line) for line in block.splitlines(keepends=True))
        if self.metadata_of is not None and challenge is not None:
            rewritten = bearer.rewritten_challenge(challenge, self.metadata_of)
            block = headers.without(block, _CHALLENGE) + b"WWW-Authenticate: %b\r\n" % rewritten
        if self.cors:
            block = headers.without(block, cors.FIELDS) + self.cors
        return block

    def _led_on(self, line: bytes) -> bytes:
        """
        A redirect of a message within its session leads on: the address gets the seal that the request had.

        Only if it names the same session in the same words: whoever could have any address sealed by a redirect could
        have another's session.
        """
        name, colon, target = line.removesuffix(b"\r\n").partition(b": ")
        path, mark, query = target.partition(b"?")
        if name.lower() != b"location" or mark + query != self.session_query or not path.startswith(b"/"):
            return line
        return name + colon + self.endpoint(target) + b"\r\n"

    def endpoint(self, target: bytes) -> bytes:
        """The public address that a legacy stream announces, bound to this client."""
        return target if self.sealing is None else self.sealing.seal.seal_target(target, self.sealing.bond)


_NOTHING = Publication(None, None, b"")
