"""The request that a replica gets: its head, and what it and the log are told of the client."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from mcpgate.exchange import Exchange
from mcpgate.policy.access import Credentials
from mcpgate.upstream.server import Placement
from mcpgate.wire import headers, websocket
from mcpgate.wire.headers import Network
from mcpgate.wire.http1 import RequestHead

_ENCODING = frozenset({b"accept-encoding"})
_SESSION = frozenset({b"mcp-session-id"})
_TRACE_STATE = frozenset({b"tracestate"})


class Way(NamedTuple):
    """
    Where a request goes, and what is different about it there.

    :ivar target: the replica's own path and query.
    :ivar plain: ask for an uncompressed answer, whose first event can be rewritten.
    :ivar session: the server's own session id in place of the sealed one that came; ``None`` leaves the field alone.
    :ivar bearer: the client's ``Authorization``, only for a server that does its own OAuth.
    """

    placement: Placement
    target: bytes
    credentials: Credentials
    plain: bool = False
    session: bytes | None = None
    bearer: bytes | None = None


def request_stem(exchange: Exchange, way: Way) -> bytes:
    """The request head that a replica gets (RFC 9110 section 7.6), up to the fields that frame the body."""
    head, peer = exchange.head, exchange.peer
    block = head.block
    if way.plain:
        block = headers.without(block, _ENCODING) + b"Accept-Encoding: identity\r\n"
    if way.credentials.names:
        block = way.credentials.lines + headers.without(block, way.credentials.names)
    if way.session is not None:
        block = headers.without(block, _SESSION) + b"Mcp-Session-Id: %b\r\n" % way.session
    trace = exchange.trace
    is_broken, is_ours = trace is None and b"traceparent" in head.noted, trace is not None and not trace.continues
    if is_broken or is_ours:
        block = headers.without(block, _TRACE_STATE)  # it belongs to a trace that nobody can read
    if way.bearer is not None and b"authorization" not in way.credentials.names:
        block += b"Authorization: %b\r\n" % way.bearer
    noted = head.noted
    earlier = noted.get(b"x-forwarded-for", b"") if peer.is_trusted else b""
    return b"%b %b HTTP/1.1\r\n%b%b%b" % (
        head.method,
        way.target,
        way.placement.authority,
        block,
        headers.forwarding(peer.address, *public_origin(exchange), (earlier, noted.get(b"via", b""))),
    )


def framing(head: RequestHead) -> bytes:
    """The fields that end the head, and say how its body ends."""
    if head.upgrade and websocket.is_upgrade(head):
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if head.content_length is not None:
        return b"Content-Length: %d\r\n" % head.content_length
    return b"Transfer-Encoding: chunked\r\n" if head.chunked else b""


def public_origin(exchange: Exchange) -> tuple[bytes, bytes]:
    """Scheme and host that the client used: what a trusted proxy says, else what we saw."""
    noted, peer = exchange.head.noted, exchange.peer
    scheme, host = peer.scheme, noted.get(b"host", b"")
    if peer.is_trusted:
        told = headers.forwarded(noted.get(b"forwarded", b""))
        proto = noted.get(b"x-forwarded-proto", told.get(b"proto", b"")).lower()
        scheme = proto if proto in (b"http", b"https") else scheme
        host = noted.get(b"x-forwarded-host", told.get(b"host", host))
    return scheme, host


def client_address(exchange: Exchange, trusted: Sequence[Network]) -> bytes:
    """
    The address of the client itself: behind trusted proxies the last one in ``X-Forwarded-For`` that is none of them.

    What stands before it was written by the client, who may write what it likes; what is no address ends the walk, and
    the proxy's own address counts.
    """
    peer = exchange.peer
    if not peer.is_trusted:
        return peer.address
    for member in reversed(exchange.head.noted.get(b"x-forwarded-for", b"").split(b",")):
        address = member.strip(b" \t").partition(b"%")[0].decode("latin-1")
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            break
        if not headers.is_trusted(address, trusted):
            return str(known).encode("ascii")
    return peer.address
