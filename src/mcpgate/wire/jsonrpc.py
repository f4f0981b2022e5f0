"""
The little of JSON-RPC 2.0 that the gateway reads and writes: an id, and error objects.

msgspec decodes only the named members and skips the rest (0.5 us for a call, however large its arguments).
"""

from __future__ import annotations

import msgspec

RequestId = str | int | float | None

#: Our error codes are this minus the HTTP status: outside -32768..-32000, which JSON-RPC and MCP reserve.
_CODE_BASE = -31000


class _Envelope(msgspec.Struct):
    id: RequestId = None


_DECODER = msgspec.json.Decoder(_Envelope)


def request_id(body: bytes) -> RequestId:
    """The ``id`` of a single JSON-RPC message; ``None`` for batches, notifications and anything that is not JSON."""
    try:
        return _DECODER.decode(body).id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def error(status: int, message: str, request: RequestId, data: dict[str, object]) -> bytes:
    """
    An error object as the gateway sends it (JSON-RPC 2.0 section 5.1).

    :param status: HTTP status; the code is -31000 less it.
    :param data: what programs read: reason, server, requestId and so on.
    """
    return _error(request, {"code": _CODE_BASE - status, "message": message, "data": data})


def unknown_tool(message: str, request: RequestId) -> bytes:
    """How a server says that it has no such tool (MCP 2025-11-25 tools, "Error Handling": invalid params)."""
    return _error(request, {"code": -32602, "message": message})


def _error(request: RequestId, told: dict[str, object]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request, "error": told})
