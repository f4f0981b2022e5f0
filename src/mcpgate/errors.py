"""
Every way a request can fail at the gateway itself.

The class says which HTTP status it becomes, the one low-cardinality ``reason`` that stands in the answer, the access
log and the metric, and whose fault it was. ``message`` is for the client and tells what to do; ``detail`` is for the
log and never leaves the house. Replies are written only by ``downstream/replies.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, Self

Source = Literal["downstream", "gateway", "upstream"]


class GatewayError(Exception):
    """
    An exchange that the gateway refuses or cannot finish.

    :param message: one sentence for the client; empty takes the class's own.
    :param detail: more for the log; may name addresses, is never sent.
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal"
    source: ClassVar[Source] = "gateway"
    message: ClassVar[str] = "the gateway failed; the log of the gateway has the request id"
    #: The rest of what this client sends cannot be trusted or is not wanted: answer, then close.
    closes: ClassVar[bool] = False
    retry_after_s: int | None = None

    def __init__(self, message: str = "", detail: str = "") -> None:
        self.text = message or self.message
        self.detail = detail
        super().__init__(self.text)


class BadRequest(GatewayError):
    """The bytes are not an HTTP/1.1 request that every reader would understand in the same way."""

    status, reason, source, closes = 400, "bad_request", "downstream", True
    message = "malformed HTTP request"


class BadTarget(GatewayError):
    """The request target is well-formed HTTP, but not one that may steer routing."""

    status, reason, source, closes = 400, "bad_target", "downstream", True
    message = "the path holds a dot segment; send the path it stands for"


class BadHandshake(GatewayError):
    """A WebSocket upgrade that RFC 6455 section 4.2.1 does not allow."""

    status, reason, source, closes = 400, "bad_handshake", "downstream", True
    message = "not a valid WebSocket handshake"


class ToolDenied(GatewayError):
    """A tool that this principal may not call: answered as the protocol answers an unknown one, never forwarded."""

    status, reason, source = 200, "tool_denied", "downstream"
    message = "Unknown tool"
    tool: str = ""

    @classmethod
    def named(cls, tool: str) -> Self:
        """The error that names the tool."""
        error = cls(f"Unknown tool: {tool}")
        error.tool = tool
        return error


class AmbiguousBody(GatewayError):
    """A body on which a right depends and that two readers could read differently."""

    status, reason, source = 400, "ambiguous_body", "downstream"
    message = "the message cannot be read in one way only, and what may be done depends on it"


class HeaderMismatch(GatewayError):
    """``Mcp-Method`` or ``Mcp-Name`` say something else than the body (MCP 2026-07-28, "Request Metadata")."""

    status, reason, source = 400, "header_mismatch", "downstream"
    message = "Mcp-Method or Mcp-Name do not agree with the body"


class Unauthenticated(GatewayError):
    """
    No token where one is needed (RFC 6750 section 3).

    :ivar code: what RFC 6750 section 3.1 calls it; ``challenge`` is the whole value of ``WWW-Authenticate``, where
        more is known than that.
    """

    status, reason, source = 401, "no_token", "downstream"
    message = "this needs a token: Authorization: Bearer TOKEN"
    code: ClassVar[str] = ""
    challenge: bytes = b""


class InvalidToken(Unauthenticated):
    """A token that is malformed, unknown, or meant for somebody else; the detail says which, the client is not told."""

    reason, code = "invalid_token", "invalid_token"
    message = "this token is not valid here"


class ExpiredToken(InvalidToken):
    """A token that was good once."""

    reason = "expired_token"
    message = "this token has expired"


class Forbidden(GatewayError):
    """A good token of an operator without the scope."""

    status, reason, source = 403, "scope", "downstream"
    message = "this token lacks the scope for that"


class ServerForbidden(GatewayError):
    """A good token, but not for this server."""

    status, reason, source = 403, "server_not_granted", "downstream"
    message = "this token gives no access to this server"


class InsufficientScope(GatewayError):
    """
    A good token that lacks scopes (RFC 6750 section 3.1); a client can ask for them and come again.

    :ivar scopes: all that this request needs, those it holds among them.
    :ivar code: what RFC 6750 section 3.1 calls it; ``challenge`` is the whole value of ``WWW-Authenticate``, where
        more is known than that.
    """

    status, reason, source = 403, "insufficient_scope", "downstream"
    message = "this token lacks a scope that is needed here"
    code: ClassVar[str] = "insufficient_scope"
    scopes: tuple[str, ...] = ()
    challenge: bytes = b""

    @classmethod
    def needing(cls, scopes: Iterable[str]) -> Self:
        """The error that names the scopes."""
        needed = tuple(sorted(scopes))
        error = cls(f"this needs a token with the scopes: {' '.join(needed)}")
        error.scopes = needed
        return error


class UncheckedTunnel(GatewayError):
    """Rights to single tools cannot be kept inside a WebSocket, whose messages are not read."""

    status, reason, source = 403, "tunnel_rights", "downstream"
    message = "rights to single tools apply here, and cannot be checked on a WebSocket; use Streamable HTTP"


class ForeignOrigin(GatewayError):
    """A browser page of another origin, or a rebound name (MCP transports, "Security Warning")."""

    status, reason, source = 403, "origin", "downstream"
    message = "this Origin may not use the gateway; add it to http.allowed_origins"


class RouteNotFound(GatewayError):
    """No server has this path."""

    status, reason, source = 404, "no_route", "downstream"
    message = "no MCP server has this path; GET /mcp/discovery lists what there is"


class SessionLost(GatewayError):
    """A session id that is not from here, not of this principal, or whose replica is gone; told apart by nobody."""

    status, reason, source = 404, "session_lost", "downstream"
    message = "this session is not known; initialize again"


