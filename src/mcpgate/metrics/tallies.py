"""
What is counted while exchanges pass: plain integers and nothing else, read when somebody asks.

Keys are of fixed kinds (methods that llhttp knows, statuses, our own reasons) or come from the configuration; nothing
that a client writes becomes one. A tally outlives reloads, and ends with its server.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, NamedTuple

from mcpgate.exchange import Ended, Era, Exchange

#: OpenTelemetry's advice for HTTP servers, in seconds.
DURATION_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: OpenTelemetry's semantic conventions for MCP, in seconds.
OPERATION_BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
#: From a stream that breaks at once to one that lives for a working day.
STREAM_BOUNDS: Final = (1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 28800.0)
FIRST_EVENT_BOUNDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
#: From what nobody notices to what every stream does.
LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

#: Stands for a method that is not on our lists, as OpenTelemetry writes it.
OTHER: Final = "_OTHER"
#: A gateway that serves all versions of the protocol, and sees some errors, needs about a hundred.
MAX_OPERATIONS: Final = 200
#: Kinds of usual exchanges that are counted apart: 0.2 KiB each, and a scrape asks each three times (0.1 us).
MAX_USUAL: Final = 1000
#: What counts as quick: up to the least bound of all three histograms that a usual exchange is in.
QUICK_S: Final = min(DURATION_BOUNDS[0], OPERATION_BOUNDS[0])


class Exemplar(NamedTuple):
    """One observed value that can be looked up: in which trace, and when, in seconds since 1970."""

    trace_id: str
    value: float
    at_s: float


class Histogram:
    """
    Counts of values up to each bound, and of the greater ones; ``sum`` is of the values.

    :ivar counts: one more than there are bounds; not cumulative.
    :ivar exemplar: the last value that belongs to a trace.
    """

    __slots__ = ("bounds", "counts", "exemplar", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplar: Exemplar | None = None

    def observe(self, value: float) -> None:
        """Count one value. Takes 0.25 us."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_least(self, count: int, total: float) -> None:
        """Count so many values up to the least bound, whose sum is ``total``."""
        self.counts[0] += count
        self.sum += total

    def observe_traced(self, value: float, trace_id: str, at_s: float) -> None:
        """
        Count one value, and keep it as the example of its kind.

        :param trace_id: 32 hex digits; ``at_s`` in seconds since 1970.
        """
        self.observe(value)
        self.exemplar = Exemplar(trace_id, value, at_s)


