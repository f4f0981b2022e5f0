"""How fast events are sent: evenly, and never in bursts. Pure: the time is an argument."""

from __future__ import annotations

# The most events sent between two looks at the sockets. If more are due, the machine is too slow for the rate
# asked for: they are let go, and the figure names the rate that was reached.
MOST_EVENTS_AT_ONCE = 64


class Pace:
    """How many events are due, given the rate: no bursts, and nothing is caught up after a stall."""

    def __init__(self) -> None:
        self._per_s = 0.0
        self._started_s = 0.0
        self._given = 0

    @property
    def runs(self) -> bool:
        """Tell whether events are sent at all."""
        return self._per_s > 0

    def start(self, per_s: float, now: float) -> None:
        """Begin anew with this rate, in events per second; 0 stops."""
        self._per_s, self._started_s, self._given = per_s, now, 0

    def due(self, now: float) -> int:
        """Return how many events to send now."""
        count = int((now - self._started_s) * self._per_s) - self._given
        if count > MOST_EVENTS_AT_ONCE:
            self._started_s += (count - MOST_EVENTS_AT_ONCE) / self._per_s
            count = MOST_EVENTS_AT_ONCE
        self._given += count
        return count

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next event is due."""
        return max(0.0, self._started_s + (self._given + 1) / self._per_s - now)
