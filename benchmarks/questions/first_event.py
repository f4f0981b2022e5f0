"""How long does a client wait for the first event of its stream, when many streams are open and nothing happens?"""

from __future__ import annotations

import contextlib
import time

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.load import Listeners
from benchmarks.load.single import first_event_s
from benchmarks.quantiles import quantile

USUAL = Figure("time to the first event, p50", "ms")
AT_WORST = Figure("time to the first event, p99", "ms")
_BETWEEN_S = 0.003
_WARM_OPENINGS = 10


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the milliseconds from connecting to the event, of streams that are opened one at a time."""
    took_ms = []
    with contextlib.closing(Listeners(subject)) as listeners:
        listeners.open(extent.bystanders)
        for _ in range(_WARM_OPENINGS + extent.openings):
            took_ms.append(first_event_s(subject) * 1e3)
            time.sleep(_BETWEEN_S)
    del took_ms[:_WARM_OPENINGS]
    pace = f"{extent.bystanders:,} streams open"
    return {
        USUAL: Reading(quantile(took_ms, 0.5), pace),
        AT_WORST: Reading(quantile(took_ms, 0.99), pace),
    }
