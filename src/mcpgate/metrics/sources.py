"""
Where the samples of each series come from: one row for each of `mcpgate.metrics.families.FAMILIES`.

Between two samples the reactor may turn, so whatever may change is copied before it is gone through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from mcpgate.exchange import Ended, Era
from mcpgate.metrics.families import GATEWAY, method_label, status_label
from mcpgate.metrics.headcount import Headcount
from mcpgate.metrics.observed import Members, Observed
from mcpgate.metrics.process import collections, python_labels
from mcpgate.metrics.tallies import Histogram, ServerTally
from mcpgate.upstream.pool import Replica, Status
from mcpgate.upstream.server import Server

_ERAS: Final = {era: era.value for era in Era}  # asking an Enum for its value takes 0.1 us
_ENDS: Final = {ended: ended.value for ended in Ended}

#: The values of the labels, and the number.
Sample = tuple[tuple[str, ...], float | Histogram]


class Connects:
    """
    Attempts to connect, by server.

    Replicas count them, and a reload may take replicas away: what they have counted stays in the sum of their server,
    since a counter must not fall.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int]] = {}
        self._seen: WeakKeyDictionary[Replica, tuple[int, int]] = WeakKeyDictionary()

    def count(self, servers: Mapping[str, Server]) -> dict[str, tuple[int, int]]:
        """How many have gone well and how many have failed, for each server."""
        self._sums = {name: self._sum(name, server) for name, server in servers.items()}
        return self._sums

    def _sum(self, name: str, server: Server) -> tuple[int, int]:
        ok, failed = self._sums.get(name, (0, 0))
        for replica in server.replicas:
            seen_ok, seen_failed = self._seen.get(replica, (0, 0))
            ok += replica.connects_ok - seen_ok
            failed += replica.connects_failed - seen_failed
            self._seen[replica] = (replica.connects_ok, replica.connects_failed)
        return ok, failed


@dataclass(frozen=True, slots=True)
class Look:
    """
    What one scrape looks at.

    :ivar tallies: by the name that stands in the label; also of servers that have had no request.
    :ivar process: the numbers of ``process_*`` by name.
    :ivar versions: of the gateway, of Python, of Twisted.
    :ivar last_scrape_s: reactor time of the scrape before.
    """

    observed: Observed
    headcount: Headcount
    tallies: tuple[tuple[str, ServerTally], ...]
    servers: Mapping[str, Server]
    connects: Mapping[str, tuple[int, int]]
    process: Mapping[str, float]
    versions: tuple[str, str, str]
    last_scrape_s: float
    members: Members


Source = Callable[[Look], Iterator[Sample]]


def labelled_tallies(observed: Observed) -> tuple[tuple[str, ServerTally], ...]:
    """The tallies under the names that stand in labels, with empty ones for servers that have had no request."""
    known, nothing = observed.tallies.servers, ServerTally()
    return tuple((name or GATEWAY, known.get(name, nothing)) for name in {**observed.servers(), **known})


# --- exchanges ------------------------------------------------------------------------------------------------------


