"""What one address may do before anybody knows who it is: connect, stay connected, try tokens."""

from __future__ import annotations

import ipaddress

from mcpgate.exchange import UNIX_PEER
from mcpgate.policy.buckets import NS_PER_S, Allowance, Buckets, MemoryLedger, SteadyTime


def address_key(address: bytes) -> bytes:
    """
    By what the clients behind an address are counted.

    An IPv4 address is one customer of somebody, an IPv6 customer has a /64 at the least (RFC 6177), and could use a new
    address for every request. What is no IP address stands for itself.

    :param address: as text.
    """
    if b":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.decode("ascii"))
    except ValueError:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped).encode("ascii")
    return parsed.packed[:8].hex().encode("ascii") + b"/64"


class AddressGate:
    """
    Counts by address, in bounded memory: what is full or closed is forgotten. A Unix socket stands for many clients,
    and is not counted.

    :param connections: new ones; ``None`` admits all, here and for the next.
    :param unauthenticated: requests without a good token.
    :param open_connections: at the same time; 0 admits any number.
    """

    def __init__(self, connections: Allowance | None, unauthenticated: Allowance | None, open_connections: int) -> None:
        self._connections = _buckets(connections)
        self._unauthenticated = _buckets(unauthenticated)
        self._open_limit = open_connections
        self._open: dict[bytes, int] = {}
        self._time = SteadyTime()

    def revised(self, gate: AddressGate) -> AddressGate:
        """A new gate after a reload. It knows who is connected; what was used of an equal allowance is still used."""
        gate._open, gate._time = self._open, self._time
        gate._connections = _same(self._connections, gate._connections)
        gate._unauthenticated = _same(self._unauthenticated, gate._unauthenticated)
        return gate

    def admits_connection(self, address: bytes, now_s: float) -> bool:
        """Whether one more connection may stay, which is charged; tell `opened` next."""
        if address == UNIX_PEER:
            return True
        key = address_key(address)
        if self._open_limit and self._open.get(key, 0) >= self._open_limit:
            return False
        return self._connections is None or self._connections.take_if_there(key, 1, self._time.read_ns(now_s))

    def opened(self, address: bytes) -> None:
        """A connection stays; `closed` must follow, once."""
        if address == UNIX_PEER:
            return
        key = address_key(address)
        self._open[key] = self._open.get(key, 0) + 1

    def closed(self, address: bytes) -> None:
        """It has gone."""
        key = address_key(address)
        left = self._open.get(key, 0) - 1
        if left > 0:
            self._open[key] = left
        else:
            self._open.pop(key, None)

    def wait_s(self, address: bytes, now_s: float) -> float:
        """How long until one more request without a good token may be tried; 0 if now."""
        if self._unauthenticated is None or address == UNIX_PEER:
            return 0.0
        return self._unauthenticated.wait_ns(address_key(address), 1, self._time.read_ns(now_s)) / NS_PER_S

    def failed(self, address: bytes, now_s: float) -> float:
        """
        A request had no good token.

        Many at a time may have been let through before the first of them failed. They empty the bucket and make no
        debt, so that whoever shares the address waits for a token and not for an hour.

        :returns: 0 if that is counted; else how long until it could be, as `wait_s`.
        """
        wait_s = self.wait_s(address, now_s)
        if not wait_s and self._unauthenticated is not None and address != UNIX_PEER:
            self._unauthenticated.take(address_key(address), 1, self._time.read_ns(now_s))
        return wait_s


def _buckets(allowance: Allowance | None) -> Buckets | None:
    return None if allowance is None else Buckets(allowance, MemoryLedger())


def _same(former: Buckets | None, revised: Buckets | None) -> Buckets | None:
    """The former buckets if they are good for the same, else the new ones."""
    if former and revised and former.allowance == revised.allowance:
        return former
    return revised
