"""
Names to addresses, without the reactor's own thread pool.

That pool has ten threads for everything; a silent DNS server would fill it and stop the rest. Here a few threads of
our own, a short cache, and IP literals that never leave the reactor's thread.

A name server that is silent or broken costs nothing where a name was known before: its last addresses hold for a while
longer. Only a name server that knows the name no more is believed at once, since the address may be another's by now.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

#: getaddrinfo tells no time to live. 10 s is short enough to follow a moved container, and saves a thread per dial.
CACHE_S = 10.0
#: How long the last addresses hold while nothing newer can be had: twice the silence that should go unnoticed.
STALE_S = 600.0
#: How long a look-up is waited for if older addresses are known. An answer takes some milliseconds; where it takes
#: more, a packet was lost, and glibc asks again after 5 s only.
PATIENCE_S = 0.5
#: Names that are kept at once, those that were looked up last; as many as servers may register.
MAX_CACHED = 10_000
_UNBOUNDED: Final = 1 << 30
#: The name server has answered, and there is no such name, or none with an address. (Not every system has the latter.)
_FINAL: Final = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))

Lookup = Callable[[str], "Deferred[list[str]]"]


def look_up(host: str) -> list[str]:
    """Addresses of a host in the system's order (blocking: run it in a thread)."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def literal(host: str) -> str:
    """An IP literal as the system writes it; empty if the host is a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


class TooManyLookups(OSError):
    """So many names wait for a thread that one more would only wait in vain."""


@dataclass(slots=True)
class _Known:
    """
    What was found last.

    :ivar fresh_until_s: nobody asks again before that.
    :ivar is_doubtful: whoever was asked since has not answered, so that nobody waits for the next answer either.
    """

    addresses: list[str]
    found_at_s: float
    fresh_until_s: float
    is_doubtful: bool = False


@dataclass(slots=True, eq=False)
class _Question:
    """One name that is being looked up, or will be; who waits for it, and the end of their patience."""

    host: str
    waiting: list[Deferred[list[str]]] = field(default_factory=list)
    patience: IDelayedCall | None = None

    def answer(self, result: list[str] | Failure) -> None:
        """Tell those who wait. What they do now may make others leave."""
        while self.waiting:
            self.waiting.pop(0).callback(result)

    def close(self) -> None:
        """Leave no timer behind."""
        if self.patience is not None and self.patience.active():
            self.patience.cancel()


class Resolver:
    """
    :param in_thread: runs `look_up` elsewhere and gives a Deferred of its result.
    :param now: monotonic seconds.
    :param call_later: as the reactor's; without it, who waits for a silent name server waits until it gives up.
    :param at_once: look-ups that run at the same time: as many as there are threads.
    :param max_waiting: names that wait for their turn; for names that somebody else invents.
    """

    def __init__(
        self,
        in_thread: Lookup,
        now: Callable[[], float],
        call_later: Callable[..., IDelayedCall] | None = None,
        at_once: int = _UNBOUNDED,
        max_waiting: int = _UNBOUNDED,
    ) -> None:
        self._in_thread = in_thread
        self._now = now
        self._call_later = call_later
        self._at_once = at_once
        self._max_waiting = max_waiting
        self._cache: OrderedDict[str, _Known] = OrderedDict()
        self._questions: dict[str, _Question] = {}
        self._queue: OrderedDict[str, _Question] = OrderedDict()

    def resolve(self, host: str) -> Deferred[list[str]]:
        """
        The addresses of a host, at least one; those of up to ten minutes ago while there is no newer answer.

        Fails with ``OSError`` if there is none, `TooManyLookups` if nobody can be asked. Cancelling drops the caller; a
        look-up that has begun runs on and fills the cache, one that has not and that nobody else waits for is dropped.
        """
        if address := literal(host):
            return succeed([address])
        known = self._recall(host)
        if known is not None and known.fresh_until_s > self._now():
            return succeed(known.addresses)
        question = self._questions.get(host) or self._ask(host)
        if question is None:
            full = TooManyLookups(f"{len(self._queue)} names wait to be looked up already")
            return fail(full) if known is None else succeed(known.addresses)
        waiting: Deferred[list[str]] = Deferred(partial(self._leave, question))
        question.waiting.append(waiting)
        self._begin()
        if known is not None and known.is_doubtful:
            question.answer(known.addresses)
        elif known is not None and question.patience is None and self._call_later is not None and question.waiting:
            question.patience = self._call_later(PATIENCE_S, self._lose_patience, question)
        return waiting

    def ensure_allowed(self, host: str, address: str) -> None:
        """What the configuration names may be dialled; see `GuardedResolver` for what it does not."""

    def _recall(self, host: str) -> _Known | None:
        known = self._cache.get(host)
        return known if known is not None and known.found_at_s + STALE_S > self._now() else None

    def _ask(self, host: str) -> _Question | None:
        if len(self._queue) >= self._max_waiting and self._running >= self._at_once:
            return None
        question = self._questions[host] = self._queue[host] = _Question(host)
        return question

    @property
    def _running(self) -> int:
        return len(self._questions) - len(self._queue)

    def _begin(self) -> None:
        """Those who wait longest first, as far as there are threads."""
        while self._queue and self._running < self._at_once:
            host, question = self._queue.popitem(last=False)
            self._in_thread(host).addBoth(self._end, question)

    def _leave(self, question: _Question, left: Deferred[list[str]]) -> None:
        if left in question.waiting:
            question.waiting.remove(left)
        if not question.waiting and self._queue.pop(question.host, None) is not None:
            del self._questions[question.host]
            question.close()

    def _lose_patience(self, question: _Question) -> None:
        """The look-up goes on; until it ends, nobody waits for it."""
        known = self._recall(question.host)
        if known is not None:
            known.is_doubtful = True
            question.answer(known.addresses)

    def _end(self, result: list[str] | Failure, question: _Question) -> None:
        del self._questions[question.host]
        question.close()
        if not result:
            result = Failure(socket.gaierror(socket.EAI_NONAME, f"{question.host} has no address"))
        if isinstance(result, list):
            self._keep(question.host, result)
        else:
            result = self._fall_back(question.host, result)
        question.answer(result)
        self._begin()

    def _keep(self, host: str, addresses: list[str]) -> None:
        now_s = self._now()
        self._cache.pop(host, None)
        if len(self._cache) >= MAX_CACHED:
            self._cache.popitem(last=False)
        self._cache[host] = _Known(addresses, now_s, now_s + CACHE_S)

    def _fall_back(self, host: str, failure: Failure) -> list[str] | Failure:
        """What was known before, unless it is certain that it holds no more."""
        known = self._recall(host)
        if known is None or (isinstance(failure.value, socket.gaierror) and failure.value.errno in _FINAL):
            self._cache.pop(host, None)
            return failure
        known.is_doubtful = True
        known.fresh_until_s = self._now() + CACHE_S
        return known.addresses
