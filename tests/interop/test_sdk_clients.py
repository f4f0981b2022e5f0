"""Every SDK client against every kind of server: it sees the same through the gateway as directly."""

from __future__ import annotations

import itertools

import pytest
from tests.interop.stage import Stage
from tests.interop.visits import CLIENT_MODES, Plan, Visitor, differences, side_by_side

SESSION = "2025-11-25"
STATELESS = "2026-07-28"

GREETING = "Grüße, 漢字 und 🎉"
TIME = Plan(
    calls=(
        ("convert_time", {"source_timezone": "UTC", "time": "12:34", "target_timezone": "Asia/Tokyo"}),
        ("convert_time", {"source_timezone": "Mars/Olympus", "time": "12:34", "target_timezone": "UTC"}),
    )
)
EVERYTHING = Plan(
    calls=(
        ("echo", {"message": GREETING}),
        ("get-sum", {"a": 2, "b": 40}),
        ("get-tiny-image", {}),
        ("get-structured-content", {"location": "Chicago"}),
        ("trigger-long-running-operation", {"duration": 0.3, "steps": 3}),
        ("trigger-sampling-request", {"prompt": "hello", "maxTokens": 10}),
        ("get-sum", {"a": "not a number"}),
    ),
    resources=("demo://resource/static/document/architecture.md",),
    prompts=(("simple-prompt", {}), ("args-prompt", {"city": "Ulm"})),
)
LAB = Plan(
    calls=(
        ("add", {"a": 2, "b": 40}),
        ("repeat", {"words": GREETING, "times": 20_000}),
        ("count", {"limit": 20}),
        ("unknown", {}),
    ),
    resources=("lab://motto",),
    prompts=(("greet", {"name": "Ada"}),),
)
FIXTURE = Plan(
    calls=(
        ("test_simple_text", {}),
        ("test_large_text", {}),
        ("test_multiple_content_types", {}),
        ("test_tool_with_progress", {}),
        ("test_tool_with_logging", {}),
        ("test_sampling", {"prompt": GREETING}),
        ("test_elicitation", {"message": GREETING}),
        ("test_x_mcp_header", {"region": GREETING}),
        ("test_input_required_result_elicitation", {}),
        ("test_error_handling", {}),
        ("unknown", {}),
    ),
    resources=("test://static-text", "test://static-binary", "test://template/7/data"),
    prompts=(("test_prompt_with_arguments", {"arg1": "a", "arg2": "b"}), ("test_prompt_with_image", {})),
)
PLANS = {"everything": EVERYTHING, "lab": LAB, "fixture": FIXTURE, "mcp-proxy": TIME, "supergateway": TIME}

SSE_SERVERS = ("everything-sse", "lab-sse", "fixture-sse", "mcp-proxy", "supergateway-sse")
HTTP_SERVERS = ("everything", "lab", "fixture", "mcp-proxy")
# Python 2.x servers speak the stateless revision over any stream to a client that asks for it.
STATELESS_PAIRS = {
    ("python-2.3-auto", "fixture"),
    ("python-2.3-sse", "fixture-sse"),
    ("typescript-2.4-auto", "fixture"),
    ("typescript-2.4-pinned", "fixture"),
}
SSE_CLIENTS = ("python-1.30-sse", "python-2.3-sse", "typescript-1.32-sse", "typescript-2.4-sse")
HTTP_CLIENTS = ("python-1.30-http", "python-2.3-auto", "typescript-1.32-http", "typescript-2.4-auto")
PAIRS = (
    *itertools.product(SSE_CLIENTS, SSE_SERVERS),
    *itertools.product(HTTP_CLIENTS, HTTP_SERVERS),
    ("typescript-2.4-pinned", "fixture"),
    ("python-1.30-ws", "supergateway-ws"),
    ("typescript-1.32-ws", "supergateway-ws"),
)


def plan_for(server: str) -> Plan:
    """Return what to do at a server: its name without the transport."""
    return PLANS[server.removesuffix("-sse").removesuffix("-ws")]


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_client_sees_same_server_through_gateway(client: str, server: str, stage: Stage, visitor: Visitor) -> None:
    """Hello, lists, results, errors, progress and logs are the same through the gateway as without it."""
    transport = CLIENT_MODES[client].transport
    plan = plan_for(server)
    urls = stage.direct(server, transport), stage.public(server, transport)
    if server.startswith("supergateway"):
        # It tells every session what its one child says: two visits at once would hear each other's answers.
        direct, public = (visitor.visit(client, url, plan) for url in urls)
    else:
        direct, public = side_by_side(lambda url: visitor.visit(client, url, plan), *urls)
    assert len(direct["tools"]) >= len({name for name, _ in plan.calls}) - 1
    assert len(direct["calls"]) == len(plan.calls)
    expected = STATELESS if (client, server) in STATELESS_PAIRS else SESSION
    # The TypeScript 1.x client does not tell which revision it agreed on over SSE and WebSocket.
    assert direct["version"] in (expected, None)
    assert differences(direct, public) == []
