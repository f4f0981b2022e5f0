"""How much CPU does one call cost? 32 keep-alive connections, each calling as soon as it is answered."""

from __future__ import annotations

import contextlib

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import Callers

CONNECTIONS = 32
_GOALS = (Goal("nginx", 2.5, 1.5), Goal("envoy", 0.7, 0.4), Goal("http-proxy-middleware", 0.15, 0.1))
PER_REQUEST = Figure("CPU per request", "µs", _GOALS)


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the subject's CPU time per answered call, all its processes counted."""
    with contextlib.closing(Callers(subject, CONNECTIONS)) as callers:
        callers.run(extent.warm_s)
        before_s = subject.tree.cpu_s()
        answered = callers.run(extent.requests_s)
        used_s = subject.tree.cpu_s() - before_s
    pace = f"{answered / extent.requests_s:,.0f} requests/s"
    return {PER_REQUEST: Reading(used_s / answered * 1e6, pace)}
