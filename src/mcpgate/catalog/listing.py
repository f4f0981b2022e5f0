"""The gateway's own list of servers (``/mcp/discovery``): name and path first, as its first readers know it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mcpgate.catalog.arrangement import GATEWAY, ORIGIN, Admits, Arrangement, E, Item, Json
from mcpgate.catalog.paging import cursor_of, limit_of, words_of
from mcpgate.settings import RegisteredUpstream, ServerSettings

#: The most that a page has; without a limit the list is one page.
_MAX_LIMIT = 1000
_END = b'],"gateway":"%b"' % GATEWAY.encode("ascii")
_TRANSPORTS = ("streamable-http", "sse")


def transports(settings: ServerSettings, origin: str) -> list[Json]:
    """Where a server is reached, Streamable HTTP before SSE."""
    endpoints = settings.endpoints
    return [
        {"type": kind, "url": origin + settings.path + endpoints[kind]} for kind in _TRANSPORTS if kind in endpoints
    ]


def passed_through(settings: ServerSettings) -> list[str]:
    """The gateways whose lists a server came through, by their ids; those that follow each other go by it."""
    return next((list(each.gateways) for each in settings.upstreams if isinstance(each, RegisteredUpstream)), [])


def describe(settings: ServerSettings, status: str, origin: str) -> Json:
    """
    One server as discovery shows it; ``url`` is its first endpoint, Streamable HTTP before SSE, and ``gateways`` those
    whose lists it came through.
    """
    found = transports(settings, origin)
    told: Json = {"name": settings.name, "path": settings.path}
    for name in ("title", "version", "description", "docs_url"):
        value = getattr(settings, name)
        if value is not None:
            told[name] = value
    for name in ("tags", "protocol_versions"):
        values = getattr(settings, name)
        if values:
            told[name] = list(values)
    passed = passed_through(settings)
    if passed:
        told["gateways"] = passed
    return {**told, "url": found[0]["url"], "transports": found, "status": status}


def listed(item: Item[Any], is_latest: bool) -> Json:
    """The same with marks, and for versions of one server with ``family``, ``pathVersion`` and ``isLatest``."""
    told = describe(item.entry.settings, item.entry.status, ORIGIN)
    if item.family:
        told["family"] = item.family
        if item.place.version:
            told["pathVersion"] = item.place.version
        if is_latest:
            told["isLatest"] = True
    return told


class Page:
    """
    What of the list somebody asks for.

    :param fields: ``limit`` and ``cursor``, of a query with any others.
    :raises ValueError: one of them cannot be; the text is for the client.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.limit = limit_of(fields, 0, _MAX_LIMIT)
        cursor = fields.get("cursor", "")
        self.after = words_of(cursor, 1)[0] if cursor else ""

    @property
    def is_whole(self) -> bool:
        """Whether that is all there is."""
        return not self.limit and not self.after


def discovery(arrangement: Arrangement[E], page: Page, admits: Admits[E]) -> Iterator[bytes]:
    """
    ``{"mcpServers": […]}``, with ``nextCursor`` if there is more, in pieces with marks.

    ``gateway`` is our own id: gateways that follow each other's lists know by it what they have said themselves.

    A cursor names the last server of its page: who reads page by page sees each server that stays there once,
    whatever comes and goes meanwhile.
    """
    glue, shown, last = b'{"mcpServers":[', 0, ""
    for item in arrangement.by_name:
        name = item.entry.settings.name
        if name <= page.after or not admits(item.entry):
            continue
        if page.limit and shown == page.limit:
            yield _END + b',"nextCursor":"%b"}' % cursor_of(last).encode("ascii")
            return
        yield glue + item.piece(listed, bool(item.family) and arrangement.is_latest(item, admits))
        glue, shown, last = b",", shown + 1, name
    yield (b"" if shown else glue) + _END + b"}"
