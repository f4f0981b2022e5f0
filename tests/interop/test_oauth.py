"""Real clients that get their own token from an authorization server, for the gateway and for a server behind it."""

from __future__ import annotations

import json
import uuid
from urllib.parse import urlsplit

import pytest
from tests.interop.callers import Caller, request
from tests.interop.guarded import GuardedStage
from tests.interop.visits import Plan, Visitor

CALLS = (("add", {"a": 2, "b": 40}), ("count", {"limit": 3}))
CLIENTS = ("python-2.3-auto", "typescript-2.4-auto")
STATELESS = "2026-07-28"


@pytest.mark.parametrize("client", CLIENTS)
def test_client_gets_its_token_where_the_gateway_says(client: str, guarded: GuardedStage, visitor: Visitor) -> None:
    """Challenge, metadata, authorization server, token, call: all found from the URL; the server sees no token."""
    visit, url = uuid.uuid4().hex, guarded.public("ward", "http")
    before = guarded.grants("robot")
    plan = Plan(CALLS, headers={"X-Visit": visit}, credentials=guarded.credentials("robot"))
    seen = visitor.visit(client, url, plan)
    assert seen["version"] == STATELESS
    assert [call["result"]["structuredContent"]["result"] for call in seen["calls"]] == [42, "counted to 3"]
    granted = guarded.grants("robot")[len(before) :]
    assert granted == [{"client": "robot", "resource": url.removesuffix("/mcp"), "scope": "use"}]
    reached = guarded.seen("witness", visit)
    assert ["tools/call", "add"] in [call for each in reached for call in each["calls"]]
    assert [each for each in reached if "authorization" in each["headers"]] == []


@pytest.mark.parametrize("client", CLIENTS)
def test_client_asks_for_scope_that_a_tool_needs(client: str, guarded: GuardedStage, visitor: Visitor) -> None:
    """A call that needs more is refused with the scopes it needs; the client gets them and calls again."""
    visit, url = uuid.uuid4().hex, guarded.public("steps", "http")
    before = guarded.grants("robot")
    plan = Plan(CALLS, headers={"X-Visit": visit}, credentials=guarded.credentials("robot"))
    seen = visitor.visit(client, url, plan)
    assert [call["result"]["structuredContent"]["result"] for call in seen["calls"]] == [42, "counted to 3"]
    granted = [set(grant["scope"].split()) for grant in guarded.grants("robot")[len(before) :]]
    assert granted == [{"use"}, {"use", "slow"}]
    calls = [call for each in guarded.seen("witness", visit) for call in each["calls"]]
    assert calls.count(["tools/call", "count"]) == 1


@pytest.mark.parametrize(
    ("client", "said"),
    [("python-2.3-auto", "this token gives no access to this server"), ("typescript-2.4-auto", "403")],
)
def test_client_whose_token_is_for_another_server_is_refused(
    client: str, said: str, guarded: GuardedStage, visitor: Visitor
) -> None:
    """The claim of its token names the servers, and this one is not among them."""
    visit, url = uuid.uuid4().hex, guarded.public("ward", "http")
    plan = Plan(CALLS, headers={"X-Visit": visit}, credentials=guarded.credentials("stranger"), may_fail=True)
    seen = visitor.visit(client, url, plan)
    assert said in " ".join(seen["failure"])
    assert guarded.grants("stranger")[-1]["resource"] == url.removesuffix("/mcp")
    assert guarded.seen("witness", visit) == []


@pytest.mark.parametrize("client", CLIENTS)
def test_client_gets_its_token_for_a_server_with_its_own_oauth(
    client: str, guarded: GuardedStage, visitor: Visitor
) -> None:
    """The server's challenge and metadata lead through the gateway's address, and the token reaches the server."""
    visit, url = uuid.uuid4().hex, guarded.public("owner", "http")
    before = guarded.grants("robot")
    plan = Plan(CALLS, headers={"X-Visit": visit}, credentials=guarded.credentials("robot"))
    seen = visitor.visit(client, url, plan)
    assert seen["version"] == STATELESS
    assert [call["result"]["structuredContent"]["result"] for call in seen["calls"]] == [42, "counted to 3"]
    assert guarded.grants("robot")[len(before) :] == [{"client": "robot", "resource": url, "scope": "use"}]
    calling = [each for each in guarded.seen("owner", visit) if ["tools/call", "add"] in each["calls"]]
    assert [each["headers"]["authorization"].startswith("Bearer ey") for each in calling] == [True]


def test_challenge_of_a_server_with_its_own_oauth_names_no_other_address(guarded: GuardedStage) -> None:
    """Neither the challenge nor the document behind it tells where the server itself runs."""
    url = guarded.public("owner", "http")
    own = urlsplit(guarded.direct("owner", "http")).netloc
    reply = Caller(url).send("POST", request("tools/list"))
    challenge = reply.headers["www-authenticate"]
    assert reply.status == 401
    assert "mcpgate-error" not in reply.headers  # the server itself said no
    assert 'error="invalid_token"' in challenge
    assert own not in challenge
    gateway = urlsplit(url)
    address = f"{gateway.scheme}://{gateway.netloc}/.well-known/oauth-protected-resource{gateway.path}"
    assert f'resource_metadata="{address}"' in challenge
    document = Caller(address).send("GET")
    assert document.status == 200
    assert own not in document.body.decode()
    assert json.loads(document.body)["resource"] == url
    assert json.loads(document.body)["authorization_servers"] == [guarded.issuer]
