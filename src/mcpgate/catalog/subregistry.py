"""
The read API of an MCP Registry (``/v0.1/servers``; its OpenAPI is of 2025-12-01, server.json of 2025-12-11). Pure.

A server is ``PUBLISHER/NAME``; servers on versioned paths are versions of one. Every answer has what the OpenAPI
requires; a server without a version gets that of its path, or 0.0.0, and one without a description its title.

Nothing stands under ``io.modelcontextprotocol.registry/official``: that belongs to the official registry, whose status
and dates we have no business to write. VS Code, which reads it, takes what is missing there as "active" and "latest",
and asks for the latest versions only; what it does need is that ``_meta`` is an object. Our own key there says where
the server is here and how it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mcpgate.catalog.arrangement import GATEWAY, ORIGIN, Admits, Arrangement, E, Item, Json
from mcpgate.catalog.cards import identity
from mcpgate.catalog.listing import passed_through, transports
from mcpgate.catalog.paging import cursor_of, limit_of, words_of

#: Under which key of ``_meta`` our own words stand.
OWN: Final = "mcpgate/server"
_SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
#: As the official registry has it.
_LIMIT, _MAX_LIMIT = 30, 100
_LATEST = "latest"
_BOOLEANS = {"true", "false", "1", "0"}


def offered(item: Item[Any], is_latest: bool) -> Json:
    """A server as registries show it (`ServerResponse`), with marks."""
    entry = item.entry
    changed = datetime.fromtimestamp(entry.changed_at_s, UTC).isoformat(timespec="seconds")
    own = {
        "name": entry.settings.name,
        "path": entry.settings.path,
        "status": entry.status,
        "updatedAt": changed.replace("+00:00", "Z"),
        "isLatest": is_latest,
        "gateways": [GATEWAY, *passed_through(entry.settings)],
    }
    server = {"$schema": _SCHEMA, **identity(item), "remotes": transports(entry.settings, ORIGIN)}
    return {"server": server, "_meta": {OWN: own}}


@dataclass(frozen=True, slots=True)
class Query:
    """
    What of the list somebody asks for.

    :ivar after: label and name of the last server that was read; empty at the start.
    :ivar search: in lower case; a cursor carries it on, as VS Code leaves it out from the second page on.
    :ivar since_s: wall-clock seconds.
    """

    limit: int = _LIMIT
    after: tuple[str, str] = ("", "")
    search: str = ""
    since_s: float = 0.0
    version: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Query:
        """
        The query of a request; what we do not know in it has no effect.

        :raises ValueError: a value that cannot be; the text is for the client.
        """
        if fields.get("include_deleted", "false").lower() not in _BOOLEANS:
            raise ValueError("include_deleted is not true or false")
        cursor, search, after = fields.get("cursor", ""), fields.get("search", "").lower(), ("", "")
        if cursor:
            label, name, carried = words_of(cursor, 3)
            search, after = search or carried, (label, name)
        since_s = _time(fields.get("updated_since", ""))
        return cls(limit_of(fields, _LIMIT, _MAX_LIMIT), after, search, since_s, fields.get("version", ""))

    def takes(self, item: Item[Any]) -> bool:
        """Whether a server is one of those, as far as that does not depend on its versions."""
        settings = item.entry.settings
        if self.search and self.search not in f"{item.label}\n{settings.name}\n{settings.title or ''}".lower():
            return False
        return bool(item.entry.changed_at_s >= self.since_s)


def _time(text: str) -> float:
    """RFC 3339, in wall-clock seconds. A plus that nobody has encoded has become a blank by now."""
    if not text:
        return 0.0
    try:
        time = datetime.fromisoformat(text.strip().replace(" ", "+"))
        if time.tzinfo is None:
            raise ValueError
        return time.timestamp()
    except (ValueError, OverflowError):
        raise ValueError("updated_since is not a time such as 2026-08-07T13:15:04Z") from None


def page(arrangement: Arrangement[E], query: Query, admits: Admits[E]) -> Iterator[bytes]:
    """A page of the list (`ServerList`), in pieces with marks."""
    glue, shown, last = b'{"servers":[', 0, None
    cursor = b""
    for item in arrangement.after(query.after):
        if not query.takes(item) or not admits(item.entry):
            continue
        is_latest = arrangement.is_latest(item, admits)
        if query.version and not (is_latest if query.version == _LATEST else query.version == item.version):
            continue
        if last is not None and shown == query.limit:
            cursor = b',"nextCursor":"%b"' % cursor_of(*last.key, query.search).encode("ascii")
            break
        yield glue + item.piece(offered, is_latest)
        glue, shown, last = b",", shown + 1, item
    yield b"%b],\"metadata\":{\"count\":%d%b}}" % (b"" if shown else glue, shown, cursor)


def versions(arrangement: Arrangement[E], label: str, admits: Admits[E]) -> bytes | None:
    """All versions of a server, newest first (`ServerList`), with marks; ``None`` if there is no such server."""
    found = arrangement.versions(label, admits)
    pieces = b",".join(item.piece(offered, item is found[0]) for item in found)
    return b'{"servers":[%b],"metadata":{"count":%d}}' % (pieces, len(found)) if found else None


def version(arrangement: Arrangement[E], label: str, wanted: str, admits: Admits[E]) -> bytes | None:
    """One version of a server (`ServerResponse`), with marks; ``None`` if there is none such."""
    found = arrangement.versions(label, admits)
    for item in found:
        if wanted in (_LATEST, item.version):
            return item.piece(offered, item is found[0])
    return None
