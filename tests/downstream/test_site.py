"""What every tree of the gateway's own addresses is made of, and where clients look for OAuth metadata."""

from __future__ import annotations

import json
from typing import Any

import pytest
from klein import Klein
from tests.ends import Message, answer_at, behind
from twisted.internet.defer import Deferred, succeed

from mcpgate.downstream.site import add_documents, reply_json, reply_text, site_of, tree
from mcpgate.exchange import Exchange
from mcpgate.testing import GatewayUnderTest, request
from mcpgate.wire.metadata import WELL_KNOWN


def _tree() -> Klein:
    app = tree()
    app.route("/mcp/text", endpoint="text", methods=["GET", "HEAD"])(lambda request: reply_text(request, "caf\u00e9"))
    app.route("/mcp/json", endpoint="json")(lambda request: reply_json(request, {"a": 1}))
    return app


def _ask(app: Klein, method: str, target: str) -> Message:
    """Ask a tree that stands alone behind a listener."""
    gate = GatewayUnderTest()
    behind(gate, site_of(app, gate.reactor), b"/mcp", WELL_KNOWN, on_failure=pytest.fail)
    client = gate.connect()
    client.send(request(method, target))
    return answer_at(client, method)


@pytest.mark.parametrize("target", ["/mcp/x", ""])
def test_a_document_that_is_there_is_told_as_it_is(target: str) -> None:
    """Metadata is made elsewhere; what there is none of is 404."""

    def found(document: bytes | None) -> Message:
        def of(exchange: Exchange) -> Deferred[bytes | None]:
            return succeed(document)

        app = tree()
        add_documents(app, of)
        return _ask(app, "GET", WELL_KNOWN.decode() + target)

    assert found(None).status == 404
    told = found(b'{"a": 1}')
    assert (told.status, told.json, told["content-type"]) == (200, {"a": 1}, b"application/json")


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("DELETE", "/mcp/text", 405, b"GET, HEAD"),
        ("OPTIONS", "/mcp/text", 405, b"GET, HEAD"),
        ("GET", "/mcp/text/", 404, b""),
        ("GET", "/mcp/text//", 404, b""),
        ("GET", "/mcp/text/nothing", 404, b""),
        ("GET", "/mcp/text/%ff", 400, b""),
    ],
)
def test_what_a_tree_does_not_have_is_refused_in_our_form(method: str, target: str, status: int, allow: bytes) -> None:
    """Klein's own pages are never seen, and it redirects nobody."""
    told = _ask(_tree(), method, target)
    assert (told.status, told["allow"]) == (status, allow)
    assert json.loads(told.body)["error"]["code"] == -31000 - status


def test_a_failure_inside_a_tree_is_a_500_in_our_form(failures: list[str]) -> None:
    """It is told to the log, and not to the client."""

    def fails(request: Any) -> Any:
        raise RuntimeError("secret detail")

    gate = GatewayUnderTest()
    seen: list[str] = []
    app = tree()
    app.route("/mcp/broken", endpoint="broken")(fails)
    behind(gate, site_of(app, gate.reactor), b"/mcp", on_failure=seen.append)
    client = gate.connect()
    client.send(request("GET", "/mcp/broken"))
    told = answer_at(client)
    assert (told.status, told["content-type"]) == (500, b"application/json")
    assert told.json["error"]["data"]["reason"] == "internal"
    assert b"secret detail" not in client.received
    assert len(seen) + len(failures) >= 1


def test_answers_for_people_and_programs_say_what_they_are() -> None:
    """By their media type; in one piece, with a length, no server name, and nothing for caches."""
    text, told = _ask(_tree(), "GET", "/mcp/text"), _ask(_tree(), "GET", "/mcp/json")
    assert (text["content-type"], text.body.decode()) == (b"text/plain; charset=utf-8", "caf\u00e9")
    assert (told["content-type"], told.json) == (b"application/json", {"a": 1})
    assert told.complete
    assert told["cache-control"] == b"no-store"
    assert int(told["content-length"]) == len(told.body)
    assert "server" not in told
