"""Which of MCP's transports a request belongs to, from its head alone."""

from __future__ import annotations

from mcpgate.exchange import Era
from mcpgate.wire.http1 import RequestHead

_STATELESS_SINCE = b"2026-07-28"
_STATELESS, _SESSION = Era.STATELESS, Era.SESSION  # looking a member up takes 0.1 us until Python 3.12


def accepts_event_stream(head: RequestHead) -> bool:
    """Whether the client takes ``text/event-stream``."""
    return b"text/event-stream" in head.noted.get(b"accept", b"").lower()


def opens_legacy_stream(head: RequestHead) -> bool:
    """
    Whether this is the GET of a 2024-11-05 client, whose first event is the ``endpoint`` that must be rewritten.

    Such a client sends none of the later fields; a Streamable HTTP GET always has at least one of them, and must not
    wait for a first event that may never come.
    """
    noted = head.noted
    return (
        head.method == b"GET"
        and b"mcp-protocol-version" not in noted
        and b"mcp-session-id" not in noted
        and b"last-event-id" not in noted
        and accepts_event_stream(head)
    )


def era_of(head: RequestHead) -> Era:
    """
    The era of a request, for the log and the metrics.

    All that is decided on it is whether ``Mcp-Method`` and ``Mcp-Name`` must agree with the body (since 2026-07-28).
    """
    version = head.noted.get(b"mcp-protocol-version")
    if version is not None:
        return _STATELESS if version >= _STATELESS_SINCE else _SESSION
    if b"mcp-session-id" in head.noted:
        return _SESSION
    if head.method == b"POST":
        query = head.target.partition(b"?")[2].lower()
        return Era.SSE if b"session_id=" in query or b"sessionid=" in query else Era.SESSION
    return Era.SSE if opens_legacy_stream(head) else Era.OTHER
