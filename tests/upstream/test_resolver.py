"""Names to addresses: one look-up for many callers, a short memory, and IP literals for free."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

import socket

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mcpgate.upstream.resolver import CACHE_S, MAX_CACHED, PATIENCE_S, STALE_S, Resolver, TooManyLookups, look_up


class Names:
    """A name server that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[list[str]]]] = []

    def __call__(self, host: str) -> Deferred[list[str]]:
        self.asked.append((host, Deferred()))
        return self.asked[-1][1]


def _results(found: Deferred[list[str]]) -> list[object]:
    results: list[object] = []
    found.addBoth(results.append)
    return results


@pytest.fixture
def clock() -> Clock:
    """Monotonic time."""
    return Clock()


@pytest.fixture
def names() -> Names:
    """Somebody to ask."""
    return Names()


@pytest.fixture
def resolver(names: Names, clock: Clock) -> Resolver:
    """The resolver under test."""
    return Resolver(names, clock.seconds)


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0:0::1", "::1")])
def test_an_address_needs_nobody(resolver: Resolver, names: Names, host: str, address: str) -> None:
    """It is its own answer, at once."""
    assert _results(resolver.resolve(host)) == [[address]]
    assert names.asked == []


def test_callers_of_one_name_share_one_look_up(resolver: Resolver, names: Names) -> None:
    """A burst of requests is one question."""
    waiting = [_results(resolver.resolve("a.example")) for _ in range(3)]
    assert [host for host, _ in names.asked] == ["a.example"]
    names.asked[0][1].callback(["192.0.2.1", "192.0.2.2"])
    assert waiting == [[["192.0.2.1", "192.0.2.2"]]] * 3


def test_an_answer_is_remembered_for_some_seconds(resolver: Resolver, names: Names, clock: Clock) -> None:
    """Long enough to save threads, short enough to follow a container that moved."""
    resolver.resolve("a.example")
    names.asked[0][1].callback(["192.0.2.1"])
    clock.advance(CACHE_S - 0.1)
    assert _results(resolver.resolve("a.example")) == [["192.0.2.1"]]
    clock.advance(0.2)
    resolver.resolve("a.example")
    assert len(names.asked) == 2


def test_a_failure_reaches_all_and_is_not_remembered(resolver: Resolver, names: Names) -> None:
    """The next caller asks anew."""
    waiting = [_results(resolver.resolve("a.example")) for _ in range(2)]
    names.asked[0][1].errback(OSError("no such name"))
    for (failure,) in waiting:
        assert isinstance(failure, Failure)
        assert failure.check(OSError)
    resolver.resolve("a.example")
    assert len(names.asked) == 2


def test_a_caller_that_leaves_does_not_end_the_look_up(resolver: Resolver, names: Names) -> None:
    """The others still get the answer, and so does the memory."""
    leaving, staying = resolver.resolve("a.example"), resolver.resolve("a.example")
    left, stayed = _results(leaving), _results(staying)
    leaving.cancel()
    names.asked[0][1].callback(["192.0.2.1"])
    assert isinstance(left[0], Failure)
    assert left[0].check(CancelledError)
    assert stayed == [["192.0.2.1"]]
    assert _results(resolver.resolve("a.example")) == [["192.0.2.1"]]


def test_names_are_kept_apart(resolver: Resolver, names: Names) -> None:
    """Each has its own answer."""
    first, second = _results(resolver.resolve("a.example")), _results(resolver.resolve("b.example"))
    names.asked[1][1].callback(["192.0.2.2"])
    assert (first, second) == ([], [["192.0.2.2"]])


def test_a_name_without_an_address_is_a_failure(resolver: Resolver, names: Names) -> None:
    """Never an empty list: callers take the first."""
    found = _results(resolver.resolve("a.example"))
    names.asked[0][1].callback([])
    assert isinstance(found[0], Failure)


def test_the_system_knows_localhost() -> None:
    """Each address once, in the system's order."""
    addresses = look_up("localhost")
    assert set(addresses) & {"127.0.0.1", "::1"}
    assert len(addresses) == len(set(addresses))


# --- what holds while nobody answers --------------------------------------------------------------------------------


class Place:
    """A resolver with everything it can have, and one name that it knows."""

    def __init__(self, at_once: int = 2, max_waiting: int = 3) -> None:
        self.clock = Clock()
        self.names = Names()
        self.resolver = Resolver(self.names, self.clock.seconds, self.clock.callLater, at_once, max_waiting)

    def ask(self, host: str = "a.example") -> list[object]:
        return _results(self.resolver.resolve(host))

    def know(self, host: str = "a.example") -> None:
        """It was found a while ago."""
        self.ask(host)
        self.answer(["192.0.2.1"])
        self.clock.advance(CACHE_S)

    def answer(self, result: list[str] | Exception) -> None:
        """The newest question is answered."""
        found = self.names.asked[-1][1]
        if isinstance(result, list):
            found.callback(result)
        else:
            found.errback(result)


