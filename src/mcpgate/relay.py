"""
Body bytes both ways, for one exchange.

The rules:

* Bytes move when they come. Nothing is kept but the first event of a legacy stream (at most 64 KiB, at most 1 s).
* Who is slow stops who is fast: a full socket pauses reading on the other side, whichever direction it is.
* Leaving is a message. The client gone means the upstream connection is cut at once (closing the stream is how a
  2026-07-28 client cancels), and the other way round; an answer that did not end is never made to look ended.
* A request is sent again only if nothing of it can have been acted on: it has no body, its method is safe, and a
  reused connection died without a byte of an answer.
* `record` runs exactly once, whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mcpgate import witness
from mcpgate.announcement import Announcement, may_announce_endpoint
from mcpgate.errors import BadAnswer, ForeignEndpointAnnounced, GatewayError, UpstreamTimeout
from mcpgate.exchange import Answer, Downstream, Ended, Exchange, Outcome
from mcpgate.net.deadlines import NEVER_S
from mcpgate.plan import Plan, answer_of, published
from mcpgate.stages import CLOSED, FIRST_EVENT, HEAD, OPENING, PIPING, TUNNEL
from mcpgate.upstream.connection import UpstreamConnection
from mcpgate.upstream.pool import Dial, Replica
from mcpgate.wire import websocket
from mcpgate.wire.chunks import LAST_CHUNK, ChunkReader, chunk
from mcpgate.wire.http1 import AnswerHead
from mcpgate.wire.mapping import ForeignEndpoint
from mcpgate.wire.sse import ends_event

#: How long the head of a legacy stream waits for its first event: longer than any server takes to say its endpoint,
#: and short enough that a client does not give up.
HOLD_S = 1.0
#: How long the last bytes of a tunnel may take to go out after the client has left.
TUNNEL_LINGER_S = 5.0
_COMPLETE = Ended.COMPLETE  # looking a member up in its class takes 0.1 us until Python 3.12
_SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Relay:
    """One exchange between a client and a replica; see the rules above."""

    __slots__ = (
        "_announced", "_connection", "_dial", "_event", "_followed", "_fresh", "_held", "_now", "_outcome", "_paused",
        "_plan", "_port", "_reads_body", "_request", "exchange", "stage",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, port: Downstream, plan: Plan, outcome: Outcome, now: Callable[[], float]
    ) -> None:
        plan.server.relays.add(self)
        self.exchange = exchange
        self.stage = OPENING
        self._port, self._plan, self._outcome = port, plan, outcome
        self._request = b""
        self._now = now
        self._connection: UpstreamConnection | None = None
        self._dial: Dial | None = None
        self._fresh = True
        self._reads_body = False
        self._event: Announcement | None = None
        self._held: Answer | None = None
        self._followed: ChunkReader | None = None
        self._announced = b""
        self._paused = False

    def __repr__(self) -> str:
        return f"<Relay {self.stage.value} {self.exchange!r}>"

    @property
    def replica(self) -> Replica:
        """Where it goes."""
        return self._plan.placement.replica

    def begin(self, request: bytes) -> None:
        """Ask for a connection, to send this head on; the rest follows from events."""
        self._request = request
        self.exchange.replica = self._plan.placement.replica.name
        self._port.attach(self)
        self._dial = self._plan.placement.replica.acquire(self)

    # --- the request --------------------------------------------------------------------------------------------

    def take_connection(self, connection: UpstreamConnection, fresh: bool) -> None:
        exchange, plan = self.exchange, self._plan
        self._connection = connection
        self._dial = None
        self._fresh = fresh
        self.stage = HEAD
        body_follows = not exchange.body_is_here
        request = self._request + exchange.body if exchange.body else self._request
        connection.send(self, request, head_only=exchange.head.method == b"HEAD", body_follows=body_follows)
        response_s, now = plan.server.response_s, self._now
        exchange.sent_s = now_s = now()
        connection.watch(now_s + response_s if response_s else NEVER_S)
        if body_follows:
            self._reads_body = True
            self._port.read_body()

    def fail_connection(self, error: GatewayError) -> None:
        self._dial = None
        self._refuse(error)

    def _expect_within(self, time_s: float) -> None:
        """Something must come from the upstream in that time; 0 for no limit."""
        if self._connection is not None:
            self._connection.watch(self._now() + time_s if time_s else NEVER_S)

    def take_body(self, data: bytes) -> None:
        if not self.exchange.bytes_in:
            witness.note_request(self.exchange, data)
        self.exchange.bytes_in += len(data)
        if self._connection is not None:
            self._connection.send_body(chunk(data) if self.exchange.head.chunked else data)
            if self.stage is HEAD:
                self._expect_within(self._plan.server.timeouts.response)

    def end_body(self) -> None:
        if self._connection is not None:
            if self.exchange.head.chunked:
                self._connection.send_body(LAST_CHUNK)
            self._connection.end_body()
            if self.stage is HEAD:
                self._expect_within(self._plan.server.timeouts.response)
        self._reads_body = False
        self._port.resume_body()

    def pause_request(self) -> None:
        if self._reads_body or self.stage is TUNNEL:
            self._port.pause_body()

    def resume_request(self) -> None:
        if self._reads_body or self.stage is TUNNEL:
            self._port.resume_body()

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        answerable = self.stage in (OPENING, HEAD) or self._held is not None
        if self.stage is TUNNEL and self._connection is not None and ended is Ended.CLIENT_GONE:
            self._connection.close_tunnel(self._now() + TUNNEL_LINGER_S)
            self._connection = None
        if error is not None and answerable:
            self._refuse(error)
        else:
            self.exchange.error = error  # too late to tell the client; the log still says why
            self._close(ended)

    # --- the answer ---------------------------------------------------------------------------------------------

    def take_interim(self, head: AnswerHead) -> None:
        if self.exchange.head.is_http11:
            self._port.inform(Answer(head.status, head.phrase, published(self._plan, head, head.block), has_body=False))

    def take_head(self, head: AnswerHead, body: bytes, ended: bool) -> None:
        exchange = self.exchange
        if head.status == 101:
            self._open_tunnel(head, body)
            return
        exchange.status = head.status
        now = self._now
        exchange.first_byte_s = now()
        exchange.bytes_out += len(body)
        answer = answer_of(exchange, self._plan, head)
        if self._plan.holds_first_event and may_announce_endpoint(head):
            self._hold(answer, body)
            if ended and self.stage is not CLOSED:
                self.end_answer()
        elif ended:
            self._connection = None
            witness.note_answer(exchange, body)
            self._close(_COMPLETE)  # before the port goes on to the next request, so that the log keeps the order
            self._port.start(answer, body, True)
        else:
            self._pipe(answer, body)

    def _pipe(self, answer: Answer, body: bytes) -> None:
        self.stage = PIPING
        self._forget_request()
        self._expect_within(self._plan.server.timeouts.stream_idle)
        if answer.is_stream:
            self._open_stream(witness.stream_transport(self.exchange))
        self._port.start(answer, body)
        if body and self.stage is PIPING:  # a client that was half closed is gone by now
            self._look_at(body)

    def _open_stream(self, transport: str) -> None:
        self.exchange.transport = transport
        self._outcome.open_stream(self.exchange)
        self.exchange.head.lighten()

    def _look_at(self, data: bytes) -> None:
        """The first piece of an answer; of a stream all up to its first event. From then on nobody need look."""
        exchange = self.exchange
        if exchange.transport and not exchange.first_event_s:
            witness.note_piece(exchange, data, self._now())
            if not exchange.first_event_s:
                return
            self._outcome.first_event(exchange)
        elif exchange.bytes_out == len(data):
            witness.note_answer(exchange, data)
        self._pass_chunks()

    def _forget_request(self) -> None:
        """It is sent, and will not be sent again; an open stream need not keep it."""
        self._request = self.exchange.body = b""
        if self.exchange.was_held:
            self._outcome.let_go(self.exchange)

    def _pass_chunks(self) -> None:
        """From here on whole chunks need nobody in between, unless their times are watched."""
        if self._connection is not None and self._port.forwards_chunks and not self._plan.server.timeouts.stream_idle:
            self._followed = self._connection.pass_chunks(self._port.pipe_from)

    def take_answer(self, data: bytes) -> None:
        self.exchange.bytes_out += len(data)
        if self._idle_s() and self._held is None:
            self._expect_within(self._idle_s())
        if self.stage is FIRST_EVENT:
            self._collect(data)
        else:
            self._port.write(data)
            if self._followed is None and self.stage is PIPING:
                self._look_at(data)

    def _idle_s(self) -> float:
        """How long the upstream may be silent now that it answers."""
        timeouts = self._plan.server.timeouts
        return timeouts.tunnel_idle if self.stage is TUNNEL else timeouts.stream_idle

    def end_answer(self) -> None:
        self._connection = None
        if self.stage is FIRST_EVENT:
            self._release(b"" if self._event is None else self._event.held)
        if self.stage is not CLOSED:
            self._close(Ended.UPSTREAM_END if self.exchange.transport else Ended.COMPLETE)
            self._port.finish()

    def lose_upstream(self, error: GatewayError, untouched: bool) -> None:
        self._connection = None
        head = self.exchange.head
        if self.stage is HEAD:
            if untouched and not self._fresh and head.method in _SAFE_METHODS and not head.has_body:
                self.stage = OPENING
                self._dial = self._plan.placement.replica.dial(self)
            else:
                self._refuse(error)
        elif self._held is not None:
            self._refuse(error)
        else:
            self._cut(Ended.UPSTREAM_LOST, error)

    def time_out_upstream(self) -> None:
        if self.stage is HEAD:
            self._refuse(UpstreamTimeout())
        elif self._held is not None:
            self._send_held(b"")
        else:
            self._cut(Ended.IDLE, UpstreamTimeout(detail="silent for too long within an answer"))

    def pause_answer(self) -> None:
        self._paused = True
        if self._connection is not None:
            self._connection.pause_answer()
            self._connection.watch(NEVER_S)  # it is the client who is silent now, and who is watched

    def resume_answer(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._connection.resume_answer()
            self._expect_within(self._plan.server.timeouts.response if self.stage is HEAD else self._idle_s())

    # --- the first event of a legacy stream ---------------------------------------------------------------------

    def _hold(self, answer: Answer, body: bytes) -> None:
        self.stage = FIRST_EVENT
        self._held = replace(answer, length=None, lines=None)  # the rewritten event has another length
        self._event = Announcement(self._plan)
        self._expect_within(HOLD_S)
        if body:
            self._collect(body)

    def _collect(self, data: bytes) -> None:
        event = self._event
        assert event is not None
        try:
            first = event.feed(data)
        except ForeignEndpoint as error:
            if self._held is not None:
                self._refuse(ForeignEndpointAnnounced(detail=str(error)))
            else:
                self._cut(Ended.UPSTREAM_LOST, ForeignEndpointAnnounced(detail=str(error)))
            return
        if event.target:
            self._announced = event.target
            self._plan.server.announced[event.target] = self
        if first is not None:
            self._release(first)

    def _send_held(self, first: bytes) -> None:
        """Let the head go; the first event, if it is not here yet, is still waited for."""
        held, self._held = self._held, None
        self._expect_within(self._plan.server.timeouts.stream_idle)
        if held is not None:
            self._open_stream(witness.stream_transport(self.exchange))
            self._port.start(held, first)
        elif first:
            self._port.write(first)

    def _release(self, first: bytes) -> None:
        """The first event is done with: from here on be a pipe."""
        self._event = None
        self._send_held(first)
        if self.stage is FIRST_EVENT:
            self.stage = PIPING
            self._forget_request()
            if first:
                self._look_at(first)

    def tell(self, event: bytes) -> bool:
        # Towards the client we are between two chunks always; between two events, if the upstream is.
        if self.stage is not PIPING or self._paused or self._followed is None:
            return False
        if not ends_event(self._followed.tail):
            return False
        self.exchange.bytes_out += len(event)
        self._port.write(event)
        return True

    # --- tunnels ------------------------------------------------------------------------------------------------

    def _open_tunnel(self, head: AnswerHead, first: bytes) -> None:
        key = self.exchange.head.noted.get(b"sec-websocket-key", b"")
        if not websocket.is_upgrade(self.exchange.head) or not websocket.accepts(head, key):
            self._refuse(BadAnswer(detail="a 101 that does not answer this handshake"))
            return
        self.stage = TUNNEL
        self.exchange.status = 101
        self.exchange.bytes_out += len(first)
        self._expect_within(self._plan.server.timeouts.tunnel_idle)
        self.exchange.first_byte_s = self._now()
        self._open_stream(witness.WEBSOCKET)
        block = published(self._plan, head, head.block)
        self._port.open_tunnel(Answer(101, head.phrase, block, has_body=False), first)

    def take_tunnel(self, data: bytes) -> None:
        self.exchange.bytes_in += len(data)
        if self._connection is not None:
            self._connection.send_body(data)
            if self._idle_s():
                self._expect_within(self._idle_s())

    # --- the end ------------------------------------------------------------------------------------------------

    def cut(self, ended: Ended, error: GatewayError) -> None:
        """End the exchange from above (drain, a removed server): answered with the error if it still can be."""
        if self.stage in (OPENING, HEAD) or self._held is not None:
            self._refuse(error)
        else:
            self._cut(ended, error)

    def _refuse(self, error: GatewayError) -> None:
        if self._detach():
            self._outcome.refuse(self.exchange, self._port, error)

    def _cut(self, ended: Ended, error: GatewayError) -> None:
        if self._detach():
            self.exchange.error = error
            self._port.abort()
            self._outcome.record(self.exchange, ended)

    def _close(self, ended: Ended) -> None:
        if self._detach():
            self._outcome.record(self.exchange, ended)

    def count_bytes(self) -> None:
        if self._followed is not None:
            self.exchange.bytes_out += self._followed.followed_bytes
            self._followed.followed_bytes = 0

    def _detach(self) -> bool:
        """Let go of the upstream side; false if that has happened already."""
        if self.stage is CLOSED:
            return False
        self.stage = CLOSED
        if self._followed is not None:
            self.count_bytes()
        self._held = self._event = None
        connection, dial = self._connection, self._dial
        self._connection = self._dial = None
        if connection is not None:
            connection.abort()
        if dial is not None:
            dial.cancel()
        self._plan.server.relays.discard(self)
        if self._announced and self._plan.server.announced.get(self._announced) is self:
            del self._plan.server.announced[self._announced]
        return True
