"""mcpgate.metrics.lag: what holds everything up is seen."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from mcpgate.metrics.lag import GcPauses, ReactorLag
from mcpgate.metrics.tallies import LAG_BOUNDS, Histogram


class Late:
    """A reactor that is late by as much as a test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.late_s = 0.0

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        return self.clock.callLater(delay_s + self.late_s, call)


def test_a_reactor_in_time_has_no_lag() -> None:
    """It is looked at twice a second."""
    reactor, seen = Late(), Histogram(LAG_BOUNDS)
    ReactorLag(reactor.call_later, reactor.clock.seconds, seen).start()
    reactor.clock.pump([0.25] * 20)
    assert sum(seen.counts) == 10
    assert seen.sum == 0


def test_lag_is_how_late_a_call_is_made() -> None:
    """Whatever held the reactor up."""
    reactor, seen = Late(), Histogram((0.1, 1.0))
    reactor.late_s = 0.3
    ReactorLag(reactor.call_later, reactor.clock.seconds, seen).start()
    reactor.clock.advance(0.8)
    assert seen.counts == [0, 1, 0]
    assert abs(seen.sum - 0.3) < 1e-9


def test_it_begins_once_and_leaves_nothing_behind() -> None:
    """A stopped gateway has no timer; it may start again."""
    reactor = Late()
    lag = ReactorLag(reactor.call_later, reactor.clock.seconds, Histogram(LAG_BOUNDS))
    lag.stop()
    lag.start()
    lag.start()
    assert len(reactor.clock.getDelayedCalls()) == 1
    lag.stop()
    assert reactor.clock.getDelayedCalls() == []
    lag.start()
    assert len(reactor.clock.getDelayedCalls()) == 1


def test_pauses_of_the_collector_are_seen_by_generation() -> None:
    """From the beginning of a collection to its end."""
    times = iter([10.0, 10.02, 20.0, 20.5])
    pauses: dict[int, Histogram] = {}
    callbacks: list[Any] = []
    watch = GcPauses(lambda: next(times), pauses)
    watch.install(callbacks)
    watch.install(callbacks)
    for phase, generation in (("start", 0), ("stop", 0), ("start", 2), ("stop", 2)):
        for callback in callbacks:
            callback(phase, {"generation": generation, "collected": 1, "uncollectable": 0})
    assert [sum(pauses[generation].counts) for generation in range(3)] == [1, 0, 1]
    assert abs(pauses[2].sum - 0.5) < 1e-9
    watch.remove(callbacks)
    watch.remove(callbacks)
    assert callbacks == []


def test_a_collection_that_began_before_is_not_counted() -> None:
    """Somebody may begin to listen in the middle of one."""
    pauses: dict[int, Histogram] = {}
    GcPauses(lambda: 10.0, pauses)("stop", {"generation": 1})
    assert not any(pauses[1].counts)


def test_the_real_collector_calls_it() -> None:
    """``gc.callbacks`` takes it as it is."""
    pauses: dict[int, Histogram] = {}
    times = iter(range(1, 1000))
    watch = GcPauses(lambda: float(next(times)), pauses)
    watch.install(gc.callbacks)
    try:
        gc.collect(0)
    finally:
        watch.remove(gc.callbacks)
    assert sum(pauses[0].counts) >= 1
