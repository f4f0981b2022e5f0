"""
The MCP server behind peers that terminate MCP: as fast as plain Python allows, so that it is not what is measured.

It serves what `mcp_server` answers at ``/mcp``, on one thread and one epoll; requests must come with a length, not in
chunks. It leaves when its standard input is closed, so that it cannot outlive the runner. With ``--stdio`` it speaks
over its standard streams instead, one message a line, for a peer that starts its servers itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import sys
from collections.abc import Iterable, Iterator

from benchmarks.mcp_server import Server, answer_to, is_request, packed

READ_BYTES = 65536
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def split_request(received: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Cut the first request into head and body, and what follows it; None while it is not complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(received, 0, end + 2)
    body_end = end + 4 + (int(length.group(1)) if length else 0)
    if len(received) < body_end:
        return None
    return received[:end], received[end + 4 : body_end], received[body_end:]


class Upstream:
    """The server over HTTP. Its answers are short, so that a socket takes them whole."""

    def __init__(self, listener: socket.socket, server: Server) -> None:
        self._listener = listener
        self._server = server
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._unread: dict[int, bytes] = {}

    def run(self, lifeline: int) -> None:
        """Serve until the descriptor ``lifeline`` becomes readable, which is when the other end is gone."""
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(lifeline, select.EPOLLIN)
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == lifeline:
                    return
                if descriptor == self._listener.fileno():
                    self._accept()
                    continue
                try:
                    self._read(descriptor)
                except (OSError, ValueError):
                    # Nothing of MCP, or cut: whoever waits for an answer misses it and says so.
                    self._close(descriptor)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets[sock.fileno()], self._unread[sock.fileno()] = sock, b""
                self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _close(self, descriptor: int) -> None:
        self._sockets.pop(descriptor).close()
        del self._unread[descriptor]

    def _read(self, descriptor: int) -> None:
        sock = self._sockets[descriptor]
        received = sock.recv(READ_BYTES)
        if not received:
            self._close(descriptor)
            return
        received = self._unread[descriptor] + received
        while (parts := split_request(received)) is not None:
            head, body, received = parts
            sock.sendall(bytes(self._server.respond(head, body)))
        self._unread[descriptor] = received


def spoken(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Answer requests that come one a line; notifications are not answered."""
    for line in lines:
        message = json.loads(line)
        if is_request(message):
            yield packed(answer_to(message)) + b"\n"


def main() -> None:
    """Serve on the descriptor named by the only argument, a listening socket the runner made; or over stdio."""
    if sys.argv[1] == "--stdio":
        for answer in spoken(sys.stdin.buffer):
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()
        return
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(False)
    Upstream(listener, Server()).run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
