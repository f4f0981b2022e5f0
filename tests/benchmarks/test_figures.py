"""benchmarks.figures: ratios inside a round, the median of the rounds, and the verdict."""

from __future__ import annotations

import pytest

from benchmarks import figures

CALL = figures.Figure("CPU per call", "µs", goals=(figures.Goal("nginx", 2.5),))
GROWTH = figures.Figure("growth", "MiB", value_goal=8.0)


def readings(*values: float) -> list[figures.Reading]:
    """Return one reading per round."""
    return [figures.Reading(value) for value in values]


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


def test_rounds_must_match() -> None:
    """A subject with fewer rounds than nginx is not compared as if it had them all."""
    with pytest.raises(ValueError, match="zip"):
        figures.ratio(readings(1), readings(1, 1))


@pytest.mark.parametrize(
    ("figure", "value", "compared", "expected"),
    [
        (CALL, 33.0, 2.5, "held"),
        (CALL, 33.0, 2.51, "MISSED"),
        (CALL, 33.0, None, ""),
        (figures.Figure("free", "µs"), 33.0, 9.0, ""),
        (GROWTH, 8.0, None, "held"),
        (GROWTH, 8.1, None, "MISSED"),
    ],
)
def test_the_verdict(figure: figures.Figure, value: float, compared: float | None, expected: str) -> None:
    """A goal is held up to and including its limit; without one there is no figures.verdict."""
    assert figures.verdict(figure, value, compared) == expected


def test_the_table_shows_median_spread_and_goal() -> None:
    """One line per subject, with everything needed to judge it."""
    lines = figures.table({CALL: {"nginx": readings(10, 10), "mcpgate": readings(30, 20)}}).splitlines()
    assert lines[1].split() == ["CPU", "per", "call", "nginx", "10.00", "µs", "1"]
    assert " ".join(lines[2].split()) == "CPU per call mcpgate 25.00 µs 2.50 2.00 - 3.00 ≤ 2.5 held"


def test_the_table_needs_no_baseline() -> None:
    """A subject measured alone shows its values and no figures.verdict on a ratio."""
    assert figures.table({CALL: {"mcpgate": readings(30)}}).splitlines()[1].endswith("≤ 2.5")


def test_the_report_keeps_every_round() -> None:
    """The JSON holds what the table sums up."""
    entry = figures.report({CALL: {"nginx": readings(10, 10), "mcpgate": readings(30, 20)}})[1]
    assert entry["rounds"] == [30, 20]
    assert entry["ratio"] == {"median": 2.5, "lowest": 2.0, "highest": 3.0}
