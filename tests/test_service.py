"""A gateway as a whole: its count of connections, what it tells, reload and drain as calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from tests.ends import asked, gateway, timers

from mcpgate.service import Gateway
from mcpgate.testing import GatewayUnderTest, answer, request

# --- how many -----------------------------------------------------------------------------------------------------


def test_clients_are_counted() -> None:
    """While they are connected; the descriptors of their upstreams are allowed for in the bound."""
    gate = GatewayUnderTest()
    census = gate.gateway.census
    client, peer = asked(gate, request("GET"))
    assert census.open == 1
    peer.send(answer())
    client.reset()
    assert census.open == 0


@pytest.mark.parametrize("how", ["refusing", "silent"])
def test_failed_connections_are_not_counted(how: str) -> None:
    """Nothing leaks, however often a server is not there."""
    gate = GatewayUnderTest()
    setattr(gate, how, {3010})
    clients = [gate.connect() for _ in range(5)]
    for client in clients:
        client.send(request(body=b"{}"))
    gate.advance(4)
    for client in clients:
        assert client.received
        client.reset()
    assert gate.gateway.census.open == 0


def test_the_admin_listener_is_not_counted() -> None:
    """An operator gets in when all places are taken."""
    gate = GatewayUnderTest()
    gate.connect(admin=True)
    assert gate.gateway.census.open == 0


def test_nothing_is_left_behind() -> None:
    """After a day of every kind of traffic the gateway holds no exchange, connection or timer."""
    gate = gateway("timeouts: {response: 1s, stream_idle: 1s}")
    for said in (b"", answer(), b"\0", b"HTTP/1.1 200 OK\r\n\r\nx", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"):
        for leaves_first in (True, False):
            client, peer = asked(gate, request(body=b"{}"))
            if said:
                peer.send(said)
            (client if leaves_first else peer).reset()
            gate.advance(2)
            client.reset()
    gate.advance(200)
    assert gate.gateway.census.open == 0
    assert gate.gateway.servers["x"].relays == set()
    assert gate.gateway.door.connections == set()
    assert repr(gate.gateway.servers["x"]) == "<Server x: 0 open, [<Replica 127.0.0.1:3010: 0 open, 0 idle>]>"
    assert timers(gate) == []


# --- what it tells ------------------------------------------------------------------------------------------------


def test_a_gateway_that_is_built_listens_to_nothing() -> None:
    """And asks nobody: building it has no effect outside."""
    gate = GatewayUnderTest()
    assert gate.reactor.tcpServers == []
    assert gate.reactor.tcpClients == []
    assert timers(gate) == []


@pytest.mark.parametrize(
    ("bound", "draining", "ready"), [(False, False, False), (True, False, True), (True, True, False)]
)
def test_readiness(bound: bool, draining: bool, ready: bool) -> None:
    """Bound and not leaving."""
    gate = GatewayUnderTest()
    gate.gateway.bound = bound
    if draining:
        gate.gateway.drain()
    assert (b" 200 " in gate.ask(request("GET", "/readyz"), admin=True).split(b"\r\n")[0]) is ready


def test_failures_of_our_own_are_told_and_do_not_stop_the_gateway() -> None:
    """One broken exchange is one 500."""
    gate = GatewayUnderTest()
    whole = gate.gateway.pipeline.snapshot
    gate.gateway.pipeline.snapshot = replace(whole, routes=cast(Any, None))
    assert gate.ask(request("GET")).startswith(b"HTTP/1.1 500 ")
    assert len(gate.failures) == 1
    assert "AttributeError" in gate.failures[0]
    gate.gateway.pipeline.snapshot = whole
    asked(gate, request("GET"))
    assert len(gate.peers) == 1


def test_where_nobody_else_wants_them_failures_go_to_the_log(failures: list[str]) -> None:
    """With what was under way, and the traceback."""
    gate = GatewayUnderTest()
    gate.gateway = Gateway(gate.load(), replace(gate.gateway.lent, on_failure=None))
    gate.gateway.pipeline.snapshot = replace(gate.gateway.pipeline.snapshot, routes=cast(Any, None))
    gate.ask(request("GET"))
    assert len(failures) == 1
    assert "/mcp/x/mcp" in failures[0]
    assert "AttributeError" in failures[0]


def test_without_an_access_log_nothing_is_recorded() -> None:
    """`logging: {access: off}`."""
    gate = GatewayUnderTest()
    lent = gate.gateway.lent
    gate.gateway = Gateway(gate.load(), replace(lent, access_log=None))
    asked(gate, request("GET"))[1].send(answer())
    assert gate.records == []


# --- leaving ------------------------------------------------------------------------------------------------------


class Listening:
    """A port that can be closed."""

    closed = False

    def stopListening(self) -> None:
        self.closed = True


def test_drain_closes_the_doors_first() -> None:
    """The kernel refuses new clients while the old ones are served."""
    gate = GatewayUnderTest()
    port = Listening()
    gate.gateway.census.ports.append(cast(Any, port))
    asked(gate, request("GET"))
    done: list[None] = []
    gate.gateway.drain().addCallback(done.append)
    gate.advance(0.25)
    assert port.closed
    assert done == []


def test_cut_all_ends_everything_at_once() -> None:
    """For the second signal of an impatient operator."""
    gate = GatewayUnderTest()
    idle = gate.connect()
    waiting, peer = asked(gate, request("GET"))
    gate.gateway.cut_all()
    gate.settle()
    assert idle.closed == "fin"
    assert waiting.received.startswith(b"HTTP/1.1 503 ")
    assert peer.closed == "reset"


def test_drain_timeout_zero_cuts_at_once() -> None:
    """Whoever asks for no patience gets none."""
    gate = gateway(top="drain: {timeout: 0s}")
    client, _ = asked(gate, request("GET"))
    done: list[None] = []
    gate.gateway.drain().addCallback(done.append)
    gate.advance(0.5)
    assert done == [None]
    assert client.received.startswith(b"HTTP/1.1 503 ")
