"""
How much CPU does one event cost? Thousands of streams, events spread evenly over time and over them.

Asked with few streams and with many, and as many events a second over all of them: what differs is how many
connections there are to look at, and how many of them have something to say at once.
"""

from __future__ import annotations

import contextlib
import dataclasses

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import Listeners

_GOALS = (Goal("nginx", 1.3, 0.8), Goal("envoy", 0.75, 0.4))
PER_EVENT = Figure("CPU per SSE event", "µs", _GOALS, at=5000, at_unit="streams")
# The window at other sizes than that of the goals: they show a course, and are not compared to the last percent.
_SHORTER = 0.5


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the subject's CPU time per event delivered, each in its turn and unchanged, for each number of streams."""
    readings: dict[Figure, Reading] = {}
    opened = 0
    with contextlib.closing(Listeners(subject)) as listeners:
        for streams in extent.stream_counts:
            listeners.open(streams - opened)
            opened = streams
            window_s = extent.events_s * (1 if streams == extent.streams else _SHORTER)
            readings[PER_EVENT.sized(streams)] = _listen(subject, listeners, extent, window_s)
    return readings


def cost_of_event(subject: Subject, extent: Extent) -> Reading:
    """Return the CPU time per event with ``extent.streams`` only."""
    (reading,) = measure(subject, dataclasses.replace(extent, more_streams=())).values()
    return reading


def _listen(subject: Subject, listeners: Listeners, extent: Extent, window_s: float) -> Reading:
    subject.pace(extent.events_per_s)
    listeners.listen(extent.warm_s)
    before_s, before = subject.tree.cpu_s(), listeners.events
    listeners.listen(window_s)
    used_s, events = subject.tree.cpu_s() - before_s, listeners.events - before
    listeners.catch_up(subject.pace(0)["events_sent"])
    return Reading(used_s / events * 1e6, f"{events / window_s:,.0f} events/s")
