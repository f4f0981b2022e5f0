"""What telling of a request costs, as the benchmark takes it."""

from __future__ import annotations

from benchmarks.questions.telling import costs_us, told_during


def test_everything_is_measured() -> None:
    """Each figure has its part, and counting is a part of the whole."""
    costs = costs_us(50)
    assert set(costs) == {"loop", "counts", "whole", "settle"}
    assert 0 < costs["loop"] < costs["counts"] < costs["whole"]


def test_nothing_is_told_of_an_event_while_it_passes() -> None:
    """From the second event on, a stream is a pipe."""
    assert told_during(10) == set()
