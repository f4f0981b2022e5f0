"""
One exchange: the record of a request and its answer, and the port through which the pipeline speaks to a client.

Both doors implement `Downstream`, and hand the pipeline a fresh `Exchange` for each request; neither the pipeline nor
the relay knows which door it was. Each phase sets only its own fields, once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mcpgate.errors import GatewayError
from mcpgate.wire.chunks import ChunkReader
from mcpgate.wire.http1 import RequestHead
from mcpgate.wire.operation import Operation, Result
from mcpgate.wire.traceparent import Trace

#: Stands for the address of whoever comes through a Unix socket.
UNIX_PEER = b"unix"


class Era(enum.Enum):
    """Which of MCP's three transports a request belongs to."""

    SSE = "sse"  # 2024-11-05
    SESSION = "session"  # 2025-03-26 to 2025-11-25
    STATELESS = "stateless"  # 2026-07-28 and later
    OTHER = "other"  # not MCP, or not told

    __hash__ = object.__hash__  # an Enum hashes its name, which takes 0.2 us more


class Ended(enum.Enum):
    """Why an exchange was over, as the access log says it."""

    COMPLETE = "complete"
    UPSTREAM_END = "upstream_end"  # of a stream
    REFUSED = "refused"
    CLIENT_GONE = "client_gone"
    UPSTREAM_LOST = "upstream_lost"
    IDLE = "idle"
    SEND_TIMEOUT = "send_timeout"
    DRAIN = "drain"
    REVOKED = "revoked"

    __hash__ = object.__hash__  # an Enum hashes its name, which takes 0.2 us more


#: Looking a member up in its class takes 0.1 us until Python 3.12.
_OTHER = Era.OTHER


@dataclass(frozen=True, slots=True)
class Peer:
    """
    Who is at the other end of a client connection.

    ``address`` is the socket's, as text on the wire (``unix`` for a Unix socket); ``is_trusted`` says whether it is a
    proxy whose forwarding fields count.
    """

    address: bytes
    scheme: bytes
    is_trusted: bool


class Exchange:
    """
    The record of one request and its answer.

    :ivar body: the request body, if all of it came with the head; then ``body_is_here`` is true.
    :ivar max_body_bytes: how much body the route admits; set when it is known, before any of it is read.
    :ivar client: the address of the client itself: behind trusted proxies not theirs.
    :ivar admin: whether it came in through the admin listener.
    :ivar principal: who asks, if that is known; ``grant`` is what the token gave, good until ``expires_s``.
    :ivar cors: header lines that a browser needs in any answer.
    :ivar was_held: it has waited for something, and its client has been kept waiting.
    :ivar awaited: the signing keys that it waited for are here, or cannot be had.
    :ivar charged: the limits have been paid; nothing is charged twice.
    :ivar on_end: gives back what it holds, once, when it is over.
    :ivar request_id: names it in answers, in logs and toward the upstream.
    :ivar trace: its place in a distributed trace, if it has one.
    :ivar operation: the message in its body, if that was seen; ``result`` how the answer says that it went.
    :ivar replica: where it went.
    :ivar sent_s: when its request was sent there; ``first_byte_s`` when its answer began, ``first_event_s`` when its
        stream had the first event; 0 if never.
    :ivar transport: of the stream that its answer is; empty if it is none.
    :ivar told_in: how many of its bytes have been counted while it went on; ``told_out`` likewise.
    """

    __slots__ = (
        "admin", "awaited", "body", "body_is_here", "bytes_in", "bytes_out", "charged", "client", "cors", "ended",
        "era", "error", "expires_s", "first_byte_s", "first_event_s", "grant", "head", "max_body_bytes", "on_end",
        "operation", "peer", "principal", "replica", "request_id", "result", "sent_s", "server", "started_s",
        "status", "told_in", "told_out", "trace", "transport", "was_held",
    )  # fmt: skip

    def __init__(self, head: RequestHead, peer: Peer, started_s: float, admin: bool = False) -> None:
        self.head = head
        self.peer = peer
        self.client = peer.address
        self.started_s = started_s
        self.admin = admin
        self.body = b""
        self.body_is_here = not head.has_body
        self.max_body_bytes = 0
        self.server = self.principal = ""
        self.grant: object = None
        self.expires_s = math.inf
        self.cors = b""
        self.awaited = self.charged = self.was_held = False
        self.on_end: Callable[[], None] | None = None
        self.era = _OTHER
        self.status = 0
        self.error: GatewayError | None = None
        self.ended: Ended | None = None
        self.bytes_in = self.bytes_out = self.told_in = self.told_out = 0
        self.request_id = b""
        self.trace: Trace | None = None
        self.operation: Operation | None = None
        self.result: Result | None = None
        self.replica = self.transport = ""
        self.sent_s = self.first_byte_s = self.first_event_s = 0.0

    def __repr__(self) -> str:
        return f"<Exchange {self.head.method!r} {self.head.path!r} {self.status} {self.ended}>"


