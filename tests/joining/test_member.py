"""A server that joins a gateway, under asyncio and under Twisted; the gateway's HTTP is real."""

from __future__ import annotations

import asyncio
import logging
import queue
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.registrar import PATIENCE_S, TOKEN, Registrar, free_port, served
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock

import mcpgate
from mcpgate.joining.client import JoinRefused, RegistryClient, token_source
from mcpgate.joining.loops import TwistedWorld
from mcpgate.joining.member import Membership, Pace, Standing, register

URL = "http://127.0.0.1:3010"
PACE = Pace(call_s=5.0, leave_s=0.2, retry_s=0.01, longest_retry_s=0.02, chance=lambda: 0.5)
#: Longer than any test.
NEVER_S = 1000.0


@pytest.fixture
def registrar() -> Iterator[Registrar]:
    """A registry that answers."""
    with served(Registrar()) as registrar:
        yield registrar


def member(gateway: str, wait_s: float | None = PATIENCE_S, pace: Pace = PACE, **said: Any) -> Membership:
    """A membership that has not begun."""
    client = RegistryClient(gateway, ("weather", "r1"), lambda: TOKEN, pace.call_s)
    return Membership(client, {"url": URL, **said}, wait_s, pace)


async def heard(registrar: Registrar, kind: str) -> Any:
    """Wait for a request without holding the loop up."""
    return await asyncio.to_thread(registrar.take, kind)


# --- asyncio ---------------------------------------------------------------------------------------------------------


def test_three_lines(registrar: Registrar) -> None:
    """Registered when the block begins, beating in it, gone behind it; all particulars are told."""

    async def serve() -> None:
        said = {"title": "Weather", "tags": ("a", "b"), "ttl": "30s", "meta": {"k": "v"}}
        async with mcpgate.register(registrar.url, TOKEN, name="weather", url=URL, **said) as membership:
            assert membership.standing is Standing.JOINED
            assert membership.entry["path"] == "/mcp/weather"
            put = registrar.take("PUT")
            assert put.path == "/v1/servers/weather/replicas/127.0.0.1-3010"
            assert put.body == {"url": URL, "title": "Weather", "tags": ["a", "b"], "ttl": "30s", "meta": {"k": "v"}}
            assert (await heard(registrar, "beat")).body == {}
        assert membership.standing is Standing.LEFT
        assert registrar.entries == {}

    asyncio.run(serve())


def test_what_is_registered_can_be_chosen(registrar: Registrar) -> None:
    """The id of the replica, and a token in a file or in the environment."""
    membership = register(registrar.url, TOKEN, name="weather", url=URL, replica="blue", wait=None)
    assert repr(membership) == f"<Membership weather/blue at {registrar.url}: new>"


