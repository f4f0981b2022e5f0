"""
Whatever both ends do, in whatever order: the gateway does not fail, tells everything once, and keeps nothing.

The other stories say what must happen; this one looks for what nobody thought of.
"""

from __future__ import annotations

from collections.abc import Callable

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, answers, chunked, timers
from tests.stories.test_websocket import ACCEPT, OFFER

from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

CONFIG = """\
http: {header_timeout: 2s, body_timeout: 2s, keepalive_timeout: 2s, send_timeout: 2s, max_body_bytes: 200000}
drain: {timeout: 2s}
servers:
  - name: x
    upstreams: [{url: "http://h.example:3010"}]
    timeouts: {connect: 2s, response: 2s, stream_idle: 2s, tunnel_idle: 2s}
"""
MOVED = CONFIG.replace("3010", "3011")

SAID_BY_CLIENTS = [
    request("GET"),
    request("HEAD"),
    request(body=b'{"id":1}'),
    request("GET", "/mcp/x/sse", headers=SSE),
    request("GET", "/mcp/x/ws", headers=OFFER),
    request("GET", "/nobody"),
    request("GET", "/mcp/discovery"),
    request("GET", headers={"Connection": "close"}),
    request(headers={"Content-Length": "10"}),
    request(headers={"Content-Length": "70000", "Expect": "100-continue"}),
    request(headers={"Transfer-Encoding": "chunked"}),
    request("GET").replace(b"HTTP/1.1", b"HTTP/1.0"),
    request("POST", "/mcp/discovery", headers={"Content-Length": "10"}),
    b"GET /mcp/x/ HTTP/1.1\r\nHo",
    b"st: localhost\r\n\r\n",
    b"12345",
    b"x" * 70_000,
    b"5\r\nabcde\r\n",
    b"0\r\n\r\n",
    b"\r\n",
    b"\x00\xff",
]
SAID_BY_SERVERS = [
    answer(),
    answer(b"", headers={"Connection": "close"}),
    answer(b"x" * 70_000),
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    f"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode(),
    STREAM_HEAD,
    STREAM_HEAD + chunked(b"event: endpoint\ndata: /m\n\n"),
    chunked(b"event: endpoint\ndata: http://other/\n\n"),
    chunked(b"data: 1\n\n"),
    chunked(b"x" * 70_000),
    b"9\r\nda",
    b"ta: 1\n\n\r\n",
    LAST_CHUNK,
    b"12345",
    b"\x00\xff",
]

_ends = st.integers(0, 3)
_deeds = st.sampled_from([Client.close, Client.reset, Client.stop_reading, Client.read_on])
_events = st.one_of(
    st.tuples(st.just("connect"), st.none(), st.none()),
    st.tuples(st.just("client says"), _ends, st.sampled_from(SAID_BY_CLIENTS)),
    st.tuples(st.just("client says"), _ends, st.sampled_from(SAID_BY_CLIENTS[:5])),
    st.tuples(st.just("server says"), _ends, st.sampled_from(SAID_BY_SERVERS)),
    st.tuples(st.just("server says"), _ends, st.sampled_from(SAID_BY_SERVERS)),
    st.tuples(st.just("client does"), _ends, _deeds),
    st.tuples(st.just("server does"), _ends, _deeds),
    st.tuples(st.just("network"), st.none(), st.sampled_from(["fine", "refusing", "silent", "nameless"])),
    st.tuples(st.just("reload"), st.none(), st.sampled_from([CONFIG, MOVED, "servers: []\ndrain: {timeout: 2s}", "x"])),
    st.tuples(st.just("wait"), st.none(), st.sampled_from([0.25, 1.25, 2.5])),
    st.tuples(st.just("drain"), st.none(), st.none()),
)


class World:
    """A gateway, and everybody around it."""

    def __init__(self) -> None:
        self.gate = GatewayUnderTest(CONFIG)
        self.gate.names["h.example"] = ["127.0.0.1"]
        self.clients: list[Client] = [self.gate.connect()]
        self.sent: dict[Client, bytes] = {}

    def play(self, kind: str, index: int | None, what: object) -> None:
        """Let one thing happen, if there is somebody to do it."""
        acts: dict[str, Callable[[], object]] = {
            "connect": lambda: self.clients.append(self.gate.connect()),
            "network": lambda: self._network(str(what)),
            "reload": lambda: self._reload(str(what)),
            "wait": lambda: self.gate.advance(what),  # type: ignore[arg-type]
            "drain": self.gate.gateway.drain,
        }
        if kind in acts:
            acts[kind]()
            return
        ends: list[Client] | list[UpstreamPeer] = self.clients if kind.startswith("client") else self.gate.peers
        if index is None or not ends:
            return
        end = ends[-1 - index % len(ends)]
        if isinstance(what, bytes):
            if end.closed is None:
                end.send(what)
        else:
            what(end)  # type: ignore[operator]

    def _network(self, how: str) -> None:
        self.gate.refusing = {3010, 3011} if how == "refusing" else set()
        self.gate.silent = {3010, 3011} if how == "silent" else set()
        self.gate.names = {} if how == "nameless" else {"h.example": ["127.0.0.1"]}

    def _reload(self, config: str) -> None:
        self.gate.config = config
        self.gate.gateway.reload()

    def leave(self) -> None:
        """Everybody goes, and time passes."""
        for end in [*self.clients, *self.gate.peers]:
            end.read_on()
            end.reset()
        self.gate.advance(15)
        for peer in self.gate.peers:
            peer.reset()
        self.gate.advance(5)


def test_nothing_breaks_and_nothing_stays(failures: list[str]) -> None:
    """No failure inside, one record for each exchange, valid HTTP at every client, and an empty house in the end."""

    @settings(max_examples=80, deadline=None)
    @given(events=st.lists(_events, max_size=30))
    def holds(events: list[tuple[str, int | None, object]]) -> None:
        world = World()
        for event in events:
            world.play(*event)
        gateway = world.gate.gateway
        _check_http(world.clients)
        world.leave()
        assert [*failures, *world.gate.failures] == []
        assert gateway.door.connections == set()
        assert gateway.census.open == 0
        assert all(server.relays == set() for server in gateway.servers.values())
        assert timers(world.gate) == []
        assert len({id(record) for record in world.gate.records}) == len(world.gate.records)
        assert all(record.ended is not None for record in world.gate.records)

    holds()


def _check_http(clients: list[Client]) -> None:
    """What a client has received begins with valid answers, as far as it is HTTP."""
    for client in clients:
        if b" 101 " in client.received:
            continue
        try:
            answers(client.received, None, ["GET"])
        except h11.RemoteProtocolError as error:
            raise AssertionError(f"{error}: {client.received[:300]!r}")
