"""
Who runs now: the servers of all sources and the route table they make, swapped whole, changed a few at a time.

What nobody touches keeps its object, and with it connections, streams and its place in the next table; so a change
costs what it changes, and two copies of references: with 10,000 servers 0.6 ms (``python -m benchmarks registering``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mcpgate import assembly
from mcpgate.assembly import Grounds
from mcpgate.errors import ServerRemoved
from mcpgate.exchange import Ended
from mcpgate.policy.routing import RouteTable
from mcpgate.settings import ServerSettings, Settings
from mcpgate.snapshot import Route
from mcpgate.upstream.pool import Replica
from mcpgate.upstream.ports import OpenExchange
from mcpgate.upstream.server import Server

#: How long a server that has left with nothing open is known: one that is started anew goes on with its counts.
_KNOWN_S = 30.0


class Change(NamedTuple):
    """One server before and after; ``None`` where it was not, or is not any more."""

    name: str
    before: Server | None
    after: Server | None


@dataclass(frozen=True, slots=True)
class Notices:
    """
    Who is told of what happens in a lineup.

    :ivar on_status: a replica of the named server can be reached, or cannot any more.
    :ivar on_gone: servers that have no stream left and will not come back; what is known of them may be forgotten.
    """

    on_status: Callable[[str, Replica], None]
    on_gone: Callable[[set[str]], None]


class Lineup:
    """
    The servers, by name in the order of their sources, and what is finishing of former ones.

    :param call_later: as the reactor's.
    :ivar servers: never changed in place.
    :ivar routes: of these servers and of the gateway itself.
    :ivar retired: former ones with replicas that only finish what is open.
    """

    def __init__(self, call_later: Callable[..., object], notices: Notices) -> None:
        self.servers: Mapping[str, Server] = {}
        self.routes: RouteTable[Route] = RouteTable({})
        self.retired: list[Server] = []
        self._own: dict[str, dict[bytes, Route]] = {}
        self._rules: object = None
        self._call_later = call_later
        self._notices = notices

    def prepare(self, wanted: Iterable[ServerSettings], grounds: Grounds) -> dict[str, Server]:
        """
        The servers that would run; nothing changes yet.

        :raises AssemblyFault: as `mcpgate.assembly.server_of`.
        """
        return {each.name: assembly.server_of(each, self.servers.get(each.name), grounds) for each in wanted}

    def swap(self, settings: Settings, servers: dict[str, Server]) -> list[Change]:
        """After a reload: run these and no others, under new rules."""
        before, self.servers = self.servers, servers
        known, rules = self._own, assembly.rules_of(settings)
        if rules != self._rules:
            known, self._rules = {}, rules
        self._own = {
            name: known[name] if name in known and before.get(name) is server else assembly.routes_of(settings, server)
            for name, server in servers.items()
        }
        merged = {path: route for routes in self._own.values() for path, route in routes.items()}
        self.routes = RouteTable({**merged, **assembly.own_routes(settings)})
        names = {**before, **servers}
        return self._changes(before, names, settings.drain.timeout)

    def change(
        self, settings: Settings, wanted: Mapping[str, ServerSettings | None], grounds: Grounds, drain_s: float
    ) -> list[Change]:
        """
        Some servers are now as wanted, or (``None``) gone.

        :param drain_s: how long streams of replicas that are gone may go on.
        :raises AssemblyFault: as `prepare`; then nothing has changed.
        """
        prepared = self.prepare((each for each in wanted.values() if each is not None), grounds)
        before, servers = self.servers, {**self.servers, **prepared}
        gone = [path for name in wanted for path in self._own.pop(name, ())]
        present: dict[bytes, Route] = {}
        for name in wanted:
            if name in prepared:
                routes = assembly.routes_of(settings, prepared[name])
                self._own[name] = routes
                present |= routes
            else:
                servers.pop(name, None)
        self.servers = servers
        self.routes = self.routes.changed(gone, present)
        return self._changes(before, wanted, drain_s)

    def _changes(self, before: Mapping[str, Server], names: Iterable[str], drain_s: float) -> list[Change]:
        changes = [Change(name, before.get(name), self.servers.get(name)) for name in names]
        changes = [change for change in changes if change.before is not change.after]
        for change in changes:
            if change.after is not None:
                self._watch(change.after)
        self._retire([change for change in changes if change.before is not None], drain_s)
        return changes

    def _watch(self, server: Server) -> None:
        name = server.name
        for replica in server.replicas:
            replica.on_status = lambda replica: self._notices.on_status(name, replica)

    def _retire(self, changes: list[Change], drain_s: float) -> None:
        """Replicas that are no longer there: their open streams may go on for a while."""
        left: set[Replica] = set()
        gone: list[Server] = []
        for _, before, after in changes:
            assert before is not None
            parting = set(before.replicas) - set(after.replicas if after is not None else ())
            if parting or after is None:
                gone.append(before)
                left |= parting
        for replica in left:
            replica.on_status = None
            replica.retire()
        busy = [server for server in gone if any(relay.replica in left for relay in server.relays)]
        if busy:
            self.retired = [*self.retired, *busy]
            self._call_later(drain_s, self._cut, busy, left)
        idle = [server.name for server in gone if server not in busy]
        if idle:
            self._call_later(min(drain_s, _KNOWN_S), self._forget, idle)

    def _cut(self, servers: list[Server], replicas: set[Replica]) -> None:
        over = {id(server) for server in servers}
        self.retired = [server for server in self.retired if id(server) not in over]
        for relay in open_on(servers):
            if relay.replica in replicas:
                relay.cut(Ended.DRAIN, ServerRemoved())
        self._forget(server.name for server in servers)

    def _forget(self, names: Iterable[str]) -> None:
        """Of these servers, those that neither run nor finish anything are gone for good."""
        self._notices.on_gone(set(names) - {server.name for server in self.retired} - self.servers.keys())

    def everything(self) -> tuple[Server, ...]:
        """Servers that run and those that finish."""
        return (*self.servers.values(), *self.retired)


def open_on(servers: Iterable[Server]) -> list[OpenExchange]:
    """What is open on these servers, each once."""
    return list({relay for server in servers for relay in server.relays})
