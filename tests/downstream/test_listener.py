"""What the connections of one listener share: who comes through this door, and how many."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.ends import asked, gateway, request_at
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from mcpgate.downstream.census import Census
from mcpgate.downstream.listener import Door
from mcpgate.exchange import Peer
from mcpgate.metrics.tallies import Tallies
from mcpgate.testing import GatewayUnderTest, request


class Plain:
    """A transport with an address; with ``TLS`` set it is like one of Twisted's after `startTLS`."""

    def __init__(self, address: IAddress, encrypted: bool = False) -> None:
        self._address = address
        self.TLS = encrypted

    def getPeer(self) -> IAddress:
        return self._address


def _door(top: str = "") -> Door:
    return gateway(top=top).gateway.door


@pytest.mark.parametrize(
    ("address", "trusted_proxies", "peer"),
    [
        (IPv4Address("TCP", "192.0.2.7", 1), "", Peer(b"192.0.2.7", b"http", False)),
        (IPv4Address("TCP", "192.0.2.7", 1), "192.0.2.0/24", Peer(b"192.0.2.7", b"http", True)),
        (IPv4Address("TCP", "192.0.3.7", 1), "192.0.2.0/24", Peer(b"192.0.3.7", b"http", False)),
        (IPv6Address("TCP", "2001:db8::7", 1), "2001:db8::/32", Peer(b"2001:db8::7", b"http", True)),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 1), "192.0.2.0/24", Peer(b"::ffff:192.0.2.7", b"http", True)),
        (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::/10", Peer(b"fe80::1%eth0", b"http", True)),
        (UNIXAddress(b"/run/x.sock"), "127.0.0.1/32", Peer(b"unix", b"http", False)),
    ],
)
def test_who_comes_in(address: IAddress, trusted_proxies: str, peer: Peer) -> None:
    """The socket's address, and whether it is a proxy whose word counts."""
    door = _door(f"trusted_proxies: [{trusted_proxies}]")
    assert door.peer_of(cast(Any, Plain(address))) == peer


def test_tls_is_noticed() -> None:
    """The server is told which scheme the client used."""
    assert _door().peer_of(cast(Any, Plain(IPv4Address("TCP", "192.0.2.7", 1), encrypted=True))).scheme == b"https"


def test_every_connection_is_counted_once_each_way() -> None:
    """Also one that is lost twice."""
    gate = GatewayUnderTest()
    door = gate.gateway.door
    census = Census(100, Tallies())
    counting = Door(door.pipeline, door.http, (), gate.gateway.deadlines, gate.reactor.seconds, census=census)
    gate.gateway.door = counting
    clients = [gate.connect(), gate.connect()]
    assert (census.open, len(counting.connections)) == (2, 2)
    for client in clients:
        client.close()
        client.reset()
    counting.closed(cast(Any, clients[0].transport.protocol), Peer(b"127.0.0.1", b"http", False))
    assert (census.open, len(counting.connections)) == (0, 0)


def test_a_client_behind_a_unix_socket_is_told_as_such() -> None:
    """There is no address to forward; the name is fixed, so nothing can be forged."""
    gate = GatewayUnderTest()
    gate.gateway.door.peer_of = lambda transport: Peer(b"unix", b"http", False)  # type: ignore[method-assign]
    _, peer = asked(gate, request("GET"))
    assert request_at(peer)["x-forwarded-for"] == b"unix"
