"""Clients who call when they want to, whether those before are answered or not, and who give up after a while."""

from __future__ import annotations

import contextlib
import errno
import re
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field

from benchmarks import answers, messages
from benchmarks.harness import Subject
from benchmarks.load.requests import READ_BYTES, call_head

# As long as people wait who wonder whether they should try again.
PATIENCE_S = 1.0
#: Connections that are kept for later calls; every other call comes on a new one in any case, as from new clients.
KEPT = 32
#: By which a proxy says that it will not, or could not; any other would be wrong.
_REFUSALS = (b"429", b"502", b"503", b"504")
_REFUSED = re.compile(rb"HTTP/1\.1 (\d{3}) .*\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE | re.DOTALL)


@dataclass
class Outcome:
    """What has become of the calls; those still under way are in none."""

    waits_s: list[float] = field(default_factory=list)
    refused: int = 0
    given_up: int = 0
    cut: int = 0

    @property
    def ended(self) -> int:
        """How many have ended, somehow."""
        return len(self.waits_s) + self.refused + self.given_up + self.cut


def is_refusal(received: bytes) -> bool:
    """
    Tell whether this is a whole answer that refuses, and says how long it is.

    :raises BrokenAnswer: if the status is none of those that refuse.
    """
    head, blank_line, body = received.partition(b"\r\n\r\n")
    if not blank_line:
        return False
    found = _REFUSED.match(head + b"\r\n")
    if found is None or found[1] not in _REFUSALS:
        raise answers.BrokenAnswer(f"neither answered nor refused: {received[:300]!r}")
    return len(body) >= int(found[2])


@dataclass(slots=True)
class _Call:
    """One call under way."""

    sock: socket.socket
    number: int
    due_s: float
    is_kept: bool
    received: bytes = b""
    is_sent: bool = False
    is_over: bool = False


class Throng:
    """All of them, on one epoll; ``outcome`` tells what has become of their calls."""

    def __init__(self, subject: Subject, patience_s: float = PATIENCE_S) -> None:
        self.outcome = Outcome()
        self._patience_s = patience_s
        self._address = ("127.0.0.1", subject.port)
        self._head = call_head(subject)
        self._number = messages.FIRST_CALL
        self._epoll = select.epoll()
        self._calls: dict[int, _Call] = {}
        self._in_order: deque[_Call] = deque()
        self._free: list[socket.socket] = []
        self._kept_count = 0

    @property
    def under_way(self) -> int:
        """How many calls wait for their answers."""
        return len(self._calls)

    def call(self, due_s: float) -> None:
        """Make a call that is due since then."""
        self._number += 1
        wants_kept = self._number % 2 == 0
        if wants_kept and self._free:
            call = _Call(self._free.pop(), self._number, due_s, True)
        else:
            call = _Call(self._connect(), self._number, due_s, wants_kept and self._kept_count < KEPT)
            self._kept_count += call.is_kept
            self._epoll.register(call.sock.fileno(), select.EPOLLIN)
        self._calls[call.sock.fileno()] = call
        self._in_order.append(call)
        self._send(call)

    def turn(self, wait_s: float) -> None:
        """
        Wait so long at most for what comes; those whose patience is at its end give up.

        :raises BrokenAnswer: if a call is answered with anything but its answer or a refusal.
        """
        select.select([self._epoll], (), (), max(0.0, wait_s))
        for descriptor, _ in self._epoll.poll(0, 256):
            call = self._calls.get(descriptor)
            if call is None:
                self._drop_idle(descriptor)
            elif not call.is_sent:
                self._send_at_last(call)
            else:
                self._read(call)
        self._give_up(time.monotonic() - self._patience_s)

    def close(self) -> None:
        """Leave; whatever is under way is given up."""
        for call in list(self._calls.values()):
            call.sock.close()
        for sock in self._free:
            sock.close()
        self._epoll.close()

    def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = sock.connect_ex(self._address)
        if error not in (0, errno.EINPROGRESS):
            raise answers.BrokenAnswer(f"a client cannot connect: {errno.errorcode[error]}")
        return sock

    def _send(self, call: _Call) -> None:
        try:
            call.sock.send(self._head + messages.call(call.number))
        except BlockingIOError:
            # Not connected yet: nobody accepts so many.
            self._epoll.modify(call.sock.fileno(), select.EPOLLOUT)
        except OSError:
            self.outcome.cut += 1
            self._end(call, False)
        else:
            call.is_sent = True

    def _send_at_last(self, call: _Call) -> None:
        self._send(call)
        if call.is_sent:
            self._epoll.modify(call.sock.fileno(), select.EPOLLIN)

    def _read(self, call: _Call) -> None:
        try:
            received = call.sock.recv(READ_BYTES)
        except ConnectionError:
            received = b""
        if not received:
            self.outcome.cut += 1
            self._end(call, False)
            return
        call.received += received
        if not call.received.startswith(b"HTTP/1.1 200 "):
            if is_refusal(call.received):
                self.outcome.refused += 1
                self._end(call, b"\r\nconnection: close\r\n" not in call.received.lower())
        elif answers.is_whole_answer(call.received, call.number):
            self._note(time.monotonic() - call.due_s)
            self._end(call, True)

    def _note(self, wait_s: float) -> None:
        # This side may be late, too: whoever has no patience left does not care whose fault it is.
        if wait_s > self._patience_s:
            self.outcome.given_up += 1
        else:
            self.outcome.waits_s.append(wait_s)

    def _give_up(self, due_before_s: float) -> None:
        while self._in_order and (self._in_order[0].is_over or self._in_order[0].due_s < due_before_s):
            call = self._in_order.popleft()
            if not call.is_over:
                self.outcome.given_up += 1
                self._end(call, False)

    def _end(self, call: _Call, is_usable: bool) -> None:
        call.is_over = True
        del self._calls[call.sock.fileno()]
        if call.is_kept and is_usable:
            self._free.append(call.sock)
            return
        self._kept_count -= call.is_kept
        call.sock.close()

    def _drop_idle(self, descriptor: int) -> None:
        (sock,) = (sock for sock in self._free if sock.fileno() == descriptor)
        with contextlib.suppress(ConnectionError):
            if received := sock.recv(READ_BYTES):
                raise answers.BrokenAnswer(f"an answer to no call: {received[:200]!r}")
        self._free.remove(sock)
        self._kept_count -= 1
        sock.close()
