"""A server refuses, lies, stalls or talks too much: the client gets an honest error, and nobody else is touched."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

from typing import Any

import pytest
from tests.ends import LAST_CHUNK, answer_at, asked, chunked, gateway, request_at, requests

from mcpgate.exchange import Ended
from mcpgate.testing import GatewayUnderTest, answer, request

POST = request(body=b'{"id":7}')
OK = b"HTTP/1.1 200 OK\r\n"
TWO_SERVERS = """\
servers:
  - {name: x, upstreams: [{url: "http://127.0.0.1:3010"}]}
  - {name: y, upstreams: [{url: "http://127.0.0.1:3010"}]}
"""

# --- no connection ------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_a_502() -> None:
    """Nothing was sent, and the client may simply try again."""
    gate = GatewayUnderTest()
    gate.refusing = {3010}
    client = gate.connect()
    client.send(POST)
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"], told.json["id"]) == (502, b"connect_failed", 7)
    assert client.closed is None


def test_a_server_that_comes_back_is_used_again() -> None:
    """A failed attempt is not remembered against the next request."""
    gate = GatewayUnderTest()
    gate.refusing = {3010}
    client = gate.connect()
    client.send(POST)
    gate.refusing = set()
    client.take()
    client.send(POST)
    gate.upstream().send(answer())
    assert answer_at(client, "POST").status == 200


def test_a_connection_that_is_not_accepted_in_time_is_a_504() -> None:
    """`connect` bounds the attempt; the reason says that the server has seen nothing."""
    gate = gateway("timeouts: {connect: 2s}")
    gate.silent = {3010}
    client = gate.connect()
    client.send(POST)
    gate.advance(1.75)
    assert client.received == b""
    gate.advance(0.5)
    assert (answer_at(client, "POST").status, answer_at(client, "POST")["mcpgate-error"]) == (504, b"connect_timeout")


def test_a_name_that_is_not_known_is_a_502() -> None:
    """The client does not learn the name."""
    gate = gateway(url="http://internal.example:3010")
    client = gate.connect()
    client.send(POST)
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"]) == (502, b"connect_failed")
    assert b"internal.example" not in client.received


def test_the_addresses_of_a_name_are_tried_in_turn() -> None:
    """One dead address does not make a name unreachable."""
    gate = gateway(url="http://two.example:3010")
    gate.names["two.example"] = ["127.0.0.8", "127.0.0.9"]
    dialled: list[str] = []
    real: Any = gate.reactor.connectTCP

    def connect(host: str, *rest: object, **named: object) -> object:
        dialled.append(host)
        gate.refusing = {3010} if host == "127.0.0.8" else set()
        return real(host, *rest, **named)

    gate.reactor.connectTCP = connect  # type: ignore[method-assign]
    client = gate.connect()
    client.send(POST)
    assert dialled == ["127.0.0.8", "127.0.0.9"]
    assert request_at(gate.upstream())["host"] == b"two.example:3010"


# --- no HTTP ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2_0 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 99999999999999999999\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"A: b\r\n c\r\n\r\n",
        OK + b"A: b\0c\r\n\r\n",
        OK + b"A : b\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"A: b\rc\r\n\r\n",
        OK + b"A: " + b"x" * 33_000 + b"\r\n\r\n",
        OK + b"A: b\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + answer(),
    ],
)
def test_what_is_no_clean_answer_is_a_502(said: bytes) -> None:
    """Nothing of it reaches the client, and the connection is not used again."""
    client, peer = asked(GatewayUnderTest(), POST)
    peer.send(said)
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"], told.json["id"]) == (502, b"bad_answer", 7)
    assert peer.closed == "reset"
    assert client.closed is None


@pytest.mark.parametrize(
    "broken",
    [
        b"x\r\n",
        b"5\r\nabcdefg\r\n",
        b"5;\x00\r\nabcde\r\n",
        b"-1\r\n",
        b"ffffffffffffffffff\r\n",
        b"0\r\n" + b"a: b\r\n" * 2000,
    ],
)
def test_broken_chunks_end_the_answer_unfinished(broken: bytes) -> None:
    """What came before has been sent; what comes behind cannot be trusted."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"good"), broken)
    told = answer_at(client, "POST")
    assert told.body[:4] == b"good"
    assert not told.complete
    assert (client.closed, peer.closed) == ("fin", "reset")
    assert gate.records[-1].ended is Ended.UPSTREAM_LOST


# --- interim answers ------------------------------------------------------------------------------------------------