def test_no_secret_is_shown(registrar: Registrar, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the token nor the headers, in no repr and no line."""
    registrar.answers = [(403, {"detail": "no"})]

    async def serve() -> None:
        membership = register(registrar.url, "s3cret", name="x", url=URL, headers={"X-Key": "k3y"})
        assert "s3cret" not in repr(membership)
        with pytest.raises(JoinRefused) as refused:
            await membership.join()
        assert "s3cret" not in repr(refused.value)

    caplog.set_level(logging.DEBUG)
    asyncio.run(serve())
    assert registrar.take("PUT").token == "s3cret"
    assert not [line for line in caplog.messages if "s3cret" in line or "k3y" in line]


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        ({"name": "x", "url": URL, "tagz": ()}, TypeError, "unknown: tagz"),
        ({"name": "x"}, TypeError, "missing: url"),
        ({"name": "x", "url": "weather"}, ValueError, "url: expected"),
        ({"name": "x", "url": URL, "gateway": "localhost:8701"}, ValueError, "gateway: expected"),
    ],
)
def test_a_wrong_call(said: dict[str, Any], error: type[Exception], text: str) -> None:
    """It fails before anything is sent."""
    gateway = said.pop("gateway", "http://127.0.0.1:8701")
    with pytest.raises(error, match=text):
        register(gateway, TOKEN, **said)


def test_a_token_file_may_come_later(tmp_path: Path) -> None:
    """A gateway makes it when it starts, which may be after the server."""
    registrar = Registrar(port=free_port())
    file = tmp_path / "token"

    async def serve() -> None:
        async with register(registrar.url, name="x", url=URL, token_file=file, wait=0) as membership:
            assert membership.standing is not Standing.JOINED
            file.write_text(f"{TOKEN}\n")
            with served(registrar):
                assert (await heard(registrar, "PUT")).token == TOKEN

    asyncio.run(serve())


def test_a_refusal_is_raised_on_entry(registrar: Registrar) -> None:
    """With all that is wrong; nothing is left behind."""
    registrar.answers = [(422, {"detail": "x", "faults": [{"where": "url", "problem": "not a URL"}]})]

    membership = member(registrar.url)

    async def serve() -> None:
        try:
            async with membership:
                raise AssertionError
        finally:
            await membership.leave()

    with pytest.raises(JoinRefused, match="not a URL") as refused:
        asyncio.run(serve())
    assert (refused.value.status, refused.value.faults) == (422, (("url", "not a URL"),))
    assert registrar.left() == ["PUT"]


def test_something_else_answers(registrar: Registrar) -> None:
    """A server that says yes to everything is not taken for a gateway."""
    registrar.answers = [(200, {"hello": "world"})]
    with pytest.raises(JoinRefused, match="not the admin listener"):
        asyncio.run(member(registrar.url).join())


def test_forgotten_is_registered_again(registrar: Registrar) -> None:
    """A gateway that has lost the registration says 404 to a beat."""

    async def serve() -> None:
        async with member(registrar.url):
            registrar.take("PUT")
            registrar.entries.clear()
            assert (await heard(registrar, "PUT")).body == {"url": URL}
            await heard(registrar, "beat")

    asyncio.run(serve())


def test_a_gateway_that_comes_later(caplog: pytest.LogCaptureFixture) -> None:
    """The server starts without it, says so once, and joins when it is there."""
    registrar = Registrar(port=free_port())

    async def serve() -> None:
        async with member(registrar.url, wait_s=0.03) as membership:
            assert membership.standing is not Standing.JOINED
            with served(registrar):
                await heard(registrar, "beat")
                assert membership.standing is Standing.JOINED
        assert membership.standing is Standing.LEFT

    caplog.set_level(logging.INFO, "mcpgate.joining")
    asyncio.run(serve())
    levels = [(record.levelname, record.message.split(": ", 1)[1][:20]) for record in caplog.records]
    assert levels[:2] == [("WARNING", "the gateway is away:"), ("INFO", "registered, path /mc")]


def test_waiting_for_ever() -> None:
    """Who cannot do without its gateway says so."""
    registrar = Registrar(port=free_port())

    async def serve() -> None:
        membership = member(registrar.url, wait_s=None)
        joining = asyncio.create_task(membership.join())
        await asyncio.wait({joining}, timeout=0.03)
        assert not joining.done()
        with served(registrar):
            await joining
            assert registrar.entries
            await membership.leave()

    asyncio.run(serve())


def test_a_gateway_that_goes_and_comes_back(registrar: Registrar, caplog: pytest.LogCaptureFixture) -> None:
    """Told of once when it goes and once when it is back; the beats go on where they were."""
    caplog.set_level(logging.INFO, "mcpgate.joining")

    async def serve() -> None:
        async with member(registrar.url) as membership:
            registrar.answers = [(503, {"detail": "stopping"}), (500, {}), (429, {})]
            while registrar.answers:
                await heard(registrar, "beat")
            assert membership.standing is Standing.AWAY
            await heard(registrar, "beat")
            await heard(registrar, "beat")
            assert membership.standing is Standing.JOINED

    asyncio.run(serve())
    told = [record.message.split(": ", 1)[1] for record in caplog.records]
    away = "the gateway is away: 503 stopping; trying on"
    assert told == ["registered, path /mcp/weather", away, "the gateway is back"]
    assert registrar.left().count("PUT") == 0


def test_a_token_that_is_lost(registrar: Registrar, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Told once, with the name of the file, not as a gateway that is away; the beats go on when it is back."""
    file = tmp_path / "token"
    file.write_text(TOKEN)

    async def serve() -> None:
        client = RegistryClient(registrar.url, ("weather", "r1"), token_source(None, file, {}), PACE.call_s)
        async with Membership(client, {"url": URL}, PATIENCE_S, PACE) as membership:
            file.unlink()
            while membership.standing is not Standing.AWAY:
                await asyncio.sleep(0)
            file.write_text(TOKEN)
            while membership.standing is not Standing.JOINED:
                await heard(registrar, "beat")

    asyncio.run(serve())
    told = [record.message.split(": ", 1)[1] for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"there is no token: {file}: No such file or directory; trying on"]


def test_a_right_that_is_lost(registrar: Registrar, caplog: pytest.LogCaptureFixture) -> None:
    """The server goes on, the error is told once, and who mends it finds the server there."""

    async def serve() -> None:
        async with member(registrar.url) as membership:
            registrar.answers = [(403, {"detail": "this token may not"})] * 3
            while registrar.answers:
                await heard(registrar, "beat")
            assert membership.standing is Standing.REFUSED
            await heard(registrar, "beat")
            await heard(registrar, "beat")
            assert membership.standing is Standing.JOINED

    asyncio.run(serve())
    assert len([record for record in caplog.records if "this token may not" in record.message]) == 1


def test_a_report_goes_out_at_once(registrar: Registrar) -> None:
    """From whatever thread, and again with each beat; what no note can hold is taken out of it."""
    registrar.beat_s = NEVER_S

    async def serve() -> None:
        async with member(registrar.url) as membership:
            membership.report("warning", "disk\nfull" + "!" * 1000)
            assert (await heard(registrar, "beat")).body == {"state": "warning", "note": "disk full" + "!" * 503}
            await asyncio.to_thread(membership.report, "passing")
            assert (await heard(registrar, "beat")).body == {"state": "passing"}
            with pytest.raises(ValueError, match="expected passing, warning or critical"):
                membership.report("fine")  # type: ignore[arg-type]

    asyncio.run(serve())


def test_a_report_outlives_the_registration(registrar: Registrar) -> None:
    """Registered again, the server is as it was."""
    registrar.beat_s = NEVER_S

    async def serve() -> None:
        membership = member(registrar.url)
        membership.report("critical", "no licence")
        async with membership:
            assert (await heard(registrar, "beat")).body == {"state": "critical", "note": "no licence"}

    asyncio.run(serve())


def test_the_interval_is_the_gateways(registrar: Registrar) -> None:
    """A beat's answer may change it, and without a lease it is slow."""
    registrar.beat_s = None

    async def serve() -> None:
        async with member(registrar.url) as membership:
            registrar.take("PUT")
            assert registrar.left() == []
            registrar.beat_s = 0.01
            membership.report("passing")
            for _ in range(3):
                await heard(registrar, "beat")

    asyncio.run(serve())


def test_leaving_after_an_error(registrar: Registrar) -> None:
    """The error goes through, and the gateway is told."""

    async def serve() -> None:
        async with member(registrar.url):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(serve())
    assert registrar.left()[-1] == "DELETE"


def test_leaving_a_gateway_that_is_gone() -> None:
    """Nothing is raised."""

    async def serve() -> None:
        with served(Registrar()) as registrar:
            membership = member(registrar.url)
            await membership.join()
        await membership.leave()
        await membership.leave()

    asyncio.run(serve())


def test_leaving_a_gateway_that_hangs() -> None:
    """It takes no longer than it may."""

    async def serve(gateway: str) -> float:
        loop = asyncio.get_running_loop()
        async with member(gateway, wait_s=0.01):
            began_s = loop.time()
        return loop.time() - began_s

    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert asyncio.run(serve(f"http://127.0.0.1:{silent.getsockname()[1]}")) < 2 * PACE.leave_s


def test_cancelled_while_it_serves(registrar: Registrar) -> None:
    """The usual end of an asyncio server; the gateway is told."""

    async def serve() -> None:
        async with member(registrar.url):
            serving.set_result(None)
            await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.create_task(serve())
        await serving
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop = asyncio.new_event_loop()
    serving = loop.create_future()
    loop.run_until_complete(cancel())
    loop.close()
    assert registrar.entries == {}


def test_cancelled_on_entry(registrar: Registrar) -> None:
    """What was on its way is taken back, behind it."""
    asked, go = threading.Event(), threading.Event()
    registrar.then = lambda heard: heard.method == "PUT" and (asked.set(), go.wait(PATIENCE_S))

    async def cancel() -> None:
        joining = asyncio.create_task(member(registrar.url).join())
        await asyncio.to_thread(asked.wait, PATIENCE_S)
        joining.cancel()
        asyncio.get_running_loop().call_later(0.01, go.set)
        with pytest.raises(asyncio.CancelledError):
            await joining

    asyncio.run(cancel())
    assert registrar.take("DELETE")
    assert registrar.entries == {}


def test_cancelled_again_while_leaving(registrar: Registrar) -> None:
    """Who is impatient is obeyed at once; the gateway is told all the same."""
    go = threading.Event()
    registrar.then = lambda heard: heard.method == "DELETE" and go.wait(PATIENCE_S)

    async def cancel() -> None:
        membership = member(registrar.url)
        await membership.join()
        leaving = asyncio.create_task(membership.leave())
        await heard(registrar, "DELETE")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    asyncio.run(cancel())
    go.set()  # behind the end of the loop
    for thread in threading.enumerate():
        if thread.name == "mcpgate-leave":
            thread.join(PATIENCE_S)
    assert registrar.entries == {}


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP])
def ending(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that ends a process, with its default action."""
    number: signal.Signals = request.param
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    signal.signal(number, before)


def test_a_signal_that_ends_leaves(registrar: Registrar, ending: signal.Signals) -> None:
    """Its default would kill without a farewell, also behind servers that raise it again after their own shutdown."""

    async def serve() -> None:
        async with member(registrar.url):
            # Otherwise it would be the end of all tests.
            assert signal.getsignal(ending) is not signal.SIG_DFL
            signal.raise_signal(ending)

    with pytest.raises(SystemExit) as left:
        asyncio.run(serve())
    assert left.value.code == 0
    assert registrar.entries == {}
    assert signal.getsignal(ending) is signal.SIG_DFL


def test_who_outlives_the_terminal_goes_on(registrar: Registrar, ending: signal.Signals) -> None:
    """What was started with nohup, which ignores the signal, is not ended by it."""
    signal.signal(ending, signal.SIG_IGN)

    async def serve() -> None:
        async with member(registrar.url) as membership:
            signal.raise_signal(ending)
            await heard(registrar, "beat")
            assert membership.standing is Standing.JOINED

    asyncio.run(serve())
    assert signal.getsignal(ending) is signal.SIG_IGN


def test_somebodys_own_sigterm_is_left_alone(registrar: Registrar) -> None:
    """It is only its default that is replaced."""

    async def serve() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        async with member(registrar.url):
            signal.raise_signal(signal.SIGTERM)
            await stopped.wait()
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    asyncio.run(serve())


def test_a_membership_is_entered_once(registrar: Registrar) -> None:
    """A second time is a mistake."""

    async def serve() -> None:
        membership = member(registrar.url)
        async with membership:
            with pytest.raises(RuntimeError, match="entered once"):
                await membership.join()

    asyncio.run(serve())


# --- Twisted ---------------------------------------------------------------------------------------------------------


class _Reactor(MemoryReactorClock):
    """Time by hand; what threads want to have called is called while somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: object, **named: object) -> None:
        self.from_threads.put(partial(function, *args, **named))

    def turn(self) -> None:
        """One call of a thread, which may have to be awaited."""
        self.from_threads.get(timeout=PATIENCE_S)()

    def run_until(self, running: Deferred[Any]) -> Any:
        """Turn until there is a result; gives it back or raises it."""
        outcome: list[Any] = []
        running.addBoth(outcome.append)
        while not outcome:
            self.turn()
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        return outcome[0]

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end."""
        return self.run_until(Deferred.fromCoroutine(work))


def twisted_member(gateway: str, reactor: _Reactor, wait_s: float | None = NEVER_S) -> Membership:
    """A membership that lives in a reactor."""
    client = RegistryClient(gateway, ("weather", "r1"), lambda: TOKEN, PACE.call_s)
    return Membership(client, {"url": URL}, wait_s, PACE, TwistedWorld(reactor))


def test_under_twisted(registrar: Registrar) -> None:
    """The same block in a coroutine of Twisted's."""
    registrar.beat_s = 10.0
    reactor = _Reactor()

    async def serve() -> str:
        async with twisted_member(registrar.url, reactor) as membership:
            assert membership.standing is Standing.JOINED
            return "served"

    assert reactor.do(serve()) == "served"
    assert registrar.left() == ["PUT", "DELETE"]
    assert reactor.getDelayedCalls() == []


