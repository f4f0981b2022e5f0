"""A 2026-07-28 client: POST only, every request on its own, and closing a stream cancels it."""

from __future__ import annotations

import pytest
from tests.ends import LAST_CHUNK, STREAM_HEAD, answer_at, asked, chunked, request_at

from mcpgate.exchange import Ended, Era
from mcpgate.testing import GatewayUnderTest, answer, request

MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "add"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "=?base64?w6k=?="),
        ("Mcp-Param-Tenant", "acme"),
        ("mcp-PARAM-x", "=?base64?AA==?="),
        ("Mcp-Something-Of-2028", "1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1,b=2"),
    ],
)
def test_headers_of_the_transport_pass_untouched(name: str, value: str) -> None:
    """Known or not, they reach the server in the client's own spelling."""
    _, peer = asked(GatewayUnderTest(), request(body=b"{}", headers=MODERN | {name: value}))
    assert f"\r\n{name}: {value}\r\n".encode() in peer.received


def test_connection_cannot_take_the_transports_headers_away() -> None:
    """A `Connection` field that lists an `Mcp-` header does not hide it from the server."""
    _, peer = asked(
        GatewayUnderTest(),
        request(body=b"{}", headers=MODERN | {"Connection": "mcp-method, mcp-param-a", "Mcp-Param-A": "1"}),
    )
    assert request_at(peer)["mcp-method"] == b"tools/call"
    assert request_at(peer)["mcp-param-a"] == b"1"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("400 Bad Request", -32020),
        ("400 Bad Request", -32021),
        ("400 Bad Request", -32022),
        ("400 Bad Request", -32602),
        ("404 Not Found", -32601),
        ("429 Too Many Requests", -32000),
        ("500 Internal Server Error", -32603),
        ("503 Service Unavailable", -32000),
    ],
)
def test_the_servers_own_errors_pass_byte_for_byte(status: str, code: int) -> None:
    """A client tells by status and body what the server supports, so both are left alone."""
    body = b'{ "jsonrpc":"2.0", "error":{"code":%d,"message":"x"} ,"id":1}\n' % code
    client, peer = asked(GatewayUnderTest(), request(body=b"{}", headers=MODERN))
    peer.send(answer(body, status, {"Retry-After": "7"}))
    told = answer_at(client, "POST")
    assert (told.status, told.phrase, told.body) == (int(status[:3]), status[4:].encode(), body)
    assert told["retry-after"] == b"7"
    assert "mcpgate-error" not in told


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_methods_of_earlier_eras_are_the_servers_to_refuse(method: str) -> None:
    """A modern-only server answers 405 itself."""
    client, peer = asked(GatewayUnderTest(), request(method, headers=MODERN))
    assert request_at(peer).method == method.encode()
    peer.send(answer(b"", "405 Method Not Allowed", {"Allow": "POST"}))
    assert answer_at(client, method).status == 405


def test_a_long_listen_is_not_limited() -> None:
    """`subscriptions/listen` lives as long as both ends want, and its final result ends it."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b'{"method":"subscriptions/listen","id":1}', headers=MODERN))
    peer.send(STREAM_HEAD[:-2] + b"X-Accel-Buffering: no\r\n\r\n")
    assert answer_at(client, "POST")["x-accel-buffering"] == b"no"
    for _ in range(3):
        gate.advance(100)
        peer.send(chunked(b": ping\n\n"))
    peer.send(chunked(b'data: {"id":1,"result":{}}\n\n') + LAST_CHUNK)
    told = answer_at(client, "POST")
    assert told.complete
    assert told.body == b": ping\n\n" * 3 + b'data: {"id":1,"result":{}}\n\n'


@pytest.mark.parametrize("leaves", ["readConnectionLost", "connectionLost"])
def test_closing_the_stream_cancels_the_call_within_the_same_turn(leaves: str) -> None:
    """The server learns of it while the client's end is being read, not on a later turn."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b"{}", headers=MODERN))
    peer.send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    getattr(client.transport.protocol, leaves)()  # past the kit: no turn goes by
    assert peer.closed == "reset"
    assert gate.records[-1].ended is Ended.CLIENT_GONE


@pytest.mark.parametrize(
    ("method", "target", "fields", "era"),
    [
        ("POST", "/mcp/x/mcp", MODERN, Era.STATELESS),
        ("POST", "/mcp/x/mcp", {"MCP-Protocol-Version": "2027-01-01"}, Era.STATELESS),
        ("POST", "/mcp/x/mcp", {"MCP-Protocol-Version": "2025-11-25"}, Era.SESSION),
        ("GET", "/mcp/x/mcp", {"Mcp-Session-Id": "s"}, Era.SESSION),
        ("POST", "/mcp/x/mcp", {}, Era.SESSION),
        ("POST", "/mcp/x/messages/?session_id=1", {}, Era.SSE),
        ("POST", "/mcp/x/message?sessionId=1", {}, Era.SSE),
        ("GET", "/mcp/x/sse", {"Accept": "text/event-stream"}, Era.SSE),
        ("GET", "/mcp/x/", {"Accept": "*/*"}, Era.OTHER),
        ("OPTIONS", "/mcp/x/mcp", {"Accept": "*/*"}, Era.OTHER),
    ],
)
def test_the_record_names_the_era(method: str, target: str, fields: dict[str, str], era: Era) -> None:
    """What generation of the protocol a request belongs to stands in its record."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, request(method, target, headers=fields))
    peer.send(answer())
    assert gate.records[-1].era is era
