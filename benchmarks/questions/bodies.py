"""What do large bodies cost? CPU per MiB each way, and how far the memory grows while one passes."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import fetch_bulk, send_bulk
from benchmarks.messages import MIB

BODY_MIB = 100
_CPU_GOAL = (Goal("nginx", 1.5, 1.0),)
_GROWTH_GOAL_MIB = 8.0

_Transfer = Callable[[Subject, int], None]
_WAYS: dict[_Transfer, tuple[Figure, Figure]] = {
    fetch_bulk: (
        Figure("CPU per MiB of response", "µs", _CPU_GOAL),
        Figure("growth by a 100 MiB response", "MiB", value_goal=_GROWTH_GOAL_MIB),
    ),
    send_bulk: (
        Figure("CPU per MiB of request", "µs", _CPU_GOAL),
        Figure("growth by a 100 MiB request", "MiB", value_goal=_GROWTH_GOAL_MIB),
    ),
}


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return CPU time per MiB and the growth of the peak resident size, for each way."""
    readings: dict[Figure, Reading] = {}
    for transfer, (per_mib, growth) in _WAYS.items():
        subject.tree.reset_peak()
        peak_kib, cpu_s = subject.tree.peak_kib(), subject.tree.cpu_s()
        for _ in range(extent.transfers):
            transfer(subject, BODY_MIB)
        used_s = subject.tree.cpu_s() - cpu_s
        readings[per_mib] = Reading(used_s / (extent.transfers * BODY_MIB) * 1e6)
        readings[growth] = Reading((subject.tree.peak_kib() - peak_kib) * 1024 / MIB)
    return readings
