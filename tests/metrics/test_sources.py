"""mcpgate.metrics.sources: each series says what the part of the gateway says that it is about."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.metrics.gate import Connection, Gate, Relay, samples_of, text_of, told

from mcpgate.exchange import Ended, Era
from mcpgate.metrics.collection import Scrape
from mcpgate.metrics.families import FAMILIES
from mcpgate.metrics.observed import Holdings, LimitCount, ReloadState
from mcpgate.metrics.sources import SOURCES, Connects
from mcpgate.metrics.tallies import Histogram
from mcpgate.upstream.pool import Status


def test_every_family_has_a_source() -> None:
    """And no source is without a family."""
    assert list(SOURCES) == [family.name for family in FAMILIES]


def test_a_server_that_had_no_request_is_there() -> None:
    """With gauges, and with counters that begin at 0; not with requests that nobody made."""
    gate = Gate()
    gate.add("a", endpoints={"streamable-http": "/mcp", "sse": "/sse"})
    of_a = {
        (name, tuple(value for label, value in labels if label != "server")): value
        for (name, labels), value in samples_of(text_of(Scrape(gate.observed()))).items()
        if ("server", "a") in labels
    }
    assert of_a == {
        ("mcpgate_bytes_total", ("in",)): 0,
        ("mcpgate_bytes_total", ("out",)): 0,
        ("mcpgate_open_requests", ()): 0,
        ("mcpgate_streams_total", ("sse",)): 0,
        ("mcpgate_streams_total", ("streamable-http",)): 0,
        ("mcpgate_stream_reopens_total", ()): 0,
        ("mcpgate_upstream_up", ()): 1,
        ("mcpgate_replicas", ("up",)): 0,
        ("mcpgate_replicas", ("down",)): 0,
        ("mcpgate_replicas", ("unknown",)): 1,
        ("mcpgate_upstream_connections", ("idle",)): 0,
        ("mcpgate_upstream_connections", ("busy",)): 0,
        ("mcpgate_upstream_connects_total", ("ok",)): 0,
        ("mcpgate_upstream_connects_total", ("failed",)): 0,
    }


def test_requests_are_told_by_labels_of_fixed_lists() -> None:
    """Statuses and methods that share a label are one series; the gateway's own requests have a name of their own."""
    gate = Gate()
    gate.tallies.of("a").requests = {
        (b"POST", 200, Era.SESSION): 5, (b"POST", 298, Era.STATELESS): 1, (b"POST", 299, Era.STATELESS): 2,
        (b"LINK", 404, Era.OTHER): 3, (b"MKCOL", 404, Era.OTHER): 4, (b"GET", 0, Era.SSE): 6,
    }  # fmt: skip
    gate.tallies.of("").requests = {(b"GET", 404, Era.OTHER): 7}
    scrape = Scrape(gate.observed())
    found = {
        tuple(dict(labels)[label] for label in ("server", "method", "status", "era")): value
        for (name, labels), value in samples_of(text_of(scrape)).items()
        if name == "mcpgate_requests_total"
    }
    assert found == {
        ("a", "POST", "200", "session"): 5,
        ("a", "POST", "2xx", "stateless"): 3,
        ("a", "_OTHER", "404", "other"): 7,
        ("a", "GET", "0", "sse"): 6,
        ("_gateway", "GET", "404", "other"): 7,
    }


def test_what_a_tally_holds_is_told() -> None:
    """One sample for each number in it."""
    gate = Gate()
    tally = gate.tallies.of("a")
    tally.bytes_in, tally.bytes_out, tally.reopens = 11, 22, 3
    tally.errors["rate_limited"] = 4
    tally.opened["sse"], tally.open["sse"], tally.ends[Ended.CLIENT_GONE] = 6, 0, 6
    tally.tools["add", True], tally.tools["add", False] = 8, 1
    scrape = Scrape(gate.observed())
    assert told(scrape, "mcpgate_bytes_total", server="a", direction="in") == 11
    assert told(scrape, "mcpgate_bytes_total", server="a", direction="out") == 22
    assert told(scrape, "mcpgate_stream_reopens_total", server="a") == 3
    assert told(scrape, "mcpgate_errors_total", server="a", reason="rate_limited") == 4
    assert told(scrape, "mcpgate_streams_total", server="a", transport="sse") == 6
    assert told(scrape, "mcpgate_open_streams", server="a", transport="sse") == 0
    assert told(scrape, "mcpgate_streams_ended_total", server="a", ended="client_gone") == 6
    assert told(scrape, "mcpgate_tool_calls_total", server="a", tool="add", outcome="ok") == 8
    assert told(scrape, "mcpgate_tool_calls_total", server="a", tool="add", outcome="error") == 1


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("durations", "mcpgate_request_duration_seconds"),
        ("upstream_durations", "mcpgate_upstream_duration_seconds"),
        ("stream_durations", "mcpgate_stream_duration_seconds"),
        ("first_events", "mcpgate_time_to_first_event_seconds"),
    ],
)
def test_a_histogram_is_told_when_it_has_seen_something(attribute: str, name: str) -> None:
    """Each has a series of its own."""
    gate = Gate()
    scrape = Scrape(gate.observed())
    histogram = getattr(gate.tallies.of("a"), attribute)
    assert told(scrape, f"{name}_count", server="a") is None
    histogram.observe(0.5)
    assert told(scrape, f"{name}_count", server="a") == 1
    assert told(scrape, f"{name}_sum", server="a") == 0.5


