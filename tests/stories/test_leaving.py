"""Either end leaves, at any point, and the other end learns of it at once and truthfully."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from tests.ends import (
    LAST_CHUNK,
    SSE,
    STREAM_HEAD,
    answer_at,
    answers,
    asked,
    chunked,
    gateway,
    request_at,
    requests,
)
from twisted.internet.defer import Deferred

from mcpgate.exchange import Ended
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

GET_STREAM = request("GET", "/mcp/x/mcp", headers=SSE | {"Mcp-Session-Id": "s"})
POST = request(body=b'{"id":1}')
HALF_COUNTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
HALF_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"{")
HALF_UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n{"
UNFINISHED_POST = request(headers={"Content-Length": "10"}) + b"{"

Leave = Callable[[Client | UpstreamPeer], None]


def fin(end: Client | UpstreamPeer) -> None:
    """Leave in the orderly way."""
    end.close()


def rst(end: Client | UpstreamPeer) -> None:
    """Leave with a reset."""
    end.reset()


# --- the client leaves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said", "leave"),
    [
        (GET_STREAM, STREAM_HEAD, fin),
        (GET_STREAM, STREAM_HEAD, rst),
        (GET_STREAM, STREAM_HEAD + chunked(b"data: 1\n\n"), fin),
        (POST, STREAM_HEAD, fin),
        (POST, STREAM_HEAD, rst),
        (POST, b"", rst),
        (POST, HALF_COUNTED, rst),
        (POST, HALF_CHUNKED, rst),
        (POST, HALF_UNTIL_CLOSE, rst),
        (POST, b"HTTP/1.1 200 O", rst),
        (UNFINISHED_POST, b"", rst),
        (UNFINISHED_POST, STREAM_HEAD, rst),
        (request("GET", "/mcp/x/sse", headers=SSE), STREAM_HEAD, rst),
    ],
)
def test_a_client_that_leaves_closes_the_upstream_in_the_same_turn(sent: bytes, said: bytes, leave: Leave) -> None:
    """Wherever the exchange stands, the server is told before anything else happens, and it is recorded once."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, sent)
    if said:
        peer.send(said)
    end = client.transport.take_end if leave is fin else client.transport.take_reset
    end()
    if leave is rst:
        client.transport.deliver_loss()
    assert peer.closed == "reset"
    gate.settle()
    assert [record.ended for record in gate.records] == [Ended.CLIENT_GONE]
    assert client.closed is not None


def test_a_client_that_half_closes_while_its_stream_is_held_has_left_when_the_head_goes_out() -> None:
    """Before that, nobody knows yet that it is a stream; it takes a second at most."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET", "/mcp/x/sse", headers=SSE))
    peer.send(STREAM_HEAD)
    client.close()
    gate.advance(1.25)
    assert (peer.closed, client.closed) == ("reset", "fin")


def test_a_client_that_leaves_before_there_is_a_connection() -> None:
    """The attempt to connect is called off, and nothing is sent later."""
    gate = GatewayUnderTest()
    gate.silent = {3010}
    client = gate.connect()
    client.send(POST)
    client.reset()
    assert gate.reactor.connectors[0]._disconnected
    gate.advance(10)
    assert [record.ended for record in gate.records] == [Ended.CLIENT_GONE]


def test_a_client_that_leaves_during_a_look_up_says_nothing_about_the_server() -> None:
    """Only a failed connection makes a server `down`."""
    gate = gateway(url="http://slow.example:3010")
    gate.names["slow.example"] = cast("list[str]", Deferred())  # the kit looks names up with maybeDeferred
    client = gate.connect()
    client.send(POST)
    client.reset()
    assert gate.gateway.servers["x"].status.value == "unknown"


@pytest.mark.parametrize("said", [b"x", b"GET / HTTP/1.1\r\n\r\n", b"\r\n"])
@pytest.mark.parametrize("sent", [GET_STREAM, POST])
def test_bytes_on_a_stream_end_it(sent: bytes, said: bytes) -> None:
    """Nothing may come behind the request of a stream; what came cannot hide a client that leaves."""
    client, peer = asked(GatewayUnderTest(), sent)
    peer.send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    client.send(said)
    assert peer.closed == "reset"
    assert client.closed is not None
    assert not answer_at(client).complete


def test_a_request_behind_a_stream_ends_it_too() -> None:
    """A request that was pipelined before its stream began is the same error."""
    client, peer = asked(GatewayUnderTest(), GET_STREAM + request("GET"))
    peer.send(STREAM_HEAD)
    assert peer.closed == "reset"
    assert client.closed is not None


def test_the_body_of_a_request_may_follow_the_begin_of_its_stream() -> None:
    """A server may answer before it has read everything; the rest of the body still goes to it."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, UNFINISHED_POST)
    peer.send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    client.send(b"12345678", b"}")
    assert request_at(peer).body == b"{12345678}"
    assert request_at(peer).complete
    peer.send(chunked(b"data: 2\n\n") + LAST_CHUNK)
    told = answer_at(client, "POST")
    assert (told.body, told.complete) == (b"data: 1\n\ndata: 2\n\n", True)


