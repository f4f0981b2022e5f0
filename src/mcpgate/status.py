"""
What a gateway is doing, for people: as plain values (the JSON twin of the status page) and as text.

Totals count from the start of the process; whoever wants rates takes the difference of two. Names, texts and
addresses may come from clients: they are values in JSON, and escaped in the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from mcpgate.exchange import Era, Exchange
from mcpgate.metrics.observed import LimitCount, Observed
from mcpgate.metrics.tallies import Histogram, ServerTally
from mcpgate.recent import Trouble
from mcpgate.upstream.pool import Replica
from mcpgate.upstream.server import Server

Json = dict[str, Any]

#: Of open streams so many are listed: the longest among as many as can be looked at in a millisecond.
_LISTED_STREAMS = 50
_LOOKED_AT = 1000


def status(observed: Observed) -> Json:
    """
    The state of the gateway as JSON values; times in seconds, sizes in bytes, moments in seconds since 1970.

    Quantiles are estimates from histograms, ``null`` where nothing was measured.
    """
    streams = _streams(observed)  # first: it brings the counts of bytes up to the moment
    tallies = observed.tallies.servers  # asked for once: that settles what has been counted
    return {
        "gateway": _gateway(observed),
        "servers": [_server(server, _tally_of(tallies, name)) for name, server in observed.servers().items()],
        "own_addresses": _counts(_tally_of(tallies, "")),
        "streams": streams,
        "limits": [_limit(count) for count in observed.limits()],
        "recent": [_trouble(trouble) for trouble in observed.recent],
    }


def _tally_of(tallies: Mapping[str, ServerTally], name: str) -> ServerTally:
    """Nothing has been counted of a server that nobody has asked for."""
    return tallies.get(name) or ServerTally()


def _gateway(observed: Observed) -> Json:
    checks, reload, holdings = observed.checks(), observed.reload_state(), observed.holdings()
    ready = all(checks.values())
    is_draining = not checks.get("not draining", True)
    return {
        "version": observed.version,
        "state": "draining" if is_draining else "ready" if ready else "not ready",
        "ready": ready,
        "draining": is_draining,
        "checks": dict(checks),
        "time_s": observed.wall(),
        "uptime_s": observed.wall() - observed.started_at_s,
        "reload": {"successful": reload.successful, "success_at_s": reload.success_at_s},
        "connections": _connections(observed),
        "held": {"exchanges": holdings.exchanges, "body_bytes": holdings.body_bytes},
        "unexpected_failures": observed.tallies.failures,
        "dropped_log_lines": sum(observed.dropped_lines().values()),
    }


def _connections(observed: Observed) -> Json:
    """Those of clients on the data listener by what they do; of operators only how many."""
    listeners = observed.connections()
    states = Counter(connection.state for connection in listeners.get("data", ()))
    return {
        "open": states.total(),
        "max": observed.max_connections,
        "states": dict(sorted(states.items())),
        "admin": len(listeners.get("admin", ())),
        "turned_away": observed.tallies.turned_away,
    }


def _server(server: Server, tally: ServerTally) -> Json:
    open_streams = {transport: count for transport, count in tally.open.items() if count}
    return {
        "name": server.name,
        "title": server.settings.title,
        "path": server.settings.path,
        "status": server.status.value,
        **_counts(tally),
        "open_requests": max(0, len(server.relays) - sum(open_streams.values())),
        "open_streams": open_streams,
        "replicas": [_replica(replica) for replica in server.replicas],
    }


def _counts(tally: ServerTally) -> Json:
    """What has been counted, of a server or of all that found none."""
    return {
        **_answers(tally),
        "errors": sum(tally.errors.values()),
        "reasons": dict(sorted(tally.errors.items(), key=lambda item: -item[1])),
        "bytes_in": tally.bytes_in,
        "bytes_out": tally.bytes_out,
        "streams_opened": sum(tally.opened.values()),
        "streams_ended": {ended.value: count for ended, count in tally.ends.items()},
        "stream_reopens": tally.reopens,
        "duration_s": _summary(tally.durations),
        "first_event_s": _summary(tally.first_events),
        "stream_duration_s": _summary(tally.stream_durations),
    }


def _answers(tally: ServerTally) -> Json:
    """Requests in all; by class of their answer (``none`` got none, since the client left before); by era."""
    classes: dict[int, int] = {}
    eras: dict[Era, int] = {}
    for (_, code, era), count in tally.requests.items():
        classes[code // 100] = classes.get(code // 100, 0) + count
        eras[era] = eras.get(era, 0) + count
    return {
        "requests": sum(eras.values()),
        "answers": {f"{number}xx" if number else "none": classes[number] for number in sorted(classes)},
        "eras": {era.value: count for era, count in eras.items()},
    }


def _replica(replica: Replica) -> Json:
    return {
        "address": replica.name,
        "status": replica.status.value,
        "open": replica.open_count,
        "idle": replica.idle_count,
        "connects_failed": replica.connects_failed,
    }


def _limit(count: LimitCount) -> Json:
    return {**count._asdict(), "key": list(count.key)}


def _trouble(trouble: Trouble) -> Json:
    return trouble._asdict()


# --- streams --------------------------------------------------------------------------------------------------------


def _streams(observed: Observed) -> list[Json]:
    """Some of the open streams, the longest first; of very many only a part is looked at."""
    # After a reload both objects of a server share what is open.
    servers = {id(each.relays): each for each in (*observed.servers().values(), *observed.retired())}.values()
    found: list[Json] = []
    now_s = observed.now()
    for relay in islice((relay for server in servers for relay in server.relays), _LOOKED_AT):
        observed.settle(relay)
        exchange = relay.exchange
        if exchange.transport:
            found.append(_stream(exchange, now_s))
    found.sort(key=lambda stream: -stream["age_s"])
    return found[:_LISTED_STREAMS]


def _stream(exchange: Exchange, now_s: float) -> Json:
    return {
        "server": exchange.server,
        "transport": exchange.transport,
        "client": exchange.client.decode("ascii", "replace"),
        "principal": exchange.principal,
        "replica": exchange.replica,
        "age_s": now_s - exchange.started_s,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "request_id": exchange.request_id.decode("ascii", "replace"),
    }


# --- histograms -----------------------------------------------------------------------------------------------------


def _summary(histogram: Histogram) -> Json:
    count = sum(histogram.counts)
    if not count:
        return {"count": 0, "mean": None, "p50": None, "p99": None}
    return {
        "count": count,
        "mean": histogram.sum / count,
        "p50": quantile(histogram, 0.5 * count),
        "p99": quantile(histogram, 0.99 * count),
    }


def quantile(histogram: Histogram, rank: float) -> float:
    """
    The value with this rank among the measured ones, estimated as PromQL's ``histogram_quantile`` does.

    :param rank: more than 0, at most their number.
    :returns: the highest bound, if the value lies somewhere above.
    """
    below, lower = 0, 0.0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below, lower = below + count, bound
    return lower
