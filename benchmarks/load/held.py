"""Callers who wait: many connections, one call on each, answered when the upstream is told to."""

from __future__ import annotations

import select
import socket
import time

from benchmarks import answers, messages
from benchmarks.harness import Subject
from benchmarks.load.listeners import OPENING_AT_ONCE
from benchmarks.load.requests import SILENCE_S, call_head, received_from, tell_upstream


class HeldCallers:
    """A number of clients, connected; each makes one call, whose answer is held back."""

    def __init__(self, subject: Subject, count: int) -> None:
        self._subject = subject
        self._sockets = [subject.connect() for _ in range(count)]

    def call(self) -> None:
        """
        Call; return when the upstream holds every call.

        :raises answers.BrokenAnswer: if one does not reach it.
        """
        head = call_head(self._subject, "/hold")
        for place, sock in enumerate(self._sockets):
            sock.sendall(head + messages.call(messages.FIRST_CALL + place))
            if place % OPENING_AT_ONCE == 0:
                self._await_held(place + 1 - OPENING_AT_ONCE)
        self._await_held(len(self._sockets))

    def collect(self) -> None:
        """
        Have the calls answered; return when each caller has its own answer.

        :raises answers.BrokenAnswer: if one gets another's, or none.
        """
        waiting = {sock.fileno(): (messages.FIRST_CALL + at, sock, b"") for at, sock in enumerate(self._sockets)}
        with select.epoll() as epoll:
            for descriptor in waiting:
                epoll.register(descriptor, select.EPOLLIN)
            tell_upstream(self._subject, "/release")
            while waiting:
                ready = epoll.poll(SILENCE_S)
                if not ready:
                    raise answers.BrokenAnswer(f"{len(waiting)} calls that were held are not answered")
                for descriptor, _ in ready:
                    _read(waiting, descriptor)

    def close(self) -> None:
        """Leave."""
        for sock in self._sockets:
            sock.close()

    def _await_held(self, wanted: int) -> None:
        deadline = time.monotonic() + SILENCE_S
        while (held := tell_upstream(self._subject, "/pace/0")["held"]) < wanted:
            if time.monotonic() > deadline:
                raise answers.BrokenAnswer(f"of {wanted} calls the upstream has {held}")
            time.sleep(0.005)


def _read(waiting: dict[int, tuple[int, socket.socket, bytes]], descriptor: int) -> None:
    if descriptor not in waiting:
        raise answers.BrokenAnswer("something came after the answer")
    number, sock, before = waiting.pop(descriptor)
    received = before + received_from(sock)
    if not answers.is_whole_answer(received, number):
        waiting[descriptor] = number, sock, received
