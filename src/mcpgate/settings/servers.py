"""One MCP server: what it is called, where it appears, where it runs, how it is spoken to."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from mcpgate.settings.rights import Scope, ToolPattern, ToolsSettings
from mcpgate.settings.sections import DAY_S, GIB, HOUR_S, Host, Line, SecretHeaders, Section, WebOrigin, not_empty
from mcpgate.values import addresses, credentials, grammar
from mcpgate.values.addresses import UpstreamUrl
from mcpgate.values.entries import alongside, distinct
from mcpgate.values.quantities import Count, Duration, Size, Switch

EndpointPath = Annotated[str, AfterValidator(addresses.endpoint_path)]
Principal = Annotated[str, AfterValidator(credentials.principal)]
AuthKind = Literal["required", "none", "upstream"]
TransportName = Literal["streamable-http", "sse"]
#: Versions of the protocol are dates (MCP, "Versioning").
ProtocolVersion = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


def default_path(server: dict[str, Any]) -> str:
    """Where a server appears that has no path of its own."""
    return f"/mcp/{server.get('name', '')}"


def _same_address(url: str) -> str:
    try:
        return repr(addresses.upstream_url(url))
    except ValueError:
        return url


class TlsSettings(Section):
    """How an https upstream is verified, and how the gateway shows who it is."""

    ca_file: Line | None = Field(
        default=None, description="PEM file of the authorities to trust instead of the system's."
    )
    cert_file: Line | None = Field(default=None, description="PEM file with the client certificate.")
    key_file: Line | None = Field(
        default=None, description="PEM file with the key of cert_file, if it is not in there too."
    )
    server_name: Host | None = Field(
        default=None, description="Name to ask for and to verify; by default the host of the URL."
    )

    @field_validator("key_file")
    @classmethod
    def _key_needs_certificate(cls, value: str | None, about: ValidationInfo) -> str | None:
        if value is not None and about.data.get("cert_file", "refused for itself") is None:
            raise ValueError("a key without a certificate, expected cert_file beside it")
        return value


class UpstreamSettings(Section):
    """One replica: an address at which the server is really running."""

    url: Annotated[str, AfterValidator(addresses.upstream_text)] = Field(
        description="http or https address of the server, with its base path; no query, no password."
    )
    weight: Annotated[int, Count(1, 1000)] = Field(
        default=1, description="Share of the traffic in relation to the other replicas."
    )
    tls: TlsSettings | None = Field(default=None, description="Certificates, for https only.")

    @cached_property
    def address(self) -> UpstreamUrl:
        """The URL taken apart; the one reading of it that counts, kept since that takes 13 us."""
        return addresses.upstream_url(self.url)

    def __copy__(self) -> Self:
        """What is kept of the one is not that of a copy, whose URL may be another."""
        copied = super().__copy__()
        copied.__dict__.pop("address", None)
        return copied

    @field_validator("tls")
    @classmethod
    def _tls_needs_https(cls, value: TlsSettings | None, about: ValidationInfo) -> TlsSettings | None:
        if value is not None and str(about.data.get("url", "")).lower().startswith("http:"):
            raise ValueError("certificates for an http:// URL, expected https:// in url, or no tls")
        return value


class RegisteredUpstream(UpstreamSettings):
    """A replica that is not in the configuration: where it is is somebody else's word, checked at each connect."""

    replica: str
    origin: str
    #: Ids of the gateways whose lists it came through, the first last.
    gateways: tuple[str, ...] = ()


class TimeoutSettings(Section):
    """How long the gateway waits for one server."""

    connect: Annotated[float, Duration(0.01, HOUR_S)] = Field(
        default=3.0, description="Time to open a connection to the upstream."
    )
    response: Annotated[float, Duration(0.01, 7 * DAY_S, unlimited=True)] = Field(
        default=300.0, description="Time from the request to the head of its answer; 0s waits without limit."
    )
    stream_idle: Annotated[float, Duration(0.01, 7 * DAY_S, unlimited=True)] = Field(
        default=0.0, description="Longest silence on an event stream before it is ended; 0s for no limit."
    )
    tunnel_idle: Annotated[float, Duration(0.01, 7 * DAY_S, unlimited=True)] = Field(
        default=0.0, description="Longest silence on a WebSocket before it is ended; 0s for no limit."
    )


