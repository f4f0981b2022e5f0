"""Long work in slices: nobody waits longer than one, however many want something."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.defer import CancelledError, Deferred

from mcpgate.downstream.sliced import SLICE_S, Slices


class PutOff:
    """A call that waits for the next turn."""

    def __init__(self, waiting: list[PutOff], call: Callable[[], object]) -> None:
        self.call = call
        self._waiting = waiting
        waiting.append(self)

    def cancel(self) -> None:
        self._waiting.remove(self)


class Bench:
    """Work on a clock that only the work itself moves: each piece takes half a slice."""

    def __init__(self) -> None:
        self.waiting: list[PutOff] = []
        self.spent_s = 0.0
        self.slices = Slices(lambda delay_s, call: PutOff(self.waiting, call), lambda: self.spent_s)
        self.made: list[bytes] = []

    def pieces(self, name: bytes, count: int) -> Iterator[bytes]:
        for number in range(count):
            self.spent_s += SLICE_S / 2
            self.made.append(b"%b%d" % (name, number))
            yield self.made[-1]

    def turn(self) -> list[bytes]:
        """Let the reactor turn once; what was made in it."""
        before = len(self.made)
        turn, self.waiting[:] = self.waiting[:], []
        for put_off in turn:
            put_off.call()
        return self.made[before:]


def results(found: Deferred[bytes]) -> list[object]:
    got: list[object] = []
    found.addBoth(got.append)
    return got


def test_short_work_is_done_at_once() -> None:
    """Nothing is put off."""
    bench = Bench()
    assert results(bench.slices.collect(bench.pieces(b"a", 1))) == [b"a0"]
    assert bench.waiting == []


def test_long_work_lets_the_reactor_turn_after_each_slice() -> None:
    """And comes out whole."""
    bench = Bench()
    got = results(bench.slices.collect(bench.pieces(b"a", 5)))
    assert bench.made == [b"a0", b"a1"]
    assert bench.turn() == [b"a2", b"a3"]
    assert got == []
    assert bench.turn() == [b"a4"]
    assert got == [b"a0a1a2a3a4"]
    assert bench.waiting == []


def test_several_jobs_share_the_slices() -> None:
    """One after another: together they block no longer than one."""
    bench = Bench()
    first = results(bench.slices.collect(bench.pieces(b"a", 3)))
    second = results(bench.slices.collect(bench.pieces(b"b", 1)))
    assert bench.made == [b"a0", b"a1"]
    assert bench.turn() == [b"a2"]
    assert (first, second) == ([b"a0a1a2"], [])
    assert bench.turn() == [b"b0"]
    assert second == [b"b0"]


def test_who_leaves_stops_its_work() -> None:
    """That of others goes on."""
    bench = Bench()
    leaving = bench.slices.collect(bench.pieces(b"a", 9))
    got, staying = results(leaving), results(bench.slices.collect(bench.pieces(b"b", 1)))
    leaving.cancel()
    assert bench.turn() == [b"b0"]
    assert staying == [b"b0"]
    assert len(got) == 1
    with pytest.raises(CancelledError):
        got[0].raiseException()  # type: ignore[attr-defined]


def test_the_last_one_who_leaves_leaves_nothing_behind() -> None:
    """No turn is taken for nobody, and the next one begins at once."""
    bench = Bench()
    leaving = bench.slices.collect(bench.pieces(b"a", 9))
    results(leaving)
    leaving.cancel()
    assert bench.waiting == []
    assert results(bench.slices.collect(bench.pieces(b"b", 1))) == [b"b0"]


def test_a_failure_is_told_to_who_asked() -> None:
    """The next job is not touched."""
    bench = Bench()

    def fails() -> Iterator[bytes]:
        yield from bench.pieces(b"a", 2)
        raise ValueError("broken")

    got = results(bench.slices.collect(fails()))
    other = results(bench.slices.collect(bench.pieces(b"b", 1)))
    bench.turn()
    with pytest.raises(ValueError, match="broken"):
        got[0].raiseException()  # type: ignore[attr-defined]
    bench.turn()
    assert other == [b"b0"]
