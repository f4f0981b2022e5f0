"""
Turn samples into ratios and verdicts. Pure arithmetic.

A ratio is taken inside one round, where both subjects met the same machine; of the rounds the median counts
and the smallest and largest are shown. Absolute values belong to the machine they were taken on.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Whom everybody is compared with.
BASELINE = "nginx"
#: Whose goals they are: the gateway with all features on.
JUDGED = "mcpgate"


@dataclass(frozen=True)
class Goal:
    """What the gateway promises: at most ``hold`` times what ``peer`` needs, and some day ``reach``."""

    peer: str
    hold: float
    reach: float | None = None


@dataclass(frozen=True)
class Figure:
    """
    One question's answer; less is better. Figures of one name that differ in their size are one family.

    :ivar goals: compared with others, in the same round.
    :ivar value_goal: the largest allowed value in ``unit``; such a figure has no ratio.
    :ivar at: the size it was asked at, where a question is asked at several; in ``at_unit``, as "streams".
    """

    name: str
    unit: str
    goals: tuple[Goal, ...] = ()
    value_goal: float | None = None
    at: float | None = None
    at_unit: str = ""

    @property
    def label(self) -> str:
        """The name, and the size if there is one."""
        return self.name if self.at is None else f"{self.name}, {self.at:,.10g} {self.at_unit}".rstrip()

    @property
    def has_goal(self) -> bool:
        """Tell whether anything is promised."""
        return bool(self.goals) or self.value_goal is not None

    def sized(self, at: float) -> Figure:
        """Return the one of the family at this size: without goals, for these belong to the size of this one."""
        return self if at == self.at else dataclasses.replace(self, at=at, goals=(), value_goal=None)


@dataclass(frozen=True)
class Reading:
    """
    One sample of one figure.

    :ivar pace: how fast the units went by, if that matters.
    :ivar turn: the round in which it was taken; set by whoever asks.
    """

    value: float
    pace: str = ""
    turn: int = 0


# subject -> its readings, at most one in a round
BySubject = Mapping[str, Sequence[Reading]]


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


def median(readings: Sequence[Reading]) -> float:
    """Return the median of the rounds, at least one."""
    return statistics.median(reading.value for reading in readings)


def ratio(subject: Sequence[Reading], other: Sequence[Reading]) -> Spread | None:
    """Compare round by round, where both were asked; None if that is nowhere, or a value is not above zero."""
    beside = {reading.turn: reading.value for reading in other}
    pairs = [(reading.value, beside[reading.turn]) for reading in subject if reading.turn in beside]
    if not pairs or any(theirs <= 0 for _, theirs in pairs):
        return None
    return Spread.of([mine / theirs for mine, theirs in pairs])


class Verdict(StrEnum):
    """How a goal came out. What cannot be compared is neither held nor missed."""

    HELD = "held"
    MISSED = "MISSED"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Judgement:
    """
    One goal and how it came out.

    :ivar peer: whom it compares with; empty for a goal on the value itself.
    :ivar found: the ratio, or the value.
    """

    peer: str
    hold: float
    reach: float | None
    found: Spread | None
    verdict: Verdict

    @property
    def is_reached(self) -> bool:
        """Tell whether even what is only hoped for is there."""
        return self.reach is not None and self.found is not None and self.found.median <= self.reach


def judged_among(subjects: Iterable[str]) -> str:
    """Return whose goals they are: the gateway with everything on, or what stands for it in this question."""
    names = list(subjects)
    ours = [name for name in names if name.startswith(JUDGED) and not name.endswith("-before")]
    return JUDGED if JUDGED in names or not ours else ours[0]


def judge(figure: Figure, by_subject: BySubject, subject: str) -> list[Judgement]:
    """Return a judgement for each goal of the figure, on this subject; a subject without readings is not compared."""
    mine = by_subject.get(subject, ())
    judgements = []
    if figure.value_goal is not None:
        found = Spread.of([reading.value for reading in mine]) if mine else None
        judgements.append(_judgement("", figure.value_goal, None, found))
    for goal in figure.goals:
        judgements.append(_judgement(goal.peer, goal.hold, goal.reach, ratio(mine, by_subject.get(goal.peer, ()))))
    return judgements


def _judgement(peer: str, hold: float, reach: float | None, found: Spread | None) -> Judgement:
    if found is None:
        verdict = Verdict.NOT_COMPARED
    else:
        verdict = Verdict.HELD if found.median <= hold else Verdict.MISSED
    return Judgement(peer, hold, reach, found, verdict)
