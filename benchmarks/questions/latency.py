"""
How much longer does a call take than without the subject, when there is nothing else to do?

One client calls through the subject and directly, in turns, so that both meet the same machine. It waits between
calls: everybody sleeps and must be woken, as on most days.
"""

from __future__ import annotations

import contextlib
import socket
import time

from benchmarks import messages
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load.requests import call_head
from benchmarks.load.single import SingleCaller
from benchmarks.quantiles import quantile

ADDED = Figure("added latency of a call, p50", "µs", (Goal("nginx", 2.0, 1.2),))
ADDED_AT_WORST = Figure("added latency of a call, p99", "µs")
_BETWEEN_S = 0.005
_WARM_CALLS = 20


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return what is added to the median of calls that go directly, both by the median and by the 99th of 100."""
    direct_sock = socket.create_connection(("127.0.0.1", subject.upstream_port))
    direct_sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    direct_head = messages.call_head("/mcp", subject.upstream_port, subject.fields)
    with (
        contextlib.closing(SingleCaller(direct_sock, direct_head)) as direct,
        contextlib.closing(SingleCaller(subject.connect(), call_head(subject))) as through,
    ):
        took = [(_later(direct), _later(through)) for _ in range(_WARM_CALLS + extent.calls)]
    without_s, with_s = zip(*took[_WARM_CALLS:], strict=True)
    usual_s = quantile(without_s, 0.5)
    pace = f"directly {usual_s * 1e6:,.0f} µs"
    return {
        ADDED: Reading((quantile(with_s, 0.5) - usual_s) * 1e6, pace),
        ADDED_AT_WORST: Reading((quantile(with_s, 0.99) - usual_s) * 1e6, pace),
    }


def _later(caller: SingleCaller) -> float:
    time.sleep(_BETWEEN_S)
    return caller.call()
