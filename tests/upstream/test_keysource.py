"""The keys of issuers are kept fresh, whoever asks for them and whether the issuer is there or not."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.policy.signers import document, key_set, signer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.policy.keys import KeySet
from mcpgate.upstream.fetch import Fetched, FetchFailed
from mcpgate.upstream.keysource import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    MAX_WAITING,
    ON_DEMAND_S,
    REFRESH_S,
    KeyFeed,
    KeySource,
)

ES, ED = signer("ES256"), signer("EdDSA")


class Issuer:
    """Somebody who publishes keys, when the test says so; stands in for a `Fetcher`."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Fetched]] = []
        self.urls: list[str] = []
        self.cancelled = 0

    def fetch(self, url: str) -> Deferred[Fetched]:
        self.urls.append(url)
        self.asked.append(Deferred(self._cancel))
        return self.asked[-1]

    def _cancel(self, fetching: Deferred[Fetched]) -> None:
        self.cancelled += 1
        fetching.errback(FetchFailed("called off"))

    def publish(self, *signers: Any, status: int = 200) -> None:
        """The newest question is answered."""
        self.asked[-1].callback(Fetched(status, document(*(each.jwk() for each in signers))))

    def fail(self, why: str = "ConnectionRefusedError") -> None:
        """It is not."""
        self.asked[-1].errback(FetchFailed(why))


class World:
    """A key source for one issuer, by default without jitter."""

    def __init__(self, keys: KeySet | None = None, chance: float = 0.5) -> None:
        self.clock = Clock()
        self.issuer = Issuer()
        self.keys = keys if keys is not None else KeySet()
        feed = KeyFeed("acme", "https://as.example/jwks", self.keys, cast(Any, self.issuer))
        self.source = KeySource([feed], self.clock, self.clock.seconds, lambda: chance)
        self.called: list[str] = []

    def wait(self, name: str = "x") -> Any:
        """Somebody waits for the keys."""
        return self.source.await_keys("acme", lambda: self.called.append(name))

    @property
    def count(self) -> int:
        """How often the issuer was asked."""
        return len(self.issuer.asked)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged while a test runs."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("mcpgate."):
            seen.append(f"{event['log_level'].name}: {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


# --- in the background --------------------------------------------------------------------------------------------


def test_keys_are_fetched_at_the_start_and_then_again_and_again() -> None:
    """At the address that is configured."""
    world = World()
    world.source.start()
    world.issuer.publish(ES)
    assert (len(world.keys), world.issuer.urls) == (1, ["https://as.example/jwks"])
    for turn in range(2, 5):
        world.clock.advance(REFRESH_S - 1)
        assert world.count == turn - 1
        world.clock.advance(1)
        assert world.count == turn
        world.issuer.publish(ES, ED)
    assert len(world.keys) == 2


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 0.9 * REFRESH_S), (1.0, 1.1 * REFRESH_S)])
def test_refreshes_are_spread(chance: float, wait_s: float) -> None:
    """Many gateways that were started at once do not ask at once."""
    world = World(chance=chance)
    world.source.start()
    world.issuer.publish(ES)
    assert [call.getTime() for call in world.clock.getDelayedCalls()] == [pytest.approx(wait_s)]


def test_a_fetch_that_hangs_is_not_joined_by_another() -> None:
    """One at a time; its own deadline ends it."""
    world = World()
    world.source.start()
    world.clock.advance(10 * REFRESH_S)
    world.wait()
    assert world.count == 1


def test_after_a_reload_keys_that_are_fresh_are_not_fetched_again() -> None:
    """They are when their time comes."""
    world = World()
    world.source.start()
    world.issuer.publish(ES)
    world.clock.advance(REFRESH_S - 100)
    world.source.stop()
    world.source.start()
    assert world.count == 1
    world.clock.advance(100)
    assert world.count == 2


@pytest.mark.parametrize("is_doubted", [False, True])
def test_after_a_reload_keys_that_are_old_or_doubted_are_fetched_at_once(is_doubted: bool) -> None:
    """Somebody may have mended what was wrong."""
    world = World(key_set(ES))
    if is_doubted:
        world.keys.doubt()
    else:
        world.clock.advance(REFRESH_S)
    world.source.start()
    assert world.count == 1


# --- while the issuer is away -------------------------------------------------------------------------------------


def test_the_old_keys_stay_in_use() -> None:
    """But one that is not among them may exist now."""
    world = World()
    world.source.start()
    world.issuer.publish(ES)
    world.clock.advance(REFRESH_S)
    world.issuer.fail()
    assert (len(world.keys), world.keys.is_doubted) == (1, True)
    world.clock.advance(FIRST_RETRY_S)
    world.issuer.publish(ED)
    assert (world.keys.find("ES256", None), len(world.keys), world.keys.is_doubted) == ((), 1, False)


