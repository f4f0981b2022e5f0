"""A 2024-11-05 client (HTTP+SSE) meets an unmodified server behind a path prefix."""

from __future__ import annotations

import pytest
from hypothesis import given
from tests.ends import (
    LAST_CHUNK,
    SSE,
    STREAM_HEAD,
    answer_at,
    asked,
    chunked,
    gateway,
    request_at,
)
from tests.strategies import THROUGH_THE_GATEWAY, cuts, split

from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

GET_SSE = request("GET", "/mcp/x/sse", headers=SSE)
ENDPOINT = b"event: endpoint\ndata: /message?sessionId=1\n\n"
PUBLIC_ENDPOINT = b"event: endpoint\ndata: /mcp/x/message?sessionId=1\n\n"


def _stream(gate: GatewayUnderTest | None = None, ask: bytes = GET_SSE) -> tuple[Client, UpstreamPeer]:
    """Ask for a stream whose head the server has sent."""
    client, peer = asked(gate or GatewayUnderTest(), ask)
    peer.send(STREAM_HEAD)
    return client, peer


def test_a_whole_conversation() -> None:
    """The client opens its stream, finds its endpoint under the public path, posts there, and is answered."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, GET_SSE)
    assert request_at(peer).target == b"/sse"
    assert request_at(peer)["accept-encoding"] == b"identity"
    peer.send(STREAM_HEAD, chunked(ENDPOINT))
    assert answer_at(client).body.endswith(b"data: /mcp/x/message?sessionId=1\n\n")
    poster, posted = asked(gate, request("POST", "/mcp/x/message?sessionId=1", b'{"id":1}'))
    assert request_at(posted).target == b"/message?sessionId=1"
    posted.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted")
    assert answer_at(poster).status == 202
    event = b'event: message\r\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\r\n\r\n'
    peer.send(chunked(event))
    assert answer_at(client).body == PUBLIC_ENDPOINT + event
    assert not answer_at(client).complete


@pytest.mark.parametrize(
    ("announced", "public"),
    [
        (b"/message?sessionId=1", b"/mcp/x/message?sessionId=1"),
        (b"message?sessionId=1", b"/mcp/x/message?sessionId=1"),
        (b"./message?sessionId=1", b"/mcp/x/message?sessionId=1"),
        (b"?sessionId=1", b"/mcp/x/sse?sessionId=1"),
        (b"http://127.0.0.1:3010/message?sessionId=1", b"/mcp/x/message?sessionId=1"),
        (b"//127.0.0.1:3010/message?sessionId=1", b"/mcp/x/message?sessionId=1"),
        (b"http://localhost:3010/message", b"/mcp/x/message"),
        (b"/message?tenant=a%2Fb&x=1&sessionId=1", b"/mcp/x/message?tenant=a%2Fb&x=1&sessionId=1"),
        (b"/mcp/x/message?sessionId=1", b"/mcp/x/message?sessionId=1"),
    ],
)
def test_every_form_of_endpoint_is_made_public(announced: bytes, public: bytes) -> None:
    """Whatever form a server announces its endpoint in, the client gets a path under the public prefix."""
    client, peer = _stream(gateway('upstream_aliases: ["http://localhost:3010"]'))
    peer.send(chunked(b"event: endpoint\ndata: " + announced + b"\n\n"))
    assert answer_at(client).body == b"event: endpoint\ndata: " + public + b"\n\n"


@pytest.mark.parametrize(
    ("more", "url", "announced", "public"),
    [
        ("", "http://127.0.0.1:3010/base", b"/base/message?s=1", b"/mcp/x/message?s=1"),
        ("", "http://127.0.0.1:3010/base/", b"message?s=1", b"/mcp/x/message?s=1"),
        ("strip_prefix: false", "http://127.0.0.1:3010", b"/mcp/x/message?s=1", b"/mcp/x/message?s=1"),
        ("path: /mcp/v1/deep", "http://127.0.0.1:3010", b"/message?s=1", b"/mcp/v1/deep/message?s=1"),
    ],
)
def test_endpoints_of_differently_mounted_servers(more: str, url: str, announced: bytes, public: bytes) -> None:
    """The endpoint is mapped back by the same rule that maps the request's path."""
    target = "/mcp/v1/deep/sse" if "deep" in more else "/mcp/x/sse"
    client, peer = _stream(gateway(more, url=url), request("GET", target, headers=SSE))
    peer.send(chunked(b"event: endpoint\ndata: " + announced + b"\n\n"))
    assert answer_at(client).body == b"event: endpoint\ndata: " + public + b"\n\n"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("before", [b"", b": hello\n\n", b"\xef\xbb\xbf", b"retry: 5\n\n"])
