"""
Who is here at the moment: open exchanges, connections of clients, descriptors.

There may be tens of thousands of them, so they are counted in small steps, between which everything goes on: what has
come or gone meanwhile may be counted or not, and what stays is counted once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from typing import Final

from mcpgate.metrics.observed import Connection, Observed
from mcpgate.metrics.process import Process
from mcpgate.upstream.ports import OpenExchange

STATES: Final = ("idle", "exchange", "stream", "tunnel", "closing")


class Headcount:
    """
    One count.

    :ivar requests: exchanges under way that are no streams, by server.
    :ivar connections: by listener and state.
    :ivar buffered_bytes: what clients have not taken.
    """

    def __init__(self, observed: Observed, process: Process) -> None:
        self.requests: dict[str, int] = {}
        self.connections: dict[tuple[str, str], int] = {}
        self.buffered_bytes = 0
        self._observed = observed
        self._process = process

    def steps(self) -> Iterator[None]:
        """Count; one exchange, connection or descriptor a step."""
        for name, relays in self._relays():
            self.requests.setdefault(name, 0)
            for relay in tuple(relays):
                if relay in relays:
                    self._note_relay(name, relay)
                yield
        for listener, connections in self._observed.connections().items():
            self.connections.update(dict.fromkeys(((listener, state) for state in STATES), 0))
            for connection in tuple(connections):
                self._note_connection(listener, connection)
                yield
        yield from self._process.count_descriptors()

    def _relays(self) -> Iterator[tuple[str, Collection[OpenExchange]]]:
        """The open exchanges of every server; a server that took over from another one shares them with it."""
        observed = self._observed
        sets = {id(each.relays): each for each in chain(observed.retired(), observed.servers().values())}
        return ((server.name, server.relays) for server in sets.values())

    def _note_relay(self, name: str, relay: OpenExchange) -> None:
        self._observed.settle(relay)
        if not relay.exchange.transport:
            self.requests[name] += 1

    def _note_connection(self, listener: str, connection: Connection) -> None:
        self.connections[listener, connection.state] += 1
        self.buffered_bytes += connection.unsent_bytes()
