"""
The clients: callers on keep-alive connections, and readers of many streams. Raw sockets on one epoll.

They check everything they receive; what is not as it should be ends the benchmark.
"""

from __future__ import annotations

import select
import socket
import time
import zlib

from benchmarks import answers, messages
from benchmarks.harness import Subject
from benchmarks.peers.ground import PATH

READ_BYTES = 65536
BULK_READ_BYTES = 256 * 1024
# Longer than any subject may take for one answer; a stall is an error, not a slow figure.
SILENCE_S = 15.0
# Fewer than any listener's backlog: a refused or retried SYN would cost a second and say nothing.
OPENING_AT_ONCE = 64

_STREAM_REQUEST = (
    "GET {path}/sse HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n"
    "Cache-Control: no-store\r\nUser-Agent: mcp-bench/1\r\nMCP-Protocol-Version: 2025-11-25\r\n"
    "{fields}\r\n"
)


class Callers:
    """A number of clients, each of which sends its next call as soon as it has the answer to the last one."""

    def __init__(self, subject: Subject, connections: int) -> None:
        self._head = messages.call_head(f"{PATH}/mcp", subject.port, subject.fields)
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
        self._sockets[descriptor].send(self._head + messages.call(self._next))


class Listeners:
    """A number of clients, each with one open event stream."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._request = _STREAM_REQUEST.format(
            path=PATH, port=subject.port, fields=subject.fields.decode()
        ).encode()
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


def fetch_bulk(subject: Subject, mebibytes: int) -> None:
    """
    Fetch a large body through the subject and check it.

    :raises answers.BrokenAnswer: if it is not what the upstream sent.
    """
    target = f"{PATH}/big/{mebibytes}"
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{subject.port}\r\nConnection: close\r\n\r\n"
    with subject.connect() as sock:
        sock.sendall(request.encode())
        received = b""
        while (parts := answers.split_head(received)) is None:
            received += _receive(sock)
        checksum, left_bytes = zlib.crc32(parts[1]), mebibytes * messages.MIB - len(parts[1])
        buffer = bytearray(BULK_READ_BYTES)
        while left_bytes > 0 and (count := sock.recv_into(buffer)):
            checksum = zlib.crc32(memoryview(buffer)[:count], checksum)
            left_bytes -= count
    if left_bytes or checksum != messages.bulk_checksum(mebibytes):
        raise answers.BrokenAnswer(f"a body of {mebibytes} MiB came changed, or {left_bytes} bytes short")


def send_bulk(subject: Subject, mebibytes: int) -> None:
    """
    Send a large body through the subject and check what the upstream says it received.

    :raises answers.BrokenAnswer: if that is not what was sent.
    """
    head = (
        f"POST {PATH}/sink HTTP/1.1\r\nHost: 127.0.0.1:{subject.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {mebibytes * messages.MIB}\r\nConnection: close\r\n\r\n"
    )
    with subject.connect() as sock:
        sock.sendall(head.encode())
        for _ in range(mebibytes):
            sock.sendall(messages.BLOCK)
        received = b""
        while (parts := answers.split_head(received)) is None or not parts[1].endswith(b"}"):
            received += _receive(sock)
    expected = (mebibytes * messages.MIB, messages.bulk_checksum(mebibytes))
    if not received.endswith(b'{"counted_bytes": %d, "crc32": %d}' % expected):
        raise answers.BrokenAnswer(f"expected {expected!r} of the upstream, got {received!r}")


def _receive(sock: socket.socket) -> bytes:
    received = sock.recv(READ_BYTES)
    if not received:
        raise answers.BrokenAnswer("the connection was closed before the answer")
    return received
