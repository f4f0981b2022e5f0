"""What is told about a gateway: counts, live state, log lines, traces. Wired here, once, for both listeners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcpgate.metrics.collection import Scrape
from mcpgate.metrics.lag import GcPauses, ReactorLag
from mcpgate.metrics.observed import LimitCount, Observed
from mcpgate.metrics.tallies import Tallies
from mcpgate.policy.limits import LimitPolicy
from mcpgate.policy.ratelimit import LimitTally
from mcpgate.recorder import Clocks, Recorder
from mcpgate.settings import Settings
from mcpgate.status import status
from mcpgate.surroundings import Surroundings
from mcpgate.tracing import Tracing

#: However many look, and however often: for a person it is the same moment.
_STATUS_S = 0.5
_PERIODS = {1: "s", 60: "m", 3600: "h", 86400: "d"}


class Telemetry:
    """
    Keeps account of a gateway.

    :ivar recorder: is told of every exchange; ``tracing`` places them in traces.
    """

    def __init__(self, settings: Settings, lent: Surroundings) -> None:
        self.tallies = Tallies()
        self.recorder = Recorder(self.tallies, Clocks(lent.now, lent.wall), lent.access_log, lent.spans)
        self.tracing = Tracing(settings.tracing, lent.random_bits, lent.spans is not None)
        self._lag = ReactorLag(lent.reactor.callLater, lent.now, self.tallies.lag)
        self._pauses = GcPauses(lent.now, self.tallies.pauses)
        self._gc_callbacks = lent.gc_callbacks
        self._logs = lent.logs
        self._observed: Observed | None = None
        self._scrape: Scrape | None = None
        self._status: dict[str, Any] = {}
        self._status_until_s = 0.0
        self.follow(settings)

    def observe(self, observed: Observed) -> None:
        """Tell of this gateway; before anything is asked."""
        self._observed = observed
        self._scrape = Scrape(observed)

    def follow(self, settings: Settings) -> None:
        """Take over what a reload may change."""
        self.recorder.tools = settings.metrics.tools
        self._logs.follow(settings.logging)

    def start(self) -> None:
        """The reactor runs."""
        self._lag.start()
        self._pauses.install(self._gc_callbacks)

    def stop(self) -> None:
        """Measure nothing any more."""
        self._lag.stop()
        self._pauses.remove(self._gc_callbacks)

    def scrape(self, accept: bytes) -> tuple[bytes, Iterator[bytes]]:
        """See `mcpgate.metrics.collection.Scrape.pieces`."""
        assert self._scrape is not None
        return self._scrape.pieces(accept)

    def status(self) -> dict[str, Any]:
        """The JSON twin of the status page, of this moment or a little earlier: it can take 15 ms to make."""
        assert self._observed is not None
        now_s = self._observed.now()
        if now_s >= self._status_until_s:
            self._status, self._status_until_s = status(self._observed), now_s + _STATUS_S
        return self._status


def limit_counts(tallies: list[tuple[LimitPolicy, LimitTally]]) -> list[LimitCount]:
    """Limits as operators see them."""
    return [
        LimitCount(
            name=policy.name,
            key=tuple(part.value for part in policy.key),
            allowance=_allowance(policy),
            admitted=tally.admitted,
            waited=tally.waited,
            refused=tally.refused,
        )
        for policy, tally in tallies
    ]


def _allowance(policy: LimitPolicy) -> str:
    if policy.allowance is None:
        return f"{policy.concurrent_streams} streams"
    allowance = policy.allowance
    period = _PERIODS.get(allowance.period_s, f"{allowance.period_s}s")
    return f"{allowance.count}/{period}, {allowance.burst} at once"