def test_line_ends_and_what_stands_before_the_event_keep_their_bytes(line_end: bytes, before: bytes) -> None:
    """Only the data of the endpoint event changes."""
    client, peer = _stream()
    lines = [before, b"event: endpoint", line_end, b"data: %b", line_end, line_end]
    peer.send(chunked(b"".join(lines) % b"/m?s=1"))
    assert answer_at(client).body == b"".join(lines) % b"/mcp/x/m?s=1"


# --- holding the head ---------------------------------------------------------------------------------------------


def test_the_head_waits_for_the_first_event() -> None:
    """Nothing is sent before the first event, so that a wrong one can still become a 502."""
    gate = GatewayUnderTest()
    client, peer = _stream(gate)
    peer.send(chunked(b": hello\n\n"))
    gate.advance(0.75)
    assert client.received == b""
    peer.send(chunked(ENDPOINT))
    assert answer_at(client).body == b": hello\n\n" + PUBLIC_ENDPOINT


def test_after_one_second_the_head_goes_and_the_event_is_still_rewritten() -> None:
    """A slow server's stream opens after a second; its endpoint is rewritten whenever it comes."""
    gate = GatewayUnderTest()
    client, peer = _stream(gate)
    gate.advance(1.25)
    assert answer_at(client).status == 200
    assert answer_at(client).body == b""
    gate.advance(20)
    peer.send(chunked(ENDPOINT[:20]), chunked(ENDPOINT[20:]))
    assert answer_at(client).body == PUBLIC_ENDPOINT
    peer.send(chunked(ENDPOINT))
    assert answer_at(client).body == PUBLIC_ENDPOINT + ENDPOINT


