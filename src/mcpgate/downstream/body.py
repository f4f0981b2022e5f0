"""The body of one request as it comes in at the fast door: unframed, counted, bounded."""

from __future__ import annotations

from mcpgate.errors import BadRequest, BodyTooLarge
from mcpgate.wire.chunks import BrokenFraming, ChunkReader
from mcpgate.wire.http1 import RequestHead


class RequestBody:
    """
    Take a body out of the bytes of a connection, to its exact end.

    ``done`` says that all of it was read; ``rest`` is what came behind it.
    """

    __slots__ = ("_chunks", "_left", "_limit_bytes", "_seen_bytes", "done", "rest")

    def __init__(self, head: RequestHead, limit_bytes: int) -> None:
        self._chunks = ChunkReader() if head.chunked else None
        self._left = head.content_length or 0
        self._limit_bytes = limit_bytes
        self._seen_bytes = 0
        self.done = not head.has_body
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """
        The payload in the next bytes; empty if they are only framing.

        :raises BadRequest: broken chunks.
        :raises BodyTooLarge: more than the route admits; a counted body was refused by its head already.
        """
        if self._chunks is None:
            return self._count(data)
        try:
            pieces = self._chunks.feed(data)
        except BrokenFraming as error:
            raise BadRequest(f"broken chunked body: {error}")
        payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._seen_bytes += len(payload)
        if self._seen_bytes > self._limit_bytes:
            raise BodyTooLarge
        if self._chunks.done:
            self.done = True
            self.rest = self._chunks.rest
        return payload

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left > 0:
            return data
        self.done = True
        if self._left == 0:
            return data
        self.rest = data[self._left :]
        return data[: self._left]
