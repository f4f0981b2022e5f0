"""The state of a gateway as plain values: what is counted, what is listed, what is estimated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.exchange import Ended, Era, Exchange, Peer
from mcpgate.metrics.observed import Connection, Holdings, LimitCount, Members, Observed, ReloadState
from mcpgate.metrics.tallies import DURATION_BOUNDS, Histogram, Tallies
from mcpgate.recent import Recent, Trouble
from mcpgate.status import quantile, status
from mcpgate.upstream.pool import Status
from mcpgate.upstream.ports import OpenExchange
from mcpgate.upstream.server import Server
from mcpgate.wire.http1 import RequestHead

NOW_S, WALL_S = 1000.0, 1_800_000_000.0


def a_relay(server: str = "x", transport: str = "sse", started_s: float = NOW_S) -> OpenExchange:
    exchange = Exchange(RequestHead(b"GET", b"/", True, b"", {}, keep_alive=True), Peer(b"10.0.0.1", b"http", False), 0)
    exchange.server, exchange.transport, exchange.started_s = server, transport, started_s
    exchange.request_id, exchange.principal, exchange.replica = b"id-1", "alice", "127.0.0.1:3010"
    return cast(OpenExchange, SimpleNamespace(exchange=exchange))


def a_server(name: str = "x", *relays: OpenExchange, replicas: tuple[Status, ...] = (Status.UP,)) -> Server:
    stand_ins = [
        SimpleNamespace(name=f"127.0.0.1:{3010 + i}", status=each, open_count=3, idle_count=2, connects_failed=i)
        for i, each in enumerate(replicas)
    ]
    settings = SimpleNamespace(title="Title", path=f"/mcp/{name}")
    found = SimpleNamespace(name=name, settings=settings, status=Status.UP, relays=list(relays), replicas=stand_ins)
    return cast(Server, found)


def a_connection(state: str) -> Connection:
    return cast(Connection, SimpleNamespace(state=state))


def seen(*servers: Server, settle: Callable[[OpenExchange], None] = lambda relay: None) -> Observed:
    """A gateway with these servers, in which nothing has happened."""
    return Observed(
        tallies=Tallies(),
        recent=Recent(),
        servers=lambda: {server.name: server for server in servers},
        retired=list,
        members=Members,
        connections=lambda: {"data": [], "admin": []},
        max_connections=900,
        holdings=lambda: Holdings(0, 0),
        limits=list,
        checks=lambda: {"config": True, "listeners": True, "not draining": True},
        reload_state=lambda: ReloadState(True, WALL_S - 60),
        dropped_lines=dict,
        settle=settle,
        wall=lambda: WALL_S,
        now=lambda: NOW_S,
        started_at_s=WALL_S - 90,
        version="1.2.3",
    )


# --- the gateway ------------------------------------------------------------------------------------------------------


def test_a_fresh_gateway_tells_that_nothing_has_happened() -> None:
    """Zeros and nulls, not gaps."""
    told = status(seen(a_server()))
    assert told["gateway"] == {
        "version": "1.2.3",
        "state": "ready",
        "ready": True,
        "draining": False,
        "checks": {"config": True, "listeners": True, "not draining": True},
        "time_s": WALL_S,
        "uptime_s": 90.0,
        "reload": {"successful": True, "success_at_s": WALL_S - 60},
        "connections": {"open": 0, "max": 900, "states": {}, "admin": 0, "turned_away": 0},
        "held": {"exchanges": 0, "body_bytes": 0},
        "unexpected_failures": 0,
        "dropped_log_lines": 0,
    }
    (server,) = told["servers"]
    assert (server["requests"], server["errors"], server["open_requests"], server["open_streams"]) == (0, 0, 0, {})
    assert server["duration_s"] == {"count": 0, "mean": None, "p50": None, "p99": None}
    assert (told["streams"], told["limits"], told["recent"]) == ([], [], [])


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ({"config": True, "not draining": True}, "ready"),
        ({"config": True, "not draining": False}, "draining"),
        ({"listeners": False, "not draining": True}, "not ready"),
    ],
)
def test_one_word_says_how_it_stands(checks: dict[str, bool], state: str) -> None:
    """The one that a person looks for."""
    assert status(replace(seen(), checks=lambda: checks))["gateway"]["state"] == state


def test_connections_are_counted_by_what_they_do() -> None:
    """Those of operators only as a number."""
    listeners = {
        "data": [a_connection("idle"), a_connection("stream"), a_connection("idle")],
        "admin": [a_connection("idle")],
    }
    observed = replace(seen(), connections=lambda: listeners)
    observed.tallies.turned_away = 4
    told = status(observed)["gateway"]["connections"]
    assert told == {"open": 3, "max": 900, "states": {"idle": 2, "stream": 1}, "admin": 1, "turned_away": 4}


def test_what_was_lost_or_failed_is_told() -> None:
    """Dropped log lines of all causes, and failures that are the gateway's own."""
    observed = replace(seen(), dropped_lines=lambda: {("access", "sink"): 2, ("event", "flood"): 3})
    observed.tallies.failures = 1
    told = status(observed)["gateway"]
    assert (told["dropped_log_lines"], told["unexpected_failures"]) == (5, 1)


