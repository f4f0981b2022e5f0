"""
Which header fields travel on, which are ours, and which only steer us.

The tables are the policy; ``http1`` walks a head once and asks them for each field. Names are lower case here and
compared so; what travels on keeps the sender's spelling and bytes.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Role(enum.Enum):
    """What happens to one header field on its way through."""

    PASS = "pass"  # travels on unread
    DROP = "drop"  # ends here
    TAKE = "take"  # ends here, but we read it
    NOTE = "note"  # travels on, and we read it too

    __hash__ = object.__hash__  # an Enum hashes its name, which takes 0.2 us more


_TRAVELS = frozenset({Role.PASS, Role.NOTE})
_READ = frozenset({Role.TAKE, Role.NOTE})


#: Fields that belong to one connection (RFC 9110 section 7.6.1), with the odd ones that are written nowhere else:
#: ``proxy-connection`` is an old Netscape habit, ``keep-alive`` and ``proxy-*`` are from RFC 2616 section 13.5.1.
HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip

#: Toward the upstream. What is not here travels on untouched, unless its name is ours or holds `_`.
_REQUEST_ROLES: dict[bytes, Role] = {
    **dict.fromkeys(HOP_BY_HOP, Role.DROP),
    **dict.fromkeys((b"connection", b"transfer-encoding", b"upgrade"), Role.TAKE),
    b"host": Role.TAKE,
    b"content-length": Role.TAKE,
    b"expect": Role.TAKE,  # answered by us, after the request is admitted
    b"authorization": Role.TAKE,  # the client's bearer is for us; passing it on is forbidden (MCP authorization)
    b"origin": Role.TAKE,  # checked here; a loopback upstream would refuse the public one
    b"via": Role.TAKE,
    b"forwarded": Role.TAKE,
    b"x-forwarded-for": Role.TAKE,
    b"x-forwarded-host": Role.TAKE,
    b"x-forwarded-proto": Role.TAKE,
    b"x-request-id": Role.TAKE,  # a trusted proxy's names the request; whoever else sends one names nothing
    b"traceparent": Role.TAKE,  # written anew: another span may be the parent
    b"x-real-ip": Role.DROP,
    b"x-original-url": Role.DROP,  # IIS and others let these replace the path after the checks
    b"x-rewrite-url": Role.DROP,
    b"http2-settings": Role.DROP,  # belongs to the h2c upgrade, which we do not pass on
    b"accept": Role.NOTE,
    b"accept-encoding": Role.NOTE,
    b"access-control-request-headers": Role.NOTE,
    b"access-control-request-method": Role.NOTE,
    b"content-encoding": Role.NOTE,
    b"content-type": Role.NOTE,
    b"last-event-id": Role.NOTE,
    b"mcp-method": Role.NOTE,
    b"mcp-name": Role.NOTE,
    b"mcp-protocol-version": Role.NOTE,
    b"mcp-session-id": Role.NOTE,
    b"sec-websocket-key": Role.NOTE,
    b"sec-websocket-version": Role.NOTE,
}

#: Toward the client.
_ANSWER_ROLES: dict[bytes, Role] = {
    **dict.fromkeys(HOP_BY_HOP, Role.DROP),
    **dict.fromkeys((b"connection", b"transfer-encoding", b"upgrade"), Role.TAKE),
    b"content-length": Role.TAKE,
    b"location": Role.TAKE,  # written anew with the public prefix
    b"set-cookie": Role.TAKE,  # likewise
    b"x-request-id": Role.DROP,  # ours stands in its place
    b"clear-site-data": Role.DROP,  # would clear the neighbours' state on the shared origin
    b"content-type": Role.NOTE,
    b"content-encoding": Role.NOTE,
    b"mcp-session-id": Role.NOTE,
    b"sec-websocket-accept": Role.NOTE,
    b"www-authenticate": Role.NOTE,
}

#: Whether a field travels on, and its name in lower case if we read it, else empty.
Fate = tuple[bool, bytes]


class Roles:
    """
    What happens to each field in one direction.

    Looked up by the spelling that came, since nearly every sender writes a name in one of two ways: that saves the
    lower-casing and the tests of unknown names for each field (0.15 us of 0.4), and, in ``usual``, the call too (0.2).

    :param is_dropped: decides about names that are not in the table.
    :ivar usual: the `fate` of a field, by the usual spellings of its name.
    """

    #: Fields that travel on and are common enough to be listed.
    _COMMON = (
        b"user-agent", b"cookie", b"cache-control", b"accept-language", b"server", b"date", b"x-accel-buffering",
        b"vary", b"etag", b"pragma", b"tracestate",
    )  # fmt: skip

    def __init__(self, roles: dict[bytes, Role], is_dropped: Callable[[bytes], bool]) -> None:
        self._roles = roles
        self._is_dropped = is_dropped
        self._spelled = {
            spelling: (role, lower)
            for lower, role in {**dict.fromkeys(self._COMMON, Role.PASS), **roles}.items()
            for spelling in (lower, lower.title(), lower.title().replace(b"Mcp-P", b"MCP-P"))
        }
        self.usual: dict[bytes, Fate] = {spelling: self.fate(spelling) for spelling in self._spelled}

    def of(self, name: bytes) -> tuple[Role, bytes]:
        """The role of a field, and its name in lower case."""
        known = self._spelled.get(name)
        if known is not None:
            return known
        lower = name.lower()
        role = self._roles.get(lower)
        if role is None:
            role = Role.DROP if self._is_dropped(lower) else Role.PASS
        return role, lower

    def fate(self, name: bytes) -> Fate:
        """The same in the form that a walk over a head needs."""
        role, lower = self.of(name)
        return role in _TRAVELS, lower if role in _READ else b""


#: A `Connection` field may not take these away: they say who asks, and what (an old way around proxies).
_PROTECTED = frozenset({b"host", b"authorization", b"content-length", b"content-type", b"accept", b"cookie", b"origin"})

#: Combining these would hide a smuggled one; a second one is refused.
SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"origin", b"content-type",
     b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"last-event-id", b"sec-websocket-key",
     b"sec-websocket-version", b"upgrade"}
)  # fmt: skip

VIA = b"1.1 mcpgate"
#: So many names are looked for one by one; a client may list hundreds in `Connection`.
_FEW_NAMES = 8
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


def is_ours(name: bytes) -> bool:
    """Whether a lower-case name lies in our own namespace, which only we may write."""
    return name.startswith((b"mcpgate-", b"x-mcpgate-"))


def may_be_listed(name: bytes) -> bool:
    """Whether a `Connection` field may make this field hop-by-hop (RFC 9110 section 7.6.1, less what protects us)."""
    return name not in _PROTECTED and not name.startswith((b"mcp-", b"x-forwarded-"))


def tokens(value: bytes) -> list[bytes]:
    """The lower-case members of a comma list such as `Connection`."""
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def is_request_id(value: bytes) -> bool:
    """Whether what a trusted proxy calls a request may stand in logs and headers: UUIDs and the like."""
    return _REQUEST_ID.fullmatch(value) is not None


def passes_count(via: bytes) -> int:
    """How often a `Via` value names this gateway."""
    return sum(member.split(b" ", 1)[-1].split(b" ")[0] == b"mcpgate" for member in tokens(via))


def _may_be_ours(name: bytes) -> bool:
    """Whether an upstream could take a client's field for one of ours (CGI-like servers read ``_`` as ``-``)."""
    return b"_" in name or name.startswith(b"x-forwarded-") or is_ours(name)


