"""
The table of all registrations: whose each name and path is, which entry is meant by an address, what is promised.

Pure but for its own state: no clock, no I/O. A change is *claimed* when it is asked for and *confirmed* when it is
kept, so that two who ask at the same time cannot both be promised the same, whatever the disk is doing meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from mcpgate.errors import Overloaded
from mcpgate.policy.egress import Egress
from mcpgate.refusals import ChangedMeanwhile, NotRegistered, Taken
from mcpgate.registry.registration import Registration, gateways_of
from mcpgate.settings import HeadersSettings, RegisteredUpstream, ServerSettings
from mcpgate.values.addresses import upstream_url

#: Server and replica.
Key = tuple[str, str]
API: Final = "api"
#: 10,000 servers are what the gateway is measured with; this is twice that.
MAX_ENTRIES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One replica of one server, as somebody has registered or listed it.

    :ivar origin: ``api``, or ``list:NAME``.
    :ivar revision: of this entry; grows with every change of what it says.
    :ivar registered_at_s: seconds since 1970; ``changed_at_s`` likewise.
    :ivar conflict: why it is not used; empty if it is.
    """

    server: str
    replica: str
    origin: str
    registration: Registration
    revision: int
    registered_at_s: float
    changed_at_s: float
    conflict: str = ""

    @property
    def key(self) -> Key:
        """Which one it is."""
        return self.server, self.replica

    @property
    def path(self) -> str:
        """Where its server appears."""
        return self.registration.path_of(self.server)

    @property
    def etag(self) -> str:
        """By which conditions name it (RFC 9110 section 8.8.3)."""
        return f'"{self.revision}"'


class Conditions(NamedTuple):
    """
    What must hold for a change (RFC 9110 section 13.1).

    :ivar if_match: an ETag as it was sent, or ``*``; ``if_none_match``: nothing may be there.
    """

    if_match: str | None = None
    if_none_match: bool = False