# --- servers ----------------------------------------------------------------------------------------------------------


def test_a_server_tells_what_its_exchanges_came_to() -> None:
    """Requests by class of answer and by era, errors by reason, streams by transport and by end."""
    observed = seen(a_server("x", a_relay(), a_relay(transport="")))
    tally = observed.tallies.of("x")
    tally.requests = {(b"POST", 200, Era.SESSION): 5, (b"GET", 204, Era.SSE): 1, (b"GET", 0, Era.SSE): 2}
    tally.errors = {"rate_limited": 1, "connect_failed": 3}
    tally.open, tally.opened, tally.ends = {"sse": 1, "other": 0}, {"sse": 4}, {Ended.CLIENT_GONE: 3}
    tally.bytes_in, tally.bytes_out, tally.reopens = 10, 20, 1
    (told,) = status(observed)["servers"]
    assert (told["requests"], told["answers"]) == (8, {"none": 2, "2xx": 6})
    assert told["eras"] == {"session": 5, "sse": 3}
    assert (told["errors"], list(told["reasons"].items())) == (4, [("connect_failed", 3), ("rate_limited", 1)])
    assert (told["open_requests"], told["open_streams"], told["streams_opened"]) == (1, {"sse": 1}, 4)
    assert (told["streams_ended"], told["stream_reopens"]) == ({"client_gone": 3}, 1)
    assert (told["bytes_in"], told["bytes_out"]) == (10, 20)


def test_a_server_tells_of_its_replicas() -> None:
    """Address, status, connections."""
    (told,) = status(seen(a_server("x", replicas=(Status.UP, Status.DOWN))))["servers"]
    assert told["replicas"] == [
        {"address": "127.0.0.1:3010", "status": "up", "open": 3, "idle": 2, "connects_failed": 0},
        {"address": "127.0.0.1:3011", "status": "down", "open": 3, "idle": 2, "connects_failed": 1},
    ]


def test_servers_stand_in_the_order_of_the_configuration() -> None:
    """Also those that nobody has used; looking makes no tally."""
    observed = seen(a_server("b"), a_server("a"))
    assert [server["name"] for server in status(observed)["servers"]] == ["b", "a"]
    assert set(observed.tallies.servers) == {""}


def test_requests_that_found_no_server_are_told_apart() -> None:
    """Scanners show there."""
    observed = seen(a_server())
    observed.tallies.of("").requests = {(b"GET", 404, Era.OTHER): 7}
    assert status(observed)["own_addresses"]["answers"] == {"4xx": 7}


# --- streams, limits, errors ------------------------------------------------------------------------------------------


