"""What does a call cost that waits for its answer? Thousands of them at once, as when people must be asked."""

from __future__ import annotations

import contextlib
import time

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load.held import HeldCallers

PER_CALL = Figure("memory per held call", "KiB", (Goal("nginx", 1.0, 0.5),))
CPU_PER_CALL = Figure("CPU per held call", "µs")
# Called and answered before the first look, so that what is loaded or allocated once is not counted per call.
_WARM_CALLS = 50


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """
    Return the growth of the proportional set size per call, from before its client came until it waits; and CPU
    time per call, from when it is sent until it is answered: each needs a connection of its own to the upstream.
    """
    with contextlib.closing(HeldCallers(subject, _WARM_CALLS)) as callers:
        callers.call()
        callers.collect()
    time.sleep(extent.settle_s)
    before_kib = subject.tree.pss_kib()
    with contextlib.closing(HeldCallers(subject, extent.held)) as callers:
        before_s = subject.tree.cpu_s()
        callers.call()
        called_s = subject.tree.cpu_s()
        time.sleep(extent.settle_s)
        grown_kib, held_s = subject.tree.pss_kib() - before_kib, subject.tree.cpu_s()
        callers.collect()
        used_s = called_s - before_s + subject.tree.cpu_s() - held_s
    pace = f"{extent.held:,} calls"
    return {
        PER_CALL: Reading(grown_kib / extent.held, pace),
        CPU_PER_CALL: Reading(used_s / extent.held * 1e6, pace),
    }
