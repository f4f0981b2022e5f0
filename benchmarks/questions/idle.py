"""What do thousands of open streams cost on which nothing happens?"""

from __future__ import annotations

import contextlib
import time

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.load import Listeners

WATCHED = Figure("CPU while streams are idle", "%", value_goal=0.2)


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the share of one CPU; whatever a stream starts when it opens has a moment to end before."""
    with contextlib.closing(Listeners(subject)) as listeners:
        listeners.open(extent.streams)
        events = listeners.events
        time.sleep(extent.settle_s)
        before_s, started_s = subject.tree.cpu_s(), time.monotonic()
        listeners.listen(extent.idle_s)
        used_s, took_s = subject.tree.cpu_s() - before_s, time.monotonic() - started_s
        # An event more than was sent is found by the one that counts: none may have come.
        listeners.catch_up(events)
        assert listeners.events == events
    return {WATCHED: Reading(used_s / took_s * 100, f"{extent.streams:,} streams")}
