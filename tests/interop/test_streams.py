"""What only shows on streams: leaving one reaches the server, a lost one resumes, a long one delivers."""

from __future__ import annotations

import uuid

import pytest
from tests.interop.stage import Stage
from tests.interop.visits import Plan, Seen, Visitor, differences, side_by_side


@pytest.mark.parametrize("client", ["python-2.3-leave", "typescript-2.4-leave", "typescript-1.32-leave"])
def test_leaving_call_cancels_it_at_server(client: str, stage: Stage, visitor: Visitor) -> None:
    """Closing the stream (stateless), or saying so (sessions), ends a call at the server."""

    def leave(url: str) -> Seen:
        key = {"key": uuid.uuid4().hex}
        return visitor.visit(client, url, Plan(calls=(("test_hold", key), ("test_hold_state", key))))

    direct, public = side_by_side(leave, stage.direct("fixture", "http"), stage.public("fixture", "http"))
    assert direct["state"] == "cancelled"
    assert differences(direct, public) == []


@pytest.mark.parametrize("client", ["python-1.30-http", "typescript-1.32-http"])
def test_lost_stream_resumes(client: str, stage: Stage, visitor: Visitor) -> None:
    """A call whose stream the server closed half-way is answered after the client came back."""
    plan = Plan(calls=(("test_reconnection", {}),))
    urls = stage.direct("fixture", "http"), stage.public("fixture", "http")
    direct, public = side_by_side(lambda url: visitor.visit(client, url, plan), *urls)
    assert text_of(direct) == "Reconnection test completed successfully."
    assert differences(direct, public) == []


def test_listening_client_gets_announcements(stage: Stage, visitor: Visitor) -> None:
    """A `subscriptions/listen` stream is acknowledged and delivers what the server announces."""
    plan = Plan(calls=(("test_trigger_tool_change", {}),))
    direct = visitor.visit("typescript-2.4-listen", stage.direct("fixture", "http"), plan)
    assert direct["version"] == "2026-07-28"
    assert direct["honored"] == {"toolsListChanged": True}
    assert direct["notices"] == ["notifications/tools/list_changed"]
    public = visitor.visit("typescript-2.4-listen", stage.public("fixture", "http"), plan)
    assert differences(direct, public) == []


def text_of(seen: Seen) -> str:
    """Return the text of the only call of a visit."""
    return str(seen["calls"][0]["result"]["content"][0]["text"])
