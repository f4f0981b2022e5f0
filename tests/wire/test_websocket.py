"""The opening handshake of a WebSocket, from both sides."""

from __future__ import annotations

import pytest

from mcpgate.errors import BadAnswer
from mcpgate.wire import websocket
from mcpgate.wire.http1 import HeadLimits, parse_answer, parse_request

LIMITS = HeadLimits(4096, 20)
#: RFC 6455 section 1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
OFFER = {
    b"Connection": b"Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": KEY,
}
ANSWER = {b"Connection": b"Upgrade", b"Upgrade": b"websocket", b"Sec-WebSocket-Accept": ACCEPT}


def _lines(fields: dict[bytes, bytes | None]) -> bytes:
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in fields.items() if value is not None) + b"\r\n"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({b"Upgrade": b"WebSocket"}, True),
        ({b"Connection": b"keep-alive, upgrade"}, True),
        ({b"Upgrade": b"h2c"}, False),
        ({b"Upgrade": b"websocket, h2c"}, False),
        ({b"Upgrade": None}, False),
        ({b"Connection": None}, False),
        ({b"Connection": b"close"}, False),
    ],
)
def test_what_asks_for_a_websocket(changed: dict[bytes, bytes | None], expected: bool) -> None:
    """That protocol alone; whatever else somebody would upgrade to is not passed on."""
    raw = b"GET / HTTP/1.1\r\nHost: x\r\n" + _lines({**OFFER, **changed})
    assert websocket.is_upgrade(parse_request(raw, LIMITS)) is expected


@pytest.mark.parametrize(
    ("method", "changed", "faulty"),
    [
        (b"GET", {}, ""),
        (b"POST", {}, "GET"),
        (b"GET", {b"Sec-WebSocket-Version": None}, "Version"),
        (b"GET", {b"Sec-WebSocket-Version": b"8"}, "Version"),
        (b"GET", {b"Sec-WebSocket-Version": b"13, 8"}, "Version"),
        (b"GET", {b"Sec-WebSocket-Key": None}, "Key"),
        (b"GET", {b"Sec-WebSocket-Key": b""}, "Key"),
        (b"GET", {b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ"}, "Key"),
        (b"GET", {b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25j"}, "Key"),
        (b"GET", {b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZTE="}, "Key"),
        (b"GET", {b"Sec-WebSocket-Key": b"dGhlIHNhb*BsZSBub25jZQ=="}, "Key"),
        (b"GET", {b"Sec-WebSocket-Key": b"dGhlIHNhbXBs ZSBub25jZQ=="}, "Key"),
        (b"GET", {b"Sec-WebSocket-Key": b"\xff" * 24}, "Key"),
    ],
)
def test_what_is_wrong_with_an_offer(method: bytes, changed: dict[bytes, bytes | None], faulty: str) -> None:
    """RFC 6455 section 4.2.1; the text names what to mend."""
    raw = method + b" / HTTP/1.1\r\nHost: x\r\n" + _lines({**OFFER, **changed})
    fault = websocket.fault_of(parse_request(raw, LIMITS))
    assert faulty in fault
    assert bool(fault) is bool(faulty)


@pytest.mark.parametrize(
    ("status", "changed", "expected"),
    [
        (b"101", {}, True),
        (b"101", {b"Upgrade": b"WebSocket"}, True),
        (b"101", {b"Connection": b"keep-alive, upgrade"}, True),
        (b"200", {}, False),
        (b"101", {b"Upgrade": b"h2c"}, False),
        (b"101", {b"Sec-WebSocket-Accept": None}, False),
        (b"101", {b"Sec-WebSocket-Accept": b""}, False),
        (b"101", {b"Sec-WebSocket-Accept": KEY}, False),
        (b"101", {b"Sec-WebSocket-Accept": ACCEPT.lower()}, False),
        (b"101", {b"Sec-WebSocket-Accept": ACCEPT, b"sec-websocket-accept": ACCEPT}, False),
    ],
)
def test_which_answer_accepts_an_offer(status: bytes, changed: dict[bytes, bytes | None], expected: bool) -> None:
    """RFC 6455 section 4.1: a 101 for this very key, or the tunnel would lead to somebody who speaks no WebSocket."""
    answer = parse_answer(b"HTTP/1.1 " + status + b" x\r\n" + _lines({**ANSWER, **changed}), LIMITS)
    assert websocket.accepts(answer, KEY) is expected
    assert not websocket.accepts(answer, KEY[:-3] + b"A==")


@pytest.mark.parametrize("missing", [{b"Connection": None}, {b"Connection": b"keep-alive"}, {b"Upgrade": None}])
def test_a_101_that_switches_nothing_is_no_answer(missing: dict[bytes, bytes | None]) -> None:
    """Without both fields nobody can tell which protocol comes next; such a head is refused when it is read."""
    with pytest.raises(BadAnswer):
        parse_answer(b"HTTP/1.1 101 x\r\n" + _lines({**ANSWER, **missing}), LIMITS)