REQUEST = Roles(_REQUEST_ROLES, _may_be_ours)
ANSWER = Roles(_ANSWER_ROLES, is_ours)


def without(block: bytes, names: Collection[bytes]) -> bytes:
    """Header lines less those with one of the (lower-case) names."""
    if len(names) > _FEW_NAMES:
        lines = block.split(b"\r\n")[:-1]
        return b"".join(line + b"\r\n" for line in lines if line[: line.index(b":")].lower() not in names)
    for name in names:
        block = _without_one(block, name)
    return block


def _without_one(block: bytes, name: bytes) -> bytes:
    """Found rather than walked to: 0.7 us in eight lines, against 3."""
    mark, lower = b"\r\n%b: " % name, (b"\r\n" + block).lower()
    at, begin = lower.find(mark), 0
    if at < 0 or b":" in name:  # which a client may list in `Connection`, and which is no name
        return block
    kept = []
    while at >= 0:
        kept.append(block[begin:at])
        begin = lower.index(b"\r\n", at + 2)
        at = lower.find(mark, begin)
    return b"".join(kept) + block[begin:]


def fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Header lines as names and values."""
    parts = [line.partition(b": ") for line in block.split(b"\r\n")[:-1]]
    return [(name, value) for name, _, value in parts]


def is_trusted(address: str, networks: Iterable[Network]) -> bool:
    """Whether a peer may tell us who the client is. A peer without an IP address (a Unix socket) is not asked here."""
    try:
        peer = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return any(peer in network for network in networks)


def forwarded(value: bytes) -> dict[bytes, bytes]:
    """What the last proxy says in a `Forwarded` field (RFC 7239 section 4): lower-case names, values unquoted."""
    pairs = (pair.partition(b"=") for pair in value.rpartition(b",")[2].split(b";"))
    return {name.strip().lower(): told.strip().strip(b'"') for name, _, told in pairs if told}


def forwarding(peer: bytes, scheme: bytes, host: bytes, earlier: tuple[bytes, bytes]) -> bytes:
    """
    The forwarding fields that we write toward the upstream, as header lines.

    :param earlier: the ``X-Forwarded-For`` and ``Via`` values to append to; empty unless the peer is a trusted proxy
        (``Via`` always, it only ever refuses).
    """
    chain, via = earlier
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n%bVia: %b\r\n" % (
        chain + b", " + peer if chain else peer,
        scheme,
        b"X-Forwarded-Host: %b\r\n" % host if host else b"",
        via + b", " + VIA if via else VIA,
    )
