"""One client that does one thing at a time and takes the time of it. Seconds of the machine's finest clock."""

from __future__ import annotations

import socket
import time

from benchmarks import answers, messages
from benchmarks.harness import Subject
from benchmarks.load.requests import SILENCE_S, received_from, stream_request


class SingleCaller:
    """
    One client on one keep-alive connection, which it closes.

    :param sock: connected to where the calls go.
    :param head: what stands before each call.
    """

    def __init__(self, sock: socket.socket, head: bytes) -> None:
        self._sock = sock
        self._sock.settimeout(SILENCE_S)
        self._head = head
        self._number = messages.FIRST_CALL

    def call(self) -> float:
        """
        Call and wait for the answer; return how long it took.

        :raises answers.BrokenAnswer: if it is not the answer to this call.
        """
        self._number += 1
        request, received = self._head + messages.call(self._number), b""
        started_s = time.perf_counter()
        self._sock.sendall(request)
        while not received or not answers.is_whole_answer(received, self._number):
            received += received_from(self._sock)
        return time.perf_counter() - started_s

    def close(self) -> None:
        """Leave."""
        self._sock.close()


def first_event_s(subject: Subject) -> float:
    """
    Connect, ask for a stream, wait for its first event, leave; return how long it took up to the event.

    :raises answers.BrokenAnswer: if that is not the event.
    """
    request, reader, events = stream_request(subject), answers.EventReader(), 0
    started_s = time.perf_counter()
    with subject.connect() as sock:
        sock.sendall(request)
        while not events:
            events = reader.feed(received_from(sock))
        took_s = time.perf_counter() - started_s
    if events > 1:
        raise answers.BrokenAnswer(f"{events} events came where one was sent")
    return took_s
