"""benchmarks.asking: who is asked again, what a failure leaves, and how long a sample may take."""

from __future__ import annotations

import time

import pytest

from benchmarks import asking
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import HarnessFault

CALL = Figure("CPU per call", "µs", goals=(Goal("nginx", 2.5), Goal("envoy", 0.7)))
GROWTH = Figure("growth", "MiB", value_goal=8.0)
OTHER = Figure("CPU per event", "µs")


def found() -> asking.Found:
    """Return what one round of two questions has found."""
    all_found = asking.Found()
    for subject in ("nginx", "haproxy", "envoy", "mcpgate"):
        all_found.add("requests", subject, 0, {CALL: Reading(1.0), OTHER: Reading(2.0)})
        all_found.add("events", subject, 0, {OTHER: Reading(2.0), GROWTH: Reading(1.0)})
    return all_found


def test_readings_know_their_round() -> None:
    """So that ratios compare what was measured at the same time."""
    all_found = found()
    all_found.add("requests", "nginx", 2, {CALL: Reading(3.0)})
    assert [reading.turn for reading in all_found.readings["requests"][CALL]["nginx"]] == [0, 2]


def test_later_rounds_ask_whom_goals_compare() -> None:
    """The gateway and the peers of the goals; a question without such goals is not asked again."""
    assert found().compared_by_goals("requests") == {"nginx", "envoy", "mcpgate"}
    assert found().compared_by_goals("events") == set()


def test_a_subject_that_breaks_has_no_figure() -> None:
    """Not even that of the rounds before: an answer that broke once proves nothing; nobody asks it again."""
    all_found = found()
    all_found.fail("requests", "envoy", "event 7 was lost")
    assert "envoy" not in all_found.readings["requests"][CALL]
    assert "envoy" in all_found.readings["events"][OTHER]
    assert not all_found.can_answer("requests", "envoy")
    assert all_found.can_answer("events", "envoy")


def test_a_subject_that_is_not_installed_is_never_asked() -> None:
    """Of no question."""
    all_found = found()
    all_found.missing["haproxy"] = "apt-get install haproxy"
    assert not all_found.can_answer("events", "haproxy")


def test_a_sample_is_bounded_in_time() -> None:
    """A subject that hangs costs its figure, and not the run."""
    with pytest.raises(HarnessFault, match="no figure within"), asking.at_most(0.002):
        time.sleep(5)


def test_a_sample_in_time_goes_on() -> None:
    """The bound ends with the sample."""
    with asking.at_most(0.002):
        pass
    time.sleep(0.004)


def test_few_streams_carry_as_many_events() -> None:
    """A subject that holds fewer streams is asked with as many events a second, so that figures can be compared."""
    extent = Extent(streams=5000, more_streams=(100, 1000, 9000), events_per_stream_s=5)
    fewer = extent.with_streams_at_most(1000)
    assert fewer.stream_counts == [100, 1000]
    assert fewer.events_per_s == extent.events_per_s == 25_000
    assert extent.with_streams_at_most(9000) is extent
    assert extent.with_streams_at_most(5000).stream_counts == [100, 1000, 5000]
