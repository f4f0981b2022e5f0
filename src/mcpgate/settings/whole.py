"""The whole configuration: its parts put together, and what must fit between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from mcpgate.settings.access import AuthSettings
from mcpgate.settings.limits import GateSettings, LimitSettings, SessionsSettings
from mcpgate.settings.listeners import AdminSettings, DemoSettings, HttpSettings
from mcpgate.settings.observability import LoggingSettings, MetricsSettings, TracingSettings
from mcpgate.settings.registry import DiscoverySettings, NetworkEntry, RegistrySettings
from mcpgate.settings.sections import DAY_S, HOUR_S, ListenList, Section, WebOrigin
from mcpgate.settings.servers import AuthKind, ServerSettings, default_path
from mcpgate.values import addresses
from mcpgate.values.entries import Objection, distinct, refusal
from mcpgate.values.quantities import Duration, write_default


class DrainSettings(Section):
    """How the gateway leaves after SIGTERM."""

    delay: Annotated[float, Duration(0.0, HOUR_S)] = Field(
        default=0.0, description="Time to go on serving while readiness already says no."
    )
    timeout: Annotated[float, Duration(0.0, DAY_S)] = Field(
        default=30.0, description="Time that running exchanges get to finish."
    )


class Settings(Section):
    """The whole configuration of one gateway."""

    listen: ListenList = Field(
        default=("tcp:8700:interface=127.0.0.1",), description="Twisted endpoint string, or a list of them."
    )
    public_url: WebOrigin | None = Field(
        default=None, description="Origin by which clients reach the gateway; by default, what they ask for."
    )
    trusted_proxies: tuple[NetworkEntry, ...] = Field(
        default=(), description="Networks of proxies in front whose forwarding headers are believed."
    )
    admin: AdminSettings = Field(
        default_factory=AdminSettings, validate_default=True, description="The listener for operators."
    )
    http: HttpSettings = Field(default_factory=HttpSettings, description="What clients may send.")
    auth: AuthSettings = Field(default_factory=AuthSettings, description="Who may use the servers, by which token.")
    servers: Annotated[tuple[ServerSettings, ...], distinct("name"), distinct("path", default_path)] = Field(
        default=(), description="The MCP servers behind this gateway."
    )
    registry: RegistrySettings = Field(
        default_factory=RegistrySettings, description="Servers that join at run time."
    )
    discovery: DiscoverySettings = Field(
        default_factory=DiscoverySettings, description="What clients are told about the servers."
    )
    limits: Annotated[tuple[LimitSettings, ...], distinct("name")] = Field(
        default=(), description="How often and how much; every limit that matches must admit a request."
    )
    gate: GateSettings = Field(
        default_factory=GateSettings, description="What an address may do before anybody knows who it is."
    )
    sessions: SessionsSettings = Field(default_factory=SessionsSettings, description="What seals the ids of sessions.")
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="What is written, and where.")
    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="What metrics tell.")
    tracing: TracingSettings = Field(default_factory=TracingSettings, description="Distributed traces.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How the gateway leaves.")
    demo: DemoSettings | None = Field(default=None, description="The built-in demo MCP server, if present.")

    #: The file of each server that comes from the folder ``registry.files``, by its name.
    _snippets: dict[str, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        """Whoever reads the files says from which of them a server comes."""
        self._snippets.update((context or {}).get("snippets", {}))

    def origin_of(self, server: str) -> str:
        """Where a server of this configuration stands: ``config``, or ``file:NAME``."""
        file = self._snippets.get(server)
        return "config" if file is None else f"file:{file}"

    @property
    def origin(self) -> str | None:
        """By which origin a client comes in: ``public_url``, else the first listen address that has one."""
        found = (addresses.listen_address(each).origin for each in self.listen)
        return self.public_url or next((each for each in found if each is not None), None)

    def auth_of(self, server: ServerSettings) -> AuthKind:
        """How one of the servers asks its callers who they are."""
        return server.auth or _usual_auth(self.auth)

    def asks_for_token(self, server: ServerSettings) -> bool:
        """Whether callers of a server need a token of this gateway, rather than one that their clients fetch."""
        return self.auth_of(server) == "required" and bool(self.auth.tokens)

    @field_validator("servers")
    @classmethod
    def _somebody_may_pass(cls, value: tuple[ServerSettings, ...], about: ValidationInfo) -> tuple[ServerSettings, ...]:
        auth = about.data.get("auth")
        if isinstance(auth, AuthSettings):
            objections = [each for index, server in enumerate(value) for each in _auth_objections(index, server, auth)]
            if objections:
                raise refusal(*objections)
        return value

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


def _usual_auth(auth: AuthSettings) -> AuthKind:
    return "required" if auth.knows_somebody else "none"


def _auth_objections(index: int, server: ServerSettings, auth: AuthSettings) -> Iterator[Objection]:
    kind = server.auth or _usual_auth(auth)
    if kind == "required":
        if not auth.knows_somebody:
            message = "required, but auth has no token and no issuer, so nobody could pass; make one with: "
            yield Objection((index, "auth"), f"{message}mcpgate token new NAME")
        return
    for key in ("scopes", "tool_scopes", "upstream_credentials"):
        if getattr(server, key):
            message = f"of no effect with auth: {kind}, as nobody is asked who they are; expected auth: required"
            yield Objection((index, key), message)


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