@pytest.mark.parametrize("first", [b"data: 1\n\n", b"id: 7\ndata:\n\n", b"event: endpointed\ndata: /m\n\n"])
def test_only_the_first_event_can_be_the_endpoint(first: bytes) -> None:
    """A first event of another name passes at once, and nothing behind it is touched."""
    client, peer = _stream()
    peer.send(chunked(first))
    assert answer_at(client).body == first
    peer.send(chunked(ENDPOINT))
    assert answer_at(client).body == first + ENDPOINT


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GET", {"Accept": "*/*"}),
        ("GET", SSE | {"Mcp-Session-Id": "s"}),
        ("GET", SSE | {"MCP-Protocol-Version": "2025-06-18"}),
        ("GET", SSE | {"Last-Event-ID": "7"}),
        ("POST", SSE),
    ],
)
def test_other_requests_are_never_held(method: str, fields: dict[str, str]) -> None:
    """A Streamable HTTP client gets its head at once, and an `endpoint` event as the server wrote it."""
    client, peer = _stream(ask=request(method, "/mcp/x/mcp", headers=fields))
    assert answer_at(client, method).status == 200
    peer.send(chunked(ENDPOINT))
    assert answer_at(client, method).body == ENDPOINT


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_other_answers_are_never_held(head: bytes) -> None:
    """Only a stream can begin with an endpoint."""
    client, peer = asked(GatewayUnderTest(), GET_SSE)
    peer.send(head, chunked(b"begin"))
    assert answer_at(client).body == b"begin"


def test_a_stream_compressed_against_our_wish_is_not_held() -> None:
    """In compressed bytes no event can be seen, so they pass as they come."""
    client, peer = asked(GatewayUnderTest(), GET_SSE)
    peer.send(STREAM_HEAD[:-2] + b"Content-Encoding: gzip\r\n\r\n", chunked(b"\x1f\x8b\x08"))
    assert answer_at(client).body == b"\x1f\x8b\x08"


def test_a_first_event_over_the_bound_passes_as_it_is() -> None:
    """64 KiB without an event are no endpoint: the stream becomes a pipe, and no byte is lost."""
    client, peer = _stream()
    long = b"data: " + b"x" * 70_000
    peer.send(chunked(long))
    assert answer_at(client).body == long
    peer.send(chunked(b"\n\n" + ENDPOINT))
    assert answer_at(client).body == long + b"\n\n" + ENDPOINT


# --- endings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "announced", [b"http://other:9999/message", b"//other/message", b"/../m", b"javascript:alert(1)", b"/a\\b"]
)
def test_an_endpoint_elsewhere_is_a_502(announced: bytes) -> None:
    """The gateway does not send a client to an address outside the server."""
    client, peer = _stream()
    peer.send(chunked(b"event: endpoint\ndata: " + announced + b"\n\n"))
    told = answer_at(client)
    assert (told.status, told["mcpgate-error"]) == (502, b"foreign_endpoint")
    assert peer.closed == "reset"


def test_an_endpoint_elsewhere_ends_a_stream_that_has_begun() -> None:
    """Once the head is out, there is only the cut."""
    gate = GatewayUnderTest()
    client, peer = _stream(gate)
    gate.advance(1.25)
    peer.send(chunked(b"event: endpoint\ndata: http://other/m\n\n"))
    told = answer_at(client)
    assert (told.body, told.complete, client.closed, peer.closed) == (b"", False, "fin", "reset")


@pytest.mark.parametrize("began", [b"", b": hello\n\n", b"event: endpoint\nda"])
def test_a_server_that_dies_before_its_first_event_is_a_502(began: bytes) -> None:
    """While the head is held, an error can still be told."""
    client, peer = _stream()
    if began:
        peer.send(chunked(began))
    peer.reset()
    assert answer_at(client).status == 502


def test_a_server_that_dies_after_the_head_leaves_an_unfinished_stream() -> None:
    """After a second the head is out, and the death of the server is a cut."""
    gate = GatewayUnderTest()
    client, peer = _stream(gate)
    gate.advance(1.25)
    peer.reset()
    assert not answer_at(client).complete
    assert client.closed == "fin"


@pytest.mark.parametrize("began", [b"", b": hello\n\n", b"event: endpoint\nda", ENDPOINT[:-1]])
def test_a_stream_that_ends_before_an_event_is_passed_whole(began: bytes) -> None:
    """Nothing that was held is lost, and the end is an end."""
    client, peer = _stream()
    peer.send((chunked(began) if began else b"") + LAST_CHUNK)
    told = answer_at(client)
    assert (told.status, told.body, told.complete) == (200, began, True)


def test_a_silent_stream_that_never_had_an_event_is_ended_by_its_idle_limit() -> None:
    """`stream_idle` counts from the head, also when no first event ever comes."""
    gate = gateway("timeouts: {stream_idle: 30s}")
    client, peer = _stream(gate)
    gate.advance(29)
    assert client.closed is None
    gate.advance(3)
    assert client.closed is not None
    assert peer.closed == "reset"


def test_pings_keep_a_stream_alive_that_never_had_an_event() -> None:
    """A comment is a sign of life, also where the first event is still to come."""
    gate = gateway("timeouts: {stream_idle: 30s}")
    client, peer = _stream(gate)
    for _ in range(4):
        gate.advance(20)
        peer.send(chunked(b": ping\n\n"))
    assert (client.closed, peer.closed) == (None, None)


def test_a_client_that_leaves_while_the_head_is_held_closes_the_upstream() -> None:
    """Leaving is noticed before anything was answered."""
    client, peer = _stream()
    client.reset()
    assert peer.closed == "reset"
    assert client.received == b""


@pytest.mark.parametrize("framing", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_any_split_of_the_stream_gives_the_same_events(framing: bytes) -> None:
    """However the server's bytes are cut, in segments or in chunks, the client reads the same events."""
    gate = GatewayUnderTest()
    events = b": hi\r\n\r\nevent: endpoint\r\ndata: /message\r\n\r\nid: 1\ndata: {}\n\n: ping\n\ndata: \xc3\xa9\n\n"

    @THROUGH_THE_GATEWAY
    @given(segments=cuts, chunks=cuts)
    def holds(segments: list[int], chunks: list[int]) -> None:
        client, peer = asked(gate, GET_SSE)
        body = chunked(*split(events, chunks)) + LAST_CHUNK if framing else events
        whole = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n" + body
        peer.send(*split(whole, segments))
        if not framing:
            peer.close()
        told = answer_at(client)
        assert told.body == events.replace(b"/message", b"/mcp/x/message")
        assert told.complete

    holds()


def test_a_post_of_this_era_is_answered_as_the_server_answers() -> None:
    """Status and body of the acknowledgement are the server's own."""
    client, peer = asked(GatewayUnderTest(), request("POST", "/mcp/x/message?sessionId=1", b"{}"))
    peer.send(answer(b"Could not find session", "404 Not Found", {"Content-Type": "text/plain"}))
    told = answer_at(client)
    assert (told.status, told.body, told["content-type"]) == (404, b"Could not find session", b"text/plain")
    assert "mcpgate-error" not in told
