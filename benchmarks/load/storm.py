"""Many clients who come in the same moment, as after a restart or a cut network: nobody waits for anybody."""

from __future__ import annotations

import errno
import os
import select
import socket
import time

from benchmarks.answers import BrokenAnswer, EventReader
from benchmarks.harness import Subject
from benchmarks.load.requests import SILENCE_S, received_from, stream_request

_UNDER_WAY = (0, errno.EINPROGRESS)


class Storm:
    """So many clients, each of which wants one event stream."""

    def __init__(self, subject: Subject, count: int) -> None:
        self._address = ("127.0.0.1", subject.port)
        self._request = stream_request(subject)
        self._count = count
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._readers: dict[int, EventReader] = {}
        self._began_s: dict[int, float] = {}

    def break_out(self) -> list[float]:
        """
        Connect all, as fast as this machine can, and have each ask for its stream as soon as it is connected.

        :returns: for each, the seconds from its own connecting to its first event.
        :raises BrokenAnswer: if one is turned away, or gets something else, or nothing.
        """
        for _ in range(self._count):
            self._come()
        waits_s: list[float] = []
        while len(waits_s) < self._count:
            ready = self._epoll.poll(SILENCE_S)
            if not ready:
                raise BrokenAnswer(f"{self._count - len(waits_s)} of {self._count} streams do not open")
            for descriptor, mask in ready:
                if mask & select.EPOLLOUT:
                    self._ask(descriptor)
                elif self._has_first_event(descriptor):
                    waits_s.append(time.monotonic() - self._began_s[descriptor])
        return waits_s

    def close(self) -> None:
        """Leave, all at once."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._epoll.close()

    def _come(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._began_s[sock.fileno()] = time.monotonic()
        if (error := sock.connect_ex(self._address)) not in _UNDER_WAY:
            raise BrokenAnswer(f"a client cannot connect: {os.strerror(error)}")
        self._sockets[sock.fileno()] = sock
        self._readers[sock.fileno()] = EventReader()
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def _ask(self, descriptor: int) -> None:
        sock = self._sockets[descriptor]
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise BrokenAnswer(f"a client was turned away: {os.strerror(error)}")
        sock.send(self._request)
        self._epoll.modify(descriptor, select.EPOLLIN)

    def _has_first_event(self, descriptor: int) -> bool:
        return self._readers[descriptor].feed(received_from(self._sockets[descriptor])) > 0