def test_the_longest_streams_are_listed() -> None:
    """Fifty of them; calls that are no streams are not among them, those of a server on its way out are."""
    relays = [a_relay(started_s=float(second)) for second in range(60)]
    observed = replace(
        seen(a_server("x", *relays, a_relay(transport=""))),
        retired=lambda: [a_server("old", a_relay("old", started_s=-5))],
    )
    told = status(observed)["streams"]
    assert len(told) == 50
    assert [each["age_s"] for each in told[:3]] == [1005, 1000, 999]
    assert told[1] == {
        "server": "x",
        "transport": "sse",
        "client": "10.0.0.1",
        "principal": "alice",
        "replica": "127.0.0.1:3010",
        "age_s": 1000.0,
        "bytes_in": 0,
        "bytes_out": 0,
        "request_id": "id-1",
    }


def test_bytes_of_open_streams_count_as_they_are_now() -> None:
    """What passed since the last look is counted before it is told."""
    relay = a_relay()
    observed = seen(a_server("x", relay))

    def settle(found: OpenExchange) -> None:
        found.exchange.bytes_out = observed.tallies.of("x").bytes_out = 70

    told = status(replace(observed, settle=settle))
    assert (told["streams"][0]["bytes_out"], told["servers"][0]["bytes_out"]) == (70, 70)


def test_of_very_many_streams_only_a_part_is_looked_at() -> None:
    """The work is bounded, however many clients there are."""
    looked: list[OpenExchange] = []
    status(seen(a_server("x", *(a_relay() for _ in range(1500))), settle=looked.append))
    assert len(looked) == 1000


def test_limits_and_errors_are_told_as_they_were_noted() -> None:
    """Whatever a client chose stands there as it is: a value."""
    observed = replace(seen(), limits=lambda: [LimitCount("calls", ("principal", "tool"), "5/s, 10 at once", 3, 2, 1)])
    trouble = Trouble(WALL_S, "id-9", "x", "10.0.0.1", "<b>eve</b>", 502, "connect_failed", "refused", "text", "detail")
    observed.recent.note(trouble)
    told = status(observed)
    assert told["limits"] == [
        {
            "name": "calls",
            "key": ["principal", "tool"],
            "allowance": "5/s, 10 at once",
            "admitted": 3,
            "waited": 2,
            "refused": 1,
        }
    ]
    assert told["recent"] == [trouble._asdict()]


def test_the_whole_is_json() -> None:
    """Nothing in it needs to be known to be read."""
    observed = seen(a_server("x", a_relay()))
    observed.tallies.of("x").durations.observe(0.2)
    told: Any = status(observed)
    assert json.loads(json.dumps(told)) == told


# --- quantiles --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 9.9), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_right_bucket(values: list[float], share: float) -> None:
    """At most as far off as the bucket is wide, in which the value with that rank lies."""
    histogram = Histogram(DURATION_BOUNDS)
    for value in values:
        histogram.observe(value)
    exact = sorted(values)[ceil(share * len(values)) - 1]
    found = quantile(histogram, share * len(values))
    upper = next(bound for bound in DURATION_BOUNDS if exact <= bound)
    lower = max(bound for bound in (0.0, *DURATION_BOUNDS) if bound < upper)
    assert lower <= found <= upper


def test_a_quantile_beyond_the_bounds_is_the_last_bound() -> None:
    """Nobody knows how much greater it is."""
    histogram = Histogram(DURATION_BOUNDS)
    histogram.observe(1e6)
    assert quantile(histogram, 0.99) == DURATION_BOUNDS[-1]


def test_a_mean_is_exact() -> None:
    """It comes from the sum."""
    observed = seen(a_server())
    for value in (0.1, 0.2):
        observed.tallies.of("x").durations.observe(value)
    told = status(observed)["servers"][0]["duration_s"]
    assert (told["count"], told["mean"]) == (2, pytest.approx(0.15))
