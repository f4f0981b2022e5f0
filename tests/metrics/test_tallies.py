"""mcpgate.metrics.tallies: what is counted, and what bounds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcpgate.exchange import Era, Exchange, Peer
from mcpgate.metrics.tallies import MAX_OPERATIONS, MAX_USUAL, OTHER, QUICK_S, Exemplar, Histogram, Tallies, Usual
from mcpgate.wire.http1 import RequestHead


@given(st.lists(st.floats(0, 20, allow_nan=False)))
def test_a_value_is_counted_up_to_the_first_bound_that_it_does_not_exceed(values: list[float]) -> None:
    """A value equal to a bound belongs to it, as Prometheus' ``le`` says; all are in the sum."""
    histogram = Histogram((1.0, 5.0, 10.0))
    for value in values:
        histogram.observe(value)
    assert histogram.counts == [
        sum(value <= 1 for value in values),
        sum(1 < value <= 5 for value in values),
        sum(5 < value <= 10 for value in values),
        sum(value > 10 for value in values),
    ]
    assert histogram.sum == sum(values)


def test_the_last_traced_value_is_kept_as_an_example() -> None:
    """It counts like every other one; those without a trace do not replace it."""
    histogram = Histogram((1.0,))
    histogram.observe(0.5)
    assert histogram.exemplar is None
    histogram.observe_traced(0.7, "a" * 32, 1_800_000_000.0)
    histogram.observe_traced(3.0, "b" * 32, 1_800_000_001.0)
    histogram.observe(0.1)
    assert histogram.exemplar == Exemplar("b" * 32, 3.0, 1_800_000_001.0)
    assert histogram.counts == [3, 1]


def test_an_operation_keeps_its_histogram() -> None:
    """The same kind of message goes on where it was."""
    tallies = Tallies()
    tallies.operation(("tools/call", "", "")).observe(1.0)
    tallies.operation(("tools/call", "", "")).observe(1.0)
    tallies.operation(("tools/call", "tool_error", "")).observe(1.0)
    assert [sum(histogram.counts) for histogram in tallies.operations.values()] == [2, 1]


def test_operations_have_a_bound() -> None:
    """Beyond two hundred kinds a new one is counted among the others; the kind of failure is still told."""
    tallies = Tallies()
    keys = [(f"method/{number}", "", "2026-07-28") for number in range(3 * MAX_OPERATIONS)]
    for key in [*keys, *keys, ("x", "tool_error", "2026-07-28")]:
        tallies.operation(key).observe(0.1)
    assert len(tallies.operations) == MAX_OPERATIONS + 2
    assert sum(tallies.operations[OTHER, "", ""].counts) == 4 * MAX_OPERATIONS
    assert sum(tallies.operations[OTHER, "tool_error", ""].counts) == 1
    assert sum(tallies.operations[keys[0]].counts) == 2


KIND = (b"POST", 200, Era.SESSION)


def _exchange(upstream_s: float) -> Exchange:
    exchange = Exchange(RequestHead(b"POST", b"/", True, b"", {}), Peer(b"10.0.0.1", b"http", False), 5.0)
    exchange.bytes_in, exchange.bytes_out, exchange.told_out = 3, 10, 4
    exchange.sent_s, exchange.first_byte_s = 6.0, 6.0 + upstream_s
    return exchange


@given(st.lists(st.tuples(st.floats(0, 0.02), st.floats(0, 0.02)), min_size=1))
def test_what_is_usual_is_found_where_everything_is_found(times: list[tuple[float, float]]) -> None:
    """Whenever somebody looks: as if each had been counted there at once, and each once."""
    tallies, tally = Tallies(), Tallies().of("a")
    operation = tallies.operation(("ping", "", ""))
    usual = tallies.open_usual(("any",), Usual(tallies.of("a"), KIND, operation, "granted"))
    expected = Histogram(operation.bounds)
    for took_s, upstream_s in times:
        exchange = _exchange(upstream_s)
        tallies.usual(("any",)).count(exchange, took_s)
        tally.durations.observe(took_s)
        tally.upstream_durations.observe(exchange.first_byte_s - exchange.sent_s)
        expected.observe(took_s)
        assert tallies.servers["a"].durations.counts == tally.durations.counts
    found = tallies.servers["a"]
    assert usual is tallies.usual(("any",))
    assert (found.requests, tallies.auth) == ({KIND: len(times)}, {"granted": len(times)})
    assert (found.bytes_in, found.bytes_out) == (3 * len(times), 6 * len(times))
    assert found.upstream_durations.counts == tally.upstream_durations.counts
    assert tallies.operations["ping", "", ""].counts == expected.counts
    assert abs(found.durations.sum - tally.durations.sum) < 1e-9


def test_the_usual_ends_with_its_server_and_has_a_bound() -> None:
    """What has been counted by then is not lost; a server of the same name begins anew."""
    tallies = Tallies()
    for number in range(MAX_USUAL + 1):
        tallies.open_usual((number,), Usual(tallies.of("a"), KIND, None, "open")).count(_exchange(0.0), QUICK_S)
    assert tallies.usual((0,)) is None
    assert tallies.usual((MAX_USUAL,)) is not None
    assert tallies.servers["a"].requests == {KIND: MAX_USUAL + 1}
    tallies.forget(["a"])
    assert tallies.usual((MAX_USUAL,)) is None
    assert tallies.of("a").requests == {}
    assert tallies.auth == {"open": MAX_USUAL + 1}


def test_a_tally_is_made_when_it_is_asked_for_and_ends_with_its_server() -> None:
    """The gateway's own stays in any case."""
    tallies = Tallies()
    tallies.of("a").reopens = 7
    tallies.of("b").reopens = 8
    tallies.forget(["a", "c"])
    assert tallies.of("b").reopens == 8
    assert set(tallies.servers) == {"", "b"}
    assert tallies.of("a").reopens == 0