def _requests(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        counts: dict[tuple[str, ...], int] = {}
        for (method, status, era), count in tally.requests.items():
            labels = (name, method_label(method), status_label(status), _ERAS[era])
            counts[labels] = counts.get(labels, 0) + count  # several methods or statuses may share a label
        yield from counts.items()


def _errors(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        for reason, count in tuple(tally.errors.items()):
            yield (name, reason), count


def _bytes(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        yield (name, "in"), tally.bytes_in
        yield (name, "out"), tally.bytes_out


def _histograms(pick: Callable[[ServerTally], Histogram]) -> Source:
    """One for each server that has observed something."""

    def read(look: Look) -> Iterator[Sample]:
        for name, tally in look.tallies:
            histogram = pick(tally)
            if any(histogram.counts):
                yield (name,), histogram

    return read


def _operations(look: Look) -> Iterator[Sample]:
    yield from tuple(look.observed.tallies.operations.items())


def _tools(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        for (tool, went_well), count in tuple(tally.tools.items()):
            yield (name, tool, "ok" if went_well else "error"), count


def _open_requests(look: Look) -> Iterator[Sample]:
    for name in look.servers:
        yield (name,), look.headcount.requests.get(name, 0)


# --- streams --------------------------------------------------------------------------------------------------------


def _streams(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        server = look.servers.get(name)
        # A counter that begins at 1 has not risen, as Prometheus sees it: what a server speaks begins at 0.
        spoken = {} if server is None else dict.fromkeys(server.settings.endpoints, 0)
        for transport, count in (spoken | tally.opened).items():
            yield (name, transport), count


def _open_streams(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        for transport, count in tuple(tally.open.items()):
            yield (name, transport), count


def _ends(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        for ended, count in tuple(tally.ends.items()):
            yield (name, _ENDS[ended]), count


def _reopens(look: Look) -> Iterator[Sample]:
    for name, tally in look.tallies:
        yield (name,), tally.reopens


# --- who may, and how often -----------------------------------------------------------------------------------------


def _auth(look: Look) -> Iterator[Sample]:
    for outcome, count in tuple(look.observed.tallies.auth.items()):
        yield (outcome,), count


def _limits(look: Look) -> Iterator[Sample]:
    for limit in look.observed.limits():
        yield (limit.name, "admitted"), limit.admitted
        yield (limit.name, "waited"), limit.waited
        yield (limit.name, "refused"), limit.refused


# --- toward servers -------------------------------------------------------------------------------------------------


def _upstream_up(look: Look) -> Iterator[Sample]:
    for name, server in look.servers.items():
        yield (name,), int(any(replica.status is not Status.DOWN for replica in server.replicas))


def _replicas(look: Look) -> Iterator[Sample]:
    for name, server in look.servers.items():
        found = [replica.status for replica in server.replicas]
        yield (name, "up"), found.count(Status.UP)
        yield (name, "down"), found.count(Status.DOWN)
        yield (name, "unknown"), found.count(Status.UNKNOWN)


def _upstream_connections(look: Look) -> Iterator[Sample]:
    for name, server in look.servers.items():
        replicas = server.replicas
        idle_count = sum(replica.idle_count for replica in replicas)
        yield (name, "idle"), idle_count
        yield (name, "busy"), sum(replica.open_count for replica in replicas) - idle_count


def _connects(look: Look) -> Iterator[Sample]:
    for name, (ok, failed) in look.connects.items():
        yield (name, "ok"), ok
        yield (name, "failed"), failed


# --- who joins ------------------------------------------------------------------------------------------------------


def _registered(look: Look) -> Iterator[Sample]:
    yield from look.members.entries.items()


def _lists_up(look: Look) -> Iterator[Sample]:
    for each in look.members.lists:
        yield (each.name,), int(each.up)


def _lists_read(look: Look) -> Iterator[Sample]:
    for each in look.members.lists:
        yield (each.name,), each.success_at_s


# --- toward clients -------------------------------------------------------------------------------------------------


def _connections(look: Look) -> Iterator[Sample]:
    yield ("accepted",), look.observed.tallies.accepted
    yield ("turned_away",), look.observed.tallies.turned_away


def _open_connections(look: Look) -> Iterator[Sample]:
    yield from look.headcount.connections.items()


# --- the gateway itself ---------------------------------------------------------------------------------------------


def _single(read: Callable[[Look], float | Histogram]) -> Source:
    """The one sample of a series without labels."""

    def one(look: Look) -> Iterator[Sample]:
        yield (), read(look)

    return one


def _reloads(look: Look) -> Iterator[Sample]:
    yield ("ok",), look.observed.tallies.reloads[True]
    yield ("refused",), look.observed.tallies.reloads[False]


def _dropped_lines(look: Look) -> Iterator[Sample]:
    yield from tuple(look.observed.dropped_lines().items())


def _build(look: Look) -> Iterator[Sample]:
    yield look.versions, 1


def _pauses(look: Look) -> Iterator[Sample]:
    for generation, histogram in tuple(look.observed.tallies.pauses.items()):
        yield (str(generation),), histogram


def _process(name: str) -> Source:
    def read(look: Look) -> Iterator[Sample]:
        if name in look.process:
            yield (), look.process[name]

    return read


def _python(look: Look) -> Iterator[Sample]:
    yield python_labels(), 1


def _collections(what: str) -> Source:
    return lambda look: collections(what)


#: By the name of the family.
SOURCES: Final[Mapping[str, Source]] = {
    "mcpgate_requests_total": _requests,
    "mcpgate_errors_total": _errors,
    "mcpgate_bytes_total": _bytes,
    "mcpgate_request_duration_seconds": _histograms(lambda tally: tally.durations),
    "mcpgate_upstream_duration_seconds": _histograms(lambda tally: tally.upstream_durations),
    "mcp_server_operation_duration_seconds": _operations,
    "mcpgate_tool_calls_total": _tools,
    "mcpgate_open_requests": _open_requests,
    "mcpgate_streams_total": _streams,
    "mcpgate_open_streams": _open_streams,
    "mcpgate_streams_ended_total": _ends,
    "mcpgate_stream_reopens_total": _reopens,
    "mcpgate_stream_duration_seconds": _histograms(lambda tally: tally.stream_durations),
    "mcpgate_time_to_first_event_seconds": _histograms(lambda tally: tally.first_events),
    "mcpgate_auth_total": _auth,
    "mcpgate_limit_decisions_total": _limits,
    "mcpgate_upstream_up": _upstream_up,
    "mcpgate_replicas": _replicas,
    "mcpgate_upstream_connections": _upstream_connections,
    "mcpgate_upstream_connects_total": _connects,
    "mcpgate_registry_replicas": _registered,
    "mcpgate_registry_held": _single(lambda look: look.members.held),
    "mcpgate_registry_expired_total": _single(lambda look: look.members.expired),
    "mcpgate_registry_writable": _single(lambda look: int(look.members.is_writable)),
    "mcpgate_source_up": _lists_up,
    "mcpgate_source_last_success_timestamp_seconds": _lists_read,
    "mcpgate_discovery_subscribers": _single(lambda look: look.members.subscribers),
    "mcpgate_discovery_events_total": _single(lambda look: look.members.events),
    "mcpgate_discovery_cut_total": _single(lambda look: look.members.cut),
    "mcpgate_connections_total": _connections,
    "mcpgate_open_connections": _open_connections,
    "mcpgate_max_connections": _single(lambda look: look.observed.max_connections),
    "mcpgate_buffered_bytes": _single(lambda look: look.headcount.buffered_bytes),
    "mcpgate_held_exchanges": _single(lambda look: look.observed.holdings().exchanges),
    "mcpgate_held_bytes": _single(lambda look: look.observed.holdings().body_bytes),
    "mcpgate_ready": _single(lambda look: int(all(look.observed.checks().values()))),
    "mcpgate_config_last_reload_successful": _single(lambda look: int(look.observed.reload_state().successful)),
    "mcpgate_config_last_reload_success_timestamp_seconds": _single(
        lambda look: look.observed.reload_state().success_at_s
    ),
    "mcpgate_config_reloads_total": _reloads,
    "mcpgate_log_dropped_lines_total": _dropped_lines,
    "mcpgate_unexpected_failures_total": _single(lambda look: look.observed.tallies.failures),
    "mcpgate_spans_total": _single(lambda look: look.observed.tallies.spans),
    "mcpgate_build_info": _build,
    "mcpgate_last_scrape_seconds": _single(lambda look: look.last_scrape_s),
    "mcpgate_reactor_lag_seconds": _single(lambda look: look.observed.tallies.lag),
    "mcpgate_gc_pause_seconds": _pauses,
    "process_cpu_seconds_total": _process("process_cpu_seconds_total"),
    "process_resident_memory_bytes": _process("process_resident_memory_bytes"),
    "process_virtual_memory_bytes": _process("process_virtual_memory_bytes"),
    "process_start_time_seconds": _process("process_start_time_seconds"),
    "process_open_fds": _process("process_open_fds"),
    "process_max_fds": _process("process_max_fds"),
    "python_info": _python,
    "python_gc_objects_collected_total": _collections("collected"),
    "python_gc_objects_uncollectable_total": _collections("uncollectable"),
    "python_gc_collections_total": _collections("collections"),
}
