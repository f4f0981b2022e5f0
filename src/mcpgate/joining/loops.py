"""
The loop that a coroutine lives in, asyncio's or Twisted's, as far as `mcpgate.joining.member` needs it.

Twisted is imported only where it runs already: there a reactor is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorFromThreads, IReactorTime


class Bell(Protocol):
    """Something to wait for, between a loop and whatever thread."""

    def ring(self) -> None:
        """End the present or the next wait; may be called in any thread, and when nobody is there any more."""

    async def wait(self, timeout_s: float | None) -> None:
        """Wait until it rings or the time is over; for one at a time."""


class World(Protocol):
    """What a membership needs of the loop it lives in."""

    def bell(self) -> Bell:
        """A new one."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """Begin something beside the present; gives back what cancels it."""


def present_world() -> World:
    """
    The loop that runs the caller.

    A coroutine is asyncio's if a task runs it: Twisted may stand on an asyncio loop and still drive its own.

    :raises RuntimeError: if it is neither asyncio's nor Twisted's.
    """
    with contextlib.suppress(RuntimeError):
        if asyncio.current_task() is not None:
            return AsyncioWorld()
    try:
        from twisted.internet import reactor
    except ImportError:
        raise RuntimeError("register() needs a running asyncio loop, or Twisted") from None
    return TwistedWorld(reactor)


class AsyncioWorld:
    """The running asyncio loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def bell(self) -> Bell:
        """A new one."""
        return _AsyncioBell(self._loop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """As a task; what is given back keeps it from being collected."""
        return self._loop.create_task(work).cancel


class _AsyncioBell:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = asyncio.Event()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, timeout_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        self._rung.clear()


class TwistedWorld:
    """
    Twisted's reactor.

    :param reactor: with time and threads.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def bell(self) -> Bell:
        """A new one."""
        return _TwistedBell(self._reactor, self._reactor)

    def spawn(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """As a Deferred; a failure of it is logged as unhandled."""
        from twisted.internet.defer import CancelledError, Deferred

        running = Deferred.fromCoroutine(work)
        running.addErrback(lambda failure: failure.trap(CancelledError))
        return running.cancel


class _TwistedBell:
    def __init__(self, clock: IReactorTime, threads: IReactorFromThreads) -> None:
        self._clock, self._threads = clock, threads
        self._is_rung = False
        self._waiting: Deferred[None] | None = None

    def ring(self) -> None:
        self._threads.callFromThread(self._strike)

    def _strike(self) -> None:
        self._is_rung = True
        self._go_on()

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def wait(self, timeout_s: float | None) -> None:
        from twisted.internet.defer import Deferred

        if not self._is_rung:
            waiting = self._waiting = Deferred()
            timer = None if timeout_s is None else self._clock.callLater(timeout_s, self._go_on)
            try:
                await waiting
            finally:
                self._waiting = None
                if timer is not None and timer.active():
                    timer.cancel()
        self._is_rung = False
