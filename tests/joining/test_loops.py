"""The loop a coroutine lives in, seen through what both kinds have in common."""

from __future__ import annotations

import asyncio
import threading

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock

from mcpgate.joining.loops import AsyncioWorld, TwistedWorld, present_world


class _Reactor(MemoryReactorClock):
    """What threads want to have called is called at once."""

    def callFromThread(self, function, *args, **named):  # type: ignore[no-untyped-def]
        function(*args, **named)


def test_whose_coroutine_it_is() -> None:
    """A task of asyncio's is asyncio's; everything else is Twisted's, also on an asyncio loop."""

    async def in_a_task() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        seen = loop.create_future()
        loop.call_soon(lambda: seen.set_result(type(present_world()).__name__))
        return type(present_world()).__name__, await seen

    assert asyncio.run(in_a_task()) == ("AsyncioWorld", "TwistedWorld")
    assert isinstance(present_world(), TwistedWorld)


def test_a_bell_of_asyncio() -> None:
    """It rings from any thread, before or while somebody waits, once for each wait."""

    async def wait() -> None:
        bell = AsyncioWorld().bell()
        threading.Thread(target=bell.ring).start()
        await bell.wait(None)
        bell.ring()
        await bell.wait(None)
        await bell.wait(0.001)

    asyncio.run(wait())


def test_a_bell_may_ring_in_an_empty_house() -> None:
    """A thread that outlives the loop is not its concern."""

    async def world() -> AsyncioWorld:
        return AsyncioWorld()

    loop = asyncio.new_event_loop()
    bell = loop.run_until_complete(world()).bell()
    loop.close()
    bell.ring()


def test_a_bell_of_twisted() -> None:
    """The same; and it leaves no timer behind."""
    reactor = _Reactor()
    bell = TwistedWorld(reactor).bell()
    waiting = Deferred.fromCoroutine(bell.wait(5.0))
    assert not waiting.called
    bell.ring()
    assert waiting.called
    bell.ring()
    assert Deferred.fromCoroutine(bell.wait(None)).called
    waiting = Deferred.fromCoroutine(bell.wait(5.0))
    reactor.advance(4.9)
    assert not waiting.called
    reactor.advance(0.1)
    assert waiting.called
    assert reactor.getDelayedCalls() == []


def test_nobody_waits_any_more() -> None:
    """Cancelled, a wait is over at once; the bell rings for the next one."""
    reactor = _Reactor()
    bell = TwistedWorld(reactor).bell()
    waiting = Deferred.fromCoroutine(bell.wait(5.0))
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result.raiseException()  # type: ignore[attr-defined]
    waiting.addErrback(lambda _: None)
    assert reactor.getDelayedCalls() == []
    bell.ring()
    assert Deferred.fromCoroutine(bell.wait(None)).called


@pytest.mark.parametrize("kind", ["asyncio", "twisted"])
def test_what_is_spawned_can_be_cancelled(kind: str) -> None:
    """Its clean-up runs, and nobody hears an error."""
    ended: list[str] = []

    async def work(bell) -> None:  # type: ignore[no-untyped-def]
        try:
            await bell.wait(None)
        finally:
            ended.append(kind)

    async def run() -> None:
        world = AsyncioWorld()
        cancel = world.spawn(work(world.bell()))
        await asyncio.wait({asyncio.create_task(world.bell().wait(0.001))})
        cancel()
        await asyncio.wait({asyncio.create_task(world.bell().wait(0.001))})

    if kind == "asyncio":
        asyncio.run(run())
    else:
        world = TwistedWorld(_Reactor())
        world.spawn(work(world.bell()))()
    assert ended == [kind]
