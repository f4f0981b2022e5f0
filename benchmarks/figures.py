"""
Turn samples into ratios and tables. Pure arithmetic and text.

A ratio is taken inside one round, where both subjects met the same machine; of the rounds the median counts
and the smallest and largest are shown. Absolute values belong to the machine they were taken on.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASELINE = "nginx"


@dataclass(frozen=True)
class Goal:
    """What the gateway promises: at most ``hold`` times what ``peer`` needs, and some day ``reach``."""

    peer: str
    hold: float
    reach: float | None = None


@dataclass(frozen=True)
class Figure:
    """
    One question's answer; less is better.

    :ivar goals: compared with others, in the same round.
    :ivar value_goal: the largest allowed value in ``unit``; such a figure has no ratio.
    """

    name: str
    unit: str
    goals: tuple[Goal, ...] = ()
    value_goal: float | None = None

    @property
    def ratio_goal(self) -> float | None:
        """The goal against the baseline."""
        return next((goal.hold for goal in self.goals if goal.peer == BASELINE), None)


@dataclass(frozen=True)
class Reading:
    """One sample of one figure; ``pace`` says how fast the units went by, if that matters."""

    value: float
    pace: str = ""


# figure -> subject -> one reading per round
Readings = Mapping[Figure, Mapping[str, Sequence[Reading]]]


@dataclass(frozen=True)
class Spread:
    """A median and what it is the median of."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up values, at least one."""
        return cls(statistics.median(values), min(values), max(values))


def ratio(subject: Sequence[Reading], baseline: Sequence[Reading]) -> Spread | None:
    """Compare round by round; None if a baseline value is not above zero."""
    if any(reading.value <= 0 for reading in baseline):
        return None
    return Spread.of([mine.value / other.value for mine, other in zip(subject, baseline, strict=True)])


def verdict(figure: Figure, value: float, compared: float | None) -> str:
    """Say ``held`` or ``MISSED``; nothing where there is no goal, or nothing to compare with."""
    if figure.value_goal is not None:
        return "held" if value <= figure.value_goal else "MISSED"
    if figure.ratio_goal is None or compared is None:
        return ""
    return "held" if compared <= figure.ratio_goal else "MISSED"


def _goal_text(figure: Figure) -> str:
    if figure.value_goal is not None:
        return f"≤ {figure.value_goal:g} {figure.unit}"
    return "" if figure.ratio_goal is None else f"≤ {figure.ratio_goal:g}"


def _row(figure: Figure, name: str, mine: Sequence[Reading], baseline: Sequence[Reading] | None) -> list[str]:
    value = Spread.of([reading.value for reading in mine])
    row = [figure.name, name, f"{value.median:.2f} {figure.unit}", mine[-1].pace]
    if name == BASELINE:
        return [*row, "1", "", "", ""]
    compared = ratio(mine, baseline) if baseline and figure.value_goal is None else None
    if compared is None:
        return [*row, "", "", _goal_text(figure), verdict(figure, value.median, None)]
    spread = f"{compared.lowest:.2f} - {compared.highest:.2f}"
    held = verdict(figure, value.median, compared.median)
    return [*row, f"{compared.median:.2f}", spread, _goal_text(figure), held]


def table(readings: Readings) -> str:
    """Return the table to print: one line per figure and subject."""
    rows = [["figure", "subject", "median *", "at", f"/ {BASELINE}", "min - max", "goal", ""]]
    for figure, by_subject in readings.items():
        rows += [_row(figure, name, mine, by_subject.get(BASELINE)) for name, mine in by_subject.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([*lines, "", "* depends on the machine; the ratios are of one run and can be compared"])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def report(readings: Readings) -> list[dict[str, object]]:
    """Return the same as plain values for JSON, with every round."""
    return [
        {
            "figure": figure.name,
            "unit": figure.unit,
            "subject": name,
            "rounds": [reading.value for reading in mine],
            "pace": [reading.pace for reading in mine],
            "ratio": _ratio_report(figure, name, mine, by_subject.get(BASELINE)),
            "ratio_goal": figure.ratio_goal,
            "value_goal": figure.value_goal,
        }
        for figure, by_subject in readings.items()
        for name, mine in by_subject.items()
    ]


def _ratio_report(
    figure: Figure, name: str, mine: Sequence[Reading], baseline: Sequence[Reading] | None
) -> dict[str, float] | None:
    if name == BASELINE or baseline is None or figure.value_goal is not None:
        return None
    compared = ratio(mine, baseline)
    return None if compared is None else vars(compared)
