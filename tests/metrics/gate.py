"""A gateway to look at, of which a test sets every part."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from mcpgate.errors import GatewayError
from mcpgate.exchange import Exchange, Peer
from mcpgate.metrics.collection import Scrape
from mcpgate.metrics.observed import Holdings, LimitCount, Members, Observed, ReloadState
from mcpgate.metrics.tallies import Tallies
from mcpgate.recent import Recent
from mcpgate.settings import ServerSettings, UpstreamSettings
from mcpgate.testing import request
from mcpgate.upstream.pool import Replica
from mcpgate.upstream.server import Server
from mcpgate.wire.http1 import HeadLimits, parse_request
from mcpgate.wire.operation import Operation, Result

OPENMETRICS = b"application/openmetrics-text; version=1.0.0"

#: What a scrape says: the value of each sample, by its name and its labels in alphabetical order.
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Relay:
    """An open exchange; ``settled`` says how often it was asked to count."""

    def __init__(self, transport: str = "") -> None:
        self.exchange = SimpleNamespace(transport=transport)
        self.settled = 0


class Connection:
    """A client's connection."""

    def __init__(self, state: str, unsent: int = 0) -> None:
        self.state = state
        self._unsent = unsent
        self.asked = 0

    def unsent_bytes(self) -> int:
        self.asked += 1
        return self._unsent


class Gate:
    """All that `Observed` asks about; the clock moves by a thousandth of a second whenever it is read."""

    def __init__(self) -> None:
        self.tallies = Tallies()
        self.servers: dict[str, Server] = {}
        self.retired: list[Server] = []
        self.connections: dict[str, set[Connection]] = {"data": set(), "admin": set()}
        self.holdings = Holdings(0, 0)
        self.limits: list[LimitCount] = []
        self.checks = {"config": True, "listeners": True}
        self.reload_state = ReloadState(True, 1_800_000_000.0)
        self.dropped_lines: dict[tuple[str, str], int] = {}
        self.now_s = 0.0

    def add(self, name: str, *urls: str, **more: Any) -> Server:
        """A server with a replica at each address."""
        upstreams = [UpstreamSettings(url=url) for url in urls or ("http://127.0.0.1:3010",)]
        replicas = [Replica(upstream, 3.0, None, cast(Any, None)) for upstream in upstreams]
        settings = ServerSettings(name=name, upstreams=tuple(upstreams), **more)
        placements = [SimpleNamespace(replica=replica) for replica in replicas]
        server = self.servers[name] = Server(settings, cast(Any, placements), cast(Any, None))
        return server

    def observed(self) -> Observed:
        """What the room may look at."""
        return Observed(
            tallies=self.tallies,
            recent=Recent(),
            servers=lambda: self.servers,
            retired=lambda: self.retired,
            members=Members,
            connections=lambda: cast(Any, self.connections),
            max_connections=18_000,
            holdings=lambda: self.holdings,
            limits=lambda: self.limits,
            checks=lambda: self.checks,
            reload_state=lambda: self.reload_state,
            dropped_lines=lambda: self.dropped_lines,
            settle=self._settle,
            wall=lambda: 1_800_000_000.0,
            now=self._now,
            started_at_s=1_700_000_000.0,
            version="0.1",
        )

    def _settle(self, relay: Any) -> None:
        relay.settled += 1

    def _now(self) -> float:
        self.now_s += 0.001
        return self.now_s


def text_of(scrape: Scrape, accept: bytes = b"") -> str:
    """One scrape, whole."""
    return b"".join(scrape.pieces(accept)[1]).decode("utf-8")


def families_of(text: str) -> list[Metric]:
    """The families in a text of either format, as the official library reads them."""
    return list((read_openmetrics if text.endswith("# EOF\n") else read_text)(text))


def samples_of(text: str) -> Samples:
    """The samples in a text of either format; no two may be of the same series."""
    found: Samples = {}
    for key, value in _samples(text):
        assert key not in found, f"{key} twice"
        found[key] = value
    return found


def _samples(text: str) -> Iterator[tuple[tuple[str, tuple[tuple[str, str], ...]], float]]:
    for family in families_of(text):
        for sample in family.samples:
            yield (sample.name, tuple(sorted(sample.labels.items()))), sample.value


def told(scrape: Scrape, name: str, **labels: str) -> float | None:
    """One value of a fresh scrape; ``None`` if there is no such series."""
    return samples_of(text_of(scrape)).get((name, tuple(sorted(labels.items()))))


def exchange_of(
    method: str = "tools/call",
    *,
    status: int = 200,
    version: str = "",
    result: Result | None = None,
    error: GatewayError | None = None,
) -> Exchange:
    """An exchange that is over."""
    fields = {"MCP-Protocol-Version": version} if version else {}
    head = parse_request(request("POST", "/mcp/a", headers=fields), HeadLimits(10_000, 100))
    exchange = Exchange(head, Peer(b"192.0.2.1", b"http", False), 0.0)
    exchange.operation = Operation(method)
    exchange.status, exchange.result, exchange.error = status, result, error
    return exchange
