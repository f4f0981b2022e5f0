"""Every error of the gateway itself has one form; every error of a server is its own."""

from __future__ import annotations

import json

import pytest
from tests.ends import Message, anonymous, answer_at, answers, gateway, refused
from tests.stories.test_websocket import OFFER

from mcpgate.exchange import Ended
from mcpgate.testing import GatewayUnderTest, answer, request

#: What to send, and the status, the reason and whether the connection closes.
REFUSALS = [
    (b"garbage\r\n\r\n", 400, "bad_request", True),
    (b"GET /mcp/x/ HTTP/1.1\r\n\r\n", 400, "bad_request", True),
    (b"GET /mcp/x/ HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, "bad_request", True),
    (b"GET /mcp/x/ HTTP/1.1\nHost: localhost\n\n", 400, "bad_request", True),
    (b"GET /mcp/x/ HTTP/2.0\r\nHost: localhost\r\n\r\n", 400, "bad_request", True),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_request", True),
    (request(headers={"Content-Length": "2", "Transfer-Encoding": "chunked"}), 400, "bad_request", True),
    (request(headers={"Content-Length": "+2"}), 400, "bad_request", True),
    (request(headers={"Transfer-Encoding": "gzip"}), 400, "bad_request", True),
    (request("GET", "http://evil.example/mcp/x/"), 400, "bad_request", True),
    (request("GET", "/mcp/x/../y"), 400, "bad_target", True),
    (request("GET", "/mcp/x/%2e%2e/y"), 400, "bad_target", True),
    (request("GET", "/mcp/x/.%2E"), 400, "bad_target", True),
    (request("GET", "/mcp/./x/"), 400, "bad_target", True),
    (request("GET", "/mcp/x/ws", headers=OFFER | {"Sec-WebSocket-Key": "x"}), 400, "bad_handshake", True),
    (request(headers={"Origin": "http://evil.example"}), 403, "origin", False),
    (request("GET", "/"), 404, "no_route", False),
    (request("GET", "/mcp"), 404, "no_route", False),
    (request("GET", "/mcp/"), 404, "no_route", False),
    (request("GET", "/mcp/xy"), 404, "no_route", False),
    (request("GET", "/MCP/x"), 404, "no_route", False),
    (request("GET", "/mcp%2fx"), 404, "no_route", False),
    (request("GET", "//mcp/x"), 404, "no_route", False),
    (request("POST", "/messages/?session_id=1", b'{"id":1}'), 404, "no_route", False),
    (request("GET", "/.well-known/oauth-authorization-server"), 404, "no_route", False),
    (request("POST", "/register"), 404, "no_route", False),
    (request("OPTIONS", "*"), 404, "no_route", False),
    (request("TRACE", "/mcp/x/"), 405, "method", False),
    (request("CONNECT", "localhost:22"), 405, "method", False),
    (request(headers={"Content-Length": "99999999"}), 413, "body_too_large", True),
    (b"GET /" + b"a" * 40_000, 414, "target_too_long", True),
    (
        request(headers={"Origin": "http://localhost", "Content-Type": "text/plain"}, body=b"{}"),
        415,
        "media_type",
        False,
    ),
    (request(headers={"Host": "evil.example"}), 421, "host", False),
    (request(headers={"A": "x" * 40_000}), 431, "head_too_large", True),
    (request(headers={f"A{number}": "x" for number in range(101)}), 431, "head_too_large", True),
    (request(headers={"Via": ", ".join(["1.1 mcpgate"] * 4)}), 508, "loop", False),
]


def _check_form(told: Message, status: int, reason: str) -> None:
    """The form of contract section 5, whatever went wrong."""
    assert (told.status, told["mcpgate-error"].decode()) == (status, reason)
    assert told["content-type"] == b"application/json"
    assert told.json["jsonrpc"] == "2.0"
    error = told.json["error"]
    assert error["code"] == -31000 - status
    assert error["message"]
    assert error["data"]["reason"] == reason
    assert error["data"]["hop"] == "gateway"
    assert error["data"]["requestId"].startswith("id-")
    assert ("retry-after" in told) is ("retryAfterSeconds" in error["data"])


@pytest.mark.parametrize(("sent", "status", "reason", "closes"), REFUSALS)
def test_every_refusal_has_the_same_form(sent: bytes, status: int, reason: str, closes: bool) -> None:
    """A JSON-RPC error of exactly application/json, with code, reason and request id; nothing reaches a server."""
    gate = GatewayUnderTest()
    told = refused(gate, sent)
    _check_form(told, status, reason)
    assert (told["connection"] == b"close") is closes
    assert [(each.ended, each.status) for each in gate.records] == [(Ended.REFUSED, status)]


@pytest.mark.parametrize(
    ("body", "told_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"ping"}', 7),
        (b'{"params":{"id":1},"id":"a\\u00e9"}', "a\u00e9"),
        (b'{"id":1.5}', 1.5),
        (b'{"id":null}', None),
        (b'{"id":[1]}', None),
        (b'{"id":true}', None),
        (b'{"method":"notifications/x"}', None),
        (b'[{"id":1}]', None),
        (b'{"id":1', None),
        (b"\xff\xfe", None),
        (b"[" * 5000, None),
    ],
)
@pytest.mark.parametrize("target", ["/mcp/nobody/mcp", "/mcp/x/mcp"])
def test_the_error_carries_the_id_of_the_request(body: bytes, told_id: object, target: str) -> None:
    """If it could be read; a broken body is no reason for another error."""
    gate = GatewayUnderTest()
    gate.refusing = {3010}
    client = gate.connect()
    client.send(request("POST", target, body))
    assert answer_at(client, "POST").json["id"] == told_id


def test_errors_of_a_server_name_it() -> None:
    """Who has several servers behind one gateway wants to know which one failed."""
    gate = GatewayUnderTest()
    gate.refusing = {3010}
    client = gate.connect()
    client.send(request(body=b"{}"))
    told = answer_at(client, "POST")
    _check_form(told, 502, "connect_failed")
    assert told.json["error"]["data"]["server"] == "x"
    assert b"3010" not in client.received


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        ("refuses", 502, "connect_failed"),
        ("is silent", 504, "connect_timeout"),
        ("answers nonsense", 502, "bad_answer"),
        ("dies", 502, "bad_answer"),
        ("stalls", 504, "upstream_timeout"),
    ],
)
def test_every_failure_of_a_server_has_the_same_form(failure: str, status: int, reason: str) -> None:
    """The client's connection stays usable: the next request is answered on it."""
    gate = gateway("timeouts: {connect: 1s, response: 1s}")
    gate.refusing, gate.silent = (
        ({3010} if failure == "refuses" else set()),
        ({3010} if failure == "is silent" else set()),
    )
    client = gate.connect()
    client.send(request(body=b'{"id":7}'))
    if failure == "answers nonsense":
        gate.upstream().send(b"\0")
    elif failure == "dies":
        gate.upstream().close()
    gate.advance(1.5)
    told = answer_at(client, "POST")
    _check_form(told, status, reason)
    assert told.json["id"] == 7
    assert "connection" not in told
    gate.refusing, gate.silent = set(), set()
    client.send(request("GET"))
    gate.upstream().send(answer(b"fine"))
    assert answers(client.received, None, ["POST", "GET"])[1].body == b"fine"


