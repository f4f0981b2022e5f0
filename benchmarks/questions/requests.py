"""How much CPU does one call cost? 32 keep-alive connections, each calling as soon as it is answered."""

from __future__ import annotations

import contextlib

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import Callers

CONNECTIONS = 32
#: A proxy on V8 takes half as long after some 4,000 calls, when its code has been compiled.
WARM_CALLS = 4_000
MOST_WARM_S = 8.0
_GOALS = (Goal("nginx", 2.5, 1.5), Goal("envoy", 0.7, 0.4), Goal("http-proxy-middleware", 0.15, 0.1))
PER_REQUEST = Figure("CPU per request", "µs", _GOALS)


def warm(callers: Callers, extent: Extent) -> None:
    """Call until what is measured does what it does every day: for a time, and a number of times, within reason."""
    answered, ran_s = callers.run(extent.warm_s), extent.warm_s
    while answered < WARM_CALLS and ran_s < MOST_WARM_S:
        answered += callers.run(extent.warm_s)
        ran_s += extent.warm_s


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return the subject's CPU time per answered call, all its processes counted."""
    with contextlib.closing(Callers(subject, CONNECTIONS)) as callers:
        warm(callers, extent)
        before_s = subject.tree.cpu_s()
        answered = callers.run(extent.requests_s)
        used_s = subject.tree.cpu_s() - before_s
    pace = f"{answered / extent.requests_s:,.0f} requests/s"
    return {PER_REQUEST: Reading(used_s / answered * 1e6, pace)}
