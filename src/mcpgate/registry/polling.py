"""
Follows the lists of servers that others keep: each is read again and again, and what it says is handed on.

A list that is away changes nothing: what it said last stays, over a restart too. So does what it said before it lost
more than half of its entries at once, until it says so twice: a registry that has just started knows nobody yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mcpgate.registry.lists import MAX_LISTED, PAGE_ENTRIES, Key, Listing, cursor_of, page_url, pages_of, read_in_steps
from mcpgate.registry.registration import Registration
from mcpgate.registry.store import KeptList
from mcpgate.registry.views import moment_text, told_url
from mcpgate.settings.registry import SourceSettings
from mcpgate.upstream.fetch import Fetched, Fetcher, FetchFailed

#: Tries while a list is away: 1, 2, 4 ... 60 s apart, so that it is not hit by everybody when it is back.
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
#: Waits differ by a fifth, so that many gateways do not ask at once.
_JITTER = 0.2
#: Of an MCP Registry, which gives a hundred entries in a page: as many as are read.
MAX_PAGES = MAX_LISTED // PAGE_ENTRIES
#: All pages of a list together; the published entries of a public registry have about 2 KiB each.
MAX_PAGES_BYTES: Final = 16 << 20
_LOST_HALF = "more than half of its entries are gone; that is believed if it says so again"


@dataclass(frozen=True, slots=True)
class Outlet:
    """
    Where lists go.

    :ivar take: this source (its name) says this now; called again with the same objects if it still does.
    :ivar keep: key, ETag, body and time (seconds since 1970) of a good list, for the next start of the process; what
        it gives back is not looked at.
    """

    take: Callable[[str, Mapping[Key, Registration]], object]
    keep: Callable[[str, str, bytes, float], object]


class Pace(NamedTuple):
    """
    Clocks and chance, as the process lends them.

    :ivar clock: the reactor, for its ``callLater``.
    :ivar wall: seconds since 1970.
    :ivar random: from 0 to 1, for the jitter.
    """

    clock: IReactorTime
    wall: Callable[[], float]
    random: Callable[[], float]

    def call_later(self, wait_s: float, call: Callable[[], None]) -> IDelayedCall:
        """Call, after a fifth more or less."""
        return self.clock.callLater(wait_s * (1 - _JITTER / 2 + _JITTER * self.random()), call)

    def turn(self) -> Deferred[None]:
        """Fires in another turn of the reactor."""
        turned: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.clock.callLater(0, turned.callback, None)
        return turned


class SourceState(NamedTuple):
    """
    One list, for metrics.

    :ivar is_up: whether the last attempt to read it went well.
    :ivar fetched_at_s: of the last that did, seconds since 1970; 0 if none has.
    :ivar entries: that are followed; ``faults``: entries that are left out, as far as they are counted.
    """

    name: str
    is_up: bool
    fetched_at_s: float
    entries: int
    faults: int


class Polling:
    """
    All the lists that are followed; one poll at a time for each.

    :param fetcher: with a bound of the body that is right for lists.
    :param kept: by `kept_as`, what an earlier process has kept.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        outlet: Outlet,
        pace: Pace,
        kept: Mapping[str, KeptList],
        sources: Sequence[SourceSettings] = (),
    ) -> None:
        self._fetcher = fetcher
        self._outlet = outlet
        self._pace = pace
        self._kept = dict(kept)
        self._is_running = False
        self._watches: dict[str, _Watch] = {}
        self.revise(sources)

    def __repr__(self) -> str:
        return f"<Polling: {', '.join(map(repr, self._watches.values()))}>"

    def revise(self, sources: Sequence[SourceSettings]) -> None:
        """
        These are the lists now; those that stay are not read anew, but for those with other headers. The entries of
        those that have left are gone; those of one with another URL stay until that has been read or has failed once:
        mostly the same list has moved, and nobody's streams need end for that.
        """
        before, self._watches = self._watches, {}
        for source in sources:
            watch = before.pop(source.name, None)
            if watch is not None and watch.source.url == source.url:
                self._watches[source.name] = watch
                watch.revise(source)
                continue
            if watch is not None:
                watch.stop()
            kept = self._kept.pop(kept_as(source), None)
            self._watches[source.name] = fresh = _Watch(source, self._fetcher, self._outlet, self._pace, kept)
            fresh.is_heir = watch is not None
            if self._is_running:
                fresh.start()
        for name, watch in before.items():
            watch.stop()
            self._outlet.take(name, {})

    def start(self) -> None:
        """Take what was kept, and read all lists."""
        self._is_running = True
        for watch in self._watches.values():
            watch.start()

    def stop(self) -> None:
        """Ask nobody any more. Who waits for a refresh is told that it did not happen."""
        self._is_running = False
        for watch in self._watches.values():
            watch.stop()

    def refresh(self) -> Deferred[list[dict[str, Any]]]:
        """
        Read all lists now; a poll that runs already counts.

        :returns: what came of each, as `views` has it. Never fails; cancelling it calls no poll off.
        """
        return gatherResults([watch.refresh() for watch in self._watches.values()], consumeErrors=True)

    def views(self) -> list[dict[str, Any]]:
        """All lists as they are shown to operators: ``name, url, ok, entries, error, fetchedAt, faults``."""
        return [watch.view() for watch in self._watches.values()]

    def states(self) -> list[SourceState]:
        """All lists, for metrics."""
        return [watch.state for watch in self._watches.values()]


