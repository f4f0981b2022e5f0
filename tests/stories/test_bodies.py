"""Request bodies: both framings, whatever the segments, `Expect: 100-continue`, and the limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ends import LAST_CHUNK, answer_at, answers, asked, chunked, gateway, refused, request_at
from tests.strategies import THROUGH_THE_GATEWAY, cuts, split

from mcpgate.testing import GatewayUnderTest, answer, request

CHUNKED = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
EXPECTING = {"Expect": "100-continue"}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_small_body_travels_with_its_head_in_one_write() -> None:
    """A call costs the server one read."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET"))
    peer.send(answer())
    writes: list[bytes] = []
    peer.transport.write = writes.append  # type: ignore[method-assign,assignment]
    client.send(request(body=b'{"id":1}'))
    assert len(writes) == 1
    assert writes[0].endswith(b'\r\n\r\n{"id":1}')


def test_a_body_is_forwarded_while_it_arrives() -> None:
    """The server has each piece within the turn in which it came."""
    client, peer = asked(GatewayUnderTest(), request(headers={"Content-Length": "9"}))
    for piece in (b"abc", b"def", b"ghi"):
        client.send(piece)
        assert peer.received.endswith(piece)
    assert request_at(peer).complete


@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_any_split_of_a_request_gives_the_same_request(framing: str) -> None:
    """Segments and chunks of the client never show in what the server reads."""
    gate = GatewayUnderTest()
    payload = b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}\r\n0\r\n\r\n'

    @THROUGH_THE_GATEWAY
    @given(segments=cuts, chunks=cuts)
    def holds(segments: list[int], chunks: list[int]) -> None:
        if framing == "counted":
            whole = request(body=payload)
        else:
            whole = request(headers=CHUNKED) + chunked(*split(payload, chunks)) + LAST_CHUNK
        client = gate.connect()
        client.send(*split(whole, segments))
        peer = gate.upstream()
        seen = request_at(peer)
        assert (seen.target, seen.body, seen.complete) == (b"/mcp", payload, True)
        peer.take()
        peer.send(answer())
        assert answer_at(client, "POST").complete

    holds()


def test_extensions_and_trailers_of_chunks_are_dropped() -> None:
    """They are hop-by-hop, and a way to smuggle; sizes are written anew."""
    client, peer = asked(GatewayUnderTest(), request(headers=CHUNKED | {"Trailer": "X-Sum", "TE": "trailers"}))
    client.send(b"005;a=b\r\nhello\r\n0;c\r\nX-Sum: 1\r\n\r\n")
    seen = request_at(peer)
    assert (seen.body, seen.complete) == (b"hello", True)
    assert not {"trailer", "te"} & {name.decode() for name, _ in seen.fields}
    assert b"X-Sum" not in peer.received
    assert b";" not in peer.received


@pytest.mark.parametrize(
    "broken",
    [b"x\r\n", b"5\r\nhelloX\r\n", b"5 \r\nhello\r\n", b"0x5\r\nhello\r\n", b"5\nhello\r\n", b"-5\r\n", b"5" * 300],
)
def test_broken_chunks_are_refused(broken: bytes) -> None:
    """The server never sees the end of such a request, so it cannot act on it."""
    client, peer = asked(GatewayUnderTest(), request(headers=CHUNKED) + chunked(b"good"))
    client.send(broken)
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"], told["connection"]) == (400, b"bad_request", b"close")
    assert peer.closed == "reset"
    assert not request_at(peer).complete


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS", "PROPFIND"])
def test_any_method_may_have_a_body(method: str) -> None:
    """Methods are the server's business."""
    client, peer = asked(GatewayUnderTest(), request(method, body=b"{}"))
    seen = request_at(peer)
    assert (seen.method, seen.body) == (method.encode(), b"{}")
    peer.send(answer())
    assert answer_at(client).complete


def test_an_empty_body_stays_one() -> None:
    """`Content-Length: 0` and the lack of one both arrive as they were sent."""
    _, peer = asked(GatewayUnderTest(), request(headers={"Content-Length": "0"}))
    assert request_at(peer)["content-length"] == b"0"
    _, peer = asked(GatewayUnderTest(), request("GET"))
    assert "content-length" not in request_at(peer)
    client, peer = asked(GatewayUnderTest(), request(headers=CHUNKED) + LAST_CHUNK)
    assert (request_at(peer).body, request_at(peer).complete) == (b"", True)
    assert client.received == b""


# --- Expect -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["100-continue", "100-Continue"])
def test_a_client_that_waits_is_told_to_go_on_once_the_server_is_there(value: str) -> None:
    """The 100 is ours: the server never sees the `Expect`, and has the head before the body."""
    client, peer = asked(GatewayUnderTest(), request(headers={"Expect": value, "Content-Length": "2"}))
    assert client.received == CONTINUE
    assert "expect" not in request_at(peer)
    client.send(b"{}")
    assert request_at(peer).body == b"{}"
    peer.send(answer())
    told = answer_at(client, "POST")
    assert (told.interim, told.status) == ([100], 200)