def test_it_is_asked_less_and_less_often() -> None:
    """Twice the time each, up to a minute; at once as before when it is back."""
    world = World()
    world.source.start()
    for wait_s in (FIRST_RETRY_S, 2.0, 4.0, 8.0, 16.0, 32.0, LAST_RETRY_S, LAST_RETRY_S, LAST_RETRY_S):
        world.issuer.fail()
        count = world.count
        world.clock.advance(wait_s - 0.1)
        assert world.count == count
        world.clock.advance(0.1)
        assert world.count == count + 1
    world.issuer.publish(ES)
    world.clock.advance(REFRESH_S)
    world.issuer.fail()
    world.clock.advance(FIRST_RETRY_S)
    world.issuer.publish(ES)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Fetched(404, document(ES.jwk())), "status 404"),
        (Fetched(302, b""), "status 302"),
        (Fetched(204, b""), "status 204"),
        (Fetched(200, b""), "not JSON"),
        (Fetched(200, b"<html>"), "not JSON"),
        (Fetched(200, b"[" * 100_000), "not JSON"),
        (Fetched(200, b"{}"), "not a key set"),
        (Fetched(200, b'{"keys":[]}'), "no usable key"),
    ],
)
def test_an_answer_without_keys_is_as_good_as_none(answer: Fetched, reason: str, lines: list[str]) -> None:
    """The log says what was wrong with it."""
    world = World(key_set(ES))
    world.clock.advance(REFRESH_S)
    world.source.start()
    world.issuer.asked[0].callback(answer)
    assert (len(world.keys), world.keys.is_doubted) == (1, True)
    expected = f"warn: issuer acme: no signing keys from https://as.example/jwks: {reason}; 1 older ones stay in use"
    assert lines == [expected]
    world.clock.advance(FIRST_RETRY_S)
    assert world.count == 2


def test_a_change_is_logged_once(lines: list[str]) -> None:
    """Gone, back, other keys; not each try and each refresh."""
    world = World()
    world.source.start()
    for _ in range(3):
        world.issuer.fail("TimeoutError")
        world.clock.advance(LAST_RETRY_S)
    world.issuer.publish(ES)
    for _ in range(3):
        world.clock.advance(REFRESH_S)
        world.issuer.publish(ES)
    world.clock.advance(REFRESH_S)
    world.issuer.publish(ES, ED)
    assert [line.partition(":")[0] for line in lines] == ["warn", "info", "info"]
    assert lines[1:] == ["info: issuer acme: 1 signing keys", "info: issuer acme: 2 signing keys"]
    lines.clear()
    world.clock.advance(REFRESH_S)
    world.issuer.fail()
    world.clock.advance(FIRST_RETRY_S)
    world.issuer.publish(ES, ED)
    assert [line.partition(":")[0] for line in lines] == ["warn", "info"]


def test_a_fault_of_our_own_is_logged_and_the_tries_go_on(failures: list[str]) -> None:
    """One bug must not stop the keys for ever."""
    world = World()
    world.source.start()
    world.issuer.asked[0].errback(Failure(ZeroDivisionError()))
    assert len(failures) == 1
    world.clock.advance(FIRST_RETRY_S)
    world.issuer.publish(ES)
    assert len(world.keys) == 1


# --- waiting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_good", [True, False])
def test_who_waits_is_called_when_the_fetch_has_ended(is_good: bool) -> None:
    """Once, in order, well or badly: then the keys that are there decide."""
    world = World()
    world.source.start()
    for name in "abc":
        world.wait(name)
    assert (world.called, world.count) == ([], 1)
    world.issuer.publish(ES) if is_good else world.issuer.fail()
    assert world.called == ["a", "b", "c"]
    world.clock.advance(REFRESH_S)
    assert world.called == ["a", "b", "c"]


def test_who_has_left_is_not_called() -> None:
    """Not even if another one called it off in the same moment; calling off twice is harmless."""
    world = World()
    world.source.start()
    leave = world.wait("a")
    leave()
    leave()
    calls: list[Any] = []
    world.source.await_keys("acme", lambda: calls[0]())
    calls.append(world.wait("b"))
    world.wait("c")
    world.issuer.publish(ES)
    assert world.called == ["c"]
    calls[0]()


