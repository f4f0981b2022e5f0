"""An operator reads what was asked and what became of it, one line per exchange, and nothing secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ends import SSE, STREAM_HEAD, asked, chunked, gateway

from mcpgate.testing import GatewayUnderTest, answer, request


def _lines(gate: GatewayUnderTest) -> list[dict[str, Any]]:
    gate.advance(0.25)
    return [json.loads(line) for line in b"".join(gate.log_lines).splitlines()]


def test_a_line_tells_who_asked_for_what_and_how_it_ended() -> None:
    """Server, method, public path, status, era, milliseconds, bytes."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, request(body=b'{"id":1}'))
    gate.advance(0.5)
    peer.send(answer(b'{"result":{}}'))
    (line,) = _lines(gate)
    line.pop("time")
    assert line == {
        "client": "127.0.0.1",
        "server": "x",
        "method": "POST",
        "path": "/mcp/x/mcp",
        "status": 200,
        "era": "session",
        "ms": 500.0,
        "bytes_in": 8,
        "bytes_out": 13,
        "ended": "complete",
    }


def test_a_refusal_names_its_reason_and_the_id_that_the_client_has() -> None:
    """So that a report of a user can be found."""
    gate = GatewayUnderTest()
    told = json.loads(gate.ask(request("GET", "/nobody")).partition(b"\r\n\r\n")[2])
    (line,) = _lines(gate)
    assert (line["status"], line["reason"], line["ended"]) == (404, "no_route", "refused")
    assert line["request_id"] == told["error"]["data"]["requestId"]


def test_detail_is_for_the_log_alone() -> None:
    """What broke at the server is not the client's business."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b"{}"))
    peer.send(b"SSH-2.0-x\r\n")
    (line,) = _lines(gate)
    assert line["detail"]
    assert line["detail"].encode() not in client.received


def test_nothing_secret_is_written() -> None:
    """Queries, tokens, session ids, cookies and bodies hold what opens doors."""
    gate = gateway("headers: {set: {X-Api-Key: SECRET6}}")
    fields = {"Authorization": "Bearer SECRET1", "Mcp-Session-Id": "SECRET2", "Cookie": "SECRET3"}
    _, peer = asked(gate, request("POST", "/mcp/x/m?session_id=SECRET4", b'"SECRET5"', headers=fields))
    peer.send(answer(b"SECRET7", headers={"Mcp-Session-Id": "SECRET8", "Set-Cookie": "SECRET9"}))
    gate.ask(request("GET", "/nobody?SECRET10", headers=fields))
    assert len(_lines(gate)) == 2
    assert b"SECRET" not in b"".join(gate.log_lines)


@pytest.mark.parametrize(
    ("end", "ended", "status"),
    [
        ("complete", "complete", 200),
        ("client leaves", "client_gone", 200),
        ("client leaves early", "client_gone", 0),
        ("upstream dies", "upstream_lost", 200),
        ("upstream dies early", "refused", 502),
        ("client takes nothing", "send_timeout", 200),
        ("idle", "idle", 200),
        ("cut by drain", "drain", 200),
    ],
)
def test_every_end_is_written_once(end: str, ended: str, status: int) -> None:
    """However an exchange ends, there is one line, and it says why."""
    gate = gateway("timeouts: {stream_idle: 5m}", top="drain: {timeout: 1s}")
    client, peer = asked(gate, request(body=b"{}", headers=SSE))
    if "early" not in end:
        peer.send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    if end == "complete":
        peer.send(b"0\r\n\r\n")
    elif end.startswith("client leaves"):
        client.reset()
    elif end.startswith("upstream dies"):
        peer.reset()
    elif end == "client takes nothing":
        client.stop_reading()
        peer.send(*[chunked(b"x" * 50_000)] * 2)
        gate.advance(125)
    elif end == "idle":
        gate.advance(301)
    elif end == "cut by drain":
        gate.gateway.drain()
        gate.advance(2)
    client.reset()
    peer.reset()
    (line,) = _lines(gate)
    assert (line["ended"], line["status"]) == (ended, status)


@pytest.mark.parametrize("path", ['/a"b\\', "/%0a%0d{}", "/\\u000a", "/" + "a" * 5000, "/\x7f"])
def test_no_path_can_forge_a_line(path: str) -> None:
    """What a client chose is escaped and cut."""
    gate = GatewayUnderTest()
    gate.ask(request("GET", path))
    (line,) = _lines(gate)
    assert line["path"] == path[:512] or line["status"] == 400
    assert len(b"".join(gate.log_lines)) < 1000


def test_requests_that_could_not_be_read_are_written_too() -> None:
    """An attack should be seen."""
    gate = GatewayUnderTest()
    gate.ask(b"\x16\x03\x01\r\n\r\n")
    (line,) = _lines(gate)
    assert (line["status"], line["reason"], line["method"], line["path"]) == (400, "bad_request", "", "")


def test_own_addresses_are_written_too() -> None:
    """Discovery and health are exchanges like others."""
    gate = GatewayUnderTest()
    gate.ask(request("GET", "/mcp/discovery"))
    gate.ask(request("GET", "/livez"), admin=True)
    assert [(line["path"], line["status"], line["server"]) for line in _lines(gate)] == [
        ("/mcp/discovery", 200, ""),
        ("/livez", 200, ""),
    ]


def test_pipelined_exchanges_are_written_in_order() -> None:
    """Also if the second is refused at the moment when the first ends."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, request("GET", "/mcp/x/first") + request("GET", "/second"))
    peer.send(answer())
    assert [line["path"] for line in _lines(gate)] == ["/mcp/x/first", "/second"]


@pytest.mark.parametrize("framing", ["Content-Length: 6", "Transfer-Encoding: chunked"])
def test_bytes_are_payload(framing: str) -> None:
    """What was said, without the framing of either side."""
    name, _, value = framing.partition(": ")
    body = b"6\r\nabcdef\r\n0\r\n\r\n" if "chunked" in framing else b"abcdef"
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request(headers={name: value}), body)
    gate.upstream().send(STREAM_HEAD, chunked(b"data: 1\n\n"), chunked(b"data: 2\n\n"), b"0\r\n\r\n")
    (line,) = _lines(gate)
    assert (line["bytes_in"], line["bytes_out"]) == (6, 18)
