"""The account that is kept of exchanges."""

from __future__ import annotations

import pytest

from mcpgate import errors
from mcpgate.errors import GatewayError
from mcpgate.exchange import Ended, Era, Exchange, Peer
from mcpgate.metrics.tallies import Tallies
from mcpgate.policy.authn import Grant
from mcpgate.recorder import Clocks, Recorder
from mcpgate.wire.http1 import RequestHead
from mcpgate.wire.operation import Operation, Result
from mcpgate.wire.traceparent import Trace

NOW_S, WALL_S = 100.0, 1_800_000_000.0
TRACE = Trace(b"a" * 32, b"b" * 16, b"c" * 16, True)


class Told:
    """Who keeps lines, or spans."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.times: list[tuple[float, float]] = []

    def record(self, exchange: Exchange, *times: float) -> None:
        self.exchanges.append(exchange)
        self.times += [(times[0], times[1])] if times else []


class Desk:
    """A recorder with everybody who listens."""

    def __init__(self) -> None:
        self.tallies, self.log, self.spans = Tallies(), Told(), Told()
        clocks = Clocks(lambda: NOW_S, lambda: WALL_S)
        self.recorder = Recorder(self.tallies, clocks, self.log, self.spans)


def _exchange(server: str = "x", method: bytes = b"POST", **more: object) -> Exchange:
    exchange = Exchange(RequestHead(method, b"/mcp", True, b"", {}), Peer(b"10.0.0.1", b"http", False), NOW_S - 2)
    exchange.server, exchange.status, exchange.request_id = server, 200, b"id-1"
    exchange.ended = Ended.REFUSED if more.get("error") else Ended.COMPLETE
    exchange.replica = "127.0.0.1:3010" if server and not more.get("error") else ""
    for name, value in more.items():
        setattr(exchange, name, value)
    return exchange


def test_one_end_is_told_to_everybody_once() -> None:
    """Counts, log, span."""
    desk = Desk()
    exchange = _exchange(era=Era.SESSION, trace=TRACE, bytes_in=3, bytes_out=5)
    desk.recorder.end(exchange)
    tally = desk.tallies.servers["x"]
    assert tally.requests == {(b"POST", 200, Era.SESSION): 1}
    assert (tally.bytes_in, tally.bytes_out, tally.durations.sum) == (3, 5, 2.0)
    assert desk.log.exchanges == desk.spans.exchanges == [exchange]
    assert desk.spans.times == [(WALL_S - 2, WALL_S)]
    assert desk.tallies.spans == 1


def test_a_version_that_a_client_invents_opens_no_kind_of_its_own() -> None:
    """Without a message it is no part of what is counted."""
    desk = Desk()
    for number in range(9):
        exchange = _exchange(method=b"GET", era=Era.SESSION, sent_s=NOW_S - 1, first_byte_s=NOW_S - 1)
        exchange.head.noted[b"mcp-protocol-version"] = b"invented %d" % number
        desk.recorder.end(exchange)
    assert len(desk.tallies._usual) == 1
    assert desk.tallies.servers["x"].requests == {(b"GET", 200, Era.SESSION): 9}


@pytest.mark.parametrize("trace", [None, TRACE._replace(is_sampled=False), TRACE._replace(span_id=b"")])
def test_only_sampled_spans_of_ours_are_exported(trace: Trace | None) -> None:
    """A trace that only passes through is somebody else's."""
    desk = Desk()
    desk.recorder.end(_exchange(trace=trace))
    assert (desk.spans.exchanges, desk.tallies.spans) == ([], 0)


