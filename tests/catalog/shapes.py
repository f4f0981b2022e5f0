"""
The shapes that clients of registries and cards expect, and what of a document does not have them.

Written after the facts of the OpenAPI of the MCP Registry (2025-12-01), of server.json (2025-12-11) and of the schema
of server cards (v1): what must be there, of which type, within which lengths and alphabets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Faults = Iterator[str]
Shape = Callable[[Any, str], Faults]


def text(pattern: str = r"(?s).*", least: int = 0, most: int = 10**6) -> Shape:
    """A string."""

    def check(value: Any, where: str) -> Faults:
        if not isinstance(value, str):
            yield f"{where}: not a string"
        elif not (least <= len(value) <= most and re.search(pattern, value)):
            yield f"{where}: {value!r} does not fit"

    return check


def exactly(kind: type) -> Shape:
    """A value of a type; True is no number."""

    def check(value: Any, where: str) -> Faults:
        if type(value) is not kind:
            yield f"{where}: not {kind.__name__}"

    return check


def each(shape: Shape) -> Shape:
    """A list."""

    def check(value: Any, where: str) -> Faults:
        if not isinstance(value, list):
            yield f"{where}: not a list"
        else:
            for index, element in enumerate(value):
                yield from shape(element, f"{where}[{index}]")

    return check


def members(required: dict[str, Shape], optional: dict[str, Shape]) -> Shape:
    """An object with these members and no others."""

    def check(value: Any, where: str) -> Faults:
        if not isinstance(value, dict):
            yield f"{where}: not an object"
            return
        yield from (f"{where}: no {key}" for key in required if key not in value)
        yield from (f"{where}: {key} is not known" for key in value if key not in required and key not in optional)
        for key, shape in (required | optional).items():
            if key in value:
                yield from shape(value[key], f"{where}.{key}")

    return check


def anything(value: Any, where: str) -> Faults:
    """Whatever it is."""
    yield from ()


NAME = text(r"^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$", 3, 200)
VERSION = text(r"^(?!latest$)[^\^~<>=*|\s]+$", 1, 255)
URL = text(r"^https?://[^\s]+$")
KEYS = text(r"^[A-Za-z]")
_REMOTE = members({"type": text("^(streamable-http|sse)$"), "url": URL}, {})
_IDENTITY = {"name": NAME, "description": text(least=1, most=100), "version": VERSION}
_MORE = {"title": text(least=1, most=100), "websiteUrl": URL}

SERVER = members(
    {**_IDENTITY, "$schema": text("^https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json$")},
    {**_MORE, "remotes": each(_REMOTE)},
)
_OWN = members(
    {
        "name": text(),
        "path": text("^/"),
        "status": text(),
        "updatedAt": text(r"^[0-9-]{10}T[0-9:]{8}Z$"),
        "isLatest": exactly(bool),
        "gateways": each(text("^[0-9a-f]{16}$")),
    },
    {},
)
RESPONSE = members({"server": SERVER, "_meta": members({"mcpgate/server": _OWN}, {})}, {})
SERVER_LIST = members(
    {
        "servers": each(RESPONSE),
        "metadata": members({"count": exactly(int)}, {"nextCursor": text("^[A-Za-z0-9_-]+$")}),
    },
    {},
)
FAULT = members({"error": text(least=1)}, {})

_CARD_REMOTE = members(
    {"type": text("^(streamable-http|sse)$"), "url": URL}, {"supportedProtocolVersions": each(text())}
)
CARD = members(
    {**_IDENTITY, "$schema": text("^https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json$")},
    {**_MORE, "remotes": each(_CARD_REMOTE)},
)
_REFERRED = {
    "identifier": text("^urn:air:[a-zA-Z0-9.-]+:mcp:[a-zA-Z0-9._-]+$"),
    "type": text("^application/mcp-server-card.json$"),
    "displayName": text(least=1),
    "version": VERSION,
}


def _one_reference(value: Any, where: str) -> Faults:
    if ("url" in value) == ("data" in value):
        yield f"{where}: url and data, or neither"
    yield from members(_REFERRED, {"url": URL, "data": CARD})(value, where)


AI_CATALOG = members({"specVersion": text(r"^1\.0$"), "entries": each(_one_reference)}, {})


def faults(value: Any, shape: Shape) -> list[str]:
    """What is wrong with a document."""
    return list(shape(value, "document"))
