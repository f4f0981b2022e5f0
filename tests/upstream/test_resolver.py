"""Names to addresses: one look-up for many callers, a short memory, and IP literals for free."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mcpgate.upstream.resolver import CACHE_S, Resolver, look_up


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
