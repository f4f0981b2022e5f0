"""One number that grows with every change that can be seen, and those who wait for it to grow (a "long poll")."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail, succeed

from mcpgate.errors import Overloaded

#: Each of them holds an answer of megabytes when many servers have joined; operators and pages are a few.
MAX_WAITING: Final = 100
#: So many answers are sent off in one turn of the reactor; they share the work of making one.
CALLED_PER_TURN: Final = 10


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
        self._revision = begin
        self._call_later = call_later
        # Ordered sets: who came first is called first, and who leaves costs nothing.
        self._waiting: dict[Deferred[None], None] = {}
        self._woken: dict[Deferred[None], None] = {}
        self._release: _Timer | None = None
        self._is_closed = False

    def advance(self) -> int:
        """Something has changed: the new number. Who waits is called in turns of their own, once for many changes."""
        self.index += 1
        if self._waiting:
            self._woken |= self._waiting
            self._waiting = {}
            self._call_soon()
        return self.index

    def revise(self) -> int:
        """A number for what is not to be seen yet: greater than all before, and nobody is called."""
        self._revision = max(self._revision, self.index) + 1
        return self._revision

    def await_change(self, index: int, wait_s: float) -> Deferred[None]:
        """
        Fires when the number is greater than this one, or after so many seconds. Cancelling it is harmless.

        Fails with `Overloaded` if `MAX_WAITING` wait already.
        """
        if self.index > index or self._is_closed:
            return succeed(None)
        if len(self._waiting) + len(self._woken) >= MAX_WAITING:
            return fail(Overloaded("as many wait for changes as may; ask again without index"))
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting[waiting] = None
        timer = self._call_later(wait_s, self._call, waiting)
        return waiting.addBoth(lambda result: _stop(timer, result))

    def close(self) -> None:
        """The gateway stops: who waits is told what there is, and nobody waits from now on."""
        self._is_closed = True
        if self._release is not None:
            _stop(self._release)
        for each in [*self._woken, *self._waiting]:
            self._call(each)

    def _call_soon(self) -> None:
        if self._release is None:
            self._release = self._call_later(0, self._call_some)

    def _call_some(self) -> None:
        self._release = None
        for each in list(islice(self._woken, CALLED_PER_TURN)):
            self._call(each)
        if self._woken:
            self._call_soon()

    def _call(self, waiting: Deferred[None]) -> None:
        self._forget(waiting)
        if not waiting.called:
            waiting.callback(None)

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting.pop(waiting, None)
        self._woken.pop(waiting, None)


def _stop(timer: _Timer, result: object = None) -> Any:
    if timer.active():
        timer.cancel()
    return result
