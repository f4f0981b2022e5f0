"""
Every knob of the gateway: its name, type, unit, default and bounds.

Frozen values and nothing else: no files are read here, ``config.py`` does that. Durations are seconds
(float), sizes are bytes (int). A value that is here has been checked, also where two values must fit
together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from mcpgate.values import addresses, grammar
from mcpgate.values.addresses import Network, UpstreamUrl
from mcpgate.values.entries import Objection, alongside, distinct, refusal
from mcpgate.values.quantities import Count, Duration, Share, Size, Switch, write_default

#: Parts of the configuration that later versions know. To ignore one would be to run without protection.
LATER_KEYS: Final = ("auth", "limits", "registry")

_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
_HOUR_S, _DAY_S = 3600.0, 86400.0


def _default_path(server: dict[str, Any]) -> str:
    return f"/mcp/{server.get('name', '')}"


def _not_empty(entries: Collection[object]) -> Iterable[Objection]:
    if not entries:
        yield Objection((), "an empty list, expected at least one entry")


def _exactly_one(upstreams: Collection[object]) -> Iterable[Objection]:
    if not upstreams:
        yield Objection((), "an empty list, expected one upstream")
    elif len(upstreams) > 1:
        yield Objection((), f"{len(upstreams)} upstreams, expected exactly one: balancing is not built yet")


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _not_yet(value: object) -> object:
    if value in ("required", "upstream"):
        raise ValueError("not possible yet, expected none: token authentication is not built yet")
    return value


Line = Annotated[str, AfterValidator(grammar.plain_line), Field(max_length=2000)]
Listen = Annotated[str, AfterValidator(addresses.listen_text)]
ListenList = Annotated[
    tuple[Listen, ...],
    alongside(_not_empty),
    BeforeValidator(_as_list, json_schema_input_type=str | tuple[str, ...]),
]
Host = Annotated[str, AfterValidator(addresses.host)]
Origin = Annotated[str, AfterValidator(addresses.origin)]
WebOrigin = Annotated[str, AfterValidator(addresses.web_origin)]
HeaderName = Annotated[str, AfterValidator(grammar.header_name)]
HeaderValue = Annotated[str, AfterValidator(grammar.header_value)]
EndpointPath = Annotated[str, AfterValidator(addresses.endpoint_path)]
TransportName = Literal["streamable-http", "sse"]


def _network(value: object) -> Network:
    if isinstance(value, str):
        return addresses.network(value)
    if isinstance(value, Network):
        return value
    raise ValueError("not text, expected a network such as 10.0.0.0/8")


ProxyNetwork = Annotated[Network, BeforeValidator(_network, json_schema_input_type=str)]


class Section(BaseModel):
    """One part of the configuration: frozen, and nothing in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_defaults(cls, value: object) -> object:
        # In YAML a key whose lines below are all comments has no value.
        return {} if value is None else value


