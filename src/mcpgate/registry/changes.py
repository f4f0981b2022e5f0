"""One number that grows with every change that can be seen, and those who wait for it to grow (a "long poll")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred


class _Timer(Protocol):
    def cancel(self) -> None: ...

    def active(self) -> bool: ...


class Changes:
    """
    :param begin: what the number is at first. In milliseconds since 1970 it grows over restarts, too: no process
        makes a thousand changes in each second of its life.
    :param call_later: as the reactor's.
    """

    def __init__(self, begin: int, call_later: Callable[..., _Timer]) -> None:
        self.index = begin
        self._call_later = call_later
        self._waiting: set[Deferred[None]] = set()
        self._is_closed = False

    def advance(self) -> int:
        """Something has changed: the new number. Who waits is called in a turn of its own, once for many changes."""
        self.index += 1
        if self._waiting:
            waiting, self._waiting = self._waiting, set()
            self._call_later(0, _release, waiting)
        return self.index

    def await_change(self, index: int, wait_s: float) -> Deferred[None]:
        """Fires when the number is greater than this one, or after so many seconds. Cancelling it is harmless."""
        waiting: Deferred[None] = Deferred(self._waiting.discard)
        if self.index > index or self._is_closed:
            waiting.callback(None)
            return waiting
        self._waiting.add(waiting)
        timer = self._call_later(wait_s, self._give_up, waiting)
        return waiting.addBoth(lambda result: _stop(timer, result))

    def close(self) -> None:
        """The gateway stops: who waits is told what there is, and nobody waits from now on."""
        self._is_closed = True
        waiting, self._waiting = self._waiting, set()
        _release(waiting)

    def _give_up(self, waiting: Deferred[None]) -> None:
        self._waiting.discard(waiting)
        if not waiting.called:
            waiting.callback(None)


def _release(waiting: set[Deferred[None]]) -> None:
    for each in waiting:
        if not each.called:
            each.callback(None)


def _stop(timer: _Timer, result: object) -> object:
    if timer.active():
        timer.cancel()
    return result
