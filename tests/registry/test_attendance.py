"""What time, beats and probes make of leases, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import Clock

from mcpgate.registry.attendance import HANDFUL, MAX_PROBES, SWEEP_S, Attendance, Notices, Times
from mcpgate.registry.leases import State
from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Key

A, B, C = ("a", "r"), ("b", "r"), ("c", "r")


class Replica:
    """One that a test plays; a probe waits for its answer."""

    def __init__(self) -> None:
        self.is_refusing = False
        self.waiting: list[Callable[[bool], None]] = []
        self.probe_count = 0

    def probe(self, told: Callable[[bool], None], *, keeps_connection: bool) -> None:
        assert not keeps_connection, "thousands of them would take as many descriptors"
        self.probe_count += 1
        self.waiting.append(told)

    def answer(self, is_there: bool) -> None:
        self.is_refusing = not is_there
        self.waiting.pop()(is_there)


class World:
    """Leases on a clock that the test moves."""

    def __init__(self, *more: Key) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1000.0
        self.told: list[tuple[str, str, str]] = []
        self.gone: list[Key] = []
        self.on_forget: Callable[[], object] = tuple
        self.replicas = {key: Replica() for key in (A, B, C, *more)}
        notices: Any = Notices(
            lambda key, before, after: self.told.append((key[0], before.state.value, after.state.value)),
            self._forget,
            self.replicas.get,  # type: ignore[arg-type]
        )
        self.attendance = Attendance(Times(self.clock, self.clock.seconds, self.clock.seconds), notices)
        self.attendance.start()

    def _forget(self, keys: list[Key]) -> None:
        self.gone += keys
        for key in keys:
            self.attendance.part(key)
        self.on_forget()

    def grant(self, *keys: Key, restored: bool = False, **said: object) -> None:
        """Leases for these."""
        for key in keys:
            registration = Registration.model_validate({"url": "http://127.0.0.1:1", **said})
            self.attendance.grant(key, registration, restored=restored)

    def pass_(self, seconds: float) -> None:
        """Let time pass, sweep by sweep."""
        for _ in range(int(seconds / SWEEP_S)):
            self.clock.advance(SWEEP_S)

    def state(self, key: Key) -> State | None:
        """How the lease stands."""
        lease = self.attendance.get(key)
        return None if lease is None else lease.state


def test_each_state_is_told_once() -> None:
    """From the grant to the end; the usual ttl holds for who says none."""
    world = World()
    world.grant(A, B, C)
    for _ in range(28):
        world.pass_(5)
        world.attendance.beat(B, None, "")
        world.attendance.beat(C, None, "")
    assert [what for what in world.told if what[0] == "a"] == [
        ("a", "starting", "warning"),
        ("a", "warning", "critical"),
    ]
    assert [what for what in world.told if what[0] == "b"] == [("b", "starting", "passing")]
    assert (world.gone, world.attendance.expired_count, world.state(A)) == ([A], 1, None)
    assert (world.attendance.may_work(A), world.attendance.may_work(B)) == (True, True)


def test_who_registers_again_is_known() -> None:
    """It need not beat first; one that was critical starts anew, which is told."""
    world = World()
    world.grant(A)
    world.attendance.beat(A, State.WARNING, "hot")
    world.grant(A)
    assert world.state(A) is State.PASSING
    world.attendance.beat(A, State.CRITICAL, "")
    assert not world.attendance.may_work(A)
    world.grant(A)
    assert (world.state(A), world.told[-1]) == (State.STARTING, ("a", "critical", "starting"))


def test_too_many_at_once_are_held_and_asked() -> None:
    """Who refuses goes; who beats is free; the others stay."""
    world = World()
    world.grant(A, B, C, ttl=30)
    world.pass_(45)
    assert (world.attendance.held, {world.state(key) for key in (A, B, C)}) == (3, {State.WARNING})
    assert [replica.probe_count > 0 for replica in world.replicas.values()] == [True] * 3
    world.replicas[A].answer(False)
    world.replicas[B].answer(True)
    world.attendance.beat(C, None, "")
    world.pass_(1)
    assert [world.state(key) for key in (A, B, C)] == [State.CRITICAL, State.WARNING, State.PASSING]
    assert world.attendance.held == 1


@pytest.mark.parametrize(("is_there", "expected"), [(True, State.PASSING), (False, State.CRITICAL)])
def test_who_was_restored_is_probed(is_there: bool, expected: State) -> None:
    """Once, soon; the answer decides."""
    world = World()
    world.grant(A, restored=True)
    assert world.state(A) is State.UNVERIFIED
    world.pass_(2)
    assert world.replicas[A].probe_count == 1
    world.replicas[A].answer(is_there)
    assert world.state(A) is expected


def test_who_sends_no_beats_is_probed_again_and_again() -> None:
    """Every ttl of the registry while it is well, more often while it is not; also if the answer is the same."""
    world = World()
    world.attendance.usual_ttl_s = 30.0
    world.grant(A, ttl=0)
    world.pass_(1)
    world.replicas[A].answer(False)
    assert world.state(A) is State.CRITICAL
    world.grant(A, ttl=0)
    assert world.state(A) is State.STARTING
    world.pass_(31)
    world.replicas[A].answer(False)
    assert world.state(A) is State.CRITICAL
    before = world.replicas[A].probe_count
    world.pass_(30)
    assert world.replicas[A].probe_count == before + 3
    world.replicas[A].answer(True)
    assert world.state(A) is State.PASSING
    world.pass_(28)
    assert world.replicas[A].probe_count == before + 3


def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    """The replica has left meanwhile."""
    world = World()
    world.grant(A, restored=True)
    world.pass_(1)
    last = world.attendance.part(A)
    assert last is not None
    assert last.state is State.DRAINING
    world.replicas[A].answer(False)
    assert (world.told, world.attendance.part(A)) == ([], None)


def test_nothing_wakes_up_for_nobody() -> None:
    """No timer before the start, after the stop, or without leases."""
    world = World()
    assert world.clock.getDelayedCalls() == []
    world.grant(A)
    assert len(world.clock.getDelayedCalls()) == 1
    world.attendance.part(A)
    world.pass_(1)
    assert world.clock.getDelayedCalls() == []
    world.grant(A)
    world.attendance.stop()
    world.attendance.stop()
    assert world.clock.getDelayedCalls() == []


def test_not_all_are_probed_at_once() -> None:
    """After a restart thousands are unverified, and each attempt takes a descriptor; all of them have their turn."""
    keys = [(f"s{number}", "r") for number in range(3 * MAX_PROBES)]
    world = World(*keys)
    world.grant(*keys, restored=True)
    world.pass_(1)
    waiting = [key for key in keys if world.replicas[key].waiting]
    assert len(waiting) == MAX_PROBES
    for key in waiting:
        world.replicas[key].answer(True)
    world.clock.advance(0)
    assert sum(world.replicas[key].probe_count for key in keys) == 2 * MAX_PROBES
    assert {world.state(key) for key in waiting} == {State.PASSING}


def test_only_a_refusal_says_that_nobody_is_there() -> None:
    """Of whom nothing is known yet: an attempt may fail for want of time or descriptors."""
    world = World()
    world.grant(A, restored=True)
    world.pass_(1)
    world.replicas[A].waiting.pop()(False)
    assert world.state(A) is State.UNVERIFIED


def test_the_end_of_many_is_told_a_handful_at_a_time() -> None:
    """In further turns; and who beats meanwhile stays."""
    keys = [(f"s{number}", "r") for number in range(3 * HANDFUL)]
    world = World(*keys)
    world.grant(*keys, ttl=0, deregister_critical_after=60)
    for key in keys:
        world.attendance.beat(key, State.CRITICAL, "")
    turns: list[int] = []
    world.on_forget = lambda: (turns.append(len(world.gone)), world.attendance.beat(keys[-1], None, ""))
    world.clock.advance(61)
    assert turns == [HANDFUL, 2 * HANDFUL, 3 * HANDFUL - 1]
    assert set(world.gone) == set(keys[:-1])
