"""Readers of many event streams. One epoll for all."""

from __future__ import annotations

import select
import socket
import time

from benchmarks import answers
from benchmarks.harness import Subject
from benchmarks.load.requests import READ_BYTES, SILENCE_S, stream_request

# Fewer than any listener's backlog: a refused or retried SYN would cost a second and say nothing.
OPENING_AT_ONCE = 64


class Listeners:
    """A number of clients, each with one open event stream."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._request = stream_request(subject)
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._readers: dict[int, answers.EventReader] = {}
        self.events = 0

    def open(self, count: int) -> None:
        """
        Open so many streams; return when the first event is there on each.

        :raises answers.BrokenAnswer: if one does not open.
        """
        wanted = self.events + count
        for number in range(count):
            sock = self._subject.connect()
            sock.sendall(self._request)
            self._sockets[sock.fileno()] = sock
            self._readers[sock.fileno()] = answers.EventReader()
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self.catch_up(wanted - count + number + 1 - OPENING_AT_ONCE)
        self.catch_up(wanted)

    def listen(self, seconds: float) -> None:
        """Read and check for so long; ``events`` counts."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self._read(left_s)

    def catch_up(self, wanted: int) -> None:
        """
        Read until so many events came in all.

        :raises answers.BrokenAnswer: if they do not come.
        """
        deadline = time.monotonic() + SILENCE_S
        while self.events < wanted:
            self._read(1.0)
            if time.monotonic() > deadline:
                raise answers.BrokenAnswer(f"events are lost: {wanted} were sent, {self.events} came")

    def close(self) -> None:
        """Leave all streams, as a client does that cancels."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        self._readers.clear()
        self._epoll.close()
        self._epoll = select.epoll()

    def _read(self, wait_s: float) -> None:
        for descriptor, _ in self._epoll.poll(wait_s, 1024):
            received = self._sockets[descriptor].recv(READ_BYTES)
            if not received:
                raise answers.BrokenAnswer("an open stream was closed")
            self.events += self._readers[descriptor].feed(received)
