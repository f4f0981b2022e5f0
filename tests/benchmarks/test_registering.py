"""What one more server costs, as the benchmark takes it."""

from __future__ import annotations

from benchmarks.questions.registering import swap


def test_the_servers_that_are_measured_run() -> None:
    """Each change is one server more, live when it is answered; the longest takes no less than the usual one."""
    took = swap(5)
    assert 0 < took.median_ms <= took.longest_ms
