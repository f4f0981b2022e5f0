"""Snippets for MCP clients, and what is taken over from their files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.clients import CLIENTS, Offer, import_servers
from mcpgate.config import parse
from mcpgate.settings import ServerSettings

OFFER = Offer("demo", "http://127.0.0.1:8700/mcp/demo/mcp")
LEGACY = Offer("demo", "http://127.0.0.1:8700/mcp/demo/sse", "sse")


class Anything(dict[str, str]):
    """An environment in which every variable has a value."""

    def get(self, key: str, default: Any = None) -> str:
        return "value"


def imported(servers: Any, top: str = "mcpServers") -> tuple[ServerSettings, ...]:
    """The servers of an imported file, as the gateway reads them."""
    text = import_servers(json.dumps({top: servers}))
    return parse(text, "imported", Anything()).servers


def test_cursor() -> None:
    """Cursor wants the URL alone."""
    snippet = CLIENTS["cursor"](OFFER)
    assert json.loads(snippet.text) == {"mcpServers": {"demo": {"url": OFFER.url}}}
    assert snippet.place == "~/.cursor/mcp.json"


def test_vscode() -> None:
    """VS Code's top key is servers, and it needs the type."""
    snippet = CLIENTS["vscode"](OFFER)
    assert json.loads(snippet.text) == {"servers": {"demo": {"type": "http", "url": OFFER.url}}}
    assert json.loads(CLIENTS["vscode"](LEGACY).text)["servers"]["demo"]["type"] == "sse"


def test_claude_code() -> None:
    """Claude Code is told by a command."""
    assert CLIENTS["claude-code"](OFFER).text == f"claude mcp add --transport http demo {OFFER.url}"
    assert "--transport sse" in CLIENTS["claude-code"](LEGACY).text


def test_other_clients() -> None:
    """Most others read mcpServers with a type and a URL."""
    assert json.loads(CLIENTS["generic"](OFFER).text) == {
        "mcpServers": {"demo": {"type": "http", "url": OFFER.url}}
    }


def test_an_imported_server() -> None:
    """The last segment of the URL is the endpoint, the rest is the upstream."""
    (found,) = imported({"github": {"type": "http", "url": "http://127.0.0.1:3010/mcp"}})
    assert (found.name, found.endpoints) == ("github", {"streamable-http": "/mcp"})
    assert found.upstreams[0].url == "http://127.0.0.1:3010"


@pytest.mark.parametrize(
    ("entry", "upstream", "endpoints"),
    [
        ({"url": "http://h:1/sse"}, "http://h:1", {"sse": "/sse"}),
        ({"url": "http://h:1/mcp/"}, "http://h:1", {"streamable-http": "/mcp/"}),
        ({"url": "https://h"}, "https://h", {"streamable-http": "/"}),
        ({"url": "https://h:443/a/b/mcp"}, "https://h/a/b", {"streamable-http": "/mcp"}),
        ({"url": "http://[::1]:8/mcp"}, "http://[::1]:8", {"streamable-http": "/mcp"}),
        ({"serverUrl": "http://h/mcp"}, "http://h", {"streamable-http": "/mcp"}),
        ({"httpUrl": "http://h/mcp", "type": "streamableHttp"}, "http://h", {"streamable-http": "/mcp"}),
        ({"url": "http://h/events", "transport": "sse"}, "http://h", {"sse": "/events"}),
    ],
)
def test_forms_of_imported_entries(entry: dict[str, str], upstream: str, endpoints: dict[str, str]) -> None:
    """Clients name the URL and the transport in different words, or leave the transport out."""
    (found,) = imported({"x": entry})
    assert (found.upstreams[0].url, found.endpoints) == (upstream, endpoints)


def test_vs_code_files_are_read_too() -> None:
    """Its top key is servers."""
    assert [each.name for each in imported({"a": {"url": "http://h/mcp"}}, "servers")] == ["a"]


