"""Several subjects at the same time, each called in short windows by turns: what differs by a percent shows."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.extent import Extent
from benchmarks.harness import Subject
from benchmarks.load import Callers

CONNECTIONS = 32
_WARM_LAPS = 1


@dataclass(frozen=True)
class Contestant:
    """Who is called, and what stands before the calls; see `Callers`."""

    subject: Subject
    heads: Sequence[bytes] = ()


def costs_us(contestants: Mapping[str, Contestant], extent: Extent) -> dict[str, float]:
    """
    Return for each the CPU time per call in its cheapest lap, in µs: whatever else the machine does only adds to it.

    :raises BrokenAnswer: if a call is not answered as it should be.
    """
    laps_us = [
        {name: _lap_us(each, extent.lap_s) for name, each in contestants.items()}
        for _ in range(_WARM_LAPS + extent.laps)
    ]
    return {name: min(lap[name] for lap in laps_us[_WARM_LAPS:]) for name in contestants}


def _lap_us(each: Contestant, seconds: float) -> float:
    with contextlib.closing(Callers(each.subject, CONNECTIONS, each.heads)) as callers:
        # Connecting and the first calls are no part of it.
        callers.run(seconds / 4)
        before_s = each.subject.tree.cpu_s()
        answered = callers.run(seconds)
        return (each.subject.tree.cpu_s() - before_s) / answered * 1e6
