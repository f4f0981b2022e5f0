"""A session-era client (2025-03-26 to 2025-11-25): POST, GET and DELETE on one path, with a session id."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, answer_at, asked, chunked, request_at
from tests.strategies import THROUGH_THE_GATEWAY, cuts, split

from mcpgate.testing import GatewayUnderTest, answer, request

SESSION = {"Mcp-Session-Id": "s-1", "MCP-Protocol-Version": "2025-11-25"}


def test_a_session_from_initialize_to_delete() -> None:
    """Each message goes to the server's path, with the session's headers, and comes back as it was said."""
    gate = GatewayUnderTest()
    client = gate.connect()
    steps = [
        (request("POST", body=b'{"method":"initialize","id":0}'), answer(b"{}", headers={"Mcp-Session-Id": "s-1"})),
        (request("POST", body=b"{}", headers=SESSION), b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
        (request("POST", body=b'{"id":1}', headers=SESSION), answer(b'{"id":1,"result":{}}')),
        (request("DELETE", headers=SESSION), b"HTTP/1.1 204 No Content\r\n\r\n"),
    ]
    for asked_for, said in steps:
        client.take()
        client.send(asked_for)
        peer = gate.upstream()
        seen = request_at(peer)
        assert (seen.method, seen.target) == (asked_for.split(b" ")[0], b"/mcp")
        peer.send(said)
        told = answer_at(client)
        assert told.complete
        assert told.status == int(said.split(b" ")[1])
        assert told.body == said.partition(b"\r\n\r\n")[2]
    assert len(gate.peers) == 1


def test_the_session_id_travels_both_ways() -> None:
    """The id that the server gives reaches the client, and the client's the server, spelled as they were."""
    client, peer = asked(GatewayUnderTest(), request("POST", body=b"{}", headers={"MCP-Session-Id": "!~a"}))
    assert b"\r\nMCP-Session-Id: !~a\r\n" in peer.received
    peer.send(answer(headers={"mcp-session-ID": "!~b"}))
    assert b"\r\nmcp-session-ID: !~b\r\n" in client.received


def test_a_lost_session_is_told_by_the_server_itself() -> None:
    """404 with the server's own body makes the client initialize anew; nothing of ours is added."""
    said = b'{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}'
    client, peer = asked(GatewayUnderTest(), request("POST", body=b"{}", headers=SESSION))
    peer.send(answer(said, "404 Not Found"))
    told = answer_at(client)
    assert (told.status, told.body, "mcpgate-error" in told) == (404, said, False)


def test_a_server_without_a_get_stream_says_so() -> None:
    """405 and its Allow field pass."""
    client, peer = asked(GatewayUnderTest(), request("GET", "/mcp/x/mcp", headers=SSE | SESSION))
    peer.send(answer(b"no", "405 Method Not Allowed", {"Allow": "POST"}))
    assert (answer_at(client).status, answer_at(client)["allow"]) == (405, b"POST")


def test_the_get_stream_carries_requests_of_the_server() -> None:
    """The head goes out before any event, and a server's own request reaches the client."""
    client, peer = asked(GatewayUnderTest(), request("GET", "/mcp/x/mcp", headers=SSE | SESSION))
    peer.send(STREAM_HEAD)
    assert answer_at(client)["content-type"] == b"text/event-stream"
    event = b'event: message\ndata: {"method":"sampling/createMessage","id":1}\n\n'
    peer.send(chunked(event))
    assert answer_at(client).body == event