def test_a_refused_head_request_has_no_body() -> None:
    """Its length is told all the same (RFC 9110 section 9.3.2)."""
    told = refused(GatewayUnderTest(), request("HEAD", "/nobody"))
    assert (told.status, told.body) == (404, b"")
    assert int(told["content-length"]) > 100


def test_405_says_what_is_allowed() -> None:
    """RFC 9110 section 15.5.6 demands it."""
    allowed = {each.strip() for each in refused(GatewayUnderTest(), request("TRACE"))["allow"].split(b",")}
    assert {b"GET", b"POST", b"DELETE"} <= allowed
    assert not {b"TRACE", b"CONNECT"} & allowed


def test_draining_says_when_to_come_again() -> None:
    """503 with Retry-After, in the field and in the body."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("GET", "/nobody"))  # so that it is not idle when the doors close
    client.take()
    client.send(b"GET /mcp/x/ HTTP/1.1\r\n")
    gate.gateway.drain()
    gate.advance(0.25)
    client.send(b"Host: localhost\r\n\r\n")
    told = answer_at(client)
    _check_form(told, 503, "draining")
    assert told["retry-after"] == str(told.json["error"]["data"]["retryAfterSeconds"]).encode()
    assert told["connection"] == b"close"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (answer(b'{"error":{"code":-32001}}', "404 Not Found"), 404),
        (answer(b"<h1>oops", "500 Internal Server Error", {"Content-Type": "text/html"}), 500),
        (answer(b"", "401 Unauthorized", {"WWW-Authenticate": 'Bearer resource_metadata="x"'}), 401),
        (answer(b"slow", "429 Too Many Requests", {"Retry-After": "9"}), 429),
        (answer(b"{}", "418 I'm a teapot"), 418),
    ],
)
def test_errors_of_a_server_pass_byte_for_byte(said: bytes, status: int) -> None:
    """Status, phrase, fields and body are the server's, and the gateway does not claim them."""
    client = (gate := GatewayUnderTest()).connect()
    client.send(request(body=b"{}"))
    gate.upstream().send(said)
    head, _, body = anonymous(client.received).partition(b"\r\n\r\n")
    said_head, _, said_body = said.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == said_head.split(b"\r\n")[0]
    assert sorted(head.split(b"\r\n")) == sorted(said_head.split(b"\r\n"))
    assert body == said_body
    assert gate.records[-1].status == status
    assert gate.records[-1].error is None


