"""The gateway's own list: the seed's shape first, and pages in which nobody is missing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.catalog.arranging import SECRET, Shown, arrange, everybody, read, servers, shown
from tests.strategies import PURE

from mcpgate.catalog.arrangement import Arrangement
from mcpgate.catalog.listing import Page, describe, discovery

GATEWAY = "0123456789abcdef"


def _list(arrangement: Arrangement[Shown], **fields: str) -> Any:
    return read(discovery(arrangement, Page(fields), everybody))


def test_what_is_not_told_of_a_server_is_left_out() -> None:
    """Rather than null."""
    assert describe(shown("x").settings, "unknown", "http://localhost") == {
        "name": "x",
        "path": "/mcp/x",
        "url": "http://localhost/mcp/x/mcp",
        "transports": [{"type": "streamable-http", "url": "http://localhost/mcp/x/mcp"}],
        "status": "unknown",
    }


def test_the_first_endpoint_is_the_newer_transport() -> None:
    """Whatever the order in the configuration; a server with SSE alone has that."""
    both = shown("x", endpoints={"sse": "/sse", "streamable-http": "/mcp"}, protocol_versions=["2026-07-28"])
    told = describe(both.settings, "up", "")
    assert (told["url"], told["protocol_versions"]) == ("/mcp/x/mcp", ["2026-07-28"])
    assert describe(shown("x", endpoints={"sse": "/sse"}).settings, "up", "")["url"] == "/mcp/x/sse"


def test_the_list_begins_as_its_first_readers_know_it() -> None:
    """``mcpServers`` with name and path."""
    told = _list(arrange(shown("b"), shown("a")))
    assert list(told) == ["mcpServers", "gateway"]
    assert [list(server)[:2] for server in told["mcpServers"]] == [["name", "path"]] * 2
    assert told["mcpServers"][1] == describe(shown("b").settings, "up", "https://mcp.example.com")
    assert _list(arrange()) == {"mcpServers": [], "gateway": GATEWAY}


def test_versions_of_one_server_say_so() -> None:
    """With their family, and which is the newest."""
    told = _list(arrange(shown("pm-1", path="/mcp/v1/pm"), shown("pm-2", path="/mcp/v2/pm"), shown("x")))
    found = [[server.get(key) for key in ("family", "pathVersion", "isLatest")] for server in told["mcpServers"]]
    assert found == [["pm", "v1", None], ["pm", "v2", True], [None, None, None]]


def test_who_may_not_see_the_newest_has_another_newest() -> None:
    """The list does not even show that there is something newer."""
    arrangement = arrange(shown("pm-1", path="/mcp/v1/pm"), shown("pm-2", path="/mcp/v2/pm"))
    told = read(discovery(arrangement, Page({}), lambda entry: entry.settings.name == "pm-1"))
    assert [(server["name"], server["isLatest"]) for server in told["mcpServers"]] == [("pm-1", True)]


@PURE
@given(servers(), st.integers(1, 5))
def test_pages_give_every_server_exactly_once(found: list[Shown], limit: int) -> None:
    """Whatever the limit, in the order of their names, and the same as all at once."""
    arrangement, cursor = arrange(*found), ""
    seen: list[dict[str, Any]] = []
    while True:
        page = _list(arrangement, limit=str(limit), cursor=cursor)
        assert 0 < len(page["mcpServers"]) <= limit or not found
        seen += page["mcpServers"]
        cursor = page.get("nextCursor", "")
        if not cursor:
            break
    assert seen == _list(arrangement)["mcpServers"]
    assert [server["name"] for server in seen] == sorted(each.settings.name for each in found)


def test_who_stays_is_seen_once_whatever_comes_and_goes() -> None:
    """A cursor names a place, not a number."""
    first = _list(arrange(shown("a"), shown("b"), shown("d")), limit="2")
    rest = _list(arrange(shown("aa"), shown("c"), shown("d")), cursor=first["nextCursor"])
    assert [server["name"] for server in first["mcpServers"] + rest["mcpServers"]] == ["a", "b", "c", "d"]


@PURE
@given(servers())
def test_nothing_internal_is_told(found: list[Shown]) -> None:
    """No address, header or token of the upstreams."""
    assert not SECRET.search(b"".join(discovery(arrange(*found), Page({}), everybody)).decode())


@pytest.mark.parametrize("fields", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"cursor": "?"}])
def test_what_cannot_be_asked_is_refused(fields: dict[str, str]) -> None:
    """With a sentence for the client."""
    with pytest.raises(ValueError, match=r"limit|cursor"):
        Page(fields)