class Roster:
    """
    All entries, with what is claimed and not kept yet.

    :param revise: gives a number that grows with every call.
    :ivar egress: where what registers may be.
    """

    def __init__(self, revise: Callable[[], int]) -> None:
        self._revise = revise
        self._entries: dict[Key, Entry] = {}
        self._by_server: dict[str, dict[str, Entry]] = {}
        self._claimed: dict[Key, Entry] = {}
        self._claims: dict[int, Entry] = {}  # all of them by revision; of one key, the newest is in _claimed
        self._config: Mapping[str, ServerSettings] = {}
        self.egress = Egress()
        self._made: dict[str, ServerSettings] = {}
        self._owners: dict[str, str] = {}
        self._above: Counter[str] = Counter()
        self._holders: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, key: Key) -> Entry | None:
        """The entry that is there, kept and seen."""
        return self._entries.get(key)

    def names(self) -> list[str]:
        """Servers that have an entry."""
        return list(self._by_server)

    def of(self, server: str) -> list[Entry]:
        """The entries of one server, as they came."""
        return list(self._by_server.get(server, {}).values())

    # --- the configuration's part -------------------------------------------------------------------------------

    def follow(self, servers: Mapping[str, ServerSettings], egress: Egress) -> list[Entry]:
        """
        The configuration is this now: what clashes with its servers, or points where nothing may, is not used; what no
        longer does is.

        :returns: the entries whose ``conflict`` has changed.
        """
        if (servers, egress) == (self._config, self.egress):
            return []
        self._config, self.egress = servers, egress
        self._made.clear()
        self._owners, self._above, self._holders = {}, Counter(), Counter()
        for name, server in servers.items():
            self._take_path(server.path, name)
        changed = []
        for claim in self._claims.values():
            self._take_path(self.path_of(claim), claim.server)
        # Who is used comes before who was not: nobody is replaced by one that waits for the same.
        before = sorted(self._entries.values(), key=lambda entry: entry.conflict != "")
        self._entries, self._by_server = {}, {}
        for entry in before:
            present = replace(entry, conflict=self.objection(entry))
            self._put(present)
            if present.conflict != entry.conflict:
                changed.append(present)
        return changed

    def path_of(self, entry: Entry) -> str:
        """Where the server of an entry appears: as the configuration says, if it has it."""
        configured = self._config.get(entry.server)
        return entry.path if configured is None else configured.path

    def latest(self, key: Key) -> int:
        """The revision of the newest that is there or claimed; 0 if there is none."""
        present = self._claimed.get(key) or self._entries.get(key)
        return 0 if present is None else present.revision

    # --- who may have what --------------------------------------------------------------------------------------

    def objection(self, entry: Entry) -> str:
        """Why an entry cannot be used beside those that are there or claimed; empty if it can."""
        address = upstream_url(entry.registration.url)
        forbidden = self.egress.objection_to_host(address.host, address.port)
        if forbidden:  # names are looked at whenever they are dialled
            return f"{address.host} is {forbidden}"
        configured = self._config.get(entry.server)
        if configured is not None:
            return self._objection_of_config(entry, configured)
        others = [each for each in self._siblings(entry) if not each.conflict]
        foreign = next((each for each in others if each.origin != entry.origin), None)
        if foreign is not None:
            return f"the server {entry.server} comes from {_origin_text(foreign.origin)}; use another name"
        return self._path_objection(entry) or _disagreement(entry, others) or _same_address(entry, others)

    def _objection_of_config(self, entry: Entry, configured: ServerSettings) -> str:
        if not configured.replicas_may_register:
            return (
                f"the server {entry.server} stands in the configuration; use another name, or let its operator set "
                "replicas_may_register"
            )
        if entry.registration.path not in (None, configured.path):
            return f"the server {entry.server} is at {configured.path}, as the configuration says; leave path out"
        others = [each for each in self._siblings(entry) if not each.conflict]
        fixed = {repr(each.address) for each in configured.upstreams}
        if repr(upstream_url(entry.registration.url)) in fixed:
            return "the configuration has a replica of this address already"
        return _same_address(entry, others)

    def _siblings(self, entry: Entry) -> list[Entry]:
        """The other replicas of its server, as they are or will be."""
        found = {**self._by_server.get(entry.server, {})}
        found |= {key[1]: each for key, each in self._claimed.items() if key[0] == entry.server}
        found.pop(entry.replica, None)
        return list(found.values())

    def _path_objection(self, entry: Entry) -> str:
        """A path may be nobody else's, and neither above nor below one: requests for that one would go astray."""
        path = entry.path
        for prefix in (path, *_prefixes(path)):
            owner = self._owners.get(prefix, entry.server)
            if owner != entry.server:
                return f"the path {path} is, or is below, that of the server {owner}; use another path"
        own = {each.path for each in self._by_server.get(entry.server, {}).values() if not each.conflict}
        own |= {each.path for each in self._claimed.values() if each.server == entry.server}
        if self._above[path] > sum(each.startswith(f"{path}/") for each in own) and path not in self._owners:
            return f"servers have paths below {path}; use another path"
        return ""

    # --- changes ------------------------------------------------------------------------------------------------

    def check(self, key: Key, conditions: Conditions) -> Entry | None:
        """
        The entry as it is or will be, if the conditions hold.

        :raises ChangedMeanwhile: they do not.
        """
        present = self._claimed.get(key) or self._entries.get(key)
        if conditions.if_none_match and present is not None:
            raise ChangedMeanwhile("there is such a registration already; leave If-None-Match out to replace it")
        if conditions.if_match is not None:
            known = present.etag if present is not None else None
            wanted = [tag.strip() for tag in conditions.if_match.split(",")]
            if known is None or ("*" not in wanted and known not in wanted):
                raise ChangedMeanwhile
        return present

    def claim(self, key: Key, registration: Registration, conditions: Conditions, wall_s: float) -> Entry:
        """
        Promise a place; nobody sees it before `confirm`.

        :raises GatewayError: the conditions do not hold, or somebody else has the name, path or address.
        """
        present = self.check(key, conditions)
        if present is None and len(self._entries) + len(self._claimed) >= MAX_ENTRIES:
            raise Overloaded(f"the registry holds {MAX_ENTRIES} registrations, and no more")
        since_s = present.registered_at_s if present is not None and present.origin == API else wall_s
        entry = Entry(*key, API, registration, self._revise(), since_s, wall_s)
        if present is not None and present.origin != API and not present.conflict:
            raise Taken(f"this replica comes from {_origin_text(present.origin)}; change it there")
        objection = self.objection(entry)
        if objection:
            raise Taken(objection)
        self._claimed[key] = self._claims[entry.revision] = entry
        self._take_path(self.path_of(entry), entry.server)
        return entry

    def confirm(self, entry: Entry) -> Entry:
        """It is kept: from now on it is there; with a conflict, if the configuration has brought one meanwhile."""
        self._release(entry)
        return self.restore(entry)

    def withdraw(self, entry: Entry) -> None:
        """It could not be kept: as if nobody had asked."""
        self._release(entry)

    def _release(self, entry: Entry) -> None:
        if self._claimed.get(entry.key) is entry:
            del self._claimed[entry.key]
        del self._claims[entry.revision]
        self._leave_path(self.path_of(entry), entry.server)

    def removable(self, key: Key, conditions: Conditions) -> Entry:
        """
        The entry that may be taken out.

        :raises GatewayError: there is none, the conditions do not hold, or a list would bring it back.
        """
        self.check(key, conditions)
        entry = self._entries.get(key)
        if entry is None:
            raise NotRegistered("no such registration")
        if entry.origin != API:
            raise Taken(f"this replica comes from {_origin_text(entry.origin)}; take it out there")
        return entry

    def remove(self, key: Key) -> None:
        """Take an entry out, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._made.pop(entry.server, None)
        replicas = self._by_server[entry.server]
        del replicas[entry.replica]
        if not replicas:
            del self._by_server[entry.server]
        if not entry.conflict:
            self._leave_path(self.path_of(entry), entry.server)

    def restore(self, entry: Entry) -> Entry:
        """Put an entry in as it was kept or listed; it says itself whether it can be used."""
        self.remove(entry.key)
        present = replace(entry, conflict=self.objection(entry))
        self._put(present)
        return present

    def _put(self, entry: Entry) -> None:
        self.remove(entry.key)
        self._made.pop(entry.server, None)
        self._entries[entry.key] = entry
        self._by_server.setdefault(entry.server, {})[entry.replica] = entry
        if not entry.conflict:
            self._take_path(self.path_of(entry), entry.server)

    # --- paths --------------------------------------------------------------------------------------------------

    def _take_path(self, path: str, server: str) -> None:
        self._holders[path, server] += 1
        if self._holders[path, server] == 1:
            self._owners.setdefault(path, server)
            self._above.update(_prefixes(path))

    def _leave_path(self, path: str, server: str) -> None:
        self._holders[path, server] -= 1
        if self._holders[path, server] <= 0:
            del self._holders[path, server]
            if self._owners.get(path) == server:
                del self._owners[path]
            for prefix in _prefixes(path):
                self._above[prefix] -= 1
                if self._above[prefix] <= 0:
                    del self._above[prefix]

    # --- what the rest of the gateway makes of it ----------------------------------------------------------------

    def settings_of(self, server: str) -> ServerSettings | None:
        """The server as the lineup wants it; ``None`` if there is none."""
        made = self._made.get(server) or self._make(server)
        if made is not None:
            self._made[server] = made
        return made

    def _make(self, server: str) -> ServerSettings | None:
        entries = [entry for entry in self.of(server) if not entry.conflict]
        upstreams = tuple(_upstream(entry) for entry in entries)
        configured = self._config.get(server)
        if configured is not None:
            if not upstreams:
                return configured
            return configured.model_copy(update={"upstreams": configured.upstreams + upstreams})
        if not entries:
            return None
        said = max(entries, key=lambda entry: entry.revision).registration
        return ServerSettings(
            name=server,
            title=said.title,
            description=said.description,
            version=said.version,
            tags=said.tags,
            docs_url=said.docs_url,
            path=said.path_of(server),
            strip_prefix=said.strip_prefix,
            endpoints=said.endpoints,
            protocol_versions=said.protocol_versions,
            headers=HeadersSettings(set=said.headers),
            upstreams=upstreams,
        )


def _upstream(entry: Entry) -> RegisteredUpstream:
    said = entry.registration
    passed = gateways_of(said)
    return RegisteredUpstream(
        url=said.url, weight=said.weight, replica=entry.replica, origin=entry.origin, gateways=passed
    )


def _prefixes(path: str) -> Iterator[str]:
    """The paths above a path, but for the root."""
    cut = path.rfind("/")
    while cut > 0:
        yield path[:cut]
        cut = path.rfind("/", 0, cut)


def _disagreement(entry: Entry, others: list[Entry]) -> str:
    said = entry.registration
    for other in others:
        theirs = other.registration
        for key, mine, other_s in (
            ("path", entry.path, other.path),
            ("endpoints", said.endpoints, theirs.endpoints),
            ("strip_prefix", said.strip_prefix, theirs.strip_prefix),
        ):
            if mine != other_s:
                return (
                    f"another {key} than that of the replica {other.replica} of the same server; register it under "
                    "another name, or delete the other replicas first"
                )
    return ""


def _same_address(entry: Entry, others: list[Entry]) -> str:
    address = upstream_url(entry.registration.url)
    twin = next((each for each in others if upstream_url(each.registration.url) == address), None)
    return f"the replica {twin.replica} has this address already; replace that one" if twin is not None else ""


def _origin_text(origin: str) -> str:
    return "the registry API" if origin == API else f"the list {origin.removeprefix('list:')}"
