"""The read API of an MCP Registry: what VS Code and others ask for gets answers of the published shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.catalog.arranging import SECRET, Shown, arrange, everybody, read, servers, shown
from tests.catalog.shapes import RESPONSE, SERVER_LIST, faults
from tests.strategies import PURE

from mcpgate.catalog.arrangement import Arrangement
from mcpgate.catalog.subregistry import OWN, Query, page, version, versions

PM = [shown("pm-1", path="/mcp/v1/pm", title="Projects"), shown("pm-2", path="/mcp/v2/pm", version="2.4.0")]


def _page(arrangement: Arrangement[Shown], **fields: str) -> Any:
    return read(page(arrangement, Query.read(fields), everybody))


def _names(told: Any) -> list[str]:
    return [server["_meta"][OWN]["name"] for server in told["servers"]]


def test_a_server_is_told_with_all_that_is_required() -> None:
    """Its public address, and under our own key where and how it is."""
    told = _page(arrange(shown("x", docs_url="https://docs.example")))
    assert told == {
        "servers": [
            {
                "server": {
                    "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
                    "name": "com.example.mcp/x",
                    "version": "0.0.0",
                    "description": "The MCP server x",
                    "websiteUrl": "https://docs.example",
                    "remotes": [{"type": "streamable-http", "url": "https://mcp.example.com/mcp/x/mcp"}],
                },
                "_meta": {
                    "mcpgate/server": {
                        "name": "x",
                        "path": "/mcp/x",
                        "status": "up",
                        "updatedAt": "2023-11-14T22:13:20Z",
                        "isLatest": True,
                        "gateways": ["0123456789abcdef"],
                    }
                },
            }
        ],
        "metadata": {"count": 1},
    }


def test_the_first_question_of_vs_code_is_answered() -> None:
    """``limit=1``, also if there is no server at all."""
    assert _page(arrange(), limit="1") == {"servers": [], "metadata": {"count": 0}}
    told = _page(arrange(*PM, shown("x")), limit="1")
    assert (_names(told), told["metadata"]["count"]) == (["pm-1"], 1)
    assert told["metadata"]["nextCursor"]


def test_versioned_paths_are_versions_of_one_server() -> None:
    """Newest first; each by its version, and the newest as ``latest``."""
    arrangement = arrange(*PM, shown("x"))
    told = read(versions(arrangement, "pm", everybody))
    assert [server["server"]["version"] for server in told["servers"]] == ["2.4.0", "1.0.0"]
    assert [server["_meta"][OWN]["isLatest"] for server in told["servers"]] == [True, False]
    assert {server["server"]["name"] for server in told["servers"]} == {"com.example.mcp/pm"}
    assert read(version(arrangement, "pm", "latest", everybody)) == told["servers"][0]
    assert read(version(arrangement, "pm", "1.0.0", everybody)) == told["servers"][1]
    assert version(arrangement, "pm", "3.0.0", everybody) is None
    assert versions(arrangement, "pm-1", everybody) is None


def test_what_somebody_may_not_see_is_not_there() -> None:
    """Neither in lists nor by name."""
    arrangement = arrange(*PM)

    def nobody(entry: Shown) -> bool:
        return False

    assert read(page(arrangement, Query(), nobody))["servers"] == []
    assert versions(arrangement, "pm", nobody) is None
    assert version(arrangement, "pm", "latest", nobody) is None
    assert read(version(arrangement, "pm", "latest", lambda entry: entry is PM[0]))["server"]["version"] == "1.0.0"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"version": "latest"}, ["pm-2", "x"]),
        ({"version": "1.0.0"}, ["pm-1"]),
        ({"search": "PROJ"}, ["pm-1"]),
        ({"search": "pm"}, ["pm-1", "pm-2"]),
        ({"search": "pm", "version": "latest"}, ["pm-2"]),
        ({"search": "nothing"}, []),
        ({"updated_since": "2023-11-14T22:13:20Z"}, ["pm-1", "pm-2", "x"]),
        ({"updated_since": "2023-11-14T23:13:21 01:00"}, []),
        ({"include_deleted": "true", "unknown": "x"}, ["pm-1", "pm-2", "x"]),
    ],
)
def test_the_list_is_filtered_as_asked(fields: dict[str, str], names: list[str]) -> None:
    """By version, by a part of name or title, by the time of the last change."""
    assert _names(_page(arrange(*PM, shown("x")), **fields)) == names


def test_the_second_page_of_a_search_is_of_that_search() -> None:
    """VS Code sends the cursor without it."""
    found = arrange(shown("a-pm"), shown("b"), shown("c-pm"), shown("d"))
    first = _page(found, search="PM", limit="1")
    second = _page(found, cursor=first["metadata"]["nextCursor"])
    assert _names(first) + _names(second) == ["a-pm", "c-pm"]
    assert "nextCursor" not in second["metadata"]


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "all"},
        {"cursor": "x"},
        {"updated_since": "yesterday"},
        {"updated_since": "2026-01-01T00:00:00"},
        {"include_deleted": "perhaps"},
    ],
)
def test_what_cannot_be_asked_is_refused(fields: dict[str, str]) -> None:
    """With a sentence that names the parameter."""
    with pytest.raises(ValueError, match=next(iter(fields))):
        Query.read(fields)


@PURE
@given(servers(), st.integers(1, 4), st.sampled_from(["", "latest"]))
def test_pages_give_every_server_exactly_once_in_the_published_shape(
    found: list[Shown], limit: int, wanted: str
) -> None:
    """Whatever the limit; each can be read by its name and version; nothing internal comes out."""
    arrangement, seen, cursor = arrange(*found), [], ""
    while True:
        query = Query.read({"limit": str(limit), "cursor": cursor, "version": wanted})
        pieces = b"".join(page(arrangement, query, everybody))
        assert not SECRET.search(pieces.decode())
        told = read(pieces)
        assert faults(told, SERVER_LIST) == []
        assert len(told["servers"]) == told["metadata"]["count"] <= limit
        seen += told["servers"]
        cursor = told["metadata"].get("nextCursor", "")
        if not cursor:
            break
    labels = [item.label for item in arrangement.by_label]
    assert len(seen) == len(set(labels) if wanted else labels)
    assert len({(each["server"]["name"], each["server"]["version"]) for each in seen}) == len(seen)
    for each in seen:
        label = each["server"]["name"].partition("/")[2]
        one = read(version(arrangement, label, wanted or each["server"]["version"], everybody))
        assert (one, faults(one, RESPONSE)) == (each, [])
