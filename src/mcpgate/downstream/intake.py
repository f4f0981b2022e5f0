"""What a client has sent and nobody has read yet: heads are cut off its front, bodies taken as they come."""

from __future__ import annotations

from mcpgate.wire.http1 import CRLF, HeadLimits, RequestHead, find_head_end, parse_request
from mcpgate.wire.last_head import LastHead


class Intake:
    """
    The input of one connection.

    :ivar data: what waits.
    """

    __slots__ = ("_last", "_searched", "data")

    def __init__(self) -> None:
        self._last: LastHead[RequestHead] = LastHead()
        self._searched = 0
        self.data = b""

    def __len__(self) -> int:
        return len(self.data)

    def add(self, data: bytes) -> None:
        """More has come."""
        self.data = self.data + data if self.data else data

    def cut_head(self, limits: HeadLimits) -> RequestHead | None:
        """
        Take one head off the front; ``None`` while it is not complete.

        :raises GatewayError: it can never become one; nothing behind it can be trusted.
        """
        head = self._last.repeats(self.data)
        if head is not None:
            end = self._last.raw_bytes
        else:
            if self.data[:2] == CRLF:
                self._skip_empty_lines()
            end = find_head_end(self.data, limits, self._searched)
            if end < 0:
                self._searched = len(self.data)
                return None
            head = self._read(self.data[:end], limits)
        self._searched = 0
        self.data = self.data[end:]
        return head

    def _skip_empty_lines(self) -> None:
        """RFC 9112 section 2.2: a sloppy client's empty lines before a request mean nothing."""
        at = 2
        while self.data[at : at + 2] == CRLF:
            at += 2
        self.data = self.data[at:]
        self._searched = 0

    def _read(self, raw: bytes, limits: HeadLimits) -> RequestHead:
        head = self._last.recall(raw) or parse_request(raw, limits)
        self._last.note(raw, head)
        return head

    def take(self, count: int) -> bytes:
        """Take bytes off the front; the caller knows that they are there."""
        taken = self.data
        if len(taken) == count:
            self.data = b""
            return taken
        self.data = taken[count:]
        return taken[:count]

    def take_all(self) -> bytes:
        """Take everything."""
        taken, self.data = self.data, b""
        return taken

    def clear(self) -> None:
        """Keep nothing: neither bytes nor the last head, with which goes what a cycle would keep for the collector."""
        self.data = b""
        self._last.forget()

    def forget_head(self) -> None:
        """Keep no last head: a stream has begun, and memory per stream counts."""
        self._last.forget()
