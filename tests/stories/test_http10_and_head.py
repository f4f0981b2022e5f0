"""Old clients, and answers without a body."""

from __future__ import annotations

import pytest
from tests.ends import LAST_CHUNK, STREAM_HEAD, anonymous, answer_at, asked, chunked, gateway, refused, request_at

from mcpgate.testing import GatewayUnderTest, answer, request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def _old(sent: bytes) -> bytes:
    return sent.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)


def test_an_http10_client_gets_a_stream_without_chunks() -> None:
    """The events are the same; the connection's end is theirs."""
    client, peer = asked(GatewayUnderTest(), _old(request(body=b"{}")))
    assert request_at(peer).version == b"1.1"
    peer.send(STREAM_HEAD, chunked(b"data: 1\n\n", b"data: 2\n\n"))
    assert client.received.endswith(b"\r\n\r\ndata: 1\n\ndata: 2\n\n")
    assert "transfer-encoding" not in answer_at(client, "POST")
    peer.send(LAST_CHUNK)
    assert client.closed == "fin"
    assert answer_at(client, "POST").complete


@pytest.mark.parametrize("said", [CHUNKED + chunked(b"a", b"b") + LAST_CHUNK, OK + b"\r\nab"])
def test_an_http10_client_gets_an_answer_of_unknown_length_until_close(said: bytes) -> None:
    """Chunks are taken off, also all in one segment."""
    client, peer = asked(GatewayUnderTest(), _old(request("GET", headers={"Connection": "keep-alive"})))
    peer.send(said)
    peer.close()
    told = answer_at(client)
    assert (told.body, told.complete, told["connection"], client.closed) == (b"ab", True, b"close", "fin")


@pytest.mark.parametrize(
    ("fields", "stays"), [({}, False), ({"Connection": "keep-alive"}, True), ({"Connection": "Keep-Alive, x"}, True)]
)
def test_an_http10_client_keeps_its_connection_only_if_it_asks(fields: dict[str, str], stays: bool) -> None:
    """With a length known, and told so in the answer."""
    client, peer = asked(GatewayUnderTest(), _old(request("GET", headers=fields)))
    peer.send(answer(b"ab"))
    told = answer_at(client)
    assert (told.body, told.complete) == (b"ab", True)
    assert told["connection"] == (b"keep-alive" if stays else b"close")
    assert (client.closed is None) is stays


def test_an_http10_client_gets_no_interim_answers() -> None:
    """It would not know what they are."""
    client, peer = asked(GatewayUnderTest(), _old(request("GET")))
    peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"ab"))
    assert client.received.count(b"HTTP/1.1 ") == 1
    assert answer_at(client).body == b"ab"


def test_an_http10_client_cannot_send_chunks() -> None:
    """Nobody could say where such a request ends."""
    sent = _old(request(headers={"Transfer-Encoding": "chunked"}) + LAST_CHUNK)
    assert refused(GatewayUnderTest(), sent).status == 400


def test_an_http10_client_is_refused_like_any_other() -> None:
    """With a length, and the end of the connection."""
    told = refused(GatewayUnderTest(), b"GET /nobody HTTP/1.0\r\n\r\n")
    assert (told.status, told["connection"]) == (404, b"close")


def test_an_http10_server_is_understood() -> None:
    """Its answer ends with its connection, the client's does not."""
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nab", b"cd")
    peer.close()
    told = answer_at(client)
    assert (told.body, told.complete, told.version) == (b"abcd", True, b"1.1")
    assert client.closed is None


@pytest.mark.parametrize(
    ("method", "said", "length"),
    [
        ("HEAD", OK + b"Content-Length: 9\r\n\r\n", b"9"),
        ("HEAD", CHUNKED, b""),
        ("HEAD", OK + b"\r\n", b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n", b"9"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ("DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", b"0"),
    ],
)
def test_answers_without_a_body(method: str, said: bytes, length: bytes) -> None:
    """The head is all of it, the length is told as far as HTTP allows, and the connection stays."""
    client, peer = asked(GatewayUnderTest(), request(method))
    peer.send(said)
    told = answer_at(client, method)
    assert (told.status, told.body, told.complete) == (int(said[9:12]), b"", True)
    assert told["content-length"] == length
    assert "transfer-encoding" not in told
    assert client.received.endswith(b"\r\n\r\n")
    assert client.closed is None


@pytest.mark.parametrize("late", [b"body!body", b"5\r\nhello\r\n0\r\n\r\n"])
@pytest.mark.parametrize(
    ("method", "head"), [("HEAD", OK + b"Content-Length: 9\r\n\r\n"), ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n")]
)
def test_a_body_that_must_not_be_there_is_not_the_next_answer(method: str, head: bytes, late: bytes) -> None:
    """Some servers send one all the same, at once or later."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(method))
    peer.send(head + late)
    assert client.received.endswith(b"\r\n\r\n")
    client.take()
    client.send(request("GET"))
    assert gate.upstream() is not peer
    gate.upstream().send(answer(b"mine"))
    assert answer_at(client).body == b"mine"


def test_a_head_request_for_a_stream_ends() -> None:
    """There are no events to wait for."""
    client, peer = asked(GatewayUnderTest(), request("HEAD", headers={"Accept": "text/event-stream"}))
    peer.send(STREAM_HEAD)
    assert answer_at(client, "HEAD").complete
    assert client.closed is None


def test_an_empty_answer_is_complete_at_once() -> None:
    """`Content-Length: 0`, as for 202."""
    client, peer = asked(gateway(), request(body=b"{}"))
    peer.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    assert anonymous(client.received) == b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
