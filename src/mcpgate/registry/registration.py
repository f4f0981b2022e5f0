"""
What somebody says about one replica of a server: the full form of the API, the simple form, and how either is kept.

Whatever stands here came over the network from somebody who may register and nothing else. So nothing is expanded
(``${VAR}`` is text, or a fault), what two readers could read differently is a fault, and no fault repeats a value: a
fault names the key, what is wrong and what was expected, as those of configuration files do.

Does not live here: whether the address may be dialled (``policy/egress.py``), whether the name is free
(``registry/roster.py``), and how large a body may be, which the reader of the body bounds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, NamedTuple

import idna
from pydantic import AfterValidator, BeforeValidator, Field

from mcpgate.refusals import RegistrationRefused
from mcpgate.registry.reading import checked, read_object
from mcpgate.settings.sections import DAY_S, Line, SecretHeaders, Section
from mcpgate.settings.servers import EndpointPath, ProtocolVersion, TransportName
from mcpgate.values import addresses, grammar
from mcpgate.values.addresses import Authority
from mcpgate.values.quantities import Count, Duration, Switch, is_number

# Consul keeps 64 pairs of metadata with values of 512; half of the pairs is more than anybody shows to people.
MAX_META_KEYS: Final = 32
_MAX_META_VALUE_CHARS = 512
_MAX_ENTRIES = 20
_MAX_HEADERS = 32
# As long as the lines of a head may be for most servers, with room for the path of a request behind it.
_MAX_URL_CHARS = 2000
_MAX_PATH_CHARS = 500
#: Names for people are shown in one line of a table.
_MAX_TITLE_CHARS = 200

_URL_WHERE = "the address stands in url, expected url: http://HOST:PORT"
_NAME_WHERE = "names stand in the address of the request, expected no such key here"


def _meta_key(text: str) -> str:
    if not 0 < len(text) <= grammar.MAX_NAME_LENGTH or not text.isprintable():
        raise ValueError(f"not a key, expected 1 to {grammar.MAX_NAME_LENGTH} printable characters")
    return text


def _meta_value(text: str) -> str:
    if len(text) > _MAX_META_VALUE_CHARS or not text.isprintable():
        raise ValueError(f"not a value, expected at most {_MAX_META_VALUE_CHARS} printable characters")
    return text


def _verifiable(text: str) -> str:
    """TLS verifies the name of a host, so that name must be one that a certificate can have (RFC 5891)."""
    address = addresses.upstream_url(text)
    is_literal = ":" in address.host or address.host.replace(".", "").isdigit()
    if address.scheme == "https" and not is_literal:
        try:
            idna.encode(address.host)
        except UnicodeError:
            raise ValueError("https with a name that no certificate has, expected a proper host name") from None
    return text


class Traits(Section):
    """What both forms may say."""

    weight: Annotated[int, Count(1, 1000)] = Field(
        default=1, description="Share of the traffic in relation to the other replicas."
    )
    endpoints: dict[TransportName, Annotated[EndpointPath, Field(max_length=_MAX_PATH_CHARS)]] = Field(
        default={"streamable-http": "/mcp"},
        min_length=1,
        description="Transports the server speaks and where below its path, for discovery and clients.",
    )
    strip_prefix: Annotated[bool, Switch()] = Field(
        default=True, description="Whether the path is taken off; false if the server itself serves under it."
    )
    title: Line | None = Field(default=None, description="Name for people, in discovery.")
    description: Line | None = Field(default=None, description="One sentence for people, in discovery.")
    docs_url: Annotated[str, AfterValidator(addresses.web_page), Field(max_length=_MAX_URL_CHARS)] | None = Field(
        default=None, description="Where its documentation is."
    )
    tags: tuple[Line, ...] = Field(
        default=(), max_length=_MAX_ENTRIES, description="Words to find it by, in discovery."
    )
    protocol_versions: tuple[ProtocolVersion, ...] = Field(
        default=(), max_length=_MAX_ENTRIES, description="MCP versions that it speaks, such as 2026-07-28."
    )
    meta: dict[Annotated[str, AfterValidator(_meta_key)], Annotated[str, AfterValidator(_meta_value)]] = Field(
        default={}, max_length=MAX_META_KEYS, description="Words for operators; shown to nobody else."
    )
    headers: SecretHeaders = Field(
        default={}, max_length=_MAX_HEADERS, repr=False, description="Headers sent to the replica; never shown again."
    )
    ttl: Annotated[float, Duration(1.0, DAY_S, unlimited=True)] | None = Field(
        default=None,
        description="How long it holds without a beat, by default registry.ttl; 0: no beats, the gateway probes.",
    )
    deregister_critical_after: Annotated[float, Duration(1.0, 7 * DAY_S)] | None = Field(
        default=None, description="How long it stays when it is critical, by default three times the ttl."
    )


class Registration(Traits):
    """One replica as it was registered: the JSON body of ``PUT /v1/servers/{name}/replicas/{id}``."""

    REMEDIES: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("name", "server", "id", "replica"), _NAME_WHERE),
        **dict.fromkeys(("host", "port", "address", "endpoint"), _URL_WHERE),
        "basepath": "the public path stands in path",
        "tls": "certificates are for the local configuration only, expected a replica that needs none",
    }

    url: Annotated[
        str, AfterValidator(addresses.upstream_text), AfterValidator(_verifiable), Field(max_length=_MAX_URL_CHARS)
    ] = Field(
        description="http or https address of the replica, with its base path; no query, no password."
    )
    path: Annotated[str, AfterValidator(addresses.server_path), Field(max_length=_MAX_PATH_CHARS)] | None = Field(
        default=None, description="Public path of the server, by default /mcp/NAME."
    )
    version: Line | None = Field(default=None, description="Version of the server, in discovery; text.")

    def path_of(self, server: str) -> str:
        """Where a server of this name appears."""
        return self.path or f"/mcp/{server}"


class Listed(Registration):
    """One replica as another gateway lists it: a server behind that one. ``gateways`` are those it came through."""

    gateways: tuple[str, ...] = ()


def gateways_of(registration: Registration) -> tuple[str, ...]:
    """Ids of the gateways whose lists it came through, the nearest first."""
    return registration.gateways if isinstance(registration, Listed) else ()


# --- the simple form ------------------------------------------------------------------------------------------------

_FOR_PEOPLE = re.compile(r"[A-Za-z0-9 ._()&/:-]+")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._]+")
_VERSION_SEGMENT = re.compile(r"/(v[0-9]+)(?=/|\Z)")
_DIGEST_CHARS = 12  # 48 bits: hosts of one server do not meet by accident


def _server_of(name: str) -> str:
    """
    The name of a server after what people call it: ``GitHub Project Manager`` is ``github-project-manager``.

    A name that is one already stays as it is.
    """
    if len(name) > _MAX_TITLE_CHARS:
        raise ValueError(f"too long, expected at most {_MAX_TITLE_CHARS} characters")
    if _FOR_PEOPLE.fullmatch(name) is None:
        raise ValueError("not a name, expected letters, digits, blanks and . _ - ( ) & / :")
    return grammar.server_name(name if _is_name(name) else _NOT_IN_NAMES.sub("-", name.lower()).strip("._-"))


def _is_name(text: str) -> bool:
    try:
        return bool(grammar.name(text))
    except ValueError:
        return False


def _called(name: str) -> str:
    _server_of(name)
    return name


def _mount_path(text: str) -> str:
    """The public path; empty where none is given, or only the slash that servers without one send."""
    path = text.removesuffix("/")
    return addresses.server_path(path) if path else ""


def _bare_host(text: str) -> str:
    if "://" in text:
        raise ValueError("a URL, expected only its host, such as 127.0.0.1")
    if text.count(":") == 1 or "]:" in text:
        raise ValueError("a host with a port, expected the port under port")
    return addresses.authority(f"[{text}]" if ":" in text and "[" not in text else text).host


def _version_text(value: object) -> object:
    return str(value) if is_number(value) else value


class _SimpleForm(Traits):
    """The keys of ``POST /register`` as they are written there; those of the full form are taken, too."""

    REMEDIES: ClassVar[Mapping[str, str]] = {
        "url": "the address stands in host and port, expected no url here",
        "path": "the public path stands in basePath",
        "endpoint": "the address stands in host and port",
    }

    name: Annotated[str, AfterValidator(_called)] = Field(description="Name of the server.")
    version: Annotated[Line, BeforeValidator(_version_text, json_schema_input_type=str | float)] | None = Field(
        default=None, description="Version of the server, in discovery."
    )
    base_path: Annotated[str, AfterValidator(_mount_path), Field(max_length=_MAX_PATH_CHARS)] | None = Field(
        default=None, alias="basePath", description="Public path of the server, by default /mcp/NAME."
    )
    host: Annotated[str, AfterValidator(_bare_host)] = Field(description="Host name or address of the replica.")
    port: Annotated[int, Count(1, 65535)] = Field(description="Port of the replica.")
    # Who registers in this form does not say which of both it speaks, and sends no beats.
    endpoints: dict[TransportName, Annotated[EndpointPath, Field(max_length=_MAX_PATH_CHARS)]] = Field(
        default={"streamable-http": "/mcp", "sse": "/sse"}, min_length=1, description="Where it is spoken to."
    )


class Simple(NamedTuple):
    """
    A registration in the simple form.

    :ivar answered: what the answer repeats, in the words of that form: ``name``, ``version`` (if given), ``basePath``
        (the public path), ``host``, ``port``, ``endpoint`` (``host:port``).
    """

    server: str
    replica: str
    registration: Registration
    answered: dict[str, object]


def replica_id(host: str, port: int) -> str:
    """
    What a replica is called that has no id of its own; the same for the same address.

    :param host: as :func:`~mcpgate.values.addresses.authority` gives it.
    :returns: such as ``127.0.0.1-3010``; a digest stands for a host that makes no name.
    """
    # No host name has two dots side by side, and few begin with a label v6.
    plain = f"v6.{host.replace(':', '.')}-{port}" if ":" in host else f"{host}-{port}"
    return plain if _is_name(plain) else f"host-{hashlib.sha256(host.encode()).hexdigest()[:_DIGEST_CHARS]}-{port}"


def _versioned(server: str, path: str) -> str:
    """
    The name with the version of its path behind it: two versions are two servers.

    :raises RegistrationRefused: there is no room for it.
    """
    version = _VERSION_SEGMENT.search(path)
    if version is None or server.endswith(f"-{version[1]}"):
        return server
    try:
        return grammar.server_name(f"{server}-{version[1]}")
    except ValueError:
        raise RegistrationRefused.for_faults([("name", "too long with the version of basePath behind it")]) from None


# --- reading --------------------------------------------------------------------------------------------------------


def read_registration(body: bytes) -> Registration:
    """
    Read the full form.

    :raises RegistrationRefused: with all faults at once; those of the JSON itself stand alone.
    """
    return registration_of(read_object(body))


def registration_of(content: Mapping[str, object]) -> Registration:
    """
    Take the full form as it was read from JSON.

    :raises RegistrationRefused: with all faults at once.
    """
    return checked(Registration, content)


def read_simple(body: bytes) -> Simple:
    """
    Read the simple form: ``{"name", "version", "basePath", "host", "port"}``.

    :raises RegistrationRefused: with all faults at once; those of the JSON itself stand alone.
    """
    return simple_of(read_object(body))


def simple_of(content: Mapping[str, object]) -> Simple:
    """
    Take the simple form as it was read from JSON.

    :raises RegistrationRefused: with all faults at once.
    """
    form = checked(_SimpleForm, content)
    server = _versioned(_server_of(form.name), form.base_path or "")
    where = Authority(form.host, form.port)
    said = {key: getattr(form, key) for key in Traits.model_fields} | {"version": form.version}
    said["title"] = form.title or (None if _is_name(form.name) else form.name.strip())
    said["ttl"] = form.ttl or 0.0
    registration = Registration(url=f"http://{where}", path=form.base_path or None, **said)
    answered: dict[str, object] = {"name": form.name, "version": form.version} if form.version else {"name": form.name}
    answered |= {"basePath": registration.path_of(server), "host": form.host, "port": form.port, "endpoint": str(where)}
    return Simple(server, replica_id(form.host, form.port), registration, answered)


# --- kept and shown -------------------------------------------------------------------------------------------------


def stored(registration: Registration) -> bytes:
    """The registration as JSON with its secrets, for the store; :func:`restored` reads it back."""
    kept = registration.model_dump(mode="json", exclude={"headers"})
    return json.dumps(kept | {"headers": registration.headers}, sort_keys=True, separators=(",", ":")).encode()


def restored(raw: bytes) -> Registration:
    """
    The registration that was stored.

    :raises ValueError: nothing that this version understands; the message repeats no value.
    """
    try:
        return read_registration(raw)
    except RegistrationRefused as refused:
        raise ValueError(refused.text) from None


def shown(registration: Registration, server: str) -> dict[str, object]:
    """
    The registration for whoever may look: with the path of its server, and of its headers only the names.

    Durations are seconds. What was not said is not there.
    """
    told = registration.model_dump(mode="json", exclude={"headers"}, exclude_none=True)
    return told | {"path": registration.path_of(server), "headers": sorted(registration.headers)}
