"""Raw ends for tests with real sockets: a caller, and upstreams that talk in threads of their own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

from mcpgate.testing import answer

Talk = Callable[["Line"], None]
Reply = Callable[["Line", bytes], None]
PATIENCE_S = 20.0
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST_EVENT = b"9\r\ndata: 1\n\n\r\n"
_READ_BYTES = 1 << 18


class Line:
    """
    One end of a connection, with a buffer.

    :ivar is_stream: whether an `Upstream` sends events on it.
    :ivar ended: set when an `Upstream` is done with it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE_S)
        self.buffer = b""
        self.is_stream = False
        self.ended = threading.Event()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send everything; blocks while the other end does not take it."""
        self.sock.sendall(data)

    def read_until(self, mark: bytes) -> bytes:
        """
        Read up to and with a mark.

        :raises EOFError: if the connection ends first.
        """
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def read(self, count: int) -> bytes:
        """
        Read so many bytes.

        :raises EOFError: if the connection ends first.
        """
        while len(self.buffer) < count:
            self._more()
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def read_answer(self) -> tuple[int, bytes, bytes]:
        """One answer with a length: status, head and body."""
        head = self.read_until(b"\r\n\r\n")
        return int(head[9:12]), head, self.read(length_of(head))

    def read_to_end(self) -> bytes:
        """Everything up to the end of the connection, however it ends."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                self._more()
        return self.buffer

    def drop(self, count: int) -> None:
        """
        Read so many bytes and forget them.

        :raises EOFError: if the connection ends first.
        """
        here = min(count, len(self.buffer))
        self.buffer = self.buffer[here:]
        count -= here
        while count > 0:
            data = self.sock.recv(min(count, _READ_BYTES))
            if not data:
                raise EOFError
            count -= len(data)

    def drop_chunks(self) -> int:
        """Read a chunked body and forget it; how many bytes it was."""
        total = 0
        while size := int(self.read_until(b"\r\n"), 16):
            self.drop(size + 2)
            total += size
        self.read_until(b"\r\n")
        return total

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def hang_up(self) -> None:
        """End the connection although another thread is reading from it."""
        self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close."""
        self.sock.close()

    def _more(self) -> None:
        data = self.sock.recv(_READ_BYTES)
        if not data:
            raise EOFError(f"the end, after {self.buffer[-200:]!r}")
        self.buffer += data


def length_of(head: bytes) -> int:
    """The Content-Length of a head, 0 without one."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return int(lower[at + 17 : lower.index(b"\r\n", at + 2)]) if at >= 0 else 0


def call(port: int, host: str = "127.0.0.1") -> Line:
    """Connect to a gateway."""
    sock = socket.create_connection((host, port), PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Line(sock)


def ask(port: int, request: bytes) -> tuple[int, bytes, bytes]:
    """One request on a connection of its own: status, head and body of its answer."""
    with call(port) as line:
        line.send(request)
        return line.read_answer()


def good(line: Line, head: bytes) -> None:
    """Answer a request with its own target."""
    line.read(length_of(head))
    line.send(answer(b'{"target":"%b"}' % head.split(b" ")[1]))


def swallow(line: Line, head: bytes) -> None:
    """Take a body of any size, forget it, and answer."""
    if length_of(head):
        line.drop(length_of(head))
    else:
        line.drop_chunks()
    line.send(answer())


def events(line: Line, head: bytes) -> None:
    """An event stream that has begun and stays open until the other end leaves."""
    line.is_stream = True
    line.send(SSE_HEAD + FIRST_EVENT)
    line.read_to_end()


def talking(**replies: Reply) -> Talk:
    """Answer requests by the first segment of their path: as given, else with `good`."""

    def talk(line: Line) -> None:
        while True:
            head = line.read_until(b"\r\n\r\n")
            segment = head.split(b" ")[1].split(b"/")[1].decode()
            replies.get(segment, good)(line, head)

    return talk


class Upstream:
    """
    A server in threads: one that accepts, and one for each connection, which runs ``talk``.

    :ivar lines: all connections so far.
    """

    def __init__(
        self, talk: Talk | None = None, *, listener: socket.socket | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._talk = talk or talking()
        self._tls = tls
        self.lines: list[Line] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    @property
    def streams(self) -> list[Line]:
        """The event streams that are open."""
        return [line for line in self.lines if line.is_stream and not line.ended.is_set()]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        # Whatever ends a connection ends its thread: the test sees it from the other side.
        with contextlib.suppress(OSError, EOFError), sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(self._tls.wrap_socket(sock, server_side=True) if self._tls else sock)
            self.lines.append(line)
            with contextlib.suppress(OSError, EOFError), line:
                self._talk(line)
            line.ended.set()

    def close(self) -> None:
        """End it, with all its connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self.lines:
            with contextlib.suppress(OSError):
                line.sock.shutdown(socket.SHUT_RDWR)
            line.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)


@contextlib.contextmanager
def upstream(
    talk: Talk | None = None, *, listener: socket.socket | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Upstream]:
    """An `Upstream`, and its end."""
    server = Upstream(talk, listener=listener, tls=tls)
    try:
        yield server
    finally:
        server.close()
