"""
What the gateway itself answers when it refuses: JSON-RPC error objects toward MCP clients, problem+json for operators.

SDK clients show an error's text only if it is a JSON-RPC body of exactly ``application/json``, and take others for
"this server is of an older era"; so every refusal on the data listener has that form.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from mcpgate.errors import GatewayError, InsufficientScope, MethodRefused, RateLimited, ToolDenied, Unauthenticated
from mcpgate.exchange import Answer, Exchange
from mcpgate.refusals import RegistrationRefused
from mcpgate.wire import bearer, jsonrpc

#: RFC 9110 section 15; Python knows the new name of 422 from 3.13 on.
_TITLES = {status.value: status.phrase for status in HTTPStatus} | {422: "Unprocessable Content"}


def refusal(error: GatewayError, exchange: Exchange) -> tuple[Answer, bytes]:
    """
    The answer to an exchange that is refused; the exchange has its request id.

    :returns: the head, and its whole body.
    """
    if exchange.admin:
        media_type, body = b"application/problem+json", _problem(error, exchange)
    elif isinstance(error, ToolDenied):
        media_type, body = b"application/json", jsonrpc.unknown_tool(error.text, jsonrpc.request_id(exchange.body))
    else:
        media_type, body = b"application/json", _rpc_error(error, exchange)
    block = b"Content-Type: %b\r\nCache-Control: no-store\r\n%b%b" % (media_type, _fields(error), exchange.cors)
    has_body = exchange.head.method != b"HEAD"
    phrase = _TITLES[error.status].encode("ascii")
    answer = Answer(error.status, phrase, block, len(body), has_body, closes=error.closes)
    return answer, body if has_body else b""


def _fields(error: GatewayError) -> bytes:
    """What programs read of an error without its body; nothing, where an upstream might have spoken."""
    if isinstance(error, ToolDenied):
        return b""
    lines = [b"Mcpgate-Error: %b\r\n" % error.reason.encode("ascii")]
    if error.retry_after_s is not None:
        lines.append(b"Retry-After: %d\r\n" % error.retry_after_s)
    if isinstance(error, RateLimited):
        lines.append(error.fields)
    if isinstance(error, Unauthenticated | InsufficientScope):
        plain = bearer.challenge(error=error.code, description=error.text if error.code else "")
        lines.append(b"WWW-Authenticate: %b\r\n" % (error.challenge or plain))
    if isinstance(error, MethodRefused):
        lines.append(b"Allow: %b\r\n" % error.allow.encode("ascii"))
    return b"".join(lines)


def _rpc_error(error: GatewayError, exchange: Exchange) -> bytes:
    request_id = exchange.request_id.decode("ascii")
    data: dict[str, object] = {"reason": error.reason, "requestId": request_id, "hop": "gateway"}
    if exchange.server:
        data["server"] = exchange.server
    if error.retry_after_s is not None:
        data["retryAfterSeconds"] = error.retry_after_s
    if isinstance(error, RateLimited) and error.policy:
        data["policy"] = error.policy
    if isinstance(error, InsufficientScope):
        data["scopes"] = error.scopes
    return jsonrpc.error(error.status, error.text, jsonrpc.request_id(exchange.body), data)


def _problem(error: GatewayError, exchange: Exchange) -> bytes:
    """RFC 9457; ``about:blank`` as the type says that the status tells it all."""
    told: dict[str, object] = {
        "type": "about:blank",
        "title": _TITLES[error.status],
        "status": error.status,
        "detail": error.text,
        "reason": error.reason,
        "requestId": exchange.request_id.decode("ascii"),
    }
    if isinstance(error, RegistrationRefused):
        told["faults"] = [{"where": where, "problem": problem} for where, problem in error.faults]
    return msgspec.json.encode(told)
