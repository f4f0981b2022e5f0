"""
How long does it take until a thousand servers have joined: one after the other, and fifty at once? And how long does
one that joins ten thousand others hold the reactor?

The latter is measured without sockets, in a process of its own with the garbage collector set as the gateway sets it,
as CPU time of the thread: from the registration to the new lineup that answers, events and all, without HTTP and disk.
``python -m benchmarks.questions.registering SERVERS`` prints one round.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks.answers import BrokenAnswer
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.questions.registrar import Registrar
from mcpgate.registry.registration import read_registration
from mcpgate.registry.roster import Conditions
from mcpgate.testing import GatewayUnderTest

SERVERS = 1000
AT_ONCE = 50
CROWD = 10_000
_CHANGES = 50
_TIMEOUT_S = 120.0
ONE_BY_ONE = Figure("registering 1,000 servers", "s", value_goal=5.0)
TOGETHER = Figure("the same, fifty at once", "s", value_goal=5.0)
CHANGE = Figure("one joins 10,000 servers", "ms", value_goal=10.0)


class Swap(NamedTuple):
    """What one more server took of the reactor."""

    median_ms: float
    longest_ms: float


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return seconds from the first request to the last answer: each says that its server is stored and runs."""
    one_by_one_s = _register(subject, [f"alone-{number}" for number in range(SERVERS)], 1)
    together_s = _register(subject, [f"crowd-{number}" for number in range(SERVERS)], AT_ONCE)
    with contextlib.closing(Registrar(subject)) as registrar:
        running = registrar.names()
    if len(running) != 2 * SERVERS + 1:
        raise BrokenAnswer(f"{2 * SERVERS} servers were registered beside one, {len(running)} run")
    return {
        ONE_BY_ONE: Reading(one_by_one_s, f"{one_by_one_s / SERVERS * 1e3:.2f} ms each"),
        TOGETHER: Reading(together_s, f"{SERVERS / together_s:,.0f} in a second"),
        **_measure_swap(),
    }


def _measure_swap() -> dict[Figure, Reading]:
    command = [sys.executable, "-m", "benchmarks.questions.registering", str(CROWD)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S).stdout)
    swap = Swap(*found)
    return {CHANGE: Reading(swap.longest_ms, f"the longest of {_CHANGES}; median {swap.median_ms:.1f}")}


def _register(subject: Subject, names: list[str], at_once: int) -> float:
    started_s = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda some: _register_all(subject, some), [names[at::at_once] for at in range(at_once)]))
    return time.monotonic() - started_s


def _register_all(subject: Subject, names: Iterable[str]) -> None:
    """On one connection."""
    with contextlib.closing(Registrar(subject)) as registrar:
        for name in names:
            registrar.register(name)


def swap(count: int) -> Swap:
    """Let some servers register one by one, at a gateway that has so many already."""
    gate = GatewayUnderTest("registry: {allow_networks: [127.0.0.0/8]}\n")
    registry = gate.gateway.fleet.registry
    registration = read_registration(b'{"url":"http://127.0.0.1:3010"}')
    registry.take_list("crowd", {(f"member-{number}", "r1"): registration for number in range(count)})
    gate.reactor.advance(0)  # a long list is followed in many turns
    # As `mcpgate.process` does before it serves.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    took_ms = []
    for number in range(_CHANGES):
        start_s = time.thread_time()
        registry.register(f"late-{number}", "r1", registration, Conditions())
        took_ms.append((time.thread_time() - start_s) * 1e3)
    if len(gate.gateway.servers) != count + _CHANGES:
        raise BrokenAnswer(f"{count + _CHANGES} servers are registered, {len(gate.gateway.servers)} run")
    return Swap(statistics.median(took_ms), max(took_ms))


if __name__ == "__main__":
    print(json.dumps(swap(int(sys.argv[1]))))
