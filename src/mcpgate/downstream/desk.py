"""
Where documents about the servers are given out: made in slices, kept for the next reader, with what HTTP says of them.

With 10,000 servers (3.6 MB) the first ``/mcp/discovery`` takes 210 ms of processor time, one after a change 115 ms, cut
into slices of two milliseconds (the longest took 10); one that is kept takes 0.06 ms, and a page of the registry 0.4 ms
(measured 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred

from mcpgate.catalog.arrangement import Arrangement, arranged, filled
from mcpgate.catalog.names import Publisher, publisher_of
from mcpgate.downstream.kept import Document, Kept, etag_of, has, send
from mcpgate.downstream.local import LocalRequest
from mcpgate.downstream.sliced import Slices
from mcpgate.errors import RouteNotFound
from mcpgate.exchange import Exchange
from mcpgate.forwarding import public_origin
from mcpgate.policy.access import Auth
from mcpgate.policy.authn import Grant

if TYPE_CHECKING:
    from mcpgate.downstream.discovery import Entry, Told

#: So many servers are written between two steps: a tenth of a millisecond, or five times that for the first time.
_STEP = 32
#: What tells how a server is at the moment is asked for again each time, which costs a 304 and no body.
CURRENT = b"no-cache"
#: What does not: the draft on cards recommends an hour, but servers come and go here while the gateway runs.
STEADY = b"public, max-age=60"
#: What is not for everybody.
_PERSONAL = b"private, no-cache"


class Reader(NamedTuple):
    """
    Who reads, as far as it matters: two readers that are equal are told the same.

    :ivar origin: our own, as this reader knows it; empty if it does not say.
    :ivar grant: less what makes no difference here.
    """

    origin: str
    publisher: Publisher
    grant: Grant | None

    def may_see(self, entry: Entry) -> bool:
        """Whether a server is shown."""
        return entry.is_for(self.grant)


def reader_of(told: Told, exchange: Exchange) -> Reader:
    """Who reads, by the name under which it came and the token that it showed."""
    origin = told.public_url()
    if origin is None:
        scheme, host = public_origin(exchange)
        origin = f"{scheme.decode('latin-1')}://{host.decode('latin-1')}" if host else ""
    grant = exchange.grant
    assert grant is None or isinstance(grant, Grant)
    seen = None if grant is None else Grant("", frozenset(), grant.servers)
    return Reader(origin, publisher_of(told.settings().publisher, origin), seen)


class View(NamedTuple):
    """All servers, and which of them somebody may see."""

    arrangement: Arrangement[Entry]
    admits: Callable[[Entry], bool]


class Asked(NamedTuple):
    """
    What somebody asks for.

    :ivar make: pieces with marks; none at all if there is no such thing for this reader.
    :ivar keeping: what caches are told if the document is the same for everybody.
    :ivar kept_as: names a long document that is kept for the next reader; all others are made anew.
    :ivar miss: answers in place of what is not there; by default the gateway does in its own form.
    """

    make: Callable[[View], Iterator[bytes]]
    media_type: str = "application/json"
    keeping: bytes = CURRENT
    kept_as: str = ""
    miss: Callable[[LocalRequest], bytes] | None = None


class Desk:
    """Answers readers of the catalog."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self._slices = Slices(told.call_later, told.now)
        self._kept = Kept()
        self._arrangement: Arrangement[Entry] | None = None
        self._arranged_at = -1
        self._differs = False

    def reader(self, exchange: Exchange) -> Reader:
        """Who reads."""
        return reader_of(self.told, exchange)

    def tell(self, request: LocalRequest, asked: Asked) -> Deferred[bytes] | bytes:
        """Answer, at once if the answer is kept."""
        reader = self.reader(request.exchange)
        kept = self._kept.find(self.told.index(), (asked.kept_as, reader))
        if kept is not None:
            return self._answer(request, asked, kept)
        made: list[Document] = []
        told = self._slices.collect(self._steps(asked, reader, made))
        return told.addCallback(lambda _: self._answer(request, asked, made[0]))

    def _steps(self, asked: Asked, reader: Reader, made: list[Document]) -> Iterator[bytes]:
        """Make a document; the steps themselves are empty."""
        arrangement = yield from self._arrange()
        index, key = self._arranged_at, (asked.kept_as, reader)
        document = self._kept.find(index, key)  # somebody before us in the queue wanted the same
        if document is None:
            pieces = asked.make(View(arrangement, reader.may_see))
            written = []
            while some := b"".join(islice(pieces, _STEP)):
                written.append(filled(some, reader.origin, reader.publisher, self.told.gateway))
                yield b""
            body = b"".join(written)
            document = Document(body, (yield from etag_of(body)))
            if asked.kept_as:
                self._kept.keep(index, key, document)
        made.append(document)

    def _arrange(self) -> Generator[bytes, None, Arrangement[Entry]]:
        index = self.told.index()
        if self._arrangement is None or index != self._arranged_at:
            entries = self.told.catalog()
            differs = any(entry.terms.auth is Auth.REQUIRED for entry in entries)
            yield b""
            self._arrangement = yield from arranged(entries, self._arrangement)
            self._arranged_at, self._differs = index, differs
        return self._arrangement

    def _answer(self, request: LocalRequest, asked: Asked, document: Document) -> bytes:
        if not document.body and asked.miss is not None:
            return asked.miss(request)
        if not document.body:
            request.refuse(RouteNotFound())
            return b""
        keeping = asked.keeping
        if self._differs:
            keeping = _PERSONAL
            request.setHeader(b"vary", b"Authorization")
        request.setHeader(b"etag", document.etag)
        if has(request, document.etag):
            request.setResponseCode(304)
            request.setHeader(b"cache-control", keeping)
            return b""
        return send(request, asked.media_type.encode("ascii"), document.body, keeping)
