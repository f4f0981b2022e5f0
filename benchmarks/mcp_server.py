"""
What an MCP server of one tool answers, in the eras of sessions and without. Pure: requests in, answers out.

Understood are ``initialize``, ``server/discover``, ``ping``, ``tools/list``, ``tools/call`` of ``echo``, any
notification, and DELETE of a session. An unknown session is 404 and a missing one 400, an unknown method -32601, and
header fields of 2026-07-28 that contradict the body are -32020.

Left out: streams that the server opens (GET is 405, which a server may say), answers as event streams, batches, ids
that are still in use, sessions that time out, Host and Origin, and checking arguments against their schema.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

TOOL = "echo"
STATELESS = "2026-07-28"
SESSION_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
META = "io.modelcontextprotocol/"
# JSON-RPC 2.0 section 5.1, and MCP 2026-07-28 basic, "Error Codes".
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH = -32020

Message = dict[str, Any]

_CAPABILITIES: Message = {"tools": {}}
_SERVER = {"name": "bench", "version": "1"}
_ARGUMENTS = {"type": "object", "properties": {"t": {"type": "string"}}, "required": ["t"]}
_TOOLS = [{"name": TOOL, "description": "Say it again.", "inputSchema": _ARGUMENTS}]
_COMPLETE = {"resultType": "complete"}
_CACHED = {**_COMPLETE, "ttlMs": 60_000, "cacheScope": "public"}
_REASONS = {200: b"OK", 202: b"Accepted", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed"}


class Refused(Exception):
    """A request that is answered with a JSON-RPC error of this code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """What one HTTP request is answered with; ``fields`` are further header lines."""

    status: int
    message: Message | None = None
    fields: bytes = b""

    def __bytes__(self) -> bytes:
        body = b"" if self.message is None else packed(self.message)
        kind = b"Content-Type: application/json\r\n" if body else b""
        line = b"HTTP/1.1 %d %b\r\n" % (self.status, _REASONS[self.status])
        return line + kind + self.fields + b"Content-Length: %d\r\n\r\n" % len(body) + body


def packed(message: Message) -> bytes:
    """Return it as JSON without blanks, on one line."""
    return json.dumps(message, separators=(",", ":")).encode()


def is_request(message: Message) -> bool:
    """Tell requests from notifications and from answers to requests of a server."""
    return "id" in message and "method" in message


def answer_to(message: Message, stateless: bool = False) -> Message:
    """Return the JSON-RPC answer to a request, in the form of its era."""
    answer: Message = {"jsonrpc": "2.0", "id": message["id"]}
    try:
        answer["result"] = _result_of(message["method"], message.get("params") or {}, stateless)
    except Refused as refused:
        answer["error"] = {"code": refused.code, "message": str(refused)}
    return answer


def _result_of(method: str, params: Message, stateless: bool) -> Message:
    if method == "tools/call":
        return {**_echo(params), **(_COMPLETE if stateless else {})}
    if method == "tools/list":
        return {"tools": _TOOLS, **(_CACHED if stateless else {})}
    if stateless and method == "server/discover":
        meta = {META + "serverInfo": _SERVER}
        return {"supportedVersions": [STATELESS], "capabilities": _CAPABILITIES, "_meta": meta, **_CACHED}
    if method == "ping" and not stateless:
        return {}
    if method == "initialize" and not stateless:
        asked = params.get("protocolVersion")
        version = asked if asked in SESSION_VERSIONS else SESSION_VERSIONS[0]
        return {"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": _SERVER}
    raise Refused(METHOD_NOT_FOUND, f"Method not found: {method}")


def _echo(params: Message) -> Message:
    if params.get("name") != TOOL:
        raise Refused(INVALID_PARAMS, f"Unknown tool: {params.get('name')}")
    return {"content": [{"type": "text", "text": (params.get("arguments") or {}).get("t", "")}], "isError": False}


def contradiction(fields: dict[bytes, bytes], message: Message) -> str | None:
    """Tell which field of a request's head does not say what its body says (MCP 2026-07-28); None if all do."""
    params = message.get("params") or {}
    meant = {
        b"mcp-protocol-version": (params.get("_meta") or {}).get(META + "protocolVersion"),
        b"mcp-method": message.get("method"),
    }
    if message.get("method") == "tools/call":
        meant[b"mcp-name"] = params.get("name")
    for name, value in meant.items():
        if fields.get(name) != str(value).encode():
            return f"{name.decode()} and the body differ"
    return None


class Server:
    """What the server keeps: who has a session."""

    def __init__(self) -> None:
        self._sessions: set[bytes] = set()
        self._given = 0

    def respond(self, head: bytes, body: bytes) -> Answer:
        """
        Answer one HTTP request.

        :raises ValueError: if that is no head.
        """
        line, *lines = head.split(b"\r\n")
        method, path, _ = line.split(b" ")
        fields = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in lines)}
        if path != b"/mcp":
            return _refusal(404, METHOD_NOT_FOUND, "Nothing is here")
        if method == b"DELETE":
            return self._end_session(fields)
        if method != b"POST":
            return Answer(405, fields=b"Allow: POST, DELETE\r\n")
        try:
            message = json.loads(body)
        except ValueError:
            return _refusal(400, PARSE_ERROR, "Not JSON")
        if not isinstance(message, dict):
            return _refusal(400, INVALID_REQUEST, "Not one message")
        if fields.get(b"mcp-protocol-version") == STATELESS.encode():
            return _without_session(fields, message)
        return self._in_session(fields, message)

    def _in_session(self, fields: dict[bytes, bytes], message: Message) -> Answer:
        if message.get("method") == "initialize" and is_request(message):
            return Answer(200, answer_to(message), b"Mcp-Session-Id: %b\r\n" % self._begin_session())
        session = fields.get(b"mcp-session-id")
        if session is None:
            return _refusal(400, INVALID_REQUEST, "Mcp-Session-Id is missing", message.get("id"))
        if session not in self._sessions:
            return _refusal(404, INVALID_REQUEST, "Session not found", message.get("id"))
        return Answer(200, answer_to(message)) if is_request(message) else Answer(202)

    def _begin_session(self) -> bytes:
        self._given += 1
        session = b"%032x" % self._given
        self._sessions.add(session)
        return session

    def _end_session(self, fields: dict[bytes, bytes]) -> Answer:
        session = fields.get(b"mcp-session-id", b"")
        if session not in self._sessions:
            return _refusal(404, INVALID_REQUEST, "Session not found")
        self._sessions.remove(session)
        return Answer(200)


def _without_session(fields: dict[bytes, bytes], message: Message) -> Answer:
    if fault := contradiction(fields, message):
        return _refusal(400, HEADER_MISMATCH, fault, message.get("id"))
    if not is_request(message):
        return Answer(202)
    answer = answer_to(message, stateless=True)
    is_unknown = "error" in answer and answer["error"]["code"] == METHOD_NOT_FOUND
    return Answer(404 if is_unknown else 200, answer)


def _refusal(status: int, code: int, text: str, to: object = None) -> Answer:
    return Answer(status, {"jsonrpc": "2.0", "id": to, "error": {"code": code, "message": text}})
