"""
The MCP server behind every subject: as fast as plain Python allows, so that it is never what is measured.

``POST /mcp`` answers a call; ``POST /hold`` answers one when it is told to; ``GET /sse`` opens an event stream
and sends its first event; ``GET /stamped`` one whose events say when they were sent; ``GET /big/N`` sends N MiB;
``POST /sink`` counts a body and answers its checksum. The runner also speaks to it directly, past the subject:
``POST /pace/N`` sends N events a second from now on, spread evenly over time and over all streams (0: none);
``POST /release`` answers all calls that are held. Both answer how many events were sent since the start, and how
many streams are open and calls held. It leaves when its standard input is closed, so that it cannot outlive the
runner.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import sys
import time
import zlib
from collections.abc import Callable, Sequence

from benchmarks import messages
from benchmarks.pace import Pace

READ_BYTES = 256 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
_ANSWER_HEAD = _HEAD % (b"application/json", messages.ANSWER_BYTES)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Connection:
    """One connection from the subject under test: what was read of it and what is still to be sent."""

    __slots__ = (
        "blocks_left",
        "checksum",
        "counted",
        "is_stamped",
        "next_event",
        "sink_left",
        "sock",
        "unread",
        "unsent",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.unread = b""
        self.unsent = memoryview(b"")
        self.blocks_left = 0
        self.sink_left = 0
        self.counted = 0
        self.checksum = 0
        self.next_event = 0
        self.is_stamped = False

    def send(self, message: bytes) -> bool:
        """Send at once what the socket takes and keep the rest; return False if something is left."""
        if self.unsent:
            self.unsent = memoryview(bytes(self.unsent) + message)
            return False
        try:
            sent = self.sock.send(message)
        except BlockingIOError:
            sent = 0
        self.unsent = memoryview(message)[sent:]
        return not self.unsent

    def await_body(self, size_bytes: int) -> None:
        """Expect so many bytes to count."""
        self.unread, self.sink_left, self.counted, self.checksum = b"", size_bytes, 0, 0

    def flush(self) -> bool:
        """Go on sending, the blocks of a bulk body too; return True when all is out."""
        with contextlib.suppress(BlockingIOError):
            while self.unsent or self.blocks_left:
                if not self.unsent:
                    self.unsent = memoryview(messages.BLOCK)
                    self.blocks_left -= 1
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        return not (self.unsent or self.blocks_left)


class Upstream:
    """The server: one thread, one epoll, no queue but the one the kernel keeps."""

    def __init__(self, listener: socket.socket, clock: Callable[[], float]) -> None:
        self._listener = listener
        self._clock = clock
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._streams: dict[int, Connection] = {}
        #: The number of the call that each waits to have answered.
        self._held: dict[int, int] = {}
        self._order: Sequence[Connection] = ()
        self._turn = 0
        self._events_sent = 0
        self._pace = Pace()

    def run(self, lifeline: int) -> None:
        """Serve until the descriptor ``lifeline`` becomes readable, which is when the other end is gone."""
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(lifeline, select.EPOLLIN)
        while True:
            for descriptor, mask in self._epoll.poll(0 if self._pace.runs else None):
                if descriptor == lifeline:
                    return
                self._serve(descriptor, mask)
            if self._pace.runs:
                self._send_due()
                # To the microsecond, where an epoll of its own waits for whole milliseconds.
                select.select([self._epoll], (), (), self._pace.wait_s(self._clock()))

    def _serve(self, descriptor: int, mask: int) -> None:
        if descriptor == self._listener.fileno():
            self._accept()
            return
        connection = self._connections[descriptor]
        try:
            if mask & select.EPOLLOUT and connection.flush():
                self._epoll.modify(descriptor, select.EPOLLIN)
            if mask & ~select.EPOLLOUT:
                received = connection.sock.recv(READ_BYTES)
                if not received:
                    self._close(connection)
                elif connection.sink_left:
                    self._sink(connection, received)
                else:
                    self._read(connection, received)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ValueError):
            # Nothing of ours, or cut: the load generator misses its answer and says so.
            self._close(connection)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = Connection(sock)
                self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _close(self, connection: Connection) -> None:
        descriptor = connection.sock.fileno()
        self._connections.pop(descriptor, None)
        self._held.pop(descriptor, None)
        if self._streams.pop(descriptor, None) is not None:
            self._order = ()
        connection.sock.close()

    def _read(self, connection: Connection, received: bytes) -> None:
        received = connection.unread + received if connection.unread else received
        head, blank_line, _ = received.partition(b"\r\n\r\n")
        if not blank_line:
            connection.unread = received
            return
        end = len(head) + len(blank_line)
        length = _LENGTH.search(received, 0, end)
        body_bytes = int(length.group(1)) if length else 0
        if received.startswith(b"POST /sink"):
            connection.await_body(body_bytes)
            self._sink(connection, received[end:])
        elif len(received) < end + body_bytes:
            connection.unread = received
        else:
            connection.unread = received[end + body_bytes :]
            self._answer(connection, received, received[end : end + body_bytes])

    def _answer(self, connection: Connection, head: bytes, body: bytes) -> None:
        if head.startswith(b"POST /mcp "):
            self._send(connection, _ANSWER_HEAD + messages.answer(messages.call_number(body)))
        elif head.startswith(b"POST /hold "):
            self._held[connection.sock.fileno()] = messages.call_number(body)
        elif head.startswith((b"GET /sse ", b"GET /stamped ")):
            connection.is_stamped = head.startswith(b"GET /stamped ")
            self._streams[connection.sock.fileno()] = connection
            self._order = ()
            self._send(connection, _STREAM_HEAD + self._next_frame(connection))
        elif head.startswith(b"GET /big/"):
            blocks = connection.blocks_left = int(head[9 : head.index(b" ", 9)])
            self._send(connection, _HEAD % (b"application/octet-stream", blocks * messages.MIB))
            self._epoll.modify(connection.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
        elif head.startswith(b"POST /pace/"):
            self._pace.start(float(head[11 : head.index(b" ", 11)]), self._clock())
            self._tell(connection, self._counts())
        elif head.startswith(b"POST /release "):
            self._tell(connection, self._counts())
            self._release()
        else:
            raise ValueError(f"not a request of this benchmark: {head[:60]!r}")

    def _counts(self) -> dict[str, int]:
        return {"events_sent": self._events_sent, "streams": len(self._streams), "held": len(self._held)}

    def _release(self) -> None:
        held, self._held = self._held, {}
        for descriptor, number in held.items():
            connection = self._connections[descriptor]
            try:
                self._send(connection, _ANSWER_HEAD + messages.answer(number))
            except OSError:
                # Cut while it waited: its caller misses the answer and says so.
                self._close(connection)

    def _sink(self, connection: Connection, received: bytes) -> None:
        connection.sink_left -= len(received)
        connection.counted += len(received)
        connection.checksum = zlib.crc32(received, connection.checksum)
        if connection.sink_left == 0:
            self._tell(connection, {"counted_bytes": connection.counted, "crc32": connection.checksum})

    def _tell(self, connection: Connection, report: dict[str, int]) -> None:
        body = json.dumps(report).encode()
        self._send(connection, _HEAD % (b"application/json", len(body)) + body)

    def _send(self, connection: Connection, message: bytes) -> None:
        if not connection.send(message):
            self._epoll.modify(connection.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _next_frame(self, connection: Connection) -> bytes:
        number = connection.next_event
        if connection.is_stamped:
            frame = messages.stamped_frame(number, time.monotonic_ns())
        else:
            frame = messages.event_frame(number)
        connection.next_event += 1
        self._events_sent += 1
        return frame

    def _send_due(self) -> None:
        self._order = self._order or tuple(self._streams.values())
        for _ in range(self._pace.due(self._clock()) if self._order else 0):
            self._turn = (self._turn + 1) % len(self._order)
            connection = self._order[self._turn]
            try:
                self._send(connection, self._next_frame(connection))
            except OSError:
                # The subject cut it; the load generator will miss the events and say so.
                self._close(connection)
                return


def main() -> None:
    """Serve on the descriptor named by the only argument, a listening socket the runner made."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(False)
    Upstream(listener, time.monotonic).run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
