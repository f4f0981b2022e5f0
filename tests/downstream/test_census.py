"""How many client connections are open, and what happens at the bound."""

from __future__ import annotations

from typing import cast

from twisted.internet import tcp
from twisted.internet.interfaces import IListeningPort

from mcpgate.downstream.census import Census
from mcpgate.metrics.tallies import Tallies


class Port(tcp.Port):
    """A listening port that only notes whether it accepts."""

    connected = True
    disconnecting = False

    def __init__(self) -> None:
        self.accepts = True

    def startReading(self) -> None:
        self.accepts = True

    def stopReading(self) -> None:
        self.accepts = False


def test_at_the_bound_no_more_connections_are_accepted() -> None:
    """They wait in the kernel until one goes; running out of descriptors would stop everything."""
    census, port = Census(2, Tallies()), Port()
    census.ports.append(cast(IListeningPort, port))
    seen = []
    for change in (1, 1, 1, -1, -1, 1, -1, -1):
        (census.enter if change > 0 else census.leave)()
        seen.append((census.open, port.accepts))
    assert seen == [(1, True), (2, False), (3, False), (2, False), (1, True), (2, False), (1, True), (0, True)]


def test_who_came_and_who_was_turned_away_is_counted() -> None:
    """For metrics; who leaves changes neither number."""
    tallies = Tallies()
    census = Census(5, tallies)
    census.enter()
    census.enter()
    census.turn_away()
    census.leave()
    assert (tallies.accepted, tallies.turned_away, census.open) == (2, 1, 1)
