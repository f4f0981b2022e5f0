from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from mcpgate.net.deadlines import NEVER_S, TICK_S, Deadlines, Watched


class Stream(Watched):
    """Notes when its deadline was acted on, and may do something then."""

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.passed: list[float] = []
        self.then = then

    def deadline_passed(self, now_s: float) -> None:
        self.passed.append(now_s)
        if self.then is not None:
            self.then()


class Gate:
    """Deadlines on a clock that a test moves."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self.clock = Clock()
        self.errors: list[Exception] = []
        clock = self.clock
        self.deadlines = Deadlines(clock.callLater, clock.seconds, tick_s, on_error=self.errors.append)

    def timers(self) -> int:
        return len(self.clock.getDelayedCalls())

    def advance(self, seconds: float, step_s: float = TICK_S / 4) -> None:
        until = self.clock.seconds() + seconds
        while self.clock.seconds() < until:
            self.clock.advance(min(step_s, until - self.clock.seconds()))


def test_a_deadline_is_acted_on_once_and_at_most_a_tick_late() -> None:
    """A stream whose deadline passes is told so once, not early and not more than a tick late."""
    gate, stream = Gate(), Stream()
    gate.deadlines.watch(stream, 1.1)
    gate.advance(1.09)
    assert stream.passed == []
    gate.advance(5)
    (when,) = stream.passed
    assert 1.1 <= when <= 1.1 + TICK_S
    assert stream.deadline_s == NEVER_S


def test_a_later_deadline_replaces_an_earlier_one() -> None:
    """A client that sends a byte in time gets its full time again."""
    gate, stream = Gate(), Stream()
    gate.deadlines.watch(stream, 1.0)
    gate.advance(0.875)
    gate.deadlines.watch(stream, 3.0)
    gate.advance(2.0)
    assert stream.passed == []
    gate.advance(1.0)
    assert stream.passed == [3.0]


def test_an_earlier_deadline_replaces_a_later_one() -> None:
    """Shortening a deadline does not wait for the longer one."""
    gate, stream = Gate(), Stream()
    gate.deadlines.watch(stream, 60.0)
    gate.deadlines.watch(stream, 1.0)
    gate.advance(1.0)
    assert stream.passed == [1.0]
    gate.advance(60)
    assert stream.passed == [1.0]


def test_a_deadline_in_the_past_is_acted_on_soon_but_not_inside_watch() -> None:
    """Somebody who sets a deadline is not called back before the call has returned."""
    gate, stream = Gate(), Stream()
    gate.advance(10)
    gate.deadlines.watch(stream, 4.0)
    assert stream.passed == []
    gate.clock.advance(TICK_S)
    assert len(stream.passed) == 1


def test_streams_without_deadline_cost_nothing() -> None:
    """Five thousand idle streams need no timer and no bucket."""
    gate = Gate()
    streams = [Stream() for _ in range(5000)]
    for stream in streams:
        gate.deadlines.watch(stream, NEVER_S)
    assert gate.timers() == 0
    assert repr(gate.deadlines) == "<Deadlines: 0 filed in 0 buckets>"


def test_a_called_off_deadline_leaves_no_timer_behind() -> None:
    """A stream that went idle after its request costs nothing once its old deadline has gone by."""
    gate, stream = Gate(), Stream()
    gate.deadlines.watch(stream, 2.0)
    stream.deadline_s = NEVER_S
    gate.advance(2.0)
    assert stream.passed == []
    assert gate.timers() == 0


def test_one_timer_serves_all() -> None:
    """A thousand streams with different deadlines share one timer."""
    gate = Gate()
    streams = [Stream() for _ in range(1000)]
    for number, stream in enumerate(streams):
        gate.deadlines.watch(stream, 1 + number / 100)
    assert gate.timers() == 1
    gate.advance(12)
    assert all(len(stream.passed) == 1 for stream in streams)
    assert gate.timers() == 0


def test_many_requests_on_one_connection_file_it_once() -> None:
    """Giving a new deadline with every request does not grow anything."""
    gate, stream = Gate(), Stream()
    for number in range(1000):
        gate.deadlines.watch(stream, 10 + number / 1000)
        stream.deadline_s = NEVER_S
    assert repr(gate.deadlines) == "<Deadlines: 1 filed in 1 buckets>"


def test_a_forgotten_stream_is_neither_told_nor_kept() -> None:
    """A closed stream hears nothing more, stops the timer and can be freed at once."""
    gate, stream = Gate(), Stream()
    gate.deadlines.watch(stream, 2.0)
    gate.deadlines.forget(stream)
    assert gate.timers() == 0
    freed = weakref.ref(stream)
    del stream
    assert freed() is None


def test_a_dropped_stream_is_released_when_its_bucket_comes() -> None:
    """A stream that was closed without being forgotten is freed with its bucket."""
    gate, stream = Gate(), Stream()
    gate.deadlines.watch(stream, 2.0)
    stream.deadline_s = NEVER_S
    freed = weakref.ref(stream)
    del stream
    gate.advance(2.0)
    assert freed() is None


def test_forgetting_what_was_never_watched_is_harmless() -> None:
    """Closing a connection needs no knowledge of whether it had a deadline."""
    gate = Gate()
    gate.deadlines.forget(Stream())
    assert gate.timers() == 0


def test_an_error_does_not_stop_the_sweep() -> None:
    """One broken connection does not keep the others from being timed out."""
    gate = Gate()

    def fail() -> None:
        raise RuntimeError("broken")

    first, broken, last = Stream(), Stream(fail), Stream()
    for stream in (first, broken, last):
        gate.deadlines.watch(stream, 1.0)
    later = Stream()
    gate.deadlines.watch(later, 2.0)
    gate.advance(3)
    assert [str(error) for error in gate.errors] == ["broken"]
    assert [len(stream.passed) for stream in (first, broken, last, later)] == [1, 1, 1, 1]


def test_a_deadline_may_set_the_next_one() -> None:
    """A stream that pings at every deadline goes on pinging."""
    gate = Gate()
    stream = Stream()
    stream.then = lambda: gate.deadlines.watch(stream, gate.clock.seconds() + 1)
    gate.deadlines.watch(stream, 1.0)
    gate.advance(5)
    assert stream.passed == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_deadline_that_sets_one_in_the_past_does_not_loop() -> None:
    """A mistaken deadline costs a tick each time, it does not hang the gateway."""
    gate = Gate()
    stream = Stream()
    stream.then = lambda: gate.deadlines.watch(stream, 0.0)
    gate.deadlines.watch(stream, 1.0)
    gate.clock.advance(1.0)
    assert len(stream.passed) == 1
    gate.clock.advance(TICK_S)
    assert len(stream.passed) == 2


def test_a_deadline_may_forget_another_of_the_same_sweep() -> None:
    """When one side of an exchange times out and closes the other, the other is not told as well."""
    gate = Gate()
    other = Stream()
    one = Stream(lambda: gate.deadlines.forget(other))
    gate.deadlines.watch(one, 1.0)
    gate.deadlines.watch(other, 1.0)
    gate.advance(2)
    assert (len(one.passed), other.passed) == (1, [])
    assert gate.timers() == 0


def test_a_deadline_may_postpone_another_of_the_same_sweep() -> None:
    """What is given more time during a sweep gets it."""
    gate = Gate()
    other = Stream()
    one = Stream(lambda: gate.deadlines.watch(other, 3.0))
    gate.deadlines.watch(one, 1.0)
    gate.deadlines.watch(other, 1.0)
    gate.advance(4)
    assert other.passed == [3.0]


def test_a_connection_may_be_closed_and_watched_anew_in_one_sweep() -> None:
    """A connection that goes back to the pool while others time out starts from nothing."""
    gate = Gate()
    other = Stream()

    def start_again() -> None:
        gate.deadlines.forget(other)
        gate.deadlines.watch(other, 3.0)

    gate.deadlines.watch(Stream(start_again), 1.0)
    gate.deadlines.watch(other, 1.0)
    gate.advance(4)
    assert other.passed == [3.0]
    assert gate.timers() == 0


def test_a_clock_that_calls_a_hair_early_is_believed() -> None:
    """Rounding in the reactor's own clock does not make the sweep come again and again."""
    calls: list[Callable[[], None]] = []
    now_s = 0.1

    def call_later(delay_s: float, call: Callable[[], None]) -> Any:
        calls.append(call)

    stream = Stream()
    deadlines = Deadlines(call_later, lambda: now_s, on_error=lambda error: None)
    deadlines.watch(stream, 1.0)
    now_s = math.nextafter(1.0, 0.0)
    calls.pop()()
    assert stream.passed == [1.0]
    assert calls == []


