"""
One HTTP/1.1 connection to a replica: one exchange at a time, and never again after anything doubtful.

The connection knows where the answer ends and whether it may be used once more; the relay knows what becomes of the
bytes. Bytes that arrive when none are due (late bodies of HEAD answers, second answers) close the connection, so they
can never be taken for the answer to somebody else's request.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.errors import BadAnswer, GatewayError
from mcpgate.exchange import Pipe
from mcpgate.net.deadlines import Deadlines, Watched
from mcpgate.net.transports import StreamTransport, has_unread, pass_no_more, pass_on, send_at_once, unsent_bytes
from mcpgate.upstream.ports import AnswerSink
from mcpgate.wire.chunks import BrokenFraming, ChunkReader
from mcpgate.wire.http1 import AnswerHead, HeadLimits, carries_body, find_head_end, parse_answer
from mcpgate.wire.last_head import LastHead

#: Bounds of an answer head: what we ask of clients, too.
ANSWER_HEAD = HeadLimits(max_bytes=32 * 1024, max_fields=100)


#: Interim answers before the final one; more is an upstream that only keeps us busy.
_MAX_INTERIM_ANSWERS = 16
#: A request up to this size leaves in one system call: socket buffers are larger (Linux: 16 KiB at the least).
_AT_ONCE_BYTES = 8 * 1024


class State(enum.Enum):
    """
    ``OPENING`` until connected (and the TLS handshake is done), ``IDLE`` in the pool, ``WAITING`` for the head,
    ``COUNTED`` / ``CHUNKED`` / ``UNTIL_CLOSE`` in a body of that framing, ``TUNNEL`` after a 101, ``CLOSED``.
    """

    OPENING = "opening"
    IDLE = "idle"
    WAITING = "waiting"
    COUNTED = "counted"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    TUNNEL = "tunnel"
    CLOSED = "closed"


# Looking a member up in its class takes 0.1 us until Python 3.12, a name 0.01.
_OPENING, _IDLE, _WAITING, _COUNTED, _CHUNKED, _UNTIL_CLOSE, _TUNNEL, _CLOSED = State


@implementer(IPushProducer, IHandshakeListener)
class UpstreamConnection(Protocol, Watched):
    """
    One connection, from the dial to the last exchange.

    :param released: called with the connection when it may be used for another exchange.
    :param closed: called with the connection exactly once when it is gone; `report_to` names another.
    :ivar address: the literal that was dialled.
    :ivar stream_heads: where the heads of streams are remembered, so that it need not be here: its replica's.
    :ivar is_forbidden: it leads where nobody may connect any more: it only finishes what it carries.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        opened: Callable[[UpstreamConnection], None],
        released: Callable[[UpstreamConnection], None],
        closed: Callable[[UpstreamConnection], None],
        secure: bool,
    ) -> None:
        Watched.__init__(self)
        self._wire: StreamTransport  # from connectionMade on
        self._deadlines = deadlines
        self._opened = opened
        self._released = released
        self._closed = closed
        self._secure = secure
        self._sink: AnswerSink | None = None
        self._last: LastHead[AnswerHead] = LastHead()
        self.stream_heads = self._last
        self._buffer = b""
        self._left = 0
        self._chunks: ChunkReader | None = None
        self._pipe: Pipe | None = None
        self._head_only = False
        self._request_open = False
        self._may_lag = False
        self._reusable = True
        self._interim = 0
        self._paused = False
        self.state = _OPENING
        self.address = ""
        self.is_forbidden = False

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.state.value}>"

    # --- life ---------------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._wire = self.transport  # type: ignore[assignment]
        send_at_once(self._wire)
        # Once for the whole life: a producer per exchange would cost more than the rest of this class.
        self._wire.registerProducer(self, True)
        if not self._secure:
            self._open()

    def handshakeCompleted(self) -> None:
        """TLS is up, and the peer's certificate was checked."""
        self._open()

    def _open(self) -> None:
        if self.state is _OPENING:
            self.state = _IDLE
            opened = self._opened
            del self._opened  # whoever dialled need not be kept
            opened(self)

    def report_to(self, closed: Callable[[UpstreamConnection], None]) -> None:
        """Tell somebody else, and not who was named first, when it is gone."""
        self._closed = closed

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - Twisted's signature
        state, self.state = self.state, _CLOSED
        self._deadlines.forget(self)
        sink, self._sink = self._sink, None
        self._end_pipe()
        self._closed(self)
        if sink is None or state in (_CLOSED, _IDLE):
            return
        clean = isinstance(reason.value, ConnectionDone)
        if clean and state in (_UNTIL_CLOSE, _TUNNEL):
            sink.end_answer()
        else:
            untouched = state is _WAITING and not self._buffer and not self._interim
            sink.lose_upstream(BadAnswer(detail=f"closed while {state.value}"), untouched)

    def abort(self) -> None:
        """Close at once, without a word to the sink: it is the one who leaves."""
        self._sink = None
        self._end_pipe()
        if self.state is not _CLOSED:
            self.state = _CLOSED
            self._wire.abortConnection()

    def cut(self, error: GatewayError) -> None:
        """Close at once, and tell the sink that there is nothing more to come."""
        sink = self._sink
        self.abort()
        if sink is not None:
            sink.lose_upstream(error, False)

    def close_tunnel(self, by_s: float) -> None:
        """Send what is buffered, then close; cut what has not gone out by then. The sink hears no more."""
        self._sink = None
        if self.state is not _CLOSED:
            self.watch(by_s)
            self._wire.unregisterProducer()
            self._wire.loseConnection()

    # --- toward the upstream ------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether it carries an exchange."""
        return self._sink is not None

    def is_quiet(self) -> bool:
        """Whether the idle connection may carry another request: open, and nothing unread waits in the socket."""
        return self.state is _IDLE and not has_unread(self._wire)

    def send(self, sink: AnswerSink, request: bytes, *, head_only: bool, body_follows: bool) -> None:
        """
        Begin an exchange with the request's head, and its body as far as it is here.

        :param head_only: the answer to a HEAD has no body, whatever its fields say.
        :param body_follows: more is sent with `send_body`, up to `end_body`.
        """
        self._sink = sink
        self._head_only = head_only
        self._request_open = body_follows
        self._may_lag = body_follows or len(request) > _AT_ONCE_BYTES
        self._interim = 0
        self.state = _WAITING
        self._wire.write(request)

    def send_body(self, data: bytes) -> None:
        """The next bytes of the request, framed already; of a tunnel too."""
        if self.state is not _CLOSED:
            self._wire.write(data)

    def end_body(self) -> None:
        """The request is complete."""
        self._request_open = False

    def unsent_bytes(self) -> int:
        """What the upstream has not taken yet."""
        return unsent_bytes(self._wire)

    def watch(self, at_s: float) -> None:
        """Have the sink's `time_out_upstream` called at a time; `NEVER_S` for not at all."""
        self._deadlines.watch(self, at_s)

    def deadline_passed(self, now_s: float) -> None:
        if self._sink is not None:
            self._sink.time_out_upstream()
        else:
            self.abort()  # idle for too long, or a TLS handshake that does not end

    # --- from the upstream --------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._pipe is not None and self._chunks is not None and self._chunks.follow(data):
            self._pipe.write(data)  # on a transport that cannot `pass_on`
            return
        state, sink = self.state, self._sink
        if sink is None:
            self.abort()  # unasked bytes on an idle connection
        elif state is _CHUNKED:
            self._read_chunks(sink, data)
        elif state is _WAITING:
            self._read_head(sink, self._buffer + data if self._buffer else data)
        elif state is _COUNTED:
            self._count(sink, data)
        else:
            sink.take_answer(data)

    def pauseProducing(self) -> None:
        if self._sink is not None:
            self._sink.pause_request()

    def resumeProducing(self) -> None:
        if self._sink is not None:
            self._sink.resume_request()

    def stopProducing(self) -> None:
        """Twisted says so when the connection is lost; `connectionLost` does the work."""

    def pass_chunks(self, pipe_from: Callable[[ChunkReader], Pipe]) -> ChunkReader | None:
        """
        Give whole plain chunks of this answer to a pipe as they come, past the sink.

        :param pipe_from: makes the pipe, given who counts what goes through it.
        :returns: the counter; ``None`` if the answer does not come in chunks.
        """
        if self._chunks is not None:
            self._pipe = pipe_from(self._chunks)
            pass_on(self._wire, self._chunks, self._pipe)
        return self._chunks

    def _end_pipe(self) -> None:
        if self._pipe is not None:
            self._pipe = None
            pass_no_more(self._wire)

    def pause_answer(self) -> None:
        """Read no more until `resume_answer`: the client does not keep up."""
        if self.state is not _CLOSED:
            self._paused = True
            self._wire.pauseProducing()

    def resume_answer(self) -> None:
        """The client keeps up again."""
        if self._paused and self.state is not _CLOSED:
            self._paused = False
            self._wire.resumeProducing()

    def _read_head(self, sink: AnswerSink, data: bytes) -> None:
        head, end = self._last.repeats(data), self._last.raw_bytes
        if head is None:
            head, end = self.stream_heads.repeats(data), self.stream_heads.raw_bytes
        if head is None:
            try:
                head, end = self._parse_head(data)
            except GatewayError as error:
                self._break(error)
                return
        if head is None:
            self._buffer = data
            return
        self._buffer = b""
        if head.status < 200 and head.status != 101:
            self._read_interim(sink, head, data[end:])
        else:
            self._begin_answer(sink, head, data[end:])

    def _parse_head(self, data: bytes) -> tuple[AnswerHead | None, int]:
        """A head and where it ends; no head while it is not complete."""
        end = find_head_end(data, ANSWER_HEAD, len(self._buffer))
        if end < 0:
            if not b"HTTP/1.".startswith(data[:7]):
                raise BadAnswer(detail="not HTTP/1")
            return None, end
        raw = data[:end]
        head = self._last.recall(raw) or parse_answer(raw, ANSWER_HEAD)
        (self.stream_heads if head.is_event_stream and head.chunked else self._last).note(raw, head)
        return head, end

    def _read_interim(self, sink: AnswerSink, head: AnswerHead, rest: bytes) -> None:
        self._interim += 1
        if self._interim > _MAX_INTERIM_ANSWERS:
            self._break(BadAnswer(detail="too many interim answers"))
            return
        if head.status != 100:  # Expect is answered by us, so nobody waits for a 100
            sink.take_interim(head)
        if rest and self._sink is sink:
            self._read_head(sink, rest)

    def _begin_answer(self, sink: AnswerSink, head: AnswerHead, rest: bytes) -> None:
        """Find out how the body ends (RFC 9112 section 6.3), and hand the head on with what is already here."""
        self._reusable = head.keep_alive
        if head.status == 101:
            self.state = _TUNNEL
            sink.take_head(head, rest, False)
        elif not carries_body(self._head_only, head.status):
            # Some servers send a body all the same, and late: it would be read as the next answer. So such a
            # connection is not used again.
            self._reusable = False
            self._finish_with(sink, head, b"", rest)
        elif head.chunked:
            self.state = _CHUNKED
            self._last.forget()
            self._chunks = ChunkReader()
            self._read_chunks(sink, rest, head)
        elif head.content_length is not None:
            if len(rest) == head.content_length:
                self._finish_with(sink, head, rest, b"")
            elif len(rest) > head.content_length:
                self._finish_with(sink, head, rest[: head.content_length], rest[head.content_length :])
            else:
                self.state = _COUNTED
                self._left = head.content_length - len(rest)
                sink.take_head(head, rest, False)
        else:
            self.state = _UNTIL_CLOSE
            sink.take_head(head, rest, False)

    def _count(self, sink: AnswerSink, data: bytes) -> None:
        self._left -= len(data)
        if self._left > 0:
            sink.take_answer(data)
            return
        extra = -self._left
        sink.take_answer(data[: len(data) - extra] if extra else data)
        if self._sink is sink:
            self._finish(sink, extra > 0)

    def _read_chunks(self, sink: AnswerSink, data: bytes, head: AnswerHead | None = None) -> None:
        """What came with the head goes on with it: an event that is there already costs no system call of its own."""
        reader = self._chunks
        assert reader is not None
        try:
            pieces = reader.feed(data)
        except BrokenFraming as error:
            self._break(BadAnswer(detail=str(error)))
            return
        payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if head is not None:
            sink.take_head(head, payload, False)
        elif payload:
            sink.take_answer(payload)
        if reader.done and self._sink is sink:
            self._finish(sink, bool(reader.rest))

    def _finish_with(self, sink: AnswerSink, head: AnswerHead, body: bytes, extra: bytes) -> None:
        """A whole answer in one go."""
        self._let_go(bool(extra))
        sink.take_head(head, body, True)

    def _finish(self, sink: AnswerSink, extra: bool) -> None:
        self._let_go(extra)
        sink.end_answer()

    def _let_go(self, extra: bool) -> None:
        """
        Back to the pool, or gone: before the sink hears of the end, so that its next exchange finds the connection.
        """
        self._sink = self._chunks = None
        self._end_pipe()
        if self._paused:
            self.resume_answer()
        if extra or self._request_open or not self._reusable or (self._may_lag and self.unsent_bytes()):
            self.abort()
        else:
            self.state = _IDLE
            self._released(self)

    def _break(self, error: GatewayError) -> None:
        self.cut(error if isinstance(error, BadAnswer) else BadAnswer(detail=error.reason))
