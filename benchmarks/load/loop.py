"""Several kinds of clients in one thread: one epoll, and each kind is told of what comes for it."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable


class Loop:
    """Tells of sockets that can be read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._on_readable: dict[int, Callable[[], None]] = {}

    def watch(self, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        """Call that whenever the socket can be read."""
        self._on_readable[sock.fileno()] = on_readable
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def turn(self, wait_s: float) -> None:
        """Wait so long at most, to the microsecond; tell of all that can be read then."""
        # An epoll of its own waits for whole milliseconds.
        select.select([self._epoll], (), (), max(0.0, wait_s))
        for descriptor, _ in self._epoll.poll(0, 1024):
            self._on_readable[descriptor]()

    def close(self) -> None:
        """Watch nothing any more; the sockets belong to whoever has opened them."""
        self._epoll.close()
        self._on_readable.clear()
