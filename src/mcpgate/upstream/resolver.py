"""
Names to addresses, without the reactor's own thread pool.

That pool has ten threads for everything; a silent DNS server would fill it and stop the rest. Here a few threads of
our own, a short cache, and IP literals that never leave the reactor's thread.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

#: getaddrinfo tells no time to live. 10 s is short enough to follow a moved container, and saves a thread per dial.
CACHE_S = 10.0
#: Names that are kept at once; whoever registers replicas could invent any number.
MAX_CACHED = 1000

Lookup = Callable[[str], "Deferred[list[str]]"]


def look_up(host: str) -> list[str]:
    """Addresses of a host in the system's order (blocking: run it in a thread)."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """
    :param in_thread: runs `look_up` elsewhere and gives a Deferred of its result.
    :param now: monotonic seconds.
    """

    def __init__(self, in_thread: Lookup, now: Callable[[], float]) -> None:
        self._in_thread = in_thread
        self._now = now
        self._cache: dict[str, tuple[float, list[str]]] = {}
        self._running: dict[str, list[Deferred[list[str]]]] = {}

    def resolve(self, host: str) -> Deferred[list[str]]:
        """
        The addresses of a host, at least one.

        Fails with ``OSError`` if there is none. Cancelling drops the caller; the look-up itself runs on and fills the
        cache.
        """
        try:
            return succeed([str(ipaddress.ip_address(host))])
        except ValueError:
            pass
        found = self._cache.get(host)
        if found is not None and found[0] > self._now():
            return succeed(found[1])
        waiting: Deferred[list[str]] = Deferred(lambda cancelled: self._running[host].remove(cancelled))
        if host in self._running:
            self._running[host].append(waiting)
        else:
            self._running[host] = [waiting]
            self._in_thread(host).addBoth(self._found, host)
        return waiting

    def _found(self, result: list[str] | Failure, host: str) -> None:
        if not result:
            result = Failure(OSError(f"{host} has no address"))
        if isinstance(result, list):
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[host] = (self._now() + CACHE_S, result)
        for waiting in self._running.pop(host):
            waiting.callback(result)
