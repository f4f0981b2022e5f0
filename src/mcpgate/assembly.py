"""From settings to what runs: servers with their replicas, route tables, allowed names. Opens nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates

from mcpgate.entitlement import seals, terms_of
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.balance import RoundRobin
from mcpgate.policy.origin import LOOPBACK_NAMES, AllowedOrigins
from mcpgate.policy.routing import RouteTable
from mcpgate.policy.sessions import replica_tag
from mcpgate.settings import ServerSettings, Settings, TlsSettings, UpstreamSettings
from mcpgate.snapshot import Route
from mcpgate.upstream.pool import Environment, Replica
from mcpgate.upstream.server import Placement, Server
from mcpgate.values.addresses import UpstreamUrl, listen_address
from mcpgate.wire.mapping import PathMap
from mcpgate.wire.metadata import WELL_KNOWN

#: What an own address may be sent: registrations and the like are far smaller.
LOCAL_BODY_BYTES = 1 << 20

DATA_PATHS = (b"/mcp/discovery",)


class AssemblyFault(Exception):
    """Something that the configuration names cannot be used; the text says what and where."""


def servers_of(
    settings: Settings, running: Mapping[str, Server], environment: Environment, rundir: str
) -> dict[str, Server]:
    """
    The servers of a configuration, by name. One that has not changed is the running one; a replica that stays keeps its
    connections, and a server its streams.

    :raises AssemblyFault: a certificate that cannot be read.
    """
    servers = {}
    for wanted in settings.servers:
        present = running.get(wanted.name)
        if present is not None and present.settings == wanted:
            servers[wanted.name] = present
            continue
        server = servers[wanted.name] = _server(wanted, _replicas(wanted, present, environment, rundir))
        if present is not None and not set(server.replicas).isdisjoint(present.replicas):
            server.take_over(present)
    return servers


def _replicas(
    wanted: ServerSettings, present: Server | None, environment: Environment, rundir: str
) -> list[Replica]:
    """One for each upstream: the running one, if nothing has changed that concerns its connections."""
    running = {}
    if present is not None and present.settings.timeouts.connect == wanted.timeouts.connect:
        running = dict(zip(map(_dialled, present.settings.upstreams), present.replicas, strict=True))
    return [
        running.get(_dialled(upstream)) or _replica(wanted, index, environment, rundir)
        for index, upstream in enumerate(wanted.upstreams)
    ]


def _dialled(upstream: UpstreamSettings) -> tuple[str, int, TlsSettings | None, str]:
    """What of an upstream its connections depend on."""
    address = upstream.address
    return address.host, address.port, upstream.tls, address.scheme


def _replica(settings: ServerSettings, index: int, environment: Environment, rundir: str) -> Replica:
    upstream = settings.upstreams[index]
    where = f"servers.{settings.name}.upstreams[{index}]"
    tls = _tls(where, upstream, rundir) if upstream.address.scheme == "https" else None
    return Replica(upstream, settings.timeouts.connect, tls, environment)


def _server(settings: ServerSettings, replicas: Sequence[Replica]) -> Server:
    upstreams = settings.upstreams
    placements = [_placement(settings, *each) for each in zip(upstreams, replicas, strict=True)]
    return Server(settings, placements, RoundRobin([upstream.weight for upstream in upstreams]))


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


def data_routes(settings: Settings, servers: Mapping[str, Server]) -> RouteTable[Route]:
    """
    The route table of the data listener.

    Metadata needs no token, wherever a client looks for it: in front of the path, or behind that of a server whose
    tokens the gateway checks. What a server does not serve itself is the server's own below its path.
    """
    routes: dict[bytes, Route] = {}
    for server in servers.values():
        path, terms = server.settings.path.encode("ascii"), terms_of(settings, server.settings)
        bound = server.settings.max_body_bytes or settings.http.max_body_bytes
        routes[path] = Route(server, bound, "", terms, seals(settings, server.settings))
        if terms.auth is Auth.REQUIRED and settings.auth.jwt:
            routes[path + WELL_KNOWN] = Route(None, LOCAL_BODY_BYTES)
    welcome = Terms(Auth.WELCOME) if settings.auth.knows_somebody else Terms()
    routes |= dict.fromkeys(DATA_PATHS, Route(None, LOCAL_BODY_BYTES, "", welcome))
    return RouteTable({**routes, WELL_KNOWN: Route(None, LOCAL_BODY_BYTES)})


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
