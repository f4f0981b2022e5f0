"""The gateway's own addresses as trees: what they tell, from callables alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.ends import Message, answer_at, behind
from twisted.internet.defer import succeed

from mcpgate.config import parse
from mcpgate.downstream.site import Entry, Told, admin_tree, data_tree, describe, site_of
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
    is_ready=lambda: {"a": True, "b": True},
    reload=lambda: {"success": True},
    masked_config=lambda: {"servers": []},
    document=lambda exchange: succeed(None),
)


def _ask(tree: Any, method: str, target: str) -> Message:
    """Ask a tree that stands alone behind a listener."""
    gate = GatewayUnderTest()
    own = (b"/mcp/discovery", b"/livez", b"/readyz", b"/healthz", b"/admin", WELL_KNOWN)
    behind(gate, site_of(tree, gate.reactor), *own, on_failure=pytest.fail)
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


@pytest.mark.parametrize(
    ("checks", "query", "status", "body"),
    [
        ({"a": True}, "", 200, "ok\n"),
        ({"a": True}, "?verbose", 200, "[+] a\nok\n"),
        ({"a": True, "b": False}, "", 503, "[+] a\n[-] b\nnot ready\n"),
        ({"a": False}, "?verbose", 503, "[-] a\nnot ready\n"),
    ],
)
@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
def test_readiness_lists_its_checks_when_asked_or_failing(
    path: str, checks: dict[str, bool], query: str, status: int, body: str
) -> None:
    """A person sees which one it is."""
    told = _ask(admin_tree(replace(TOLD, is_ready=lambda: checks)), "GET", path + query)
    assert (told.status, told.body.decode(), told["content-type"]) == (status, body, b"text/plain; charset=utf-8")


def test_liveness_asks_nobody() -> None:
    """A process that answers is alive."""
    told = _ask(admin_tree(replace(TOLD, is_ready=lambda: {"a": False})), "GET", "/livez")
    assert (told.status, told.body) == (200, b"ok\n")


@pytest.mark.parametrize(
    ("result", "status"), [({"success": True, "added": ["x"]}, 200), ({"success": False, "faults": ["f"]}, 422)]
)
def test_a_reload_is_told_as_it_went(result: dict[str, Any], status: int) -> None:
    """With what the service says."""
    told = _ask(admin_tree(replace(TOLD, reload=lambda: result)), "POST", "/admin/reload")
    assert (told.status, told.json) == (status, result)


def test_the_configuration_is_told_as_given() -> None:
    """Masking is the service's."""
    assert _ask(admin_tree(TOLD), "GET", "/admin/config").json == {"servers": []}


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/admin/reload", 405, b"POST"),
        ("DELETE", "/livez", 405, b"GET, HEAD"),
        ("OPTIONS", "/livez", 405, b"GET, HEAD"),
        ("GET", "/admin", 404, b""),
        ("GET", "/admin/nothing", 404, b""),
        ("GET", "/livez/", 404, b""),
        ("GET", "/livez//", 404, b""),
        ("GET", "/admin%2fconfig", 404, b""),
        ("GET", "/livez/%ff", 400, b""),
    ],
)
def test_what_a_tree_does_not_have_is_refused_in_our_form(method: str, target: str, status: int, allow: bytes) -> None:
    """Klein's own pages are never seen, and it redirects nobody."""
    told = _ask(admin_tree(TOLD), method, target)
    assert (told.status, told["allow"]) == (status, allow)
    assert json.loads(told.body)["error"]["code"] == -31000 - status


def test_a_failure_inside_a_tree_is_a_500_in_our_form(failures: list[str]) -> None:
    """It is told to the log, and not to the client."""

    def fails() -> Any:
        raise RuntimeError("secret detail")

    gate = GatewayUnderTest()
    seen: list[str] = []
    tree = admin_tree(replace(TOLD, masked_config=fails))
    behind(gate, site_of(tree, gate.reactor), b"/admin", on_failure=seen.append)
    client = gate.connect()
    client.send(request("GET", "/admin/config"))
    told = answer_at(client)
    assert (told.status, told["content-type"]) == (500, b"application/json")
    assert told.json["error"]["data"]["reason"] == "internal"
    assert b"secret detail" not in client.received
    assert len(seen) + len(failures) >= 1


def test_every_tree_answers_in_one_piece() -> None:
    """With a length, no server name, and nothing for caches."""
    for tree, target in ((data_tree(TOLD), "/mcp/discovery"), (admin_tree(TOLD), "/livez")):
        told = _ask(tree, "GET", target)
        assert told.complete
        assert told["cache-control"] == b"no-store"
        assert int(told["content-length"]) == len(told.body)
        assert "server" not in told
    assert cast(Any, data_tree(TOLD)) is not data_tree(TOLD)
