"""
A visit with the Python SDK 2.3 (kit ``v2``): ``python_v2.py PLAN`` prints one JSON line with what it saw.

PLAN is a JSON object: ``mode`` (auto, sse, leave), ``url``, ``calls``, ``resources``, ``prompts``. ``auto``
probes for 2026-07-28 and falls back; ``leave`` does the same, abandons the first call at its first progress
and repeats the second one until it answers ``cancelled``.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.sse import sse_client

NOTICED_S = 10.0
POLL_S = 0.02


def plain(model: Any) -> Any:
    """Turn an SDK object into what JSON can hold."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """Stand in for a model: repeat what was asked."""
    asked = params.messages[0].content
    words = asked.text if isinstance(asked, types.TextContent) else "?"
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text=f"you asked: {words}"), model="none"
    )


async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Stand in for a user: accept every form with the same content."""
    return types.ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.org", "name": "Ada"})


async def call(client: Client, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call one tool; return its result or error, and the progress it reported."""
    reported: list[Any] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reported.append([progress, total, message])

    try:
        result = await client.call_tool(name, arguments, progress_callback=note)
    except MCPError as error:
        return {"tool": name, "error": plain(error.error), "progress": reported}
    return {"tool": name, "result": plain(result), "progress": reported}


async def abandon(client: Client, held: list[Any], asked: list[Any]) -> str:
    """Leave one call alone at its first progress; return what another one says became of it."""
    with anyio.CancelScope() as scope:

        async def leave(progress: float, total: float | None, message: str | None) -> None:
            scope.cancel()

        await client.call_tool(held[0], held[1], progress_callback=leave)
    with anyio.move_on_after(NOTICED_S):
        while (state := text_of(await client.call_tool(asked[0], asked[1]))) != "cancelled":
            await anyio.sleep(POLL_S)
    return state


def text_of(result: types.CallToolResult) -> str:
    """Return the first text of a result."""
    return next(block.text for block in result.content if isinstance(block, types.TextContent))


async def visit(plan: dict[str, Any]) -> dict[str, Any]:
    """Connect, look at everything the plan names, and leave."""
    logs: list[Any] = []

    async def note_log(params: types.LoggingMessageNotificationParams) -> None:
        logs.append([params.level, params.data])

    server = sse_client(plan["url"]) if plan["mode"] == "sse" else plan["url"]
    client = Client(
        server,
        sampling_callback=sample,
        elicitation_callback=elicit,
        logging_callback=note_log,
        log_level="info",
    )
    async with client:
        if plan["mode"] == "leave":
            return {"version": client.protocol_version, "state": await abandon(client, *plan["calls"])}
        hello = {
            "server": plain(client.server_info) if client.server_info else None,
            "capabilities": plain(client.server_capabilities),
            "instructions": client.instructions,
        }
        return {
            "version": client.protocol_version,
            "hello": hello,
            "tools": plain(await client.list_tools())["tools"],
            "calls": [await call(client, name, arguments) for name, arguments in plan["calls"]],
            "resources": [plain(await client.read_resource(uri)) for uri in plan["resources"]],
            "prompts": [plain(await client.get_prompt(name, given)) for name, given in plan["prompts"]],
            "logs": logs,
        }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(anyio.run(visit, json.loads(sys.argv[1]))))
