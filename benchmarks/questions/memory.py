"""What does an open stream cost: memory while it is idle, CPU to open and to close it?"""

from __future__ import annotations

import contextlib
import time

from benchmarks.answers import BrokenAnswer
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import SILENCE_S, Listeners

PER_STREAM = Figure("memory per open stream", "KiB", (Goal("nginx", 0.5, 0.25),))
PER_OPENING = Figure("CPU to open a stream", "µs", (Goal("nginx", 2.3, 1.3),))
PER_CLOSING = Figure("CPU to close a stream", "µs", (Goal("nginx", 3.0, 1.5),))
# Opened and closed before the first look, so that what is loaded or allocated once is not counted per stream.
WARM_STREAMS = 50


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the growth of the proportional set size per stream, and CPU time per opening and closing."""
    with contextlib.closing(Listeners(subject)) as listeners:
        listeners.open(WARM_STREAMS)
        _close_all(subject, listeners)
        time.sleep(extent.settle_s)
        before_kib, before_s = subject.tree.pss_kib(), subject.tree.cpu_s()
        listeners.open(extent.streams)
        opened_s = subject.tree.cpu_s()
        time.sleep(extent.settle_s)
        grown_kib, held_s = subject.tree.pss_kib() - before_kib, subject.tree.cpu_s()
        _close_all(subject, listeners)
        closed_s = subject.tree.cpu_s()
    pace = f"{extent.streams:,} streams"
    return {
        PER_STREAM: Reading(grown_kib / extent.streams, pace),
        PER_OPENING: Reading((opened_s - before_s) / extent.streams * 1e6, pace),
        PER_CLOSING: Reading((closed_s - held_s) / extent.streams * 1e6, pace),
    }


def _close_all(subject: Subject, listeners: Listeners) -> None:
    """Leave every stream and wait until the upstream has noticed: until then nothing is closed."""
    listeners.close()
    deadline = time.monotonic() + SILENCE_S
    while left := subject.pace(0)["streams"]:
        if time.monotonic() > deadline:
            raise BrokenAnswer(f"{left} streams are still open upstream though every client has left")
        time.sleep(0.02)