# --- the client has said all it wants to say ------------------------------------------------------------------------


@pytest.mark.parametrize("said", [answer(b'{"id":1}'), HALF_CHUNKED + LAST_CHUNK, b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_a_half_closed_client_is_still_answered(said: bytes) -> None:
    """`nc -N` and the like end their side after the request; that is no goodbye."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    client.close()
    assert peer.closed is None
    peer.send(said)
    assert answer_at(client, "POST").complete
    assert client.closed == "fin"
    assert gate.records[-1].ended is Ended.COMPLETE


def test_a_client_that_half_closes_during_its_answer_gets_the_rest_and_is_let_go() -> None:
    """No more can be asked there, so the connection does not wait for another request."""
    client, peer = asked(GatewayUnderTest(), POST)
    peer.send(HALF_COUNTED)
    client.close()
    peer.send(b"12345678}")
    assert answer_at(client, "POST").complete
    assert client.closed == "fin"


def test_on_a_stream_a_half_close_means_that_the_client_has_left() -> None:
    """There is nothing else that could tell it."""
    client, peer = asked(GatewayUnderTest(), POST)
    client.close()
    peer.send(STREAM_HEAD)
    assert peer.closed == "reset"
    assert client.closed == "fin"


def test_a_body_that_ends_before_its_length_is_refused() -> None:
    """The request can never become whole; the server does not see it as whole either."""
    client, peer = asked(GatewayUnderTest(), UNFINISHED_POST)
    client.close()
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"]) == (400, b"bad_request")
    assert peer.closed == "reset"
    assert not request_at(peer).complete


def _at_once(client: Client, *pieces: bytes) -> None:
    """Pieces and a half close that are all there before the gateway has a connection."""
    for piece in pieces:
        client.transport.arrive(lambda piece=piece: client.transport.take_data(piece))  # type: ignore[misc]
    client.transport.arrive(client.transport.take_end)


def test_a_whole_request_counts_as_whole_although_nobody_has_read_it_yet() -> None:
    """A body in a segment of its own, and the end right behind it, are a complete request."""
    gate = GatewayUnderTest()
    client = gate.connect()
    _at_once(client, request(headers={"Content-Length": "8"}), b'{"id":1}')
    gate.settle()
    assert request_at(gate.upstream()).body == b'{"id":1}'
    gate.upstream().send(answer())
    assert answer_at(client, "POST").status == 200


def test_all_requests_before_a_half_close_are_answered() -> None:
    """Pipelined requests were complete when the client ended its side."""
    gate = GatewayUnderTest()
    client = gate.connect()
    _at_once(client, request("GET", "/mcp/x/1") + request("GET", "/mcp/x/2"))
    gate.settle()
    gate.upstream().send(answer(b"1"))
    gate.upstream().send(answer(b"2"))
    told = answers(client.received, client.closed, ["GET", "GET"])
    assert [each.body for each in told] == [b"1", b"2"]
    assert client.closed == "fin"


def test_a_request_that_waits_behind_an_untaken_answer_is_answered_after_a_half_close() -> None:
    """It was complete, and only the client's own slowness has kept it waiting."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET", "/mcp/x/1") + request("GET", "/mcp/x/2"))
    client.stop_reading()
    peer.send(answer(b"x" * 100_000))
    client.close()
    client.read_on()
    assert [each.target for each in requests(peer.received)] == [b"/1", b"/2"]
    peer.send(answer(b"2"))
    told = answers(client.received, client.closed, ["GET", "GET"])
    assert [len(each.body) for each in told] == [100_000, 1]
    assert client.closed == "fin"


@pytest.mark.parametrize("began", [b"", b"GET /mc", b"\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_half_close_without_a_request_closes(began: bytes) -> None:
    """There is nobody to answer."""
    client = GatewayUnderTest().connect()
    if began:
        client.send(began)
    client.close()
    assert (client.closed, client.received) == ("fin", b"")


# --- the upstream leaves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [fin, rst])
@pytest.mark.parametrize("said", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 102 Processing\r\n\r\n"])
def test_an_upstream_that_leaves_without_an_answer_is_a_502(said: bytes, leave: Leave) -> None:
    """The client learns that there will be no answer, and that the server may have acted."""
    client, peer = asked(GatewayUnderTest(), POST)
    if said:
        peer.send(said)
    leave(peer)
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"], told.complete) == (502, b"bad_answer", True)
    assert client.closed is None


@pytest.mark.parametrize("leave", [fin, rst])
@pytest.mark.parametrize("said", [HALF_COUNTED, HALF_CHUNKED, STREAM_HEAD + chunked(b"data: 1\n\n") + b"5\r\nda"])
def test_an_answer_that_breaks_off_is_unfinished_at_the_client_too(said: bytes, leave: Leave) -> None:
    """No last chunk is made up and no error is mixed into the answer: the connection ends without its end."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    peer.send(said)
    leave(peer)
    told = answer_at(client, "POST")
    assert not told.complete
    assert told.body in (b"{", b"data: 1\n\n", b"data: 1\n\nda")
    assert client.closed is not None
    assert gate.records[-1].ended is Ended.UPSTREAM_LOST


def test_an_answer_until_close_is_finished_by_an_orderly_end_only() -> None:
    """FIN is the end of such an answer, RST is not."""
    for leave, complete in ((fin, True), (rst, False)):
        client, peer = asked(GatewayUnderTest(), POST)
        peer.send(HALF_UNTIL_CLOSE, b"}")
        leave(peer)
        assert answer_at(client, "POST").body == b"{}"
        assert answer_at(client, "POST").complete is complete


@pytest.mark.parametrize("said", [HALF_CHUNKED, HALF_UNTIL_CLOSE, STREAM_HEAD + chunked(b"{")])
def test_an_http10_client_is_told_by_a_reset(said: bytes) -> None:
    """Its answer ends with the connection, so only a reset can say that it did not end."""
    client, peer = asked(GatewayUnderTest(), POST.replace(b"HTTP/1.1", b"HTTP/1.0"))
    peer.send(said)
    assert client.received.endswith(b"\r\n\r\n{")
    peer.reset()
    assert client.closed == "reset"


@pytest.mark.parametrize(
    "answered", [b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", STREAM_HEAD + LAST_CHUNK]
)
def test_an_early_answer_arrives_and_ends_the_connection(answered: bytes) -> None:
    """A server may answer without reading the body; what the client still sends is read and thrown away."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(headers={"Content-Length": "100000"}) + b"x" * 10)
    peer.send(answered)
    told = answer_at(client, "POST")
    assert told.complete
    assert told["connection"] == b"close"
    assert peer.closed == "reset"
    client.send(b"x" * 50_000)
    assert client.closed == "fin"
    gate.advance(3)
    assert len(gate.records) == 1


# --- is it sent again? --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [fin, rst])
@pytest.mark.parametrize(
    ("sent", "again"),
    [
        (request("GET"), True),
        (request("HEAD"), True),
        (request("OPTIONS"), True),
        (request("GET", body=b"{}"), False),
        (request("POST"), False),
        (request("POST", body=b"{}"), False),
        (request("PUT", body=b"{}"), False),
        (request("DELETE"), False),
        (request("PATCH"), False),
    ],
)
def test_only_what_is_safe_is_sent_again(sent: bytes, again: bool, leave: Leave) -> None:
    """A reused connection that died without a byte may have been closing already; a POST is never sent twice."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET"))
    peer.send(answer())
    client.take()
    client.send(sent)
    assert len(requests(peer.received)) == 2
    leave(peer)
    assert len(gate.peers) == (2 if again else 1)
    if again:
        assert request_at(gate.upstream()).method == sent.split(b" ")[0]
        gate.upstream().send(answer(b""))
    assert answer_at(client, sent.split(b" ")[0].decode()).status == (200 if again else 502)


def test_what_was_answered_in_part_is_never_sent_again() -> None:
    """A byte of an answer means that the server has begun to act."""
    gate = GatewayUnderTest()
    for begin in (b"H", b"HTTP/1.1 103 Early Hints\r\n\r\n"):
        client, peer = asked(gate, request("GET"))
        peer.send(answer())
        client.send(request("GET"))
        assert gate.upstream() is peer
        peer.send(begin)
        peer.close()
        told = answers(client.received, None, ["GET", "GET"])
        assert [each.status for each in told] == [200, 502]


def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    """It was made for this request, so the server has had its chance."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET"))
    peer.close()
    assert answer_at(client).status == 502
    assert len(gate.peers) == 1


def test_it_is_sent_again_once() -> None:
    """The second connection is a fresh one."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET"))
    peer.send(answer())
    client.take()
    client.send(request("GET"))
    peer.reset()
    gate.upstream().reset()
    assert answer_at(client).status == 502
    assert len(gate.peers) == 2
