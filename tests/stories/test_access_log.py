"""An operator reads what was asked and what became of it, one line per exchange, and nothing secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.ends import SSE, STREAM_HEAD, asked, chunked, gateway, server
from tests.guests import HANDSHAKE, SWITCHING, bearer, call, known, message, post, reload
from tests.policy.signers import document, signer

from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

EVENT = chunked(b"data: 1\n\n")
LEGACY = STREAM_HEAD + chunked(b"event: endpoint\ndata: /m?sessionId=1\n\n")
CONFIG = known(alice="") + server("timeouts: {stream_idle: 5m, tunnel_idle: 5m}") + "drain: {timeout: 1s}\n"


def _lines(gate: GatewayUnderTest) -> list[dict[str, Any]]:
    gate.advance(0.25)
    return [json.loads(line) for line in b"".join(gate.log_lines).splitlines()]


def test_a_line_tells_who_asked_for_what_and_how_it_ended() -> None:
    """Server, replica, method, public path, what was called, status, era, milliseconds, bytes."""
    gate = GatewayUnderTest(known(alice="") + server())
    _, peer = asked(gate, post(call("echo"), "alice", Mcp_Protocol_Version="2025-06-18"))
    gate.advance(0.5)
    peer.send(answer(b'{"result":{}}'))
    (line,) = _lines(gate)
    line.pop("time")
    assert line == {
        "request_id": "id-1",
        "client": "127.0.0.1",
        "principal": "alice",
        "server": "x",
        "upstream": "127.0.0.1:3010",
        "era": "session",
        "method": "POST",
        "path": "/mcp/x/mcp",
        "mcp_method": "tools/call",
        "name": "echo",
        "status": 200,
        "ended": "complete",
        "hop": "upstream",
        "bytes_in": len(call("echo")),
        "bytes_out": 13,
        "ms": 500.0,
        "ttfb_ms": 500.0,
    }


def test_an_error_inside_a_good_answer_is_told() -> None:
    """JSON-RPC has codes of its own."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, post(call("echo")))
    peer.send(answer(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: echo"}}'))
    (line,) = _lines(gate)
    assert (line["status"], line["rpc_code"], line["hop"]) == (200, -32602, "upstream")


def test_the_address_of_a_resource_is_not_told() -> None:
    """It may hold what opens doors; a tool and a prompt have names."""
    gate = GatewayUnderTest()
    for body in (message("resources/read", uri="file:///SECRET"), message("prompts/get", name="greet")):
        _, peer = asked(gate, post(body))
        peer.send(answer())
    first, second = _lines(gate)
    assert (first["mcp_method"], first.get("name")) == ("resources/read", None)
    assert (second["mcp_method"], second["name"]) == ("prompts/get", "greet")
    assert b"SECRET" not in b"".join(gate.log_lines)


def test_a_stream_tells_when_its_first_event_came() -> None:
    """Not only when its head did."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, request(body=call("slow"), headers=SSE))
    gate.advance(1)
    peer.send(STREAM_HEAD)
    gate.advance(1)
    peer.send(EVENT, b"0\r\n\r\n")
    (line,) = _lines(gate)
    assert (line["transport"], line["ttfb_ms"], line["first_event_ms"]) == ("streamable-http", 1000.0, 2000.0)


def test_a_refusal_names_its_reason_and_the_id_that_the_client_has() -> None:
    """So that a report of a user can be found."""
    gate = GatewayUnderTest()
    told = json.loads(gate.ask(request("GET", "/nobody")).partition(b"\r\n\r\n")[2])
    (line,) = _lines(gate)
    assert (line["status"], line["reason"], line["ended"], line["hop"]) == (404, "no_route", "refused", "gateway")
    assert line["request_id"] == told["error"]["data"]["requestId"]


def test_detail_is_for_the_log_alone() -> None:
    """What broke at the server is not the client's business."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b"{}"))
    peer.send(b"SSH-2.0-x\r\n")
    (line,) = _lines(gate)
    assert line["detail"]
    assert line["detail"].encode() not in client.received


def test_a_line_says_whether_the_gateway_or_the_server_spoke() -> None:
    """A 503 of a server is not one of ours."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, request(body=b"{}"))
    peer.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    gate.refusing.add(3010)
    peer.reset()
    gate.ask(request(body=b"{}"))
    gate.ask(request("GET", "/mcp/discovery"))
    told = [(line["status"], line["hop"]) for line in _lines(gate)]
    assert told == [(503, "upstream"), (502, "gateway"), (200, "gateway")]


def test_nothing_secret_is_written() -> None:
    """Queries, tokens, session ids, cookies and bodies hold what opens doors."""
    gate = gateway("headers: {set: {X-Api-Key: SECRET6}}")
    fields = {"Authorization": "Bearer SECRET1", "Mcp-Session-Id": "SECRET2", "Cookie": "SECRET3"}
    _, peer = asked(gate, request("POST", "/mcp/x/m?session_id=SECRET4", b'"SECRET5"', headers=fields))
    peer.send(answer(b"SECRET7", headers={"Mcp-Session-Id": "SECRET8", "Set-Cookie": "SECRET9"}))
    gate.ask(request("GET", "/nobody?SECRET10", headers=fields))
    body = b'{"jsonrpc":"2.0","id":"SECRET11","method":"tools/call","params":{"name":"a","arguments":{"x":"SECRET12"}}}'
    _, peer = asked(gate, request(body=body, headers=fields))
    peer.send(answer(b'{"jsonrpc":"2.0","id":"SECRET13","error":{"code":-1,"message":"SECRET14"}}'))
    assert len(_lines(gate)) == 3
    assert b"SECRET" not in b"".join(gate.log_lines)


# --- ends ---------------------------------------------------------------------------------------------------------

_FIELDS = bearer("alice")
#: What may be open: the request, what the server has said so far, and how the line calls it.
STREAMS: dict[str, tuple[bytes, bytes, str]] = {
    "answer in events": (request(body=call("a"), headers=SSE | _FIELDS), STREAM_HEAD + EVENT, "streamable-http"),
    "stream": (
        request("GET", headers=SSE | _FIELDS | {"MCP-Protocol-Version": "2025-11-25"}),
        STREAM_HEAD + EVENT,
        "streamable-http",
    ),
    "legacy stream": (request("GET", "/mcp/x/sse", headers=SSE | _FIELDS), LEGACY, "sse"),
    "WebSocket": (
        request("GET", "/mcp/x/ws", headers=HANDSHAKE | _FIELDS),
        SWITCHING + b"\x81\x02hi",
        "websocket",
    ),
}


def _end(gate: GatewayUnderTest, client: Client, peer: UpstreamPeer, end: str, kind: str) -> None:
    if end == "client_gone":
        client.reset()
    elif end == "upstream_end":
        peer.send(*([] if kind == "WebSocket" else [b"0\r\n\r\n"]))
        peer.close()
    elif end == "upstream_lost":
        peer.reset()
    elif end == "send_timeout":
        client.stop_reading()
        peer.send(*[b"\x82\x7e" + b"x" * 50_000 if kind == "WebSocket" else chunked(b"x" * 50_000)] * 2)
        gate.advance(125)
    elif end == "idle":
        gate.advance(302)
    elif end == "drain":
        gate.gateway.drain()
        gate.advance(2)
    elif end == "revoked":
        reload(gate, CONFIG.replace(known(alice=""), known(bob="")))


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize(
    "end", ["client_gone", "upstream_end", "upstream_lost", "send_timeout", "idle", "drain", "revoked"]
)
def test_a_stream_says_once_why_it_has_ended(kind: str, end: str) -> None:
    """However it ends, and whatever follows of it."""
    gate = GatewayUnderTest(CONFIG)
    asks, says, transport = STREAMS[kind]
    client, peer = asked(gate, asks)
    peer.send(says)
    assert _lines(gate) == []
    _end(gate, client, peer, end, kind)
    client.reset()
    peer.reset()
    (line,) = _lines(gate)
    assert (line["ended"], line["transport"], line["principal"]) == (end, transport, "alice")
    assert line["status"] == (101 if kind == "WebSocket" else 200)


@pytest.mark.parametrize(
    ("end", "ended", "status"),
    [("complete", "complete", 200), ("client leaves", "client_gone", 0), ("upstream dies", "refused", 502)],
)
def test_what_is_no_stream_says_once_how_it_has_ended(end: str, ended: str, status: int) -> None:
    """A status of 0 means that nothing was answered."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b"{}"))
    if end == "complete":
        peer.send(answer())
    elif end == "client leaves":
        client.reset()
    elif end == "upstream dies":
        peer.reset()
    client.reset()
    peer.reset()
    (line,) = _lines(gate)
    assert (line["ended"], line["status"]) == (ended, status)
    assert "transport" not in line


# --- what a line never is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ['/a"b\\', "/%0a%0d{}", "/\\u000a", "/" + "a" * 5000, "/\x7f"])
def test_no_path_can_forge_a_line(path: str) -> None:
    """What a client chose is escaped and cut."""
    gate = GatewayUnderTest()
    gate.ask(request("GET", path))
    (line,) = _lines(gate)
    assert line["path"] == path[:512] or line["status"] == 400
    assert len(b"".join(gate.log_lines)) < 1000


FORGED = 'x"}\n{"time":"2026-01-01T00:00:00.000Z","status":200}\r\x1b[2J\u2028'


@pytest.mark.parametrize("body", [call(FORGED), message(FORGED), call("a" * 9000), message("b" * 9000)])
def test_no_body_can_forge_a_line(body: bytes) -> None:
    """The name of a tool or a method is the client's word."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, post(body))
    peer.send(answer())
    (line,) = _lines(gate)
    asked_for = json.loads(body)
    assert line["mcp_method"] == asked_for["method"][:64]
    assert line.get("name") == asked_for["params"].get("name", "")[:128] or "name" not in line
    assert b"".join(gate.log_lines).count(b"\n") == 1
    assert len(b"".join(gate.log_lines)) < 1500


@pytest.mark.parametrize(("subject", "status"), [('a"  200  b\\', 200), (FORGED, 401)])
def test_no_principal_can_forge_a_line(tmp_path: Path, subject: str, status: int) -> None:
    """A signed token says who it stands for in letters that its issuer lets pass; some are never let in."""
    keys = tmp_path / "keys.json"
    keys.write_bytes(document(signer().jwk()))
    issuer = "issuer: 'https://as.example', audience: 'https://gate.example'"
    gate = GatewayUnderTest(f"auth:\n  jwt: [{{{issuer}, jwks_file: '{keys}'}}]\n" + server())
    token = signer().token({"sub": subject, "exp": gate.wall_s + 100}).decode()
    client = gate.connect()
    client.send(request(body=b"{}", headers={"Authorization": f"Bearer {token}"}))
    for peer in gate.peers:
        peer.send(answer())
    (line,) = _lines(gate)
    assert line["status"] == status
    assert line.get("principal", subject).endswith(subject)
    assert b"".join(gate.log_lines).count(b"\n") == 1


# --- what else is written ------------------------------------------------------------------------------------------


def test_requests_that_could_not_be_read_are_written_too() -> None:
    """An attack should be seen."""
    gate = GatewayUnderTest()
    gate.ask(b"\x16\x03\x01\r\n\r\n")
    (line,) = _lines(gate)
    assert (line["status"], line["reason"], line["method"], line["path"]) == (400, "bad_request", "", "")


def test_a_flood_of_them_is_counted() -> None:
    """It fills no disk, and hides nobody else."""
    gate = GatewayUnderTest()
    for _ in range(200):
        gate.ask(b"\x16\x03\x01\r\n\r\n")
    _, peer = asked(gate, request(body=b"{}"))
    peer.send(answer())
    gate.advance(1.5)
    lines = _lines(gate)
    told = [line for line in lines if line.get("reason") == "bad_request"]
    assert len(told) == 21
    assert told[-1]["left_out"] == 180
    assert [line["server"] for line in lines if "reason" not in line] == ["x"]


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


def test_the_client_behind_a_trusted_proxy_is_told() -> None:
    """Not the proxy, which is the same for everybody; whoever is not trusted names nobody."""
    for top, client in (("trusted_proxies: [127.0.0.1/32]", "203.0.113.7"), ("", "127.0.0.1")):
        gate = gateway(top=top)
        asked(gate, request("GET", headers={"X-Forwarded-For": "203.0.113.7"}))[1].send(answer())
        gate.advance(1)
        assert json.loads(gate.log_lines[0])["client"] == client
