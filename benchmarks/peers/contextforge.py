"""
ContextForge of IBM: its own program with SQLite, one worker, and as little as may be of what it can do besides.

It ends MCP on both sides. Who calls is not asked, and nothing is limited, logged or kept in Redis. Sessions are
switched on, with which it keeps one with the server for each of a client; without, it opens one for each call. The
server is registered over its API at the start, and offered to clients as a virtual server. It knows sessions only.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from benchmarks.harness import HarnessFault
from benchmarks.peers.ground import Endpoint, Ground
from benchmarks.peers.mcp_ground import SURROUNDINGS, UPSTREAM_MODULE, program_in, versions_in

_SERVER_ID = "0" * 31 + "1"
# Registering includes a conversation with the server; and it makes up its database first.
_ANSWER_TIMEOUT_S = 30.0


def _secret(of: str) -> str:
    """Make up what looks like a secret: it does not start with less, and nothing is guarded by it here."""
    return base64.urlsafe_b64encode(sha256(of.encode()).digest()).decode().rstrip("=")


class ContextForge:
    """One worker of uvicorn, as its command line starts it, without access log."""

    name = "contextforge"
    upstream_module = UPSTREAM_MODULE
    # 17 s of CPU time from start to first answer, of which five make up the database.
    start_timeout_s = 120.0

    def command(self, ground: Ground) -> list[str]:
        """
        Return the command; settings are its environment, the database comes to be in its folder.

        :raises PeerMissing: if there is no ContextForge.
        """
        program = program_in("contextforge", "mcpgateway")
        return [program, "--host", "127.0.0.1", "--port", f"{ground.port}", "--workers", "1", "--no-access-log"]

    def environment(self) -> Mapping[str, str]:
        """Return the settings."""
        return {
            "DATABASE_URL": "sqlite:///./contextforge.db",
            "CACHE_TYPE": "memory",
            "USE_STATEFUL_SESSIONS": "true",
            "AUTH_REQUIRED": "false",
            "MCP_REQUIRE_AUTH": "false",
            "ALLOW_UNAUTHENTICATED_ADMIN": "true",
            "RATE_LIMITING_ENABLED": "false",
            "SSRF_ALLOW_LOCALHOST": "true",
            "JWT_SECRET_KEY": _secret("tokens"),
            "AUTH_ENCRYPTION_SECRET": _secret("stored credentials"),
            "PLATFORM_ADMIN_PASSWORD": f"{_secret('administrator')}-9!",
            **SURROUNDINGS,
        }

    def client_fields(self, ground: Ground) -> bytes:
        """Return nothing: anybody may call."""
        return b""

    def endpoint(self, ground: Ground) -> Endpoint:
        """Return the address of the virtual server."""
        return Endpoint(ground.port, f"/servers/{_SERVER_ID}/mcp")

    def is_ready(self, ground: Ground) -> bool:
        """
        Once it runs, register the server and offer its tool.

        :raises HarnessFault: if it refuses that.
        :raises OSError: if it does not listen yet.
        """
        api = http.client.HTTPConnection("127.0.0.1", ground.port, timeout=_ANSWER_TIMEOUT_S)
        try:
            if _asked(api, "GET", "/health")[0] != 200:
                return False
            url = f"http://127.0.0.1:{ground.upstream_port}/mcp"
            _told(api, "POST", "/gateways", {"name": "bench", "url": url, "transport": "STREAMABLEHTTP"})
            tools = [tool["id"] for tool in _told(api, "GET", "/tools")]
            offer = {"id": _SERVER_ID, "name": "bench", "associated_tools": tools}
            _told(api, "POST", "/servers", {"server": offer})
        finally:
            api.close()
        return True

    def version(self) -> str:
        """
        Ask the packages.

        :raises PeerMissing: if there is no ContextForge.
        """
        return versions_in("contextforge", "mcp-contextforge-gateway", "mcp", "uvicorn")


def _asked(api: http.client.HTTPConnection, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    text = None if body is None else json.dumps(body)
    api.request(method, path, text, {"Content-Type": "application/json"})
    answer = api.getresponse()
    return answer.status, answer.read()


def _told(api: http.client.HTTPConnection, method: str, path: str, body: object = None) -> Any:
    """
    Return the answer of its API.

    :raises HarnessFault: if it does not do what is asked: then it never will.
    """
    status, text = _asked(api, method, path, body)
    if status not in (200, 201):
        raise HarnessFault(f"contextforge: {method} {path}: {status} {text[:500]!r}")
    return json.loads(text)
