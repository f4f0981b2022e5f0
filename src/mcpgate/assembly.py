"""From settings to what runs: servers with their replicas, route tables, allowed names. Opens nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates

from mcpgate.catalog.cards import card_paths
from mcpgate.entitlement import seals, terms_of
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.balance import RoundRobin
from mcpgate.policy.origin import LOOPBACK_NAMES, AllowedOrigins
from mcpgate.policy.routing import RouteTable
from mcpgate.policy.sessions import replica_tag
from mcpgate.settings import RegisteredUpstream, ServerSettings, Settings, TlsSettings, UpstreamSettings
from mcpgate.snapshot import Route
from mcpgate.upstream.pool import Environment, Replica
from mcpgate.upstream.server import Placement, Server
from mcpgate.values.addresses import UpstreamUrl, listen_address
from mcpgate.wire.mapping import PathMap
from mcpgate.wire.metadata import WELL_KNOWN

#: What an own address may be sent; a registration with all that it may hold has about 40 KiB.
LOCAL_BODY_BYTES = 1 << 16

DATA_PATHS = (b"/mcp/discovery", b"/v0.1", b"/.well-known/ai-catalog.json")


class AssemblyFault(Exception):
    """Something that the configuration names cannot be used; the text says what and where."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """
    What servers are built on.

    :ivar trusted: for replicas of the configuration.
    :ivar guarded: for those that are somebody else's word: it looks at the address before each connect.
    :ivar rundir: where relative paths begin.
    """

    trusted: Environment
    guarded: Environment
    rundir: str

    def under(self, upstream: UpstreamSettings) -> Environment:
        """What a replica's connections are made in."""
        return self.guarded if isinstance(upstream, RegisteredUpstream) else self.trusted


def server_of(wanted: ServerSettings, present: Server | None, grounds: Grounds) -> Server:
    """
    A server as it is wanted. If nothing has changed it is the present one; a replica that stays keeps its connections,
    and a server its streams.

    :raises AssemblyFault: a certificate that cannot be read.
    """
    if present is not None and present.settings is wanted and _stands_on(present, grounds):
        return present
    replicas = _replicas(wanted, present, grounds)
    if present is not None and present.settings == wanted and replicas == present.replicas:
        return present
    server = _server(wanted, replicas)
    if present is not None and not set(server.replicas).isdisjoint(present.replicas):
        server.take_over(present)
    return server


def _stands_on(server: Server, grounds: Grounds) -> bool:
    pairs = zip(server.settings.upstreams, server.placements, strict=True)
    return all(placement.replica.environment is grounds.under(upstream) for upstream, placement in pairs)


def _replicas(wanted: ServerSettings, present: Server | None, grounds: Grounds) -> list[Replica]:
    """One for each upstream: the running one, if nothing has changed that concerns its connections."""
    running = {}
    if present is not None and present.settings.timeouts.connect == wanted.timeouts.connect:
        running = {
            (_dialled(upstream), replica.environment): replica
            for upstream, replica in zip(present.settings.upstreams, present.replicas, strict=True)
            if not replica.is_retired
        }
    return [
        running.get((_dialled(upstream), grounds.under(upstream))) or _replica(wanted, index, grounds)
        for index, upstream in enumerate(wanted.upstreams)
    ]


def _dialled(upstream: UpstreamSettings) -> tuple[str, int, TlsSettings | None, str]:
    """What of an upstream its connections depend on."""
    address = upstream.address
    return address.host, address.port, upstream.tls, address.scheme


def _replica(settings: ServerSettings, index: int, grounds: Grounds) -> Replica:
    upstream = settings.upstreams[index]
    where = f"servers.{settings.name}.upstreams[{index}]"
    tls = _tls(where, upstream, grounds.rundir) if upstream.address.scheme == "https" else None
    return Replica(upstream, settings.timeouts.connect, tls, grounds.under(upstream))


def _server(settings: ServerSettings, replicas: Sequence[Replica]) -> Server:
    upstreams = settings.upstreams
    placements = [_placement(settings, *each) for each in zip(upstreams, replicas, strict=True)]
    return Server(settings, placements, RoundRobin([upstream.weight for upstream in upstreams] or [1]))


def _placement(settings: ServerSettings, upstream: UpstreamSettings, replica: Replica) -> Placement:
    address = upstream.address
    authority = _authority(address)
    paths = PathMap(
        settings.path.encode("ascii"),
        address.scheme.encode("ascii"),
        authority.encode("ascii"),
        address.base_path.encode("ascii"),
        settings.strip_prefix,
        tuple(alias.encode("ascii") for alias in settings.upstream_aliases),
    )
    return Placement(replica, paths, f"Host: {authority}\r\n".encode("latin-1"), replica_tag(upstream.url))


