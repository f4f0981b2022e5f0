"""The listeners beside the one for clients, and what a client may send."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from mcpgate.settings.rights import RegistrableServer, TokenEntry
from mcpgate.settings.sections import (
    DAY_S,
    GIB,
    HOUR_S,
    KIB,
    MIB,
    Host,
    Listen,
    ListenList,
    Origin,
    Section,
    not_empty,
)
from mcpgate.values import addresses
from mcpgate.values.entries import alongside, distinct
from mcpgate.values.quantities import Count, Duration, Size


class AdminToken(TokenEntry):
    """Somebody who may use the admin listener."""

    scopes: Annotated[frozenset[Literal["read", "register", "write"]], alongside(not_empty)] = Field(
        description="What the holder may do: read, register servers, write (reload)."
    )
    servers: Annotated[tuple[RegistrableServer, ...], alongside(not_empty)] = Field(
        default=("*",), description="Servers that the holder may register: names, or prefixes such as team-a-*."
    )


class AdminSettings(Section):
    """The listener for operators: health, metrics, reload."""

    listen: ListenList = Field(
        default=("tcp:8701:interface=127.0.0.1",), description="Twisted endpoint string, or a list of them."
    )
    tokens: Annotated[tuple[AdminToken, ...], distinct("id")] = Field(
        default=(), description="Who may write; without any, a token is made in var/admin.token."
    )


class HttpSettings(Section):
    """What a client may send, and how slowly."""

    max_header_bytes: Annotated[int, Size(256, MIB)] = Field(
        default=32 * KIB, description="Largest request head: request line and all headers together."
    )
    max_headers: Annotated[int, Count(1, 10_000)] = Field(
        default=100, description="Largest number of header lines in a request."
    )
    max_body_bytes: Annotated[int, Size(1, 1024 * GIB)] = Field(
        default=8 * MIB, description="Largest request body; a server can have its own limit."
    )
    max_inspect_bytes: Annotated[int, Size(KIB, GIB)] = Field(
        default=256 * KIB,
        description="Most of a body that is held back to be read where rights or limits depend on it.",
    )
    header_timeout: Annotated[float, Duration(0.01, HOUR_S)] = Field(
        default=10.0, description="Time for the whole head of a request, however slowly its bytes come."
    )
    body_timeout: Annotated[float, Duration(0.01, HOUR_S)] = Field(
        default=60.0, description="Longest pause between two pieces of a request body."
    )
    keepalive_timeout: Annotated[float, Duration(0.01, DAY_S)] = Field(
        default=75.0, description="How long a client's connection may stay open between two requests."
    )
    send_timeout: Annotated[float, Duration(0.01, DAY_S)] = Field(
        default=60.0, description="How long a client may take no byte of an answer before it is cut off."
    )
    max_connections: Annotated[int, Count(0, 10_000_000)] = Field(
        default=0, description="Most client connections at once; 0 takes 90 % of the file descriptors."
    )
    allowed_hosts: tuple[Host, ...] = Field(
        default=(), description="Host names to answer to, besides loopback names and that of public_url."
    )
    allowed_origins: tuple[Origin, ...] = Field(
        default=(), description="Web origins whose pages may call in, besides those of the allowed hosts."
    )


class DemoSettings(Section):
    """The built-in demo MCP server; it runs in the gateway's process when the key `demo` is there."""

    listen: Listen = Field(
        default="tcp:8710:interface=127.0.0.1",
        description="Twisted endpoint string of the demo server; loopback only, it knows no authentication.",
    )

    @field_validator("listen")
    @classmethod
    def _loopback_only(cls, value: str) -> str:
        if not addresses.listen_address(value).is_loopback:
            raise ValueError("an address others can reach, expected a loopback one: the demo is open to all")
        return value
