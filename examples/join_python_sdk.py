# mypy: disable-error-code="import-not-found", allow-untyped-decorators
"""
A server on the Python SDK (``mcp``, 1.x or 2.x) that joins a running gateway.

    export MCPGATE_TOKEN=$(cat var/admin.token)
    python examples/join_python_sdk.py [http://127.0.0.1:8701 [weather]]

It takes a free port, registers, and is at ``/mcp/weather/mcp`` of the gateway until it is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import uvicorn

import mcpgate

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("weather")


@server.tool()
def forecast(city: str) -> str:
    """Tell tomorrow's weather in a city."""
    return f"{city}: sun, 21 °C"


async def serve(gateway: str, name: str) -> None:
    """Serve until a signal, and be registered meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="warning"))
        async with mcpgate.register(gateway, name=name, url=url, title="Weather", tags=["example"]) as membership:
            print(f"{name}: {url}, {membership.standing.value}", flush=True)
            await app.serve([listening])


if __name__ == "__main__":
    given = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(*given, *("http://127.0.0.1:8701", "weather")[len(given) :]))
