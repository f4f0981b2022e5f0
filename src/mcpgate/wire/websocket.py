"""The opening handshake of RFC 6455, as far as an intermediary must check it; frames are never looked at."""

from __future__ import annotations

import base64
import binascii
import hashlib

from mcpgate.wire.http1 import AnswerHead, RequestHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


def is_upgrade(head: RequestHead) -> bool:
    """Whether the client asks for a WebSocket; every other upgrade (h2c among them) is dropped, not passed on."""
    return head.upgrade == b"websocket"


def fault_of(head: RequestHead) -> str:
    """What is wrong with a client's handshake (section 4.2.1), or the empty string; its body is looked at later."""
    if head.method != b"GET":
        return "a WebSocket handshake is a GET"
    if head.noted.get(b"sec-websocket-version") != b"13":
        return "Sec-WebSocket-Version must be 13"
    try:
        key = base64.b64decode(head.noted.get(b"sec-websocket-key", b""), validate=True)
    except binascii.Error:
        key = b""
    return "" if len(key) == 16 else "Sec-WebSocket-Key must be 16 bytes in base64"


def accepts(answer: AnswerHead, key: bytes) -> bool:
    """Whether a 101 answers this very handshake (section 4.1, the client's checks)."""
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return (
        answer.status == 101
        and answer.noted.get(b"upgrade", b"").lower() == b"websocket"
        and answer.noted.get(b"sec-websocket-accept", b"") == base64.b64encode(digest)
    )
