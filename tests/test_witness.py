"""What goes on record of messages that pass."""

from __future__ import annotations

import pytest

from mcpgate.exchange import Era, Exchange, Peer
from mcpgate.wire.http1 import RequestHead
from mcpgate.wire.operation import Operation, Result
from mcpgate.witness import note_answer, note_piece, note_request, stream_transport

CALL = b'{"id":1,"method":"tools/call","params":{"name":"echo"}}'
ERROR = b'{"id":1,"error":{"code":-32601,"message":""}}'


def _exchange(length: int | None = None) -> Exchange:
    head = RequestHead(b"POST", b"/mcp", True, b"", {}, length, has_body=True)
    return Exchange(head, Peer(b"127.0.0.1", b"http", False), 10.0)


def test_a_body_that_is_all_there_tells_what_it_asks_for() -> None:
    """Of one that comes in pieces nobody looks at the pieces."""
    whole, part = _exchange(len(CALL)), _exchange(len(CALL) + 1)
    note_request(whole, CALL)
    note_request(part, CALL)
    assert whole.operation == Operation("tools/call", "echo", 1)
    assert part.operation is None


def test_what_was_read_strictly_is_not_read_again() -> None:
    """Where a limit has looked into the body, its word counts."""
    exchange = _exchange(len(CALL))
    exchange.operation = Operation("ping")
    note_request(exchange, CALL)
    assert exchange.operation == Operation("ping")


@pytest.mark.parametrize("form", [b"%b", b"event: message\r\ndata: %b\r\n\r\n"])
def test_an_answer_tells_how_its_call_went(form: bytes) -> None:
    """As JSON, and as a stream of one event; without a call there is nothing to tell."""
    exchange, other = _exchange(), _exchange()
    exchange.operation = Operation("tools/call", "echo")
    for each in (exchange, other):
        note_answer(each, form % ERROR)
    assert exchange.result == Result(-32601, False)
    assert other.result is None


@pytest.mark.parametrize(
    ("data", "is_event"),
    [
        (b": ping\n\n", False),
        (b":\r\n\r\n", False),
        (b": hello\ndata: 1\n\n", True),
        (b": hello\r\ndata: 1\r\n\r\n", True),
        (b"data: 1\n\n", True),
        (b"id: 1\nevent: x\n", False),
        (b"id: 1\ndata: \n\n", False),
        (b"ng\n\n", False),
    ],
)
def test_a_ping_is_no_event(data: bytes, is_event: bool) -> None:
    """A server that only says that it lives has not answered yet."""
    exchange = _exchange()
    note_piece(exchange, data, 12.5)
    assert exchange.first_event_s == (12.5 if is_event else 0.0)


@pytest.mark.parametrize(("era", "transport"), [(Era.SSE, "sse"), (Era.SESSION, "streamable-http"), (Era.STATELESS, "streamable-http"), (Era.OTHER, "other")])  # fmt: skip
def test_a_stream_is_called_by_its_transport(era: Era, transport: str) -> None:
    """As clients call it in their configuration."""
    exchange = _exchange()
    exchange.era = era
    assert stream_transport(exchange) == transport
