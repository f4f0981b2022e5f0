"""Three kinds of clients for one loop: readers of streams, callers at a fixed pace, a fetcher of large bodies."""

from __future__ import annotations

import socket
import time
import zlib
from collections import deque
from functools import partial

from benchmarks import messages
from benchmarks.answers import BrokenAnswer, EventReader, is_whole_answer, split_head
from benchmarks.harness import Subject
from benchmarks.load.bulk import bulk_request
from benchmarks.load.listeners import OPENING_AT_ONCE
from benchmarks.load.loop import Loop
from benchmarks.load.requests import SILENCE_S, call_head, received_from, stream_request


class StampedReader(EventReader):
    """
    Follows a stream whose events say when they were sent; checks as much as its base.

    :param delays_s: takes how long each event was under way, in seconds.
    """

    __slots__ = ("_delays_s",)

    def __init__(self, delays_s: list[float]) -> None:
        super().__init__()
        self._delays_s = delays_s

    def _check(self, got: bytes) -> None:
        sent_ns = messages.sent_ns_of(got)
        if sent_ns is None or got != messages.stamped_event(self.expected, sent_ns):
            super()._check(got)
            return
        delay_s = (time.monotonic_ns() - sent_ns) / 1e9
        if delay_s < 0:
            raise BrokenAnswer(f"event {self.expected} came before it was sent")
        self._delays_s.append(delay_s)


class StampedListeners:
    """Many streams; ``delays_s`` grows by each event, those that open the streams too."""

    def __init__(self, loop: Loop, subject: Subject, count: int) -> None:
        """
        Open them.

        :raises BrokenAnswer: if one does not open.
        """
        self.delays_s: list[float] = []
        self._sockets: list[socket.socket] = []
        request = stream_request(subject, "/stamped")
        for number in range(count):
            sock = subject.connect()
            sock.sendall(request)
            self._sockets.append(sock)
            loop.watch(sock, partial(self._read, sock, StampedReader(self.delays_s)))
            self.catch_up(loop, number + 1 - OPENING_AT_ONCE)
        self.catch_up(loop, count)

    def catch_up(self, loop: Loop, wanted: int) -> None:
        """
        Turn the loop until so many events came in all.

        :raises BrokenAnswer: if they do not come.
        """
        deadline = time.monotonic() + SILENCE_S
        while len(self.delays_s) < wanted:
            loop.turn(1.0)
            if time.monotonic() > deadline:
                raise BrokenAnswer(f"events are lost: {wanted} were sent, {len(self.delays_s)} came")

    def close(self) -> None:
        """Leave all streams."""
        for sock in self._sockets:
            sock.close()

    def _read(self, sock: socket.socket, reader: StampedReader) -> None:
        reader.feed(received_from(sock))


class PacedCallers:
    """
    Callers on keep-alive connections who call at a fixed pace, whether the calls before are answered or not.

    ``waits_s`` grows by each answer: from when the call was due, which is before it was sent if all connections were
    taken or this side is behind.
    """

    def __init__(self, loop: Loop, subject: Subject, connections: int) -> None:
        self.waits_s: list[float] = []
        self._head = call_head(subject)
        self._number = messages.FIRST_CALL
        self._sockets = [subject.connect() for _ in range(connections)]
        self._free = deque(self._sockets)
        self._overdue: deque[float] = deque()
        self._answering: dict[socket.socket, tuple[int, float, bytes]] = {}
        for sock in self._sockets:
            loop.watch(sock, partial(self._read, sock))

    @property
    def is_waiting(self) -> bool:
        """Whether answers are still to come."""
        return bool(self._answering or self._overdue)

    def call(self, due_s: float) -> None:
        """Make the call that is due at that moment, on the first connection that is free."""
        self._overdue.append(due_s)
        self._send()

    def close(self) -> None:
        """Leave."""
        for sock in self._sockets:
            sock.close()

    def _send(self) -> None:
        while self._overdue and self._free:
            sock = self._free.popleft()
            self._number += 1
            self._answering[sock] = self._number, self._overdue.popleft(), b""
            sock.sendall(self._head + messages.call(self._number))

    def _read(self, sock: socket.socket) -> None:
        received = received_from(sock)
        if sock not in self._answering:
            raise BrokenAnswer(f"an answer to no call: {received[:200]!r}")
        number, due_s, before = self._answering[sock]
        if not is_whole_answer(before + received, number):
            self._answering[sock] = number, due_s, before + received
            return
        del self._answering[sock]
        self.waits_s.append(time.monotonic() - due_s)
        self._free.append(sock)
        self._send()


class Fetcher:
    """Fetches a large body again and again, with pauses; ``fetched`` counts, ``left_bytes`` are still to come."""

    def __init__(self, loop: Loop, subject: Subject, mebibytes: int) -> None:
        self.fetched = self.left_bytes = 0
        self._sock = subject.connect()
        self._request = bulk_request(subject, mebibytes)
        self._size_bytes = mebibytes * messages.MIB
        self._expected = messages.bulk_checksum(mebibytes)
        self._head = b""
        self._checksum = 0
        loop.watch(self._sock, self._read)

    def fetch(self) -> None:
        """Ask for the next one, unless the last is still under way."""
        if not self.left_bytes:
            self._head, self._checksum, self.left_bytes = b"", 0, self._size_bytes
            self._sock.sendall(self._request)

    def close(self) -> None:
        """Leave."""
        self._sock.close()

    def _read(self) -> None:
        received = received_from(self._sock)
        if self.left_bytes == self._size_bytes:
            self._head += received
            parts = split_head(self._head)
            if parts is None:
                return
            received = parts[1]
        self._checksum = zlib.crc32(received, self._checksum)
        self.left_bytes -= len(received)
        if self.left_bytes > 0:
            return
        if self.left_bytes < 0 or self._checksum != self._expected:
            raise BrokenAnswer(f"a body of {self._size_bytes} bytes came changed, or {-self.left_bytes} bytes longer")
        self.fetched += 1
