"""
What does a scrape cost the reactor: with 200 busy servers, 10,000 streams and 20,000 connections?

Measured without sockets, in a process of its own with the garbage collector set as the gateway sets it, and compared
with what ``prometheus_client`` takes to write the same samples. All times are CPU times of the thread: what others do
on this CPU does not count as a stall. ``python -m
benchmarks.questions.scrape SERVERS STREAMS CONNECTIONS`` prints one round.
"""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from benchmarks.figures import Figure, Reading
from mcpgate.exchange import Ended, Era
from mcpgate.metrics.collection import Scrape
from mcpgate.metrics.observed import Holdings, LimitCount, Members, Observed, ReloadState
from mcpgate.metrics.tallies import ServerTally, Tallies
from mcpgate.recent import Recent
from mcpgate.settings import ServerSettings, UpstreamSettings
from mcpgate.upstream.pool import Replica
from mcpgate.upstream.server import Server

SERVERS = 200
STREAMS = 10_000
CONNECTIONS = 20_000
WHOLE = Figure("scrape of 200 busy servers", "ms", value_goal=20.0)
STEP = Figure("longest step of it", "ms", value_goal=5.0)
FIRST = Figure("longest step of the first scrape", "ms", value_goal=5.0)
CROWDED = Figure("the same with 10,000 streams", "ms")
CROWDED_STEP = Figure("longest step of that", "ms", value_goal=5.0)
AGAINST = Figure("scrape of 200 busy servers", "x prometheus_client")

_TIMEOUT_S = 120.0
_REPEATS = 9


class Cost(NamedTuple):
    """What one scrape took; ``step_ms`` is the longest piece of it."""

    whole_ms: float
    step_ms: float
    line_count: int


def measure() -> dict[Figure, Reading]:
    """Return one round; it takes three seconds."""
    command = [sys.executable, "-m", "benchmarks.questions.scrape", *map(str, (SERVERS, STREAMS, CONNECTIONS))]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S).stdout)
    first, busy, crowded = (Cost(*found[name]) for name in ("first", "busy", "crowded"))
    official_ms = found["official_ms"]
    return {
        WHOLE: Reading(busy.whole_ms, f"{busy.line_count:,} lines"),
        STEP: Reading(busy.step_ms),
        FIRST: Reading(first.step_ms, f"{first.whole_ms:.1f} ms in all"),
        CROWDED: Reading(crowded.whole_ms),
        CROWDED_STEP: Reading(crowded.step_ms),
        AGAINST: Reading(busy.whole_ms / official_ms, f"{busy.whole_ms:.1f} ms of {official_ms:.1f}"),
    }


# --- the gateway ----------------------------------------------------------------------------------------------------


class _Relay:
    """An open exchange, which has moved bytes since it was last asked."""

    __slots__ = ("exchange", "told")

    def __init__(self, server: str) -> None:
        self.exchange = SimpleNamespace(transport="sse", server=server, bytes_out=0, told_out=0)


class _Connection:
    """A client's connection."""

    __slots__ = ("_unsent",)

    def __init__(self) -> None:
        self._unsent = [b""]

    @property
    def state(self) -> str:
        return "stream"

    def unsent_bytes(self) -> int:
        return sum(map(len, self._unsent))


