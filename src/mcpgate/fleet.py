"""
Who runs, who joins, and what is told of it: the lineup, the registry and the directory, wired together.

Whatever changes (a reload, a registration, a list, a lease, a connect that failed) comes through here, and goes to each
of the three in the same order: first what runs, then what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from mcpgate.assembly import AssemblyFault, Grounds
from mcpgate.directory import Directory, Eyes
from mcpgate.downstream.broadcast import Broadcast, Timing
from mcpgate.downstream.discovery import Entry
from mcpgate.downstream.ring import Event
from mcpgate.errors import ServerRemoved
from mcpgate.exchange import Exchange
from mcpgate.lineup import Change, Lineup, Notices
from mcpgate.metrics.observed import ListState, Members
from mcpgate.net.deadlines import Deadlines
from mcpgate.policy.access import OPEN_TO_ALL
from mcpgate.policy.routing import RouteTable
from mcpgate.refusals import RegistrationRefused
from mcpgate.registry import views
from mcpgate.registry.attendance import Times
from mcpgate.registry.changes import Changes
from mcpgate.registry.polling import Outlet, Pace, Polling
from mcpgate.registry.registry import Neighbours, Registry
from mcpgate.registry.roster import Key
from mcpgate.settings import RegisteredUpstream, Settings
from mcpgate.snapshot import Route
from mcpgate.surroundings import Surroundings
from mcpgate.upstream.fetch import Fetcher
from mcpgate.upstream.pool import Environment, Replica, Status
from mcpgate.upstream.server import Server

#: A list of 10,000 servers has 1.2 MB, and takes 40 ms to parse in one go.
MAX_LIST_BYTES = 4 << 20
#: Screens and scripts of operators.
_MAX_WATCHERS = 100


@dataclass(frozen=True, slots=True)
class Ties:
    """
    What ties the fleet to the rest of the gateway.

    :ivar take_routes: this is the route table from now on.
    :ivar forget: servers that are gone for good.
    :ivar tell_clients: an event of discovery: kind, number, server.
    """

    take_routes: Callable[[RouteTable[Route]], None]
    forget: Callable[[set[str]], None]
    tell_clients: Callable[[str, int, Entry], None]


class Fleet:
    """
    :raises AssemblyFault: something that the settings name cannot be used.
    """

    def __init__(self, settings: Settings, lent: Surroundings, deadlines: Deadlines, ties: Ties) -> None:
        reactor = lent.reactor
        self._lent = lent
        self._ties = ties
        self._settings = settings
        self._restored = self._is_running = False
        self.gateway_id = f"{lent.random_bits(64):016x}"
        self.changes = Changes(int(lent.wall() * 1000), reactor.callLater)
        self.lineup = Lineup(reactor.callLater, Notices(self._note_status, ties.forget))
        self.directory = Directory(Eyes(self._look, ties.tell_clients, lent.wall), self.changes)
        store = lent.open_store(settings.registry.store)
        times = Times(reactor, lent.now, lent.wall)
        self.registry = Registry(store, lent.newcomers, times, self.changes, self.gateway_id)
        polling = Polling(
            Fetcher(reactor, lent.resolver, max_bytes=MAX_LIST_BYTES),
            Outlet(self.registry.take_list, self.registry.keep_list),
            Pace(reactor, lent.wall, lent.random),
            store.load_lists() if settings.registry.sources else {},
        )
        neighbours = Neighbours(
            apply=self._apply,
            restate=self._restate,
            replica_of=self.replica_of,
            tell=self._tell_operators,
            names=lambda: self.lineup.servers.keys(),
            server_view=self._server_view,
        )
        self.registry.attach(neighbours, polling)
        self.watch = self._feed_of_operators()
        guarded = Environment(reactor, lent.strangers, deadlines, lent.now, lambda: self.registry.roster.egress)
        trusted = Environment(reactor, lent.resolver, deadlines, lent.now)
        self._grounds = Grounds(trusted, guarded, lent.rundir)
        self._swap(settings)
        self.directory.fill(self.lineup.servers)

    # --- the configuration --------------------------------------------------------------------------------------

    def check(self, settings: Settings) -> None:
        """
        Whether these settings can be taken; nothing changes.

        :raises AssemblyFault: they cannot.
        """
        self.lineup.prepare(settings.servers, self._grounds)

    def take(self, settings: Settings) -> list[Change]:
        """
        The configuration is this now. Streams of what stays are not touched.

        :raises AssemblyFault: as `check`.
        """
        changes = self._swap(settings)
        self.directory.note({**self.lineup.servers, **self.directory.entries})
        return changes

    def _swap(self, settings: Settings) -> list[Change]:
        self._settings = settings
        self.registry.follow(settings)
        if settings.registry.is_open and not self._restored:
            self._restored = True
            self.registry.restore()
        self._part_from_forbidden()
        prepared = self.lineup.prepare(self.registry.wanted(settings.servers), self._grounds)
        changes = self.lineup.swap(settings, prepared)
        self._after(changes)
        return changes

    def _part_from_forbidden(self) -> None:
        """Where nobody may point any more, no connection is used again, and what is open ends as if it was removed."""
        egress, drain_s = self.registry.roster.egress, self._settings.drain.timeout
        for server in self.lineup.servers.values():
            for _, replica in _registered(server):
                if replica.part_from(egress.objection):
                    self._lent.reactor.callLater(drain_s, replica.cut_forbidden, ServerRemoved())

    def start(self) -> None:
        """The reactor runs."""
        self._is_running = True
        self.registry.start()

    def stop(self) -> None:
        """Ask nobody any more, tell nobody any more, keep what was taken."""
        self.registry.stop()
        self.close_feeds()

    def close_feeds(self) -> None:
        """Who waits for changes, or follows them, is answered to the end."""
        self.changes.close()
        self.watch.close()

    # --- what the registry changes ------------------------------------------------------------------------------

    def _apply(self, names: Collection[str], drain_s: float | None) -> None:
        settings = self._settings
        wanted = {name: self.registry.roster.settings_of(name) for name in names}
        wait_s = settings.drain.timeout if drain_s is None else drain_s
        try:
            changes = self.lineup.change(settings, wanted, self._grounds, wait_s)
        except AssemblyFault as bad:
            raise RegistrationRefused.for_faults([("url", str(bad))])
        self._after(changes)
        self._ties.take_routes(self.lineup.routes)
        self.directory.note(names)

    def _after(self, changes: list[Change]) -> None:
        """What leases say of the new objects; and whether replicas that are new can be reached."""
        for change in changes:
            known = set(change.before.replicas) if change.before is not None else set()
            for key, replica in _registered(change.after):
                replica.is_critical = not self.registry.attendance.may_work(key)
                if self._is_running and replica not in known:
                    self.registry.attendance.probe(key)

    def _restate(self, key: Key, serves: bool) -> None:
        replica = self.replica_of(key)
        if replica is not None:
            replica.is_critical = not serves
        self.directory.note([key[0]])

    def replica_of(self, key: Key) -> Replica | None:
        """The running replica of an entry."""
        return next((replica for known, replica in _registered(self.lineup.servers.get(key[0])) if known == key), None)

    def _note_status(self, name: str, replica: Replica) -> None:
        self.directory.note([name])
        for key, known in _registered(self.lineup.servers.get(name)):
            if known is replica:
                self.registry.attendance.note_probe(key, replica.status is Status.UP)

    # --- what is told -------------------------------------------------------------------------------------------

    def _look(self, name: str) -> Entry | None:
        """A server that runs and that somebody may find: of the configuration, or with a replica that serves."""
        server = self.lineup.servers.get(name)
        if server is None or not (self._is_configured(server) or self.registry.serves(name)):
            return None
        route = self.lineup.routes.find(server.settings.path.encode("ascii"))
        terms = route.terms if route is not None else OPEN_TO_ALL
        return Entry(server.settings, server.status.value, terms, self._lent.wall())

    def _is_configured(self, server: Server) -> bool:
        own = server.settings.replicas_may_register
        return own or any(not isinstance(each, RegisteredUpstream) for each in server.settings.upstreams)

    def _tell_operators(self, kind: str, index: int, entry: dict[str, object]) -> None:
        self.watch.publish(kind, index, entry)

    def _feed_of_operators(self) -> Broadcast:
        return Broadcast(
            _same_for_all,
            _entry_text,
            Timing(self._lent.reactor.callLater, self._lent.now),
            index=lambda: self.changes.index,
            keep_alive_s=lambda: self._settings.discovery.keep_alive,
            max_subscribers=lambda: _MAX_WATCHERS,
        )

    def _origin_of(self, server: Server) -> str:
        if self._is_configured(server):
            return self._settings.origin_of(server.name)
        return next(each.origin for each in server.settings.upstreams if isinstance(each, RegisteredUpstream))

    def headcount(self, events: Broadcast) -> Members:
        """What metrics tell of all this; ``events`` are those that clients read."""
        registry = self.registry
        return Members(
            registry.headcount(),
            registry.attendance.held,
            registry.attendance.expired_count,
            registry.store.is_writable,
            tuple(ListState(each.name, each.is_up, each.fetched_at_s) for each in registry.polling.states()),
            len(events),
            events.cut_count,
            events.event_count,
        )

    def _server_view(self, name: str, replicas: list[dict[str, object]]) -> dict[str, object]:
        server = self.lineup.servers.get(name)
        if server is None:
            return {"name": name, "status": "unused", "replicas": replicas}
        own = [
            views.configured_view(upstream, replica.status.value)
            for upstream, replica in zip(server.settings.upstreams, server.replicas, strict=True)
            if not isinstance(upstream, RegisteredUpstream)
        ]
        return views.server_view(server.settings, self._origin_of(server), server.status.value, [*own, *replicas])


def _registered(server: Server | None) -> list[tuple[Key, Replica]]:
    """The replicas of a server that are not in the configuration."""
    if server is None:
        return []
    pairs = zip(server.settings.upstreams, server.replicas, strict=True)
    return [
        ((server.name, upstream.replica), replica)
        for upstream, replica in pairs
        if isinstance(upstream, RegisteredUpstream)
    ]


def _same_for_all(exchange: Exchange) -> str:
    return ""


def _entry_text(event: Event, view: Any) -> bytes:
    return msgspec.json.encode(event.subject)
