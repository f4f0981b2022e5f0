"""
What follows from the head of a request, under one snapshot: gate, route, who asks, where it may go.

All of it is worked out once and kept on the head, since a connection repeats its head; only what depends on the body or
on the moment (rights to single tools, limits, whose turn it is) is left to the pipeline. Nothing here waits or moves
bytes: what must be fetched first is raised as `KeysAwaited`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mcpgate import errors
from mcpgate.admission import authenticate, authorize, own_origin
from mcpgate.exchange import Answer, Exchange
from mcpgate.forwarding import Way, client_address, request_stem
from mcpgate.plan import Plan
from mcpgate.policy.access import Auth
from mcpgate.policy.eras import accepts_event_stream, era_of, opens_legacy_stream
from mcpgate.policy.limits import END_SESSION, OPEN_STREAM
from mcpgate.policy.publication import Publication, Sealing
from mcpgate.policy.sessions import Bond, Seal, is_marked, names_session
from mcpgate.snapshot import Decision, Moment, Pinned, Route, Snapshot
from mcpgate.upstream.server import Placement, Server
from mcpgate.wire import cors, headers, metadata, websocket
from mcpgate.wire.calls import UNREAD, Call, is_utf8
from mcpgate.wire.http1 import RequestHead
from mcpgate.wire.mapping import has_dot_segment

#: A request that is no message, and nothing that limits know by name.
_OTHER = Call("http/other")
_UPSTREAM = Auth.UPSTREAM  # looking a member up in its class takes 0.1 us until Python 3.12
#: A request that carries our Via this often is going round in circles.
_MAX_PASSES = 3


def decide(exchange: Exchange, snapshot: Snapshot, moment: Moment) -> Decision:
    """
    Gate, route, authenticate, authorize.

    :raises GatewayError: the request is refused; what is known of it by then stands in the exchange.
    :raises KeysAwaited: whether the token is good cannot be told before its issuer's keys are here.
    """
    head = exchange.head
    exchange.server = ""  # it may have waited, and its server be gone
    exchange.client = client_address(exchange, snapshot.trusted)
    _gate(head, snapshot)
    route = _route(head.path, snapshot)
    exchange.server = route.server.name if route.server is not None else ""
    decision = Decision(snapshot, route, client=exchange.client)
    origin = head.noted.get(b"origin")
    if route.any_origin or (origin is not None and not exchange.admin):
        decision.cors = cors.lines(b"*" if origin is None or route.any_origin else origin)
        decision.ready = _preflight(head)
        if decision.ready is not None:
            return decision
    authenticate(exchange, decision, moment)
    authorize(exchange, decision)
    if route.server is not None:
        _prepare(exchange, decision, route.server)
    return decision


def _gate(head: RequestHead, snapshot: Snapshot) -> None:
    """Is this a request that the gateway takes at all? Host and Origin are checked here, for every transport."""
    if head.method in (b"CONNECT", b"TRACE"):
        raise errors.MethodRefused
    noted = head.noted
    host = noted.get(b"host")
    if host is not None:
        admitted = snapshot.origins.admits_host(host)
        if admitted is None:
            raise errors.BadRequest("Host is not a host name with an optional port")
        if not admitted:
            raise errors.ForeignHost
    if b"origin" in noted and not snapshot.origins.admits_origin(noted[b"origin"]) and not _is_public(head, snapshot):
        raise errors.ForeignOrigin
    if b"via" in noted and headers.passes_count(noted[b"via"]) >= _MAX_PASSES:
        raise errors.Loop
    if head.upgrade and websocket.is_upgrade(head):
        fault = websocket.fault_of(head)
        if fault:
            raise errors.BadHandshake(fault)


def _is_public(head: RequestHead, snapshot: Snapshot) -> bool:
    """Whether every page may ask for this: a document that only says what everybody may know."""
    route = snapshot.routes.find(head.path)
    return route is not None and route.any_origin and head.method in (b"GET", b"HEAD", b"OPTIONS")


def _route(path: bytes, snapshot: Snapshot) -> Route:
    if has_dot_segment(path):
        raise errors.BadTarget
    route = snapshot.routes.find(path)
    if route is None:
        raise errors.RouteNotFound
    return route


def _preflight(head: RequestHead) -> Answer | None:
    """What a browser asks before it sends what it really wants; it carries no token then (Fetch, CORS protocol)."""
    lines = cors.preflight(head.noted) if head.method == b"OPTIONS" else None
    return None if lines is None else Answer(204, b"No Content", lines, None, False)


# --- where it goes --------------------------------------------------------------------------------------------------


def _prepare(exchange: Exchange, decision: Decision, server: Server) -> None:
    """Everything else that the head alone tells about a request to a server."""
    head, access, noted = exchange.head, decision.snapshot.access, exchange.head.noted
    principal, seal = decision.principal, decision.seal
    decision.era = era_of(head)
    is_tunnel = bool(head.upgrade) and websocket.is_upgrade(head)
    decision.opens_stream = is_tunnel or head.method == b"GET"  # many a server does not ask for `Accept`
    decision.head_calls = (UNREAD if is_tunnel else _request_without_message(head),)
    if access.limiter is not None:
        toll = access.limiter.bind(exchange.client, principal, server.name)
        decision.toll = None if toll.is_free else toll
    decision.decides_on_tools = decision.route.terms.decides_on_tools(decision.grant)
    decision.needs_calls = decision.decides_on_tools or decision.toll is not None
    is_utf8_text = b"content-type" not in noted or is_utf8(noted[b"content-type"])
    decision.is_plain = is_utf8_text and b"content-encoding" not in noted
    if seal is not None and (b"mcp-session-id" in noted or b"?" in head.target):
        decision.pinned = _session(head, principal.encode("utf-8"), server, seal)
    decision.ways = [None] * len(server.placements)


def _request_without_message(head: RequestHead) -> Call:
    if head.method == b"GET" and accepts_event_stream(head):
        return OPEN_STREAM
    return END_SESSION if head.method == b"DELETE" else _OTHER


def _session(head: RequestHead, principal: bytes, server: Server, seal: Seal) -> Pinned | None:
    """
    The session that a request names, opened; ``None`` if it names none.

    :raises SessionLost: it is not from here, not of this principal or server, or its replica is gone.
    """
    name, sealed, target = server.name.encode("ascii"), head.noted.get(b"mcp-session-id"), head.target
    tags, session, query = set(), None, b""
    if b"?" in target:
        if is_marked(target):
            opened = seal.open_target(target, name, principal)
            if opened is None:
                raise errors.SessionLost
            tags.add(opened.tag)
            target = opened.text
            query = b"".join(target.partition(b"?")[1:])
        if names_session(target) and not tags:
            raise errors.SessionLost(detail="a session in the query that is not sealed")
    if sealed is not None:
        opened = seal.open_id(sealed, name, principal)
        if opened is None:
            raise errors.SessionLost
        tags.add(opened.tag)
        session = opened.text
    if not tags:
        return None
    index = server.index_of(tags.pop()) if len(tags) == 1 else None
    if index is None:
        raise errors.SessionLost(detail="its replica is gone")
    return Pinned(index, target, session, query)


def way_of(exchange: Exchange, decision: Decision) -> tuple[Plan, bytes]:
    """Whose turn it is: the plan for the relay, and the upstream's request head up to the framing."""
    server, pinned = decision.route.server, decision.pinned
    assert server is not None
    index = server.next_index() if pinned is None else pinned.placement
    if index is None:
        raise errors.NoReplica
    way = decision.ways[index]
    if way is None:
        way = decision.ways[index] = _way(exchange, decision, server, index)
    return way


