"""
Three courses through the gateway, the same work in every run: a call, an event, a stream from its opening to its end.

``python -m benchmarks.profile.course request 2000`` prints the CPU time of one, less what client and upstream take
themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import answers, messages
from benchmarks.profile.stand import GatewayInside, Middle, Nothing, Stand, without_collector
from mcpgate.net.reactor import LeanEPollReactor

#: Enough that every branch has been specialised (CPython: after 16 calls at most, PEP 659) and every cache filled.
WARM_UNITS = 40

_ANSWER_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % messages.ANSWER_BYTES
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_STREAM_REQUEST = (
    b"GET %b/sse HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\nCache-Control: no-store\r\n"
    b"User-Agent: mcp-bench/1\r\nMCP-Protocol-Version: 2025-11-25\r\n%b\r\n"
)


class Course(Protocol):
    """
    A way of using the gateway, cut into units.

    :ivar unit_s: how far the clock goes on with each; a power of two, so that no rounding decides when a timer is due.
    """

    unit_s: float

    def begin(self) -> None:
        """What comes before the first unit."""

    def unit(self) -> None:
        """
        Do it once, checking what arrives on both sides.

        :raises answers.BrokenAnswer: something else arrived.
        """

    def end(self) -> None:
        """Close what is open."""


class Requests:
    """A unit is one call on a connection that has seen calls before; 4,096 a second, as of a busy gateway."""

    unit_s = 1 / 4096

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        middle = stand.middle
        self._head = messages.call_head(f"{middle.path}/mcp", middle.port, middle.fields)
        self._number = messages.FIRST_CALL

    def begin(self) -> None:
        """Connect; the first call opens the connection to the upstream."""
        self._client = self._stand.connect()
        self._client.send(self._head + messages.call(self._number))
        self._upstream = self._stand.accept()
        self._answer()

    def unit(self) -> None:
        """Call and answer."""
        self._number += 1
        self._client.send(self._head + messages.call(self._number))
        self._answer()

    def _answer(self) -> None:
        number = self._number
        asked = self._stand.receive("request", self._upstream)
        if not (asked.startswith(b"POST /mcp ") and asked.endswith(messages.call(number))):
            raise answers.BrokenAnswer(f"call {number} reached the upstream as {asked!r}")
        self._upstream.send(_ANSWER_HEAD + messages.answer(number))
        received = self._stand.receive("answer", self._client)
        if not answers.is_whole_answer(received, number):
            raise answers.BrokenAnswer(f"call {number} was answered in pieces: {received!r}")

    def end(self) -> None:
        """Close both sides."""
        self._client.close()
        self._upstream.close()


class _OneStream:
    """A stream of events, from its opening to its end."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        middle = stand.middle
        self._request = _STREAM_REQUEST % (middle.path.encode(), middle.port, middle.fields)

    def open(self) -> None:
        """Connect, ask, and get the first event."""
        self._client = self._stand.connect()
        self._client.send(self._request)
        self._upstream = self._stand.accept()
        asked = self._stand.receive("stream", self._upstream)
        if not (asked.startswith(b"GET /sse ") and asked.endswith(b"\r\n\r\n")):
            raise answers.BrokenAnswer(f"the stream was asked for as {asked!r}")
        self._reader = answers.EventReader()
        self._upstream.send(_STREAM_HEAD + messages.event_frame(0))
        self._read("first event")

    def pass_event(self) -> None:
        """One more."""
        self._upstream.send(messages.event_frame(self._reader.expected))
        self._read("event")

    def _read(self, step: str) -> None:
        received = self._stand.receive(step, self._client)
        if self._reader.feed(received) != 1:
            raise answers.BrokenAnswer(f"event {self._reader.expected} came in pieces: {received!r}")

    def close(self) -> None:
        """The client leaves; the upstream must see it."""
        self._client.close()
        late = self._stand.receive("end", self._upstream)
        if late:
            raise answers.BrokenAnswer(f"the client left, the upstream got {late!r}")
        self._upstream.close()


class Events:
    """A unit is one event on an open stream, after the first; 4,096 a second."""

    unit_s = 1 / 4096

    def __init__(self, stand: Stand) -> None:
        self._stream = _OneStream(stand)

    def begin(self) -> None:
        """Open the stream."""
        self._stream.open()

    def unit(self) -> None:
        """Pass one event."""
        self._stream.pass_event()

    def end(self) -> None:
        """Leave."""
        self._stream.close()


class Streams:
    """A unit is a stream: connection, request, first event, and the client leaves; 256 a second."""

    unit_s = 1 / 256

    def __init__(self, stand: Stand) -> None:
        self._stream = _OneStream(stand)

    def begin(self) -> None:
        """Nothing is open between units."""

    def unit(self) -> None:
        """Open and close."""
        self._stream.open()
        self._stream.close()

    def end(self) -> None:
        """Nothing is open between units."""


COURSES: dict[str, Callable[[Stand], Course]] = {"request": Requests, "event": Events, "stream": Streams}


@dataclass(frozen=True)
class Run:
    """
    How a run went.

    :ivar garbage: objects per unit that only the garbage collector could free.
    :ivar late: how often the kernel was late, so that the reactor turned once more than it had to.
    """

    garbage: float
    late: int


def run(name: str, count: int, between: Callable[[int], Middle], mark: Callable[[], object]) -> Run:
    """
    Run a course of so many units, after some that are not counted.

    :param mark: called right before the first unit that counts, and right after the last.
    :raises answers.BrokenAnswer: something arrived that was not sent.
    """
    stand = Stand(between)
    course = COURSES[name](stand)
    with contextlib.closing(stand):
        course.begin()
        with stand.learning():
            _walk(course, stand.middle, WARM_UNITS)
        with without_collector():
            mark()
            _walk(course, stand.middle, count)
            mark()
            garbage = gc.collect()
        course.end()
        return Run(garbage / count, stand.late)


def _walk(course: Course, middle: Middle, count: int) -> None:
    advance, unit_s = middle.advance, course.unit_s
    for _ in range(count):
        advance(unit_s)
        course.unit()


@contextlib.contextmanager
def gateways() -> Iterator[Callable[[int], Middle]]:
    """Give what makes a gateway, on a reactor of its own and in a folder that is gone afterwards."""
    # Not the process's: Klein has made another one that of this process by now.
    reactor = LeanEPollReactor()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
            yield lambda upstream_port: GatewayInside(reactor, Path(folder), upstream_port)
    finally:
        poller = reactor._poller
        reactor.removeAll()
        reactor.waker.connectionLost(None)
        poller.close()


def cpu_us(name: str, count: int, between: Callable[[int], Middle]) -> tuple[float, Run]:
    """Return the CPU time of this thread per unit, in the kernel and outside, and how it went."""
    times_s: list[float] = []
    went = run(name, count, between, lambda: times_s.append(time.thread_time()))
    return (times_s[1] - times_s[0]) / count * 1e6, went


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser("python -m benchmarks.profile.course", description=__doc__)
    parser.add_argument("course", choices=COURSES)
    parser.add_argument("count", type=int, help="units")
    chosen = parser.parse_args()
    peers_us, _ = cpu_us(chosen.course, chosen.count, Nothing)
    with gateways() as between:
        all_us, went = cpu_us(chosen.course, chosen.count, between)
    print(
        f"{chosen.course}: {all_us - peers_us:.1f} us of CPU per unit"
        f" ({all_us:.1f} less {peers_us:.1f} of client and upstream);"
        f" {went.garbage:.2f} objects left to the collector"
    )


if __name__ == "__main__":
    main()