@dataclass(slots=True)
class Answer:
    """
    The head of an answer on its way to the client.

    ``block`` holds the field lines without framing, which is the door's matter: it writes a length if ``length`` is
    known, else chunks or until close. ``has_body`` is false for HEAD, 204 and 304, whose ``length`` is only told.
    ``closes`` asks the door not to keep the connection. ``lines`` is the door's, to keep what it writes for an answer
    that comes again.
    """

    status: int
    phrase: bytes
    block: bytes
    length: int | None = None
    has_body: bool = True
    is_stream: bool = False
    closes: bool = False
    lines: tuple[bytes, bytes] | None = None


class RequestSink(Protocol):
    """Who takes what the client sends: the relay, or a local resource."""

    def take_body(self, data: bytes) -> None:
        """The next bytes of the request body, unframed; never empty."""

    def end_body(self) -> None:
        """The request body is complete."""

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        """
        The client is gone, or what it sends cannot go on.

        :param error: set if the client can still be answered and nothing has been answered yet.
        """

    def pause_answer(self) -> None:
        """The client takes no more for now."""

    def resume_answer(self) -> None:
        """The client takes bytes again."""

    def take_tunnel(self, data: bytes) -> None:
        """Bytes of an upgraded connection."""


class Pipe(Protocol):
    """Sends bytes as they are."""

    def write(self, data: bytes) -> None:
        """Send them."""


class Downstream(Protocol):
    """
    The client's side of one exchange, as the pipeline and the relay see it.

    Order of calls: `attach` first (again if somebody else takes over), `read_body` at most once, `start` once, then
    `write` or `pipe_from`, then `finish` or `abort`. After `finish`, `abort` or a `lose_client` without an error the
    exchange is over and nothing may be called any more.
    """

    #: Whether `pipe_from` may be used: the client speaks HTTP/1.1 and gets this answer in chunks.
    forwards_chunks: bool

    def attach(self, sink: RequestSink) -> None:
        """Tell ``sink``, and nobody else, from now on what the client does; before anything else."""

    def read_body(self) -> None:
        """Deliver the request body from now on, after a ``100 Continue`` if the client waits for one."""

    def inform(self, answer: Answer) -> None:
        """Send an interim (1xx) head, if this door can."""

    def start(self, answer: Answer, body: bytes = b"", ended: bool = False) -> None:
        """Send the head, with the first bytes of the body; ``ended`` if they are all of it (then it is finished)."""

    def write(self, data: bytes) -> None:
        """Send payload bytes in the framing that `start` chose."""

    def pipe_from(self, reader: ChunkReader) -> Pipe:
        """
        What sends whole chunks as they are, with nothing in between; only if `forwards_chunks`.

        :param reader: counts them on their way.
        """

    def finish(self) -> None:
        """The answer is complete."""

    def abort(self) -> None:
        """Cut the connection so that the client sees an unfinished answer."""

    def pause_body(self) -> None:
        """The upstream takes no more of the request body for now."""

    def resume_body(self) -> None:
        """The upstream takes bytes again."""

    def open_tunnel(self, answer: Answer, first: bytes) -> None:
        """Answer 101 and pass bytes both ways from now on."""


class Outcome(Protocol):
    """Where a relay's exchange ends up: the pipeline."""

    def refuse(self, exchange: Exchange, port: Downstream, error: GatewayError) -> None:
        """Answer with an error; nothing has been answered yet. Records the exchange."""

    def open_stream(self, exchange: Exchange) -> None:
        """Its answer is a stream from now on; ``transport`` says which."""

    def first_event(self, exchange: Exchange) -> None:
        """The stream has had its first event, at ``first_event_s``."""

    def record(self, exchange: Exchange, ended: Ended) -> None:
        """The exchange is over."""

    def let_go(self, exchange: Exchange) -> None:
        """Its body is kept no longer, though it goes on."""
