"""
THE order of phases, and the one place where an error becomes an answer.

    gate -> route -> authenticate -> authorize -> admit -> inspect -> charge -> choose -> send
    400     404      401             403          400      400        429                 502
    403                              404          413      200                            503
    405                                           415      403                            504
    421
    503
    508

The gate comes first because it needs nothing but the head; routing before rights, because rights belong to a server;
admission before the upstream, because a refused request must never reach one; limits last, because what is refused for
another reason costs nobody anything. The phases up to `authorize` follow from the head alone and are worked out once
(`decision.py`). An exchange that must wait (`holding.py`) starts over. Every edge ends in `record`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mcpgate import errors
from mcpgate.admission import authorize_tools
from mcpgate.decision import decide, way_of
from mcpgate.errors import GatewayError
from mcpgate.exchange import Answer, Downstream, Ended, Era, Exchange
from mcpgate.forwarding import framing
from mcpgate.holding import Collecting, Waiters, Waiting
from mcpgate.policy.authn import KeysAwaited
from mcpgate.policy.ratelimit import ADMITTED, Refusal, StreamSlot
from mcpgate.relay import Relay
from mcpgate.snapshot import Decision, Moment, Snapshot
from mcpgate.wire import cors, traceparent, websocket
from mcpgate.wire.calls import UNREAD, Call, glance, may_be_batch, mismatch, read_calls
from mcpgate.wire.headers import is_request_id
from mcpgate.wire.jsonrpc import request_id
from mcpgate.wire.operation import LISTEN, TOOLS_CALL, Operation, operation_of
from mcpgate.wire.traceparent import Trace

#: What has a name that may stand in logs; the address of a resource may hold secrets.
_NAMED = frozenset({TOOLS_CALL, "prompts/get"})
_STATELESS = Era.STATELESS  # looking a member up in its class takes 0.1 us until Python 3.12
#: Of all bodies that are held back to be looked into, together: a hundred of the largest, a million calls.
_MAX_HELD_BYTES = 128 << 20


class LocalTarget(Protocol):
    """The gateway's own addresses: answered by the Klein tree."""

    def answer(self, exchange: Exchange, port: Downstream, outcome: Pipeline) -> None:
        """Answer the exchange, now or later, and have ``outcome`` record it."""


class Record(Protocol):
    """Who keeps account of exchanges."""

    def open_stream(self, exchange: Exchange) -> None:
        """Its answer is a stream from now on."""

    def first_event(self, exchange: Exchange) -> None:
        """Its stream has had its first event; told once of each."""

    def end(self, exchange: Exchange) -> None:
        """It is over; told once of each."""


class Tracing(Protocol):
    """Who knows the place of a request in a distributed trace."""

    def begin(self, traceparent: bytes | None) -> Trace | None:
        """The place, given the field that came; ``None`` if it has none."""


class KeyFeed(Protocol):
    """Who fetches the signing keys of an issuer."""

    def await_keys(self, issuer_id: str, then: Callable[[], None]) -> Callable[[], None]:
        """Call ``then`` when they are here, or cannot be had; gives back what takes that away again."""


