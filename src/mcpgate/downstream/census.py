"""How many client connections are open; running out of descriptors would stop everything."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IListeningPort

from mcpgate.metrics.tallies import Tallies
from mcpgate.net.accepting import resume_accepting, stop_accepting


class Census:
    """
    Counts client connections, and stops accepting at a bound.

    :ivar ports: what accepts them.
    """

    def __init__(self, bound: int, tallies: Tallies) -> None:
        self.open = 0
        self.bound = bound
        self.ports: list[IListeningPort] = []
        self._tallies = tallies
        self._stopped = False

    def enter(self) -> None:
        """One more is open."""
        self.open += 1
        self._tallies.accepted += 1
        if not self._stopped and self.open >= self.bound:
            self._stopped = True
            self._tell(stop_accepting)

    def leave(self) -> None:
        """One less is open."""
        self.open -= 1
        if self._stopped and self.open < self.bound:
            self._stopped = False
            self._tell(resume_accepting)

    def turn_away(self) -> None:
        """One was cut at once: its address has enough of them."""
        self._tallies.turned_away += 1

    def _tell(self, change: Callable[[IListeningPort], None]) -> None:
        for port in self.ports:
            change(port)
