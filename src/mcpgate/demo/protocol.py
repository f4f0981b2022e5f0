"""
The protocol half of the demo server: a message comes in, its answer goes out.

No sockets, no Twisted, no clock. Two functions decide everything: :func:`answer_in_session` for the versions
with an ``initialize`` handshake, :func:`answer_stateless` for 2026-07-28, where every request brings its own
metadata. Which of them a message belongs to says :func:`is_stateless`. Below them stand the methods, most of
them shared.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from mcpgate.demo.messages import ErrorCode, Notice, Refused, Reply, Request, Stream, is_request_id
from mcpgate.demo.tools import (
    GREET_LISTING,
    README,
    README_LISTING,
    README_URI,
    TOOLS,
    BadArgument,
    Call,
    Headers,
    Json,
    Steps,
    greet,
    told,
)

SESSION_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS_VERSIONS: Final = ("2026-07-28",)

SERVER: Final[Json] = {"name": "mcpgate-demo", "title": "mcpgate demo server", "version": "1.0.0"}
INSTRUCTIONS: Final = "A demo: every tool is harmless. Call whoami to see what a gateway sends."

_META_PREFIX: Final = "io.modelcontextprotocol/"
VERSION_KEY: Final = _META_PREFIX + "protocolVersion"
CAPABILITIES_KEY: Final = _META_PREFIX + "clientCapabilities"
SERVER_KEY: Final = _META_PREFIX + "serverInfo"
SUBSCRIPTION_KEY: Final = _META_PREFIX + "subscriptionId"

#: What the demo offers never changes while it runs; a minute shows caching at work and is soon over.
CACHE_TTL_MS: Final = 60_000


def is_stateless(message: Request | Notice, version_header: str | None) -> bool:
    """
    Tell the era of a POST.

    Only a version that has the handshake leads to the session era; an unknown one is answered by the newest
    rules, which name what is supported. Without a header the body decides (no version at all meant
    2025-03-26).
    """
    meta = message.params.get("_meta")
    if isinstance(meta, dict) and VERSION_KEY in meta:
        return True
    return version_header is not None and version_header not in SESSION_VERSIONS


def negotiate(request: Request) -> str:
    """The version both sides will speak after this ``initialize``: the client's, or else our newest."""
    asked = request.params.get("protocolVersion")
    return asked if asked in SESSION_VERSIONS else SESSION_VERSIONS[-1]


def answer_in_session(request: Request, headers: Headers) -> Reply | Stream:
    """
    Answer a request of the session era or of HTTP+SSE.

    Errors have status 200: here they belong to the request, and 404 would say that the session is lost.
    """
    try:
        outcome = _act(_SESSION_METHODS, request, headers)
    except Refused as refused:
        return Reply(200, refused.reply(request.id).message)
    return _answer(request, outcome, lambda result: result)


def answer_stateless(request: Request, headers: Headers) -> Reply | Stream:
    """Answer a request of the stateless era; errors carry the HTTP status the specification gives them."""
    try:
        _check_metadata(request, headers)
        if request.method == "subscriptions/listen":
            return _listen(request)
        outcome = _act(_STATELESS_METHODS, request, headers)
    except Refused as refused:
        return refused.reply(request.id)
    return _answer(request, outcome, lambda result: _complete(request.method, result))


def _act(methods: Mapping[str, Method], request: Request, headers: Headers) -> Json | Steps:
    method = methods.get(request.method)
    if method is None:
        raise Refused(ErrorCode.METHOD_NOT_FOUND, f"Unknown method: {request.method}", status=404)
    return method(request, headers)


def _answer(request: Request, outcome: Json | Steps, dress: Callable[[Json], Json]) -> Reply | Stream:
    if isinstance(outcome, dict):
        return Reply(200, _response(request, dress(outcome)))
    return Stream(_told_over_time(request, outcome, dress))


def _told_over_time(
    request: Request, steps: Steps, dress: Callable[[Json], Json]
) -> Iterator[tuple[Json | None, float]]:
    result = yield from steps
    yield _response(request, dress(result)), 0.0


