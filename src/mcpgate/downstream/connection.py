"""
The fast door: one HTTP/1.1 connection of a client (RFC 9112), one exchange at a time.

It cuts a head, gives the exchange to the pipeline, hands on the body, and frames the answer. Pipelined requests wait
in a bounded buffer. Reading goes on during an answer, so that a client that leaves is noticed at once; on a stream,
where nothing may come, bytes are an error.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.downstream.body import RequestBody
from mcpgate.downstream.framing import frame, lines_around_id
from mcpgate.downstream.intake import Intake
from mcpgate.errors import BadRequest, GatewayError, RequestTimeout
from mcpgate.exchange import Answer, Ended, Exchange, Peer, Pipe, RequestSink
from mcpgate.net.deadlines import NEVER_S, Watched
from mcpgate.net.transports import (
    StreamTransport,
    closes_at_once,
    is_cut,
    is_encrypted,
    lose_write,
    reset,
    send_at_once,
    unsent_bytes,
)
from mcpgate.policy.pace import BodyPace, TakingPace
from mcpgate.wire.chunks import LAST_CHUNK, ChunkReader, chunk
from mcpgate.wire.http1 import RequestHead

if TYPE_CHECKING:
    from mcpgate.downstream.listener import Door

#: Input that may wait: for the upstream connection, or for the answer before it (pipelining).
_WAITING_BYTES = 64 * 1024
#: How long a refused client may go on sending before the connection is cut; without the wait the kernel's reset
#: could overtake the answer (RFC 9112 section 9.6).
_LINGER_S = 2.0
#: How often the socket of a client that is not read is asked whether it was reset.
_PRESENCE_S = 1.0
#: Before it is known.
_NOBODY = Peer(b"", b"http", False)
#: Stands for a request that could not be read.
_NO_HEAD = RequestHead(b"", b"", True, b"", {}, keep_alive=False)


class Stage(enum.Enum):
    """
    ``HEAD`` while waiting for a request, ``EXCHANGE`` until its answer has ended, ``STREAM`` while the answer is an
    event stream, ``TUNNEL`` after a 101, ``LINGER`` after the last answer, ``CLOSED``.
    """

    HEAD = "head"
    EXCHANGE = "exchange"
    STREAM = "stream"
    TUNNEL = "tunnel"
    LINGER = "linger"
    CLOSED = "closed"


# Looking a member up in its class takes 0.1 us until Python 3.12, a name 0.01.
_HEAD, _EXCHANGE, _STREAM, _TUNNEL, _LINGER, _CLOSED = Stage

_STATES = {
    _HEAD: "idle",
    _EXCHANGE: "exchange",
    _STREAM: "stream",
    _TUNNEL: "tunnel",
    _LINGER: "closing",
    _CLOSED: "closing",
}


class Hold(enum.Enum):
    """Why the client is not read at the moment; it is read when there is no reason left."""

    WAITING = "enough input waits"
    UPSTREAM = "the upstream takes no more"


@implementer(IHalfCloseableProtocol, IPushProducer)
class DownstreamConnection(Protocol, Watched):
    """
    One client's connection; implements `mcpgate.exchange.Downstream` for the exchange that is under way.

    :param peer: who it comes from, if that is known before there is a transport.
    """

    def __init__(self, door: Door, peer: Peer | None = None) -> None:
        Watched.__init__(self)
        self._wire: StreamTransport  # from connectionMade on
        self._door = door
        self._peer = peer or _NOBODY
        self._intake = Intake()
        self._taking = TakingPace()
        self._piped: ChunkReader | None = None
        self._exchange: Exchange | None = None
        self._sink: RequestSink | None = None
        self._body: RequestBody | None = None
        self._pace: BodyPace | None = None
        self._reads_body = False
        self._holds: set[Hold] = set()
        self._output_full = False
        self._half_closed = False
        self._head_timed = True
        self._advancing = False
        self._closes = False
        self._chunked = False
        self.forwards_chunks = False
        self.stage = _HEAD

    def __repr__(self) -> str:
        return f"<DownstreamConnection {self.stage.value} {self._peer.address!r}>"

    @property
    def state(self) -> str:
        """What it is doing, for those who count connections (`mcpgate.metrics.observed.Connection`)."""
        return _STATES[self.stage]

    def unsent_bytes(self) -> int:
        """What was written and the client has not taken."""
        return unsent_bytes(self._wire)

    # --- Twisted's side -----------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._wire = self.transport  # type: ignore[assignment]
        send_at_once(self._wire)
        if self._peer is _NOBODY or is_encrypted(self.transport):
            self._peer = self._door.peer_of(self.transport)
        self._wire.registerProducer(self, True)
        self._door.opened(self, self._peer)
        self._watch(self._door.http.header_timeout)

    def dataReceived(self, data: bytes) -> None:
        stage = self.stage
        if stage is _HEAD:
            self._intake.add(data)
            self._advance()
            if self._output_full and len(self._intake) > _WAITING_BYTES:
                self._hold(Hold.WAITING)  # a client that takes no answers gives no requests either
        elif stage is _EXCHANGE:
            if self._reads_body:
                self._read_body(data)
            else:
                self._keep(data)
        elif stage is _TUNNEL and self._sink is not None:
            self._sink.take_tunnel(data)
        elif stage is _STREAM:
            if self._reads_body:
                self._read_body(data)
            else:
                self._leave()  # nothing may come here; whoever sends it has lost the thread

    def readConnectionLost(self) -> None:
        """
        The client sends no more. After a complete request that is its right, and it still gets its answer; on a
        stream it is the only way to say that it has left.
        """
        self._half_closed = True
        if self.stage is _EXCHANGE:
            self._check_half_body()
        elif self.stage in (_STREAM, _TUNNEL):
            self._leave()
        elif self.stage is _LINGER:
            self._wire.loseConnection()  # both sides have said all
        elif not self._output_full:
            self._close()

    def _check_half_body(self) -> None:
        """After a half close no more of a body can come; what waits unread may still be all of it."""
        if self._half_closed and self._reads_body and self._body is not None:
            self._spoil(BadRequest("the request body ends before its length"))

    def writeConnectionLost(self) -> None:
        """Our own half-close is through; the other half ends with the client's or by the deadline."""

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - Twisted's signature
        self.stage = _CLOSED
        self._intake.clear()
        self._door.deadlines.forget(self)
        self._door.closed(self, self._peer)
        self._tell_gone(Ended.CLIENT_GONE)

    def pauseProducing(self) -> None:
        """The client does not take what we have written; Twisted says so above 64 KiB."""
        self._output_full = True
        if self._sink is not None:
            self._sink.pause_answer()
        if self.stage is not _LINGER:
            self._await_taking()

    def resumeProducing(self) -> None:
        self._output_full = False
        if self._sink is not None:
            self._sink.resume_answer()
        self._restore_deadline()
        if self.stage is _HEAD and self._intake.data:
            self._advance()
        elif self.stage is _HEAD and self._half_closed:
            self._close()

    def stopProducing(self) -> None:
        """Twisted says so when the connection is lost; `connectionLost` does the work."""

    # --- deadlines ----------------------------------------------------------------------------------------------

    def deadline_passed(self, now_s: float) -> None:
        if self.stage is _LINGER:
            self._cut()
        elif self._output_full:
            self._check_taking()
        elif self._pace is not None:
            self._check_pace(self._pace, now_s)
        elif self.stage in (_STREAM, _TUNNEL):
            self._check_taking()
        elif self.stage is _EXCHANGE:
            self._check_presence()
        elif self.stage is _HEAD:
            if self._intake.data:
                self._refuse_unread(RequestTimeout())
            else:
                self._close()

    def _watch(self, in_s: float) -> None:
        door = self._door
        now = door.now
        door.deadlines.watch(self, now() + in_s)

    def _unsent_bytes(self) -> int:
        """What the client has not taken; first counts what was piped past us as written."""
        if self._piped is not None:
            self._taking.written_bytes += self._piped.wire_bytes
            self._piped.wire_bytes = 0
        return unsent_bytes(self._wire)

    def _await_taking(self) -> None:
        """From now on the client must take bytes, if there are any, or be cut."""
        self._taking.begin(self._unsent_bytes())
        self._watch(self._door.http.send_timeout)

    def _check_taking(self) -> None:
        if self._taking.is_stuck(self._unsent_bytes()):
            self._tell_gone(Ended.SEND_TIMEOUT)
            self._cut()
        else:
            self._await_taking()

    def _check_presence(self) -> None:
        """A client that is not read cannot be seen leaving; its socket still knows of a reset."""
        if is_cut(self._wire):
            self._leave()
        elif self._holds:
            self._watch(_PRESENCE_S)

    def _check_pace(self, pace: BodyPace, now_s: float) -> None:
        if not self._reads_body or self._holds:
            pace.restart(now_s)
        if pace.is_too_slow(now_s):
            self._spoil(RequestTimeout("the request body arrives too slowly"))
        else:
            self._door.deadlines.watch(self, pace.next_check_s(now_s))

    def _restore_deadline(self) -> None:
        """The deadline that the present state asks for; every change that ends another one comes here."""
        if self.stage is _LINGER:
            return
        if self._output_full:
            self._await_taking()
        elif self._pace is not None:
            self._door.deadlines.watch(self, self._pace.next_check_s(self._door.now()))
        elif self.stage in (_STREAM, _TUNNEL):
            self._await_taking()
        elif self.stage is _HEAD:
            self._watch(self._door.keepalive_s)
        elif self._holds:
            self._watch(_PRESENCE_S)
        else:
            self._door.deadlines.watch(self, NEVER_S)

    # --- requests -----------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Begin what can be begun. Answers that are ready at once come back here: a loop, not a recursion."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self.stage is _HEAD and self._intake.data and not self._output_full:
                if not self._begin():
                    break
        finally:
            self._advancing = False
        if self._holds and len(self._intake.data) < _WAITING_BYTES:
            self._free(Hold.WAITING)
        if self.stage is _HEAD and not self._output_full:
            self._wait()

    def _wait(self) -> None:
        """Nothing that could be begun is here: wait for more, if more can come."""
        if self._half_closed:
            self._close()
        elif not self._intake.data and not self._head_timed:
            self._watch(self._door.keepalive_s)

    def _begin(self) -> bool:
        """Cut one head off the input and run its exchange; false while the head is not complete."""
        try:
            head = self._intake.cut_head(self._door.head_limits)
        except GatewayError as error:
            self._refuse_unread(error)
            return False
        if head is None:
            if self._intake.data:
                self._time_head()
            return False
        self._run(head)
        return True

    def _time_head(self) -> None:
        """The first bytes of a head are here: the rest must come by an absolute deadline, whatever trickles in."""
        if not self._head_timed:
            self._head_timed = True
            self._watch(self._door.http.header_timeout)

    def _run(self, head: RequestHead) -> None:
        door = self._door
        now = door.now
        exchange = self._exchange = Exchange(head, self._peer, now(), door.admin)
        self.stage = _EXCHANGE
        self._head_timed = False
        self._closes = not head.keep_alive
        length = head.content_length
        if length and len(self._intake.data) >= length:
            exchange.body = self._intake.take(length)
            exchange.body_is_here = True
        if exchange.body_is_here:
            self.deadline_s = NEVER_S
        else:
            self._body = RequestBody(head, 0)
            self._pace = BodyPace(door.http.body_timeout, door.now())
            self._restore_deadline()
        door.pipeline.run(exchange, self)

    def _refuse_unread(self, error: GatewayError) -> None:
        """Answer a request that could not even be read; nothing behind it can be trusted."""
        exchange = self._exchange = Exchange(_NO_HEAD, self._peer, self._door.now(), self._door.admin)
        self._intake.take_all()
        self.stage = _EXCHANGE
        self._closes = True
        self._door.pipeline.refuse(exchange, self, error)

    def _keep(self, data: bytes) -> None:
        """Bytes whose turn has not come: a body before it is read, or a pipelined request."""
        self._intake.add(data)
        if len(self._intake) > _WAITING_BYTES:
            self._hold(Hold.WAITING)
            if self._pace is None:
                self._restore_deadline()

    def _read_body(self, data: bytes) -> None:
        body, exchange, sink = self._body, self._exchange, self._sink
        if body is None or exchange is None or sink is None:
            self._keep(data)
            return
        try:
            payload = body.feed(data)
        except GatewayError as error:
            self._spoil(error)
            return
        if self._pace is not None:
            self._pace.add(len(payload), self._door.now())
        if payload:
            sink.take_body(payload)
        if body.done and self._body is body:
            self._body = self._pace = None
            self._reads_body = False
            self._intake.add(body.rest)
            self._restore_deadline()
            sink.end_body()
            if self.stage is _STREAM and self._intake.data:
                self._leave()

    def _spoil(self, error: GatewayError) -> None:
        """The rest of this request cannot be had: refuse it if it is not answered yet, else cut the answer."""
        self._closes = True
        self._reads_body = False
        self._pace = None
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.lose_client(Ended.REFUSED, error)
        if self.stage not in (_LINGER, _CLOSED):
            self._cut()

    # --- the port of the exchange -------------------------------------------------------------------------------

    def attach(self, sink: RequestSink) -> None:
        self._sink = sink

    def read_body(self) -> None:
        exchange = self._exchange
        if exchange is None or self._body is None:
            return
        if exchange.head.wants_continue and not self._intake.data:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._body = RequestBody(exchange.head, exchange.max_body_bytes)
        self._reads_body = True
        waiting = self._intake.take_all()
        if waiting:
            self._read_body(waiting)
        self._check_half_body()
        self._free(Hold.WAITING)

    def pause_body(self) -> None:
        self._hold(Hold.UPSTREAM)

    def resume_body(self) -> None:
        self._free(Hold.UPSTREAM)

    def _hold(self, why: Hold) -> None:
        if not self._holds and not self._half_closed:
            self._wire.pauseProducing()
        self._holds.add(why)

    def _free(self, why: Hold) -> None:
        if why in self._holds:
            self._holds.remove(why)
            if not self._holds and not self._half_closed:
                self._wire.resumeProducing()

    def inform(self, answer: Answer) -> None:
        self._send(b"HTTP/1.1 %d %b\r\n%b\r\n" % (answer.status, answer.phrase, answer.block))

    def start(self, answer: Answer, body: bytes = b"", ended: bool = False) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        gone_quiet = self._half_closed and not self._intake.data
        if answer.closes or self._body is not None or gone_quiet or self._door.pipeline.draining:
            self._closes = True
        if ended and answer.length is not None and exchange.head.is_http11 and not self._closes:
            before, behind = answer.lines or lines_around_id(answer)
            self._chunked = False
            self._send(b"".join((before, exchange.request_id, behind, body)))
            self._end_exchange()
            return
        data, self._chunked, self._closes = frame(
            answer, exchange.head.is_http11, self._closes, exchange.request_id
        )
        self.forwards_chunks = self._chunked
        if body:
            data += chunk(body) if self._chunked else body
        if ended:
            self._send(data + LAST_CHUNK if self._chunked else data)
            self._end_exchange()
            return
        if answer.is_stream:
            self.stage = _STREAM
            self._intake.forget_head()
            exchange.head.decision = None
            self._send(data)
            if self._half_closed or (self._intake.data and self._body is None):
                self._leave()
            else:
                self._await_taking()
        else:
            self._send(data)

    def write(self, data: bytes) -> None:
        self._send(chunk(data) if self._chunked else data)

    def pipe_from(self, reader: ChunkReader) -> Pipe:
        # The transport itself: with ten thousand streams each object that an event touches is a cache miss.
        self._piped = reader
        return self._wire

    def _send(self, data: bytes) -> None:
        if self.stage is not _CLOSED:
            self._taking.written_bytes += len(data)
            self._wire.write(data)

    def finish(self) -> None:
        if self.stage is _TUNNEL:
            self._sink = None
            self._close()
            return
        if self._chunked:
            self._send(LAST_CHUNK)
        self._end_exchange()

    def abort(self) -> None:
        """What was written still goes out; then the end is missing. Without a framing only a reset tells that."""
        self._sink = None
        if self._chunked or self.stage is _TUNNEL or not self._closes:
            self._close()
        else:
            self._cut()

    def open_tunnel(self, answer: Answer, first: bytes) -> None:
        if self._exchange is None:
            return
        self.stage = _TUNNEL
        self._send(
            b"HTTP/1.1 101 %b\r\n%bX-Request-Id: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n%b"
            % (answer.phrase or b"Switching Protocols", answer.block, self._exchange.request_id, first)
        )
        self._await_taking()
        early = self._intake.take_all()
        self._free(Hold.WAITING)
        if early and self._sink is not None:
            self._sink.take_tunnel(early)

    # --- the end ------------------------------------------------------------------------------------------------

    def _end_exchange(self) -> None:
        """The answer is written: on to the next request, or out."""
        self._exchange = self._sink = self._piped = None
        self.forwards_chunks = False
        if self._closes or self._door.pipeline.draining or (self._half_closed and not self._intake.data):
            self._linger()
        elif self.stage is not _CLOSED:
            self.stage = _HEAD
            self._body = self._pace = None
            if self._holds:
                self._free(Hold.UPSTREAM)
            if self._intake.data:
                self._advance()
            elif not self._output_full:
                self._wait()

    def _leave(self) -> None:
        """The client has left, or must."""
        self._tell_gone(Ended.CLIENT_GONE)
        self._close()

    def _tell_gone(self, ended: Ended) -> None:
        sink, self._sink = self._sink, None
        self._exchange = None
        if sink is not None:
            sink.lose_client(ended, None)

    def close_if_idle(self) -> bool:
        """Close between two requests (drain); whether nothing was under way."""
        if self.stage is _HEAD and not self._intake.data:
            self._close()
            return True
        return False

    def _linger(self) -> None:
        """Say that we are done, and read on for a moment so that the answer can arrive."""
        if self.stage is _CLOSED:
            return
        self._intake.take_all()
        self._body = self._pace = None
        for why in Hold:
            self._free(why)
        self._begin_leaving()
        if self._half_closed or not lose_write(self._wire):
            self._wire.loseConnection()

    def _close(self) -> None:
        """Close after what was written has gone out; the deadline cuts a client that does not take it."""
        if self.stage in (_CLOSED, _LINGER):
            return
        if closes_at_once(self._wire):
            self.stage = _LINGER  # until this turn ends
        else:
            self._begin_leaving()
        self._wire.loseConnection()

    def _begin_leaving(self) -> None:
        """Nothing more is written; what waits has its time to go out."""
        self.stage = _LINGER
        self._watch(self._door.http.send_timeout if unsent_bytes(self._wire) else _LINGER_S)
        self._wire.unregisterProducer()

    def _cut(self) -> None:
        """Close at once, with a reset."""
        if self.stage is not _CLOSED:
            reset(self._wire)