def test_a_server_that_hangs_stops_beating(registrar: Registrar) -> None:
    """No thread beats by itself: while the loop stands still nothing is sent."""
    registrar.beat_s = 10.0
    reactor = _Reactor()
    membership = twisted_member(registrar.url, reactor)
    reactor.do(membership.join())
    registrar.take("PUT")
    for _ in range(3):
        assert registrar.left() == []
        reactor.advance(10.0)
        registrar.take("beat")
        reactor.turn()
    reactor.do(membership.leave())
    assert registrar.left() == ["DELETE"]


def test_beats_are_spread(registrar: Registrar) -> None:
    """A tenth of the interval at most, and never later than asked."""
    registrar.beat_s = 10.0
    reactor = _Reactor()
    membership = twisted_member(registrar.url, reactor)
    reactor.do(membership.join())
    assert [call.getTime() for call in reactor.getDelayedCalls()] == [9.5]
    reactor.do(membership.leave())


def test_pauses_grow(registrar: Registrar) -> None:
    """Up to a bound, and as long as the gateway asks."""
    registrar.answers = [(503, {})] * 4 + [(503, {"retry": "7"})]
    reactor = _Reactor()
    membership = twisted_member(registrar.url, reactor)
    joining = Deferred.fromCoroutine(membership.join())
    pauses = []
    for _ in range(5):
        reactor.turn()
        pauses.append(min(call.getTime() for call in reactor.getDelayedCalls()) - reactor.seconds())
        reactor.advance(0.02)
    assert pauses == pytest.approx([0.0085, 0.017, 0.017, 0.017, 7.0])
    reactor.advance(7.0)
    reactor.run_until(joining)
    reactor.do(membership.leave())


def test_a_refusal_under_twisted(registrar: Registrar) -> None:
    """Raised on entry."""
    registrar.answers = [(409, {"detail": "taken"})]
    reactor = _Reactor()
    with pytest.raises(JoinRefused, match="taken"):
        reactor.do(twisted_member(registrar.url, reactor).join())


def test_cancelled_under_twisted(registrar: Registrar) -> None:
    """A Deferred that is cancelled, on entry or later: the gateway is told."""
    registrar.beat_s = 10.0
    for turns in (0, 1, 2):
        reactor = _Reactor()

        async def serve(reactor: _Reactor = reactor) -> None:
            async with twisted_member(registrar.url, reactor):
                await Deferred()

        serving = Deferred.fromCoroutine(serve())
        for _ in range(turns):
            reactor.turn()
        serving.cancel()
        with pytest.raises(CancelledError):
            reactor.run_until(serving)
        assert registrar.entries == {}
        assert reactor.getDelayedCalls() == []
