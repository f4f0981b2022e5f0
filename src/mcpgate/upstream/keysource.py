"""
Keeps the keys of issuers fresh: fetched at the start, refreshed in the background, fetched at once if one is missing.

An issuer that is away changes nothing: the keys that were read last stay in use. A client cannot make us ask an issuer
more often than we want to: unknown keys are free to invent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mcpgate.policy.keys import KeySet, UnusableKeys
from mcpgate.upstream.fetch import Fetched, Fetcher, FetchFailed

#: How long a withdrawn key may still be good. Issuers announce new ones hours to days ahead.
REFRESH_S = 600.0
#: Tries while an issuer is away: 1, 2, 4 ... 60 s apart, so that it is not hit by everybody when it is back.
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
#: Apart from the refreshes, so often for tokens whose key is not there.
ON_DEMAND_S = 30.0
#: Exchanges that wait for the keys of one issuer; more are decided with those that are there.
MAX_WAITING = 1000
#: Waits differ by a fifth, so that many gateways do not ask at once.
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class KeyFeed:
    """
    Where the keys of one issuer come from, how, and where they go.

    :ivar refresh_s: seconds from one good fetch to the next.
    """

    issuer_id: str
    url: str
    keys: KeySet
    fetcher: Fetcher
    refresh_s: float = REFRESH_S


class KeySource:
    """
    All the issuers whose keys are fetched; one fetch at a time for each.

    :param clock: the reactor, for its ``callLater``.
    :param now: monotonic seconds.
    :param random: from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        feeds: Iterable[KeyFeed],
        clock: IReactorTime,
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        times = _Times(clock, now, random)
        self._watches = {feed.issuer_id: _Watch(feed, times) for feed in feeds}

    def __repr__(self) -> str:
        return f"<KeySource: {', '.join(map(repr, self._watches.values()))}>"

    def start(self) -> None:
        """Fetch what is missing or old; what an earlier source has fetched is not fetched before its time."""
        for watch in self._watches.values():
            watch.start()

    def stop(self) -> None:
        """Ask nobody any more. Who waits is called: it decides with the keys that are there."""
        for watch in self._watches.values():
            watch.stop()

    def await_keys(self, issuer_id: str, then: Callable[[], None]) -> Callable[[], None]:
        """
        Fetch the keys of an issuer, if they may be fetched now.

        :param then: called once when that has ended, well or badly; before this returns if there is nothing to wait
            for. Must not raise.
        :returns: calls it off; harmless afterwards.
        """
        watch = self._watches.get(issuer_id)
        if watch is not None and watch.admits_waiting():
            return watch.add_waiting(then)
        then()
        return _nothing


def _nothing() -> None:
    """There is nothing to call off."""


class _Times(NamedTuple):
    """Clock and chance, as `KeySource` was given them."""

    clock: IReactorTime
    now: Callable[[], float]
    random: Callable[[], float]

    def call_later(self, wait_s: float, call: Callable[[], None]) -> IDelayedCall:
        return self.clock.callLater(wait_s * (1 - _JITTER / 2 + _JITTER * self.random()), call)


class _Watch:
    """One issuer: the fetch that runs, or the call that will begin the next."""

    log = Logger()

    def __init__(self, feed: KeyFeed, times: _Times) -> None:
        self._feed = feed
        self._times = times
        self._fetching: Deferred[None] | None = None
        self._next: IDelayedCall | None = None
        self._waiting: dict[object, Callable[[], None]] = {}
        self._failures = 0
        self._on_demand_from_s = -math.inf
        self._stopped = True

    def __repr__(self) -> str:
        state = "fetching" if self._fetching is not None else "away" if self._failures else "fresh"
        return f"{self._feed.issuer_id}: {state}, {len(self._waiting)} waiting"

    def start(self) -> None:
        self._stopped = False
        keys = self._feed.keys
        left_s = keys.as_of_s + self._feed.refresh_s - self._times.now()
        if left_s > 0 and not keys.is_doubted:
            self._next = self._times.call_later(left_s, self._fetch)
        else:
            self._fetch()

    def stop(self) -> None:
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._fetching is not None:
            self._fetching.cancel()

    def admits_waiting(self) -> bool:
        """Say whether there is something to wait for: a fetch that runs, or one that may begin."""
        if self._stopped or len(self._waiting) >= MAX_WAITING:
            return False
        return self._fetching is not None or self._times.now() >= self._on_demand_from_s

    def add_waiting(self, then: Callable[[], None]) -> Callable[[], None]:
        ticket = object()
        self._waiting[ticket] = then
        if self._fetching is None:
            self._on_demand_from_s = self._times.now() + ON_DEMAND_S
            self._fetch()
        return lambda: self._call_off(ticket)

    def _call_off(self, ticket: object) -> None:
        self._waiting.pop(ticket, None)

    def _fetch(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        fetched = self._feed.fetcher.fetch(self._feed.url)
        # Noted before anything is added: it may have its result already.
        fetching: Deferred[None] = fetched.addCallback(self._take)
        self._fetching = fetching
        fetching.addErrback(self._fail).addBoth(self._end)

    def _take(self, fetched: Fetched) -> None:
        if fetched.status != 200:
            raise FetchFailed(f"status {fetched.status}")
        keys = self._feed.keys
        before = keys.edition
        keys.replace(fetched.body, self._times.now())
        if self._failures or keys.edition != before:
            self.log.info("issuer {issuer}: {count} signing keys", issuer=self._feed.issuer_id, count=len(keys))
        self._failures = 0

    def _fail(self, failure: Failure) -> None:
        if self._stopped:
            return
        self._feed.keys.doubt()
        if not self._failures:
            self.log.warn(
                "issuer {issuer}: no signing keys from {url}: {reason}; {count} older ones stay in use",
                issuer=self._feed.issuer_id,
                url=self._feed.url,
                reason=failure.getErrorMessage(),
                count=len(self._feed.keys),
            )
        self._failures += 1
        if not failure.check(FetchFailed, UnusableKeys):
            self.log.failure("issuer {issuer}", failure, issuer=self._feed.issuer_id)

    def _end(self, _: object) -> None:
        self._fetching = None
        if not self._stopped:
            retry_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
            wait_s = retry_s if self._failures else self._feed.refresh_s
            self._next = self._times.call_later(wait_s, self._fetch)
        self._release()

    def _release(self) -> None:
        for ticket in list(self._waiting):
            # One of them may call another off.
            then = self._waiting.pop(ticket, None)
            if then is not None:
                then()
