"""Who may be there besides the servers of the configuration, and what discovery tells of all of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from mcpgate.settings.rights import Name
from mcpgate.settings.sections import DAY_S, HOUR_S, Line, Section
from mcpgate.settings.servers import HeadersSettings
from mcpgate.values import addresses
from mcpgate.values.addresses import Network
from mcpgate.values.entries import distinct
from mcpgate.values.quantities import Count, Duration, Switch


def network_text(value: object) -> Network:
    """A network as configured; for trusted proxies, too."""
    if isinstance(value, str):
        return addresses.network(value)
    if isinstance(value, Network):
        return value
    raise ValueError("not text, expected a network such as 10.0.0.0/8")


NetworkEntry = Annotated[Network, BeforeValidator(network_text, json_schema_input_type=str)]


def _store(text: str) -> str:
    path = text.removeprefix("sqlite:")
    if text == "none" or (path and path != text and path.isprintable()):
        return text
    raise ValueError("not a store, expected sqlite:PATH, or none to keep nothing over a restart")


def list_name(entry: dict[str, Any]) -> str:
    """How a list is called that has no name of its own: by the host of its URL."""
    return addresses.issuer_host(str(entry.get("url", "")))


class SourceSettings(Section):
    """A list of servers that is read again and again."""

    url: Annotated[str, AfterValidator(addresses.web_page)] = Field(
        description="Where the list is: a registry's /mcps, another gateway's /mcp/discovery, or /v0.1/servers."
    )
    name: Name = Field(default_factory=list_name, description="How it is called; by default the host of the URL.")
    interval: Annotated[float, Duration(1.0, DAY_S)] = Field(
        default=30.0, description="How often it is read; some seconds more or less, so that not all ask at once."
    )
    headers: HeadersSettings = Field(
        default_factory=HeadersSettings, description="Headers sent to it, such as a token."
    )


class RegistrySettings(Section):
    """Servers that join at run time, and where they may be."""

    store: Annotated[str, AfterValidator(_store)] = Field(
        default="sqlite:var/registry.db", description="Where registrations are kept: sqlite:PATH, or none."
    )
    ttl: Annotated[float, Duration(1.0, DAY_S)] = Field(
        default=30.0, description="How long a registration holds without a heartbeat, if it does not say it itself."
    )
    allow_networks: tuple[NetworkEntry, ...] = Field(
        default=(),
        description="Networks to which registrations and lists may point; by default nowhere.",
    )
    allow_ports: tuple[Annotated[int, Count(1, 65535)], ...] = Field(
        default=(), description="Ports to which they may point; by default every one."
    )
    sources: Annotated[
        tuple[SourceSettings, ...], distinct("name", list_name, defaults_too=True), distinct("url")
    ] = Field(default=(), description="Lists of servers that are read again and again; the first to name one has it.")
    files: Line | None = Field(
        default=None, description="Folder whose *.yaml files hold further servers; watched, and read again on change."
    )

    @property
    def is_open(self) -> bool:
        """Whether anything can join."""
        return bool(self.allow_networks)


class DiscoverySettings(Section):
    """What the gateway tells about its servers, and to whom."""

    publisher: Annotated[str, AfterValidator(addresses.host)] | None = Field(
        default=None,
        description="What stands before the names of servers in registries and cards, such as com.example; by default "
        "the host of public_url, turned around.",
    )
    any_origin: Annotated[bool, Switch()] | None = Field(
        default=None,
        description="Whether every web page may read what is public; by default only if public_url is set.",
    )
    keep_alive: Annotated[float, Duration(1.0, HOUR_S)] = Field(
        default=15.0, description="How often a silent event feed says that it is still there."
    )
    max_subscribers: Annotated[int, Count(0, 1_000_000)] = Field(
        default=10_000, description="Most readers of the event feed at once."
    )

    @field_validator("publisher")
    @classmethod
    def _no_port(cls, value: str | None) -> str | None:
        if value is not None and not set(value).isdisjoint(":[]"):
            raise ValueError("an address, expected a name such as com.example")
        return value

