"""Errors as answers: one form for MCP clients, one for operators."""

from __future__ import annotations

import json

import pytest

from mcpgate import errors
from mcpgate.downstream.replies import refusal
from mcpgate.errors import GatewayError, InsufficientScope, RateLimited, ToolDenied
from mcpgate.exchange import Answer, Exchange, Peer
from mcpgate.wire.http1 import HeadLimits, parse_request


def _all_errors() -> list[type[GatewayError]]:
    found = [GatewayError]
    for known in found:
        found.extend(known.__subclasses__())
    return found


def _exchange(*, admin: bool = False, method: str = "POST", body: bytes = b'{"id":7}', server: str = "") -> Exchange:
    head = parse_request(f"{method} /mcp/x HTTP/1.1\r\nHost: h\r\n\r\n".encode(), HeadLimits(1000, 10))
    exchange = Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0, admin)
    exchange.body, exchange.server, exchange.request_id = body, server, b"id-9"
    return exchange


def _fields(answer: Answer) -> dict[str, str]:
    lines = answer.block.decode().split("\r\n")[:-1]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("kind", [kind for kind in _all_errors() if kind is not ToolDenied])
def test_every_error_has_the_form_for_mcp_clients(kind: type[GatewayError]) -> None:
    """Code -31000 less the status, reason, request id, and the header that says who spoke."""
    error = kind(detail="internal detail")
    answer, body = refusal(error, _exchange(server="x"))
    fields, told = _fields(answer), json.loads(body)
    assert (answer.status, answer.length, answer.has_body) == (kind.status, len(body), True)
    assert answer.closes is kind.closes
    assert fields["Content-Type"] == "application/json"
    assert fields["Mcpgate-Error"] == kind.reason
    assert fields["Cache-Control"] == "no-store"
    data = {"reason": kind.reason, "requestId": "id-9", "hop": "gateway", "server": "x"}
    if kind.retry_after_s is not None:
        data["retryAfterSeconds"] = kind.retry_after_s  # type: ignore[assignment]
        assert fields["Retry-After"] == str(kind.retry_after_s)
    if kind is InsufficientScope:
        data["scopes"] = []  # type: ignore[assignment]
    assert told == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {"code": -31000 - kind.status, "message": error.text, "data": data},
    }
    assert b"internal detail" not in body


@pytest.mark.parametrize("kind", _all_errors())
def test_every_error_has_the_form_for_operators(kind: type[GatewayError]) -> None:
    """RFC 9457."""
    answer, body = refusal(kind(), _exchange(admin=True))
    assert _fields(answer)["Content-Type"] == "application/problem+json"
    told = json.loads(body)
    assert told["title"]
    assert {name: told[name] for name in ("type", "status", "detail", "reason", "requestId")} == {
        "type": "about:blank",
        "status": kind.status,
        "detail": kind().text,
        "reason": kind.reason,
        "requestId": "id-9",
    }


def test_a_denied_tool_is_answered_as_an_unknown_one() -> None:
    """Nothing in the answer says that somebody else could call it."""
    answer, body = refusal(ToolDenied.named("rm"), _exchange(server="x"))
    assert (answer.status, answer.closes) == (200, False)
    assert set(_fields(answer)) == {"Content-Type", "Cache-Control"}
    assert json.loads(body) == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {"code": -32602, "message": "Unknown tool: rm"},
    }


def test_a_limit_says_which_and_for_how_long() -> None:
    """In the fields for programs, and in the body for people."""
    error = RateLimited.until(3, "calls", b"RateLimit: x\r\n")
    answer, body = refusal(error, _exchange(server="x"))
    assert (_fields(answer)["Retry-After"], _fields(answer)["RateLimit"]) == ("3", "x")
    told = json.loads(body)["error"]
    assert told["message"] == "rate limit: try again in 3 s"
    assert (told["data"]["policy"], told["data"]["retryAfterSeconds"]) == ("calls", 3)


def test_a_browser_may_read_a_refusal_too() -> None:
    """The exchange knows which page asks."""
    exchange = _exchange()
    exchange.cors = b"Access-Control-Allow-Origin: https://a.example\r\n"
    answer, _ = refusal(RateLimited(), exchange)
    assert _fields(answer)["Access-Control-Allow-Origin"] == "https://a.example"


def test_statuses_that_promise_a_retry_say_when() -> None:
    """503 without a time would be tried again at once, by everybody."""
    assert all(kind.retry_after_s is not None for kind in _all_errors() if kind.status in (429, 503))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(errors.Unauthenticated, "WWW-Authenticate", "Bearer"), (errors.MethodRefused, "Allow", "GET")],
)
def test_statuses_that_demand_a_field_have_it(kind: type[GatewayError], field: str, value: str) -> None:
    """RFC 9110 sections 15.5.2 and 15.5.6."""
    answer, _ = refusal(kind(), _exchange())
    assert _fields(answer)[field].startswith(value)


def test_a_head_request_is_told_the_length_only() -> None:
    """Of the body that another method would get."""
    answer, body = refusal(errors.RouteNotFound(), _exchange(method="HEAD"))
    _, whole = refusal(errors.RouteNotFound(), _exchange(method="GET"))
    assert (body, answer.has_body, answer.length) == (b"", False, len(whole))


@pytest.mark.parametrize("text", ['say "hi"', "line\r\nbreak", "\u00e9\u2028", "<script>"])
def test_no_text_can_break_the_form(text: str) -> None:
    """It is JSON whatever it says."""
    for admin in (False, True):
        answer, body = refusal(errors.BadRequest(text), _exchange(admin=admin))
        told = json.loads(body)
        assert text in (told.get("detail"), told.get("error", {}).get("message"))
        assert "\r\n\r\n" not in answer.block.decode()
