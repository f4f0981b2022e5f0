"""
What goes on record of the messages that an exchange carries: which operation, how it went, when its first event came.

Looked at once each, in the first piece; whatever comes in more pieces than that is passed on unseen.
"""

from __future__ import annotations

import re

from mcpgate.exchange import Era, Exchange
from mcpgate.wire.operation import operation_of, result_of, result_of_event

WEBSOCKET = "websocket"
_TRANSPORTS = {Era.SSE: "sse", Era.SESSION: "streamable-http", Era.STATELESS: "streamable-http", Era.OTHER: "other"}
_holds_event = re.compile(rb"(?:^|[\r\n])data: ?[^\r\n ]").search


def note_request(exchange: Exchange, data: bytes) -> None:
    """The first bytes of a body that came behind its head; often they are all of it."""
    if exchange.operation is None and len(data) == exchange.head.content_length:
        exchange.operation = operation_of(data)


def note_answer(exchange: Exchange, data: bytes) -> None:
    """The first bytes of an answer; often they are all of it. What is cut, or compressed, tells nothing."""
    if exchange.operation is not None:
        exchange.result = result_of(data) if data[:1] == b"{" else result_of_event(data)


def note_piece(exchange: Exchange, data: bytes, now_s: float) -> None:
    """
    The next bytes of a stream that has had no event yet. Comments, which servers send as pings, are none, nor is the
    empty one at the beginning of a stream that can be resumed.
    """
    if _holds_event(data) is None:
        return
    exchange.first_event_s = now_s
    note_answer(exchange, data)


def stream_transport(exchange: Exchange) -> str:
    """What the stream is called that answers this exchange."""
    return _TRANSPORTS[exchange.era]
