"""How this side speaks back to the exchange that uses it; the relay implements all three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mcpgate.errors import GatewayError
from mcpgate.exchange import Ended, Exchange
from mcpgate.wire.http1 import AnswerHead

if TYPE_CHECKING:
    from mcpgate.upstream.connection import UpstreamConnection
    from mcpgate.upstream.pool import Replica


class Caller(Protocol):
    """Who wants a connection: the relay of an exchange."""

    def take_connection(self, connection: UpstreamConnection, fresh: bool) -> None:
        """A connection, open and idle; ``fresh`` if it was made for this caller."""

    def fail_connection(self, error: GatewayError) -> None:
        """There is none to be had. Nothing was sent."""


class AnswerSink(Protocol):
    """Who takes an answer: the relay of the exchange that the connection carries."""

    def take_interim(self, head: AnswerHead) -> None:
        """A 1xx answer other than 100 and 101."""

    def take_head(self, head: AnswerHead, body: bytes, ended: bool) -> None:
        """The final head, the first body bytes, and whether they are all of it."""

    def take_answer(self, data: bytes) -> None:
        """Payload of the body."""

    def end_answer(self) -> None:
        """The body ended where its framing says."""

    def lose_upstream(self, error: GatewayError, untouched: bool) -> None:
        """
        The connection ended too early, or its bytes are no HTTP.

        :param untouched: no byte of an answer was seen, so an idempotent request may be sent again.
        """

    def time_out_upstream(self) -> None:
        """The deadline that the relay set on the connection has passed."""

    def pause_request(self) -> None:
        """The upstream takes no more for now."""

    def resume_request(self) -> None:
        """The upstream takes bytes again."""


class OpenExchange(Protocol):
    """An exchange that is under way: a relay."""

    exchange: Exchange

    @property
    def replica(self) -> Replica:
        """Where it goes."""

    def cut(self, ended: Ended, error: GatewayError) -> None:
        """End it: answered with the error if it still can be, else visibly unfinished."""

    def count_bytes(self) -> None:
        """Bring the record of bytes up to what has gone through."""

    def tell(self, event: bytes) -> bool:
        """Put an event of ours into an open stream; false if it stands within another, or its client takes none."""
