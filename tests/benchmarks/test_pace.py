"""benchmarks.pace: events come evenly, and a slow machine does not make bursts."""

from __future__ import annotations

import pytest

from benchmarks import pace as paces


def test_events_are_spread_evenly() -> None:
    """At 1,000 a second one event is due each millisecond, however often one asks."""
    pace = paces.Pace()
    pace.start(1000, now=10.0)
    assert [pace.due(10.0 + step * 0.0005 + 1e-9) for step in range(7)] == [0, 0, 1, 0, 1, 0, 1]
    assert pace.wait_s(10.0035) == pytest.approx(0.0005)


def test_a_stall_is_not_caught_up_in_a_burst() -> None:
    """After a second without a turn only a few events go at once and the schedule moves on."""
    pace = paces.Pace()
    pace.start(1000, now=0.0)
    assert pace.due(1.0) == paces.MOST_EVENTS_AT_ONCE
    assert pace.due(1.0021) == 2


def test_no_rate_means_no_events() -> None:
    """A pace of zero stops."""
    pace = paces.Pace()
    pace.start(1000, now=0.0)
    pace.start(0, now=1.0)
    assert not pace.runs
