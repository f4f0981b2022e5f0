"""mcpgate.metrics.tallies: what is counted, and what bounds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcpgate.metrics.tallies import MAX_OPERATIONS, OTHER, Exemplar, Histogram, Tallies


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


def test_a_tally_is_made_when_it_is_asked_for_and_ends_with_its_server() -> None:
    """The gateway's own stays in any case."""
    tallies = Tallies()
    tallies.of("a").reopens = 7
    tallies.of("b").reopens = 8
    tallies.forget(["a", "c"])
    assert tallies.of("b").reopens == 8
    assert set(tallies.servers) == {"", "b"}
    assert tallies.of("a").reopens == 0
