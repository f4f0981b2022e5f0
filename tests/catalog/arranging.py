"""Servers for tests of the catalog, and what is read of its documents."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st

from mcpgate.catalog.arrangement import Arrangement, arranged, filled
from mcpgate.catalog.names import publisher_of
from mcpgate.settings import ServerSettings

ORIGIN = "https://mcp.example.com"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown:
    """One server, for the catalog."""

    settings: ServerSettings
    status: str = "up"
    changed_at_s: float = 1_700_000_000.0


def shown(name: str, *, status: str = "up", changed_at_s: float = 1_700_000_000.0, **more: Any) -> Shown:
    """A server with one upstream; ``more`` are further keys."""
    upstreams = [{"url": "http://10.11.12.13:3010/hidden-base"}]
    return Shown(ServerSettings.model_validate({"name": name, "upstreams": upstreams} | more), status, changed_at_s)


def everybody(entry: Shown) -> bool:
    """Who reads may see all."""
    return True


def last(steps: Generator[bytes, None, T]) -> T:
    """What a function gives that works in steps."""
    while True:
        try:
            assert next(steps) == b""
        except StopIteration as stop:
            value: T = stop.value
            return value


def arrange(*entries: Shown, before: Arrangement[Shown] | None = None) -> Arrangement[Shown]:
    """Arrange servers, all steps at once."""
    return last(arranged(entries, before))


def read(pieces: Iterable[bytes] | bytes | None, origin: str = ORIGIN) -> Any:
    """A document as a client reads it."""
    assert pieces is not None
    template = pieces if isinstance(pieces, bytes) else b"".join(pieces)
    body = filled(template, origin, publisher_of(None, origin), "0123456789abcdef")
    assert b"\x7f" not in body
    return json.loads(body)


# --- random servers -------------------------------------------------------------------------------------------------

_names = st.sampled_from(["a", "b", "c", "a.b", "pm", "pm-v1", "pm-v2", "x1", "x.2", "zz"])
_paths = st.sampled_from(
    [
        *("/mcp/{}", "/mcp/v1/{}", "/mcp/v2/{}", "/mcp/v2/pm", "/v1/{}"),
        *("/{}/v3", "/tools/{}", "/mcp/pm", "/mcp/v1.2/pm", "/v1"),
    ]
)
_texts = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=130)
_endpoints = [{"streamable-http": "/mcp"}, {"sse": "/sse"}, {"sse": "/", "streamable-http": "/"}]
_secret_hosts = ["10.11.12.13", "secret-host.internal"]


@st.composite
def servers(draw: st.DrawFn) -> list[Shown]:
    """Servers of a configuration: unique names and paths, texts of any letters, and secrets that must not come out."""
    found: dict[str, Shown] = {}
    for name in draw(st.lists(_names, unique=True, max_size=8)):
        path = draw(_paths).format(name)
        if path in found:
            continue
        host = draw(st.sampled_from(_secret_hosts))
        endpoints = draw(st.sampled_from(_endpoints))
        found[path] = shown(
            name,
            path=path,
            endpoints=endpoints,
            status=draw(st.sampled_from(["up", "down", "unknown"])),
            card=draw(st.booleans()),
            upstreams=[{"url": f"http://{host}:3010/hidden-base"}],
            headers={"set": {"X-Api-Key": "s3cret-value"}},
            **{key: draw(_texts) for key in ("title", "description", "version") if draw(st.booleans())},
        )
    return list(found.values())


SECRET = re.compile(r"10\.11\.12\.13|secret-host|hidden-base|3010|s3cret|x-api-key", re.IGNORECASE)
