"""The gateway's own addresses on the data listener as a tree: what it tells, from callables alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.ends import Message, answer_at, behind
from twisted.internet.defer import succeed

from mcpgate.config import parse
from mcpgate.downstream.site import Entry, Told, data_tree, describe, reply_json, reply_text, site_of, tree
from mcpgate.policy.access import Terms
from mcpgate.testing import GatewayUnderTest, request
from mcpgate.wire.metadata import WELL_KNOWN

SERVER = """\
servers:
  - name: x
    title: X
    tags: [a]
    endpoints: {sse: /sse, streamable-http: /mcp}
    upstreams: [{url: "http://127.0.0.1:3010"}]
"""


def _entry(text: str = SERVER, status: str = "up") -> Entry:
    return Entry(parse(text, "gate.yaml", {}).servers[0], status, Terms())


TOLD = Told(
    catalog=lambda: [_entry()],
    public_url=lambda: "https://mcp.example.com",
    document=lambda exchange: succeed(None),
)


def _ask(tree: Any, method: str, target: str) -> Message:
    """Ask a tree that stands alone behind a listener."""
    gate = GatewayUnderTest()
    behind(gate, site_of(tree, gate.reactor), b"/mcp", WELL_KNOWN, on_failure=pytest.fail)
    client = gate.connect()
    client.send(request(method, target))
    return answer_at(client, method)


def test_discovery_is_made_of_what_it_is_told() -> None:
    """Anew for each caller."""
    told = _ask(data_tree(TOLD), "GET", "/mcp/discovery")
    assert told.json == {"mcpServers": [describe(_entry(), "https://mcp.example.com")]}
    empty = replace(TOLD, catalog=list)
    assert _ask(data_tree(empty), "GET", "/mcp/discovery").json == {"mcpServers": []}


def test_what_is_not_told_of_a_server_is_left_out() -> None:
    """Rather than null."""
    bare = 'servers: [{name: x, upstreams: [{url: "http://127.0.0.1:3010"}]}]'
    assert describe(_entry(bare, "unknown"), "http://localhost") == {
        "name": "x",
        "path": "/mcp/x",
        "url": "http://localhost/mcp/x/mcp",
        "transports": [{"type": "streamable-http", "url": "http://localhost/mcp/x/mcp"}],
        "status": "unknown",
    }


def test_the_first_endpoint_is_the_newer_transport() -> None:
    """Whatever the order in the configuration; a server with SSE alone has that."""
    assert describe(_entry(), "")["url"] == "/mcp/x/mcp"
    sse_only = SERVER.replace(", streamable-http: /mcp", "")
    assert describe(_entry(sse_only), "")["url"] == "/mcp/x/sse"


def test_a_document_that_is_there_is_told_as_it_is() -> None:
    """Metadata is made elsewhere; what there is none of is 404."""
    target = WELL_KNOWN.decode() + "/mcp/x"
    assert _ask(data_tree(TOLD), "GET", target).status == 404
    told = _ask(data_tree(replace(TOLD, document=lambda exchange: succeed(b'{"a": 1}'))), "GET", target)
    assert (told.status, told.json, told["content-type"]) == (200, {"a": 1}, b"application/json")


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("DELETE", "/mcp/discovery", 405, b"GET, HEAD"),
        ("OPTIONS", "/mcp/discovery", 405, b"GET, HEAD"),
        ("GET", "/mcp/discovery/", 404, b""),
        ("GET", "/mcp/discovery//", 404, b""),
        ("GET", "/mcp/discovery/nothing", 404, b""),
        ("GET", "/mcp/discovery/%ff", 400, b""),
    ],
)
def test_what_a_tree_does_not_have_is_refused_in_our_form(method: str, target: str, status: int, allow: bytes) -> None:
    """Klein's own pages are never seen, and it redirects nobody."""
    told = _ask(data_tree(TOLD), method, target)
    assert (told.status, told["allow"]) == (status, allow)
    assert json.loads(told.body)["error"]["code"] == -31000 - status


def test_a_failure_inside_a_tree_is_a_500_in_our_form(failures: list[str]) -> None:
    """It is told to the log, and not to the client."""

    def fails() -> Any:
        raise RuntimeError("secret detail")

    gate = GatewayUnderTest()
    seen: list[str] = []
    behind(gate, site_of(data_tree(replace(TOLD, catalog=fails)), gate.reactor), b"/mcp", on_failure=seen.append)
    client = gate.connect()
    client.send(request("GET", "/mcp/discovery"))
    told = answer_at(client)
    assert (told.status, told["content-type"]) == (500, b"application/json")
    assert told.json["error"]["data"]["reason"] == "internal"
    assert b"secret detail" not in client.received
    assert len(seen) + len(failures) >= 1


def test_every_answer_is_in_one_piece() -> None:
    """With a length, no server name, and nothing for caches."""
    told = _ask(data_tree(TOLD), "GET", "/mcp/discovery")
    assert told.complete
    assert told["cache-control"] == b"no-store"
    assert int(told["content-length"]) == len(told.body)
    assert "server" not in told


def test_answers_for_people_and_programs_say_what_they_are() -> None:
    """By their media type."""
    app = tree()
    app.route("/mcp/text", endpoint="text")(lambda request: reply_text(request, "caf\u00e9"))
    app.route("/mcp/json", endpoint="json")(lambda request: reply_json(request, {"a": 1}))
    text, told = _ask(app, "GET", "/mcp/text"), _ask(app, "GET", "/mcp/json")
    assert (text["content-type"], text.body.decode()) == (b"text/plain; charset=utf-8", "caf\u00e9")
    assert (told["content-type"], told.json) == (b"application/json", {"a": 1})
