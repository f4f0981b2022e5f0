"""
One gateway: its parts, wired in one visible block; reload, drain, stop.

Nothing here moves bytes or decides about requests. Reactor, clocks and randomness come in from ``tap.py``, so that the
in-memory kit can hand in its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.logger import Logger

from mcpgate import assembly
from mcpgate.accesslog import AccessLog
from mcpgate.assembly import AssemblyFault
from mcpgate.downstream.listener import Door
from mcpgate.downstream.replies import refusal
from mcpgate.downstream.resource import ProxyResource
from mcpgate.downstream.site import Entry, Told, admin_tree, data_tree, site_of
from mcpgate.errors import Draining, ServerRemoved
from mcpgate.exchange import Ended
from mcpgate.faults import ConfigFaults
from mcpgate.net.deadlines import Deadlines
from mcpgate.net.transports import resume_accepting, stop_accepting
from mcpgate.pipeline import Pipeline, Snapshot
from mcpgate.policy.authn import Grant, TokenTable
from mcpgate.settings import Settings
from mcpgate.upstream.pool import Environment
from mcpgate.upstream.resolver import Resolver
from mcpgate.upstream.server import Server

#: Settings that only a restart can change; a reload says so.
_RESTART_KEYS = ("listen", "admin", "http", "trusted_proxies", "logging", "demo")
#: Those of ``http`` that a reload does change.
_LIVE_HTTP_KEYS = frozenset({"allowed_hosts", "allowed_origins"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process lends to a gateway."""

    reactor: Any  # IReactorTCP and IReactorTime; zope has no way to say both
    resolver: Resolver
    now: Callable[[], float]
    new_id: Callable[[], str]
    access_log: AccessLog | None
    rundir: str
    admin_tokens: tuple[tuple[str, Grant], ...]
    max_connections: int
    load: Callable[[], Settings]
    #: Told, as the log is, of every exception that is our own fault, inside the ``except`` block.
    on_failure: Callable[[object], None] | None = None


class Census:
    """Counts client connections, and stops accepting at a bound: running out of descriptors stops everything."""

    def __init__(self, bound: int) -> None:
        self.open = 0
        self.bound = bound
        self.ports: list[IListeningPort] = []
        self._stopped = False

    def count(self, change: int) -> None:
        """One more or one less."""
        self.open += change
        if self._stopped and self.open < self.bound:
            self._stopped = False
            for port in self.ports:
                resume_accepting(port)
        elif not self._stopped and self.open >= self.bound:
            self._stopped = True
            for port in self.ports:
                stop_accepting(port)


