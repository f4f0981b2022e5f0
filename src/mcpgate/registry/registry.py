"""
The registry at work: who asks is answered when it is kept, what time does to leases is done, lists are followed.

Decisions are those of `mcpgate.registry.roster` and `mcpgate.registry.leases`; here they meet the disk, the clock and
the rest of the gateway, which is told only what it must change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mcpgate.errors import GatewayError
from mcpgate.policy.egress import Egress
from mcpgate.refusals import NotRegistered, RegistrationRefused
from mcpgate.registry import views
from mcpgate.registry.attendance import Attendance, Notices, Times
from mcpgate.registry.changes import Changes
from mcpgate.registry.following import Effects, Following
from mcpgate.registry.leases import Lease, State
from mcpgate.registry.polling import Polling
from mcpgate.registry.ports import Receipt
from mcpgate.registry.registration import Registration, gateways_of, restored, stored
from mcpgate.registry.roster import API, Conditions, Entry, Key, Roster
from mcpgate.registry.rows import Row, objection
from mcpgate.registry.store import Store
from mcpgate.settings import ServerSettings, Settings
from mcpgate.upstream.guarded import check_url
from mcpgate.upstream.pool import Replica
from mcpgate.upstream.resolver import Resolver
from mcpgate.values.addresses import listen_address, upstream_url


@dataclass(frozen=True, slots=True)
class Neighbours:
    """
    What the registry uses of the gateway.

    :ivar apply: these servers have changed; streams of replicas that are gone may go on for so many seconds (``None``:
        as configured). Raises `RegistrationRefused` if one of them cannot run.
    :ivar restate: this replica may, or may not, get new work.
    :ivar replica_of: the running one.
    :ivar tell: an event for operators: its kind, and the entry as it is shown.
    :ivar names: of the servers that run.
    :ivar server_view: one as it is shown, given what is shown of its registered replicas.
    """

    apply: Callable[[Collection[str], float | None], None]
    restate: Callable[[Key, bool], None]
    replica_of: Callable[[Key], Replica | None]
    tell: Callable[[str, int, dict[str, object]], None]
    names: Callable[[], Collection[str]]
    server_view: Callable[[str, list[dict[str, object]]], dict[str, object]]


class Registry:
    """
    Everything that joins at run time.

    :param resolver: for names that registrants say; its threads are used by nobody else.
    :param gateway_id: by which other gateways know us.
    """

    log = Logger()

    def __init__(self, store: Store, resolver: Resolver, times: Times, changes: Changes, gateway_id: str = "") -> None:
        self.changes = changes
        self.store = store
        self.roster = Roster(changes.revise)
        self._resolver = resolver
        self._times = times
        self._gateway_id = gateway_id

    # --- life ---------------------------------------------------------------------------------------------------

    def attach(self, neighbours: Neighbours, polling: Polling) -> None:
        """Once, before anything else: what this registry works with."""
        self._neighbours = neighbours
        self.polling = polling
        notices = Notices(self._note_state, self._expire, neighbours.replica_of)
        self.attendance = Attendance(self._times, notices)
        effects = Effects(neighbours.apply, self._tell, self._note_conflict)
        self._following = Following(self.roster, self.changes, self._times, effects)

    def restore(self) -> None:
        """Read what was kept; entries are unverified until somebody beats or a probe tells."""
        for row in self.store.load():
            registration = self._read(row)
            if registration is None:
                continue
            at_s = row.registered_at_s
            self.changes.index = max(self.changes.index, row.revision)  # also if the clock was put back
            entry = Entry(row.server, row.replica, API, registration, row.revision, at_s, at_s)
            self._note_conflict(self.roster.restore(entry))
            self.attendance.grant(entry.key, registration, restored=True)

    def _read(self, row: Row) -> Registration | None:
        """What a row says; nothing, if it is damaged or from a version that knew more."""
        wrong = objection(row)
        if not wrong:
            try:
                return restored(row.body)
            except ValueError as unknown:
                wrong = str(unknown)
        self.log.error(
            "registration of {server!r}/{replica!r} is kept and cannot be read: {wrong}",
            server=row.server,
            replica=row.replica,
            wrong=wrong,
        )
        return None

    def follow(self, settings: Settings) -> None:
        """The configuration is this now."""
        self.attendance.usual_ttl_s = settings.registry.ttl
        egress = Egress(settings.registry.allow_networks, settings.registry.allow_ports, _own_addresses(settings))
        for entry in self.roster.follow({server.name: server for server in settings.servers}, egress):
            self._note_conflict(entry)
        self.polling.revise(settings.registry.sources)

    def start(self) -> None:
        """The reactor runs."""
        self.polling.start()
        self.attendance.start()

    def stop(self) -> None:
        """Ask nobody any more; what was taken is kept."""
        self.polling.stop()
        self.attendance.stop()
        self.store.close()

    def wanted(self, configured: Sequence[ServerSettings]) -> list[ServerSettings]:
        """All servers, of every source: those of the configuration first."""
        names = dict.fromkeys([*(server.name for server in configured), *self.roster.names()])
        found = {server.name: server for server in configured}
        return [each for name in names if (each := self.roster.settings_of(name) or found.get(name)) is not None]

    def serves(self, server: str) -> bool:
        """Whether any registered replica of a server may get new work."""
        may_work = self.attendance.may_work
        return any(not entry.conflict and may_work(entry.key) for entry in self.roster.of(server))

    # --- what registrants ask -----------------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """Grows with every change that can be seen."""
        return self.changes.index

    def register(
        self, server: str, replica: str, registration: Registration, conditions: Conditions
    ) -> Deferred[Receipt]:
        """
        Take a registration, new or in place of the former one; fires when it is kept and live.

        Fails with a `GatewayError` that says why not. To cancel it changes nothing: what is written is written.
        """
        return Deferred.fromCoroutine(self._register((server, replica), registration, conditions))

    async def _register(self, key: Key, registration: Registration, conditions: Conditions) -> Receipt:
        self.roster.check(key, conditions)
        await check_url(upstream_url(registration.url), self._resolver, lambda: self.roster.egress, self._times.clock)
        entry = self.roster.claim(key, registration, conditions, self._times.wall())
        try:
            await self.store.put([_row(entry)])
        except GatewayError:
            self.roster.withdraw(entry)
            if self.roster.get(key) is None:  # it was over meanwhile, and its former row must not come back
                self._forget_row(key)
            raise
        before = self.roster.get(key)
        entry = self._confirm(entry, before)
        return Receipt(self._view(entry), entry.etag, before is None)

    def _confirm(self, entry: Entry, before: Entry | None) -> Entry:
        entry = self.roster.confirm(entry)
        self._note_conflict(entry)
        self.attendance.grant(entry.key, entry.registration)
        try:
            self._neighbours.apply([entry.server], None)
        except RegistrationRefused:
            self._undo(entry, before)
            raise
        self._tell("changed" if before is not None else "registered", entry)
        return entry

    def _undo(self, entry: Entry, before: Entry | None) -> None:
        """It cannot run after all: as it was."""
        self.roster.remove(entry.key)
        self.attendance.part(entry.key)
        if before is None or before.origin != API:
            self._forget_row(entry.key)
        if before is not None:
            self.roster.restore(before)
        if before is not None and before.origin == API:
            self.attendance.grant(before.key, before.registration)
            self.store.put([_row(before)]).addErrback(self._note_store)
        self._neighbours.apply([entry.server], None)

    def beat(self, server: str, replica: str, health: str, note: str) -> dict[str, object]:
        """
        A replica says that it is there, and how it is.

        :param health: ``passing``, ``warning``, ``critical``, or nothing for passing.
        :raises NotRegistered: it must register again.
        """
        key = (server, replica)
        entry = self.roster.get(key)
        if entry is None or entry.origin != API:
            raise NotRegistered
        self.attendance.beat(key, State(health) if health else None, note)
        return self._view(entry)

    def deregister(
        self, server: str, replica: str, drain_s: float | None, conditions: Conditions
    ) -> Deferred[dict[str, object]]:
        """
        Take a replica out: no new work, and its streams may go on for ``drain_s`` (``None``: as configured).

        Fires when that is kept. Fails with a `GatewayError`.
        """
        return Deferred.fromCoroutine(self._deregister((server, replica), drain_s, conditions))

    async def _deregister(self, key: Key, drain_s: float | None, conditions: Conditions) -> dict[str, object]:
        entry, latest = self.roster.removable(key, conditions), self.roster.latest(key)
        await self.store.delete([key])
        present = self.roster.get(key)
        if present is not None and present.revision <= latest:  # nobody has registered it anew meanwhile
            entry = present
            self._remove(entry, drain_s, "deregistered")
        return {**self._view(entry), "state": State.DRAINING.value}

    def _remove(self, entry: Entry, drain_s: float | None, kind: str) -> None:
        self._take_out(entry, kind)
        if not entry.conflict:
            self._neighbours.apply([entry.server], drain_s)

    def _take_out(self, entry: Entry, kind: str) -> None:
        self.roster.remove(entry.key)
        self._tell(kind, entry)
        self.attendance.part(entry.key)

    def _forget_row(self, key: Key) -> None:
        """What is gone anyway need not be kept; if that fails, a restart brings it back as unverified."""
        self.store.delete([key]).addErrback(self._note_store)

    def _note_store(self, failure: Failure) -> None:
        self.log.error("the registry's store: {error}", error=failure.getErrorMessage())

    # --- what time and probes do --------------------------------------------------------------------------------

    def _expire(self, keys: list[Key]) -> None:
        touched = set()
        for key in keys:
            entry = self.roster.get(key)
            if entry is None:
                continue
            self.log.info("{server}/{replica} is gone: its lease is over", server=key[0], replica=key[1])
            if self.roster.latest(key) == entry.revision:  # else it is just registering again
                self._forget_row(key)
            self._take_out(entry, "expired")
            touched.add(entry.server)
        if touched:
            self._neighbours.apply(touched, None)

    def _note_state(self, key: Key, before: Lease, after: Lease) -> None:
        """Tell whoever must know."""
        entry = self.roster.get(key)
        if entry is None:
            return
        if before.state.serves != after.state.serves:
            self.log.info(
                "{server}/{replica}: {before} -> {after} {note}",
                server=entry.server,
                replica=entry.replica,
                before=before.state.value,
                after=after.state.value,
                note=after.note,
            )
            if not entry.conflict:
                self._neighbours.restate(key, after.state.serves)
        self._tell("state", entry)

    # --- lists --------------------------------------------------------------------------------------------------

    def take_list(self, name: str, listed: Mapping[Key, Registration]) -> None:
        """A polled list says this now; what it says on our own word it does not say."""
        listed = {key: each for key, each in listed.items() if self._gateway_id not in gateways_of(each)}
        self._following.take(name, listed)

    def keep_list(self, key: str, etag: str, body: bytes, fetched_at_s: float) -> None:
        """For the next start of the process."""
        self.store.put_list(key, etag, body, fetched_at_s).addErrback(self._note_store)

    def _note_conflict(self, entry: Entry) -> None:
        if entry.conflict:
            self.log.warn(
                "{server}/{replica} of {origin} is not used: {conflict}",
                server=entry.server,
                replica=entry.replica,
                origin=entry.origin,
                conflict=entry.conflict,
            )

    # --- what is shown ------------------------------------------------------------------------------------------

    def _view(self, entry: Entry) -> dict[str, object]:
        told = views.entry_view(entry, self.attendance.get(entry.key), self._times.now())
        return told | {"path": self.roster.path_of(entry)}

    def _tell(self, kind: str, entry: Entry) -> None:
        self._neighbours.tell(kind, self.changes.advance(), self._view(entry))

    def entry(self, server: str, replica: str) -> Receipt | None:
        """One entry as it is shown."""
        found = self.roster.get((server, replica))
        return None if found is None else Receipt(self._view(found), found.etag, False)

    def servers(self) -> list[dict[str, object]]:
        """Every server of every origin with its replicas."""
        names = dict.fromkeys([*self._neighbours.names(), *self.roster.names()])
        return [self._neighbours.server_view(name, self._replica_views(name)) for name in names]

    def server(self, name: str) -> dict[str, object] | None:
        """One of them; ``None`` if there is none."""
        replicas = self._replica_views(name)
        is_there = bool(replicas) or name in self._neighbours.names()
        return self._neighbours.server_view(name, replicas) if is_there else None

    def _replica_views(self, server: str) -> list[dict[str, object]]:
        return [self._view(entry) for entry in self.roster.of(server)]

    def simple(self) -> list[dict[str, object]]:
        """What has registered here, in the simple form; what lists say is for those who follow them themselves."""
        here = [entry for entry in self.roster if entry.origin == API and not entry.conflict]
        return [views.simple_view(entry) | {"basePath": self.roster.path_of(entry)} for entry in here]

    def find_id(self, simple_id: str) -> Key | None:
        """What an id of the simple form stands for."""
        server, _, replica = simple_id.partition(views.ID_MARK)
        return (server, replica) if self.roster.get((server, replica)) is not None else None

    def await_change(self, index: int, wait_s: float) -> Deferred[None]:
        """See `Changes.await_change`."""
        return self.changes.await_change(index, wait_s)

    def refresh(self) -> Deferred[dict[str, object]]:
        """Read all lists now."""
        return self.polling.refresh().addCallback(_told_of_refresh)

    def sources(self) -> list[dict[str, object]]:
        """The lists, and how reading them went."""
        return self.polling.views()

    def headcount(self) -> dict[tuple[str, str], int]:
        """How many entries there are, by origin and state."""
        found: dict[tuple[str, str], int] = {}
        for entry in self.roster:
            lease = self.attendance.get(entry.key)
            state = "conflict" if entry.conflict else lease.state.value if lease is not None else "listed"
            found[entry.origin, state] = found.get((entry.origin, state), 0) + 1
        return found


def _row(entry: Entry) -> Row:
    """An entry as it is kept."""
    return Row(*entry.key, stored(entry.registration), entry.registered_at_s, entry.revision)


def _own_addresses(settings: Settings) -> frozenset[tuple[str, int]]:
    """Where the gateway itself listens, as far as it has an address."""
    found = [listen_address(text) for text in (*settings.listen, *settings.admin.listen)]
    return frozenset((each.host, each.port) for each in found if each.port)


def _told_of_refresh(outcomes: list[dict[str, Any]]) -> dict[str, object]:
    failed = [str(each["name"]) for each in outcomes if not each["ok"]]
    message = f"not read: {', '.join(failed)}" if failed else "MCP configurations refreshed"
    return {"success": not failed, "message": message, "sources": outcomes}