def test_a_late_reactor_acts_on_everything_that_is_due() -> None:
    """After a stall all deadlines that passed meanwhile are acted on, and the order of time is kept."""
    gate = Gate()
    order: list[int] = []
    for number in (3, 1, 2):
        gate.deadlines.watch(Stream(partial(order.append, number)), float(number))
    gate.clock.advance(10)
    assert order == [1, 2, 3]


def test_a_tick_that_floats_cannot_express_does_not_loop() -> None:
    """Any tick works, also one whose multiples are all rounded."""
    gate = Gate(tick_s=0.1)
    streams = [Stream() for _ in range(300)]
    for number, stream in enumerate(streams):
        gate.deadlines.watch(stream, number / 30)
    gate.advance(12, step_s=0.1)
    assert all(len(stream.passed) == 1 for stream in streams)
    assert gate.timers() == 0


def test_a_twisted_protocol_can_be_watched() -> None:
    """A connection itself is what the deadlines watch; no object is made for it."""

    class Connection(Protocol, Watched):
        gone = False

        def deadline_passed(self, now_s: float) -> None:
            self.gone = True

    gate, connection = Gate(), Connection()
    gate.deadlines.watch(connection, 1.0)
    gate.advance(1.0)
    assert connection.gone


# Times in 16ths of a second are exact in floating point, so the model needs no tolerance.
STEP_S = 1 / 16
exact_s = st.integers(min_value=-16, max_value=16 * 8).map(lambda number: number * STEP_S)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("watch"), st.integers(0, 3), exact_s),
        st.tuples(st.just("call off"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("forget"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("advance"), st.just(0), exact_s.map(abs)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_no_deadline_is_early_lost_or_late(operations: list[tuple[str, int, float]]) -> None:
    """Whatever is set, moved, called off and forgotten: each deadline is acted on once, in its tick."""
    gate = Gate()
    streams = [Stream() for _ in range(4)]
    earliest, latest = [math.inf] * 4, [math.inf] * 4

    def move(seconds: float) -> None:
        until = gate.clock.seconds() + seconds
        while gate.clock.seconds() < until:
            gate.clock.advance(STEP_S)
            for number, stream in enumerate(streams):
                if stream.passed:
                    assert earliest[number] <= stream.passed.pop() <= latest[number]
                    assert not stream.passed
                    earliest[number] = latest[number] = math.inf
                assert gate.clock.seconds() <= latest[number]

    for step, number, value in operations:
        stream, now_s = streams[number], gate.clock.seconds()
        if step == "advance":
            move(value)
        elif step == "watch":
            at_s = now_s + value
            gate.deadlines.watch(stream, at_s)
            earliest[number], latest[number] = at_s, max(at_s, now_s) + TICK_S
        elif step == "forget":
            gate.deadlines.forget(stream)
            earliest[number] = latest[number] = math.inf
        else:
            stream.deadline_s = NEVER_S
            earliest[number] = latest[number] = math.inf
    move(9)
    assert latest == [math.inf] * 4
    assert gate.timers() == 0
    assert gate.errors == []