def test_a_stream_is_open_from_its_head_to_its_end() -> None:
    """And its bytes are counted once, whenever somebody asks meanwhile."""
    desk = Desk()
    exchange = _exchange(method=b"GET", transport="sse", first_event_s=NOW_S - 1.5, bytes_out=10)
    desk.recorder.open_stream(exchange)
    desk.recorder.first_event(exchange)

    class Relay:
        def __init__(self) -> None:
            self.exchange = exchange

        def count_bytes(self) -> None:
            exchange.bytes_out += 7

    desk.recorder.settle(Relay())  # type: ignore[arg-type]
    tally = desk.tallies.servers["x"]
    assert (tally.opened, tally.open, tally.bytes_out, tally.first_events.sum) == ({"sse": 1}, {"sse": 1}, 17, 0.5)
    exchange.ended, exchange.bytes_out = Ended.CLIENT_GONE, 20
    desk.recorder.end(exchange)
    assert (tally.opened, tally.open, tally.bytes_out) == ({"sse": 1}, {"sse": 0}, 20)
    assert tally.ends == {Ended.CLIENT_GONE: 1}
    assert (tally.stream_durations.sum, sum(tally.durations.counts)) == (2.0, 0)


@pytest.mark.parametrize(
    ("method", "operation", "counts"),
    [
        (b"POST", Operation("tools/call", "echo"), 1),
        (b"POST", None, 1),
        (b"POST", Operation("subscriptions/listen"), 0),
        (b"GET", None, 0),
    ],
)
def test_the_duration_of_a_call_counts_also_if_a_stream_answers_it(method: bytes, operation: Operation | None, counts: int) -> None:
    """One that stays open until somebody leaves says nothing of how fast the server is."""
    desk = Desk()
    exchange = _exchange(method=method, operation=operation, transport="streamable-http")
    desk.recorder.open_stream(exchange)
    desk.recorder.end(exchange)
    assert sum(desk.tallies.servers["x"].durations.counts) == counts


@pytest.mark.parametrize(
    ("error", "grant", "outcome"),
    [
        (None, None, "open"),
        (None, Grant("alice", frozenset()), "granted"),
        (errors.Unauthenticated(), None, "no_token"),
        (errors.ExpiredToken(), None, "expired_token"),
        (errors.ServerForbidden(), Grant("alice", frozenset()), "server_not_granted"),
        (errors.AddressLimited(), None, "address_limited"),
        (errors.ConnectFailed(), Grant("alice", frozenset()), "granted"),
    ],
)
def test_what_became_of_the_question_who_asks(error: GatewayError | None, grant: Grant | None, outcome: str) -> None:
    """Of requests to servers; the gateway's own addresses are not in it."""
    desk = Desk()
    desk.recorder.end(_exchange(error=error, grant=grant))
    desk.recorder.end(_exchange("", error=error, grant=grant))
    assert desk.tallies.auth == {outcome: 1}


@pytest.mark.parametrize(
    ("error", "server", "is_shown"),
    [
        (errors.ConnectFailed(detail="refused"), "x", True),
        (errors.GatewayError(), "", True),
        (errors.RouteNotFound(), "", False),
        (errors.Unauthenticated(), "x", False),
        (errors.RateLimited(), "x", False),
        (errors.ServerForbidden(), "x", True),
    ],
)
def test_what_an_operator_should_see_is_kept(error: GatewayError, server: str, is_shown: bool) -> None:
    """Not what every scan of the internet does, nor what has a counter of its own; everything is counted."""
    desk = Desk()
    desk.recorder.end(_exchange(server, error=error, status=error.status))
    assert [trouble.reason for trouble in desk.recorder.recent] == [error.reason] * is_shown
    assert desk.tallies.servers[server].errors == {error.reason: 1}


def test_a_traced_call_leaves_an_example() -> None:
    """By which a slow bucket leads to a trace."""
    desk = Desk()
    desk.recorder.end(_exchange(operation=Operation("tools/call", "echo"), trace=TRACE))
    ((key, histogram),) = desk.tallies.operations.items()
    assert key == ("tools/call", "", "")
    assert histogram.exemplar is not None
    assert (histogram.exemplar.trace_id, histogram.exemplar.value) == ("a" * 32, 2.0)


