"""Sessions of real servers belong to one token and one replica, on both transports that have them."""

from __future__ import annotations

import itertools
import uuid

import pytest
from tests.interop.callers import Caller, announced, request
from tests.interop.guarded import GuardedStage, bearer
from tests.interop.visits import CLIENT_MODES, Plan, Visitor

WHICH = (("which", {}),) * 3


def test_session_is_nobody_elses(guarded: GuardedStage) -> None:
    """Another token gets 404 for it with every method, as if it were lost, and its owner notices nothing."""
    url = guarded.public("ward", "http")
    visit = uuid.uuid4().hex
    alice, bob = Caller(url, bearer("alice")), Caller(url, {**bearer("bob"), "X-Visit": visit})
    session = alice.initialize()
    for method, body in (("POST", request("tools/list")), ("GET", None), ("DELETE", None)):
        refused = bob.send(method, body, session)
        assert (method, refused.status, refused.headers.get("mcpgate-error")) == (method, 404, "session_lost")
    assert guarded.seen("witness", visit) == []
    assert alice.call("tools/list", headers=session).messages[0]["result"]["tools"]
    assert alice.send("DELETE", None, session).status == 200
    assert alice.call("tools/list", headers=session).status == 404


def test_session_needs_its_token_every_time(guarded: GuardedStage) -> None:
    """Who knows the id of a session has not shown who they are."""
    url = guarded.public("ward", "http")
    session = Caller(url, bearer("alice")).initialize()
    assert Caller(url).call("tools/list", headers=session).status == 401


def test_made_up_session_is_lost(guarded: GuardedStage) -> None:
    """An id that the gateway has not sealed never reaches a server."""
    visit = uuid.uuid4().hex
    alice = Caller(guarded.public("ward", "http"), {**bearer("alice"), "X-Visit": visit})
    session = alice.initialize()
    name, sealed = next(iter(session.items()))
    reached = len(guarded.seen("witness", visit))
    unsealed = sealed.rpartition(".")[0]
    for forged in (unsealed, f"{unsealed}.{'A' * 30}", f"x{sealed}", uuid.uuid4().hex):
        assert alice.call("tools/list", headers={name: forged}).status == 404
    assert len(guarded.seen("witness", visit)) == reached
    assert alice.call("tools/list", headers=session).status == 200


def test_address_of_legacy_session_is_nobody_elses(guarded: GuardedStage) -> None:
    """What the `endpoint` event announces takes the messages of its owner alone."""
    url = guarded.public("ward", "sse")
    alice, bob = Caller(url, bearer("alice")), Caller(url, bearer("bob"))
    with alice.opened("GET") as stream:
        target = announced(stream)
        ping = request("ping")
        refused = bob.send("POST", ping, target=target)
        assert (refused.status, refused.headers.get("mcpgate-error")) == (404, "session_lost")
        assert Caller(url).send("POST", ping, target=target).status == 401
        assert alice.send("POST", ping, target=target).status == 202


@pytest.mark.parametrize("client", ["typescript-1.32-http", "typescript-1.32-sse"])
def test_session_stays_at_its_replica_and_the_next_one_is_elsewhere(
    client: str, guarded: GuardedStage, visitor: Visitor
) -> None:
    """All calls of a client are answered by one of two replicas, those of the next client by the other."""
    url = guarded.public("twins", CLIENT_MODES[client].transport)
    plan = Plan(WHICH, headers=bearer("alice"))
    visits = [replicas(visitor.visit(client, url, plan)["calls"]) for _ in range(2)]
    assert [len(set(visit)) for visit in visits] == [1, 1]
    assert visits[0] != visits[1]


def test_calls_without_session_alternate(guarded: GuardedStage, visitor: Visitor) -> None:
    """A client of 2026-07-28 is tied to no replica."""
    plan = Plan(WHICH, headers=bearer("alice"))
    answered = replicas(visitor.visit("typescript-2.4-pinned", guarded.public("twins", "http"), plan)["calls"])
    assert all(one != next_one for one, next_one in itertools.pairwise(answered))


def replicas(calls: list[dict[str, dict[str, dict[str, int]]]]) -> list[int]:
    """Which replica answered each call."""
    return [call["result"]["structuredContent"]["result"] for call in calls]
