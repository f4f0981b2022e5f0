"""One side is slow: it slows the other side down, costs no memory, and is not waited for without end."""

from __future__ import annotations

import pytest
from tests.ends import LAST_CHUNK, STREAM_HEAD, answer_at, asked, chunked, gateway, request_at

from mcpgate.exchange import Ended
from mcpgate.testing import GatewayUnderTest, answer, request

POST = request(body=b"{}")
PIECE = b"x" * 50_000
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


# --- a client that does not take its answer -------------------------------------------------------------------------


@pytest.mark.parametrize("head", [COUNTED, CHUNKED, UNTIL_CLOSE, STREAM_HEAD])
def test_a_client_that_stops_reading_stops_the_upstream(head: bytes) -> None:
    """Above a socket buffer the gateway reads no more; when the client reads again, nothing is missing."""
    client, peer = asked(GatewayUnderTest(), POST)
    piece = chunked(PIECE) if b"chunked" in head else PIECE
    client.stop_reading()
    peer.send(head, *[piece] * 6)
    assert not peer.transport.reading
    assert client.transport.unsent_bytes() < 2 * 64 * 1024 + len(PIECE)
    client.read_on()
    assert answer_at(client, "POST").body == PIECE * 6


def test_other_clients_are_not_slowed_down() -> None:
    """Only the exchange of the slow client waits."""
    gate = GatewayUnderTest()
    slow, to_slow = asked(gate, POST)
    quick, to_quick = asked(gate, POST)
    slow.stop_reading()
    to_slow.send(COUNTED, *[PIECE] * 6)
    to_quick.send(COUNTED, *[PIECE] * 6)
    assert answer_at(quick, "POST").complete
    assert not to_slow.transport.reading


@pytest.mark.parametrize(("head", "ended"), [(COUNTED, Ended.SEND_TIMEOUT), (STREAM_HEAD, Ended.SEND_TIMEOUT)])
def test_a_client_that_takes_nothing_is_cut_with_a_reset(head: bytes, ended: Ended) -> None:
    """After `send_timeout` without a byte taken the connection goes, and the upstream with it."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    client.stop_reading()
    peer.send(head, *[chunked(PIECE) if b"chunked" in head else PIECE] * 2)
    gate.advance(59)
    assert client.closed is None
    gate.advance(62)
    assert client.closed == peer.closed == "reset"
    assert [record.ended for record in gate.records] == [ended]


@pytest.mark.parametrize("head", [CHUNKED, STREAM_HEAD])
def test_a_client_that_takes_a_little_is_waited_for(head: bytes) -> None:
    """Every byte taken counts; there is no limit on how long an answer takes in all."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    peer.send(head)
    for _ in range(5):
        client.stop_reading()
        peer.send(*[chunked(PIECE)] * 2)
        gate.advance(50)
        client.read_on()
    assert (client.closed, peer.closed) == (None, None)
    peer.send(LAST_CHUNK)
    assert answer_at(client, "POST").body == PIECE * 10


def test_a_pause_counts_from_its_own_beginning() -> None:
    """A client that has been silent for long because nothing was sent has its whole time when something is."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    peer.send(STREAM_HEAD)
    for _ in range(3):
        gate.advance(59)
        client.stop_reading()
        peer.send(chunked(b"data: 1\n\n"))
        gate.advance(3)
        assert client.closed is None
        client.read_on()
    assert answer_at(client, "POST").body == b"data: 1\n\n" * 3


def test_a_small_answer_that_is_never_taken_does_not_keep_the_connection() -> None:
    """Keep-alive and send timeout together bound what an absent client can hold."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, POST)
    client.stop_reading()
    peer.send(answer(b"x" * 1000))
    gate.advance(75 + 60 + 2)
    assert client.closed == "reset"


