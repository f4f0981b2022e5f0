"""
What happens when there is twice as much to do as can be done: who is refused, who waits in vain, how long do others?

First clients call as fast as they are answered: that is what the subject can do. Then calls come twice as fast, for
some seconds, from clients who give up after a second; every other one on a new connection. The subject is slowed down
(``brake``), so that a few thousand calls a second are too many for any of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time

from benchmarks.answers import BrokenAnswer
from benchmarks.brake import slowed
from benchmarks.extent import Extent
from benchmarks.figures import JUDGED, Figure, Reading
from benchmarks.harness import Subject
from benchmarks.load import SILENCE_S
from benchmarks.load.throng import Outcome, Throng
from benchmarks.peers.gateway import limited
from benchmarks.quantiles import quantile
from benchmarks.questions.beside import beside

UNANSWERED = Figure("calls never answered at twice the load", "%")
REFUSED = Figure("calls refused at twice the load", "%")
USUAL = Figure("answer at twice the load, p50", "ms")
WORST = Figure("answer at twice the load, p99", "ms")
#: Back within a second: the clients have left, and nothing of what they wanted may be in the way any more.
RECOVERY = Figure("until calls are quick again", "ms", value_goal=1000.0)

_TIMES = 2.0
#: Enough that none of the subject's turns goes by with nothing to do.
_OUTSTANDING = 128
#: A limit lets so much through of what can be done: to refuse costs something, too.
_LIMIT = 0.5
#: A call is quick if the subject needs few of its turns for it.
_QUICK_S = 0.05
_QUICK_CALLS = 3
#: Between two of them: calls that came faster than the limit lets through would be refused for that, not for the load.
_PAUSE_S = 0.03


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return what became of the calls; of the gateway with all features, once more with a limit that fits."""
    with slowed(subject):
        capacity_per_s = _capacity_per_s(subject, extent.warm_s * 2)
        readings = _overload(subject, capacity_per_s * _TIMES, extent.overload_s)
    if subject.name == JUDGED:
        with beside(subject, limited(int(capacity_per_s * _LIMIT) + 1)) as protected, slowed(protected):
            _capacity_per_s(protected, extent.warm_s)
            found = _overload(protected, capacity_per_s * _TIMES, extent.overload_s)
        readings |= {_with_a_limit(figure): reading for figure, reading in found.items()}
    return readings


def _with_a_limit(figure: Figure) -> Figure:
    return dataclasses.replace(figure, name=f"{figure.name}, with a limit")


def _capacity_per_s(subject: Subject, seconds: float) -> float:
    """Return how many calls a second are answered if no more than some are under way."""
    with contextlib.closing(Throng(subject, SILENCE_S)) as throng:
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            for _ in range(_OUTSTANDING - throng.under_way):
                throng.call(now_s)
            throng.turn(0.1)
        if not throng.outcome.waits_s:
            raise BrokenAnswer(f"no call was answered within {seconds} s")
        return len(throng.outcome.waits_s) / seconds


def _overload(subject: Subject, per_s: float, seconds: float) -> dict[Figure, Reading]:
    with contextlib.closing(Throng(subject)) as throng:
        late_s = _storm(throng, per_s, seconds)
        outcome = throng.outcome
    recovery_s = _recovery_s(subject)
    if not outcome.waits_s:
        raise BrokenAnswer(f"of {outcome.ended} calls none was answered")
    good_share = len(outcome.waits_s) / outcome.ended
    pace = f"{per_s:,.0f} calls/s, {good_share:.0%} answered; at most {late_s * 1e3:,.0f} ms late"
    return {
        UNANSWERED: Reading(_percent(outcome.given_up + outcome.cut, outcome), f"{pace}, {outcome.cut} cut"),
        REFUSED: Reading(_percent(outcome.refused, outcome), pace),
        USUAL: Reading(quantile(outcome.waits_s, 0.5) * 1e3, pace),
        WORST: Reading(quantile(outcome.waits_s, 0.99) * 1e3, pace),
        RECOVERY: Reading(recovery_s * 1e3),
    }


def _percent(count: int, outcome: Outcome) -> float:
    return count / outcome.ended * 100


def _storm(throng: Throng, per_s: float, seconds: float) -> float:
    """
    Call at this pace for so long, and wait for what comes of it: an answer or the end of patience.

    :returns: how many seconds this side was late, at worst; much of it would make the figures those of the load.
    """
    started_s, late_s = time.monotonic(), 0.0
    due_s = started_s
    while due_s < started_s + seconds:
        now_s = time.monotonic()
        late_s = max(late_s, now_s - due_s)
        while due_s <= now_s:
            throng.call(due_s)
            due_s += 1 / per_s
        throng.turn(due_s - time.monotonic())
    while throng.under_way:
        throng.turn(0.1)
    return late_s


def _recovery_s(subject: Subject) -> float:
    """Return the seconds until calls are answered quickly again, one after the other."""
    left_s = first_s = time.monotonic()
    quick = 0
    with contextlib.closing(Throng(subject)) as throng:
        while quick < _QUICK_CALLS:
            began_s = time.monotonic()
            if began_s > left_s + SILENCE_S:
                raise BrokenAnswer(f"{SILENCE_S:.0f} s after the load a call still takes long")
            answered = len(throng.outcome.waits_s)
            throng.call(began_s)
            while throng.under_way:
                throng.turn(1.0)
            if len(throng.outcome.waits_s) == answered or throng.outcome.waits_s[-1] > _QUICK_S:
                quick = 0
            else:
                first_s = began_s if not quick else first_s
                quick += 1
            time.sleep(_PAUSE_S)
    return first_s - left_s
