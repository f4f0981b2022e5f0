"""How long does it take until a thousand servers have joined: one after the other, and fifty at once?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.answers import BrokenAnswer
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.joining import Registrar

SERVERS = 1000
AT_ONCE = 50
ONE_BY_ONE = Figure("registering 1,000 servers", "s", value_goal=5.0)
TOGETHER = Figure("the same, fifty at once", "s", value_goal=5.0)


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
    }


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