class AdminToken(Section):
    """Somebody who may use the admin listener."""

    id: Annotated[str, AfterValidator(grammar.name)] = Field(
        description="Name of the holder, for logs: lower-case letters, digits, dots, underscores and hyphens."
    )
    sha256: Annotated[str, AfterValidator(grammar.token_digest)] = Field(
        repr=False, description="SHA-256 of the token in hexadecimal; the token itself is never in this file."
    )
    scopes: Annotated[frozenset[Literal["read", "register", "write"]], alongside(_not_empty)] = Field(
        description="What the holder may do: read, register servers, write (reload)."
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

    max_header_bytes: Annotated[int, Size(256, _MIB)] = Field(
        default=32 * _KIB, description="Largest request head: request line and all headers together."
    )
    max_headers: Annotated[int, Count(1, 10_000)] = Field(
        default=100, description="Largest number of header lines in a request."
    )
    max_body_bytes: Annotated[int, Size(1, 1024 * _GIB)] = Field(
        default=8 * _MIB, description="Largest request body; a server can have its own limit."
    )
    header_timeout: Annotated[float, Duration(0.01, _HOUR_S)] = Field(
        default=10.0, description="Time for the whole head of a request, however slowly its bytes come."
    )
    body_timeout: Annotated[float, Duration(0.01, _HOUR_S)] = Field(
        default=60.0, description="Longest pause between two pieces of a request body."
    )
    keepalive_timeout: Annotated[float, Duration(0.01, _DAY_S)] = Field(
        default=75.0, description="How long a client's connection may stay open between two requests."
    )
    send_timeout: Annotated[float, Duration(0.01, _DAY_S)] = Field(
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

    @property
    def address(self) -> UpstreamUrl:
        """The URL taken apart; the one reading of it that counts."""
        return addresses.upstream_url(self.url)

    @field_validator("tls")
    @classmethod
    def _tls_needs_https(cls, value: TlsSettings | None, about: ValidationInfo) -> TlsSettings | None:
        if value is not None and str(about.data.get("url", "")).lower().startswith("http:"):
            raise ValueError("certificates for an http:// URL, expected https:// in url, or no tls")
        return value


class TimeoutSettings(Section):
    """How long the gateway waits for one server."""

    connect: Annotated[float, Duration(0.01, _HOUR_S)] = Field(
        default=3.0, description="Time to open a connection to the upstream."
    )
    response: Annotated[float, Duration(0.01, 7 * _DAY_S, unlimited=True)] = Field(
        default=300.0, description="Time from the request to the head of its answer; 0s waits without limit."
    )
    stream_idle: Annotated[float, Duration(0.01, 7 * _DAY_S, unlimited=True)] = Field(
        default=0.0, description="Longest silence on an event stream before it is ended; 0s for no limit."
    )
    tunnel_idle: Annotated[float, Duration(0.01, 7 * _DAY_S, unlimited=True)] = Field(
        default=0.0, description="Longest silence on a WebSocket before it is ended; 0s for no limit."
    )


class HeadersSettings(Section):
    """Headers that the gateway puts on every request to the upstream, such as credentials."""

    set: dict[HeaderName, HeaderValue] = Field(
        default={}, repr=False, description="Header names and values; they replace what the client sent."
    )
    set_file: dict[str, Line] = Field(
        default={}, description="Header names and files with the value, which is read into `set` at start."
    )

    @field_validator("set")
    @classmethod
    def _one_value_for_each(cls, value: dict[str, str]) -> dict[str, str]:
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("a header twice, in different case, expected each once")
        return value


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
        default_factory=_default_path,
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
    auth: Annotated[Literal["none"], BeforeValidator(_not_yet)] = Field(
        default="none", description="Who may call: only none (everybody) is built into this version."
    )
    upstreams: Annotated[tuple[UpstreamSettings, ...], alongside(_exactly_one)] = Field(
        description="Its replicas; exactly one in this version."
    )
    upstream_aliases: tuple[WebOrigin, ...] = Field(
        default=(), description="Further origins that mean this server where it announces its own address."
    )
    timeouts: TimeoutSettings = Field(default_factory=TimeoutSettings, description="How long to wait for it.")
    headers: HeadersSettings = Field(default_factory=HeadersSettings, description="Headers set for it.")
    max_body_bytes: Annotated[int, Size(1, 1024 * _GIB)] | None = Field(
        default=None, description="Largest request body for this server; by default http.max_body_bytes."
    )


class LoggingSettings(Section):
    """What is written about requests, and where."""

    access: Annotated[str, AfterValidator(grammar.access_target)] = Field(
        default="stdout", description="Where access lines go: stdout, off or file:PATH."
    )
    format: Literal["json", "text"] = Field(default="json", description="Form of the lines: json or text.")
    sample_2xx: Annotated[float, Share()] = Field(
        default=1.0, description="Share of successful requests that is written, 0 to 1; failures always are."
    )


class DrainSettings(Section):
    """How the gateway leaves after SIGTERM."""

    delay: Annotated[float, Duration(0.0, _HOUR_S)] = Field(
        default=0.0, description="Time to go on serving while readiness already says no."
    )
    timeout: Annotated[float, Duration(0.0, _DAY_S)] = Field(
        default=30.0, description="Time that running exchanges get to finish."
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


class Settings(Section):
    """The whole configuration of one gateway."""

    listen: ListenList = Field(
        default=("tcp:8700:interface=127.0.0.1",), description="Twisted endpoint string, or a list of them."
    )
    public_url: WebOrigin | None = Field(
        default=None, description="Origin by which clients reach the gateway; by default, what they ask for."
    )
    trusted_proxies: tuple[ProxyNetwork, ...] = Field(
        default=(), description="Networks of proxies in front whose forwarding headers are believed."
    )
    admin: AdminSettings = Field(
        default_factory=AdminSettings, validate_default=True, description="The listener for operators."
    )
    http: HttpSettings = Field(default_factory=HttpSettings, description="What clients may send.")
    servers: Annotated[tuple[ServerSettings, ...], distinct("name"), distinct("path", _default_path)] = Field(
        default=(), description="The MCP servers behind this gateway."
    )
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="Access lines.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How the gateway leaves.")
    demo: DemoSettings | None = Field(default=None, description="The built-in demo MCP server, if present.")

    @property
    def origin(self) -> str | None:
        """By which origin a client comes in: ``public_url``, else the first listen address that has one."""
        found = (addresses.listen_address(each).origin for each in self.listen)
        return self.public_url or next((each for each in found if each is not None), None)

    @field_validator("admin")
    @classmethod
    def _admin_apart(cls, value: AdminSettings, about: ValidationInfo) -> AdminSettings:
        _refuse_shared(value.listen, about.data.get("listen", ()))
        return value

    @field_validator("demo")
    @classmethod
    def _demo_apart(cls, value: DemoSettings | None, about: ValidationInfo) -> DemoSettings | None:
        if value is not None:
            admin = about.data.get("admin")
            _refuse_shared((value.listen,), about.data.get("listen", ()) + (admin.listen if admin else ()))
        return value


def _refuse_shared(listen: tuple[str, ...], others: tuple[str, ...]) -> None:
    taken = [addresses.listen_address(other) for other in others]
    if any(addresses.listen_address(mine).collides(other) for mine in listen for other in taken):
        message = "the address of another listener of this gateway, expected one of its own"
        raise refusal(Objection(("listen",), message))


class _Schema(GenerateJsonSchema):
    """pydantic's JSON Schema, with defaults as a person would write them and no title on each field."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        found = super().model_schema(schema)
        if "required" not in found:
            # A part that needs no key may stand there without a line below it.
            found["type"] = ["object", "null"]
        return found

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        found = super().default_schema(schema)
        if found.get("default") is not None:
            found["default"] = write_default(found, found["default"])
        return found


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the configuration file, for editors; in a stable order."""
    described = Settings.model_json_schema(schema_generator=_Schema)
    return {"$schema": GenerateJsonSchema.schema_dialect} | described
