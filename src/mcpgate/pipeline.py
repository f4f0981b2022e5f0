"""
THE order of phases, and the one place where an error becomes an answer.

    gate -> route -> authorize -> admit -> choose -> send
    400     404      401          400               502
    403              403          413               503
    405                           415               504
    421
    503
    508

The gate comes first because it needs nothing but the head; routing before rights, because rights belong to a server;
admission before the upstream, because a refused request must never reach one. Every edge ends in `record`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mcpgate import errors
from mcpgate.errors import GatewayError
from mcpgate.exchange import Answer, Downstream, Ended, Era, Exchange
from mcpgate.policy.authn import TokenTable
from mcpgate.policy.eras import era_of, opens_legacy_stream
from mcpgate.policy.origin import AllowedOrigins
from mcpgate.policy.routing import RouteTable
from mcpgate.relay import Plan, Relay
from mcpgate.upstream.server import Server
from mcpgate.wire import headers, websocket
from mcpgate.wire.bearer import bearer_token
from mcpgate.wire.http1 import RequestHead
from mcpgate.wire.mapping import has_dot_segment

#: A request that carries our Via this often is going round in circles.
_MAX_PASSES = 3


class LocalTarget(Protocol):
    """The gateway's own addresses: answered by the Klein tree."""

    def answer(self, exchange: Exchange, port: Downstream, outcome: Pipeline) -> None:
        """Answer the exchange, now or later, and have ``outcome`` record it."""


@dataclass(frozen=True, slots=True)
class Route:
    """
    What a path stands for: a server, or (``server`` is ``None``) an address of the gateway itself.

    ``scope`` is what an admin token must hold; empty if none is needed.
    """

    server: Server | None
    max_body_bytes: int
    scope: str = ""


class Record(Protocol):
    """Who is told of every exchange, once: the access log now, metrics later."""

    def __call__(self, exchange: Exchange, request_id: str) -> None: ...


Replies = Callable[[GatewayError, Exchange, str], tuple[Answer, bytes]]


@dataclass(slots=True)
class Snapshot:
    """What a reload swaps in one assignment."""

    routes: RouteTable[Route]
    origins: AllowedOrigins
    tokens: TokenTable


class Decision(NamedTuple):
    """
    What follows from a head under a snapshot; kept on the head, since a connection repeats its head.

    ``plan`` is for the relay, ``None`` for an address of our own; ``stem`` the upstream's request head up to the
    framing.
    """

    snapshot: Snapshot
    route: Route
    plan: Plan | None
    stem: bytes
    era: Era


