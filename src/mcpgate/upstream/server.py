"""A configured server at run time: what is worked out once, its replicas, and the exchanges that are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mcpgate.settings import ServerSettings
from mcpgate.upstream.pool import Replica, Status
from mcpgate.upstream.ports import OpenExchange
from mcpgate.wire.mapping import PathMap


@dataclass(frozen=True, slots=True)
class Placement:
    """
    One replica as a server uses it.

    :ivar paths: between the server's public paths and the replica's.
    :ivar authority: header line with the replica's own ``Host``.
    :ivar tag: names the replica in sealed sessions; the same in every process.
    """

    replica: Replica
    paths: PathMap
    authority: bytes
    tag: bytes


class Turns(Protocol):
    """Whose turn it is among several replicas."""

    def pick(self, usable: Sequence[bool]) -> int:
        """An index; of a usable one, if there is any."""


class Server:
    """
    One server. A reload that does not change its settings keeps the object, and with it connections and streams.

    :param turns: says whose turn it is: gets what is usable, gives an index (`policy/balance.py`).
    :ivar relays: the exchanges that are open.
    :ivar announced: open legacy streams, by the public target that each has announced for the client's messages.
    """

    def __init__(self, settings: ServerSettings, placements: Sequence[Placement], turns: Turns) -> None:
        self.settings = settings
        self.name = settings.name
        self.timeouts = settings.timeouts
        #: Asked for with every request; an attribute of settings takes 0.1 us.
        self.response_s = settings.timeouts.response
        self.placements = tuple(placements)
        self.relays: set[OpenExchange] = set()
        self.announced: dict[bytes, OpenExchange] = {}
        self._turns = turns

    def __repr__(self) -> str:
        return f"<Server {self.name}: {len(self.relays)} open, {self.replicas!r}>"

    def take_over(self, former: Server) -> None:
        """Go on with what is open on the server as it was before a reload."""
        self.relays, self.announced = former.relays, former.announced

    @property
    def replicas(self) -> list[Replica]:
        """Where it runs, in the order of the configuration."""
        return [placement.replica for placement in self.placements]

    @property
    def status(self) -> Status:
        """Up if one replica is that gets new work, down if none is."""
        found = {Status.DOWN if replica.is_critical else replica.status for replica in self.replicas}
        return Status.UP if Status.UP in found else Status.UNKNOWN if Status.UNKNOWN in found else Status.DOWN

    def next_index(self) -> int | None:
        """
        Whose turn it is among the replicas that answered when they were last dialled, or else among all that take new
        work; ``None`` if there is none.
        """
        if len(self.placements) == 1:
            return None if self.placements[0].replica.is_critical else 0
        usable = [placement.replica.may_be_up() for placement in self.placements]
        if not any(usable):
            usable = [not placement.replica.is_critical for placement in self.placements]
        return self._turns.pick(usable) if any(usable) else None

    def index_of(self, tag: bytes) -> int | None:
        """The replica that a sealed session names, if it is still there."""
        for index, placement in enumerate(self.placements):
            if placement.tag == tag:
                return index
        return None
