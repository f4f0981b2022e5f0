"""
One gateway: its parts, wired in one visible block; reload, drain, stop.

Nothing here moves bytes or decides about requests. Reactor, clocks and randomness come in from ``tap.py``, so that the
in-memory kit can hand in its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mcpgate import __version__, assembly
from mcpgate.admittance import Admittance
from mcpgate.assembly import AssemblyFault
from mcpgate.downstream.admin import Operations, admin_tree
from mcpgate.downstream.census import Census
from mcpgate.downstream.discovery import Entry, Told, data_tree
from mcpgate.downstream.feed import Feed
from mcpgate.downstream.listener import Door
from mcpgate.downstream.news import EVENTS, discovery_events
from mcpgate.downstream.replies import refusal
from mcpgate.downstream.resource import ProxyResource
from mcpgate.downstream.site import site_of
from mcpgate.downstream.targets import Targets
from mcpgate.entitlement import operators
from mcpgate.errors import Draining, ExpiredToken, InvalidToken
from mcpgate.exchange import Ended, Exchange
from mcpgate.faults import ConfigFaults
from mcpgate.fleet import Fleet, Ties
from mcpgate.lineup import open_on
from mcpgate.metrics.observed import Holdings, Observed, ReloadState
from mcpgate.net.deadlines import Deadlines
from mcpgate.pipeline import Parts, Pipeline
from mcpgate.policy.access import Terms
from mcpgate.policy.authn import Grant, TokenTable
from mcpgate.policy.routing import RouteTable
from mcpgate.registry.folder import Folder
from mcpgate.resources import Resources
from mcpgate.revision import difference, live, needing_restart
from mcpgate.settings import Settings
from mcpgate.snapshot import Route, Snapshot
from mcpgate.surroundings import Surroundings
from mcpgate.telemetry import Telemetry, limit_counts
from mcpgate.upstream.server import Server

#: How often open streams are asked whether their token is still good; half of what users are promised, and some.
_EXPIRY_S = 2.0


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
        self.reload_state = ReloadState(True, lent.wall())
        self._expiry: IDelayedCall | None = None
        self._folder: Folder | None = None
        # --- parts
        self.telemetry = Telemetry(settings, lent)
        self.census = Census(lent.max_connections, self.telemetry.tallies)
        self.deadlines = Deadlines(reactor.callLater, lent.now, on_error=self._log_failure)
        self.admittance = Admittance(settings, lent)
        self._resources = Resources(self.admittance.fetcher, lent.now)
        self.feed = Feed(self.telemetry.status, reactor.callLater)
        # --- wiring
        ties = Ties(self._take_routes, self.telemetry.tallies.forget, self._tell_clients)
        self.fleet = fleet = Fleet(settings, lent, self.deadlines, ties)
        told = self._told()
        self.events = discovery_events(told)
        data_site = site_of(data_tree(told), reactor)
        self.pipeline = self._pipeline(self._data_snapshot(settings), Targets(data_site, {EVENTS: self.events}))
        admin_site = site_of(admin_tree(self._operations()), reactor)
        self.admin_pipeline = self._pipeline(
            self._admin_snapshot(settings), Targets(admin_site, {b"/v1/events": fleet.watch})
        )
        self.door = self._door(self.pipeline, admin=False)
        self.admin_door = self._door(self.admin_pipeline, admin=True)
        self.telemetry.observe(self._observed())

    def start(self) -> None:
        """The reactor runs: fetch what must be known, and look after what is open."""
        self.admittance.start()
        self.fleet.start()
        self.telemetry.start()
        self._look_after_open()
        self._watch_folder()

    def stop(self) -> None:
        """Fetch nothing any more."""
        self.admittance.stop()
        self.fleet.stop()
        if self._folder is not None:
            self._folder.stop()
        self.telemetry.stop()
        self._close_feeds()

    @property
    def servers(self) -> Mapping[str, Server]:
        """Those that run, by name."""
        return self.fleet.lineup.servers

    def _pipeline(self, snapshot: Snapshot, local: Any) -> Pipeline:
        lent = self.lent
        parts = Parts(
            local,
            refusal,
            self.telemetry.recorder,
            lent.now,
            lent.wall,
            lent.reactor.callLater,
            lent.new_id,
            self._log_failure,
            self.admittance,
            self.telemetry.tracing,
        )
        return Pipeline(snapshot, parts)

    def _door(self, pipeline: Pipeline, *, admin: bool) -> Door:
        settings = self.settings
        return Door(
            pipeline,
            settings.http,
            settings.trusted_proxies,
            self.deadlines,
            self.lent.now,
            admin=admin,
            census=None if admin else self.census,
        )

    def _data_snapshot(self, settings: Settings) -> Snapshot:
        routes, origins = self.fleet.lineup.routes, assembly.data_origins(settings)
        access, gate = self.admittance.access, self.admittance.gate
        return Snapshot(routes, origins, TokenTable(()), gate, access, settings.trusted_proxies)

    def _admin_snapshot(self, settings: Settings) -> Snapshot:
        tokens = TokenTable([*operators(settings), *self.lent.admin_tokens])
        routes, origins = assembly.admin_routes(settings), assembly.admin_origins(settings)
        return Snapshot(routes, origins, tokens, self.admittance.gate, trusted=settings.trusted_proxies)

    def resource(self) -> ProxyResource:
        """The data listener as a `twisted.web` resource: for HTTP/2, or somebody's own ``Site``."""
        return ProxyResource(self.pipeline, self.settings.trusted_proxies, self.lent.now, self._largest_body)

    def _largest_body(self) -> int:
        bounds = [server.max_body_bytes or 0 for server in self.settings.servers]
        return max(self.settings.http.max_body_bytes, *bounds, assembly.LOCAL_BODY_BYTES)

    # --- what the own addresses tell ----------------------------------------------------------------------------

    def _told(self) -> Told:
        fleet, lent = self.fleet, self.lent
        return Told(
            gateway=fleet.gateway_id,
            catalog=fleet.directory.catalog,
            index=lambda: fleet.changes.index,
            public_url=lambda: self.settings.public_url,
            settings=lambda: self.settings.discovery,
            document=self._document,
            call_later=lent.reactor.callLater,
            now=lent.now,
        )

    def _take_routes(self, routes: RouteTable[Route]) -> None:
        """Who runs has changed, and nothing else."""
        self.pipeline.snapshot = replace(self.pipeline.snapshot, routes=routes)

    def _tell_clients(self, kind: str, index: int, entry: Entry) -> None:
        self.events.publish(kind, index, entry)

    def _terms(self) -> dict[str, Terms]:
        """The terms of each server, by its name, as they are in force."""
        routes = self.pipeline.snapshot.routes
        return {route.server.name: route.terms for route in routes if route.server is not None}

    def _document(self, exchange: Exchange) -> Deferred[bytes | None]:
        return self._resources.document(exchange, self.pipeline.snapshot)

    def _operations(self) -> Operations:
        lent = self.lent
        return Operations(
            is_ready=self._checks,
            reload=self.reload,
            masked_config=self._masked_config,
            scrape=self.telemetry.scrape,
            status=self.telemetry.status,
            levels=lent.logs.levels,
            set_levels=lent.logs.set_levels,
            registry=self.fleet.registry,
            feed=self.feed,
            call_later=lent.reactor.callLater,
            now=lent.now,
        )

    def _observed(self) -> Observed:
        lent, waiters = self.lent, self.pipeline.waiters
        return Observed(
            tallies=self.telemetry.tallies,
            recent=self.telemetry.recorder.recent,
            servers=lambda: self.servers,
            retired=lambda: self.fleet.lineup.retired,
            members=lambda: self.fleet.headcount(self.events),
            connections=lambda: {"data": self.door.connections, "admin": self.admin_door.connections},
            max_connections=self.census.bound,
            holdings=lambda: Holdings(len(waiters.held), waiters.held_bytes),
            limits=lambda: limit_counts(self.admittance.limit_tallies()),
            checks=self._checks,
            reload_state=lambda: self.reload_state,
            dropped_lines=lent.logs.dropped_lines,
            settle=self.telemetry.recorder.settle,
            wall=lent.wall,
            now=lent.now,
            started_at_s=lent.wall(),
            version=__version__,
        )

    def _checks(self) -> dict[str, bool]:
        return {"config": True, "listeners": self.bound, "not draining": not self.draining}

    def _masked_config(self) -> dict[str, Any]:
        return self.settings.model_dump(mode="json")  # secrets mask themselves

    # --- reload -------------------------------------------------------------------------------------------------

    def reload(self) -> dict[str, Any]:
        """
        Read the configuration anew and swap what changed; a bad one changes nothing.

        :returns: ``success``, and either the ``faults`` or what was ``added``, ``changed`` and ``removed``, with the
            keys that ``need_restart``.
        """
        try:
            wanted = self.lent.load()
            taken = live(self._started_with, wanted)
            self.fleet.check(taken)
            self.admittance.take(taken)
        except ConfigFaults as bad:
            return self._keep([str(fault) for fault in bad.faults])
        except AssemblyFault as bad:
            return self._keep([str(bad)])
        changes, self.settings = self.fleet.take(taken), taken
        self.pipeline.snapshot = self._data_snapshot(taken)
        self.admin_pipeline.snapshot = self._admin_snapshot(taken)
        self.telemetry.follow(taken)
        self._note_reload(True)
        told = difference(
            {each.name: each.before for each in changes if each.before is not None},
            {each.name: each.after for each in changes if each.after is not None},
        )
        self._revoke()
        self._look_after_open()
        self._watch_folder()
        self.log.info("reloaded: {told}", told=told)
        return {"success": True, **told, "need_restart": needing_restart(self._started_with, wanted)}

    def _watch_folder(self) -> None:
        """Read the configuration anew when a file in ``registry.files`` is another."""
        files = self.settings.registry.files
        path = None if files is None else os.path.join(self.lent.rundir, files)
        if self._folder is not None and self._folder.path != path:
            self._folder.stop()
            self._folder = None
        if self._folder is None and path is not None:
            self._folder = Folder(path, self.reload, self.lent.reactor.callLater)
            self._folder.start()

    def _keep(self, faults: list[str]) -> dict[str, Any]:
        self._note_reload(False)
        self.log.error("reload refused, the old configuration stays: {faults}", faults="\n".join(faults))
        return {"success": False, "faults": faults}

    def _note_reload(self, successful: bool) -> None:
        self.reload_state = ReloadState(successful, self.lent.wall() if successful else self.reload_state.success_at_s)
        self.telemetry.tallies.reloads[successful] += 1

    # --- rights that end while something is open ----------------------------------------------------------------

    def _revoke(self) -> None:
        """After a reload: end what nobody would let in any more."""
        terms = self._terms()
        for server in self.fleet.lineup.everything():
            for relay in list(server.relays):
                if not self.admittance.renew(relay.exchange, server.name, terms.get(server.name)):
                    relay.cut(Ended.REVOKED, InvalidToken(detail="revoked by a reload"))
        self.events.recheck(self.admittance.still_knows)
        self.fleet.watch.recheck(self._still_watches)

    def _still_watches(self, exchange: Exchange) -> bool:
        """Whether an operator may still read what the registry tells."""
        route = self.admin_pipeline.snapshot.routes.find(exchange.head.path)
        if route is None or not route.scope:
            return route is not None
        grant = exchange.grant
        if not isinstance(grant, Grant) or not isinstance(grant.proof, bytes):
            return False
        present = self.admin_pipeline.snapshot.tokens.find_digest(grant.proof)
        return present is not None and route.scope in present.scopes

    def _expire(self) -> None:
        """
        Once in `_EXPIRY_S`, if there are tokens that expire: end what is open on one that has.

        A walk over 5,000 idle streams takes 4 ms, as none of them is in a cache; a timer for each would cost every
        request more than that.
        """
        now_s = self.lent.now()
        for relay in open_on(self.fleet.lineup.everything()):
            if relay.exchange.expires_s <= now_s:
                relay.cut(Ended.REVOKED, ExpiredToken())
        self._expiry = None
        self._look_after_open()

    def _look_after_open(self) -> None:
        if self._expiry is None and self.settings.auth.lets_in_for_a_time:
            self._expiry = self.lent.reactor.callLater(_EXPIRY_S, self._expire)

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
        self._close_feeds()
        until_s = self.lent.now() + self.settings.drain.timeout
        closed = DeferredList([maybeDeferred(port.stopListening) for port in self.census.ports])
        for connection in list(self.door.connections):
            connection.close_if_idle()
        closed.addCallback(lambda _: self._await_quiet(done, until_s))

    def _close_feeds(self) -> None:
        self.feed.close()
        self.events.close()
        self.fleet.close_feeds()

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
        servers = self.fleet.lineup.everything()
        for relay in open_on(servers):
            relay.cut(Ended.DRAIN, Draining())
        for held in list(self.pipeline.waiters.held):
            held.lose_client(Ended.DRAIN, Draining())
        for replica in {replica for server in servers for replica in server.replicas}:
            replica.retire()
        for connection in list(self.door.connections):
            connection.close_if_idle()

    def _log_failure(self, what: object = "") -> None:
        self.telemetry.tallies.failures += 1
        self.log.failure("unexpected failure: {what}", what=what)
        if self.lent.on_failure is not None:
            self.lent.on_failure(what)
