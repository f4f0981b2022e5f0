"""
How long does it take when thousands of clients come at once, and when they leave at once?

So it is after a restart, or when a network was away for a moment: the last one served decides what users think.
"""

from __future__ import annotations

import contextlib
import time

from benchmarks.answers import BrokenAnswer
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.load import SILENCE_S
from benchmarks.load.storm import Storm

UNTIL_ALL = Figure("until all of a storm have their first event", "ms")
LONGEST = Figure("longest wait in a storm", "ms")
PER_STREAM = Figure("CPU per stream of a storm", "µs")
UNTIL_GONE = Figure("until all have left at once", "ms")
PER_LEAVING = Figure("CPU per stream that leaves at once", "µs")
# Before the storm, so that what is loaded or allocated once is not counted.
_WARM_STREAMS = 50
_LOOK_S = 0.002


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return times from the first client's connecting, and from the first one's leaving till the upstream knows."""
    with contextlib.closing(Storm(subject, _WARM_STREAMS)) as storm:
        storm.break_out()
    _await_calm(subject)
    with contextlib.closing(Storm(subject, extent.storm)) as storm:
        before_s, started_s = subject.tree.cpu_s(), time.monotonic()
        waits_s = storm.break_out()
        took_s, opened_s = time.monotonic() - started_s, subject.tree.cpu_s()
        time.sleep(extent.settle_s)
        held_s, left_s = subject.tree.cpu_s(), time.monotonic()
        storm.close()
        _await_calm(subject)
        leaving_s, closed_s = time.monotonic() - left_s, subject.tree.cpu_s()
    pace = f"{extent.storm:,} clients"
    return {
        UNTIL_ALL: Reading(took_s * 1e3, pace),
        LONGEST: Reading(max(waits_s) * 1e3, pace),
        PER_STREAM: Reading((opened_s - before_s) / extent.storm * 1e6, pace),
        UNTIL_GONE: Reading(leaving_s * 1e3, pace),
        PER_LEAVING: Reading((closed_s - held_s) / extent.storm * 1e6, pace),
    }


def _await_calm(subject: Subject) -> None:
    """Wait until the upstream has noticed that all have left."""
    deadline = time.monotonic() + SILENCE_S
    while left := subject.pace(0)["streams"]:
        if time.monotonic() > deadline:
            raise BrokenAnswer(f"{left} streams are still open upstream though every client has left")
        time.sleep(_LOOK_S)
