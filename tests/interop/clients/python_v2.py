"""
A visit with the Python SDK 2.3 (kit ``v2``): ``python_v2.py PLAN`` prints one JSON line with what it saw.

PLAN is a JSON object: ``mode`` (auto, sse, leave), ``url``, ``calls``, ``resources``, ``prompts``, ``headers``,
``credentials`` (``id``, ``secret``, ``issuer``: the client gets its own token), ``may_fail``. ``auto``
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
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

NOTICED_S = 10.0
POLL_S = 0.02


class Purse:
    """Where the SDK keeps its token for the length of a visit."""

    def __init__(self) -> None:
        self._token: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """Return the token, if there is one yet."""
        return self._token

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep a token."""
        self._token = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return nothing: the client is registered already."""
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep nothing, as there is nothing to register."""


def transport(plan: dict[str, Any]) -> Any:
    """Make the transport that the plan wants, with its headers or its credentials."""
    given, auth = plan["credentials"], None
    if given:
        auth = ClientCredentialsOAuthProvider(
            plan["url"], Purse(), given["id"], given["secret"], issuer=given["issuer"]
        )
    if plan["mode"] == "sse":
        return sse_client(plan["url"], headers=plan["headers"], auth=auth)
    return streamable_http_client(plan["url"], http_client=create_mcp_http_client(plan["headers"], auth=auth))


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

    client = Client(
        transport(plan),
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
    given = json.loads(sys.argv[1])
    try:
        print(json.dumps(anyio.run(visit, given)))
    except BaseException as error:
        if not given["may_fail"]:
            raise
        print(json.dumps({"failure": causes(error)}))