def test_names_are_made_to_fit() -> None:
    """Names keep as much as the grammar allows, stay unique, and the original becomes the title."""
    entry = {"url": "http://h/mcp"}
    found = imported({"GitHub Tools": entry, "github-tools": entry, "discovery": entry, "日本": entry, "true": entry})
    assert [(each.name, each.title) for each in found] == [
        ("github-tools", "GitHub Tools"),
        ("github-tools-2", "github-tools"),
        ("discovery-2", "discovery"),
        ("server", "日本"),
        ("true", None),
    ]


def test_processes_are_left_out_with_a_word() -> None:
    """The gateway starts no processes; whoever has such entries is told."""
    text = import_servers(json.dumps({"mcpServers": {"files": {"command": "npx", "args": ["--key", "s3cret"]}}}))
    assert "# files: left out: it starts a process" in text
    assert "s3cret" not in text
    assert parse(text, "imported", {}).servers == ()


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "http://h/mcp?api_key=s3cret"},
        {"url": "http://me:s3cret@h/mcp"},
        {"url": "ws://h/mcp"},
        {"url": "http://h/mcp", "type": "ws"},
        {"url": "http://h/%2e%2e"},
        {"url": 5},
        {},
        "text",
        None,
    ],
)
def test_what_cannot_be_taken_over_becomes_a_comment(entry: Any) -> None:
    """One entry that does not fit does not spoil the others, and its secrets are not copied."""
    text = import_servers(json.dumps({"mcpServers": {"odd": entry, "good": {"url": "http://h/mcp"}}}))
    assert "  # odd: left out: " in text
    assert "s3cret" not in text
    assert [each.name for each in parse(text, "imported", {}).servers] == ["good"]


def test_header_values_become_variables() -> None:
    """Credentials stay where they are; the file says which variables to set."""
    headers = {"Authorization": "Bearer s3cret", "x-key": "s3cret", "X-Key": "s3cret", "Host": "h", "a b": "c"}
    text = import_servers(json.dumps({"mcpServers": {"git.hub": {"url": "http://h/mcp", "headers": headers}}}))
    assert "s3cret" not in text
    assert "${MCP_GIT_HUB_AUTHORIZATION:?" in text
    (found,) = parse(text, "imported", Anything()).servers
    assert found.headers.set == {"Authorization": "value", "X-Key": "value"}


def test_headers_that_none_can_be_set() -> None:
    """An entry whose only header belongs to the gateway is still complete."""
    (found,) = imported({"a": {"url": "http://h/mcp", "headers": {"Host": "h"}}})
    assert found.headers.set == {}


@pytest.mark.parametrize(
    "text", ["", "{", "// comment\n{}", "[]", "{}", '{"mcpServers": []}', "[" * 100_000, "5" * 5000]
)
def test_what_is_no_client_file(text: str) -> None:
    """Something else is refused with what was expected."""
    with pytest.raises(ValueError, match=r"not JSON|no mcpServers"):
        import_servers(text)


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "url": st.text() | st.sampled_from(["http://h/mcp", "https://h:8443/a$b/c", "http://h/sse/"]),
        "type": st.sampled_from(["http", "sse", "ws", "stdio", 5, None]),
        "headers": st.none() | st.dictionaries(st.text(max_size=6), st.text(max_size=4), max_size=3),
        "command": st.text(max_size=3),
    },
)


@given(st.dictionaries(st.text(max_size=80), ENTRIES | st.none() | st.integers(), max_size=5))
def test_whatever_is_imported_is_a_good_configuration(servers: dict[str, Any]) -> None:
    """Any names, URLs and headers give a file that the gateway takes once the variables are set."""
    found = imported(servers)
    assert len(found) <= len(servers)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_wants_a_token_is_offered_with_a_place_for_it(client: str) -> None:
    """Where the client puts header fields; others get none."""
    offer = Offer("x", "https://gate.example/mcp/x/mcp", wants_token=True)
    text = CLIENTS[client](offer).text
    assert "Bearer YOUR_TOKEN" in text
    if text.startswith("{"):
        ((entry,),) = (list(servers.values()) for servers in json.loads(text).values())
        assert entry["headers"] == {"Authorization": "Bearer YOUR_TOKEN"}
    assert "Authorization" not in CLIENTS[client](Offer("x", offer.url)).text
