"""A client opens a WebSocket through the gateway, which checks the handshake and then only carries bytes."""

from __future__ import annotations

import base64
import hashlib

import pytest
from tests.ends import anonymous, answer_at, asked, gateway, refused, request_at

from mcpgate.exchange import Ended
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
OFFER = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Protocol": "mcp",
}
#: A text frame as a client would send it; the gateway must not care.
FRAME = b"\x81\x85\x01\x02\x03\x04iglhn"


def _handshake(**changes: str) -> bytes:
    fields = OFFER | {name.replace("_", "-"): value for name, value in changes.items()}
    return request("GET", "/mcp/x/ws", headers={name: value for name, value in fields.items() if value})


def _switching(accept: str = ACCEPT, upgrade: str = "websocket") -> bytes:
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
    ).encode()


def _tunnel(gate: GatewayUnderTest) -> tuple[Client, UpstreamPeer]:
    client, peer = asked(gate, _handshake())
    peer.send(_switching())
    client.take()
    peer.take()
    return client, peer


def test_the_handshake_is_relayed_with_its_subprotocol() -> None:
    """Offer and selection pass, and the 101 is one that a browser accepts."""
    client, peer = asked(GatewayUnderTest(), _handshake())
    seen = request_at(peer)
    assert (seen.method, seen.target) == (b"GET", b"/ws")
    for name in ("upgrade", "sec-websocket-version", "sec-websocket-key", "sec-websocket-protocol"):
        assert (
            seen[name].decode()
            == OFFER[{"upgrade": "Upgrade"}.get(name, name.title().replace("Websocket", "WebSocket"))]
        )
    assert seen["connection"].lower() == b"upgrade"
    peer.send(_switching())
    head, _, rest = anonymous(client.received).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert {line.lower() for line in lines[1:]} == {
        b"upgrade: websocket",
        b"connection: upgrade",
        b"sec-websocket-accept: " + ACCEPT.encode().lower(),
        b"sec-websocket-protocol: mcp",
    }
    assert rest == b""


def test_bytes_pass_both_ways_as_they_are() -> None:
    """Frames of any kind, whole or in pieces, are carried within the same turn."""
    client, peer = _tunnel(GatewayUnderTest())
    client.send(FRAME, FRAME[:3], FRAME[3:], b"\x00" * 100_000)
    assert peer.received == FRAME * 2 + b"\x00" * 100_000
    peer.send(b"\x81\x02hi", b"HTTP/1.1 200 OK\r\n\r\n")
    assert client.received == b"\x81\x02hiHTTP/1.1 200 OK\r\n\r\n"


def test_bytes_sent_together_with_the_handshake_are_not_lost() -> None:
    """A first frame may come in the segment of the request, or of the 101."""
    client, peer = asked(GatewayUnderTest(), _handshake() + FRAME)
    assert FRAME not in peer.received
    peer.send(_switching() + b"\x81\x02hi")
    assert peer.received.endswith(FRAME)
    assert client.received.endswith(b"\r\n\r\n\x81\x02hi")


@pytest.mark.parametrize(
    "changes",
    [
        {"Sec_WebSocket_Key": ""},
        {"Sec_WebSocket_Key": "c2hvcnQ="},
        {"Sec_WebSocket_Key": "not base64!"},
        {"Sec_WebSocket_Version": ""},
        {"Sec_WebSocket_Version": "8"},
        {"Content_Length": "5"},
        {"Transfer_Encoding": "chunked"},
    ],
)
def test_a_handshake_that_is_none_is_refused(changes: dict[str, str]) -> None:
    """Nothing that RFC 6455 does not allow reaches the server, a body least of all."""
    told = refused(GatewayUnderTest(), _handshake(**changes))
    assert (told.status, told["mcpgate-error"], told["connection"]) == (400, b"bad_handshake", b"close")


def test_a_handshake_is_a_get() -> None:
    """An upgrade with another method is refused."""
    told = refused(GatewayUnderTest(), request("POST", "/mcp/x/ws", headers=OFFER))
    assert told["mcpgate-error"] == b"bad_handshake"


