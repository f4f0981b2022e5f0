"""How entries and servers are shown to operators: plain values, times as people write them, nothing secret."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from mcpgate.registry.leases import Lease, heartbeat_s
from mcpgate.registry.registration import shown
from mcpgate.registry.roster import Entry
from mcpgate.registry.rows import LAST_MOMENT_S
from mcpgate.settings import ServerSettings, UpstreamSettings
from mcpgate.values.addresses import Authority, upstream_url

Json = dict[str, object]
#: Between server and replica in an id of the simple form; no name holds it.
ID_MARK = "~"


def moment_text(wall_s: float) -> str:
    """RFC 3339, in UTC, to the millisecond; of what is no moment from 1970 to 9999, the nearest that is."""
    moment_s = min(max(0.0, wall_s), LAST_MOMENT_S)  # in this order, 0.0 also of what is no number
    return datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entry_view(entry: Entry, lease: Lease | None, now_s: float) -> Json:
    """One replica that has registered or is listed."""
    told: Json = {
        "server": entry.server,
        "id": entry.replica,
        "origin": entry.origin,
        "state": "conflict" if entry.conflict else lease.state.value if lease is not None else "listed",
        **shown(entry.registration, entry.server),
        "revision": entry.revision,
        "registeredAt": moment_text(entry.registered_at_s),
        "changedAt": moment_text(entry.changed_at_s),
    }
    if entry.conflict:
        told["conflict"] = entry.conflict
    elif lease is not None:
        told |= _lease_view(lease, now_s)
    return told


def _lease_view(lease: Lease, now_s: float) -> Json:
    told: Json = {"stateSeconds": round(now_s - lease.since_s, 3)}
    if lease.ttl_s > 0:
        told["ttlSeconds"] = lease.ttl_s
        told["heartbeatSeconds"] = heartbeat_s(lease)
        told["expiresInSeconds"] = round(max(0.0, lease.beaten_s + lease.ttl_s - now_s), 3)
    if math.isfinite(lease.deregister_s):
        told["deregisterCriticalAfterSeconds"] = lease.deregister_s
    if lease.note:
        told["note"] = lease.note
    if lease.is_held:
        told["held"] = True
    return told


def simple_id(server: str, replica: str) -> str:
    """One process may be two servers, so that host and port alone do not say which."""
    return f"{server}{ID_MARK}{replica}"


def simple_view(entry: Entry) -> Json:
    """The same as the registry of the simple form shows it (``GET /mcps``)."""
    said, address = entry.registration, upstream_url(entry.registration.url)
    told: Json = {
        "id": simple_id(entry.server, entry.replica),
        "name": said.title or entry.server,
        "version": said.version,
        "basePath": entry.path,
        "endpoint": str(Authority(address.host, address.port)),
        "registeredAt": moment_text(entry.registered_at_s),
    }
    # What the form has no word for: TLS, and a base path of the server itself.
    return told | ({"url": said.url} if address.scheme == "https" or address.base_path else {})


def server_view(server: ServerSettings, origin: str, status: str, replicas: Iterable[Json]) -> Json:
    """One server, whoever brought it."""
    told: Json = {"name": server.name, "path": server.path, "origin": origin, "status": status}
    for key in ("title", "version", "description", "docs_url"):
        value = getattr(server, key)
        if value is not None:
            told[key] = value
    return {**told, "endpoints": server.endpoints, "tags": list(server.tags), "replicas": list(replicas)}


def configured_view(upstream: UpstreamSettings, status: str) -> Json:
    """One replica of the configuration."""
    return {"origin": "config", "url": upstream.url, "weight": upstream.weight, "state": status}


def told_url(url: str) -> str:
    """Without what may hold a key."""
    return url.partition("#")[0].partition("?")[0]
