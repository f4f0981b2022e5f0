"""
Lists of servers that others keep, read as registrations. Three forms, told apart by their shape:

* an array: a registry of the simple form (``GET /mcps``); entries with ``host`` and ``port``, or ``endpoint``;
* ``{"mcpServers": [...]}``: the discovery of a gateway; each entry is a path there, so its replica is that gateway;
* ``{"servers": [...]}``: an MCP Registry (``/v0.1/servers``), in pages; entries with ``remotes``, the latest version.

What comes is hostile: a bad entry is told and left out, the others count. Nobody sends beats for an entry of a list, so
all have ``ttl`` 0. What an entry says of its own health is not read: a server that goes up and down over there would
come and go here, and cut streams with each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from mcpgate.refusals import RegistrationRefused
from mcpgate.registry.reading import read_json
from mcpgate.registry.registration import Listed, Registration, simple_of
from mcpgate.values import addresses
from mcpgate.values.addresses import DEFAULT_PORTS, Authority, UpstreamUrl
from mcpgate.values.quantities import kind_of

#: As many servers as the gateway is measured with.
MAX_LISTED: Final = 10_000
#: Somebody reads them; whoever sends only faults sends always the same ones.
MAX_FAULTS: Final = 20
_MAX_FAULT_CHARS = 300
_MAX_URL_CHARS = 2000
#: 10 entries take about 1.5 ms to check.
_STEP = 10

#: The most that an MCP Registry gives in a page.
PAGE_ENTRIES: Final = 100
_PAGED_PATHS = ("/v0.1/servers", "/v0/servers")

_KNOWN_FORMS = 'expected an array of servers, {"mcpServers": [...]} or {"servers": [...]}'
_SIMPLE_KEYS = ("name", "version", "basePath", "host", "port", "title", "description", "tags", "docs_url", "endpoints")
_TRANSPORTS = ("streamable-http", "sse")
_OWN = "mcpgate/server"
_OFFICIAL = "io.modelcontextprotocol.registry/official"
#: A cursor is sent back in a URL; those that are seen have a name and a version.
_CURSOR = re.compile(r"[\x21-\x7e]{1,500}")
#: What we give ourselves as an id, and how many gateways an entry may have come through.
_GATEWAY = re.compile(r"[0-9a-f]{16}")
_MAX_CHAIN = 16
_BEGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_SHOWN = re.compile(r"[A-Za-z0-9._/ -]{1,100}")

#: Server and replica.
Key = tuple[str, str]
Json = Mapping[str, Any]


class Listing(NamedTuple):
    """
    What a list says.

    :ivar next_cursor: where the next page begins; empty if there is none.
    :ivar faults: what was left out and why, for people; at most `MAX_FAULTS`.
    """

    registrations: dict[Key, Registration]
    next_cursor: str
    faults: list[str]


def pages_of(body: bytes) -> list[object]:
    """
    The pages of a list as they are written: one, or those that are kept together.

    :raises ValueError: none that is known.
    """
    found = read_json(body)
    pages = found if isinstance(found, list) and found and all(map(_is_page, found)) else [found]
    if not all(isinstance(page, list) or _is_page(page) or _is_discovery(page) for page in pages):
        raise ValueError(f"not a list of servers, {_KNOWN_FORMS}")
    return pages


def cursor_of(page: object) -> str:
    """Where the next page begins; empty if there is none."""
    metadata = page.get("metadata") if isinstance(page, dict) and _is_page(page) else None
    cursor = metadata.get("nextCursor") if isinstance(metadata, dict) else None
    return cursor if isinstance(cursor, str) and _CURSOR.fullmatch(cursor) else ""


def page_url(url: str, cursor: str) -> str:
    """
    Where a page of a list is; of an MCP Registry the largest that it gives, unless the URL says something else.

    :param cursor: of `cursor_of`; empty for the first page.
    """
    base = url.partition("#")[0]
    path, _, query = base.partition("?")
    asked = query.split("&") if query else []
    keys = {each.partition("=")[0] for each in asked}
    if (cursor or path.rstrip("/").endswith(_PAGED_PATHS)) and "limit" not in keys:
        asked.append(f"limit={PAGE_ENTRIES}")
    if cursor:
        asked = [each for each in asked if each.partition("=")[0] != "cursor"] + [f"cursor={quote(cursor, safe='')}"]
    return f"{path}?{'&'.join(asked)}" if asked else base


def read_in_steps(pages: list[object], content_base: str) -> Generator[None, None, Listing]:
    """
    Read the pages of one list (see `pages_of`), in steps of about 1.5 ms; its value is the listing.

    :param content_base: the URL of the list, http or https: addresses in it may be relative to that.
    """
    draft = _Draft(_origin_of(content_base))
    entries = _entries(pages, draft)
    if len(entries) > MAX_LISTED:
        draft.object_to("the list", f"longer than {MAX_LISTED} entries, the rest is left out")
    for number, entry in enumerate(entries[:MAX_LISTED]):
        draft.take(_where(number, entry.content), entry)
        if number % _STEP == _STEP - 1:
            yield
    return Listing(draft.registrations, cursor_of(pages[-1]), draft.faults)


def _is_page(page: object) -> bool:
    return isinstance(page, dict) and isinstance(page.get("servers"), list)


def _is_discovery(page: object) -> bool:
    return isinstance(page, dict) and isinstance(page.get("mcpServers"), list)


def _origin_of(url: str) -> str:
    begin = _BEGIN.match(url)
    return _origin(addresses.upstream_url(begin[0] if begin else url))


def _origin(url: UpstreamUrl) -> str:
    port = None if url.port == DEFAULT_PORTS[url.scheme] else url.port
    return f"{url.scheme}://{Authority(url.host, port)}"


class _Draft:
    """
    What has been read so far.

    :ivar origin: of the list itself.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.registrations: dict[Key, Registration] = {}
        self.faults: list[str] = []
        self._exclusive: set[str] = set()

    def take(self, where: str, entry: _Entry) -> None:
        """Read one entry, or tell why not."""
        try:
            key, registration = entry.read(entry.content, self.origin)
            if entry.is_whole_server and key[0] in self._exclusive:
                raise ValueError(f"a second server with the name {key[0]}, expected each once")
        except RegistrationRefused as refused:
            self.object_to(where, refused.text)
        except ValueError as wrong:
            self.object_to(where, str(wrong))
        else:
            # A simple registry appends: what was registered last is said last.
            self.registrations[key] = registration
            self._exclusive.add(key[0])

    def object_to(self, where: str, what: str) -> None:
        """Note a fault, if there is still room."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"{where}: {what}"[:_MAX_FAULT_CHARS])


class _Entry(NamedTuple):
    """
    One entry, and how it is read.

    :ivar is_whole_server: two of one name are two servers, not two replicas of one.
    """

    content: object
    read: Callable[[object, str], tuple[Key, Registration]]
    is_whole_server: bool


def _entries(pages: list[object], draft: _Draft) -> list[_Entry]:
    first = pages[0]
    if isinstance(first, list):
        return [_Entry(each, _simple, False) for each in first]
    if _is_discovery(first):
        assert isinstance(first, dict)
        gateway = _gateways([first.get("gateway")])
        return [_Entry(each, partial(_discovered, gateway), True) for each in first["mcpServers"]]
    return [_Entry(each, _published, True) for each in _latest(pages, draft)]


def _where(number: int, content: object) -> str:
    name = content.get("name") if isinstance(content, dict) else None
    return f"entry {number} ({name})" if isinstance(name, str) and _SHOWN.fullmatch(name) else f"entry {number}"


# --- the simple form ------------------------------------------------------------------------------------------------


def _simple(content: object, _origin: str) -> tuple[Key, Registration]:
    entry = _object(content)
    said = {key: entry[key] for key in _SIMPLE_KEYS if entry.get(key) is not None}
    url = _text(entry, "url")
    if url:
        return _registered(said, addresses.upstream_url(url))
    endpoint = _text(entry, "endpoint")
    if endpoint and "host" not in said:
        said["host"], said["port"] = addresses.authority(endpoint)
    found = simple_of(said)
    return (found.server, found.replica), found.registration


# --- another gateway ------------------------------------------------------------------------------------------------


def _gateways(ids: object) -> tuple[str, ...]:
    """Ids of gateways, of those that can be one; chains are short."""
    listed = ids if isinstance(ids, list) else []
    return tuple(each for each in listed[:_MAX_CHAIN] if isinstance(each, str) and _GATEWAY.fullmatch(each))


def _discovered(gateway: tuple[str, ...], content: object, origin: str) -> tuple[Key, Registration]:
    """An entry, with the gateways that it has come through, so that two who follow each other keep nothing alive."""
    key, registration = _passed_on(content, origin)
    return key, _passed(registration, gateway + _gateways(_object(content).get("gateways")))


def _passed(registration: Registration, gateways: tuple[str, ...]) -> Registration:
    return Listed.model_construct(**dict(registration), gateways=gateways) if gateways else registration


def _passed_on(content: object, origin: str) -> tuple[Key, Registration]:
    entry = _object(content)
    path = _text(entry, "path")
    said: dict[str, object] = {"basePath": path} if path else {}
    for key in ("tags", "docs_url"):
        if entry.get(key) is not None:
            said[key] = entry[key]
    urls = _urls(entry.get("transports"), origin)
    if not urls and _text(entry, "url"):
        urls = {"streamable-http": _absolute(_text(entry, "url"), origin)}
    if not urls and not path:
        raise ValueError("neither a path nor a url, expected where the server is")
    # Only a path: what is behind it is what the simple form takes for granted.
    place = addresses.upstream_url(origin)._replace(base_path=path.rstrip("/"))
    return _spoken_to(entry, said, urls, place)


# --- an MCP Registry ------------------------------------------------------------------------------------------------


def _latest(pages: list[object], draft: _Draft) -> list[object]:
    """Of each name the latest version that is not withdrawn and can be reached; in the order of the list."""
    found: dict[str, tuple[tuple[bool, tuple[int, ...]], object]] = {}
    for number, item in enumerate(_published_items(pages)):
        server = item.get("server") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(server, dict) or not isinstance(server.get("name"), str):
            draft.object_to(f"entry {number}", "not an entry, expected an object with server.name")
            continue
        about = _about(item, _OFFICIAL)
        if about.get("status", server.get("status")) in ("deleted", "deprecated") or not server.get("remotes"):
            continue
        rank = (about.get("isLatest") is True, _version_rank(server.get("version")))
        name = server["name"]
        if name not in found or rank >= found[name][0]:
            found[name] = rank, {**server, "gateways": _about(item, _OWN).get("gateways")}
    return [server for _, server in found.values()]


def _published_items(pages: list[object]) -> Iterable[object]:
    return (item for page in pages if isinstance(page, dict) and _is_page(page) for item in page["servers"])


def _about(item: Json, whose: str) -> Json:
    meta = item.get("_meta")
    about = meta.get(whose) if isinstance(meta, dict) else None
    return about if isinstance(about, dict) else {}


def _version_rank(version: object) -> tuple[int, ...]:
    """1.10 after 1.9; what is no number stands before all."""
    numbers = re.match(r"v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,9})", version) if isinstance(version, str) else None
    return tuple(map(int, numbers[1].split("."))) if numbers else ()


def _published(content: object, origin: str) -> tuple[Key, Registration]:
    entry = dict(_object(content))
    urls = _urls(entry.get("remotes"), origin)
    if not urls:
        raise ValueError("no remote of a known type, expected streamable-http or sse")
    # com.example/weather is weather here; the namespace says who has published it.
    entry["name"] = str(entry["name"]).rpartition("/")[2]
    said = {"docs_url": entry["websiteUrl"]} if _text(entry, "websiteUrl") else {}
    key, registration = _spoken_to(entry, said, urls, addresses.upstream_url(origin))
    return key, _passed(registration, _gateways(entry.get("gateways")))


# --- what all have in common ----------------------------------------------------------------------------------------


def _object(content: object) -> Json:
    if isinstance(content, dict):
        return content
    raise ValueError(f"{kind_of(content)}, expected an object")


def _text(entry: Json, key: str) -> str:
    value = entry.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    raise ValueError(f"{key}: {kind_of(value)}, expected text")


def _urls(transports: object, origin: str) -> dict[str, str]:
    """The first URL of each transport that is known, in the order in which they are preferred."""
    if transports is None:
        return {}
    if not isinstance(transports, list) or not all(isinstance(each, dict) for each in transports):
        raise ValueError("transports that are no list of objects, expected objects with type and url")
    return {
        kind: _absolute(_text(each, "url"), origin)
        for kind in _TRANSPORTS
        for each in reversed(transports)
        if each.get("type") == kind
    }


def _absolute(url: str, origin: str) -> str:
    return origin + url if url.startswith("/") else url


def _spoken_to(
    entry: Json, said: dict[str, object], urls: Mapping[str, str], place: UpstreamUrl
) -> tuple[Key, Registration]:
    """
    A server that is spoken to at these URLs; of those that are elsewhere than the first, none: it is one replica.

    :param place: where it is if there are no URLs.
    """
    for key in ("name", "title", "version", "description"):
        value = entry.get(key)
        if value is not None:
            said[key] = " ".join(value.split()) if isinstance(value, str) else value
    if not urls:
        return _registered(said, place)
    found = {kind: addresses.upstream_url(url) for kind, url in urls.items()}
    first = next(iter(found.values()))
    base_path = str(said.get("basePath") or f"/mcp/{said.get('name')}").rstrip("/")
    if not first.base_path.startswith(f"{base_path}/"):
        base_path = ""
    said["endpoints"] = {
        kind: url.base_path.removeprefix(base_path) + ("/" if urls[kind].endswith("/") else "") or "/"
        for kind, url in found.items()
        if url[:3] == first[:3] and f"{url.base_path}/".startswith(f"{base_path}/")
    }
    return _registered(said, first._replace(base_path=base_path))


def _registered(said: Json, url: UpstreamUrl) -> tuple[Key, Registration]:
    """The simple form has everything but a scheme and a base path."""
    found = simple_of({**said, "host": url.host, "port": url.port})
    text = _origin(url) + url.base_path
    if len(text) > _MAX_URL_CHARS:
        raise ValueError(f"a URL that is too long, expected at most {_MAX_URL_CHARS} characters")
    return (found.server, found.replica), found.registration.model_copy(update={"url": text})
