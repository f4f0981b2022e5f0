"""
Where the gateway may connect on somebody else's word: nowhere, but for the networks that the operator has named.

A registrar, a list or a name server must not turn the gateway into a hand inside its own network (server-side request
forgery). So the rule is asked about the address that is dialled, at every connect; and an IPv6 address that carries an
IPv4 address is only as good as that one, since somebody on the way will unwrap it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAX_PORT = 65535


class _Range(NamedTuple):
    """A network as numbers: to look through 20 of them takes 2 us, not 20."""

    version: int
    first: int
    last: int
    what: str


def _ranges(*rows: tuple[str, str]) -> tuple[_Range, ...]:
    networks = [(ipaddress.ip_network(written), what) for written, what in rows]
    return tuple(_Range(each.version, int(each[0]), int(each[-1]), what) for each, what in networks)


_METADATA = "a metadata service of a cloud"

#: Never, whatever the operator has named; the first that holds is told. Metadata services are link-local but for these.
_NEVER: Final = _ranges(
    ("169.254.0.0/16", "link-local"),  # RFC 3927; metadata of most clouds
    ("0.0.0.0/8", "of this network"),  # RFC 1122 section 3.2.1.3; Linux takes 0.0.0.0 for itself
    ("224.0.0.0/4", "a multicast group"),
    ("255.255.255.255/32", "the broadcast address"),
    ("240.0.0.0/4", "reserved"),  # RFC 1112 section 4
    ("100.100.100.200/32", _METADATA),  # Alibaba
    ("168.63.129.16/32", _METADATA),  # Azure
    ("192.0.0.192/32", _METADATA),  # Oracle, classic
    ("::/128", "unspecified"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),  # RFC 3879
    ("ff00::/8", "a multicast group"),
    ("fd00:ec2::/32", _METADATA),  # AWS: metadata, names, time, credentials of pods
    ("fd20:ce::254/128", _METADATA),  # Google
    ("fd00:c1::a9fe:a9fe/128", _METADATA),  # Oracle
    ("fd00:42::42/128", _METADATA),  # Scaleway
    ("fd00:a9fe:a9fe::1/128", _METADATA),  # Linode
)

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")  # RFC 3056
_TEREDO = ipaddress.IPv6Network("2001::/32")  # RFC 4380 section 4
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")  # RFC 5214 section 6.1
#: What an IPv6 address can be that is none of the above; all the rest is reserved (RFC 4291 section 2.4). That takes
#: IPv4-compatible ones (::/96) and translated ones (::ffff:0:0:0/96) along.
_USABLE: Final = _ranges(
    ("2000::/3", "global"),
    ("fc00::/7", "unique local"),
    ("::1/128", "loopback"),
    (str(_NAT64), "of a translator"),
    (str(_LOCAL_NAT64), "of a local translator"),
)


@dataclass(frozen=True, slots=True)
class Egress:
    """
    The rule for everything that is not from the local configuration.

    :ivar networks: to which it may point; none: nowhere.
    :ivar ports: to which it may point; none: to all.
    :ivar own: ports at which the gateway itself listens. On this machine nobody else's word leads there: what the
        admin listener tells a neighbour is not for clients.
    """

    networks: Sequence[Network] = ()
    ports: Collection[int] = ()
    own: frozenset[tuple[str, int]] = frozenset()

    def objection(self, address: str, port: int) -> str:
        """
        Why an address may not be dialled; empty if it may.

        The text reads on after "this address is" and names neither the address nor what it stands for, since whoever
        gets to see it may know only a name.

        :param address: a canonical literal; what a system might read as an address in another way (``127.1``,
            ``0x7f000001``, a zone) is refused.
        """
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            found = None
        if found is None or "%" in address:
            return "not an IP address in its usual form"
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        return self._objection_to_port(port) or self._objection(mapped or found) or self._own_objection(found, port)

    def _own_objection(self, address: Address, port: int) -> str:
        address = (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address
        is_here = any(
            port == own_port and (address.is_loopback or host == str(address))
            for host, own_port in self.own
        )
        return "one at which the gateway itself listens" if is_here else ""

    def objection_to_host(self, host: str, port: int) -> str:
        """
        The same before anything is looked up: for an IP literal what there is to say, for a name only its port.

        :param host: as `mcpgate.values.addresses` gives it, which takes nothing else for a name that is a number to
            somebody.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return self._objection_to_port(port)
        return self.objection(host, port)

    def _objection_to_port(self, port: int) -> str:
        if 0 < port <= _MAX_PORT and (not self.ports or port in self.ports):
            return ""
        return f"at port {port}, which registry.allow_ports does not name"

    def _objection(self, address: Address) -> str:
        own = self._objection_to_one(address)
        if own or isinstance(address, ipaddress.IPv4Address):
            return own
        inner = next(filter(None, map(self._objection_to_one, _carried(address))), "")
        return inner and f"one that stands for an IPv4 address, and that is {inner}"

    def _objection_to_one(self, address: Address) -> str:
        never = _what_of(address, _NEVER)
        if not never and address.version == 6 and not _what_of(address, _USABLE):
            never = "reserved"
        if never:
            return f"{never}, where registrations may never point"
        if any(address in network for network in self.networks):
            return ""
        return "in none of the networks of registry.allow_networks"


def _what_of(address: Address, ranges: Iterable[_Range]) -> str:
    number, version = int(address), address.version
    return next((what for of, first, last, what in ranges if of == version and first <= number <= last), "")


def _carried(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to, or through."""
    packed = address.packed
    if address in _NAT64:
        yield ipaddress.IPv4Address(packed[12:])
    elif address in _LOCAL_NAT64:
        yield from _translated(packed)
    elif address in _SIX_TO_FOUR:
        yield ipaddress.IPv4Address(packed[2:6])
    elif address in _TEREDO:
        yield ipaddress.IPv4Address(packed[4:8])  # the server
        yield ipaddress.IPv4Address(bytes(byte ^ 0xFF for byte in packed[12:]))  # the client, veiled
    if packed[8:12] in _ISATAP:
        yield ipaddress.IPv4Address(packed[12:])


def _translated(packed: bytes) -> Iterator[ipaddress.IPv4Address]:
    """
    All that a translator of a local prefix might take for the address, since the length of its prefix is not known.

    RFC 6052 section 2.2: prefixes of 48, 56, 64 and 96 bits, the ninth byte left out. What would be in 0.0.0.0/8 is
    padding of another reading, and leads nowhere.
    """
    body = packed[6:8] + packed[9:]
    for reading in (body[0:4], body[1:5], body[2:6], packed[12:]):
        if reading[0]:
            yield ipaddress.IPv4Address(reading)
