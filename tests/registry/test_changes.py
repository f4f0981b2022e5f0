"""The number that grows, and those who wait for it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from mcpgate.errors import Overloaded
from mcpgate.registry.changes import CALLED_PER_TURN, MAX_WAITING, Changes


def _waiting(changes: Changes, index: int, wait_s: float = 10.0) -> tuple[Deferred[None], list[object]]:
    done: list[object] = []
    waiting = changes.await_change(index, wait_s)
    waiting.addBoth(done.append)
    return waiting, done


def test_many_changes_wake_everybody_once() -> None:
    """In a turn of its own, and no timer is left."""
    clock = Clock()
    changes = Changes(100, clock.callLater)
    waits = [_waiting(changes, 100)[1] for _ in range(3)]
    assert [changes.advance(), changes.advance()] == [101, 102]
    assert waits == [[], [], []]
    clock.advance(0)
    assert waits == [[None], [None], [None]]
    assert clock.getDelayedCalls() == []


def test_who_knows_less_does_not_wait() -> None:
    """And who knows more waits for it."""
    clock = Clock()
    changes = Changes(100, clock.callLater)
    assert _waiting(changes, 99)[1] == [None]
    assert _waiting(changes, 101)[1] == []


def test_waiting_ends_with_its_time_or_with_who_waits() -> None:
    """Neither leaves anything behind."""
    clock = Clock()
    changes = Changes(100, clock.callLater)
    patient, (left, cancelled) = _waiting(changes, 100, 5.0)[1], _waiting(changes, 100)
    left.cancel()
    assert getattr(cancelled[0], "type", None) is CancelledError
    clock.advance(5)
    assert (patient, clock.getDelayedCalls()) == ([None], [])
    changes.advance()
    assert clock.getDelayedCalls() == []


def test_who_leaves_between_a_change_and_its_turn_is_not_called() -> None:
    """Nothing fails."""
    clock = Clock()
    changes = Changes(100, clock.callLater)
    left, _ = _waiting(changes, 100)
    changes.advance()
    left.cancel()
    clock.advance(0)
    assert clock.getDelayedCalls() == []


def test_at_the_end_nobody_waits() -> None:
    """Who waits is answered, and who comes afterwards at once."""
    clock = Clock()
    changes = Changes(100, clock.callLater)
    waits = _waiting(changes, 100)[1]
    changes.close()
    assert (waits, _waiting(changes, 100)[1], clock.getDelayedCalls()) == ([None], [None], [])


def _note(called: list[int], number: int) -> Callable[[object], None]:
    return lambda _: called.append(number)


def test_many_are_called_a_few_in_each_turn() -> None:
    """In the order in which they came, so that other work comes in between."""
    clock = Clock()
    changes = Changes(100, clock.callLater)
    called: list[int] = []
    for number in range(CALLED_PER_TURN + 2):
        _waiting(changes, 100)[0].addCallback(_note(called, number))
    changes.advance()
    clock.callLater(0, called.append, -1)
    clock.advance(0)
    assert called == [*range(CALLED_PER_TURN), -1, CALLED_PER_TURN, CALLED_PER_TURN + 1]
    assert clock.getDelayedCalls() == []


def test_only_so_many_wait() -> None:
    """Those who are about to be called count; who has left makes room."""
    clock = Clock()
    changes = Changes(100, clock.callLater)
    waits = [_waiting(changes, 100) for _ in range(MAX_WAITING)]
    assert getattr(_waiting(changes, 100)[1][0], "type", None) is Overloaded
    changes.advance()
    assert getattr(_waiting(changes, 101)[1][0], "type", None) is Overloaded
    waits[0][0].cancel()
    late, done = _waiting(changes, 101)
    assert (done, _waiting(changes, 100)[1]) == ([], [None])
    late.cancel()
    changes.close()
    assert ([done for _, done in waits[1:]], clock.getDelayedCalls()) == ([[None]] * (MAX_WAITING - 1), [])
