"""
The end of every exchange, told once to everybody who keeps account: counts, log, traces, the list of what went wrong.

All of it is plain arithmetic on what the phases have noted in the exchange: 0.5 us for a call, 0.4 for its log line and
0.5 for writing that, where `json.loads` of the call takes 2 (``python -m benchmarks telling``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from mcpgate import errors
from mcpgate.errors import GatewayError
from mcpgate.exchange import Ended, Exchange
from mcpgate.metrics.families import error_type, folded, operation_key
from mcpgate.metrics.tallies import ServerTally, Tallies, Usual
from mcpgate.recent import Recent, Trouble
from mcpgate.upstream.ports import OpenExchange
from mcpgate.wire.operation import LISTEN, TOOLS_CALL, WENT_WELL

_VERSION = b"mcp-protocol-version"
_COMPLETE = Ended.COMPLETE  # looking a member up in its class takes 0.1 us until Python 3.12
_OTHER_TOOL = "other"
#: MCP 2025-11-25 tools, "Tool Names": 1 to 128 characters.
_TOOL_LETTERS = 128
#: What a client did wrong in so many words that nobody need look at it; who calls too often has a counter of its own.
_ORDINARY = (errors.Unauthenticated, errors.RateLimited, errors.Draining, errors.ServerRemoved)
#: Refusals that follow from who asks.
_AUTH_ERRORS = (
    errors.Unauthenticated, errors.ServerForbidden, errors.InsufficientScope, errors.ToolDenied, errors.AddressLimited,
    errors.KeysUnavailable,
)  # fmt: skip


class AccessLog(Protocol):
    """Who writes a line for each exchange."""

    def record(self, exchange: Exchange) -> None:
        """Note one exchange that is over."""


class SpanSink(Protocol):
    """Who exports spans."""

    def record(self, exchange: Exchange, started_wall_s: float, ended_wall_s: float) -> None:
        """Take the span of an exchange whose trace is recorded."""


class Clocks(NamedTuple):
    """``now`` only goes forward; ``wall`` gives seconds since 1970."""

    now: Callable[[], float]
    wall: Callable[[], float]


class Recorder:
    """
    Keeps account of exchanges; see `mcpgate.pipeline.Record`.

    :param log: ``None`` if no lines are written; ``spans`` if none are exported.
    :ivar tools: how many names of tools calls are counted by, for each server.
    """

    def __init__(self, tallies: Tallies, clocks: Clocks, log: AccessLog | None, spans: SpanSink | None) -> None:
        self.recent = Recent()
        self.tools = 0
        self._tallies = tallies
        self._now, self._wall = clocks
        self._log = log
        self._spans = spans

    def open_stream(self, exchange: Exchange) -> None:
        """Its answer is a stream from now on."""
        tally, transport = self._tallies.of(exchange.server), exchange.transport
        tally.opened[transport] = tally.opened.get(transport, 0) + 1
        tally.open[transport] = tally.open.get(transport, 0) + 1
        if b"last-event-id" in exchange.head.noted:
            tally.reopens += 1

    def first_event(self, exchange: Exchange) -> None:
        """Its stream has had its first event."""
        self._tallies.of(exchange.server).first_events.observe(exchange.first_event_s - exchange.started_s)

    def settle(self, relay: OpenExchange) -> None:
        """Count what has gone through an open exchange so far."""
        relay.count_bytes()
        exchange = relay.exchange
        tally = self._tallies.of(exchange.server)
        tally.bytes_in += exchange.bytes_in - exchange.told_in
        tally.bytes_out += exchange.bytes_out - exchange.told_out
        exchange.told_in, exchange.told_out = exchange.bytes_in, exchange.bytes_out

    def end(self, exchange: Exchange) -> None:
        """It is over, however it went."""
        now = self._now
        took_s = now() - exchange.started_s
        usual = None if self.tools else self._usual_of(exchange)
        if usual is None:
            self._count(exchange, self._tallies.of(exchange.server), took_s)
        else:
            usual.count(exchange, took_s)
            if exchange.trace is not None:
                usual.exemplify(took_s, exchange.trace.trace_id.decode("ascii"), self._wall())
        if self._log is not None:
            self._log.record(exchange)
        if exchange.trace is not None:
            self._export(exchange, took_s)

    def _usual_of(self, exchange: Exchange) -> Usual | None:
        """Where exchanges like this one are counted: those that went well, and are no streams; else ``None``."""
        result, operation, head = exchange.result, exchange.operation, exchange.head
        if exchange.error is not None or exchange.ended is not _COMPLETE or exchange.transport:
            return None
        if not (exchange.sent_s and exchange.first_byte_s) or exchange.status >= 400:
            return None
        if result is not WENT_WELL and result is not None:
            return None
        method, version = ("", None) if operation is None else (operation.method, head.noted.get(_VERSION))
        key = (
            exchange.server, head.method, exchange.status, exchange.era, method, version, exchange.grant is None,
        )  # fmt: skip
        return self._tallies.usual(key) or self._open_usual(exchange, key)

    def _open_usual(self, exchange: Exchange, key: tuple[object, ...]) -> Usual | None:
        """Only where the labels say what the message says: a key stands for one series then, and nobody invents any."""
        head, operation = exchange.head, exchange.operation
        durations = None
        if operation is not None:
            version = head.noted.get(_VERSION)
            labels = operation_key(exchange)
            if labels != (operation.method, "", "" if version is None else version.decode("latin-1")):
                return None
            durations = self._tallies.operation(labels)
        if folded(head.method, exchange.status) != (head.method, exchange.status):
            return None
        kind = (head.method, exchange.status, exchange.era)
        outcome = "open" if exchange.grant is None else "granted"
        return self._tallies.open_usual(key, Usual(self._tallies.of(exchange.server), kind, durations, outcome))

    def _count(self, exchange: Exchange, tally: ServerTally, took_s: float) -> None:
        server, requests, key = exchange.server, tally.requests, (exchange.head.method, exchange.status, exchange.era)
        count = requests.get(key)
        if count is None:
            key = (*folded(exchange.head.method, exchange.status), exchange.era)
            count = requests.get(key, 0)
        requests[key] = count + 1
        tally.bytes_in += exchange.bytes_in - exchange.told_in
        tally.bytes_out += exchange.bytes_out - exchange.told_out
        if exchange.transport:
            self._end_stream(exchange, tally, took_s)
        if not exchange.transport or not _is_lasting(exchange):
            tally.durations.observe(took_s)
        if exchange.sent_s and exchange.first_byte_s:
            tally.upstream_durations.observe(exchange.first_byte_s - exchange.sent_s)
        if exchange.operation is not None and server:
            self._count_operation(exchange, took_s)
            if self.tools and exchange.operation.method == TOOLS_CALL:
                self._count_tool(exchange, tally, exchange.operation.name)
        outcome = "open" if exchange.grant is None else "granted"
        if exchange.error is not None:
            outcome = self._note_error(exchange, tally, exchange.error) or outcome
        elif not exchange.replica:
            outcome = ""  # answered without a question: a preflight
        if server and outcome:
            self._tallies.count_auth(outcome)

    def _end_stream(self, exchange: Exchange, tally: ServerTally, took_s: float) -> None:
        tally.open[exchange.transport] -= 1
        if exchange.ended is not None:
            tally.ends[exchange.ended] = tally.ends.get(exchange.ended, 0) + 1
        tally.stream_durations.observe(took_s)

    def _count_operation(self, exchange: Exchange, took_s: float) -> None:
        histogram = self._tallies.operation(operation_key(exchange))
        if exchange.trace is None:
            histogram.observe(took_s)
        else:
            histogram.observe_traced(took_s, exchange.trace.trace_id.decode("ascii"), self._wall())

    def _count_tool(self, exchange: Exchange, tally: ServerTally, tool: str) -> None:
        """A name gets a series of its own with its first call that went well: nobody fills the list with inventions."""
        went_well = not error_type(exchange)
        is_proven = went_well and exchange.result is not None
        if (tool, True) not in tally.tools and not (is_proven and self._has_room(tally) and len(tool) <= _TOOL_LETTERS):
            tool = _OTHER_TOOL
        for outcome in (True, False):
            tally.tools.setdefault((tool, outcome), 0)
        tally.tools[tool, went_well] += 1

    def _has_room(self, tally: ServerTally) -> bool:
        """Each name has two entries, and so has what is none of them."""
        return len(tally.tools) - 2 * ((_OTHER_TOOL, True) in tally.tools) < 2 * self.tools

    def _note_error(self, exchange: Exchange, tally: ServerTally, error: GatewayError) -> str:
        """Count it, and show it to the operator if it is worth that; gives back why nobody was let in, if so."""
        tally.errors[error.reason] = tally.errors.get(error.reason, 0) + 1
        if not isinstance(error, _ORDINARY) and (exchange.server or error.status >= 500):
            self._show(exchange, error)
        return error.reason if isinstance(error, _AUTH_ERRORS) and exchange.ended is Ended.REFUSED else ""

    def _show(self, exchange: Exchange, error: GatewayError) -> None:
        self.recent.note(
            Trouble(
                at_s=self._wall(),
                request_id=exchange.request_id.decode("ascii"),
                server=exchange.server,
                client=exchange.client.decode("ascii", "replace"),
                principal=exchange.principal,
                status=exchange.status,
                reason=error.reason,
                ended=exchange.ended.value if exchange.ended is not None else "",
                text=error.text,
                detail=error.detail,
            )
        )

    def _export(self, exchange: Exchange, took_s: float) -> None:
        if self._spans is not None and exchange.trace is not None and exchange.trace.is_recorded:
            ended_s = self._wall()
            self._tallies.spans += 1
            self._spans.record(exchange, ended_s - took_s, ended_s)


def _is_lasting(exchange: Exchange) -> bool:
    """Whether a stream is open until somebody leaves, so that its duration says nothing of how fast the server is."""
    operation = exchange.operation
    return exchange.head.method != b"POST" or (operation is not None and operation.method == LISTEN)
