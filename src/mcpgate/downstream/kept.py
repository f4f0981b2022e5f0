"""Documents that are worth keeping for the next reader, and what HTTP says to one who has them already."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import NamedTuple

from mcpgate.downstream.local import LocalRequest

#: Long lists for some different readers; together no more than this.
MOST_KEPT_BYTES = 32 << 20
_MOST_KEPT = 64
#: So much is hashed between two steps: half a millisecond.
_HASHED_BYTES = 1 << 18


class Document(NamedTuple):
    """A body as it is sent, with its tag; an empty one says that there is no such thing."""

    body: bytes
    etag: bytes


class Kept:
    """Documents of one index: gone all together when it grows."""

    def __init__(self) -> None:
        self._index = -1
        self._bytes = 0
        self._documents: dict[object, Document] = {}

    def find(self, index: int, key: object) -> Document | None:
        """What was kept under a key, unless something has changed since."""
        return self._documents.get(key) if index == self._index else None

    def keep(self, index: int, key: object, document: Document) -> None:
        """Keep a document in place of the oldest ones, if it is not too long for that."""
        if index != self._index:
            self._index, self._bytes, self._documents = index, 0, {}
        size = len(document.body)
        if size > MOST_KEPT_BYTES or key in self._documents:
            return
        while len(self._documents) >= _MOST_KEPT or self._bytes + size > MOST_KEPT_BYTES:
            self._bytes -= len(self._documents.pop(next(iter(self._documents))).body)
        self._documents[key] = document
        self._bytes += size


def etag_of(body: bytes) -> Generator[bytes, None, bytes]:
    """A strong tag (RFC 9110 section 8.8.3): the same only for the same bytes. In steps, for long bodies."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(body), _HASHED_BYTES):
        digest.update(body[start : start + _HASHED_BYTES])
        yield b""
    return b'"%b"' % digest.hexdigest().encode("ascii")


def has(request: LocalRequest, etag: bytes) -> bool:
    """Whether the client has this already (RFC 9110 section 13.1.2: tags compare weakly)."""
    values = b",".join(request.requestHeaders.getRawHeaders(b"if-none-match", []))
    tags = [tag.strip(b" \t") for tag in values.split(b",")]
    return any(tag == b"*" or tag.removeprefix(b"W/") == etag for tag in tags)


def send(request: LocalRequest, media_type: bytes, body: bytes, keeping: bytes) -> bytes:
    """An answer in one piece: sets its head, gives back the body. ``keeping`` is for caches."""
    request.setHeader(b"content-type", media_type)
    request.setHeader(b"content-length", b"%d" % len(body))
    request.setHeader(b"cache-control", keeping)
    return body
