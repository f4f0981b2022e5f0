"""
A small server on the Python SDK 1.30 (kit ``v1``): ``lab_v1.py TRANSPORT PORT``, sse or streamable-http.

It differs from the fixture on the wire: FastMCP 1.x, only the revisions with sessions, structured results.
"""

from __future__ import annotations

import sys
from typing import Any, Literal, cast

import anyio
from mcp.server.fastmcp import Context, FastMCP

# The TypeScript clients drop progress that they read in one piece with the answer.
STEP_PAUSE_S = 0.02


def build_lab(port: int) -> FastMCP:
    """Make a server with one tool of each kind a relay could spoil."""
    lab = FastMCP("lab", host="127.0.0.1", port=port, log_level="WARNING")

    @lab.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @lab.tool()
    def repeat(words: str, times: int) -> str:
        """Repeat some words."""
        return words * times

    @lab.tool()
    async def count(limit: int, ctx: Context[Any, Any, Any]) -> str:
        """Report and log every number up to a limit."""
        for number in range(1, limit + 1):
            await ctx.info(f"at {number}")
            await ctx.report_progress(number, limit)
            await anyio.sleep(STEP_PAUSE_S)
        return f"counted to {limit}"

    @lab.resource("lab://motto")
    def motto() -> str:
        """The motto of the house."""
        return "Grüße aus dem Labor, 漢字"

    @lab.prompt()
    def greet(name: str) -> str:
        """Greet somebody."""
        return f"Please greet {name}."

    return lab


if __name__ == "__main__":
    build_lab(int(sys.argv[2])).run(transport=cast(Literal["sse", "streamable-http"], sys.argv[1]))
