"""
Server cards and the AI catalog that lists them (SEP-2127, extension io.modelcontextprotocol/server-card). Pure.

A card says who a server is and where, nothing of what it can do, and not how it is at the moment: that would make it
another document with every hiccup.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mcpgate.catalog.arrangement import DOMAIN, ORIGIN, PUBLISHER, Admits, Arrangement, E, Item, Json
from mcpgate.catalog.listing import transports
from mcpgate.catalog.names import shortened
from mcpgate.settings import ServerSettings

CARD_TYPE = "application/mcp-server-card+json"
CATALOG_TYPE = "application/ai-catalog+json"
#: What a card's address has behind that of its endpoint; the extension reserves it.
SUFFIX = "/server-card"
_SCHEMA = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"


def identity(item: Item[Any]) -> Json:
    """What registries and cards tell alike: name, version, texts within their lengths."""
    settings = item.entry.settings
    told: Json = {"name": f"{PUBLISHER}/{item.label}", "version": item.version}
    told["description"] = shortened(settings.description or settings.title or f"The MCP server {settings.name}")
    if settings.title:
        told["title"] = shortened(settings.title)
    if settings.docs_url is not None:
        told["websiteUrl"] = settings.docs_url
    return told


def card(item: Item[Any], is_latest: bool = False) -> Json:
    """The card of a server, with marks; the same for the newest and the others."""
    settings = item.entry.settings
    remotes = transports(settings, ORIGIN)
    if settings.protocol_versions:
        remotes = [remote | {"supportedProtocolVersions": list(settings.protocol_versions)} for remote in remotes]
    return {"$schema": _SCHEMA, **identity(item), "remotes": remotes}


def card_paths(settings: ServerSettings) -> list[str]:
    """Where the gateway serves a server's card; first the one that its catalog names."""
    endpoints = sorted(settings.endpoints, reverse=True)  # streamable-http before sse
    return [settings.path + settings.endpoints[kind].rstrip("/") + SUFFIX for kind in endpoints if settings.card]


def referred(item: Item[Any], is_latest: bool) -> Json:
    """
    A server in the catalog: by the address of its card if the gateway serves that, else with the card itself.

    Versions of one server share an identifier; the version tells them apart.
    """
    settings = item.entry.settings
    told: Json = {
        "identifier": f"urn:air:{DOMAIN}:mcp:{item.label}",
        "displayName": settings.title or settings.name,
        "version": item.version,
        "type": CARD_TYPE,
    }
    where = card_paths(settings)
    return {**told, "url": ORIGIN + where[0]} if where else {**told, "data": card(item)}


def catalog(arrangement: Arrangement[E], admits: Admits[E]) -> Iterator[bytes]:
    """The AI catalog, in pieces with marks."""
    glue = b'{"specVersion":"1.0","entries":['
    for item in arrangement.by_label:
        if admits(item.entry):
            yield glue + item.piece(referred, False)
            glue = b","
    yield b"]}" if glue == b"," else glue + b"]}"


def card_at(arrangement: Arrangement[E], path: str, admits: Admits[E]) -> bytes | None:
    """The card that the gateway serves at a path, with marks; ``None`` if there is none for this reader."""
    for item in arrangement.around(path):
        if path in card_paths(item.entry.settings) and admits(item.entry):
            return msgspec.json.encode(card(item))
    return None
