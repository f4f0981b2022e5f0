"""
Who asks, and what they may do: the phases `authenticate` and `authorize`.

Rights to a server follow from the head; rights to single tools need the message, and the pipeline asks for them later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mcpgate import errors
from mcpgate.exchange import Exchange
from mcpgate.forwarding import client_address, public_origin
from mcpgate.policy.access import Auth
from mcpgate.policy.authn import Grant
from mcpgate.snapshot import Access, Decision, Moment, Snapshot
from mcpgate.wire import bearer, metadata, websocket
from mcpgate.wire.bearer import bearer_token

#: How long a connection is believed to be who it was: a key that its issuer has withdrawn counts no longer than that.
_KNOWN_S = 60.0
_REQUIRED = Auth.REQUIRED  # looking a member up in its class takes 0.1 us until Python 3.12


def authenticate(exchange: Exchange, decision: Decision, moment: Moment) -> None:
    """
    Find out who asks, and until when that holds.

    :raises GatewayError: a token is missing, not good, or its address has failed too often.
    :raises KeysAwaited: the keys of its issuer are not here.
    """
    try:
        _identify(exchange, decision, moment)
    except errors.Unauthenticated as error:
        snapshot = decision.snapshot
        _refuse_flood(snapshot.gate.failed(client_address(exchange, snapshot.trusted), moment.now_s))
        error.challenge = _challenge(error, exchange, decision)
        raise


def _identify(exchange: Exchange, decision: Decision, moment: Moment) -> None:
    route, snapshot = decision.route, decision.snapshot
    value = exchange.head.noted.get(b"authorization")
    scope = route.scope if exchange.head.method in (b"GET", b"HEAD") else route.writing or route.scope
    if scope:
        decision.grant = _operator(value, scope, snapshot)
    elif route.terms.auth is _REQUIRED or (route.terms.auth is Auth.WELCOME and value is not None):
        decision.grant = grant = _principal(exchange, value, snapshot, moment)
        exchange.principal = grant.name
        decision.expires_s = exchange.expires_s = moment.steady_s(grant.expires_s)
        decision.until_s = min(decision.expires_s, moment.now_s + _KNOWN_S)


def _token(value: bytes | None) -> bytes:
    if value is None:
        raise errors.Unauthenticated
    token = bearer_token(value)
    if token is None:
        raise errors.InvalidToken(detail="not a bearer token")
    return token


def _operator(value: bytes | None, scope: str, snapshot: Snapshot) -> Grant:
    """Admin addresses: a known token of an operator that holds the scope."""
    grant = snapshot.tokens.find(_token(value))
    if grant is None:
        raise errors.InvalidToken
    if scope not in grant.scopes:
        raise errors.Forbidden
    return grant


def _principal(exchange: Exchange, value: bytes | None, snapshot: Snapshot, moment: Moment) -> Grant:
    token, authenticator = _token(value), snapshot.access.authenticator
    grant = authenticator.recognise(token, moment.wall_s)
    if grant is None:  # before any cryptography: has this address failed too often?
        _refuse_flood(snapshot.gate.wait_s(client_address(exchange, snapshot.trusted), moment.now_s))
        grant = authenticator.identify(token, moment.wall_s, final=exchange.awaited)
    return grant


def _refuse_flood(wait_s: float) -> None:
    if wait_s > 0:
        raise errors.AddressLimited.until(max(1, math.ceil(wait_s)))


def _challenge(
    error: errors.Unauthenticated | errors.InsufficientScope, exchange: Exchange, decision: Decision
) -> bytes:
    """What lets a client find its way to a token (RFC 6750 section 3, RFC 9728 section 5.1)."""
    route, access, about = decision.route, decision.snapshot.access, ""
    origin = own_origin(exchange, access)
    if access.issuers and origin and route.terms.auth is not Auth.NONE:
        path = route.server.settings.path.encode("ascii") if route.server is not None else b""
        about = (origin + metadata.document_path(path)).decode("latin-1")
    scopes: Sequence[str] = sorted(route.terms.scopes)
    if isinstance(error, errors.InsufficientScope):
        scopes = error.scopes
    description = error.text if error.code else ""
    return bearer.challenge(metadata=about, error=error.code, description=description, scopes=scopes)


def own_origin(exchange: Exchange, access: Access) -> bytes:
    """Scheme and host by which clients reach the gateway; empty if an HTTP/1.0 client does not say."""
    if access.public_url is not None:
        return access.public_url
    scheme, host = public_origin(exchange)
    return scheme + b"://" + host if host else b""


def authorize(exchange: Exchange, decision: Decision) -> None:
    """
    May this principal use this server at all?

    :raises GatewayError: not this server, not with these scopes, or not through a tunnel, where nobody can look.
    """
    route = decision.route
    if route.server is None:
        return
    is_tunnel = bool(exchange.head.upgrade) and websocket.is_upgrade(exchange.head)
    refused = route.terms.objection(decision.grant, route.server.name, is_tunnel)
    if refused is not None:
        raise _challenged(refused, exchange, decision)


def _challenged(error: errors.GatewayError, exchange: Exchange, decision: Decision) -> errors.GatewayError:
    """The error, with a challenge if a better token would help."""
    if isinstance(error, errors.InsufficientScope):
        error.challenge = _challenge(error, exchange, decision)
    return error


def authorize_tools(exchange: Exchange, decision: Decision, tools: Sequence[str]) -> None:
    """
    May this principal call these tools of the server?

    :raises ToolDenied: one of them it may not even know of.
    :raises InsufficientScope: it could with another token.
    """
    terms, grant = decision.route.terms, decision.grant
    for tool in tools:
        if not terms.admits_tool(grant, exchange.server, tool):
            raise errors.ToolDenied.named(tool)
    needed = terms.scopes_for(tools)
    if grant is not None and grant.missing_scopes(needed):
        raise _challenged(errors.InsufficientScope.needing(needed), exchange, decision)