def kept_as(source: SourceSettings) -> str:
    """Under which key a list is kept: another URL is another list."""
    return f"{source.name} {source.url}"


class _Watch:
    """One list: the poll that runs, or the call that will begin the next, and what it said last."""

    log = Logger()

    def __init__(
        self, source: SourceSettings, fetcher: Fetcher, outlet: Outlet, pace: Pace, kept: KeptList | None
    ) -> None:
        self.source = source
        self._fetcher = fetcher
        self._outlet = outlet
        self._pace = pace
        self._kept = kept
        self._polling: Deferred[None] | None = None
        self._next: IDelayedCall | None = None
        self._waiting: list[Deferred[dict[str, Any]]] = []
        self._stopped = True
        self.is_heir = False  # whether what another URL has said still stands
        self._known: Mapping[Key, Registration] = {}
        self._etag = ""
        self._digest = b""
        self._faults: list[str] = []
        self._fetched_at_s = 0.0
        self._error = "not read yet"
        self._failures = 0
        self._is_doubted = False

    def __repr__(self) -> str:
        running = "polling" if self._polling is not None else "away" if self._failures else "idle"
        return f"{self.source.name}: {running}, {len(self._known)} entries"

    @property
    def state(self) -> SourceState:
        is_up = self._fetched_at_s > 0 and not self._failures
        return SourceState(self.source.name, is_up, self._fetched_at_s, len(self._known), len(self._faults))

    def view(self) -> dict[str, Any]:
        return {
            "name": self.source.name,
            "url": told_url(self.source.url),
            "ok": not self._error,
            "entries": len(self._known),
            "error": self._error,
            "fetchedAt": moment_text(self._fetched_at_s) if self._fetched_at_s else None,
            "faults": list(self._faults),
        }

    # --- when -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._stopped = False
        self._poll()

    def stop(self) -> None:
        self._stopped = True
        self._call_off_next()
        if self._polling is not None:
            self._polling.cancel()
        self._release()

    def revise(self, source: SourceSettings) -> None:
        before, self.source = self.source, source
        if before == source or self._stopped or self._polling is not None:
            return
        if before.headers != source.headers:
            self._poll()
        else:
            self._wait()

    def refresh(self) -> Deferred[dict[str, Any]]:
        waiting: Deferred[dict[str, Any]] = Deferred()
        self._waiting.append(waiting)
        if self._stopped:
            self._release()
        elif self._polling is None:
            self._poll()
        return waiting

    def _poll(self) -> None:
        self._call_off_next()
        # Noted before anything is added: it may have its result already.
        polling = self._polling = Deferred.fromCoroutine(self._read_once())
        polling.addErrback(self._fail).addBoth(self._end)

    def _call_off_next(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _end(self, _: object) -> None:
        self._polling = None
        if not self._stopped:
            self._wait()
        self._release()

    def _wait(self) -> None:
        self._call_off_next()
        retry_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
        self._next = self._pace.call_later(retry_s if self._failures else self.source.interval, self._poll)

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:  # who has cancelled is not told
                each.callback(self.view())

    # --- what -----------------------------------------------------------------------------------------------------

    async def _read_once(self) -> None:
        if self._kept is not None:
            await self._restore(*self._kept)
        first = await self._fetch("", "" if self._is_doubted else self._etag)
        if first.status == 304 and self._etag:
            self._agree()
            return
        bodies = [_good(first).body]
        pages, faults = await self._follow(bodies)
        body = bodies[0] if len(bodies) == 1 else b"[%b]" % b",".join(bodies)
        # The tag of a page says nothing of the others.
        etag = first.etag if len(bodies) == 1 else ""
        digest = hashlib.sha256(body).digest()
        if digest == self._digest and not self._is_doubted:
            self._etag = etag
            self._agree()
            return
        listing = await self._read(pages)
        if self._believe(listing, faults):
            self._etag, self._digest = etag, digest
            self._outlet.keep(kept_as(self.source), etag, body, self._fetched_at_s)

    async def _restore(self, etag: str, body: bytes, fetched_at_s: float) -> None:
        self._kept = None
        try:
            listing = await self._read(pages_of(body))
        except ValueError as unknown:
            self.log.warn("list {name}: what was kept is not a list: {why}", name=self.source.name, why=str(unknown))
            return
        self._etag, self._digest = etag, hashlib.sha256(body).digest()
        self._known, self._faults, self._fetched_at_s = listing.registrations, listing.faults, fetched_at_s
        self._tell()

    def _fetch(self, cursor: str, etag: str) -> Deferred[Fetched]:
        return self._fetcher.fetch(page_url(self.source.url, cursor), fields=self.source.headers.set, etag=etag)

    async def _follow(self, bodies: list[bytes]) -> tuple[list[object], list[str]]:
        """All pages, parsed; ``bodies`` has the first, and gets the others."""
        pages = pages_of(bodies[0])
        cursor, seen = cursor_of(pages[-1]), {""}
        while cursor not in seen:
            if len(bodies) >= MAX_PAGES or sum(map(len, bodies)) > MAX_PAGES_BYTES:
                return pages, [f"the list: the rest is left out after {len(bodies)} pages"]
            seen.add(cursor)
            bodies.append(_good(await self._fetch(cursor, "")).body)
            pages += pages_of(bodies[-1])
            cursor = cursor_of(pages[-1])
        return pages, []

    async def _read(self, pages: list[object]) -> Listing:
        reading = read_in_steps(pages, self.source.url)
        while True:
            try:
                next(reading)
            except StopIteration as done:
                listing: Listing = done.value
                return listing
            await self._pace.turn()

    def _believe(self, listing: Listing, faults: list[str]) -> bool:
        """Take what it says, unless that is to be doubted."""
        lost = len(self._known.keys() - listing.registrations.keys())
        self._is_doubted = not self._is_doubted and 2 * lost > len(self._known)
        if self._is_doubted:
            self.log.warn("list {name}: {what}", name=self.source.name, what=_LOST_HALF)
            self._note_success(_LOST_HALF)
            return False
        self._known = listing.registrations
        self._note_faults(listing.faults + faults)
        self._agree()
        return True

    def _agree(self) -> None:
        """It says what is known."""
        self._tell()
        self._note_success("")

    def _tell(self) -> None:
        self._outlet.take(self.source.name, self._known)
        self.is_heir = False

    def _note_success(self, error: str) -> None:
        if self._failures:
            self.log.info("list {name}: back, {count} entries", name=self.source.name, count=len(self._known))
        self._failures, self._error = 0, error
        self._fetched_at_s = self._pace.wall()

    def _note_faults(self, faults: list[str]) -> None:
        if faults and faults != self._faults:
            name, count = self.source.name, len(faults)
            self.log.warn("list {name}: {count} faults, the first: {fault}", name=name, count=count, fault=faults[0])
        self._faults = faults

    def _fail(self, failure: Failure) -> None:
        if self._stopped:
            return
        self._error = failure.getErrorMessage() if failure.check(FetchFailed, ValueError) else "it cannot be taken"
        if not self._failures:
            self.log.warn(
                "list {name}: cannot be read from {url}: {reason}; its {count} entries stay",
                name=self.source.name,
                url=told_url(self.source.url),
                reason=self._error,
                count=len(self._known),
            )
        self._failures += 1
        if self.is_heir:  # nobody vouches any more for what the former URL has said
            self._tell()
        if not failure.check(FetchFailed, ValueError):
            self.log.failure("list {name}", failure, name=self.source.name)


def _good(fetched: Fetched) -> Fetched:
    if fetched.status != 200:
        raise FetchFailed(f"status {fetched.status}")
    return fetched
