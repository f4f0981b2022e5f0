"""A caller with nothing between it and the bytes: for what an SDK would hide, or never do."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 20.0
SESSION = "Mcp-Session-Id"
STATELESS_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "interop", "version": "1.0.0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its headers (lower case), and the JSON-RPC messages in it, in a stream or not."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The JSON-RPC messages."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            lines = self.body.decode().splitlines()
            return [json.loads(line[5:]) for line in lines if line.startswith("data:") and line[5:].strip()]
        return [json.loads(self.body)] if self.body else []

    @property
    def error(self) -> dict[str, Any]:
        """The error in its only message; empty if there is none."""
        found = self.messages[0].get("error", {}) if self.messages else {}
        return dict(found)


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Somebody who sends single requests, each on a connection of its own.

    :param headers: of every request; who this is.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, method: str, body: object = None, headers: Mapping[str, str] = {}, target: str = "") -> Reply:
        """Send one request and read its whole answer."""
        with self.opened(method, body, headers, target) as reply:
            told = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, told, reply.read())

    @contextlib.contextmanager
    def opened(
        self, method: str, body: object = None, headers: Mapping[str, str] = {}, target: str = ""
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request; its answer is still to be read, and is cut at the end."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
        payload = None if body is None else json.dumps(body).encode()
        media_type = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(
                method, target or parts.path, payload, {**ACCEPT, **media_type, **self.headers, **headers}
            )
            yield connection.getresponse()
        finally:
            connection.close()

    def call(self, method: str, params: Mapping[str, Any] = {}, headers: Mapping[str, str] = {}) -> Reply:
        """Send one JSON-RPC request of a session."""
        return self.send("POST", request(method, params), headers)

    def call_stateless(self, method: str, params: Mapping[str, Any] = {}) -> Reply:
        """Send one JSON-RPC request of 2026-07-28, with the headers that mirror it."""
        told = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
        if "name" in params:
            told["Mcp-Name"] = params["name"]
        return self.send("POST", request(method, {**params, "_meta": STATELESS_META}), told)

    def initialize(self) -> dict[str, str]:
        """Open a session and return the header that continues it."""
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "interop", "version": "1"}}
        reply = self.call("initialize", hello)
        assert reply.status == 200, reply
        session = {SESSION: reply.headers[SESSION.lower()]}
        assert self.send("POST", {"jsonrpc": "2.0", "method": "notifications/initialized"}, session).status == 202
        return session


def request(method: str, params: Mapping[str, Any] = {}) -> dict[str, Any]:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params)}


def announced(stream: http.client.HTTPResponse) -> str:
    """Read a legacy stream up to its `endpoint` event and return where to post."""
    while line := stream.readline():
        if line.startswith(b"data:"):
            return line[5:].strip().decode()
    raise AssertionError("the stream ended before its endpoint event")
