"""
A gateway in memory, for tests of it and of what is built on it: no sockets, no reactor, no waiting.

`GatewayUnderTest` is the real gateway on a clock that the test moves. `Client` and `UpstreamPeer` are the two ends of
it, as raw bytes. Everything happens inside the call that causes it: after ``client.send(...)`` the upstream has what
it is going to have.

>>> gate = GatewayUnderTest()
>>> client = gate.connect()
>>> client.send(b"GET /mcp/x/sse HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
>>> gate.upstream().received.split(b"\\r\\n")[0]
b'GET /sse HTTP/1.1'
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from random import Random
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import (
    IConnector,
    IProtocol,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from mcpgate.accesslog import AccessLog, json_lines
from mcpgate.config import parse
from mcpgate.exchange import Exchange
from mcpgate.net.memory import MemoryTransport
from mcpgate.policy.authn import Grant
from mcpgate.recorder import SpanSink
from mcpgate.registry.store import MemoryStore, Store
from mcpgate.service import Gateway
from mcpgate.settings import Settings
from mcpgate.surroundings import Logs, NoLogs, Surroundings
from mcpgate.upstream.resolver import Resolver

ONE_SERVER = """\
servers:
  - name: x
    upstreams: [{url: "http://127.0.0.1:3010"}]
"""


#: What the clock that only goes forward shows at the start: a machine has been up for some time.
_BOOTED_S = 1000.0
_OPERATOR = Grant("test", frozenset({"read", "register", "write"}), frozenset("*"))


class _End:
    """The far end of a connection of the gateway, as raw bytes."""

    def __init__(self, gate: GatewayUnderTest, transport: MemoryTransport) -> None:
        self._gate = gate
        self.transport = transport

    @property
    def received(self) -> bytes:
        """Everything that the gateway has sent here."""
        return self.transport.delivered

    @property
    def closed(self) -> str | None:
        """``None`` while it is open, else ``"fin"`` or ``"reset"``."""
        return self.transport.closed

    def take(self) -> bytes:
        """What has been received since the last call."""
        data, self.transport.delivered = self.transport.delivered, b""
        return data

    def send(self, *pieces: bytes) -> None:
        """Send bytes, each piece on its own."""
        for piece in pieces:
            self.transport.arrive(lambda piece=piece: self.transport.take_data(piece))  # type: ignore[misc]
            self._gate.settle()

    def close(self) -> None:
        """Send no more (FIN); what the gateway still has to say can be read."""
        self.transport.arrive(self.transport.take_end)
        self._gate.settle()

    def reset(self) -> None:
        """Cut the connection (RST)."""
        self.transport.arrive(self.transport.take_reset)
        self._gate.settle()

    def stop_reading(self) -> None:
        """Leave what the gateway sends in its buffers from now on."""
        self.transport.taking = False

    def read_on(self) -> None:
        """Read again."""
        self.transport.taking = True
        self._gate.settle()


class Client(_End):
    """A client of the gateway."""


class UpstreamPeer(_End):
    """An MCP server's end of one connection that the gateway has made."""