def test_a_server_cannot_speak_as_the_gateway() -> None:
    """Its `Mcpgate-` fields are dropped, so the header proves who spoke."""
    client = (gate := GatewayUnderTest()).connect()
    client.send(request(body=b"{}"))
    gate.upstream().send(answer(headers={"Mcpgate-Error": "rate_limited", "X-Mcpgate-A": "b"}))
    assert b"mcpgate" not in client.received.lower()


@pytest.mark.parametrize(
    ("method", "target", "status"), [("GET", "/mcp/discovery/nothing", 404), ("POST", "/mcp/discovery", 405)]
)
def test_own_addresses_refuse_in_the_same_form(method: str, target: str, status: int) -> None:
    """What answers behind them does not show."""
    told = refused(GatewayUnderTest(), request(method, target))
    _check_form(told, status, {404: "no_route", 405: "method"}[status])


@pytest.mark.parametrize(
    ("method", "target", "fields", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("GET", "/mcp/x/mcp", {}, 404),
        ("GET", "/livez/nothing", {}, 404),
        ("POST", "/livez", {}, 405),
        ("POST", "/admin/reload", {}, 401),
        ("POST", "/admin/reload", {"Authorization": "Bearer wrong"}, 401),
        ("POST", "/admin/reload", {"Authorization": "Basic YTpi"}, 401),
        ("GET", "/livez", {"Host": "evil.example"}, 421),
        ("GET", "/livez/../a", {}, 400),
    ],
)
def test_the_admin_listener_speaks_problem_json(method: str, target: str, fields: dict[str, str], status: int) -> None:
    """Operators' tools read RFC 9457."""
    client = GatewayUnderTest().connect(admin=True)
    client.send(request(method, target, headers=fields))
    told = answer_at(client, method)
    assert (told.status, told["content-type"]) == (status, b"application/problem+json")
    problem = json.loads(told.body)
    assert (problem["status"], problem["reason"]) == (status, told["mcpgate-error"].decode())
    assert problem["title"]
    assert ("www-authenticate" in told) is (status == 401)