def test_a_silent_name_server_costs_half_a_second_once() -> None:
    """Then the last addresses hold, at once, until it answers; the look-up goes on behind."""
    place = Place()
    place.know()
    first, second = place.ask(), place.ask()
    place.clock.advance(PATIENCE_S - 0.1)
    assert (first, second) == ([], [])
    place.clock.advance(0.2)
    assert first == second == place.ask() == [["192.0.2.1"]]
    assert len(place.names.asked) == 2
    place.answer(["192.0.2.7"])
    assert place.ask() == [["192.0.2.7"]]
    assert place.clock.getDelayedCalls() == []


def test_a_broken_name_server_costs_nothing() -> None:
    """The last addresses hold, it is asked again after a while, and nobody waits for that."""
    place = Place()
    place.know()
    waiting = place.ask()
    place.answer(OSError("temporary failure"))
    assert waiting == place.ask() == [["192.0.2.1"]]
    assert len(place.names.asked) == 2
    place.clock.advance(CACHE_S)
    assert place.ask() == [["192.0.2.1"]]
    assert len(place.names.asked) == 3


def test_old_addresses_do_not_hold_for_ever() -> None:
    """After ten minutes a failure is a failure."""
    place = Place()
    place.know()
    place.clock.advance(STALE_S - CACHE_S - 1)
    waiting = place.ask()
    place.answer(OSError("temporary failure"))
    assert waiting == [["192.0.2.1"]]
    place.clock.advance(1)
    waiting = place.ask()
    place.answer(OSError("temporary failure"))
    assert isinstance(waiting[0], Failure)
    assert place.clock.getDelayedCalls() == []


@pytest.mark.parametrize("answer", [[], socket.gaierror(socket.EAI_NONAME, "Name or service not known")])
def test_a_name_that_is_gone_is_gone(answer: list[str] | Exception) -> None:
    """The name server has said so: the address may be somebody else's by now."""
    place = Place()
    place.know()
    waiting, begun = place.ask(), len(place.names.asked)
    place.answer(answer)
    assert isinstance(waiting[0], Failure)
    assert place.ask() == []
    assert len(place.names.asked) == begun + 1


def test_no_more_is_asked_at_once_than_there_are_threads() -> None:
    """The others take their turn, in order."""
    place = Place(at_once=2)
    for name in "abcd":
        place.ask(name)
    assert [host for host, _ in place.names.asked] == ["a", "b"]
    place.names.asked[0][1].callback(["192.0.2.1"])
    place.names.asked[1][1].errback(OSError("no such name"))
    assert [host for host, _ in place.names.asked] == ["a", "b", "c", "d"]


def test_too_many_names_are_refused_at_once() -> None:
    """But for those that somebody asks for already, or that were known."""
    place = Place(at_once=2, max_waiting=3)
    place.know("known")
    for name in "abcde":
        place.ask(name)
    (refused,) = place.ask("f")
    assert isinstance(refused, Failure)
    assert isinstance(refused.value, TooManyLookups)
    assert (place.ask("e"), place.ask("known")) == ([], [["192.0.2.1"]])


def test_nobody_is_asked_for_what_nobody_waits_for() -> None:
    """Who leaves before the turn of a name gives the place free; a look-up that runs cannot be called back."""
    place = Place(at_once=1, max_waiting=1)
    running = place.resolver.resolve("a")
    first, second = (place.resolver.resolve("b") for _ in range(2))
    gone = [_results(each) for each in (running, first, second)]
    first.cancel()
    assert isinstance(place.ask("c")[0], Failure)
    second.cancel()
    running.cancel()
    assert all(isinstance(failure, Failure) and failure.check(CancelledError) for (failure,) in gone)
    assert place.ask("c") == []
    place.names.asked[0][1].callback(["192.0.2.1"])
    assert [host for host, _ in place.names.asked] == ["a", "c"]


def test_who_leaves_takes_the_timer_along() -> None:
    """Nothing is left of a name whose turn has not come."""
    place = Place(at_once=1)
    place.know("b")
    place.ask("a")
    waiting = place.resolver.resolve("b")
    left = _results(waiting)
    assert len(place.clock.getDelayedCalls()) == 1
    waiting.cancel()
    assert isinstance(left[0], Failure)
    assert place.clock.getDelayedCalls() == []


def test_those_whom_an_answer_makes_leave_are_not_told() -> None:
    """Even if they waited for the same name."""
    place = Place()
    first, second = (place.resolver.resolve("a") for _ in range(2))
    first.addCallback(lambda _: second.cancel())
    left = _results(second)
    place.answer(["192.0.2.1"])
    (failure,) = left
    assert isinstance(failure, Failure)
    assert failure.check(CancelledError)


def test_what_is_remembered_is_bounded() -> None:
    """The name that was looked up longest ago is forgotten first."""
    clock, asked = Clock(), list[str]()

    def find(host: str) -> Deferred[list[str]]:
        asked.append(host)
        return succeed(["192.0.2.1"])

    resolver = Resolver(find, clock.seconds)
    for number in range(MAX_CACHED + 1):
        resolver.resolve(f"h{number}")
    asked.clear()
    for number in (MAX_CACHED, 1, 0):
        resolver.resolve(f"h{number}")
    assert asked == ["h0"]