def test_a_refusal_that_is_never_taken_does_not_keep_the_connection() -> None:
    """The same holds where the gateway itself speaks last."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.stop_reading()
    client.send(b"garbage\r\n\r\n")
    gate.advance(62)
    assert client.closed == "reset"


def test_the_next_request_waits_until_the_answer_is_taken() -> None:
    """A client cannot pile up answers by asking without reading."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET"))
    client.stop_reading()
    peer.send(COUNTED, *[PIECE] * 6)
    client.send(request("GET", "/mcp/x/second"))
    assert b"/second" not in peer.received
    client.read_on()
    assert request_at(gate.upstream()).target == b"/second"


# --- a server that does not take its request ------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 300000", "Transfer-Encoding: chunked"])
def test_a_server_that_stops_reading_stops_the_client(framing: str) -> None:
    """The body waits at the client, not in the gateway, and arrives whole in the end."""
    gate = GatewayUnderTest()
    name, _, value = framing.partition(": ")
    client, peer = asked(gate, request(headers={name: value}))
    peer.stop_reading()
    piece = chunked(PIECE) if "chunked" in framing else PIECE
    client.send(*[piece] * 6)
    assert not client.transport.reading
    assert peer.transport.unsent_bytes() < 2 * 64 * 1024 + len(PIECE)
    peer.read_on()
    if "chunked" in framing:
        client.send(LAST_CHUNK)
    assert request_at(peer).body == PIECE * 6
    assert request_at(peer).complete
    peer.send(answer())
    assert answer_at(client, "POST").status == 200


def test_waiting_for_the_server_is_not_the_clients_slowness() -> None:
    """While the gateway does not read, no body is too slow; `response` is what ends it."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(headers={"Content-Length": "300000"}))
    peer.stop_reading()
    client.send(*[PIECE] * 4)
    gate.advance(120)
    peer.read_on()
    client.send(*[PIECE] * 2)
    assert request_at(peer).complete
    peer.send(answer())
    assert answer_at(client, "POST").status == 200


def test_a_server_that_never_takes_the_body_is_a_504() -> None:
    """`response` counts from the last byte that was handed over."""
    gate = gateway("timeouts: {response: 30s}")
    client, peer = asked(gate, request(headers={"Content-Length": "300000"}))
    peer.stop_reading()
    client.send(*[PIECE] * 4)
    gate.advance(32)
    assert (answer_at(client, "POST").status, answer_at(client, "POST")["mcpgate-error"]) == (504, b"upstream_timeout")
    assert peer.closed == "reset"


def test_an_unread_rest_of_a_request_spoils_the_connection() -> None:
    """A server that answered without taking the whole request is not asked again on that connection."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(headers={"Content-Length": "100000"}))
    peer.stop_reading()
    client.send(PIECE, PIECE)
    peer.send(answer())
    assert answer_at(client, "POST").status == 200
    assert peer.closed == "reset"


# --- a client that is slow to speak ---------------------------------------------------------------------------------


def test_a_head_must_be_here_in_time_however_its_bytes_come() -> None:
    """`header_timeout` is absolute: drops of a byte do not prolong it."""
    gate = GatewayUnderTest()
    client = gate.connect()
    for byte in request("GET")[:9]:
        client.send(bytes([byte]))
        gate.advance(1)
    assert client.received == b""
    gate.advance(2)
    told = answer_at(client)
    assert (told.status, told["mcpgate-error"], told["connection"]) == (408, b"request_timeout", b"close")


def test_a_connection_that_never_asks_is_closed_without_a_word() -> None:
    """A browser opens such connections ahead of need; a 408 would be taken for the answer to its next request."""
    gate = GatewayUnderTest()
    client = gate.connect()
    gate.advance(9)
    assert client.closed is None
    gate.advance(2)
    assert client.received == b""
    gate.settle()
    assert client.closed == "fin"


def test_empty_lines_are_no_request() -> None:
    """A client cannot hold a connection open with line ends."""
    gate = GatewayUnderTest()
    client = gate.connect()
    for _ in range(5):
        client.send(b"\r\n")
        gate.advance(5)
    assert client.closed is not None


