"""
Read what a subject answers to MCP clients, as JSON or as an event stream. Pure: bytes in, messages or a complaint out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import BrokenAnswer

Message = dict[str, Any]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_EVENTS = re.compile(rb"\r\ncontent-type: *text/event-stream\b", re.IGNORECASE)
_SESSION = re.compile(rb"\r\nmcp-session-id: *([\x21-\x7e]+) *\r\n", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-fA-F]+)(?:;[^\r\n]*)?")
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole HTTP answer: its status, the session it names if it does, and its body without chunks."""

    status: int
    session: bytes | None
    body: bytes
    is_stream: bool

    def messages(self) -> list[Message]:
        """
        Return the messages of the body, in order.

        :raises BrokenAnswer: if that is not JSON.
        """
        texts = _event_texts(self.body) if self.is_stream else [self.body]
        try:
            return [json.loads(text) for text in texts]
        except ValueError as fault:
            raise BrokenAnswer(f"not JSON: {self.body[:200]!r}") from fault

    def answer_to(self, number: int) -> Message:
        """
        Return the result of the request with this id. Notifications may stand before it, nothing behind.

        :raises BrokenAnswer: if there is none: another status, another id, an error.
        """
        if self.status != 200:
            raise BrokenAnswer(f"expected 200, got {self.status} {self.body[:300]!r}")
        *before, last = self.messages() or [{}]
        if last.get("id") != number or "result" not in last or any("id" in message for message in before):
            raise BrokenAnswer(f"request {number} was answered with {self.body[:300]!r}")
        result: Message = last["result"]
        return result


def read_reply(received: bytes) -> Reply | None:
    """
    Read an HTTP answer; None while it is not complete.

    :raises BrokenAnswer: if it is no answer with a known end, or more than one.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, rest = received[: end + 2], received[end + 4 :]
    if not head.startswith(b"HTTP/1.1 "):
        raise BrokenAnswer(f"not an answer: {head[:80]!r}")
    if _CHUNKED.search(head):
        parts = _unchunked(rest)
        if parts is None:
            return None
        body, rest = parts
    else:
        length = _LENGTH.search(head)
        if length is None and not head.startswith((b"HTTP/1.1 202 ", b"HTTP/1.1 204 ")):
            raise BrokenAnswer(f"an answer without an end: {head!r}")
        size_bytes = int(length.group(1)) if length else 0
        if len(rest) < size_bytes:
            return None
        body, rest = rest[:size_bytes], rest[size_bytes:]
    if rest:
        raise BrokenAnswer(f"more than one answer: {rest[:80]!r}")
    session = _SESSION.search(head)
    return Reply(int(head[9:12]), session.group(1) if session else None, body, bool(_EVENTS.search(head)))


def _unchunked(framed: bytes) -> tuple[bytes, bytes] | None:
    """Return the body and what follows it; None while it is not complete. Trailers are not expected."""
    body, start = b"", 0
    while (line_end := framed.find(b"\r\n", start)) >= 0:
        size = _SIZE.fullmatch(framed, start, line_end)
        if size is None:
            raise BrokenAnswer(f"not a chunk: {framed[start : start + 80]!r}")
        size_bytes = int(size.group(1), 16)
        start, end = line_end + 2, line_end + 2 + size_bytes
        if len(framed) < end + 2:
            return None
        if size_bytes == 0:
            return body, framed[end + 2 :]
        body += framed[start:end]
        start = end + 2
    return None


def _event_texts(body: bytes) -> list[bytes]:
    """Return what the events carry, without those that carry nothing: these say only from where to go on."""
    texts, lines = [], []
    for line in _LINE_END.split(body):
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            texts.append(b"\n".join(lines))
            lines = []
    return [text for text in texts if text]
