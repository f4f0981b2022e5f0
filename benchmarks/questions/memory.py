"""What does an open stream cost: memory while it is idle, CPU to open and to close it?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from benchmarks.answers import BrokenAnswer
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import SILENCE_S, Listeners

PER_STREAM = Figure("memory per open stream", "KiB", (Goal("nginx", 0.5, 0.25),), at=5000, at_unit="streams")
PER_OPENING = Figure("CPU to open a stream", "µs", (Goal("nginx", 2.3, 1.3),), at=5000, at_unit="streams")
PER_CLOSING = Figure("CPU to close a stream", "µs", (Goal("nginx", 3.0, 1.5),), at=5000, at_unit="streams")
# Opened and closed before the first look, so that what is loaded or allocated once is not counted per stream.
WARM_STREAMS = 50


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the growth of the proportional set size per stream, and CPU time per opening and closing."""
    larger = [count for count in extent.stream_counts if count > extent.streams]
    with contextlib.closing(Listeners(subject)) as listeners:
        listeners.open(WARM_STREAMS)
        _close_all(subject, listeners)
        time.sleep(extent.settle_s)
        before_kib = subject.tree.pss_kib()
        ascent = _Ascent(subject, listeners, extent.settle_s, before_kib)
        readings = ascent.climb([count for count in extent.stream_counts if count <= extent.streams])
        for count in larger:
            readings |= ascent.climb([count])
    return readings


class _Ascent:
    """Opens more and more streams, looks at the memory at each size, and closes all from the top."""

    def __init__(self, subject: Subject, listeners: Listeners, settle_s: float, before_kib: int) -> None:
        self._subject = subject
        self._listeners = listeners
        self._settle_s = settle_s
        self._before_kib = before_kib

    def climb(self, counts: Sequence[int]) -> dict[Figure, Reading]:
        """Begin with none and open so many, one after the other; end with none."""
        readings: dict[Figure, Reading] = {}
        opened, opening_s = 0, 0.0
        for count in counts:
            opening_s += self._open(count - opened)
            opened = count
            time.sleep(self._settle_s)
            grown_kib = self._subject.tree.pss_kib() - self._before_kib
            readings[PER_STREAM.sized(count)] = Reading(grown_kib / count)
        held_s = self._subject.tree.cpu_s()
        _close_all(self._subject, self._listeners)
        closing_s = self._subject.tree.cpu_s() - held_s
        readings[PER_OPENING.sized(opened)] = Reading(opening_s / opened * 1e6)
        readings[PER_CLOSING.sized(opened)] = Reading(closing_s / opened * 1e6)
        return readings

    def _open(self, count: int) -> float:
        before_s = self._subject.tree.cpu_s()
        self._listeners.open(count)
        return self._subject.tree.cpu_s() - before_s


def _close_all(subject: Subject, listeners: Listeners) -> None:
    """Leave every stream and wait until the upstream has noticed: until then nothing is closed."""
    listeners.close()
    deadline = time.monotonic() + SILENCE_S
    while left := subject.pace(0)["streams"]:
        if time.monotonic() > deadline:
            raise BrokenAnswer(f"{left} streams are still open upstream though every client has left")
        time.sleep(0.02)
