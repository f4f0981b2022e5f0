"""Which of MCP's transports a request belongs to."""

from __future__ import annotations

import pytest

from mcpgate.exchange import Era
from mcpgate.policy.eras import accepts_event_stream, era_of, opens_legacy_stream
from mcpgate.wire.http1 import HeadLimits, RequestHead, parse_request

SSE = "Accept: text/event-stream"
BOTH = "Accept: application/json, text/event-stream"


def _head(method: str, *fields: str, target: str = "/mcp/x") -> RequestHead:
    lines = "".join(f"{field}\r\n" for field in ("Host: x", *fields))
    return parse_request(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode(), HeadLimits(4096, 20))


@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [
        ("GET", (SSE,), True),
        ("GET", (BOTH,), True),
        ("GET", ("Accept: Text/Event-Stream;q=0.9",), True),
        ("GET", ("Accept: application/json", SSE), True),
        ("GET", (), False),
        ("GET", ("Accept: */*",), False),
        ("GET", ("Accept: application/json",), False),
        ("POST", (SSE,), False),
        ("HEAD", (SSE,), False),
        ("GET", (SSE, "Mcp-Session-Id: s"), False),
        ("GET", (SSE, "MCP-Protocol-Version: 2025-06-18"), False),
        ("GET", (SSE, "Last-Event-ID: 7"), False),
        ("GET", (SSE, "Last-Event-ID:"), False),
    ],
)
def test_which_request_waits_for_an_endpoint(method: str, fields: tuple[str, ...], expected: bool) -> None:
    """A GET for a stream with none of the later fields; any other must not wait for a first event."""
    assert opens_legacy_stream(_head(method, *fields)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"), [((SSE,), True), ((BOTH,), True), (("Accept: */*",), False), ((), False)]
)
def test_who_takes_a_stream(fields: tuple[str, ...], expected: bool) -> None:
    """It must be named."""
    assert accepts_event_stream(_head("POST", *fields)) is expected


@pytest.mark.parametrize(
    ("method", "target", "fields", "expected"),
    [
        ("GET", "/mcp/x/sse", (SSE,), Era.SSE),
        ("POST", "/mcp/x/messages?session_id=1", (), Era.SSE),
        ("POST", "/mcp/x/messages?a=b&sessionId=1", (), Era.SSE),
        ("POST", "/mcp/x/session_id=1", (), Era.SESSION),
        ("POST", "/mcp/x", (BOTH,), Era.SESSION),
        ("POST", "/mcp/x", ("MCP-Protocol-Version: 2025-03-26",), Era.SESSION),
        ("POST", "/mcp/x?session_id=1", ("MCP-Protocol-Version: 2025-11-25",), Era.SESSION),
        ("GET", "/mcp/x", (SSE, "Mcp-Session-Id: s"), Era.SESSION),
        ("DELETE", "/mcp/x", ("Mcp-Session-Id: s",), Era.SESSION),
        ("POST", "/mcp/x", ("MCP-Protocol-Version: 2026-07-28",), Era.STATELESS),
        ("POST", "/mcp/x", ("MCP-Protocol-Version: 2027-01-01", "Mcp-Session-Id: s"), Era.STATELESS),
        ("POST", "/mcp/x", ("MCP-Protocol-Version: 2026-07-27",), Era.SESSION),
        ("POST", "/mcp/x", ("MCP-Protocol-Version:",), Era.SESSION),
        ("GET", "/mcp/x", (), Era.OTHER),
        ("OPTIONS", "/mcp/x", (), Era.OTHER),
        ("DELETE", "/mcp/x", (), Era.OTHER),
    ],
)
def test_the_era_of_a_request(method: str, target: str, fields: tuple[str, ...], expected: Era) -> None:
    """By the version that it names, else by its session, else by its form."""
    assert era_of(_head(method, *fields, target=target)) is expected
