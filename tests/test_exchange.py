"""The record of an exchange before anything has happened to it, and how it shows in a log."""

from __future__ import annotations

import pytest

from mcpgate.exchange import Ended, Exchange, Peer
from mcpgate.wire.http1 import HeadLimits, parse_request

PEER = Peer(b"127.0.0.1", b"http", False)


def _exchange(fields: bytes = b"", target: bytes = b"/mcp/x?secret=1") -> Exchange:
    head = parse_request(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n", HeadLimits(1000, 10))
    return Exchange(head, PEER, 1.0)


@pytest.mark.parametrize(
    ("fields", "here"),
    [
        (b"", True),
        (b"Content-Length: 0\r\n", True),
        (b"Content-Length: 1\r\n", False),
        (b"Transfer-Encoding: chunked\r\n", False),
    ],
)
def test_a_request_without_a_body_is_here_at_once(fields: bytes, here: bool) -> None:
    """Nobody waits for what does not come."""
    exchange = _exchange(fields)
    assert (exchange.body_is_here, exchange.body) == (here, b"")


def test_what_is_shown_of_an_exchange_holds_no_query() -> None:
    """It stands in tracebacks; a query may hold a session."""
    exchange = _exchange()
    exchange.status, exchange.ended = 502, Ended.REFUSED
    assert repr(exchange) == "<Exchange b'POST' b'/mcp/x' 502 Ended.REFUSED>"
    assert "secret" not in repr(exchange)


def test_an_exchange_holds_nothing_else() -> None:
    """Each phase sets only fields that are there: a slip in a name is an error, not a new field."""
    with pytest.raises(AttributeError):
        _exchange().stauts = 200  # type: ignore[attr-defined]
