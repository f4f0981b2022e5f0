"""
A visit with the Python SDK 1.30 (kit ``v1``): ``python_v1.py PLAN`` prints one JSON line with what it saw.

PLAN is a JSON object: ``mode`` (sse, http, ws), ``url``, ``calls``, ``resources``, ``prompts``, ``headers`` (not over
WebSocket), ``may_fail``.
"""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import AsyncExitStack
from typing import Any

import anyio
from mcp import ClientSession, McpError, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.websocket import websocket_client
from mcp.shared._httpx_utils import create_mcp_http_client


def transport(plan: dict[str, Any]) -> Any:
    """Make the transport that the plan wants."""
    if plan["mode"] == "ws":
        return websocket_client(plan["url"])
    if plan["mode"] == "sse":
        return sse_client(plan["url"], headers=plan["headers"])
    return streamable_http_client(plan["url"], http_client=create_mcp_http_client(plan["headers"]))


def causes(error: BaseException) -> list[str]:
    """Say what went wrong, without the groups around it."""
    if isinstance(error, BaseExceptionGroup):
        return [line for inner in error.exceptions for line in causes(inner)]
    return [f"{type(error).__name__}: {error}"]


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
    return types.ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.org"})


async def call(session: ClientSession, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call one tool; return its result or error, and the progress it reported."""
    reported: list[Any] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reported.append([progress, total, message])

    try:
        result = await session.call_tool(name, arguments, progress_callback=note)
    except McpError as error:
        return {"tool": name, "error": plain(error.error), "progress": reported}
    return {"tool": name, "result": plain(result), "progress": reported}


async def visit(plan: dict[str, Any]) -> dict[str, Any]:
    """Connect, look at everything the plan names, and leave."""
    logs: list[Any] = []

    async def note_log(params: types.LoggingMessageNotificationParams) -> None:
        logs.append([params.level, params.data])

    async with AsyncExitStack() as stack:
        streams = await stack.enter_async_context(transport(plan))
        session = await stack.enter_async_context(
            ClientSession(
                streams[0],
                streams[1],
                sampling_callback=sample,
                elicitation_callback=elicit,
                logging_callback=note_log,
            )
        )
        seen: dict[str, Any] = {"hello": plain(await session.initialize())}
        seen["tools"] = plain(await session.list_tools())["tools"]
        seen["calls"] = [await call(session, name, arguments) for name, arguments in plan["calls"]]
        seen["resources"] = [plain(await session.read_resource(uri)) for uri in plan["resources"]]
        seen["prompts"] = [plain(await session.get_prompt(name, given)) for name, given in plan["prompts"]]
        return {**seen, "version": seen["hello"]["protocolVersion"], "logs": logs}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = json.loads(sys.argv[1])
    try:
        print(json.dumps(anyio.run(visit, given)))
    except BaseException as error:
        if not given["may_fail"]:
            raise
        print(json.dumps({"failure": causes(error)}))