class GatewayUnderTest:
    """
    The real gateway in memory.

    :param config: YAML as in ``gate.yaml``.
    :param environ: for ``${VAR}``.
    :param spans: where spans go, if any do.
    :param store: where registrations are kept; that of another gateway, to see what a restart keeps.
    :ivar records: every exchange that has ended, in order.
    :ivar failures: texts of failures that are the gateway's own fault; a test should find none.
    :ivar wall_s: what the clock on the wall showed at the start: 2027-01-15.
    :ivar refusing: ports (of upstreams) that refuse connections; ``silent`` ones never answer the dial.
    """

    def __init__(
        self,
        config: str = ONE_SERVER,
        environ: dict[str, str] | None = None,
        spans: SpanSink | None = None,
        store: Store | None = None,
    ) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.rightNow = _BOOTED_S
        self.config = config
        self.records: list[Exchange] = []
        self.failures: list[str] = []
        self.log_lines: list[bytes] = []
        self.refusing: set[int] = set()
        self.silent: set[int] = set()
        self.peers: list[UpstreamPeer] = []
        self.names: dict[str, list[str]] = {"localhost": ["127.0.0.1"]}
        self._environ = environ or {}
        self._transports: list[MemoryTransport] = []
        self._dials_seen = 0
        self.wall_s = 1_800_000_000.0
        self._ids = iter(range(1, 1 << 30))
        self._ports = count(50_000)
        self._bits = Random(1)
        self.logs: Logs = NoLogs()
        self.spans = spans
        self.store = store or MemoryStore()
        self.gateway = Gateway(self.load(), self._surroundings())
        self.gateway.bound = True
        self.gateway.start()
        self.settle()

    def _surroundings(self) -> Surroundings:
        clock = self.reactor
        log = _Recording(self.records, self.log_lines, clock)
        return Surroundings(
            reactor=clock,
            resolver=Resolver(lambda host: maybeDeferred(self._look_up, host), clock.seconds),
            now=clock.seconds,
            new_id=lambda: b"id-%d" % next(self._ids),
            access_log=log,
            rundir=".",
            admin_tokens=((_digest("admin-token"), _OPERATOR),),
            max_connections=1000,
            load=self.load,
            wall=lambda: self.wall_s + clock.seconds() - _BOOTED_S,
            session_secret=lambda: "the secret of a gateway under test",
            strangers=Resolver(lambda host: maybeDeferred(self._look_up, host), clock.seconds),
            newcomers=Resolver(lambda host: maybeDeferred(self._look_up, host), clock.seconds),
            open_store=lambda setting: self.store,
            random=lambda: 0.5,
            random_bits=self._bits.getrandbits,
            logs=self.logs,
            spans=self.spans,
            on_failure=lambda what: self.failures.append(f"{what}: {Failure().getTraceback()}"),
        )

    def load(self) -> Settings:
        """Read ``config`` anew; a test may change it and reload."""
        return parse(self.config, "gate.yaml", self._environ)

    def _look_up(self, host: str) -> list[str]:
        if host not in self.names:
            raise OSError(f"no such name: {host}")
        return self.names[host]

    # --- the two ends -------------------------------------------------------------------------------------------

    def connect(self, admin: bool = False) -> Client:
        """A new client connection, to the data listener or the admin one."""
        door = self.gateway.admin_door if admin else self.gateway.door
        protocol = door.buildProtocol(None)
        client = Client(self, self._join(protocol, next(self._ports)))
        self.settle()
        return client

    def upstream(self, index: int = -1) -> UpstreamPeer:
        """One of the connections that the gateway has made, by default the newest."""
        return self.peers[index]

    def ask(self, request: bytes, admin: bool = False) -> bytes:
        """Send a request on a connection of its own, and give what came back so far."""
        client = self.connect(admin)
        client.send(request)
        return client.received

    def _join(self, protocol: IProtocol, port: int) -> MemoryTransport:
        transport = MemoryTransport(protocol, port)
        self._transports.append(transport)
        protocol.makeConnection(transport)
        return transport

    # --- time and turns -----------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps that no deadline notices; with 0, only the turn that follows."""
        left = seconds
        while True:
            step = min(left, 0.25)
            self.reactor.advance(step)
            self.settle()
            left -= step
            if left <= 0:
                return

    def settle(self) -> None:
        """Let everything happen that follows from what has happened."""
        for _ in range(100_000):
            happened = self._connect_dials()
            for transport in list(self._transports):
                happened = (transport.deliver_loss() or transport.deliver()) or happened
            if not happened:
                self._transports = [transport for transport in self._transports if not transport.is_over]
                return
        raise AssertionError("the gateway does not come to rest")

    def _connect_dials(self) -> bool:
        dials = self.reactor.tcpClients[self._dials_seen :]
        for host, port, factory, timeout, _ in dials:
            self._dials_seen += 1
            if port in self.silent:
                failure = Failure(TimeoutError())
                self.reactor.callLater(timeout, factory.clientConnectionFailed, None, failure)
            elif port in self.refusing:
                factory.clientConnectionFailed(cast(IConnector, None), Failure(ConnectionRefusedError()))
            else:
                protocol: Any = factory.buildProtocol(IPv4Address("TCP", host, port))
                self.peers.append(UpstreamPeer(self, self._join(protocol, port)))
        return bool(dials)


class _Recording(AccessLog):
    """The access log, and the exchanges themselves beside it."""

    def __init__(self, records: list[Exchange], lines: list[bytes], clock: MemoryReactorClock) -> None:
        super().__init__(json_lines, lines.append, clock.callLater, (clock.seconds, clock.seconds))
        self._records = records

    def record(self, exchange: Exchange) -> None:
        self._records.append(exchange)
        super().record(exchange)


def _digest(token: str) -> str:
    return sha256(token.encode("ascii")).hexdigest()


def request(
    method: str = "POST", target: str = "/mcp/x/mcp", body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """A well-formed request as a plain client would write it; ``headers`` add to, or replace, the usual ones."""
    fields = {"Host": "localhost", "Accept": "application/json, text/event-stream"}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= headers or {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def answer(body: bytes = b"{}", status: str = "200 OK", headers: dict[str, str] | None = None) -> bytes:
    """A well-formed answer with a length."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body
