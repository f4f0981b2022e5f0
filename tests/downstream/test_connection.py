"""The fast door: the states of one client connection, and what it holds and lets go."""

from __future__ import annotations

import pytest
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, answer_at, asked, chunked, gateway, timers
from tests.stories.test_websocket import ACCEPT, OFFER

from mcpgate.downstream.connection import DownstreamConnection, Stage
from mcpgate.net.deadlines import NEVER_S
from mcpgate.net.memory import MemoryTransport
from mcpgate.testing import Client, GatewayUnderTest, answer, request

GET = request("GET", headers=SSE | {"Mcp-Session-Id": "s"})
SWITCHING = (
    f"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode()
)


def _protocol(client: Client) -> DownstreamConnection:
    protocol = client.transport.protocol
    assert isinstance(protocol, DownstreamConnection)
    return protocol


def _stage(client: Client) -> Stage:
    return _protocol(client).stage


@pytest.mark.parametrize(
    ("sent", "said", "stages"),
    [
        (GET, [answer()], [Stage.EXCHANGE, Stage.HEAD]),
        (GET, [STREAM_HEAD, LAST_CHUNK], [Stage.EXCHANGE, Stage.STREAM, Stage.HEAD]),
        (GET, [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", b"b"], [Stage.EXCHANGE, Stage.EXCHANGE, Stage.HEAD]),
        (request("GET", headers=OFFER), [SWITCHING], [Stage.EXCHANGE, Stage.TUNNEL]),
        (request("GET", headers={"Connection": "close"}), [answer()], [Stage.EXCHANGE, Stage.LINGER]),
        (GET[:-2], [], [Stage.HEAD]),
        (request("GET", "/nobody"), [], [Stage.HEAD]),
        (b"garbage\r\n\r\n", [], [Stage.LINGER]),
    ],
)
def test_its_stages(sent: bytes, said: list[bytes], stages: list[Stage]) -> None:
    """As its documentation names them."""
    gate = GatewayUnderTest()
    client = gate.connect()
    assert _stage(client) is Stage.HEAD
    client.send(sent)
    seen = [_stage(client)]
    for piece in said:
        gate.upstream().send(piece)
        seen.append(_stage(client))
    assert seen == stages
    client.reset()
    assert _stage(client) is Stage.CLOSED


def test_it_says_where_it_stands() -> None:
    """For a person with a debugger."""
    client, peer = asked(GatewayUnderTest(), GET)
    peer.send(STREAM_HEAD)
    assert repr(_protocol(client)) == "<DownstreamConnection stream b'127.0.0.1'>"


# --- letting go ---------------------------------------------------------------------------------------------------


def _last_answer(gate: GatewayUnderTest) -> Client:
    """A client that has its last answer: the gateway has half closed, and reads on for a moment."""
    client = gate.connect()
    client.send(request("GET", "/nobody", headers={"Connection": "close"}))
    assert answer_at(client).complete
    assert client.closed == "fin"
    assert client.transport.connected
    return client


def test_when_the_client_closes_too_the_connection_is_let_go_at_once() -> None:
    """Twisted does not do that by itself: without it, every closed connection would stay open until a deadline."""
    client = _last_answer(GatewayUnderTest())
    client.close()
    assert client.transport.disconnecting


def test_a_client_that_does_not_close_is_cut_after_a_moment() -> None:
    """Two seconds; what it sends meanwhile is thrown away."""
    gate = GatewayUnderTest()
    client = _last_answer(gate)
    gate.advance(1.5)
    client.send(request("GET"))
    assert client.transport.connected
    gate.advance(1)
    assert not client.transport.connected
    assert gate.peers == []


def test_an_answer_that_is_still_under_way_is_waited_for() -> None:
    """The moment begins when there is nothing left to send; until then `send_timeout` counts."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.stop_reading()
    client.send(request("GET", "/nobody", headers={"Connection": "close"}))
    gate.advance(30)
    client.read_on()
    assert answer_at(client).complete


def test_reading_goes_on_after_a_refused_body() -> None:
    """A client that is still sending must be able to read its 413 before the connection goes."""
    gate = gateway(top="http: {max_body_bytes: 100}")
    client, _ = asked(gate, request(headers={"Transfer-Encoding": "chunked"}) + chunked(b"x" * 101))
    assert answer_at(client, "POST").status == 413
    client.send(*[chunked(b"x" * 50_000)] * 5)
    assert client.transport.reading
    assert len(gate.records) == 1


@pytest.mark.parametrize(
    ("sent", "said", "closes"),
    [
        (b"", b"", True),
        (GET[:-2], b"", False),
        (GET, b"", False),
        (GET, STREAM_HEAD, False),
        (GET, answer(), True),
        (request("GET", headers={"Connection": "close"}), answer(), False),
    ],
)
def test_only_an_idle_connection_is_closed_by_a_drain(sent: bytes, said: bytes, closes: bool) -> None:
    """What is under way is left alone."""
    gate = GatewayUnderTest()
    client = gate.connect()
    if sent:
        client.send(sent)
    if said:
        gate.upstream().send(said)
    assert _protocol(client).close_if_idle() is closes


# --- deadlines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "said", "within_s"),
    [
        (b"", b"", 10),
        (b"GET /", b"", 10),
        (GET, b"", NEVER_S),
        (GET, answer(), 75),
        (GET, STREAM_HEAD, 60),
        (request("GET", headers={"Connection": "close"}), answer(), 2),
    ],
)
def test_what_a_connection_is_waited_for(sent: bytes, said: bytes, within_s: float) -> None:
    """Head, nothing, next request, the taking of a stream, goodbye: one deadline at a time."""
    gate = GatewayUnderTest()
    client = gate.connect()
    if sent:
        client.send(sent)
    if said:
        gate.upstream().send(said)
    assert _protocol(client).deadline_s == gate.reactor.seconds() + within_s


def test_a_connection_that_is_gone_is_in_no_list() -> None:
    """Neither the door's nor the deadlines'."""
    gate = GatewayUnderTest()
    for leave in (Client.close, Client.reset):
        client = gate.connect()
        leave(client)
        assert _protocol(client).deadline_s == NEVER_S
    assert gate.gateway.door.connections == set()
    assert timers(gate) == []


def test_losing_a_connection_twice_is_losing_it_once() -> None:
    """A reset can follow an end."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, GET)
    peer.send(STREAM_HEAD)
    client.close()
    client.reset()
    assert len(gate.records) == 1


# --- memory -------------------------------------------------------------------------------------------------------


def test_a_stream_keeps_its_head_once_at_most() -> None:
    """And neither its body nor what the upstream was sent: there may be ten thousand of them."""
    client, peer = asked(GatewayUnderTest(), request(body=b"x" * 5000, headers={"X-Large": "x" * 9000}))
    before = _bytes_held(_protocol(client), depth=3)
    peer.send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    held = _bytes_held(_protocol(client), depth=3)
    assert before > 9000 + 5000
    assert held < 9000 + 1000


def _bytes_held(thing: object, depth: int) -> int:
    """Bytes in the different byte strings that an object of ours refers to, some steps deep."""
    found: dict[int, int] = {}
    reached = [thing]
    for _ in range(depth + 1):
        values = [value for each in reached for value in _values_of(each)]
        found |= {id(value): len(value) for value in values if isinstance(value, bytes)}
        ours = [value for value in values if type(value).__module__.startswith("mcpgate")]
        reached = [value for value in ours if not isinstance(value, MemoryTransport)]
    return sum(found.values())


def _values_of(thing: object) -> list[object]:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return [getattr(thing, name, None) for name in {*slots, *getattr(thing, "__dict__", {})}]