def observed(server_count: int, stream_count: int, connection_count: int) -> Observed:
    """Return a gateway on which all servers have been busy."""
    tallies = Tallies()
    servers = {name: _server(name) for name in (f"server-{number:03}" for number in range(server_count))}
    for name in servers:
        _occupy(tallies.of(name))
    for number in range(30):
        tallies.operation((f"tools/{number}", "", "2026-07-28")).observe(0.1)
    for name, _ in zip(itertools.cycle(servers), range(stream_count), strict=False):
        servers[name].relays.add(cast(Any, _Relay(name)))
    connections = cast(Any, {"data": {_Connection() for _ in range(connection_count)}, "admin": set()})

    def settle(relay: Any) -> None:
        exchange = relay.exchange
        exchange.bytes_out += 150
        tallies.of(exchange.server).bytes_out += exchange.bytes_out - exchange.told_out
        exchange.told_out = exchange.bytes_out

    return Observed(
        tallies=tallies,
        recent=Recent(),
        servers=lambda: servers,
        retired=lambda: (),
        members=Members,
        connections=lambda: connections,
        max_connections=18_000,
        holdings=lambda: Holdings(0, 0),
        limits=lambda: [LimitCount("calls", ("principal",), "20/s, 40 at once", 1, 2, 3)],
        checks=lambda: {"listeners": True},
        reload_state=lambda: ReloadState(True, 1_800_000_000.0),
        dropped_lines=lambda: {("access", "sink"): 0},
        settle=settle,
        wall=time.time,
        now=time.thread_time,
        started_at_s=1_700_000_000.0,
        version="0",
    )


def _server(name: str) -> Server:
    upstream = UpstreamSettings(url="http://127.0.0.1:3010")
    replica = Replica(upstream, 3.0, None, cast(Any, None))
    settings = ServerSettings(name=name, upstreams=(upstream,))
    return Server(settings, cast(Any, [SimpleNamespace(replica=replica)]), cast(Any, None))


def _occupy(tally: ServerTally) -> None:
    """Let all have happened that happens to a server in a day."""
    for histogram in (tally.durations, tally.upstream_durations, tally.stream_durations, tally.first_events):
        for value in (*histogram.bounds, 1e6):
            histogram.observe(value)
    for status, era in itertools.product((200, 202), (Era.SESSION, Era.STATELESS)):
        tally.requests[b"POST", status, era] = 12_345
    for transport in ("sse", "streamable-http"):
        tally.opened[transport] = tally.open[transport] = 100
    tally.ends.update({Ended.CLIENT_GONE: 10, Ended.UPSTREAM_END: 3})
    tally.errors.update({"rate_limited": 1, "connect_failed": 2})


# --- the costs ------------------------------------------------------------------------------------------------------


def cost(scrape: Scrape) -> Cost:
    """Make one scrape."""
    clock, longest_s, whole_s = time.thread_time, 0.0, 0.0
    began_s = clock()
    _, pieces = scrape.pieces(b"")
    texts = []
    while True:
        piece = next(pieces, None)
        took_s = clock() - began_s
        longest_s, whole_s = max(longest_s, took_s), whole_s + took_s
        if piece is None:
            break
        texts.append(piece)
        began_s = clock()
    return Cost(whole_s * 1e3, longest_s * 1e3, b"".join(texts).count(b"\n"))


def usual_cost(scrape: Scrape) -> Cost:
    """Return the best of some repeats: whatever else the machine does only adds to it."""
    return Cost(*map(min, zip(*(cost(scrape) for _ in range(_REPEATS)), strict=True)))


class _Recorded(Collector):
    """The samples of a scrape, as the official library holds them."""

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def official_ms(text: str) -> float:
    """Return what the official library takes to write the same samples, at one go."""
    registry = CollectorRegistry()
    registry.register(_Recorded(text))
    costs_s = []
    for _ in range(_REPEATS):
        start_s = time.thread_time()
        generate_latest(registry)
        costs_s.append(time.thread_time() - start_s)
    return min(costs_s) * 1e3


def main() -> None:
    """Print one round as JSON."""
    servers, streams, connections = map(int, sys.argv[1:])
    busy, crowded = Scrape(observed(servers, 0, 0)), Scrape(observed(servers, streams, connections))
    # As `mcpgate.process` does before it serves.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    found: dict[str, object] = {"first": cost(busy), "busy": usual_cost(busy), "crowded": usual_cost(crowded)}
    text = b"".join(busy.pieces(b"")[1]).decode()
    print(json.dumps({**found, "official_ms": official_ms(text)}))


if __name__ == "__main__":
    main()
