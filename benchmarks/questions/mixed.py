"""Everything at the same time: streams with events, calls at a fixed pace, and a large body now and then."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from benchmarks.answers import BrokenAnswer
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.load import SILENCE_S
from benchmarks.load.loop import Loop
from benchmarks.load.mixture import Fetcher, PacedCallers, StampedListeners
from benchmarks.quantiles import quantile

USUAL_CALL = Figure("call in a mixed load, p50", "ms")
WORST_CALL = Figure("call in a mixed load, p99", "ms")
USUAL_EVENT = Figure("delay of an event in a mixed load, p50", "ms")
WORST_EVENT = Figure("delay of an event in a mixed load, p99", "ms")
CPU = Figure("CPU of a mixed load", "%")

EVENTS_PER_STREAM_S = 2.0
CALLERS = 16
CALLS_PER_S = 300.0
BODY_MIB = 8
_BETWEEN_BODIES_S = 0.5


@dataclass(frozen=True)
class _Clients:
    """Who is there."""

    listeners: StampedListeners
    callers: PacedCallers
    fetcher: Fetcher


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return how long calls and events took, each counted from when it was due or sent, and the share of one CPU."""
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context
        loop = opened(contextlib.closing(Loop()))
        listeners = opened(contextlib.closing(StampedListeners(loop, subject, extent.bystanders)))
        callers = opened(contextlib.closing(PacedCallers(loop, subject, CALLERS)))
        fetcher = opened(contextlib.closing(Fetcher(loop, subject, BODY_MIB)))
        clients = _Clients(listeners, callers, fetcher)
        subject.pace(extent.bystanders * EVENTS_PER_STREAM_S)
        _run(loop, clients, extent.warm_s)
        listeners_before, calls_before = len(listeners.delays_s), len(callers.waits_s)
        before_s, started_s = subject.tree.cpu_s(), time.monotonic()
        _run(loop, clients, extent.mixed_s)
        used_s, took_s = subject.tree.cpu_s() - before_s, time.monotonic() - started_s
        listeners.catch_up(loop, subject.pace(0)["events_sent"])
    delays_ms = [delay_s * 1e3 for delay_s in listeners.delays_s[listeners_before:]]
    waits_ms = [wait_s * 1e3 for wait_s in callers.waits_s[calls_before:]]
    pace = f"{len(delays_ms) / took_s:,.0f} events/s, {len(waits_ms) / took_s:,.0f} calls/s, {fetcher.fetched} bodies"
    return {
        USUAL_CALL: Reading(quantile(waits_ms, 0.5), pace),
        WORST_CALL: Reading(quantile(waits_ms, 0.99), pace),
        USUAL_EVENT: Reading(quantile(delays_ms, 0.5), pace),
        WORST_EVENT: Reading(quantile(delays_ms, 0.99), pace),
        CPU: Reading(used_s / took_s * 100, pace),
    }


def _run(loop: Loop, clients: _Clients, seconds: float) -> None:
    """Let all do what they do for so long; return when everything asked for is there."""
    started_s = time.monotonic()
    due_s, body_due_s = started_s, started_s
    while due_s < started_s + seconds:
        now_s = time.monotonic()
        while due_s <= now_s:
            clients.callers.call(due_s)
            due_s += 1 / CALLS_PER_S
        if body_due_s <= now_s:
            clients.fetcher.fetch()
            body_due_s += _BETWEEN_BODIES_S
        loop.turn(due_s - time.monotonic())
    deadline = time.monotonic() + SILENCE_S
    while clients.callers.is_waiting or clients.fetcher.left_bytes:
        loop.turn(0.1)
        if time.monotonic() > deadline:
            raise BrokenAnswer("calls or a body are still under way long after the last one was asked for")
