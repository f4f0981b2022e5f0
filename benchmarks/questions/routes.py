"""
Does a request cost more where there are many servers behind one address?

Each call goes to another server and has another head, at every size, so that nobody knows from the last one where it
belongs; none names a session, which belongs to one server.
"""

from __future__ import annotations

import contextlib

from benchmarks import messages
from benchmarks.extent import Extent
from benchmarks.figures import BASELINE, Figure, Reading
from benchmarks.harness import Subject
from benchmarks.peers.ground import Peer
from benchmarks.questions.beside import beside
from benchmarks.questions.crowd import CrowdedGateway, CrowdedNginx, crowd_path
from benchmarks.questions.laps import Contestant, costs_us

PER_REQUEST = Figure("CPU per request to any of many servers", "µs", at=1, at_unit="servers")
AGAINST_ONE = Figure("request to any of many servers / of one", "x", at=100, at_unit="servers")
#: How many different heads there are, each for another server where there are enough.
_HEADS = 64


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return CPU time per call for each number of servers, and how much that is of what it is with one."""
    with contextlib.ExitStack() as stack:
        contestants = {}
        for count in extent.route_counts:
            crowded = subject if count == 1 else stack.enter_context(beside(subject, _crowd(subject, count)))
            contestants[str(count)] = Contestant(crowded, heads_for(crowded, count))
        found = costs_us(contestants, extent)
    readings: dict[Figure, Reading] = {}
    for count in extent.route_counts:
        cost_us = found[str(count)]
        readings[PER_REQUEST.sized(count)] = Reading(cost_us)
        if count > 1:
            readings[AGAINST_ONE.sized(count)] = Reading(cost_us / found["1"], f"{cost_us:.1f} µs")
    return readings


def heads_for(subject: Subject, count: int) -> list[bytes]:
    """Return different heads of calls, spread evenly over so many servers."""
    lines = subject.fields.splitlines(keepends=True)
    fields = b"".join(line for line in lines if not line.startswith(b"Mcp-Session-Id:"))
    return [
        messages.call_head(f"{crowd_path(turn * count // _HEADS)}/mcp", subject.port, fields + b"X-Turn: %d\r\n" % turn)
        for turn in range(_HEADS)
    ]


def _crowd(subject: Subject, count: int) -> Peer:
    return CrowdedNginx(count) if subject.name == BASELINE else CrowdedGateway(servers=count)
