"""Callers on keep-alive connections, each of which calls as soon as it is answered. One epoll for all."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Sequence

from benchmarks import answers, messages
from benchmarks.harness import Subject
from benchmarks.load.requests import READ_BYTES, SILENCE_S, call_head


class Callers:
    """
    A number of clients, each of which sends its next call as soon as it has the answer to the last one.

    :param heads: what stands before the calls, in turn, whoever makes them; by default the same before all.
    """

    def __init__(self, subject: Subject, connections: int, heads: Sequence[bytes] = ()) -> None:
        self._heads = itertools.cycle(heads or (call_head(subject),))
        self._next = messages.FIRST_CALL
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._waiting: dict[int, tuple[int, bytes]] = {}
        for _ in range(connections):
            sock = subject.connect()
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self._call(sock.fileno())

    def run(self, seconds: float) -> int:
        """
        Keep calling for so long; return how many answers came.

        :raises answers.BrokenAnswer: on a wrong answer, a closed connection or silence.
        """
        answered = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ready = self._epoll.poll(SILENCE_S)
            if not ready:
                raise answers.BrokenAnswer(f"no answer within {SILENCE_S:.0f} s")
            for descriptor, _ in ready:
                answered += self._read(descriptor)
        return answered

    def close(self) -> None:
        """Leave; answers still under way are not waited for."""
        for sock in self._sockets.values():
            sock.close()
        self._epoll.close()

    def _read(self, descriptor: int) -> int:
        received = self._sockets[descriptor].recv(READ_BYTES)
        if not received:
            raise answers.BrokenAnswer("a keep-alive connection was closed")
        number, before = self._waiting[descriptor]
        received = before + received
        if not answers.is_whole_answer(received, number):
            self._waiting[descriptor] = number, received
            return 0
        self._call(descriptor)
        return 1

    def _call(self, descriptor: int) -> None:
        self._next += 1
        self._waiting[descriptor] = self._next, b""
        self._sockets[descriptor].send(next(self._heads) + messages.call(self._next))