class HeadersSettings(Section):
    """Headers that the gateway puts on every request to the upstream, such as credentials."""

    set: SecretHeaders = Field(
        default={}, repr=False, description="Header names and values; they replace what the client sent."
    )
    set_file: dict[str, Line] = Field(
        default={}, description="Header names and files with the value, which is read into `set` at start."
    )


class ServerSettings(Section):
    """One MCP server: what it is called, where it appears, where it runs."""

    name: Annotated[str, AfterValidator(grammar.server_name)] = Field(
        description="Unique name: a-z 0-9 . _ - with a letter or digit at both ends, at most 63 characters."
    )
    title: Line | None = Field(default=None, description="Name for people, in discovery.")
    description: Line | None = Field(default=None, description="One sentence for people, in discovery.")
    version: Line | None = Field(default=None, description="Its version, in discovery; text, so quote 1.0.")
    tags: tuple[Line, ...] = Field(default=(), description="Words to find it by, in discovery.")
    docs_url: Annotated[str, AfterValidator(addresses.web_page)] | None = Field(
        default=None, description="Where its documentation is."
    )
    path: Annotated[str, AfterValidator(addresses.server_path)] = Field(
        default_factory=default_path,
        description="Unique public path, by default /mcp/NAME; the longest path that fits a request wins.",
    )
    strip_prefix: Annotated[bool, Switch()] = Field(
        default=True, description="Whether the path is taken off; false if the server itself serves under it."
    )
    endpoints: dict[TransportName, EndpointPath] = Field(
        default={"streamable-http": "/mcp"},
        min_length=1,
        description="Transports it speaks and where below its path, for discovery and clients.",
    )
    auth: AuthKind | None = Field(
        default=None,
        description="Who may call: required (a token), none (everybody), upstream (the server asks for tokens "
        "itself); by default required if auth has any token or issuer, else none.",
    )
    protocol_versions: tuple[ProtocolVersion, ...] = Field(
        default=(), description="MCP versions that it speaks, such as 2026-07-28, for discovery and cards."
    )
    card: Annotated[bool, Switch()] = Field(
        default=False,
        description="Whether the gateway serves its card at ENDPOINT/server-card; else that is the server's own.",
    )
    replicas_may_register: Annotated[bool, Switch()] = Field(
        default=False, description="Whether replicas may join at run time; it needs no upstreams then."
    )
    upstreams: Annotated[tuple[UpstreamSettings, ...], distinct("url", fold=_same_address)] = Field(
        default=(), validate_default=True, description="Its replicas, at least one."
    )
    upstream_aliases: tuple[WebOrigin, ...] = Field(
        default=(), description="Further origins that mean this server where it announces its own address."
    )
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings, description="How long to wait for it.")
    headers: HeadersSettings = Field(default_factory=HeadersSettings, description="Headers set for it.")
    tools: ToolsSettings = Field(default_factory=ToolsSettings, description="Which of its tools may be called.")
    scopes: tuple[Scope, ...] = Field(default=(), description="Scopes that whoever uses it must hold, all of them.")
    tool_scopes: dict[ToolPattern, Annotated[tuple[Scope, ...], alongside(not_empty)]] = Field(
        default={},
        description="Names of tools, * stands for anything, and the scopes that a call needs besides.",
    )
    upstream_credentials: dict[Principal, HeadersSettings] = Field(
        default={},
        description="Headers set for certain principals (id of a token, or ISSUER:SUB), over those in headers.",
    )
    max_body_bytes: Annotated[int, Size(1, 1024 * GIB)] | None = Field(
        default=None, description="Largest request body for this server; by default http.max_body_bytes."
    )

    @field_validator("upstreams")
    @classmethod
    def _runs_somewhere(
        cls, value: tuple[UpstreamSettings, ...], about: ValidationInfo
    ) -> tuple[UpstreamSettings, ...]:
        if not value and about.data.get("replicas_may_register") is False:
            raise ValueError("no upstreams, expected at least one entry, or replicas_may_register: true")
        return value