def _response(request: Request, result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": request.id, "result": result}


# --- the stateless era: what each request must bring, and what each result says ---

#: The parameter that ``Mcp-Name`` mirrors (streamable HTTP, "Request Metadata").
_NAME_FIELDS: Final = MappingProxyType({"tools/call": "name", "prompts/get": "name", "resources/read": "uri"})

#: Results that may be kept for a while (``server/utilities/caching``).
_CACHEABLE: Final = frozenset(
    {
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
    }
)

_LIST_FLAGS: Final = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")


def _check_metadata(request: Request, headers: Headers) -> None:
    """
    Check what every stateless request says about itself: present, in agreement, and a version we speak.

    A body that disagrees with its headers is refused before the version is looked at: its sender contradicts
    itself, and a gateway may already have acted on the header (streamable HTTP, "Server Validation").
    """
    for key in (VERSION_KEY, CAPABILITIES_KEY):
        if key not in request.meta:
            raise Refused(ErrorCode.INVALID_PARAMS, f"params._meta lacks {key}")
    version = request.meta[VERSION_KEY]
    _check_mirrored(headers, "mcp-protocol-version", version)
    _check_mirrored(headers, "mcp-method", request.method)
    name = request.params.get(_NAME_FIELDS.get(request.method, ""))
    if name is not None:
        _check_mirrored(headers, "mcp-name", name)
    if version not in STATELESS_VERSIONS:
        details = {"supported": list(STATELESS_VERSIONS), "requested": version}
        raise Refused(ErrorCode.UNSUPPORTED_VERSION, "Unsupported protocol version", details=details)


def _check_mirrored(headers: Headers, name: str, expected: object) -> None:
    values = [value for key, value in headers if key == name]
    # Two lines of one name: the first reader takes one, the next the other.
    if len(values) != 1 or plain_header_value(values[0]) != expected:
        raise Refused(ErrorCode.HEADER_MISMATCH, f"header {name} must be there once and agree with the body")


_WRAPPED_VALUE: Final = re.compile(r"=\?base64\?(.*)\?=")


def plain_header_value(value: str) -> str | None:
    """
    Undo the wrapping of values that are not safe as header text (streamable HTTP, "Value Encoding").

    :returns: ``None`` for a value that is wrapped, but badly.
    """
    wrapped = _WRAPPED_VALUE.fullmatch(value)
    if wrapped is None:
        return value
    try:
        return base64.b64decode(wrapped[1], validate=True).decode()
    except ValueError:  # of either step
        return None


def _complete(method: str, result: Json) -> Json:
    """A result with the members that 2026-07-28 wants on every one, and on those that may be cached."""
    complete = {"resultType": "complete", **result, "_meta": {SERVER_KEY: SERVER}}
    if method in _CACHEABLE:
        complete |= {"ttlMs": CACHE_TTL_MS, "cacheScope": "public"}
    return complete


def _listen(request: Request) -> Stream:
    """Acknowledge, then stay open until one side ends it (``basic/patterns/subscriptions``)."""
    wanted = request.params.get("notifications")
    if not isinstance(wanted, dict):
        raise Refused(ErrorCode.INVALID_PARAMS, "params.notifications must be an object")
    honoured = {flag: True for flag in _LIST_FLAGS if wanted.get(flag) is True}
    stamp = {SUBSCRIPTION_KEY: request.id}
    acknowledged: Json = {
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": stamp, "notifications": honoured},
    }
    parting = _complete(request.method, {})
    parting["_meta"] |= stamp
    return Stream(iter([(acknowledged, 0.0)]), _response(request, parting))


# --- the methods ---

Method = Callable[[Request, Headers], Json | Steps]


def _initialize(request: Request, headers: Headers) -> Json:
    return {
        "protocolVersion": negotiate(request),
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
        "serverInfo": SERVER,
        "instructions": INSTRUCTIONS,
    }


def _discover(request: Request, headers: Headers) -> Json:
    changing = {"listChanged": True}  # what subscriptions/listen may be asked for
    return {
        "supportedVersions": list(STATELESS_VERSIONS),
        "capabilities": {"tools": changing, "resources": changing, "prompts": changing},
        "instructions": INSTRUCTIONS,
    }


def _ping(request: Request, headers: Headers) -> Json:
    return {}


def _list_tools(request: Request, headers: Headers) -> Json:
    return {"tools": [tool.listing() for tool in TOOLS.values()]}


def _call_tool(request: Request, headers: Headers) -> Json | Steps:
    name, arguments = request.params.get("name"), request.params.get("arguments", {})
    tool = TOOLS.get(name) if isinstance(name, str) else None
    if tool is None:
        raise Refused(ErrorCode.INVALID_PARAMS, f"Unknown tool: {name}", status=200)
    if not isinstance(arguments, dict):
        raise Refused(ErrorCode.INVALID_PARAMS, "arguments must be an object")
    token = request.meta.get("progressToken")
    try:
        return tool.run(Call(arguments, headers, token if is_request_id(token) else None))
    except BadArgument as fault:
        # A result and no error, so that the model can read it and try again (server/tools, "Error Handling").
        return told(str(fault), is_error=True)


def _list_resources(request: Request, headers: Headers) -> Json:
    return {"resources": [README_LISTING]}


def _list_resource_templates(request: Request, headers: Headers) -> Json:
    return {"resourceTemplates": []}


def _read_resource(request: Request, headers: Headers) -> Json:
    uri = request.params.get("uri")
    if uri != README_URI:
        raise Refused(ErrorCode.INVALID_PARAMS, "Resource not found", status=200, details={"uri": uri})
    return {"contents": [README]}


def _list_prompts(request: Request, headers: Headers) -> Json:
    return {"prompts": [GREET_LISTING]}


def _get_prompt(request: Request, headers: Headers) -> Json:
    arguments = request.params.get("arguments", {})
    name = arguments.get("name") if isinstance(arguments, dict) else None
    if request.params.get("name") != GREET_LISTING["name"] or not isinstance(name, str):
        message = "the only prompt is greet, its only argument the string 'name'"
        raise Refused(ErrorCode.INVALID_PARAMS, message, status=200)
    return greet(name)


_SHARED_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "tools/list": _list_tools,
        "tools/call": _call_tool,
        "resources/list": _list_resources,
        "resources/templates/list": _list_resource_templates,
        "resources/read": _read_resource,
        "prompts/list": _list_prompts,
        "prompts/get": _get_prompt,
    }
)
_SESSION_METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {"initialize": _initialize, "ping": _ping, **_SHARED_METHODS}
)
_STATELESS_METHODS: Final[Mapping[str, Method]] = MappingProxyType({"server/discover": _discover, **_SHARED_METHODS})