def test_a_body_is_noticed_also_where_the_same_handshake_passed_without_one() -> None:
    """The handshake that comes again is judged by its own body length."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, _handshake(Content_Length="0"))
    peer.send(answer(b"no", "426 Upgrade Required"))
    client.take()
    client.send(_handshake(Content_Length="5") + b"12345")
    assert answer_at(client).status == 400
    assert b"12345" not in peer.received


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2_Settings": "AAMAAABkAAQAAP__"},
        {"Upgrade": "TLS/1.0"},
        {"Upgrade": "websocket, h2c"},
        {"Connection": "keep-alive"},
    ],
)
def test_other_upgrades_are_dropped(changes: dict[str, str]) -> None:
    """What is not plainly a WebSocket is an ordinary request, and its answer an ordinary answer."""
    client, peer = asked(GatewayUnderTest(), _handshake(**changes))
    seen = request_at(peer)
    assert not {"upgrade", "connection", "http2-settings"} & {name.decode() for name, _ in seen.fields}
    peer.send(answer())
    assert answer_at(client).status == 200


@pytest.mark.parametrize(
    "said", [_switching(accept="x" * 28), _switching(accept=""), _switching(upgrade="h2c"), b"HTTP/1.1 101 Go\r\n\r\n"]
)
def test_a_101_that_does_not_answer_the_handshake_is_a_502(said: bytes) -> None:
    """A server that agrees to something else is not given the connection."""
    client, peer = asked(GatewayUnderTest(), _handshake())
    peer.send(said)
    assert (answer_at(client).status, answer_at(client)["mcpgate-error"]) == (502, b"bad_answer")
    assert peer.closed == "reset"


def test_a_101_that_nobody_asked_for_is_a_502() -> None:
    """A server cannot turn an ordinary call into a tunnel."""
    client, peer = asked(GatewayUnderTest(), request(body=b"{}"))
    peer.send(_switching())
    assert answer_at(client, "POST").status == 502
    assert peer.closed == "reset"


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "426 Upgrade Required", "200 OK"])
def test_a_server_may_refuse_the_upgrade(status: str) -> None:
    """Its answer passes, and the connection goes on as HTTP."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, _handshake())
    peer.send(answer(b"no", status))
    assert (answer_at(client).status, answer_at(client).body) == (int(status[:3]), b"no")
    client.take()
    client.send(request("GET", "/mcp/x/a"))
    assert request_at(gate.upstream()).target == b"/a"


# --- leaving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
def test_a_client_that_leaves_closes_the_tunnel(leave: object) -> None:
    """What it sent before still reaches the server; then the server's side is closed."""
    gate = GatewayUnderTest()
    client, peer = _tunnel(gate)
    client.send(FRAME)
    leave(client)  # type: ignore[operator]
    assert peer.received == FRAME
    assert peer.closed == "fin"
    assert gate.records[-1].ended is Ended.CLIENT_GONE


def test_a_server_that_closes_closes_the_client() -> None:
    """An orderly end arrives as one, behind the last bytes."""
    gate = GatewayUnderTest()
    client, peer = _tunnel(gate)
    peer.send(b"\x88\x00")
    peer.close()
    assert (client.received, client.closed) == (b"\x88\x00", "fin")
    assert gate.records[-1].ended is Ended.UPSTREAM_END


def test_a_server_that_dies_ends_the_tunnel() -> None:
    """The client is not left with a dead connection, and the record says whose fault it was."""
    gate = GatewayUnderTest()
    client, peer = _tunnel(gate)
    peer.reset()
    assert client.closed is not None
    assert gate.records[-1].ended is Ended.UPSTREAM_LOST


def test_what_a_departed_client_left_behind_is_given_some_seconds() -> None:
    """A server that does not take the last bytes is cut in the end."""
    gate = GatewayUnderTest()
    client, peer = _tunnel(gate)
    peer.stop_reading()
    client.send(FRAME)
    client.close()
    gate.advance(4)
    assert peer.closed is None
    gate.advance(2)
    assert peer.closed == "reset"


# --- time and pressure --------------------------------------------------------------------------------------------


def test_an_idle_tunnel_lives_without_a_limit_by_default() -> None:
    """Silence alone does not end it."""
    gate = GatewayUnderTest()
    client, peer = _tunnel(gate)
    gate.advance(400)
    client.send(FRAME)
    assert peer.received == FRAME


@pytest.mark.parametrize("speaker", ["client", "peer", "nobody"])
def test_tunnel_idle_counts_from_the_last_byte_of_either_side(speaker: str) -> None:
    """One side that speaks keeps the tunnel open."""
    gate = gateway("timeouts: {tunnel_idle: 30s}")
    client, peer = _tunnel(gate)
    ends = {"client": client, "peer": peer}
    for _ in range(3):
        gate.advance(20)
        if speaker in ends:
            ends[speaker].send(FRAME)
    assert (client.closed is None) is (speaker in ends)
    gate.advance(32)
    assert client.closed is not None
    assert peer.closed == "reset"
    assert gate.records[-1].ended is Ended.IDLE


@pytest.mark.parametrize(("fast", "slow"), [("client", "peer"), ("peer", "client")])
def test_a_slow_side_stops_the_fast_one(fast: str, slow: str) -> None:
    """The gateway keeps no more than a socket buffer, and loses nothing."""
    client, peer = _tunnel(GatewayUnderTest())
    ends = {"client": client, "peer": peer}
    ends[slow].stop_reading()
    ends[fast].send(*[b"x" * 50_000] * 3)
    assert not ends[fast].transport.reading
    ends[slow].read_on()
    assert ends[slow].received == b"x" * 150_000
    assert ends[fast].transport.reading


def test_a_client_that_takes_nothing_is_cut() -> None:
    """`send_timeout` holds for tunnels too."""
    gate = GatewayUnderTest()
    client, peer = _tunnel(gate)
    client.stop_reading()
    peer.send(b"x" * 100_000)
    gate.advance(125)
    assert client.closed == "reset"
    assert peer.closed is not None
