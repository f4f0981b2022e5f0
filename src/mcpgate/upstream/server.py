"""A configured server at run time: what is worked out once, its replica, and the exchanges that are open."""

from __future__ import annotations

from mcpgate.settings import ServerSettings
from mcpgate.upstream.pool import Replica
from mcpgate.upstream.ports import OpenExchange
from mcpgate.wire.mapping import PathMap


class Server:
    """
    One server. A reload that does not change its settings keeps the object, and with it connections and streams.

    :param pinned: header lines for the upstream: its Host, and the credentials that the configuration sets.
    :ivar relays: the exchanges that are open.
    """

    def __init__(self, settings: ServerSettings, replica: Replica, paths: PathMap, pinned: bytes) -> None:
        self.settings = settings
        self.name = settings.name
        self.timeouts = settings.timeouts
        self.replica = replica
        self.paths = paths
        self.pinned = pinned
        self.set_names = frozenset(name.lower().encode("ascii") for name in settings.headers.set)
        self.relays: set[OpenExchange] = set()

    def __repr__(self) -> str:
        return f"<Server {self.name}: {len(self.relays)} open, {self.replica!r}>"
