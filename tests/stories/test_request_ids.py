"""By what a request is found again: its id, and its place in a distributed trace."""

from __future__ import annotations

import json

import pytest
from tests.ends import LAST_CHUNK, answer_at, asked, chunked, gateway, request_at

from mcpgate.exchange import Exchange
from mcpgate.testing import GatewayUnderTest, answer, request

TRUSTED = "trusted_proxies: [127.0.0.1/32]"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Spans:
    """Keeps what would be exported."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def record(self, exchange: Exchange, started_wall_s: float, ended_wall_s: float) -> None:
        self.exchanges.append(exchange)


# --- ids ----------------------------------------------------------------------------------------------------------


def test_one_id_is_in_the_answer_in_the_log_and_with_the_server() -> None:
    """Each request has its own, also on one connection."""
    gate = GatewayUnderTest()
    client = gate.connect()
    seen = []
    for _ in range(3):
        client.send(request(body=b"{}"))
        sent = request_at(gate.upstream())
        gate.upstream().take()
        gate.upstream().send(answer())
        told = answer_at(client, "POST")
        client.take()
        assert told["x-request-id"] == sent["x-request-id"] == gate.records[-1].request_id
        seen.append(told["x-request-id"])
    assert len(set(seen)) == 3
    gate.advance(1)
    assert [json.loads(line)["request_id"].encode() for line in b"".join(gate.log_lines).splitlines()] == seen


def test_a_refusal_says_its_id_twice() -> None:
    """In the header, and in the error data that SDK clients show."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("POST", "/nobody", b'{"id":1}'))
    told = answer_at(client, "POST")
    assert told["x-request-id"].decode() == told.json["error"]["data"]["requestId"]


@pytest.mark.parametrize(
    ("sent", "admin"),
    [
        (request("GET", "/mcp/discovery"), False),
        (request("GET", "/nobody"), False),
        (b"NONSENSE\r\n\r\n", False),
        (request("GET", "/readyz"), True),
        (request("POST", "/admin/reload"), True),
    ],
)
def test_every_answer_has_an_id(sent: bytes, admin: bool) -> None:
    """Of own addresses, and where nothing could be read."""
    gate = GatewayUnderTest()
    told = gate.ask(sent, admin)
    assert told.lower().count(b"\r\nx-request-id: id-1\r\n") == 1


def test_an_upgrade_has_one_too() -> None:
    """Whoever debugs a WebSocket finds it in the browser."""
    client, peer = asked(GatewayUnderTest(), request("GET", "/mcp/x/ws", headers=UPGRADE))
    accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
    peer.send(f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    assert b"\r\nX-Request-Id: id-1\r\n" in client.received


@pytest.mark.parametrize("theirs", ["chosen", "a\tb", "x" * 129])
def test_a_clients_own_id_is_not_believed(theirs: str) -> None:
    """It would stand in the log as if it were ours."""
    _, peer = asked(GatewayUnderTest(), request("GET", headers={"X-Request-Id": theirs}))
    assert request_at(peer)["x-request-id"] == b"id-1"


@pytest.mark.parametrize(
    ("theirs", "taken"),
    [
        ("5f3c2b1a-7d6e-4f8a-9b0c-1d2e3f4a5b6c", True),
        ("Root=1-67891233-abcdef012345678912345678", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("two words", False),
        ('"quoted"', False),
        ("a,b", False),
        ("", False),
    ],
)
def test_that_of_a_trusted_proxy_is(theirs: str, taken: bool) -> None:
    """If it can stand in a log and in a header."""
    gate = gateway(top=TRUSTED)
    client, peer = asked(gate, request("GET", headers={"X-Request-Id": theirs}))
    expected = theirs.encode() if taken else b"id-1"
    assert request_at(peer)["x-request-id"] == expected
    peer.send(answer())
    assert answer_at(client)["x-request-id"] == expected


def test_a_server_cannot_name_the_request_otherwise() -> None:
    """There is one id, and it leads to the log of the gateway."""
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(answer(headers={"X-Request-Id": "theirs"}))
    assert answer_at(client)["x-request-id"] == b"id-1"


# --- traces -------------------------------------------------------------------------------------------------------


def test_a_trace_passes_through() -> None:
    """Unchanged, with its state; and the log tells its id."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, request("GET", headers={"traceparent": PARENT, "tracestate": "a=1,b=2"}))
    sent = request_at(peer)
    assert (sent["traceparent"], sent["tracestate"]) == (PARENT.encode(), b"a=1,b=2")
    peer.send(answer())
    gate.advance(1)
    assert json.loads(gate.log_lines[0])["trace_id"] == PARENT.split("-")[1]


@pytest.mark.parametrize("broken", ["00-0-0-01", "", "ff" + PARENT[2:], PARENT.upper(), f"{PARENT}, {PARENT}"])
def test_a_broken_one_ends_here_with_its_state(broken: str) -> None:
    """W3C Trace Context 3.2.2: it is ignored, and tracestate without it means nothing."""
    _, peer = asked(GatewayUnderTest(), request("GET", headers={"traceparent": broken, "tracestate": "a=1"}))
    sent = request_at(peer)
    assert "traceparent" not in sent
    assert "tracestate" not in sent


def test_without_a_trace_none_is_made() -> None:
    """Unless that is asked for."""
    _, peer = asked(GatewayUnderTest(), request("GET"))
    assert "traceparent" not in request_at(peer)
    _, peer = asked(gateway(top="tracing: {make: true}"), request("GET"))
    assert len(request_at(peer)["traceparent"]) == 55


def test_a_state_without_its_trace_does_not_join_another() -> None:
    """It would be told of a trace that it knows nothing of."""
    _, peer = asked(gateway(top="tracing: {make: true}"), request("GET", headers={"tracestate": "a=1"}))
    sent = request_at(peer)
    assert "traceparent" in sent
    assert "tracestate" not in sent


def test_each_request_of_a_connection_has_its_own_trace() -> None:
    """Also where its head is the same, and nothing else of it is worked out anew."""
    gate = gateway(top="tracing: {make: true}")
    client = gate.connect()
    traces = set()
    for _ in range(3):
        client.send(request(body=b"{}"))
        traces.add(request_at(gate.upstream())["traceparent"])
        gate.upstream().take()
        gate.upstream().send(answer())
    assert len(traces) == 3


def test_an_exported_span_is_the_parent_of_the_servers() -> None:
    """Of the same trace."""
    spans = Spans()
    gate = GatewayUnderTest(spans=spans)
    _, peer = asked(gate, request("GET", headers={"traceparent": PARENT}))
    peer.send(answer())
    (exchange,) = spans.exchanges
    assert exchange.trace is not None
    sent = request_at(peer)["traceparent"].decode().split("-")
    assert sent[1] == PARENT.split("-")[1]
    assert sent[2] == exchange.trace.span_id.decode() != PARENT.split("-")[2]
    assert exchange.trace.parent_id.decode() == PARENT.split("-")[2]


def test_a_stream_is_exported_when_it_ends() -> None:
    """With everything that is known by then."""
    spans = Spans()
    gate = GatewayUnderTest(spans=spans)
    _, peer = asked(gate, request("GET", headers={"traceparent": PARENT}))
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(b"data: 1\n\n"))
    assert spans.exchanges == []
    peer.send(LAST_CHUNK)
    assert [exchange.ended and exchange.ended.value for exchange in spans.exchanges] == ["upstream_end"]
