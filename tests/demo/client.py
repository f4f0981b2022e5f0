# mypy: allow-untyped-calls
"""A client of the demo server in memory: requests as bytes in, responses as bytes out, time turned by hand."""

from __future__ import annotations

import itertools
import json
from typing import Any

import h11
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site

from mcpgate.demo.protocol import CAPABILITIES_KEY, VERSION_KEY
from mcpgate.demo.site import demo_site

Json = dict[str, Any]
STATELESS = "2026-07-28"


def request(method: str, request_id: int | str = 1, /, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def notification(method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


class Exchange:
    """One request on a connection of its own, and what has come back so far."""

    def __init__(self, site: Site, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self._protocol = site.buildProtocol(None)
        self._transport = StringTransport()
        self._protocol.makeConnection(self._transport)
        client = h11.Connection(h11.CLIENT)
        lines = {"Host": "demo", "Content-Length": str(len(body)), **headers}
        head = h11.Request(method=method, target=path, headers=list(lines.items()))
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self._protocol.dataReceived(client.send(event))
        self._client = client
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_complete = False

    def read(self) -> Exchange:
        """Take in what the server has written since the last call."""
        self._client.receive_data(self._transport.value())
        self._transport.clear()
        while (event := self._client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Response):
                self.status = event.status_code
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.is_complete = True
        return self

    @property
    def message(self) -> Json:
        """The one JSON-RPC message of a response that is not a stream."""
        message: Json = json.loads(self.body)
        return message

    @property
    def events(self) -> list[dict[str, str]]:
        """The events of the stream so far, each as its fields; comments have the empty name."""
        blocks = self.body.decode().split("\n\n")
        return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks if block]

    @property
    def messages(self) -> list[Json]:
        return [json.loads(event["data"]) for event in self.events if event.get("event") == "message"]

    def leave(self) -> None:
        """The client closes its connection."""
        self._protocol.connectionLost(Failure(ConnectionDone()))


class Demo:
    """A demo server with a clock and ids ``s1``, ``s2``, …"""

    def __init__(self) -> None:
        self.clock = Clock()
        numbers = itertools.count(1)
        self.site = demo_site(self.clock, lambda: f"s{next(numbers)}")

    def send(self, method: str, path: str, body: object = b"", **headers: str) -> Exchange:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Exchange(self.site, method, path, named, raw).read()

    def initialize(self, version: str = "2025-11-25") -> str:
        """Open a session; returns its id."""
        opened = self.send("POST", "/mcp", request("initialize", protocolVersion=version))
        return opened.headers["mcp-session-id"]

    def in_session(self, session_id: str, body: object) -> Exchange:
        return self.send("POST", "/mcp", body, Mcp_Session_Id=session_id)

    def stateless(self, method: str, params: Json | None = None, **headers: str) -> Exchange:
        """A well-formed request of the stateless era, except for the given headers."""
        params = {"_meta": {VERSION_KEY: STATELESS, CAPABILITIES_KEY: {}}, **(params or {})}
        mirrored = {"MCP_Protocol_Version": STATELESS, "Mcp_Method": method}
        if "name" in params:
            mirrored["Mcp_Name"] = params["name"]
        return self.send("POST", "/mcp", request(method, **params), **{**mirrored, **headers})

    @property
    def is_at_rest(self) -> bool:
        """No keep-alive and no playback is waiting; an idle connection's own timeout does not count."""
        return not [call for call in self.clock.getDelayedCalls() if "TimeoutMixin" not in str(call)]
