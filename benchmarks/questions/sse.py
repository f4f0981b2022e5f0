"""How much CPU does one event cost? Thousands of streams, events spread evenly over time and over them."""

from __future__ import annotations

import contextlib

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import Listeners

_GOALS = (Goal("nginx", 1.3, 0.8), Goal("envoy", 0.75, 0.4))
PER_EVENT = Figure("CPU per SSE event", "µs", _GOALS)


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the subject's CPU time per event delivered, each in its turn and unchanged."""
    with contextlib.closing(Listeners(subject)) as listeners:
        listeners.open(extent.streams)
        subject.pace(extent.streams * extent.events_per_stream_s)
        listeners.listen(extent.warm_s)
        before_s, before = subject.tree.cpu_s(), listeners.events
        listeners.listen(extent.events_s)
        used_s, events = subject.tree.cpu_s() - before_s, listeners.events - before
        sent = subject.pace(0)["events_sent"]
        listeners.catch_up(sent)
    pace = f"{extent.streams:,} streams, {events / extent.events_s:,.0f} events/s"
    return {PER_EVENT: Reading(used_s / events * 1e6, pace)}
