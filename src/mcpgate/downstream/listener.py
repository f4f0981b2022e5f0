"""What the connections of one listener share: the door they came through."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, Protocol

from mcpgate.downstream.census import Census
from mcpgate.downstream.connection import DownstreamConnection
from mcpgate.exchange import UNIX_PEER, Peer
from mcpgate.net.deadlines import Deadlines
from mcpgate.net.transports import StreamTransport, is_encrypted, reset
from mcpgate.pipeline import Pipeline
from mcpgate.policy.addressgate import AddressGate
from mcpgate.settings import HttpSettings
from mcpgate.wire.headers import Network, is_trusted
from mcpgate.wire.http1 import HeadLimits

#: As one tuple: the union would be made anew for every connection (1 us).
_INTERNET = (IPv4Address, IPv6Address)


def peer_at(address: IAddress | None, encrypted: bool, trusted: tuple[Network, ...]) -> Peer:
    """Who is at an address, through either door."""
    host = address.host if isinstance(address, _INTERNET) else UNIX_PEER.decode("ascii")
    is_proxy = bool(trusted) and is_trusted(host, trusted)
    return Peer(host.encode("ascii", "replace"), b"https" if encrypted else b"http", is_proxy)


class _TurnedAway(Protocol):
    """A connection of an address that has enough of them: cut at once, which costs neither side anything more."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        reset(cast(StreamTransport, self.transport))


class Door(Factory):
    """
    The fast door of one listener.

    Addresses that open connections too fast, or too many, are turned away before a byte is read; what a trusted proxy
    opens is not counted, since others stand behind it.

    :param admin: whether this is the admin listener: local routes only, problem+json for errors.
    :param census: counts the connections; ``None`` for a few that need not be.
    """

    noisy = False

    def __init__(
        self,
        pipeline: Pipeline,
        http: HttpSettings,
        trusted_proxies: tuple[Network, ...],
        deadlines: Deadlines,
        now: Callable[[], float],
        *,
        admin: bool = False,
        census: Census | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.http = http
        #: Asked for with every request; an attribute of settings takes 0.1 us.
        self.keepalive_s = http.keepalive_timeout
        self.head_limits = HeadLimits(http.max_header_bytes, http.max_headers)
        self.deadlines = deadlines
        self.now = now
        self.admin = admin
        self.connections: set[DownstreamConnection] = set()
        self._trusted = trusted_proxies
        self._census = census

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        peer = peer_at(addr, False, self._trusted)
        if peer.is_trusted or self.gate.admits_connection(peer.address, self.now()):
            return DownstreamConnection(self, None if addr is None else peer)
        if self._census is not None:
            self._census.turn_away()
        return _TurnedAway()

    @property
    def gate(self) -> AddressGate:
        """The present one; a reload may bring another."""
        return self.pipeline.snapshot.gate

    def peer_of(self, transport: ITransport) -> Peer:
        """Who a fresh connection comes from."""
        return peer_at(transport.getPeer(), is_encrypted(transport), self._trusted)

    def opened(self, connection: DownstreamConnection, peer: Peer) -> None:
        """Count a connection."""
        self.connections.add(connection)
        if self._census is not None:
            self._census.enter()
        if not peer.is_trusted:
            self.gate.opened(peer.address)

    def closed(self, connection: DownstreamConnection, peer: Peer) -> None:
        """Forget it."""
        if connection in self.connections:
            self.connections.remove(connection)
            if self._census is not None:
                self._census.leave()
            if not peer.is_trusted:
                self.gate.closed(peer.address)