def test_no_go_on_before_there_is_a_connection() -> None:
    """A server that cannot be reached costs the client no body."""
    gate = GatewayUnderTest()
    gate.silent = {3010}
    client = gate.connect()
    client.send(request(headers=EXPECTING | {"Content-Length": "2"}))
    gate.advance(1)
    assert client.received == b""
    gate.advance(3)
    assert [each.status for each in answers(client.received, client.closed, ["POST"])] == [504]
    assert CONTINUE not in client.received


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("/mcp/nobody", {}, 404),
        ("/mcp/x/mcp", {"Host": "evil.example"}, 421),
        ("/mcp/x/mcp", {"Origin": "http://evil.example"}, 403),
        ("/mcp/x/mcp", {"Content-Length": "99999999"}, 413),
        ("/mcp/x/../y", {}, 400),
    ],
)
def test_a_refused_request_is_never_told_to_go_on(target: str, fields: dict[str, str], status: int) -> None:
    """The decision comes before the body, and the connection does not wait for it."""
    gate = GatewayUnderTest()
    told = refused(gate, request("POST", target, headers=EXPECTING | {"Content-Length": "2"} | fields))
    assert (told.status, told.interim, told["connection"]) == (status, [], b"close")


@pytest.mark.parametrize(
    "sent",
    [
        request(headers=EXPECTING),
        request(headers=EXPECTING | {"Content-Length": "0"}),
        request(body=b"{}", headers=EXPECTING),
        request(headers=EXPECTING | {"Content-Length": "2"}).replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(headers={"Expect": "the-unexpected", "Content-Length": "2"}),
    ],
)
def test_no_go_on_where_nobody_waits_for_it(sent: bytes) -> None:
    """Without a body to come, with the body here already, from HTTP/1.0, or for another expectation."""
    client, peer = asked(GatewayUnderTest(), sent)
    assert client.received == b""
    assert "expect" not in request_at(peer)


def test_a_server_that_refuses_at_once_saves_the_body() -> None:
    """Its answer passes, and since the client may send the body or not, the connection ends."""
    client, peer = asked(GatewayUnderTest(), request(headers=EXPECTING | {"Content-Length": "2"}))
    peer.send(answer(b"no", "401 Unauthorized"))
    told = answer_at(client, "POST")
    assert (told.status, told.body, told["connection"]) == (401, b"no", b"close")


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "more", "limit"),
    [
        ("", "", 8 << 20),
        ("http: {max_body_bytes: 64}", "", 64),
        ("http: {max_body_bytes: 64}", "max_body_bytes: 128", 128),
    ],
)
def test_a_counted_body_over_the_limit_is_refused_by_its_head(config: str, more: str, limit: int) -> None:
    """A server's own limit goes before the general one; the limit itself is admitted."""
    gate = gateway(more, top=config)
    told = refused(gate, request(headers={"Content-Length": str(limit + 1)}))
    assert (told.status, told["mcpgate-error"], told["connection"]) == (413, b"body_too_large", b"close")
    _, peer = asked(gate, request(headers={"Content-Length": str(limit)}))
    assert request_at(peer)["content-length"] == str(limit).encode()


def test_a_chunked_body_over_the_limit_is_cut() -> None:
    """It is counted while it comes; the server does not see its end."""
    gate = gateway(top="http: {max_body_bytes: 64}")
    client, peer = asked(gate, request(headers=CHUNKED) + chunked(b"x" * 60))
    client.send(chunked(b"x" * 4))
    assert client.received == b""
    client.send(chunked(b"x"))
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"]) == (413, b"body_too_large")
    assert peer.closed == "reset"
    assert not request_at(peer).complete


def test_a_body_over_the_limit_ends_an_answer_that_has_begun() -> None:
    """An error cannot be told any more, so the answer is cut."""
    gate = gateway(top="http: {max_body_bytes: 64}")
    client, peer = asked(gate, request(headers=CHUNKED) + chunked(b"x" * 60))
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    client.send(chunked(b"x" * 60))
    told = answer_at(client, "POST")
    assert (told.status, told.complete) == (200, False)
    assert client.closed is not None
    assert peer.closed == "reset"


def test_bodies_of_any_size_wait_for_the_connection() -> None:
    """What comes before the server is there waits, at the client if need be, and is complete in the end."""
    gate = GatewayUnderTest()

    @THROUGH_THE_GATEWAY
    @given(size=st.integers(0, 200_000), segments=cuts)
    def holds(size: int, segments: list[int]) -> None:
        client = gate.connect()
        body = b"x" * size
        for piece in split(request(body=body), [place * 20 for place in segments]):
            client.transport.arrive(lambda piece=piece: client.transport.take_data(piece))  # type: ignore[misc]
        gate.settle()
        seen = request_at(gate.upstream())
        assert (seen.body, seen.complete) == (body, True)
        gate.upstream().reset()

    holds()
