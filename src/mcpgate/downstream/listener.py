"""What the connections of one listener share: the door they came through."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory

from mcpgate.downstream.connection import DownstreamConnection
from mcpgate.exchange import Peer
from mcpgate.net.deadlines import Deadlines
from mcpgate.net.transports import is_encrypted
from mcpgate.pipeline import Pipeline
from mcpgate.settings import HttpSettings
from mcpgate.wire.headers import Network, is_trusted
from mcpgate.wire.http1 import HeadLimits


def peer_at(address: IAddress | None, encrypted: bool, trusted: tuple[Network, ...]) -> Peer:
    """Who is at an address, through either door."""
    host = address.host if isinstance(address, IPv4Address | IPv6Address) else "unix"
    is_proxy = bool(trusted) and is_trusted(host, trusted)
    return Peer(host.encode("ascii", "replace"), b"https" if encrypted else b"http", is_proxy)


class Door(Factory):
    """
    The fast door of one listener.

    :param admin: whether this is the admin listener: local routes only, problem+json for errors.
    :param on_count: told of every change in the number of open connections (+1, -1).
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
        on_count: Callable[[int], None] = lambda change: None,
    ) -> None:
        self.pipeline = pipeline
        self.http = http
        self.head_limits = HeadLimits(http.max_header_bytes, http.max_headers)
        self.deadlines = deadlines
        self.now = now
        self.admin = admin
        self.connections: set[DownstreamConnection] = set()
        self._trusted = trusted_proxies
        self._on_count = on_count

    def buildProtocol(self, addr: IAddress | None) -> DownstreamConnection:
        return DownstreamConnection(self)

    def peer_of(self, transport: ITransport) -> Peer:
        """Who a fresh connection comes from."""
        return peer_at(transport.getPeer(), is_encrypted(transport), self._trusted)

    def opened(self, connection: DownstreamConnection) -> None:
        """Count a connection."""
        self.connections.add(connection)
        self._on_count(1)

    def closed(self, connection: DownstreamConnection) -> None:
        """Forget it."""
        if connection in self.connections:
            self.connections.remove(connection)
            self._on_count(-1)
