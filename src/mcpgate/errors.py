"""
Every way a request can fail at the gateway itself.

The class says which HTTP status it becomes, the one low-cardinality ``reason`` that stands in the answer, the access
log and the metric, and whose fault it was. ``message`` is for the client and tells what to do; ``detail`` is for the
log and never leaves the house. Replies are written only by ``downstream/replies.py``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

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
    retry_after_s: ClassVar[int | None] = None

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


class Unauthenticated(GatewayError):
    """No token, or none that is known (RFC 6750 section 3)."""

    status, reason, source = 401, "no_token", "downstream"
    message = "this needs a token: Authorization: Bearer TOKEN"


class Forbidden(GatewayError):
    """A good token without the scope."""

    status, reason, source = 403, "scope", "downstream"
    message = "this token lacks the scope for that"


class ForeignOrigin(GatewayError):
    """A browser page of another origin, or a rebound name (MCP transports, "Security Warning")."""

    status, reason, source = 403, "origin", "downstream"
    message = "this Origin may not use the gateway; add it to http.allowed_origins"


class RouteNotFound(GatewayError):
    """No server has this path."""

    status, reason, source = 404, "no_route", "downstream"
    message = "no MCP server has this path; GET /mcp/discovery lists what there is"


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


class TargetTooLong(GatewayError):
    """A request line that alone is over the bound of the head."""

    status, reason, source, closes = 414, "target_too_long", "downstream", True
    message = "the request target is too long"


class WrongMediaType(GatewayError):
    """A browser's cross-site form post, which needs no preflight, looks like this."""

    status, reason, source = 415, "media_type", "downstream"
    message = "a browser must send MCP messages as application/json"


class ForeignHost(GatewayError):
    """A Host that is not ours: a rebound DNS name, or a wrong proxy in front."""

    status, reason, source = 421, "host", "downstream"
    message = "this gateway does not answer to this Host; add it to http.allowed_hosts or set public_url"


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
