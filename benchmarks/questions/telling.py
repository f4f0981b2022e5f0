"""
What does it cost to tell of a request: its id, what its message asks and how it went, counts, the access line?

Measured without sockets, in a process of its own, as CPU time of the thread, on exchanges as the benchmark of requests
makes them. Nothing is told of an event while it passes (`told_during` says so); a scrape asks each open stream for its
bytes, which is shared by the events between two scrapes.
``python -m benchmarks.questions.telling COUNT`` prints one round.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from benchmarks import messages
from benchmarks.figures import Figure, Reading
from mcpgate.accesslog import AccessLog, json_lines
from mcpgate.embed import fresh_ids
from mcpgate.exchange import Ended, Era, Exchange, Peer
from mcpgate.metrics.tallies import Tallies
from mcpgate.recorder import Clocks, Recorder
from mcpgate.settings import TracingSettings
from mcpgate.testing import GatewayUnderTest, request
from mcpgate.tracing import Tracing
from mcpgate.wire.http1 import HeadLimits, parse_request
from mcpgate.wire.operation import operation_of
from mcpgate.witness import note_answer

COUNT = 20_000
REQUEST = Figure("counts, ids and access line", "us", value_goal=4.0)
COUNTS = Figure("of that counts, without ids and line", "us")
EVENT = Figure("telling of an event", "us", value_goal=0.3)

_TIMEOUT_S = 120.0
_REPEATS = 9
_HEAD = b"POST /mcp/bench/mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Length: 102\r\n\r\n"
#: Five in a second, as in the benchmark of streams, and a scrape every five seconds.
EVENTS_PER_SCRAPE = 25
_TELLING = ("recorder", "witness", "accesslog", "telemetry", "metrics", "tracing")
_EVENT = b"96\r\ndata: " + b"x" * 142 + b"\n\n\r\n"


def measure() -> dict[Figure, Reading]:
    """Return one round; it takes some seconds."""
    command = [sys.executable, "-m", "benchmarks.questions.telling", str(COUNT)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S).stdout)
    pace = f"the loop itself {found['loop']:.2f}"
    return {
        REQUEST: Reading(found["whole"] - found["loop"], pace),
        COUNTS: Reading(found["counts"] - found["loop"], pace),
        EVENT: Reading(found["settle"] / EVENTS_PER_SCRAPE, f"{found['settle']:.2f} for each stream and scrape"),
    }


class _Desk:
    """What a gateway keeps account with, and exchanges to tell it of."""

    def __init__(self) -> None:
        self.log = AccessLog(json_lines, lambda lines: None, lambda *_: None, (time.time, time.monotonic))
        clocks = Clocks(time.monotonic, time.time)
        self.whole = Recorder(Tallies(), clocks, self.log, None)
        self.counts = Recorder(Tallies(), clocks, None, None)
        self.tracing = Tracing(TracingSettings(), random.getrandbits, False)
        self.new_id = fresh_ids()
        self.body = messages.call(messages.FIRST_CALL)
        self.answer = messages.answer(messages.FIRST_CALL)
        self.head = parse_request(_HEAD, HeadLimits(32_768, 100))  # which a client that keeps its connection repeats

    def exchange(self) -> Exchange:
        """One that has gone well, but for what is measured."""
        exchange = Exchange(self.head, Peer(b"127.0.0.1", b"http", False), time.monotonic())
        exchange.server, exchange.era, exchange.status = "bench", Era.SESSION, 200
        exchange.ended, exchange.replica = Ended.COMPLETE, "127.0.0.1:3010"
        exchange.bytes_in, exchange.bytes_out = len(self.body), len(self.answer)
        exchange.sent_s = exchange.first_byte_s = exchange.started_s
        exchange.request_id = b"id"
        return exchange

    def tell_counts(self, exchange: Exchange) -> None:
        """What counts need."""
        exchange.operation = operation_of(self.body)
        note_answer(exchange, self.answer)
        self.counts.end(exchange)

    def tell_whole(self, exchange: Exchange) -> None:
        """All that is told, and both header lines with the id."""
        exchange.request_id = self.new_id()
        exchange.trace = self.tracing.begin(None)
        exchange.operation = operation_of(self.body)
        note_answer(exchange, self.answer)
        for _ in range(2):
            b"X-Request-Id: %b\r\n" % exchange.request_id
        self.whole.end(exchange)


def costs_us(count: int) -> dict[str, float]:
    """Return microseconds each."""
    desk = _Desk()
    ways: dict[str, Callable[[Exchange], object]] = {
        "loop": lambda exchange: None,
        "counts": desk.tell_counts,
        "whole": desk.tell_whole,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_REPEATS):
        for name, way in ways.items():
            exchanges = [desk.exchange() for _ in range(count)]
            found[name].append(_cost_s(way, exchanges) / count * 1e6)
            desk.log.flush()
    costs = {name: min(several) for name, several in found.items()}
    costs["settle"] = _settle_us(count)
    return costs


def _cost_s(way: Callable[[Exchange], object], exchanges: Sequence[Exchange]) -> float:
    start_s = time.thread_time()
    for exchange in exchanges:
        way(exchange)
    return time.thread_time() - start_s


def _stream() -> tuple[GatewayUnderTest, Callable[[bytes], None]]:
    """A gateway in memory with an open stream, and what takes the bytes of its server."""
    gate = GatewayUnderTest()
    gate.connect().send(request("GET", headers={"Accept": "text/event-stream", "Mcp-Session-Id": "s"}))
    peer = gate.upstream()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", _EVENT)
    return gate, peer.transport.protocol.dataReceived


def _settle_us(count: int) -> float:
    gate, take = _stream()
    settle = gate.gateway.telemetry.recorder.settle
    (relay,) = gate.gateway.servers["x"].relays
    best_s = float("inf")
    for _ in range(_REPEATS):
        take(_EVENT)
        start_s = time.thread_time()
        for _ in range(count):
            settle(relay)
        best_s = min(best_s, time.thread_time() - start_s)
    return best_s / count * 1e6


def told_during(events: int) -> set[str]:
    """Return the modules that keep account and ran while so many events passed."""
    _, take = _stream()
    ran: set[str] = set()

    def note(frame: FrameType, what: str, argument: object) -> None:
        ran.add(frame.f_globals["__name__"])

    sys.setprofile(note)
    for _ in range(events):
        take(_EVENT)
    sys.setprofile(None)
    assert "mcpgate.upstream.connection" in ran
    return {name for name in ran if name.removeprefix("mcpgate.").startswith(_TELLING)}


if __name__ == "__main__":
    gc.set_threshold(50_000, 20, 100)
    print(json.dumps(costs_us(int(sys.argv[1]))))
