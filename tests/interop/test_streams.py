"""What only shows on streams: leaving one reaches the server, a lost one resumes, a long one delivers."""

from __future__ import annotations

import uuid

import pytest
from tests.interop.processes import wait_until
from tests.interop.stage import Stage
from tests.interop.visits import Plan, Seen, Visitor, side_by_side

# The server cancels a call as soon as its stream is closed; starting the client that asks takes longest.
NOTICED_TIMEOUT_S = 15.0


def state_of(key: str, stage: Stage, visitor: Visitor) -> str:
    """Ask the server itself, past the gateway, what became of a held call."""
    plan = Plan(calls=(("test_hold_state", {"key": key}),))
    seen = visitor.visit("python-2.3-auto", stage.direct("fixture", "http"), plan)
    return str(seen["calls"][0]["result"]["content"][0]["text"])


@pytest.mark.parametrize("route", ["direct", "public"])
@pytest.mark.parametrize("client", ["python-2.3-leave", "typescript-2.4-leave", "typescript-1.32-leave"])
def test_leaving_call_cancels_it_at_server(client: str, route: str, stage: Stage, visitor: Visitor) -> None:
    """Closing the stream (stateless), or saying so (sessions), ends the call at the server."""
    key = uuid.uuid4().hex
    url = getattr(stage, route)("fixture", "http")
    seen = visitor.visit(client, url, Plan(calls=(("test_hold", {"key": key}),)))
    assert seen["calls"] == [{"tool": "test_hold", "abandoned": True}]
    wait_until(lambda: state_of(key, stage, visitor) == "cancelled", "call cancelled", NOTICED_TIMEOUT_S)


@pytest.mark.parametrize("client", ["python-1.30-http", "typescript-1.32-http"])
def test_lost_stream_resumes(client: str, stage: Stage, visitor: Visitor) -> None:
    """A call whose stream the server closed half-way is answered after the client came back."""
    plan = Plan(calls=(("test_reconnection", {}),))
    urls = stage.direct("fixture", "http"), stage.public("fixture", "http")
    direct, public = side_by_side(lambda url: visitor.visit(client, url, plan), *urls)
    assert text_of(direct) == "Reconnection test completed successfully."
    assert public == direct


def test_listening_client_gets_announcements(stage: Stage, visitor: Visitor) -> None:
    """A `subscriptions/listen` stream is acknowledged and delivers what the server announces."""
    plan = Plan(calls=(("test_trigger_tool_change", {}),))
    direct = visitor.visit("typescript-2.4-listen", stage.direct("fixture", "http"), plan)
    assert direct["version"] == "2026-07-28"
    assert direct["honored"] == {"toolsListChanged": True}
    assert direct["notices"] == ["notifications/tools/list_changed"]
    assert visitor.visit("typescript-2.4-listen", stage.public("fixture", "http"), plan) == direct


def text_of(seen: Seen) -> str:
    """Return the text of the only call of a visit."""
    return str(seen["calls"][0]["result"]["content"][0]["text"])