Replies = Callable[[GatewayError, Exchange], tuple[Answer, bytes]]


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What a pipeline is given.

    :ivar local: answers the gateway's own addresses.
    :ivar refusal: turns an error into an answer (`downstream/replies.py`).
    :ivar now: the clock that only goes forward; ``wall`` the one that tokens expire by.
    :ivar call_later: as the reactor's; gives back something with ``cancel``.
    :ivar new_id: a fresh request id.
    :ivar on_failure: told of exceptions that are our own fault.
    """

    local: LocalTarget
    refusal: Replies
    record: Record
    now: Callable[[], float]
    wall: Callable[[], float]
    call_later: Callable[..., Cancellable]
    new_id: Callable[[], bytes]
    on_failure: Callable[[str], None]
    keys: KeyFeed
    tracing: Tracing


class Cancellable(Protocol):
    """A call that has been put off."""

    def cancel(self) -> None:
        """Let it not happen."""


class Pipeline:
    """
    The phases of one listener's exchanges.

    :param snapshot: the rules; replaced as a whole on reload.
    :param parts: what it works with.
    """

    def __init__(self, snapshot: Snapshot, parts: Parts) -> None:
        self.snapshot = snapshot
        self.draining = False
        self.parts = parts
        self._now = parts.now
        self.waiters = Waiters(_MAX_HELD_BYTES)

    def run(self, exchange: Exchange, port: Downstream) -> None:
        """Take one exchange through the phases. Never raises; the answer goes to the port, now or later."""
        try:
            if not exchange.request_id:
                self._name(exchange)
            if self.draining and not exchange.was_held:
                raise errors.Draining
            decision = exchange.head.decision
            now_s = self._now() if exchange.was_held else exchange.started_s
            if not isinstance(decision, Decision) or decision.is_stale(self.snapshot, now_s):
                decision = self._decide(exchange)
            self._take(exchange, decision)
            if decision.ready is not None:
                self._answer(exchange, port, decision.ready)
                return
            self._admit(exchange, decision.route.max_body_bytes)
            if decision.route.server is None:
                self.parts.local.answer(exchange, port, self)
            elif self._clear(exchange, port, decision):
                self._send(exchange, port, decision)
        except GatewayError as error:
            if not self._tell_on_stream(exchange, port, error):
                self.refuse(exchange, port, error)
        except KeysAwaited as awaited:
            self._await_keys(exchange, port, awaited.issuer_id)
        except Exception:
            self._fail(exchange, port)

    def _name(self, exchange: Exchange) -> None:
        """By what it is found again: an id, that of a trusted proxy if there is one, and its place in a trace."""
        noted = exchange.head.noted
        given = noted.get(b"x-request-id") if exchange.peer.is_trusted else None
        exchange.request_id = given if given is not None and is_request_id(given) else self.parts.new_id()
        exchange.trace = self.parts.tracing.begin(noted.get(b"traceparent"))

    # --- phases -------------------------------------------------------------------------------------------------

    def _decide(self, exchange: Exchange) -> Decision:
        exchange.head.decision = None
        decision = decide(exchange, self.snapshot, Moment(self._now(), self.parts.wall()))
        exchange.head.decision = decision
        return decision

    def _take(self, exchange: Exchange, decision: Decision) -> None:
        """Note in the record what was decided."""
        server = decision.route.server
        if server is not None:
            exchange.server = server.name
            exchange.era = decision.era
        exchange.cors, exchange.client = decision.cors, decision.client
        if decision.grant is not None:
            exchange.grant = decision.grant
            exchange.principal = decision.grant.name
            exchange.expires_s = decision.expires_s

    def _admit(self, exchange: Exchange, max_body_bytes: int) -> None:
        head = exchange.head
        exchange.max_body_bytes = max_body_bytes
        if head.content_length is not None and head.content_length > max_body_bytes:
            raise errors.BodyTooLarge
        if b"origin" in head.noted and head.method == b"POST" and head.has_body:
            media_type = head.noted.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if media_type != b"application/json":
                raise errors.WrongMediaType
        if head.upgrade and head.has_body and websocket.is_upgrade(head):
            raise errors.BadHandshake("a WebSocket handshake has no body")

    def _clear(self, exchange: Exchange, port: Downstream, decision: Decision) -> bool:
        """Rights and limits that depend on the message itself. False: it is held, and starts over."""
        if not decision.needs_calls:
            return True
        calls: tuple[Call, ...] = decision.head_calls
        if exchange.head.has_body:
            bound_bytes = decision.snapshot.access.max_inspect_bytes
            if (exchange.head.content_length or 0) > bound_bytes:
                raise errors.BodyTooLargeToCheck
            if not exchange.body_is_here:
                bound_bytes = min(bound_bytes, exchange.max_body_bytes)
                Collecting(exchange, port, self, self.waiters).begin(bound_bytes, self.run)
                return False
            asked = self._inspect(exchange, decision)
            calls = (*calls, *asked) if decision.opens_stream else asked  # what a GET says does not make it another
        return decision.toll is None or exchange.charged or self._charge(exchange, port, decision, calls)

    def _inspect(self, exchange: Exchange, decision: Decision) -> tuple[Call, ...]:
        """What the body asks for, and whether this principal may."""
        head = exchange.head
        if not decision.is_plain:
            raise errors.EncodedBody
        try:
            asked = (None if decision.decides_on_tools else glance(exchange.body)) or read_calls(exchange.body)
        except errors.AmbiguousBody:
            if decision.decides_on_tools or may_be_batch(exchange.body):
                raise
            return (UNREAD,)  # every limit charges that, once: it can be one message at the most
        if decision.era is _STATELESS and asked.calls != (UNREAD,):
            differs = mismatch(asked, head.noted.get(b"mcp-method"), head.noted.get(b"mcp-name"))
            if differs:
                raise errors.HeaderMismatch(differs)
        if decision.decides_on_tools:
            authorize_tools(exchange, decision, [call.name for call in asked.calls if call.method == TOOLS_CALL])
        if asked.calls != (UNREAD,) and not asked.is_batch:
            call = asked.calls[0]
            exchange.operation = Operation(call.method, call.name if call.method in _NAMED else "", asked.id)
        return asked.calls

    def _charge(self, exchange: Exchange, port: Downstream, decision: Decision, calls: tuple[Call, ...]) -> bool:
        """The limits, all or nothing; false if the exchange waits for its turn."""
        toll = decision.toll
        assert toll is not None
        now_s = self._now() if exchange.was_held else exchange.started_s
        # A call, as nearly always, is not worth a generator (0.5 us).
        is_call = len(calls) == 1 and calls[0].method == TOOLS_CALL
        opens_stream = decision.opens_stream or (not is_call and _listens(calls))
        verdict = toll.admit(calls, opens_stream, now_s)
        if verdict is ADMITTED:
            exchange.charged = True
            return True
        if verdict.refusal is not None:
            raise _over_limit(verdict.refusal)
        exchange.charged = True
        if verdict.slots:
            exchange.on_end = partial(_release, verdict.slots)
        if verdict.wait_s > 0:
            Waiting(exchange, port, self, self.waiters).begin(partial(self._in, verdict.wait_s), self.run)
            return False
        return True

    def _in(self, wait_s: float, go_on: Callable[[], None]) -> Callable[[], None]:
        return self.parts.call_later(wait_s, go_on).cancel

    def _await_keys(self, exchange: Exchange, port: Downstream, issuer_id: str) -> None:
        exchange.awaited = True
        keys = partial(self.parts.keys.await_keys, issuer_id)
        Waiting(exchange, port, self, self.waiters).begin(keys, self.run)

    def _send(self, exchange: Exchange, port: Downstream, decision: Decision) -> None:
        plan, stem = way_of(exchange, decision)
        exchange.bytes_in = len(exchange.body)
        if exchange.operation is None and exchange.body:
            exchange.operation = operation_of(exchange.body)
        trace = exchange.trace
        traced = b"\r\n" if trace is None else b"\r\n" + traceparent.line(trace)
        # Joining takes two thirds of formatting.
        request = b"".join((stem, b"X-Request-Id: ", exchange.request_id, traced, framing(exchange.head), b"\r\n"))
        Relay(exchange, port, plan, self, self._now).begin(request)

    # --- the end of every exchange ------------------------------------------------------------------------------

    def _answer(self, exchange: Exchange, port: Downstream, answer: Answer) -> None:
        """An answer that needs nobody else."""
        exchange.status = answer.status
        self.record(exchange, Ended.COMPLETE)
        port.start(answer, b"", True)

    def _tell_on_stream(self, exchange: Exchange, port: Downstream, error: GatewayError) -> bool:
        """
        A legacy client hears answers on its stream alone (MCP 2024-11-05, "HTTP with SSE"): a refusal of its call, too.

        :returns: false if it is no such call, was refused for its head, or its stream takes nothing now.
        """
        decision = exchange.head.decision
        if not isinstance(decision, Decision) or decision.route.server is None:
            return False
        stream = decision.route.server.announced.get(exchange.head.target)
        if stream is None or request_id(exchange.body) is None:
            return False
        _, body = self.parts.refusal(error, exchange)
        if not stream.tell(b"event: message\ndata: %b\n\n" % body):
            return False
        exchange.error = error
        self._answer(exchange, port, Answer(202, b"Accepted", exchange.cors, 0))
        return True

    def refuse(self, exchange: Exchange, port: Downstream, error: GatewayError) -> None:
        """Answer with an error, and record it. Nothing has been answered yet."""
        origin = exchange.head.noted.get(b"origin")
        if origin is not None and not exchange.admin and self.snapshot.origins.admits_origin(origin):
            exchange.cors = cors.lines(origin)  # a page may read why, however early it was refused
        if not exchange.request_id:  # its head could not even be read
            exchange.request_id = self.parts.new_id()
        if exchange.operation is None and exchange.body:
            exchange.operation = operation_of(exchange.body)
        answer, body = self.parts.refusal(error, exchange)
        exchange.error = error
        exchange.status = answer.status
        exchange.bytes_in = exchange.bytes_in or len(exchange.body)
        exchange.bytes_out = exchange.told_out + len(body)  # what was held and counted meanwhile is not taken back
        self.record(exchange, Ended.REFUSED)
        port.start(answer, body, True)

    def open_stream(self, exchange: Exchange) -> None:
        """Its answer is a stream from now on."""
        self.parts.record.open_stream(exchange)

    def first_event(self, exchange: Exchange) -> None:
        """Its stream has had its first event."""
        self.parts.record.first_event(exchange)

    def let_go(self, exchange: Exchange) -> None:
        """Its body is kept no longer, though it goes on."""
        self.waiters.give_back(exchange)

    def record(self, exchange: Exchange, ended: Ended) -> None:
        """The exchange is over, however it went."""
        if exchange.ended is None:
            exchange.ended = ended
            if exchange.on_end is not None:
                exchange.on_end()
            if exchange.was_held:
                self.waiters.give_back(exchange)
            self.parts.record.end(exchange)

    def _fail(self, exchange: Exchange, port: Downstream) -> None:
        """An exception that is our own fault: the client gets an id, the log the same id and the traceback."""
        error = GatewayError()
        self.parts.on_failure(f"{exchange!r}")
        self.refuse(exchange, port, error)


def _over_limit(refusal: Refusal) -> GatewayError:
    kind = errors.TooManyStreams if refusal.is_of_streams else errors.RateLimited
    return kind.until(refusal.retry_after_s, refusal.policy, refusal.header_lines())


def _listens(calls: tuple[Call, ...]) -> bool:
    """Whether a stream is asked for, or nobody can say."""
    return any(call.method == LISTEN or call == UNREAD for call in calls)


def _release(slots: tuple[StreamSlot, ...]) -> None:
    for slot in slots:
        slot.release()