def _authority(address: UpstreamUrl) -> str:
    """Host and port as a Host field writes them (RFC 9110 section 7.2)."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return host if address.port == {"http": 80, "https": 443}[address.scheme] else f"{host}:{address.port}"


def _tls(where: str, upstream: UpstreamSettings, rundir: str) -> IOpenSSLClientConnectionCreator:
    """How to speak TLS to an upstream: always verified, against the system's authorities or a file's."""
    chosen = upstream.tls
    host = (chosen and chosen.server_name) or upstream.address.host
    try:
        trust = certificate = None
        if chosen is not None and chosen.ca_file is not None:
            trust = trustRootFromCertificates(_certificates(os.path.join(rundir, chosen.ca_file)))
        if chosen is not None and chosen.cert_file is not None:
            files = [chosen.cert_file, *([chosen.key_file] if chosen.key_file else [])]
            pem = b"\n".join(_read(os.path.join(rundir, file)) for file in files)
            certificate = PrivateCertificate.loadPEM(pem)
        return optionsForClientTLS(host, trustRoot=trust, clientCertificate=certificate)
    except Exception as error:  # OpenSSL raises whatever it likes
        raise AssemblyFault(f"{where}.tls: cannot be used: {error}")


def _certificates(path: str) -> list[Certificate]:
    mark = b"-----BEGIN CERTIFICATE-----"
    found = [Certificate.loadPEM(mark + part) for part in _read(path).split(mark)[1:]]
    if not found:
        raise ValueError(f"{path} holds no PEM certificate")
    return found


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def rules_of(settings: Settings) -> object:
    """What of the settings the routes of a server depend on, beside the server's own; for comparison."""
    return settings.auth, settings.http.max_body_bytes, settings.discovery, settings.public_url


def routes_of(settings: Settings, server: Server) -> dict[bytes, Route]:
    """
    What of the data listener's paths a server has.

    Metadata needs no token, also where a client looks for it behind the path of a server whose tokens the gateway
    checks. What a server does not serve itself is the server's own below its path.
    """
    path, terms = server.settings.path.encode("ascii"), terms_of(settings, server.settings)
    bound = server.settings.max_body_bytes or settings.http.max_body_bytes
    routes = {path: Route(server, bound, "", terms, seals(settings, server.settings))}
    if terms.auth is Auth.REQUIRED and settings.auth.jwt:
        routes[path + WELL_KNOWN] = Route(None, LOCAL_BODY_BYTES)
    if server.settings.card:
        routes |= dict.fromkeys((card.encode("ascii") for card in card_paths(server.settings)), _public(settings))
    return routes


def own_routes(settings: Settings) -> dict[bytes, Route]:
    """What of the data listener's paths is the gateway's own."""
    return {**dict.fromkeys(DATA_PATHS, _public(settings)), WELL_KNOWN: Route(None, LOCAL_BODY_BYTES)}


def _public(settings: Settings) -> Route:
    """What is told to everybody, and to who has a token some more."""
    welcome = Terms(Auth.WELCOME) if settings.auth.knows_somebody else Terms()
    any_origin = settings.discovery.any_origin
    if any_origin is None:
        any_origin = settings.public_url is not None
    return Route(None, LOCAL_BODY_BYTES, "", welcome, any_origin=any_origin)


def admin_routes(settings: Settings) -> RouteTable[Route]:
    """The route table of the admin listener: reading is open on a loopback bind only, writing never."""
    everywhere = Route(None, LOCAL_BODY_BYTES)
    reading = everywhere if _is_loopback(settings.admin.listen) else Route(None, LOCAL_BODY_BYTES, "read")
    return RouteTable(
        {
            # The page itself tells nothing: it asks for what it shows, with a token where one is needed.
            **dict.fromkeys((b"/", b"/livez", b"/readyz", b"/healthz"), everywhere),
            **dict.fromkeys((b"/admin/config", b"/metrics", b"/status", b"/status.txt"), reading),
            b"/admin/log-levels": replace(reading, writing="write"),
            **dict.fromkeys((b"/mcps", b"/v1"), replace(reading, writing="register")),
            **dict.fromkeys((b"/register", b"/refresh"), Route(None, LOCAL_BODY_BYTES, "register")),
            b"/admin/reload": Route(None, LOCAL_BODY_BYTES, "write"),
        }
    )


def _is_loopback(listen: tuple[str, ...]) -> bool:
    return all(listen_address(text).is_loopback for text in listen)


def data_origins(settings: Settings) -> AllowedOrigins:
    """What the data listener answers to: loopback names on a loopback bind, and what the configuration names."""
    hosts = [*settings.http.allowed_hosts]
    if settings.public_url is not None:
        hosts.append(settings.public_url.partition("://")[2])
    any_host = not hosts and not _is_loopback(settings.listen)
    if _is_loopback(settings.listen):
        hosts.extend(LOOPBACK_NAMES)
    return AllowedOrigins(hosts, settings.http.allowed_origins, any_host)


def admin_origins(settings: Settings) -> AllowedOrigins:
    """Likewise for the admin listener, which no web page has business with."""
    if _is_loopback(settings.admin.listen):
        return AllowedOrigins(LOOPBACK_NAMES)
    return AllowedOrigins((), any_host=True)
