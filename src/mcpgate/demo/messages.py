"""
JSON-RPC as the demo server reads and writes it: messages in, answers out.

An answer is a :class:`Reply`, complete at once, or a :class:`Stream`, messages each with its pause, which
somebody else plays. What is wrong with a message is raised as :class:`Refused`, which knows the answer it
becomes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeGuard

from mcpgate.demo.tools import Json

RequestId = int | str


class ErrorCode(IntEnum):
    """JSON-RPC 2.0 section 5.1, and the codes of MCP 2026-07-28 ``basic/index``, "Error Codes"."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    HEADER_MISMATCH = -32020
    UNSUPPORTED_VERSION = -32022


@dataclass(frozen=True, slots=True)
class Request:
    """A message that is owed an answer."""

    id: RequestId
    method: str
    params: Json

    @property
    def meta(self) -> Json:
        """``params._meta``; empty where there is none."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that is owed none: a notification, or the response to a request (we never send one)."""

    method: str
    params: Json


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is complete: one message and the HTTP status it belongs to."""

    status: int
    message: Json


@dataclass(frozen=True, slots=True)
class Stream:
    """
    An answer told over time.

    :param steps: (the message to send or ``None``, the pause behind it in seconds).
    :param parting: for a stream that stays open behind its last step: the response to send when the server
        stops.
    """

    steps: Iterator[tuple[Json | None, float]]
    parting: Json | None = None


class Refused(Exception):
    """
    A message that gets an error for an answer.

    :param status: of the HTTP response, where a refusal shows in it.
    :param details: the error's ``data`` member.
    """

    def __init__(self, code: ErrorCode, message: str, *, status: int = 400, details: Json | None = None) -> None:
        super().__init__(message)
        self.status = status
        self._error: Json = {"code": int(code), "message": message}
        if details is not None:
            self._error["data"] = details

    def reply(self, request_id: RequestId | None = None) -> Reply:
        """:param request_id: ``None`` if the request was not read so far (JSON-RPC 2.0 section 5)."""
        return Reply(self.status, {"jsonrpc": "2.0", "id": request_id, "error": self._error})


def read_message(body: bytes) -> Request | Notice:
    """
    Read one JSON-RPC message.

    :raises Refused: if it is no JSON, no JSON-RPC 2.0, or an array of messages (a batch: MCP had them in
        2025-03-26 only).
    """
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(ErrorCode.PARSE_ERROR, "the body is not JSON")
    if not isinstance(decoded, dict) or decoded.get("jsonrpc") != "2.0":
        raise Refused(ErrorCode.INVALID_REQUEST, "the body must be one JSON-RPC 2.0 message")
    if "method" not in decoded and ("result" in decoded or "error" in decoded):
        return Notice("response", {})
    method, params = decoded.get("method"), decoded.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise Refused(ErrorCode.INVALID_REQUEST, "method must be a string and params an object")
    if "id" not in decoded:
        return Notice(method, params)
    if not is_request_id(decoded["id"]):
        raise Refused(ErrorCode.INVALID_REQUEST, "id must be a string or a whole number")
    return Request(decoded["id"], method, params)


def is_request_id(value: object) -> TypeGuard[RequestId]:
    """``null`` is no request id in MCP (``basic/index``, "Requests"), and ``true`` is none anywhere."""
    return isinstance(value, int | str) and not isinstance(value, bool)