class ServerTally:
    """
    What one server's exchanges come to.

    :ivar requests: ended exchanges by HTTP method, status and era.
    :ivar errors: those that the gateway refused or cut, by reason.
    :ivar durations: of answers that are no streams, from the request's head to the end, in seconds.
    :ivar upstream_durations: from the sending of a request to the head of its answer.
    :ivar first_events: from the request's head to the first event of its stream.
    :ivar opened: streams, by transport; ``open`` are those that have not ended, ``ends`` why the others have.
    :ivar reopens: streams that were asked to go on after an event (``Last-Event-ID``).
    :ivar tools: calls by name of the tool (or ``other``), and whether they went well; only if that was asked for.
    """

    __slots__ = (
        "bytes_in", "bytes_out", "durations", "ends", "errors", "first_events", "open", "opened", "reopens",
        "requests", "stream_durations", "tools", "upstream_durations",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests: dict[tuple[bytes, int, Era], int] = {}
        self.errors: dict[str, int] = {}
        self.bytes_in = self.bytes_out = self.reopens = 0
        self.durations = Histogram(DURATION_BOUNDS)
        self.upstream_durations = Histogram(DURATION_BOUNDS)
        self.stream_durations = Histogram(STREAM_BOUNDS)
        self.first_events = Histogram(FIRST_EVENT_BOUNDS)
        self.opened: dict[str, int] = {}
        self.open: dict[str, int] = {}
        self.ends: dict[Ended, int] = {}
        self.tools: dict[tuple[str, bool], int] = {}


class Usual:
    """
    Exchanges of one kind that went well, counted here until somebody looks: six additions in place of twelve look-ups.

    :param kind: the key under which `ServerTally.requests` counts them.
    :param operation: of their MCP message; ``None`` without one.
    :param outcome: of the question who asks.
    """

    __slots__ = (
        "_bytes_in", "_bytes_out", "_kind", "_operation", "_others", "_outcome", "_quick", "_tally", "_took_s",
        "_upstream_s",
    )  # fmt: skip

    def __init__(
        self, tally: ServerTally, kind: tuple[bytes, int, Era], operation: Histogram | None, outcome: str
    ) -> None:
        self._tally, self._kind, self._operation, self._outcome = tally, kind, operation, outcome
        self._clear()

    def _clear(self) -> None:
        self._quick = self._others = self._bytes_in = self._bytes_out = 0
        self._took_s = self._upstream_s = 0.0

    def count(self, exchange: Exchange, took_s: float) -> None:
        """Count one that took so long."""
        self._bytes_in += exchange.bytes_in - exchange.told_in
        self._bytes_out += exchange.bytes_out - exchange.told_out
        upstream_s = exchange.first_byte_s - exchange.sent_s
        if took_s <= QUICK_S and upstream_s <= QUICK_S:
            self._quick += 1
            self._took_s += took_s
            self._upstream_s += upstream_s
            return
        self._others += 1
        self._tally.durations.observe(took_s)
        self._tally.upstream_durations.observe(upstream_s)
        if self._operation is not None:
            self._operation.observe(took_s)

    def exemplify(self, took_s: float, trace_id: str, at_s: float) -> None:
        """See `Histogram.observe_traced`; of one that is counted."""
        if self._operation is not None:
            self._operation.exemplar = Exemplar(trace_id, took_s, at_s)

    def settle(self, auth: dict[str, int]) -> None:
        """Put what has been counted where it is looked for."""
        count, requests = self._quick + self._others, self._tally.requests
        if not count:
            return
        requests[self._kind] = requests.get(self._kind, 0) + count
        auth[self._outcome] = auth.get(self._outcome, 0) + count
        self._tally.bytes_in += self._bytes_in
        self._tally.bytes_out += self._bytes_out
        self._tally.durations.add_least(self._quick, self._took_s)
        self._tally.upstream_durations.add_least(self._quick, self._upstream_s)
        if self._operation is not None:
            self._operation.add_least(self._quick, self._took_s)
        self._clear()


class Tallies:
    """
    All of it.

    :ivar servers: by name; the empty name stands for the gateway's own addresses, and for requests that found none.
    :ivar auth: requests by what became of the question who asks: ``open``, ``granted``, or an error's reason.
    :ivar operations: MCP messages by method, kind of failure (empty if none) and version of the protocol, in seconds.
    :ivar pauses: of the garbage collector, by generation, in seconds.
    """

    def __init__(self) -> None:
        self._servers: dict[str, ServerTally] = {"": ServerTally()}
        self._auth: dict[str, int] = {}
        self._operations: dict[tuple[str, str, str], Histogram] = {}
        self._usual: dict[tuple[object, ...], Usual] = {}
        #: What is counted of a kind that has been opened; ``None`` for any other.
        self.usual = self._usual.get
        self.lag = Histogram(LAG_BOUNDS)
        self.pauses: dict[int, Histogram] = {}
        self.failures = 0
        self.turned_away = 0
        self.accepted = 0
        self.reloads = {True: 0, False: 0}
        self.spans = 0

    @property
    def servers(self) -> dict[str, ServerTally]:
        """Tallies by name of the server."""
        self._settle()
        return self._servers

    @property
    def auth(self) -> dict[str, int]:
        """Requests by outcome."""
        self._settle()
        return self._auth

    @property
    def operations(self) -> dict[tuple[str, str, str], Histogram]:
        """Durations by what was asked."""
        self._settle()
        return self._operations

    def _settle(self) -> None:
        for usual in self._usual.values():
            usual.settle(self._auth)

    def of(self, server: str) -> ServerTally:
        """The tally of a server, as its configured name says; made when it is first asked for."""
        tally = self._servers.get(server)
        if tally is None:
            tally = self._servers[server] = ServerTally()
        return tally

    def count_auth(self, outcome: str) -> None:
        """Count what became of the question who asks."""
        self._auth[outcome] = self._auth.get(outcome, 0) + 1

    def open_usual(self, key: tuple[object, ...], usual: Usual) -> Usual:
        """Let `usual` find it from now on under this key, whose parts are all of fixed kinds, until its server ends."""
        if len(self._usual) >= MAX_USUAL:
            self._close_usual()
        self._usual[key] = usual
        return usual

    def _close_usual(self) -> None:
        self._settle()
        self._usual.clear()

    def operation(self, key: tuple[str, str, str]) -> Histogram:
        """
        The durations of one kind of MCP message.

        When there are 200 kinds, a new one is counted as `OTHER` of no version; only its kind of failure stays.

        :param key: as `mcpgate.metrics.families.operation_key` gives it.
        """
        histogram = self._operations.get(key)
        if histogram is not None:
            return histogram
        if len(self._operations) >= MAX_OPERATIONS:
            key = (OTHER, key[1], "")
        return self._operations.setdefault(key, Histogram(OPERATION_BOUNDS))

    def forget(self, servers: Iterable[str]) -> None:
        """Servers that are gone for good: their series end."""
        self._close_usual()
        for name in servers:
            self._servers.pop(name, None)
