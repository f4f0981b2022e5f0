"""The gateway with its registry open, and a client that registers servers at it."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from benchmarks.answers import BrokenAnswer
from benchmarks.harness import START_TIMEOUT_S, Subject
from benchmarks.peers.gateway import Gateway
from benchmarks.peers.ground import PATH, Ground

_TOKEN = "mcpg_an-operator-of-the-benchmark"
#: As users run it, the store on disk and all; nobody is told that a stream is still there while something is measured.
_OPEN = """
listen: tcp:{port}:interface=127.0.0.1
admin:
  listen: tcp:{admin_port}:interface=127.0.0.1
  tokens: [{{id: bench, sha256: "{sha256}", scopes: [read, register], servers: ["*"]}}]
servers:
  - name: bench
    path: {path}
    upstreams: [{{url: "http://127.0.0.1:{upstream_port}"}}]
registry: {{store: "sqlite:registry.db", ttl: 10m, allow_networks: [127.0.0.0/8]}}
discovery: {{keep_alive: 10m, max_subscribers: 100000}}
logging: {{access: "file:access.log"}}
drain: {{timeout: 1s}}
"""


@dataclass(frozen=True)
class OpenGateway(Gateway):
    """The gateway of this checkout, which anybody on this machine may join who has the token."""

    def command(self, ground: Ground) -> list[str]:
        """
        Write gate.yaml.

        :raises PeerMissing: as for `Gateway`.
        """
        command = super().command(ground)
        digest = sha256(_TOKEN.encode()).hexdigest()
        (ground.folder / "gate.yaml").write_text(_OPEN.format(**vars(ground), path=PATH, sha256=digest))
        return command


class Registrar:
    """Registers servers over one connection, each with one replica: the upstream of the benchmark."""

    def __init__(self, subject: Subject) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", subject.admin_port, timeout=START_TIMEOUT_S)
        self._body = json.dumps({"url": f"http://127.0.0.1:{subject.upstream_port}", "ttl": "10m"})

    def register(self, name: str) -> None:
        """
        Register a server that was not there.

        :raises BrokenAnswer: if that is not what the answer says.
        """
        self._ask("PUT", f"/v1/servers/{name}/replicas/r1", self._body, 201)

    def names(self) -> set[str]:
        """Return the names of all servers that run."""
        return {server["name"] for server in json.loads(self._ask("GET", "/v1/servers", None, 200))["servers"]}

    def close(self) -> None:
        """Leave; what is registered stays."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: str | None, expected: int) -> Any:
        headers = {"Authorization": f"Bearer {_TOKEN}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != expected:
            raise BrokenAnswer(f"{method} {path}: expected {expected}, got {answer.status} {text[:300]!r}")
        return text