def test_interim_answers_are_forwarded_in_order() -> None:
    """A client that waits long sees 102 and 103 as they come, without the 100 that the gateway answers itself."""
    client, peer = asked(GatewayUnderTest(), POST)
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.received == b""
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n")
    assert client.received == b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    peer.send(answer())
    told = answer_at(client, "POST")
    assert (told.interim, told.status) == ([102, 103], 200)


def test_interim_answers_are_bounded() -> None:
    """Sixteen are as many as anybody needs."""
    client, peer = asked(GatewayUnderTest(), POST)
    peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 16)
    assert client.received.count(b" 102 ") == 16
    peer.send(answer())
    assert answer_at(client, "POST").status == 200


# --- may the connection be used again? ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "said", "again"),
    [
        ("POST", answer(), True),
        ("POST", OK + b"Content-Length: 0\r\n\r\n", True),
        ("POST", OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"a") + LAST_CHUNK, True),
        ("POST", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", True),
        ("POST", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", True),
        ("POST", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", False),
        ("POST", answer(headers={"Connection": "close"}), False),
        ("POST", answer(headers={"Connection": "Close"}), False),
        ("POST", answer(headers={"Connection": "x, close"}), False),
        ("POST", answer() + b"x", False),
        ("POST", answer() + answer(b"poison"), False),
        ("POST", OK + b"Transfer-Encoding: chunked\r\n\r\n" + LAST_CHUNK + b"HTTP/1.1", False),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n", False),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", False),
        ("HEAD", OK + b"Content-Length: 9\r\n\r\n", False),
    ],
)
def test_a_connection_is_used_again_only_when_all_is_clear(method: str, said: bytes, again: bool) -> None:
    """After anything doubtful the next request gets a connection of its own."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(method))
    peer.send(said)
    assert answer_at(client, method).complete
    client.take()
    client.send(request("POST", "/mcp/x/next"))
    assert (gate.upstream() is peer) is again
    gate.upstream().send(answer(b"mine"))
    assert answer_at(client, "POST").body == b"mine"
    assert (peer.closed is None) is again


@pytest.mark.parametrize(
    "pieces", [(OK + b"Content-Length: 1\r\n\r\n", b"ab"), (OK + b"Content-Length: 1\r\n\r\na", b"b")]
)
def test_bytes_nobody_asked_for_are_never_an_answer(pieces: tuple[bytes, ...]) -> None:
    """Also when they come later, on a connection that is idle by then."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    peer.send(*pieces)
    assert answer_at(client, "POST").body == b"a"
    assert peer.closed == "reset"
    client.take()
    client.send(POST)
    assert gate.upstream() is not peer


def test_an_idle_connection_that_the_server_closes_is_not_used() -> None:
    """A POST would be lost on it."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    peer.send(answer())
    peer.close()
    client.take()
    client.send(POST)
    gate.upstream().send(answer(b"second"))
    assert answer_at(client, "POST").body == b"second"


def test_idle_connections_are_closed_before_the_server_does_it() -> None:
    """Four seconds: uvicorn and Node close theirs after five."""
    gate = GatewayUnderTest()
    _, peer = asked(gate, POST)
    peer.send(answer())
    gate.advance(3.75)
    assert peer.closed is None
    gate.advance(0.75)
    assert peer.closed is not None


def test_the_newest_connection_is_used_first() -> None:
    """So the others can grow old and go."""
    gate = GatewayUnderTest()
    pairs = [asked(gate, POST) for _ in range(3)]
    for _, peer in pairs:
        peer.send(answer())
    client = gate.connect()
    client.send(POST)
    assert [len(requests(peer.received)) for _, peer in pairs] == [1, 1, 2]


def test_connections_are_not_shared_between_servers() -> None:
    """Not even if they have the same address: credentials could differ."""
    gate = GatewayUnderTest(TWO_SERVERS)
    _, peer = asked(gate, request("GET", "/mcp/x/"))
    peer.send(answer())
    _, other = asked(gate, request("GET", "/mcp/y/"))
    assert other is not peer


def test_an_answer_is_never_given_to_another_request() -> None:
    """A client that leaves takes its connection with it, and with it the answer that is still to come."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET", "/mcp/x/slow"))
    client.reset()
    other, fresh = asked(gate, request("GET", "/mcp/x/quick"))
    assert fresh is not peer
    fresh.send(answer(b"quick"))
    assert answer_at(other).body == b"quick"
