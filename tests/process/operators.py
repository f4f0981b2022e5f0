"""An operator of a gateway in a process: requests to its admin listener, as any HTTP client sends them."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Operator:
    """
    Sends requests with a token, each on a connection of its own.

    :param token: by default the one that the gateway has made.
    """

    gate: Gate
    token: str = ""

    def ask(self, method: str, target: str, body: object = None, **fields: str) -> Told:
        """Send one request and read its answer."""
        with self.opened(method, target, body, **fields) as reply:
            content = reply.read()
            told = {name.lower(): value for name, value in reply.getheaders()}
            is_json = "json" in told.get("content-type", "")
            return Told(reply.status, told, json.loads(content) if is_json else content)

    @contextlib.contextmanager
    def opened(
        self, method: str, target: str, body: object = None, **fields: str
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request; its answer is still to be read, and is cut at the end."""
        token = self.token or (self.gate.folder / "var" / "admin.token").read_text().strip()
        payload = None if body is None else json.dumps(body)
        own = {name.replace("_", "-"): value for name, value in fields.items()}
        line = http.client.HTTPConnection("127.0.0.1", self.gate.admin_port, timeout=PATIENCE_S)
        try:
            line.request(method, target, payload, {"Authorization": f"Bearer {token}", **own})
            with line.getresponse() as reply:
                yield reply
        finally:
            line.close()

    def put(self, server: str, port: int, replica: str = "a", **more: object) -> Told:
        """Register a replica on this machine."""
        return self.ask("PUT", f"/v1/servers/{server}/replicas/{replica}", {"url": f"http://127.0.0.1:{port}", **more})

    def names(self) -> list[str]:
        """The names of all servers."""
        return [server["name"] for server in self.ask("GET", "/v1/servers").body["servers"]]