def test_operations_carry_their_trace_where_the_format_has_a_place_for_it() -> None:
    """Under the names of OpenTelemetry."""
    gate = Gate()
    gate.tallies.operation(("tools/call", "tool_error", "2026-07-28")).observe_traced(0.3, "f" * 32, 1.0)
    scrape = Scrape(gate.observed())
    labels = {"mcp_method_name": "tools/call", "error_type": "tool_error", "mcp_protocol_version": "2026-07-28"}
    assert told(scrape, "mcp_server_operation_duration_seconds_count", **labels) == 1
    assert "f" * 32 in text_of(scrape, b"application/openmetrics-text")


def test_replicas_and_their_connections_are_told() -> None:
    """A server is down when the last attempt at each of its replicas has failed."""
    gate = Gate()
    server = gate.add("a", "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3")
    first, second, third = server.replicas
    first.status = second.status = Status.DOWN
    third.status, third.open_count, third._idle = Status.UP, 5, cast(Any, [object(), object()])
    third.connects_ok, first.connects_failed = 9, 4
    scrape = Scrape(gate.observed())
    assert [told(scrape, "mcpgate_replicas", server="a", state=state) for state in ("up", "down", "unknown")] == [
        1,
        2,
        0,
    ]
    assert told(scrape, "mcpgate_upstream_connections", server="a", state="idle") == 2
    assert told(scrape, "mcpgate_upstream_connections", server="a", state="busy") == 3
    assert told(scrape, "mcpgate_upstream_connects_total", server="a", outcome="ok") == 9
    assert told(scrape, "mcpgate_upstream_connects_total", server="a", outcome="failed") == 4
    assert told(scrape, "mcpgate_upstream_up", server="a") == 1
    third.status = Status.DOWN
    assert told(scrape, "mcpgate_upstream_up", server="a") == 0


def test_attempts_do_not_fall_when_a_reload_takes_a_replica_away() -> None:
    """Prometheus would take that for a restart, and count all the others once more."""
    gate, connects = Gate(), Connects()
    server = gate.add("a", "http://127.0.0.1:1", "http://127.0.0.1:2")
    gone, stays = server.placements
    gone.replica.connects_ok, stays.replica.connects_ok = 100, 10
    assert connects.count(gate.servers) == {"a": (110, 0)}
    server.placements = (stays,)
    stays.replica.connects_ok += 1
    assert connects.count(gate.servers) == {"a": (111, 0)}
    assert connects.count({}) == {}


def test_who_is_here_is_told() -> None:
    """From the headcount."""
    gate = Gate()
    gate.add("a").relays.add(cast(Any, Relay()))
    gate.connections["data"].add(Connection("tunnel", 5))
    scrape = Scrape(gate.observed())
    assert told(scrape, "mcpgate_open_requests", server="a") == 1
    assert told(scrape, "mcpgate_open_connections", listener="data", state="tunnel") == 1
    assert told(scrape, "mcpgate_open_connections", listener="data", state="idle") == 0
    assert told(scrape, "mcpgate_buffered_bytes") == 5


def test_the_gateway_tells_of_itself() -> None:
    """Readiness, configuration, limits, logs, faults."""
    gate = Gate()
    gate.checks["draining"] = False
    gate.holdings = Holdings(2, 512)
    gate.limits = [LimitCount("calls", ("principal",), "20/s", 10, 2, 3)]
    gate.reload_state = ReloadState(False, 1_800_000_000.5)
    gate.dropped_lines["access", "sink"] = 6
    tallies = gate.tallies
    tallies.auth["granted"], tallies.accepted, tallies.turned_away = 4, 70, 7
    tallies.reloads, tallies.failures, tallies.spans = {True: 3, False: 1}, 8, 9
    tallies.lag.observe(0.2)
    tallies.pauses[2] = Histogram((0.1,))
    scrape = Scrape(gate.observed())
    expected: list[tuple[float, str, dict[str, str]]] = [
        (0, "ready", {}),
        (0, "config_last_reload_successful", {}),
        (1_800_000_000.5, "config_last_reload_success_timestamp_seconds", {}),
        (3, "config_reloads_total", {"outcome": "ok"}),
        (1, "config_reloads_total", {"outcome": "refused"}),
        (10, "limit_decisions_total", {"policy": "calls", "outcome": "admitted"}),
        (2, "limit_decisions_total", {"policy": "calls", "outcome": "waited"}),
        (3, "limit_decisions_total", {"policy": "calls", "outcome": "refused"}),
        (6, "log_dropped_lines_total", {"log": "access", "cause": "sink"}),
        (4, "auth_total", {"outcome": "granted"}),
        (70, "connections_total", {"outcome": "accepted"}),
        (7, "connections_total", {"outcome": "turned_away"}),
        (18_000, "max_connections", {}),
        (2, "held_exchanges", {}),
        (512, "held_bytes", {}),
        (8, "unexpected_failures_total", {}),
        (9, "spans_total", {}),
        (1, "reactor_lag_seconds_count", {}),
        (0, "gc_pause_seconds_count", {"generation": "2"}),
    ]
    found = samples_of(text_of(scrape))
    for value, name, labels in expected:
        assert found[f"mcpgate_{name}", tuple(sorted(labels.items()))] == value, name


def test_what_runs_is_told() -> None:
    """Versions, as a label of a number that is always 1."""
    (labels,) = [
        dict(labels)
        for (name, labels) in samples_of(text_of(Scrape(Gate().observed())))
        if name == "mcpgate_build_info"
    ]
    assert labels["version"] == "0.1"
    assert labels["python"].startswith("3.")
    assert int(labels["twisted"].split(".")[0]) >= 26
