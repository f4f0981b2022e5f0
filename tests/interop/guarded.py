"""A stage whose gateway lets in only some: tokens, an authorization server, limits, and servers that tell what they saw."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.interop.processes import Command
from tests.interop.stage import Stage
from tests.interop.upstreams import HERE, Upstream, node_env, python_sdk
from tests.interop.visits import Credentials

#: Who has a token of the gateway; each of the last four spends a limit of its own.
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
ENDPOINTS = {"http": "/mcp", "sse": "/sse"}
#: What stands behind each server of the gateway.
BEHIND = {
    "ward": ("witness",),
    "twins": ("witness", "witness-b"),
    "steps": ("witness",),
    "paced": ("witness",),
    "owner": ("owner",),
}
#: Calls at once on the server `paced`; there is one more a minute, so no test sees one come back.
PACED_BURST = 3


def bearer(name: str) -> dict[str, str]:
    """The header of somebody with a token of the gateway, or of somebody who made one up."""
    return {"Authorization": f"Bearer {token(name)}"}


def token(name: str) -> str:
    """The token of somebody: the same in every run, and of no use elsewhere."""
    return f"interop-{name}-{hashlib.sha256(name.encode()).hexdigest()}"


def authorization(home: Path, port: int) -> Command:
    """The authorization server."""
    return Command(["node", str(HERE / "servers/authorization.mjs"), str(port)], home / "oauth", node_env(home))


class GuardedStage(Stage):
    """As `Stage`; the servers of its gateway are those in `BEHIND`."""

    def __init__(self, home: Path, folder: Path) -> None:
        witness = Upstream(python_sdk("v2", "servers/witness_v2.py", "{port}"), ENDPOINTS)
        super().__init__(
            home,
            folder,
            {
                "authorization": Upstream(authorization, {"http": ""}),
                "witness": witness,
                "witness-b": witness,
                "owner": Upstream(self._owner, ENDPOINTS),
            },
        )

    @property
    def issuer(self) -> str:
        """The authorization server's name for itself, once it runs."""
        return self.direct("authorization", "http")

    def credentials(self, client: str) -> Credentials:
        """What a client shows there."""
        return Credentials(client, "sesame", self.issuer)

    def public(self, name: str, transport: str) -> str:
        """Return the public URL of a server, starting what is needed."""
        for upstream in ("authorization", *BEHIND[name]):
            self.direct(upstream, "http")
        return self.at_gateway(name, transport, ENDPOINTS[transport])

    def seen(self, upstream: str, visit: str) -> list[dict[str, Any]]:
        """Return the requests that reached an upstream with this value of ``X-Visit``."""
        found = self.fetched(upstream, "/seen")
        return [request for request in found if request["headers"].get("x-visit") == visit]

    def grants(self, client: str) -> list[dict[str, Any]]:
        """Return the tokens that the authorization server gave a client, oldest first."""
        return [grant for grant in self.fetched("authorization", "/grants") if grant["client"] == client]

    def fetched(self, name: str, path: str) -> Any:
        """Return the JSON that one of the processes serves at a path, or that the gateway does."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[name], timeout=20)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _owner(self, home: Path, port: int) -> Command:
        """A server that does its own OAuth, and knows under which address others reach it."""
        public = f"http://127.0.0.1:{self._ports['gateway']}/mcp/owner/mcp"
        options = ("--issuer", self.issuer, "--audience", public)
        return python_sdk("v2", "servers/witness_v2.py", "{port}", *options)(home, port)

    def settings(self) -> dict[str, Any]:
        """Return what the configuration says beside the listeners."""
        more: Mapping[str, dict[str, Any]] = {
            "ward": {"scopes": ["use"], "tools": {"deny": ["forbidden"]}},
            "twins": {},
            "steps": {"scopes": ["use"], "tool_scopes": {"count": ["slow"]}},
            "paced": {},
            "owner": {"auth": "upstream"},
        }
        endpoints = {"streamable-http": "/mcp", "sse": "/sse"}
        return {
            "auth": {"tokens": [self._token(name) for name in NAMES], "jwt": [self._issuer()]},
            "limits": [self._limit()],
            "servers": [
                {
                    "name": name,
                    "upstreams": [self.replica(each) for each in BEHIND[name]],
                    "endpoints": endpoints,
                    **rest,
                }
                for name, rest in more.items()
            ],
        }

    def _token(self, name: str) -> dict[str, Any]:
        digest = hashlib.sha256(token(name).encode()).hexdigest()
        return {"id": name, "sha256": digest, "servers": ["*"], "scopes": ["*"]}

    def _issuer(self) -> dict[str, Any]:
        gateway = f"http://127.0.0.1:{self._ports['gateway']}"
        return {
            "id": "mock",
            "issuer": self.issuer,
            "audience": [f"{gateway}/mcp/{name}" for name in BEHIND],
            "jwks_url": f"{self.issuer}/jwks",
            "servers_claim": "servers",
        }

    def _limit(self) -> dict[str, Any]:
        return {
            "name": "paced",
            "key": ["principal"],
            "match": {"servers": ["paced"]},
            "rate": "1/m",
            "burst": PACED_BURST,
        }
