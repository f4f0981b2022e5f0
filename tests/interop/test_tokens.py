"""Real clients with a token of the gateway, without one, and with a wrong one; and the tools that nobody may call."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.interop.guarded import GuardedStage, bearer, token
from tests.interop.visits import CLIENT_MODES, Plan, Seen, Visitor, differences

CALLS = (("add", {"a": 2, "b": 40}), ("count", {"limit": 5}), ("unknown", {}))
CLIENTS = (
    *("python-2.3-auto", "typescript-2.4-auto", "python-1.30-http", "typescript-1.32-http"),
    *("python-1.30-sse", "typescript-1.32-sse", "python-2.3-sse", "typescript-2.4-sse"),
)
#: What the SDKs say of a refusal: without a token, and with a wrong one.
SAID = {
    "python-2.3-auto": ("this needs a token", "this token is not valid here"),
    "typescript-2.4-auto": ("(HTTP 401)", "(HTTP 401)"),
    "typescript-1.32-http": ('"reason":"no_token"', '"reason":"invalid_token"'),
    "python-1.30-sse": ("401 Unauthorized", "401 Unauthorized"),
}


def marked(name: str) -> dict[str, str]:
    """The headers of somebody with a token, and a mark by which the server's record can be searched."""
    return {**bearer(name), "X-Visit": uuid.uuid4().hex}


@pytest.mark.parametrize("client", CLIENTS)
def test_client_with_token_sees_same_server(client: str, guarded: GuardedStage, visitor: Visitor) -> None:
    """Lists, results, errors and progress are the same as directly; the token never reaches the server."""
    transport = CLIENT_MODES[client].transport
    public, headers = guarded.public("ward", transport), marked("alice")
    with ThreadPoolExecutor(max_workers=2) as pool:
        direct = pool.submit(visitor.visit, client, guarded.direct("witness", transport), Plan(CALLS))
        through = pool.submit(visitor.visit, client, public, Plan(CALLS, headers=headers))
    assert len(direct.result()["calls"]) == len(CALLS)
    assert differences(direct.result(), through.result()) == []
    reached = guarded.seen("witness", headers["X-Visit"])
    assert ["tools/call", "add"] in [call for each in reached for call in each["calls"]]
    assert [each for each in reached if "authorization" in each["headers"]] == []
    assert token("alice") not in json.dumps(reached)


@pytest.mark.parametrize("client", SAID)
def test_client_without_good_token_is_refused(client: str, guarded: GuardedStage, visitor: Visitor) -> None:
    """Its SDK tells of the refusal, and the server hears nothing of it."""
    url = guarded.public("ward", CLIENT_MODES[client].transport)
    without, wrong = {"X-Visit": uuid.uuid4().hex}, marked("nobody")

    def visit(headers: dict[str, str]) -> Seen:
        return visitor.visit(client, url, Plan(CALLS, headers=headers, may_fail=True))

    with ThreadPoolExecutor(max_workers=2) as pool:
        refused = list(pool.map(visit, (without, wrong)))
    for seen, said in zip(refused, SAID[client], strict=True):
        assert said in " ".join(seen["failure"])
    assert guarded.seen("witness", without["X-Visit"]) + guarded.seen("witness", wrong["X-Visit"]) == []


@pytest.mark.parametrize(
    ("client", "transport"),
    [
        ("python-2.3-auto", "http"),
        ("typescript-2.4-auto", "http"),
        ("typescript-1.32-http", "http"),
        ("python-1.30-sse", "sse"),  # these hear answers on their stream alone
        ("python-2.3-sse", "sse"),
        ("typescript-1.32-sse", "sse"),
        ("typescript-2.4-sse", "sse"),
    ],
)
def test_denied_tool_is_unknown_to_clients(
    client: str, transport: str, guarded: GuardedStage, visitor: Visitor
) -> None:
    """The SDK raises what it raises for an unknown tool; the server hears of the next call, but not of this one."""
    headers = marked("alice")
    plan = Plan((("forbidden", {}), ("add", {"a": 2, "b": 40})), headers=headers)
    seen = visitor.visit(client, guarded.public("ward", transport), plan)
    denied, admitted = seen["calls"]
    assert denied["error"]["code"] == -32602
    assert "Unknown tool: forbidden" in denied["error"]["message"]
    assert admitted["result"]["structuredContent"] == {"result": 42}
    calls = [call for each in guarded.seen("witness", headers["X-Visit"]) for call in each["calls"]]
    assert ["tools/call", "add"] in calls
    assert ["tools/call", "forbidden"] not in calls