class Gateway:
    """
    A gateway that is built and listens to nothing yet: the doors are factories for somebody's listeners.

    :raises AssemblyFault: something that the settings name cannot be used.
    """

    log = Logger()

    def __init__(self, settings: Settings, lent: Surroundings) -> None:
        reactor: IReactorTime = lent.reactor
        self.settings = settings
        self._started_with = settings
        self.lent = lent
        self.draining = False
        self.bound = False
        self.last_reload_successful = True
        self._retired: set[Server] = set()
        # --- parts
        self.census = Census(lent.max_connections)
        self.deadlines = Deadlines(reactor.callLater, lent.now, on_error=self._log_failure)
        self._environment = Environment(lent.reactor, lent.resolver, self.deadlines, lent.now)
        self.servers = assembly.servers_of(settings, {}, self._environment, lent.rundir)
        told = Told(self._catalog, self._public_url, self._checks, self.reload, self._masked_config)
        # --- wiring
        self.pipeline = self._pipeline(self._data_snapshot(settings), site_of(data_tree(told), reactor))
        self.admin_pipeline = self._pipeline(self._admin_snapshot(settings), site_of(admin_tree(told), reactor))
        self.door = self._door(self.pipeline, admin=False)
        self.admin_door = self._door(self.admin_pipeline, admin=True)

    def _pipeline(self, snapshot: Snapshot, local: Any) -> Pipeline:
        log = self.lent.access_log
        record = log.record if log is not None else lambda exchange, request_id: None
        return Pipeline(
            snapshot, local, refusal, record, self.lent.now, self.lent.new_id, self._log_failure
        )

    def _door(self, pipeline: Pipeline, *, admin: bool) -> Door:
        settings = self.settings
        return Door(
            pipeline,
            settings.http,
            settings.trusted_proxies,
            self.deadlines,
            self.lent.now,
            admin=admin,
            on_count=(lambda change: None) if admin else self.census.count,
        )

    def _data_snapshot(self, settings: Settings) -> Snapshot:
        routes = assembly.data_routes(settings, self.servers)
        return Snapshot(routes, assembly.data_origins(settings), TokenTable(()))

    def _admin_snapshot(self, settings: Settings) -> Snapshot:
        tokens = [(token.sha256, Grant(token.id, frozenset(token.scopes))) for token in settings.admin.tokens]
        table = TokenTable([*tokens, *self.lent.admin_tokens])
        return Snapshot(assembly.admin_routes(settings), assembly.admin_origins(settings), table)

    def resource(self) -> ProxyResource:
        """The data listener as a `twisted.web` resource: for HTTP/2, or somebody's own ``Site``."""
        return ProxyResource(self.pipeline, self.settings.trusted_proxies, self.lent.now, self._largest_body)

    def _largest_body(self) -> int:
        bounds = [server.max_body_bytes or 0 for server in self.settings.servers]
        return max(self.settings.http.max_body_bytes, *bounds, assembly.LOCAL_BODY_BYTES)

    # --- what the own addresses tell ----------------------------------------------------------------------------

    def _catalog(self) -> list[Entry]:
        return [Entry(server.settings, server.replica.status.value) for server in self.servers.values()]

    def _public_url(self) -> str | None:
        return self.settings.public_url

    def _checks(self) -> dict[str, bool]:
        return {"config": True, "listeners": self.bound, "not draining": not self.draining}

    def _masked_config(self) -> dict[str, Any]:
        told = self.settings.model_dump(mode="json")
        for server in told["servers"]:
            server["headers"]["set"] = dict.fromkeys(server["headers"]["set"], "***")
        for token in told["admin"]["tokens"]:
            token["sha256"] = "***"
        return told

    # --- reload -------------------------------------------------------------------------------------------------

    def reload(self) -> dict[str, Any]:
        """
        Read the configuration anew and swap what changed; a bad one changes nothing.

        :returns: ``success``, and either the ``faults`` or what was ``added``, ``changed`` and ``removed``, with the
            keys that ``need_restart``.
        """
        try:
            wanted = self.lent.load()
            servers = assembly.servers_of(wanted, self.servers, self._environment, self.lent.rundir)
        except ConfigFaults as bad:
            return self._keep([str(fault) for fault in bad.faults])
        except AssemblyFault as bad:
            return self._keep([str(bad)])
        before, self.servers = self.servers, servers
        restart = _needing_restart(self._started_with, wanted)
        self.settings = _live(self._started_with, wanted)
        self.pipeline.snapshot = self._data_snapshot(self.settings)
        self.admin_pipeline.snapshot = self._admin_snapshot(self.settings)
        self.last_reload_successful = True
        told = _difference(before, servers)
        kept = {server.replica for server in servers.values()}
        self._retire(server for server in before.values() if server.replica not in kept)
        self.log.info("reloaded: {told}", told=told)
        return {"success": True, **told, "need_restart": restart}

    def _keep(self, faults: list[str]) -> dict[str, Any]:
        self.last_reload_successful = False
        for fault in faults:
            self.log.error("reload refused, the old configuration stays: {fault}", fault=fault)
        return {"success": False, "faults": faults}

    def _retire(self, servers: Iterable[Server]) -> None:
        """Servers that are no longer there: their open streams may go on for ``drain.timeout``."""
        gone = list(servers)
        self._retired.update(gone)
        for server in gone:
            server.replica.retire()
        if gone:
            self.lent.reactor.callLater(self.settings.drain.timeout, self._cut, gone)

    def _cut(self, servers: list[Server]) -> None:
        self._retired.difference_update(servers)
        for server in servers:
            for relay in list(server.relays):
                relay.cut(Ended.DRAIN, ServerRemoved())

    # --- leaving ------------------------------------------------------------------------------------------------

    def drain(self) -> Deferred[None]:
        """
        Stop taking work and let what runs finish, for ``drain.timeout`` at most; then cut the rest.

        Readiness says no from now on; after ``drain.delay`` nothing new is accepted.

        :returns: fires when nothing is under way any more.
        """
        self.draining = True
        done: Deferred[None] = Deferred()
        self.lent.reactor.callLater(self.settings.drain.delay, self._close_doors, done)
        return done

    def _close_doors(self, done: Deferred[None]) -> None:
        self.pipeline.draining = True
        until_s = self.lent.now() + self.settings.drain.timeout
        closed = DeferredList([maybeDeferred(port.stopListening) for port in self.census.ports])
        for connection in list(self.door.connections):
            connection.close_if_idle()
        closed.addCallback(lambda _: self._await_quiet(done, until_s))

    def _await_quiet(self, done: Deferred[None], until_s: float) -> None:
        """Looked at ten times a second, since nobody needs to know it sooner."""
        if not self.door.connections:
            done.callback(None)
        elif self.lent.now() >= until_s:
            self.cut_all()
            self.lent.reactor.callLater(0.1, done.callback, None)
        else:
            self.lent.reactor.callLater(0.1, self._await_quiet, done, until_s)

    def cut_all(self) -> None:
        """End every exchange at once, and let go of every connection."""
        for server in (*self.servers.values(), *self._retired):
            for relay in list(server.relays):
                relay.cut(Ended.DRAIN, Draining())
            server.replica.retire()
        for connection in list(self.door.connections):
            connection.close_if_idle()

    def _log_failure(self, what: object = "") -> None:
        self.log.failure("unexpected failure: {what}", what=what)
        if self.lent.on_failure is not None:
            self.lent.on_failure(what)


def _live(started_with: Settings, wanted: Settings) -> Settings:
    """The wanted settings, with what only a restart can change as it was at the start."""
    http = started_with.http.model_copy(update={key: getattr(wanted.http, key) for key in _LIVE_HTTP_KEYS})
    admin = wanted.admin.model_copy(update={"listen": started_with.admin.listen})
    kept = {key: getattr(started_with, key) for key in _RESTART_KEYS}
    return wanted.model_copy(update={**kept, "http": http, "admin": admin})


def _needing_restart(before: Settings, wanted: Settings) -> list[str]:
    """The keys that differ and do not take effect until the process is started again."""
    found = []
    for key in _RESTART_KEYS:
        old, new = getattr(before, key), getattr(wanted, key)
        if key == "http":
            old, new = (value.model_dump(exclude=set(_LIVE_HTTP_KEYS)) for value in (old, new))
        elif key == "admin":
            old, new = old.listen, new.listen
        if old != new:
            found.append("admin.listen" if key == "admin" else key)
    return found


def _difference(before: dict[str, Server], after: dict[str, Server]) -> dict[str, list[str]]:
    return {
        "added": sorted(after.keys() - before.keys()),
        "changed": sorted(name for name in after.keys() & before.keys() if after[name] is not before[name]),
        "removed": sorted(before.keys() - after.keys()),
    }
