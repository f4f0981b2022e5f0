"""benchmarks.figures: ratios inside a round, the median of the rounds, and the verdict on each goal."""

from __future__ import annotations

import pytest

from benchmarks import figures
from benchmarks.figures import Verdict

CALL = figures.Figure("CPU per call", "µs", goals=(figures.Goal("nginx", 2.5, 1.5), figures.Goal("envoy", 0.7)))
GROWTH = figures.Figure("growth", "MiB", value_goal=8.0)
STREAM = figures.Figure("memory", "KiB", goals=(figures.Goal("nginx", 0.5),), at=5000, at_unit="streams")


def readings(*values: float) -> list[figures.Reading]:
    """Return one reading per round."""
    return [figures.Reading(value, turn=turn) for turn, value in enumerate(values)]


def test_a_ratio_compares_inside_each_round() -> None:
    """A machine that slows down between rounds changes both subjects and not the ratio."""
    assert figures.ratio(readings(20, 60, 24), readings(10, 30, 10)) == figures.Spread(2.0, 2.0, 2.4)


def test_the_median_of_rounds_ignores_an_outlier() -> None:
    """One disturbed round shows in the spread and not in the figure."""
    compared = figures.ratio(readings(2, 90, 2.2), readings(1, 1, 1))
    assert compared == figures.Spread(2.2, 2.0, 90.0)


def test_nothing_is_divided_by_zero() -> None:
    """A baseline that used nothing measurable gives no ratio."""
    assert figures.ratio(readings(1, 1), readings(1, 0)) is None


def test_a_peer_asked_once_is_compared_in_that_round() -> None:
    """Rounds in which only one of the two was asked do not count."""
    late = [figures.Reading(9, turn=2)]
    assert figures.ratio(late, readings(1, 2, 3)) == figures.Spread(3.0, 3.0, 3.0)
    assert figures.ratio(late, readings(1, 2)) is None


def verdicts(figure: figures.Figure, **by_subject: list[figures.Reading]) -> list[Verdict]:
    """Judge mcpgate."""
    return [each.verdict for each in figures.judge(figure, by_subject, "mcpgate")]


@pytest.mark.parametrize(("value", "expected"), [(25, Verdict.HELD), (25.1, Verdict.MISSED)])
def test_a_goal_is_held_up_to_its_limit(value: float, expected: Verdict) -> None:
    """2.5 times is still held, more is not; Envoy was not asked, so that nothing is said about it."""
    assert verdicts(CALL, nginx=readings(10), mcpgate=readings(value)) == [expected, Verdict.NOT_COMPARED]


def test_goals_against_several_peers_are_judged_apart() -> None:
    """One may be held and the other missed in the same run."""
    found = verdicts(CALL, nginx=readings(10), envoy=readings(20), mcpgate=readings(18))
    assert found == [Verdict.HELD, Verdict.MISSED]


def test_a_goal_on_the_value_needs_nobody_else() -> None:
    """Memory may grow by so many MiB, whatever others need."""
    assert verdicts(GROWTH, mcpgate=readings(7, 8, 9)) == [Verdict.HELD]
    assert verdicts(GROWTH, mcpgate=readings(8.1)) == [Verdict.MISSED]


def test_without_readings_nothing_is_judged() -> None:
    """A gateway that was not asked has neither held nor missed anything."""
    assert verdicts(CALL, nginx=readings(10)) == [Verdict.NOT_COMPARED] * 2
    assert verdicts(GROWTH) == [Verdict.NOT_COMPARED]


def test_what_is_hoped_for_is_told_apart() -> None:
    """Better than the goal is not yet what one wants to reach some day."""
    held, _ = figures.judge(CALL, {"nginx": readings(10), "mcpgate": readings(20)}, "mcpgate")
    reached, _ = figures.judge(CALL, {"nginx": readings(10), "mcpgate": readings(15)}, "mcpgate")
    assert (held.is_reached, reached.is_reached) == (False, True)


def test_goals_belong_to_one_size_of_a_family() -> None:
    """The same question with other numbers of streams shows a course, and promises nothing."""
    assert STREAM.sized(5000) is STREAM
    assert (STREAM.sized(100).name, STREAM.sized(100).has_goal, STREAM.has_goal) == ("memory", False, True)
    assert [figure.label for figure in (STREAM, CALL)] == ["memory, 5,000 streams", "CPU per call"]


@pytest.mark.parametrize(
    ("subjects", "judged"),
    [
        (["nginx", "mcpgate-open", "mcpgate"], "mcpgate"),
        (["nginx", "mcpgate-open"], "mcpgate-open"),
        (["nginx", "mcpgate-before"], "mcpgate"),
        ([], "mcpgate"),
    ],
)
def test_the_goals_are_those_of_the_gateway_with_everything_on(subjects: list[str], judged: str) -> None:
    """Where a question is asked of another set-up of it, of that; never of another checkout's."""
    assert figures.judged_among(subjects) == judged
