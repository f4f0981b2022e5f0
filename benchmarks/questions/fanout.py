"""
How much CPU does it cost to tell one event to thousands of readers, and how long until the last of them has it?

The gateway tells each of its readers that a server has joined: what is counted is everything its processes did from
the request that registered it on. Compared with what others spend to pass one event through to one client.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections import Counter
from typing import NamedTuple

from benchmarks.answers import BrokenAnswer, split_head
from benchmarks.extent import Extent
from benchmarks.figures import BASELINE, Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import OPENING_AT_ONCE, READ_BYTES, SILENCE_S
from benchmarks.questions import sse
from benchmarks.questions.registrar import Registrar

PER_DELIVERY = Figure("CPU per event told to one of many", "µs", (Goal("nginx", 0.6, 0.4),))
SPREAD = Figure("first reader to last", "ms", value_goal=150.0)

#: Deliveries in a round; a second and more of CPU time, which is told in steps of 10 ms.
_DELIVERIES = 200_000
_WARM_CHANGES = 2
#: What readers are told of a server that joins: that it is there, and then that it has been reached.
_TOLD = ("added", "status")
_REQUEST = (
    b"GET /mcp/discovery/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n"
    b"Cache-Control: no-store\r\nUser-Agent: mcp-bench/1\r\n\r\n"
)
_EVENT = re.compile(rb"^id: (\d+)\nevent: (\w+)\ndata: \{.*\}$")
_OTHER = re.compile(rb"^(retry: \d+|: .*)$")


class Told(NamedTuple):
    """One event as a reader has it."""

    id: int
    kind: str


class FeedReader:
    """
    Follows one chunked feed; insists on whole events whose ids grow.

    :param known: chunks that another reader has read, and what stood in them: the load generator must keep up.
    """

    __slots__ = ("_framed", "_in_body", "_known", "_text", "told")

    def __init__(self, known: dict[bytes, list[Told]]) -> None:
        self.told: list[Told] = []
        self._known = known
        self._in_body = False
        self._framed = b""
        self._text = b""

    def feed(self, received: bytes) -> list[Told]:
        """
        Take bytes of the answer; return the events that became complete.

        :raises BrokenAnswer: if one was repeated or overtaken, or is none; or if the stream ended.
        """
        is_whole = self._in_body and not self._framed and not self._text
        if is_whole and received in self._known:
            return self._take(self._known[received])
        self._framed += received
        if not self._in_body:
            parts = split_head(self._framed)
            if parts is None:
                return []
            self._in_body, self._framed = True, parts[1]
        self._unchunk()
        *blocks, self._text = self._text.split(b"\n\n")
        events = [event for block in blocks if (event := _event_in(block)) is not None]
        if is_whole and not self._framed and not self._text:
            self._known[received] = events
        return self._take(events)

    def _unchunk(self) -> None:
        while (line_end := self._framed.find(b"\r\n")) > 0:
            size_bytes = int(self._framed[:line_end], 16)
            end = line_end + 2 + size_bytes
            if size_bytes == 0:
                raise BrokenAnswer("the feed ended")
            if len(self._framed) < end + 2:
                return
            self._text += self._framed[line_end + 2 : end]
            self._framed = self._framed[end + 2 :]

    def _take(self, events: list[Told]) -> list[Told]:
        for event in events:
            if self.told and event.id <= self.told[-1].id:
                raise BrokenAnswer(f"event {event.id} came after {self.told[-1].id}")
            self.told.append(event)
        return events


def _event_in(block: bytes) -> Told | None:
    found = _EVENT.match(block)
    if found is not None:
        return Told(int(found[1]), found[2].decode())
    if not _OTHER.match(block):
        raise BrokenAnswer(f"not an event: {block[:200]!r}")
    return None


def check_same(readers: list[FeedReader]) -> int:
    """
    Compare what all have been told since the last of them came; return how many events were told to all together.

    :raises BrokenAnswer: if one has lost an event that another has.
    """
    since = max(reader.told[0].id for reader in readers)
    stories = {tuple(event for event in reader.told if event.id > since) for reader in readers}
    if len(stories) > 1:
        raise BrokenAnswer(f"readers were told {len(stories)} different stories, of {sorted(map(len, stories))} events")
    return len(stories.pop()) * len(readers)


class Audience:
    """Many readers of the gateway's feed on one epoll, all of whom may see everything."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._readers: dict[int, FeedReader] = {}
        self._known: dict[bytes, list[Told]] = {}
        self.heard: Counter[str] = Counter()

    def open(self, count: int) -> None:
        """
        Come; return when each has had its first event.

        :raises BrokenAnswer: if one has not.
        """
        for number in range(count):
            sock = self._subject.connect()
            sock.sendall(_REQUEST % self._subject.port)
            self._sockets[sock.fileno()] = sock
            self._readers[sock.fileno()] = FeedReader(self._known)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self.hear("ready", number + 1 - OPENING_AT_ONCE)
        self.hear("ready", count)

    def hear(self, kind: str, wanted: int) -> float:
        """
        Read until so many events of a kind came in all; return the milliseconds from the first of them to the last.

        :raises BrokenAnswer: if they do not come.
        """
        deadline = time.monotonic() + SILENCE_S
        first_s, before = 0.0, self.heard[kind]
        while self.heard[kind] < wanted:
            self._read()
            if not first_s and self.heard[kind] > before:
                first_s = time.monotonic()
            if time.monotonic() > deadline:
                raise BrokenAnswer(f"events are lost: of {wanted} {kind!r} came {self.heard[kind]}")
        return (time.monotonic() - first_s) * 1e3 if first_s else 0.0

    def check(self) -> int:
        """Return how many events all were told together, as `check_same`."""
        return check_same(list(self._readers.values()))

    def close(self) -> None:
        """Leave, as a client does that cancels."""
        for sock in self._sockets.values():
            sock.close()
        self._epoll.close()

    def _read(self) -> None:
        # A few at a time, so that the first one of them is seen when it comes.
        for descriptor, _ in self._epoll.poll(1.0, 16):
            received = self._sockets[descriptor].recv(READ_BYTES)
            if not received:
                raise BrokenAnswer("a feed was closed")
            for event in self._readers[descriptor].feed(received):
                self.heard[event.kind] += 1


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return CPU time per event and reader, and the time between the first and the last; of others, see above."""
    if subject.name == BASELINE:
        return {PER_DELIVERY: sse.cost_of_event(subject, extent)}
    readers = extent.streams
    changes = max(5, _DELIVERIES // len(_TOLD) // readers)
    spreads_ms = []
    with contextlib.closing(Audience(subject)) as audience, contextlib.closing(Registrar(subject)) as registrar:
        audience.open(readers)
        for number in range(_WARM_CHANGES + changes):
            if number == _WARM_CHANGES:
                before_s = subject.tree.cpu_s()
            registrar.register(f"server-{number}")
            spreads_ms.append(audience.hear("added", readers * (1 + number)))
            audience.hear("status", readers * (1 + number))
        used_s = subject.tree.cpu_s() - before_s
        told = audience.check()
    if told != readers * len(_TOLD) * (_WARM_CHANGES + changes):
        raise BrokenAnswer(f"readers were told more than {_TOLD} of each server: {audience.heard}")
    per_delivery_us = used_s / (readers * len(_TOLD) * changes) * 1e6
    return {
        PER_DELIVERY: Reading(per_delivery_us, f"{readers:,} readers, {changes * len(_TOLD)} events"),
        SPREAD: Reading(max(spreads_ms[_WARM_CHANGES:]), "the longest"),
    }