def test_an_unknown_key_is_fetched_on_demand_but_not_for_everybody() -> None:
    """Names of keys are free to invent: the issuer is asked once in half a minute for them."""
    world = World()
    world.source.start()
    world.issuer.publish(ES)
    world.wait("a")
    world.wait("b")
    assert (world.called, world.count) == ([], 2)
    world.issuer.publish(ES, ED)
    assert (world.called, len(world.keys)) == (["a", "b"], 2)
    for second in range(int(ON_DEMAND_S)):
        world.wait(str(second))
        world.clock.advance(1)
    assert (len(world.called), world.count) == (2 + ON_DEMAND_S, 2)
    world.wait("late")
    assert world.count == 3
    world.issuer.publish(ES)
    assert world.called[-1] == "late"


def test_a_fetch_on_demand_puts_off_the_next_refresh() -> None:
    """The keys are as fresh as after one."""
    world = World()
    world.source.start()
    world.issuer.publish(ES)
    world.clock.advance(REFRESH_S / 2)
    world.wait()
    world.issuer.publish(ES)
    world.clock.advance(REFRESH_S - 1)
    assert world.count == 2
    world.clock.advance(1)
    assert world.count == 3
    assert len(world.clock.getDelayedCalls()) == 0


def test_while_an_issuer_is_away_nobody_waits_for_the_next_try() -> None:
    """What can be said now is said now; one of many may ask on behalf of all."""
    world = World()
    world.source.start()
    world.issuer.fail()
    world.wait("a")
    assert world.called == []
    world.issuer.fail()
    world.wait("b")
    assert world.called == ["a", "b"]
    assert world.count == 2


def test_the_number_of_those_who_wait_has_a_bound() -> None:
    """Who is one too many is called at once."""
    world = World()
    world.source.start()
    for _ in range(MAX_WAITING):
        world.wait("in")
    assert world.called == []
    world.wait("out")
    assert world.called == ["out"]
    world.issuer.publish(ES)
    assert len(world.called) == MAX_WAITING + 1


def test_keys_from_a_file_are_not_waited_for() -> None:
    """Nor those of somebody who is not configured."""
    world = World()
    world.source.start()
    leave = world.source.await_keys("other", lambda: world.called.append("x"))
    assert world.called == ["x"]
    leave()


def test_a_fetch_that_ends_at_once_is_one_like_any_other() -> None:
    """As with a fetcher that has the answer already."""
    world = World()
    world.issuer.fetch = lambda url: succeed(Fetched(200, document(ES.jwk())))  # type: ignore[method-assign]
    world.source.start()
    assert len(world.keys) == 1
    world.wait("a")
    assert world.called == ["a"]
    assert repr(world.source) == "<KeySource: acme: fresh, 0 waiting>"
    world.clock.advance(REFRESH_S)
    assert len(world.clock.getDelayedCalls()) == 1


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["fetching", "sleeping", "away", "before the start"])
def test_after_the_end_nothing_happens_any_more(stage: str, lines: list[str]) -> None:
    """What runs is called off, who waits is called, and no timer is left."""
    world = World()
    if stage != "before the start":
        world.source.start()
    if stage == "sleeping":
        world.issuer.publish(ES)
    elif stage == "away":
        world.issuer.fail()
    lines.clear()
    if stage == "fetching":
        world.wait("a")
    world.source.stop()
    assert world.issuer.cancelled == (stage == "fetching")
    assert world.clock.getDelayedCalls() == []
    world.wait("b")
    assert world.called == (["a", "b"] if stage == "fetching" else ["b"])
    assert world.count == (stage != "before the start")
    world.source.stop()
    assert lines == []


def test_it_tells_how_it_is() -> None:
    """For whoever debugs."""
    world = World()
    world.source.start()
    world.wait()
    assert repr(world.source) == "<KeySource: acme: fetching, 1 waiting>"
    world.issuer.fail()
    assert repr(world.source) == "<KeySource: acme: away, 0 waiting>"


def test_issuers_are_kept_apart() -> None:
    """One that hangs does not hold up another."""
    clock, issuers, keys = Clock(), [Issuer(), Issuer()], [KeySet(), KeySet()]
    feeds = [KeyFeed(name, name, keys[n], cast(Any, issuers[n]), 100.0) for n, name in enumerate("ab")]
    source = KeySource(feeds, clock, clock.seconds, lambda: 0.5)
    source.start()
    called: list[str] = []
    source.await_keys("a", lambda: called.append("a"))
    source.await_keys("b", lambda: called.append("b"))
    issuers[1].publish(ES)
    assert (called, len(keys[0]), len(keys[1])) == (["b"], 0, 1)
    clock.advance(100)
    assert [len(issuer.asked) for issuer in issuers] == [1, 2]