class MethodRefused(GatewayError):
    """CONNECT and TRACE are never forwarded (RFC 9110 sections 9.3.6 and 9.3.8); own addresses take few methods."""

    status, reason, source = 405, "method", "downstream"
    message = "this method is not possible here"
    allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class RequestTimeout(GatewayError):
    """The client did not finish its head or its body in time."""

    status, reason, source, closes = 408, "request_timeout", "downstream", True
    message = "the request did not arrive in time"


class BodyTooLarge(GatewayError):
    """More body than this server admits."""

    status, reason, source, closes = 413, "body_too_large", "downstream", True
    message = "the request body is larger than this server admits"


class BodyTooLargeToCheck(BodyTooLarge):
    """More body than may be held back to look inside, where a right or a limit asks for it."""

    reason = "body_too_large_to_check"
    message = "what may be done here depends on the body, and this one is larger than http.max_inspect_bytes"


class TargetTooLong(GatewayError):
    """A request line that alone is over the bound of the head."""

    status, reason, source, closes = 414, "target_too_long", "downstream", True
    message = "the request target is too long"


class WrongMediaType(GatewayError):
    """A browser's cross-site form post, which needs no preflight, looks like this."""

    status, reason, source = 415, "media_type", "downstream"
    message = "a browser must send MCP messages as application/json"


class EncodedBody(GatewayError):
    """A compressed body, or one in other letters than UTF-8, where a right or a limit depends on what is inside."""

    status, reason, source = 415, "encoded_body", "downstream"
    message = "what may be done here depends on the body; send it without Content-Encoding, in UTF-8"


class ForeignHost(GatewayError):
    """A Host that is not ours: a rebound DNS name, or a wrong proxy in front."""

    status, reason, source = 421, "host", "downstream"
    message = "this gateway does not answer to this Host; add it to http.allowed_hosts or set public_url"


class RateLimited(GatewayError):
    """
    More than a limit admits.

    :ivar policy: the name of the limit, as configured; empty for the address gate.
    :ivar fields: header lines that tell how the limit stands.
    """

    status, reason, source, retry_after_s = 429, "rate_limited", "downstream", 1
    message = "rate limit: try again later"
    policy: str = ""
    fields: bytes = b""

    @classmethod
    def until(cls, retry_after_s: int, policy: str = "", fields: bytes = b"") -> Self:
        """The error that tells how long to wait, in whole seconds."""
        what = cls.message.partition(":")[0]
        error = cls(f"{what}: try again in {retry_after_s} s", f"limit {policy}" if policy else "")
        error.retry_after_s, error.policy, error.fields = retry_after_s, policy, fields
        return error


class TooManyStreams(RateLimited):
    """All the slots for open streams are taken."""

    reason = "too_many_streams"
    message = "too many open streams: close one, or try again later"


class AddressLimited(RateLimited):
    """Too many requests without a good token from one address."""

    reason = "address_limited"
    message = "too many requests without a valid token from this address: try again later"


class HeadTooLarge(GatewayError):
    """More header bytes or lines than the bound."""

    status, reason, source, closes = 431, "head_too_large", "downstream", True
    message = "the request's header fields are too large or too many"


class ConnectFailed(GatewayError):
    """The upstream refused the connection, or its TLS did."""

    status, reason, source = 502, "connect_failed", "upstream"
    message = "the MCP server cannot be reached"


class BadAnswer(GatewayError):
    """The upstream's bytes are not an HTTP/1.1 answer, or it closed before one."""

    status, reason, source = 502, "bad_answer", "upstream"
    message = "the MCP server sent no valid answer; it may have acted on the request"


class ForeignEndpointAnnounced(GatewayError):
    """A legacy SSE server announced an ``endpoint`` on somebody else's origin."""

    status, reason, source = 502, "foreign_endpoint", "upstream"
    message = "the MCP server announced an endpoint outside itself; see upstream_aliases"


class Overloaded(GatewayError):
    """Too many bodies are held back at the same time to be looked into."""

    status, reason, closes, retry_after_s = 503, "overloaded", True, 1
    message = "too many requests are being looked into at the moment; try again"


class KeysUnavailable(GatewayError):
    """The keys of a token's issuer could not be fetched, so it can be neither trusted nor refused."""

    status, reason, retry_after_s = 503, "keys_unavailable", 5
    message = "the keys of the token's issuer cannot be had at the moment; try again"


class Draining(GatewayError):
    """The gateway is leaving."""

    status, reason, closes, retry_after_s = 503, "draining", True, 1
    message = "the gateway is stopping; connect again"


class ServerRemoved(GatewayError):
    """The server left the configuration while this request waited."""

    status, reason, retry_after_s = 503, "server_removed", 1
    message = "the MCP server was taken out of the gateway"


class UpstreamTimeout(GatewayError):
    """No connection or no head of an answer in time."""

    status, reason, source = 504, "upstream_timeout", "upstream"
    message = "the MCP server did not answer in time; it may have acted on the request"


class ConnectTimeout(GatewayError):
    """The connection was not made in time, so the server has seen nothing."""

    status, reason, source = 504, "connect_timeout", "upstream"
    message = "the MCP server did not accept a connection in time"


class Loop(GatewayError):
    """The request has passed through this gateway before (RFC 5842 section 7.2 names 508)."""

    status, reason = 508, "loop"
    message = "the request passed through this gateway several times; an upstream address points back at it"


class NoReplica(GatewayError):
    """A server whose replicas register themselves, and none is there."""

    status, reason, source, retry_after_s = 503, "no_replica", "gateway", 2
    message = "no replica of this MCP server is registered at the moment; try again"
