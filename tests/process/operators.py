"""An operator of a gateway in a process: requests to its admin listener, as any HTTP client sends them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.process.peers import PATIENCE_S
from tests.process.stage import Gate

#: Where what registers may be in these tests.
OPEN = "registry: {allow_networks: [127.0.0.0/8]}"


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: its status, its header fields in lower case, and what its body says."""

    status: int
    fields: Mapping[str, str]
    body: Any

    @property
    def index(self) -> int:
        """The number of the last change."""
        return int(self.fields["x-mcpgate-index"])


@dataclass(slots=True)
class Operator:
    """
    Sends requests with a token, on one connection that is kept open; for one thread.

    :param token: by default the one that the gateway has made.
    """

    gate: Gate
    token: str = ""
    _line: http.client.HTTPConnection | None = field(default=None, init=False)

    def ask(self, method: str, target: str, body: object = None, **fields: str) -> Told:
        """Send one request and read its answer."""
        token = self.token or (self.gate.folder / "var" / "admin.token").read_text().strip()
        payload = None if body is None else json.dumps(body)
        if self._line is None:
            self._line = http.client.HTTPConnection("127.0.0.1", self.gate.admin_port, timeout=PATIENCE_S)
        own = {name.replace("_", "-"): value for name, value in fields.items()}
        self._line.request(method, target, payload, {"Authorization": f"Bearer {token}", **own})
        reply = self._line.getresponse()
        content = reply.read()
        told = {name.lower(): value for name, value in reply.getheaders()}
        is_json = "json" in told.get("content-type", "")
        return Told(reply.status, told, json.loads(content) if is_json else content)

    def put(self, server: str, port: int, replica: str = "a", **more: object) -> Told:
        """Register a replica on this machine."""
        return self.ask("PUT", f"/v1/servers/{server}/replicas/{replica}", {"url": f"http://127.0.0.1:{port}", **more})

    def names(self) -> list[str]:
        """The names of all servers."""
        return [server["name"] for server in self.ask("GET", "/v1/servers").body["servers"]]
