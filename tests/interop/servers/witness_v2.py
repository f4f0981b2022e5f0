"""
A server on the Python SDK 2.3 (kit ``v2``) that tells what reached it: ``witness_v2.py PORT [options]``.

Streamable HTTP in both eras at ``/mcp``, the 2024-11-05 transport at ``/sse``. ``GET /seen`` lists all requests so far.
With ``--issuer`` it does its own OAuth: it wants tokens of that issuer for one of the ``--audience`` URLs, with the
scope ``use``, and tells about it at its own address.
"""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import anyio
import jwt
import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPDeprecationWarning
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
SCOPE = "use"
# The TypeScript clients drop progress that they read in one piece with the answer.
STEP_PAUSE_S = 0.02


class Verifier:
    """Verifies tokens with the keys that the issuer publishes."""

    def __init__(self, issuer: str, audiences: list[str]) -> None:
        self._issuer = issuer
        self._audiences = audiences
        self._keys = jwt.PyJWKClient(f"{issuer}/jwks")

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what a token gives; None if it is not from the issuer or not for here."""
        return await anyio.to_thread.run_sync(self._verified, token)

    def _verified(self, token: str) -> AccessToken | None:
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token, key, algorithms=["RS256"], audience=self._audiences, issuer=self._issuer, leeway=5
            )
        except jwt.PyJWTError:
            return None
        scopes = claims.get("scope", "").split()
        return AccessToken(token=token, client_id=claims["sub"], scopes=scopes, expires_at=claims["exp"])


class Witness:
    """
    Notes every request that reaches the servers behind it.

    :param streamable: takes all but what is below ``/sse`` and ``/messages/``.
    """

    def __init__(self, streamable: ASGIApp, sse: ASGIApp) -> None:
        self._streamable = streamable
        self._sse = sse
        self._seen: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._streamable(scope, receive, send)
            return
        path = scope["path"]
        if path == "/seen":
            await JSONResponse(self._seen)(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        noted: dict[str, Any] = {"method": scope["method"], "path": path, "headers": headers, "calls": []}
        self._seen.append(noted)
        app = self._sse if path.startswith(("/sse", "/messages/")) else self._streamable
        await app(scope, self._noting(receive, noted), send)

    @staticmethod
    def _noting(receive: Receive, noted: dict[str, Any]) -> Receive:
        body = bytearray()

        async def note() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if body and not message.get("more_body"):
                call = json.loads(body)
                body.clear()
                noted["calls"].append([call.get("method"), call.get("params", {}).get("name")])
            return message

        return note


def build_witness(port: int, auth: AuthSettings | None, verifier: Verifier | None) -> MCPServer:
    """Make the server; the port is its name to those who call."""
    witness = MCPServer("witness", auth=auth, token_verifier=verifier, log_level="WARNING")

    @witness.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @witness.tool()
    async def count(limit: int, ctx: Context[Any, Any]) -> str:
        """Report every number up to a limit."""
        for number in range(1, limit + 1):
            await ctx.report_progress(number, limit)
            await anyio.sleep(STEP_PAUSE_S)
        return f"counted to {limit}"

    @witness.tool()
    def which() -> int:
        """Tell which replica this is."""
        return port

    @witness.tool()
    def forbidden() -> str:
        """Do what nobody may."""
        return "done"

    return witness


def main() -> None:
    """Serve until killed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("port", type=int)
    options.add_argument("--issuer")
    options.add_argument("--audience", action="append", default=[])
    given = options.parse_args()
    # The older revisions under test need what 2026-07-28 deprecated.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    auth = verifier = None
    if given.issuer:
        own = f"http://{HOST}:{given.port}/mcp"
        auth = AuthSettings(
            issuer_url=given.issuer,
            resource_server_url=own,
            required_scopes=[SCOPE],
            validate_token_resource=False,
        )
        verifier = Verifier(given.issuer, [own, *given.audience])
    server = build_witness(given.port, auth, verifier)
    app = Witness(server.streamable_http_app(host=HOST), server.sse_app(host=HOST))
    uvicorn.run(app, host=HOST, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
