"""How routes refuse, and what goes on for clients that have left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.ends import Message, answer_at, behind
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.web.iweb import IRequest
from zope.interface import implementer

from mcpgate.downstream.local import LocalRequest
from mcpgate.downstream.problems import carried_through, refusing, unprocessable
from mcpgate.downstream.site import site_of, tree
from mcpgate.refusals import Taken
from mcpgate.testing import GatewayUnderTest, request


@pytest.fixture(name="logged")
def _logged() -> Iterator[list[Any]]:
    """What is logged as a failure meanwhile."""
    found: list[Any] = []

    @implementer(ILogObserver)
    def note(event: Any) -> None:
        if "log_failure" in event:
            found.append(event["log_failure"].value)

    globalLogPublisher.addObserver(note)
    yield found
    globalLogPublisher.removeObserver(note)


def _told(outcome: Any) -> tuple[Message, GatewayUnderTest]:
    """What a client is told by a route that gives back this, or raises it."""
    gate, app = GatewayUnderTest(), tree()

    @app.route("/own")
    @refusing
    def own(request: LocalRequest) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    behind(gate, site_of(app, gate.reactor), b"/own")
    client = gate.connect()
    client.send(request("GET", "/own"))
    return answer_at(client), gate


@pytest.mark.parametrize("outcome", [lambda: Taken("no"), lambda: fail(Taken("no"))])
def test_an_error_of_ours_is_an_answer(outcome: Any) -> None:
    """Raised or late, it is the same."""
    told, gate = _told(outcome())
    assert (told.status, told["mcpgate-error"], gate.failures) == (409, b"taken", [])


@pytest.mark.parametrize("outcome", [lambda: KeyError("secret"), lambda: fail(KeyError("secret"))])
def test_another_error_is_logged_and_told_as_ours(outcome: Any) -> None:
    """Once, and without what it says."""
    told, gate = _told(outcome())
    assert (told.status, len(gate.failures), b"secret" in told.body) == (500, 1, False)


def test_work_goes_on_without_its_client(logged: list[Any]) -> None:
    """Who waits hears that it has left; the work does not hear of it."""
    work: Deferred[int] = Deferred(lambda _: pytest.fail("cancelled"))
    heard: list[Any] = []
    awaited = carried_through(work).addErrback(lambda failure: heard.append(failure.type))
    awaited.cancel()
    work.callback(1)
    assert (heard, logged) == ([CancelledError], [])


def test_the_result_is_that_of_the_work() -> None:
    """Be it good or bad."""
    heard: list[Any] = []
    work: Deferred[int] = Deferred()
    carried_through(work).addCallback(heard.append)
    work.callback(1)
    broken: Deferred[int] = Deferred()
    carried_through(broken).addErrback(lambda failure: heard.append(failure.value))
    error = KeyError("x")
    broken.errback(error)
    assert heard == [1, error]


@pytest.mark.parametrize(("error", "is_logged"), [(KeyError("x"), True), (Taken(), False)])
def test_a_failure_that_nobody_waits_for_is_logged(error: Exception, is_logged: bool, logged: list[Any]) -> None:
    """A refusal is not: there is nobody to tell it to."""
    work: Deferred[int] = Deferred()
    carried_through(work).addErrback(lambda _: None).cancel()
    work.errback(error)
    assert logged == ([error] if is_logged else [])


def test_faults_are_told_together() -> None:
    """For people in one line, for programs in a list."""
    gate, app = GatewayUnderTest(), tree()

    @app.route("/own")
    def own(request: IRequest) -> bytes:
        return unprocessable(request, ["a: wrong", "b: missing"])

    behind(gate, site_of(app, gate.reactor), b"/own")
    client = gate.connect()
    client.send(request("GET", "/own"))
    told = answer_at(client)
    assert (told.status, told.phrase, told["content-type"]) == (422, b"Unprocessable Content", b"application/problem+json")
    assert (told.json["detail"], told.json["faults"]) == ("a: wrong; b: missing", ["a: wrong", "b: missing"])