@pytest.mark.parametrize(
    ("framing", "piece"), [("Content-Length: 9000", b"x"), ("Transfer-Encoding: chunked", chunked(b"x"))]
)
def test_a_body_without_a_byte_for_too_long_is_refused(framing: str, piece: bytes) -> None:
    """`body_timeout` is the longest gap."""
    gate = gateway(top="http: {body_timeout: 5s}")
    name, _, value = framing.partition(": ")
    client, peer = asked(gate, request(headers={name: value}))
    client.send(piece)
    gate.advance(4)
    assert client.received == b""
    client.send(piece)
    gate.advance(4)
    assert client.received == b""
    gate.advance(2)
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"], told["connection"]) == (408, b"request_timeout", b"close")
    assert peer.closed == "reset"


@pytest.mark.parametrize(("bytes_per_s", "admitted"), [(450, False), (600, True)])
def test_a_body_must_keep_a_pace(bytes_per_s: int, admitted: bool) -> None:
    """Slower than 500 bytes a second after ten seconds is refused, however steadily the bytes come."""
    gate = GatewayUnderTest()
    client, _ = asked(gate, request(headers={"Content-Length": str(bytes_per_s * 20)}))
    for _ in range(20):
        client.send(b"x" * bytes_per_s)
        gate.advance(1)
    assert (client.received == b"") is admitted
    if not admitted:
        assert answer_at(client, "POST").status == 408


def test_a_slow_beginning_is_forgiven() -> None:
    """Nothing is counted in the first ten seconds."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(headers={"Content-Length": "9000"}))
    gate.advance(9)
    client.send(b"x" * 9000)
    gate.advance(20)
    peer.send(answer())
    assert answer_at(client, "POST").status == 200


def test_a_complete_request_has_no_deadline_of_its_own() -> None:
    """A tool may work for minutes without a word; only `response` counts."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(headers={"Content-Length": "2"}))
    client.send(b"{}")
    gate.advance(290)
    peer.send(answer())
    assert answer_at(client, "POST").status == 200


# --- a server that is slow to answer --------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"])
def test_a_head_that_does_not_come_is_a_504(said: bytes) -> None:
    """`response` runs until the head of the final answer is whole."""
    gate = gateway("timeouts: {response: 30s}")
    client, peer = asked(gate, POST)
    gate.advance(20)
    if said:
        peer.send(said)
    gate.advance(9)
    assert b"504" not in client.received
    gate.advance(2)
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"]) == (504, b"upstream_timeout")
    assert peer.closed == "reset"


def test_response_0s_waits_without_end() -> None:
    """Whoever asks for no limit gets none."""
    gate = gateway("timeouts: {response: 0s}")
    client, peer = asked(gate, POST)
    gate.advance(700)
    peer.send(answer())
    assert answer_at(client, "POST").status == 200


@pytest.mark.parametrize("head", [STREAM_HEAD, CHUNKED, UNTIL_CLOSE])
def test_stream_idle_ends_a_silent_answer_unfinished(head: bytes) -> None:
    """Each byte starts it anew; what ends is visibly cut."""
    gate = gateway("timeouts: {stream_idle: 30s}")
    client, peer = asked(gate, POST)
    peer.send(head)
    for _ in range(3):
        gate.advance(25)
        peer.send(chunked(b"data: 1\n\n"))
    gate.advance(29)
    assert client.closed is None
    gate.advance(2)
    assert not answer_at(client, "POST").complete
    assert peer.closed == "reset"
    assert [record.ended for record in gate.records] == [Ended.IDLE]


def test_a_stream_that_waits_for_its_client_is_not_idle() -> None:
    """Silence that back-pressure makes is not the server's."""
    gate = gateway("timeouts: {stream_idle: 30s}", top="http: {send_timeout: 10m}")
    client, peer = asked(gate, POST)
    peer.send(STREAM_HEAD)
    client.stop_reading()
    peer.send(*[chunked(PIECE)] * 4)
    assert not peer.transport.reading
    gate.advance(60)
    assert client.closed is None
    client.read_on()
    assert answer_at(client, "POST").body == PIECE * 4