@pytest.mark.parametrize(
    "events",
    [
        b"id: 0\ndata:\n\n",  # the priming event of a stream that may be polled
        b"id: 0\ndata: \nretry: 500\n\n",
        b"event: message\nid: 7\ndata: {}\n\n",
        b": ping - 2026\r\n\r\n",
        b"data: a\rdata: b\r\r",
        b"data: \xc3\xa9\xff\x00\n\n",
        b"data: half an eve",
    ],
)
def test_resumable_streams_pass_byte_for_byte(events: bytes) -> None:
    """Priming events, `retry`, ids and a clean end are the server's, and the client resumes with its own id."""
    ask = request("GET", "/mcp/x/mcp", headers=SSE | SESSION | {"Last-Event-ID": "6"})
    client, peer = asked(GatewayUnderTest(), ask)
    assert request_at(peer)["last-event-id"] == b"6"
    peer.send(STREAM_HEAD, chunked(events))
    assert answer_at(client).body == events
    peer.send(LAST_CHUNK)
    assert answer_at(client).complete
    assert client.closed is None


def test_a_call_may_be_answered_by_a_stream() -> None:
    """The answer of a POST arrives event by event, ends, and the same connection takes the next call."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b'{"id":1}', headers=SESSION))
    peer.send(STREAM_HEAD)
    for number in range(3):
        peer.send(chunked(b"data: %d\n\n" % number))
        assert answer_at(client, "POST").body == b"".join(b"data: %d\n\n" % each for each in range(number + 1))
    peer.send(LAST_CHUNK)
    assert answer_at(client, "POST").complete
    client.take()
    client.send(request(body=b'{"id":2}', headers=SESSION))
    gate.upstream().send(answer(b'{"id":2}'))
    assert answer_at(client, "POST").body == b'{"id":2}'
    assert len(gate.peers) == 1


def test_an_event_is_forwarded_within_the_same_turn() -> None:
    """While the server's bytes are being read, the client has them already."""
    client, peer = asked(GatewayUnderTest(), request(body=b"{}"))
    peer.send(STREAM_HEAD)
    for event in (chunked(b"data: 1\n\n"), b"9\r\ndata:", b" 2\n\n\r\n"):
        before = len(client.received)
        peer.transport.protocol.dataReceived(event)  # past the kit: no turn goes by
        assert len(client.received) > before
    assert answer_at(client, "POST").body == b"data: 1\n\ndata: 2\n\n"


def test_a_stream_without_events_still_begins() -> None:
    """The client learns at once that its call was taken, also if the first event takes an hour."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b"{}", headers=SESSION))
    peer.send(STREAM_HEAD)
    assert answer_at(client, "POST").status == 200
    gate.advance(3600 / 8)
    assert (client.closed, peer.closed) == (None, None)


@pytest.mark.parametrize(
    "body", [b"[]", b'[{"id":1},{"id":2}]', b'{"id":"\xff"}', b"\x00", json.dumps({"a": "b" * 9000}).encode()]
)
def test_bodies_are_not_read(body: bytes) -> None:
    """Batches, and what is no JSON at all, are the server's business."""
    client, peer = asked(GatewayUnderTest(), request(body=body))
    assert request_at(peer).body == body
    peer.send(answer(body))
    assert answer_at(client, "POST").body == body


@pytest.mark.parametrize("framing", ["chunked", "counted", "until close"])
def test_any_split_of_an_answer_gives_the_same_payload(framing: str) -> None:
    """Segments and chunks of the server never show in what the client reads."""
    gate = GatewayUnderTest()
    payload = b"id: 1\r\ndata: {}\r\n\r\n: ping\n\ndata: a\ndata: b\n\n" + b"0\r\n\r\n"

    @THROUGH_THE_GATEWAY
    @given(segments=cuts, chunks=cuts)
    def holds(segments: list[int], chunks: list[int]) -> None:
        client, peer = asked(gate, request(body=b"{}"))
        head, body = b"", payload
        if framing == "chunked":
            head, body = b"Transfer-Encoding: chunked\r\n", chunked(*split(payload, chunks)) + LAST_CHUNK
        elif framing == "counted":
            head = b"Content-Length: %d\r\n" % len(payload)
        whole = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + head + b"\r\n" + body
        peer.send(*split(whole, segments))
        if framing == "until close":
            peer.close()
        told = answer_at(client, "POST")
        assert (told.body, told.complete) == (payload, True)

    holds()
