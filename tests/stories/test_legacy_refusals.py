"""A legacy client hears answers on its stream alone, so it hears there too that a call was refused."""

from __future__ import annotations

import json

import pytest
from tests.ends import STREAM_HEAD, answer_at, answers, asked, chunked
from tests.guests import bearer, known

from mcpgate.exchange import Ended
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, request

CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"rm","arguments":{}}}'
LEGACY = {"Accept": "text/event-stream"}
DENIED = "servers:\n  - {name: x, tools: {deny: [rm]}, upstreams: [{url: 'http://127.0.0.1:3010'}]}\n"
LIMITED = (
    "servers:\n  - {name: x, upstreams: [{url: 'http://127.0.0.1:3010'}]}\n"
    "limits: [{name: calls, key: [principal], match: {methods: [tools/call]}, rate: 1/m, burst: 1}]\n"
)


def _stream(gate: GatewayUnderTest, guest: str = "alice") -> tuple[Client, UpstreamPeer, str]:
    """An open legacy stream, and the address that it has announced."""
    client, peer = asked(gate, request("GET", "/mcp/x/sse", headers=LEGACY | bearer(guest)))
    peer.send(STREAM_HEAD + chunked(b"event: endpoint\ndata: /messages?session_id=1\n\n"))
    data = client.take().partition(b"data: ")[2].partition(b"\n")[0]
    return client, peer, data.decode("ascii")


def _post(gate: GatewayUnderTest, target: str, body: bytes = CALL, guest: str = "alice") -> Client:
    client = gate.connect()
    client.send(request("POST", target, body, headers=bearer(guest)))
    return client


def _told(stream: Client) -> dict[str, object]:
    """The message in the one event that came, in a chunk of its own."""
    raw = stream.take()
    size, _, rest = raw.partition(b"\r\n")
    event = rest[: int(size, 16)]
    assert rest[int(size, 16) :] == b"\r\n"
    assert event.startswith(b"event: message\ndata: ")
    assert event.endswith(b"\n\n")
    told: dict[str, object] = json.loads(event.partition(b"data: ")[2])
    return told


def test_a_denied_tool_is_answered_on_the_stream() -> None:
    """As a server would that does not know it; the post is accepted, and nothing reaches the server."""
    gate = GatewayUnderTest(known(alice="") + DENIED)
    stream, _, target = _stream(gate)
    post = _post(gate, target)
    assert answer_at(post, "POST").status == 202
    assert _told(stream) == {"jsonrpc": "2.0", "id": 7, "error": {"code": -32602, "message": "Unknown tool: rm"}}
    assert len(gate.peers) == 1
    record = gate.records[-1]
    assert (record.status, record.error and record.error.reason) == (202, "tool_denied")


def test_the_connection_of_the_post_goes_on() -> None:
    """A second call on it is answered in the same way, and the server's own events in between."""
    gate = GatewayUnderTest(known(alice="") + DENIED)
    stream, peer, target = _stream(gate)
    post = _post(gate, target)
    _told(stream)
    peer.send(chunked(b"event: message\ndata: 1\n\n"))
    assert b"data: 1\n\n" in stream.take()
    post.send(request("POST", target, CALL, headers=bearer("alice")))
    assert [each.status for each in answers(post.received, methods=["POST", "POST"])] == [202, 202]
    assert _told(stream)["id"] == 7
    stream.reset()
    assert gate.records[-1].ended is Ended.CLIENT_GONE
    assert gate.gateway.servers["x"].announced == {}


def test_a_call_over_the_limit_is_told_there_too() -> None:
    """With the wait, in the form of our errors."""
    gate = GatewayUnderTest(known(alice="") + LIMITED)
    stream, _, target = _stream(gate)
    _post(gate, target)
    assert answer_at(_post(gate, target), "POST").status == 202
    error = _told(stream)["error"]
    assert isinstance(error, dict)
    assert (error["code"], error["data"]["reason"]) == (-31429, "rate_limited")


@pytest.mark.parametrize("sent", [b"event: message\ndata: half", b"event: message\ndata: whole line\n", b": comment"])
def test_within_an_event_the_post_is_answered_instead(sent: bytes) -> None:
    """An event cut in two would be two wrong ones."""
    gate = GatewayUnderTest(known(alice="") + DENIED)
    stream, peer, target = _stream(gate)
    peer.send(chunked(sent))
    stream.take()
    told = answer_at(_post(gate, target), "POST")
    assert (told.status, told.json["error"]["message"]) == (200, "Unknown tool: rm")
    assert stream.received == b""


def test_a_client_that_does_not_read_its_stream_fills_nothing() -> None:
    """What it is not told there, the answers of its posts tell."""
    gate = GatewayUnderTest(known(alice="") + DENIED)
    stream, peer, target = _stream(gate)
    stream.stop_reading()
    peer.send(chunked(b"data: " + b"x" * 70_000 + b"\n\n"))
    assert answer_at(_post(gate, target), "POST").status == 200


def test_notices_and_strangers_are_answered_where_they_ask() -> None:
    """Nobody waits for the answer to a notice; and who may not use the session learns nothing of its stream."""
    gate = GatewayUnderTest(known(alice="", bob="") + DENIED)
    stream, _, target = _stream(gate)
    notice = CALL.replace(b'"id":7,', b"")
    assert answer_at(_post(gate, target, notice), "POST").status == 200
    assert answer_at(_post(gate, target, guest="bob"), "POST").status == 404
    assert stream.received == b""


def test_streams_of_later_transports_are_left_alone() -> None:
    """There the post itself is answered."""
    gate = GatewayUnderTest(known(alice="") + DENIED)
    stream, peer = asked(gate, request("GET", "/mcp/x/mcp", headers=LEGACY | {"MCP-Protocol-Version": "2025-11-25"} | bearer("alice")))
    peer.send(STREAM_HEAD)
    stream.take()
    assert answer_at(_post(gate, "/mcp/x/mcp"), "POST").status == 200
    assert stream.received == b""


def test_a_reload_keeps_the_way_to_the_stream() -> None:
    """The server is another object then, and its streams go on."""
    gate = GatewayUnderTest(known(alice="") + DENIED)
    stream, _, target = _stream(gate)
    gate.config = known(alice="") + DENIED.replace("name: x,", "name: x, title: X,")
    assert gate.gateway.reload()["success"]
    assert answer_at(_post(gate, target), "POST").status == 202
    assert _told(stream)["id"] == 7


def test_what_is_told_on_the_stream_can_be_found_in_the_log() -> None:
    """Under the id that the client has."""
    gate = GatewayUnderTest(known(alice="") + LIMITED)
    stream, _, target = _stream(gate)
    _post(gate, target)
    _post(gate, target)
    error = _told(stream)["error"]
    assert isinstance(error, dict)
    gate.advance(1)
    assert f'"request_id":"{error["data"]["requestId"]}"'.encode() in b"".join(gate.log_lines)


def test_a_token_that_has_expired_is_challenged_where_it_came() -> None:
    """The stream is not told: it ends in a moment, and the client must find the way to a new token."""
    gate = GatewayUnderTest(known(alice="expires: '2027-01-15T08:00:05Z'") + DENIED)
    stream, _, target = _stream(gate)
    post = _post(gate, target)
    _told(stream)
    gate.advance(5.1)
    post.take()
    post.send(request("POST", target, CALL, headers=bearer("alice")))
    assert answer_at(post, "POST").status == 401
    assert stream.received == b""
