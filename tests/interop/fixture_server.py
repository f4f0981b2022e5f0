"""
Our own conformance fixture: one MCP server with everything the official suite asks for, in both eras.

It runs in the ``v2`` kit: ``.interop/v2/bin/python fixture_server.py --port N [--transport sse]``. Streamable
HTTP is served at ``/mcp`` (sessions with resumption, and 2026-07-28 without), legacy SSE at ``/sse``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from typing import Any

import mcp_types as mcp
import uvicorn
from fixture import shelves
from fixture.parts import Request, Tool, ToolAnswer
from fixture.questions import asking_tools
from fixture.tools import HeldCalls, announcing_tools, answering_tools
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Mount, Route

HOST = "127.0.0.1"
RETRY_MS = 100
"""What resuming clients are told to wait: less than `fixture.tools.DETACHED_PAUSE_S`, so they come early."""


class EventLog(EventStore):
    """Every event of every resumable stream, in the order they were sent; an id is a place in that order."""

    def __init__(self) -> None:
        self._events: list[tuple[str, mcp.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: mcp.JSONRPCMessage | None) -> str:
        """Keep one event (None: a priming event) and return its id."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send again what its stream carried after one event; return that stream's id, None if unknown."""
        place = int(last_event_id) if last_event_id.isdecimal() else 0
        if not 0 < place <= len(self._events):
            return None
        stream = self._events[place - 1][0]
        for number, (owner, message) in enumerate(self._events[place:], place + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


class Toolbox:
    """The fixture's tools under their names, as the two requests about tools see them."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = tools

    async def list(self, request: Request, page: mcp.PaginatedRequestParams | None) -> mcp.ListToolsResult:
        """List every tool, always in the same order."""
        return mcp.ListToolsResult(
            tools=[
                mcp.Tool(name=name, description=tool.description, input_schema=dict(tool.schema))
                for name, tool in self._tools.items()
            ]
        )

    async def call(self, request: Request, call: mcp.CallToolRequestParams) -> ToolAnswer:
        """Run one tool; an unknown one is a protocol error."""
        tool = self._tools.get(call.name)
        if tool is None:
            raise MCPError(mcp.INVALID_PARAMS, f"Unknown tool: {call.name}")
        return await tool.run(request, call)


async def set_level(request: Request, wanted: mcp.SetLevelRequestParams) -> mcp.EmptyResult:
    """Accept a level; all logs of this server are at info, so there is nothing to filter."""
    return mcp.EmptyResult()


def build_server() -> Server[Any]:
    """Wire tools, resources, prompts and the request-state seal into one server."""
    bus = InMemorySubscriptionBus()
    tools = Toolbox({**answering_tools(), **asking_tools(), **announcing_tools(bus), **HeldCalls().tools()})
    server: Server[Any] = Server(
        "mcpgate-fixture",
        version="1.0.0",
        instructions="A server with one of everything, for conformance and interop tests.",
        on_list_tools=tools.list,
        on_call_tool=tools.call,
        on_list_resources=shelves.list_resources,
        on_list_resource_templates=shelves.list_templates,
        on_read_resource=shelves.read_resource,
        on_subscribe_resource=shelves.accept_subscription,
        on_unsubscribe_resource=shelves.accept_subscription,
        on_subscriptions_listen=ListenHandler(bus),
        on_list_prompts=shelves.list_prompts,
        on_get_prompt=shelves.get_prompt,
        on_completion=shelves.complete,
        on_set_logging_level=set_level,
    )
    seal = RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name)
    server.middleware.append(seal)
    return server


def sse_app(server: Server[Any]) -> Starlette:
    """Serve the 2024-11-05 transport: a stream at ``/sse`` that announces ``/messages/?session_id=…``."""
    transport = SseServerTransport("/messages/")

    async def stream(request: HttpRequest) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())
        return Response()

    return Starlette(
        routes=[Route("/sse", stream, methods=["GET"]), Mount("/messages/", transport.handle_post_message)]
    )


def main() -> None:
    """Serve until killed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--transport", choices=["streamable-http", "sse"], default="streamable-http")
    given = options.parse_args()
    # The older revisions under test need what 2026-07-28 deprecated.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    server = build_server()
    if given.transport == "sse":
        app = sse_app(server)
    else:
        app = server.streamable_http_app(event_store=EventLog(), retry_interval=RETRY_MS, host=HOST)
    uvicorn.run(app, host=HOST, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