class Pipeline:
    """
    The phases of one listener's exchanges.

    :param snapshot: routes and allowed origins; replaced as a whole on reload.
    :param local: answers the gateway's own addresses.
    :param refusal: turns an error into an answer (`downstream/replies.py`).
    :param new_id: a fresh request id.
    :param on_failure: told of exceptions that are our own fault, with the request id.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        local: LocalTarget,
        refusal: Replies,
        record: Record,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        on_failure: Callable[[str], None],
    ) -> None:
        self.snapshot = snapshot
        self.draining = False
        self._local = local
        self._refusal = refusal
        self._record = record
        self._now = clock
        self._new_id = new_id
        self._on_failure = on_failure

    def run(self, exchange: Exchange, port: Downstream) -> None:
        """Take one exchange through the phases. Never raises; the answer goes to the port, now or later."""
        try:
            if self.draining:
                raise errors.Draining
            decision = exchange.head.decision
            if not isinstance(decision, Decision) or decision.snapshot is not self.snapshot:
                decision = exchange.head.decision = self._decide(exchange)
            route = decision.route
            if route.server is not None:
                exchange.server = route.server.name
            if route.scope:
                self._authorize(exchange, route.scope)
            self._admit(exchange, route)
            if decision.plan is None:
                self._local.answer(exchange, port, self)
            else:
                self._send(exchange, port, decision.plan, decision)
        except GatewayError as error:
            self.refuse(exchange, port, error)
        except Exception:
            self._fail(exchange, port)

    # --- phases -------------------------------------------------------------------------------------------------

    def _decide(self, exchange: Exchange) -> Decision:
        """Gate and route: what depends on nothing but the head and the snapshot, so that it is worked out once."""
        head = exchange.head
        self._gate(head)
        route = self._route(head.path)
        if route.server is None:
            return Decision(self.snapshot, route, None, b"", Era.OTHER)
        target = route.server.paths.to_upstream(head.target)
        holds = opens_legacy_stream(head)
        stem = request_stem(exchange, route.server, target, plain=holds)
        return Decision(self.snapshot, route, Plan(route.server, target, holds), stem, era_of(head))

    def _gate(self, head: RequestHead) -> None:
        """Is this a request that the gateway takes at all? Host and Origin are checked here, for every transport."""
        if head.method in (b"CONNECT", b"TRACE"):
            raise errors.MethodRefused
        noted, origins = head.noted, self.snapshot.origins
        host = noted.get(b"host")
        if host is not None:
            admitted = origins.admits_host(host)
            if admitted is None:
                raise errors.BadRequest("Host is not a host name with an optional port")
            if not admitted:
                raise errors.ForeignHost
        if b"origin" in noted and not origins.admits_origin(noted[b"origin"]):
            raise errors.ForeignOrigin
        if b"via" in noted and headers.passes_count(noted[b"via"]) >= _MAX_PASSES:
            raise errors.Loop
        if websocket.is_upgrade(head):
            fault = websocket.fault_of(head)
            if fault:
                raise errors.BadHandshake(fault)

    def _route(self, path: bytes) -> Route:
        if has_dot_segment(path):
            raise errors.BadTarget
        route = self.snapshot.routes.find(path)
        if route is None:
            raise errors.RouteNotFound
        return route

    def _authorize(self, exchange: Exchange, scope: str) -> None:
        """Admin routes: a known token that holds the scope. (What a client of a server may do comes here too.)"""
        token = bearer_token(exchange.head.noted.get(b"authorization", b""))
        grant = self.snapshot.tokens.find(token) if token is not None else None
        if grant is None:
            raise errors.Unauthenticated
        if scope not in grant.scopes:
            raise errors.Forbidden

    def _admit(self, exchange: Exchange, route: Route) -> None:
        head = exchange.head
        exchange.max_body_bytes = route.max_body_bytes
        if head.content_length is not None and head.content_length > route.max_body_bytes:
            raise errors.BodyTooLarge
        if b"origin" in head.noted and head.method == b"POST" and head.has_body:
            media_type = head.noted.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if media_type != b"application/json":
                raise errors.WrongMediaType
        if head.upgrade and head.has_body and websocket.is_upgrade(head):
            raise errors.BadHandshake("a WebSocket handshake has no body")

    def _send(self, exchange: Exchange, port: Downstream, plan: Plan, decision: Decision) -> None:
        exchange.era = decision.era
        exchange.bytes_in = len(exchange.body)
        Relay(exchange, port, plan, self, self._now).begin(b"%b%b\r\n" % (decision.stem, _framing(exchange.head)))

    # --- the end of every exchange ------------------------------------------------------------------------------

    def refuse(self, exchange: Exchange, port: Downstream, error: GatewayError) -> None:
        """Answer with an error, and record it. Nothing has been answered yet."""
        request_id = self._new_id()
        answer, body = self._refusal(error, exchange, request_id)
        exchange.error = error
        exchange.status = answer.status
        exchange.bytes_out = len(body)
        self._conclude(exchange, Ended.REFUSED, request_id)
        port.start(answer, body, True)

    def record(self, exchange: Exchange, ended: Ended) -> None:
        """The exchange is over, however it went."""
        self._conclude(exchange, ended, "")

    def _conclude(self, exchange: Exchange, ended: Ended, request_id: str) -> None:
        if exchange.ended is None:
            exchange.ended = ended
            self._record(exchange, request_id)

    def _fail(self, exchange: Exchange, port: Downstream) -> None:
        """An exception that is our own fault: the client gets an id, the log the same id and the traceback."""
        error = GatewayError()
        self._on_failure(f"{exchange!r}")
        self.refuse(exchange, port, error)


def request_stem(exchange: Exchange, server: Server, target: bytes, plain: bool) -> bytes:
    """
    The request head that a replica gets (RFC 9110 section 7.6), up to the fields that frame the body.

    :param plain: ask for an uncompressed answer, whose first event can be rewritten.
    """
    head, peer = exchange.head, exchange.peer
    block = head.block
    if plain:
        block = headers.without(block, server.set_names | {b"accept-encoding"}) + b"Accept-Encoding: identity\r\n"
    elif server.set_names:
        block = headers.without(block, server.set_names)
    noted = head.noted
    earlier = noted.get(b"x-forwarded-for", b"") if peer.is_trusted else b""
    return b"%b %b HTTP/1.1\r\n%b%b%b" % (
        head.method,
        target,
        server.pinned,
        block,
        headers.forwarding(peer.address, *public_origin(exchange), (earlier, noted.get(b"via", b""))),
    )


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


def _framing(head: RequestHead) -> bytes:
    if head.upgrade and websocket.is_upgrade(head):
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    if head.content_length is not None:
        return b"Content-Length: %d\r\n" % head.content_length
    return b"Transfer-Encoding: chunked\r\n" if head.chunked else b""