@pytest.mark.parametrize(
    ("status", "result", "error", "key"),
    [
        (200, Result(0, False), None, ("echo", True)),
        (200, None, None, ("other", True)),
        (200, Result(0, True), None, ("other", False)),
        (200, Result(-32602, False), None, ("other", False)),
        (502, None, errors.ConnectFailed(), ("other", False)),
    ],
)
def test_a_tool_gets_its_name_with_its_first_good_call(
    status: int, result: Result | None, error: GatewayError | None, key: tuple[str, bool]
) -> None:
    """What nobody has seen work may be an invention of the client."""
    desk = Desk()
    desk.recorder.tools = 3
    call = Operation("tools/call", "echo")
    desk.recorder.end(_exchange(operation=call, status=status, result=result, error=error))
    assert {name: count for name, count in desk.tallies.servers["x"].tools.items() if count} == {key: 1}


def test_nobody_need_listen() -> None:
    """Access log off, no collector."""
    recorder = Recorder(Tallies(), Clocks(lambda: NOW_S, lambda: WALL_S), None, None)
    recorder.end(_exchange(trace=TRACE))


def test_any_method_and_any_status_are_few_keys() -> None:
    """The door of somebody's own site admits every method, and a server may say any status."""
    desk = Desk()
    for number in range(1000):
        desk.recorder.end(_exchange(method=b"M%d" % number, status=200))
        desk.recorder.end(_exchange(status=100 + number % 500))
    assert len(desk.tallies.servers["x"].requests) < 80
    assert sum(desk.tallies.servers["x"].requests.values()) == 2000


def test_what_was_let_in_nowhere_has_no_say_in_the_series() -> None:
    """Methods and versions of it are not told, only why it was refused."""
    desk = Desk()
    for number, method in enumerate(["tools/call", "ping", "tools/list", "prompts/get"]):
        refused = _exchange(error=errors.Unauthenticated(), operation=Operation(method))
        refused.head.noted[b"mcp-protocol-version"] = [b"2025-06-18", b"2026-07-28"][number % 2]
        desk.recorder.end(refused)
        desk.recorder.end(_exchange("", error=errors.RouteNotFound(), operation=Operation(method)))
    assert set(desk.tallies.operations) == {("_OTHER", "no_token", "")}


@pytest.mark.parametrize(
    ("ended", "error", "status", "kind"),
    [
        (Ended.CLIENT_GONE, None, 0, "client_gone"),
        (Ended.UPSTREAM_LOST, errors.BadAnswer(), 200, "bad_answer"),
        (Ended.DRAIN, errors.Draining(), 200, "draining"),
        (Ended.UPSTREAM_END, None, 200, ""),
    ],
)
def test_what_did_not_end_well_is_no_success(ended: Ended, error: GatewayError | None, status: int, kind: str) -> None:
    """A call without an answer, or with half of one."""
    desk = Desk()
    desk.recorder.tools = 3
    call = Operation("tools/call", "echo")
    desk.recorder.end(_exchange(operation=call, status=status, error=error, ended=ended, replica="127.0.0.1:1"))
    assert set(desk.tallies.operations) == {("tools/call", kind, "")}
    assert desk.tallies.servers["x"].tools.get(("other", not kind)) == 1


def test_who_ends_a_subscription_has_had_what_it_wanted() -> None:
    """Closing it is how that is done."""
    desk = Desk()
    listen = Operation("subscriptions/listen")
    exchange = _exchange(operation=listen, ended=Ended.CLIENT_GONE, transport="streamable-http")
    desk.recorder.open_stream(exchange)
    desk.recorder.end(exchange)
    assert set(desk.tallies.operations) == {("subscriptions/listen", "", "")}


def test_a_preflight_asks_nobody_who_it_is() -> None:
    """It is answered before that question, and counts as neither."""
    desk = Desk()
    desk.recorder.end(_exchange(method=b"OPTIONS", replica=""))
    assert desk.tallies.auth == {}


def test_a_name_of_a_tool_that_is_none_gets_no_series() -> None:
    """However well the call went: labels are read again and again."""
    desk = Desk()
    desk.recorder.tools = 3
    desk.recorder.end(_exchange(operation=Operation("tools/call", "x" * 129), result=Result(0, False)))
    assert set(desk.tallies.servers["x"].tools) == {("other", True), ("other", False)}