def _way(exchange: Exchange, decision: Decision, server: Server, index: int) -> tuple[Plan, bytes]:
    head, pinned, terms = exchange.head, decision.pinned, decision.route.terms
    placement = server.placements[index]
    target = placement.paths.to_upstream(head.target if pinned is None else pinned.target)
    holds, principal, seal = opens_legacy_stream(head), decision.principal, decision.seal
    is_theirs = terms.auth is _UPSTREAM
    publication = Publication(
        None if seal is None else _sealing(seal, server, index, principal),
        _republished(exchange, decision, placement) if is_theirs else None,
        decision.cors,
        b"" if pinned is None else pinned.query,
    )
    plan = Plan(server, placement, target, holds, publication if publication.is_needed() else None)
    way = Way(
        placement,
        target,
        terms.credentials_for(principal),
        plain=holds,
        session=None if pinned is None else pinned.session,
        bearer=head.noted.get(b"authorization") if is_theirs else None,
    )
    return plan, request_stem(exchange, way)


def _sealing(seal: Seal, server: Server, index: int, principal: str) -> Sealing:
    return Sealing(seal, Bond(server.name.encode("ascii"), server.placements[index].tag, principal.encode("utf-8")))


def _republished(exchange: Exchange, decision: Decision, placement: Placement) -> Callable[[bytes], bytes]:
    """Where clients find what a server with its own OAuth tells of itself at an address that it names."""
    published = own_origin(exchange, decision.snapshot.access) + metadata.document_path(exchange.head.path)
    return partial(metadata.published_at, published, placement.paths.own_target)
