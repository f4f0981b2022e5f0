"""
What travels in every benchmark: one call, one answer, numbered events, and bulk bytes.

The sizes are fixed so that figures of different days and peers can be compared. Everything carries a number,
so that an answer given to the wrong caller, or an event lost, repeated or overtaken, is an error and never a
figure.
"""

from __future__ import annotations

import random
import re
import zlib

CALL_BYTES = 102
ANSWER_BYTES = 158
EVENT_BYTES = 150
# The session that all clients share.
SESSION = b"7d4c2f0a9b8e4c1d"
# Call numbers have eight digits and start here: JSON forbids leading zeros.
FIRST_CALL = 10_000_000

_ID = re.compile(rb'^\{"jsonrpc":"2.0","id":(\d{8}),')


def _sized(template: bytes, size_bytes: int) -> bytes:
    """Put letters for ``@`` so that the message has ``size_bytes`` with an 8-digit number for ``%d``."""
    spare_bytes = size_bytes - (len(template) - len(b"@%d") + 8)
    return template.replace(b"@", b"x" * spare_bytes)


_CALL = _sized(
    b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"t":"@"}}}',
    CALL_BYTES,
)
_ANSWER = _sized(
    b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"@"}],"isError":false}}',
    ANSWER_BYTES,
)
# The headers of an ordinary session-era client.
_CALL_HEAD = (
    b"POST %s HTTP/1.1\r\n"
    b"Host: 127.0.0.1:%d\r\n"
    b"Accept: application/json, text/event-stream\r\n"
    b"Accept-Encoding: identity\r\n"
    b"Accept-Language: en\r\n"
    b"Connection: keep-alive\r\n"
    b"Content-Type: application/json\r\n"
    b"User-Agent: mcp-bench/1\r\n"
    b"MCP-Protocol-Version: 2025-11-25\r\n"
    b"%s"
    b"Content-Length: %d\r\n"
    b"\r\n"
)


def call_head(path: str, port: int, fields: bytes) -> bytes:
    """Return the head of a call with these further header lines; the body is ``call(number)``."""
    return _CALL_HEAD % (path.encode(), port, fields, CALL_BYTES)


def call(number: int) -> bytes:
    """Return the 102-byte ``tools/call`` with this JSON-RPC id."""
    return _CALL % number


def answer(number: int) -> bytes:
    """Return the 158-byte JSON-RPC answer to ``call(number)``."""
    return _ANSWER % number


def call_number(body: bytes) -> int:
    """
    Read the id of a call.

    :raises ValueError: if the body is not one of ours.
    """
    found = _ID.match(body)
    if found is None:
        raise ValueError(f"not a call of this benchmark: {body[:60]!r}")
    return int(found.group(1))


_EVENT = b"id: %010d\ndata: " + b"x" * (EVENT_BYTES - len(b"id: 0123456789\ndata: \n\n")) + b"\n\n"
_FRAME = b"%x\r\n" % EVENT_BYTES + _EVENT + b"\r\n"
_EVENT_NUMBER = re.compile(rb"^id: (\d{10})\n")


def event(number: int) -> bytes:
    """Return the 150-byte event with this place in its stream."""
    return _EVENT % number


def event_frame(number: int) -> bytes:
    """Return the event as one HTTP chunk."""
    return _FRAME % number


def event_number(received: bytes) -> int | None:
    """Read the place of an event in its stream; None if this is no event of ours."""
    found = _EVENT_NUMBER.match(received)
    return None if found is None else int(found.group(1))


_STAMPED_EVENT = b"id: %010d\ndata: %020d " + b"x" * (EVENT_BYTES - len(b"id: 0123456789\ndata: \n\n") - 21) + b"\n\n"
_STAMPED = re.compile(rb"^id: \d{10}\ndata: (\d{20}) ")


def stamped_event(number: int, sent_ns: int) -> bytes:
    """Return a 150-byte event that says when it was sent: nanoseconds of the monotonic clock of this machine."""
    return _STAMPED_EVENT % (number, sent_ns)


def stamped_frame(number: int, sent_ns: int) -> bytes:
    """Return the stamped event as one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (EVENT_BYTES, stamped_event(number, sent_ns))


def sent_ns_of(received: bytes) -> int | None:
    """Read when an event was sent; None if it does not say so."""
    found = _STAMPED.match(received)
    return None if found is None else int(found.group(1))


MIB = 1024 * 1024
# Not compressible and not repeating within itself: a block moved, doubled or left out changes the checksum.
BLOCK = random.Random(2).randbytes(MIB)


def bulk_checksum(mebibytes: int) -> int:
    """Return the CRC-32 of a body made of ``mebibytes`` blocks."""
    checksum = 0
    for _ in range(mebibytes):
        checksum = zlib.crc32(BLOCK, checksum)
    return checksum
