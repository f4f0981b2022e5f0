"""From settings to what runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.ends import server

from mcpgate.assembly import (
    LOCAL_BODY_BYTES,
    AssemblyFault,
    Grounds,
    admin_origins,
    admin_routes,
    data_origins,
    own_routes,
    routes_of,
    server_of,
)
from mcpgate.config import parse
from mcpgate.net.deadlines import Deadlines
from mcpgate.policy.egress import Egress
from mcpgate.policy.routing import RouteTable
from mcpgate.settings import RegisteredUpstream, ServerSettings, Settings, UpstreamSettings
from mcpgate.testing import GatewayUnderTest
from mcpgate.upstream.pool import Environment
from mcpgate.upstream.resolver import Resolver
from mcpgate.upstream.server import Server


def _settings(text: str, rundir: str = ".") -> Settings:
    return parse(text, "gate.yaml", {}, rundir=rundir)


def servers_of(
    settings: Settings, running: Mapping[str, Server], environment: Environment, rundir: str
) -> dict[str, Server]:
    """All servers of a configuration."""
    grounds = Grounds(environment, replace(environment), rundir)
    return {each.name: server_of(each, running.get(each.name), grounds) for each in settings.servers}


def _environment() -> Environment:
    clock = GatewayUnderTest().reactor
    resolver = Resolver(lambda host: None, clock.seconds)  # type: ignore[arg-type,return-value]  # nothing is dialled here
    return Environment(clock, resolver, Deadlines(clock.callLater, clock.seconds, on_error=print), clock.seconds)


@pytest.fixture(scope="module")
def environment() -> Environment:
    """What replicas are given."""
    return _environment()


def test_a_server_is_told_its_address(environment: Environment) -> None:
    """The line that every request to it carries, and where it is."""
    text = server("headers: {set: {X-Key: key}}", url="http://h.example:3010/base")
    built = servers_of(_settings(text), {}, environment, ".")["x"]
    (placement,) = built.placements
    replica = placement.replica
    assert (placement.authority, placement.paths.base) == (b"Host: h.example:3010\r\n", b"/base")
    assert (replica.host, replica.port, replica.tls) == ("h.example", 3010, None)
    assert repr(built) == "<Server x: 0 open, [<Replica h.example:3010: 0 open, 0 idle>]>"


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://h", b"h"),
        ("http://h:80", b"h"),
        ("http://h:443", b"h:443"),
        ("https://h", b"h"),
        ("https://h:443", b"h"),
        ("https://h:80", b"h:80"),
        ("http://[::1]:3010", b"[::1]:3010"),
        ("http://[::1]", b"[::1]"),
    ],
)
def test_the_host_field_of_an_upstream(environment: Environment, url: str, authority: bytes) -> None:
    """RFC 9110 section 7.2: no default port, IPv6 in brackets."""
    built = servers_of(_settings(server(url=url)), {}, environment, ".")["x"]
    assert built.placements[0].authority == b"Host: " + authority + b"\r\n"


def test_an_unchanged_server_is_the_running_one(environment: Environment) -> None:
    """With its connections and streams; a changed one is new."""
    one = _settings(server())
    running = servers_of(one, {}, environment, ".")
    assert servers_of(_settings("# a comment\n" + server()), running, environment, ".")["x"] is running["x"]
    for more in ("timeouts: {connect: 9s}", "title: X", "path: /x", "headers: {set: {A: b}}"):
        assert servers_of(_settings(server(more)), running, environment, ".")["x"] is not running["x"]


def test_a_replica_that_stays_keeps_its_connections(environment: Environment) -> None:
    """Whatever else changes about its server, and wherever it stands in the list."""
    running = servers_of(_settings(_two("http://a:1/base", "http://b:2")), {}, environment, ".")
    kept = servers_of(_settings(_two("http://b:2", "http://a:1")), running, environment, ".")["x"]
    assert kept.replicas == list(reversed(running["x"].replicas))
    assert kept.relays is running["x"].relays
    one_new = servers_of(_settings(_two("http://c:3", "http://a:1/base")), running, environment, ".")["x"]
    assert one_new.replicas[1] is running["x"].replicas[0]
    assert one_new.replicas[0] not in running["x"].replicas
    others = servers_of(_settings(_two("http://c:3", "https://a:1/base")), running, environment, ".")["x"]
    assert set(others.replicas).isdisjoint(running["x"].replicas)
    assert others.relays is not running["x"].relays


def _two(first: str, second: str) -> str:
    return f'servers: [{{name: x, upstreams: [{{url: "{first}"}}, {{url: "{second}"}}]}}]'


@pytest.mark.parametrize(
    ("tls", "says"),
    [
        ("{ca_file: empty.pem}", "empty.pem"),
        ("{cert_file: empty.pem}", "tls"),
        ("{cert_file: empty.pem, key_file: empty.pem}", "tls"),
    ],
)
def test_certificates_that_cannot_be_used_are_one_clear_fault(
    environment: Environment, tmp_path: Path, tls: str, says: str
) -> None:
    """It names the server, the key and the file, relative to the run directory."""
    (tmp_path / "empty.pem").write_bytes(b"nothing\n")
    text = f'servers: [{{name: x, upstreams: [{{url: "https://h", tls: {tls}}}]}}]'
    with pytest.raises(AssemblyFault, match=r"servers\.x\.upstreams\[0\]\.tls: ") as fault:
        servers_of(_settings(text, str(tmp_path)), {}, environment, str(tmp_path))
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_https_is_always_verified(environment: Environment) -> None:
    """Also without a word about it in the configuration."""
    built = servers_of(_settings(server(url="https://h.example")), {}, environment, ".")["x"]
    assert built.replicas[0].tls is not None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/mcp/x/a", ("x", 1000)),
        (b"/mcp/y", ("y", 7)),
        (b"/mcp/discovery", (None, LOCAL_BODY_BYTES)),
        (b"/mcp/discovery/below", (None, LOCAL_BODY_BYTES)),
        (b"/.well-known/oauth-protected-resource", (None, LOCAL_BODY_BYTES)),
        (b"/.well-known/oauth-authorization-server", None),
        (b"/livez", None),
        (b"/", None),
    ],
)
def test_routes_of_the_data_listener(environment: Environment, path: bytes, expected: Any) -> None:
    """Servers with their body limits, and the gateway's own addresses."""
    settings = _settings(
        "http: {max_body_bytes: 1000}\nservers:\n"
        '  - {name: x, upstreams: [{url: "http://h"}]}\n'
        '  - {name: y, max_body_bytes: 7, upstreams: [{url: "http://h"}]}\n'
    )
    routes = own_routes(settings)
    for built in servers_of(settings, {}, environment, ".").values():
        routes |= routes_of(settings, built)
    route = RouteTable(routes).find(path)
    found = None if route is None else (route.server.name if route.server else None, route.max_body_bytes)
    assert found == expected


@pytest.mark.parametrize(
    ("listen", "path", "scope"),
    [
        ("tcp:8701:interface=127.0.0.1", b"/livez", ""),
        ("tcp:8701:interface=127.0.0.1", b"/readyz", ""),
        ("tcp:8701:interface=127.0.0.1", b"/healthz", ""),
        ("tcp:8701:interface=127.0.0.1", b"/admin/config", ""),
        ("tcp:8701:interface=127.0.0.1", b"/admin/reload", "write"),
        ("tcp:8701:interface=127.0.0.1", b"/register", "register"),
        ("tcp:8701:interface=127.0.0.1", b"/refresh", "register"),
        ("tcp:8701:interface=127.0.0.1", b"/v1/servers/x/replicas/r1", ""),
        ("tcp:8701", b"/mcps", "read"),
        ("tcp:8701", b"/v1/events", "read"),
        ("tcp:8701", b"/livez", ""),
        ("tcp:8701", b"/readyz", ""),
        ("tcp:8701", b"/admin/config", "read"),
        ("tcp:8701", b"/admin/reload", "write"),
        ("[tcp:8701:interface=127.0.0.1, tcp:8702]", b"/admin/config", "read"),
        ("unix:/run/x.sock", b"/admin/config", ""),
    ],
)
def test_what_an_admin_token_is_needed_for(listen: str, path: bytes, scope: str) -> None:
    """Health never, reading elsewhere than on loopback, writing always."""
    route = admin_routes(
        _settings(f"admin: {{listen: {listen if listen[0] == '[' else repr(listen)}}}\nservers: []")
    ).find(path)
    assert route is not None
    assert route.scope == scope


@pytest.mark.parametrize(
    ("text", "host", "admitted"),
    [
        ("", b"localhost", True),
        ("", b"example.com", False),
        ("listen: 'tcp:8700'", b"example.com", True),
        ("listen: ['tcp:8700', 'tcp:8705:interface=127.0.0.1']", b"example.com", True),
        ("listen: 'tcp:8700'\npublic_url: https://example.com", b"example.com", True),
        ("listen: 'tcp:8700'\npublic_url: https://example.com", b"localhost", False),
        ("public_url: https://example.com:8443", b"example.com:8443", True),
        ("public_url: https://example.com:8443", b"example.com", False),
        ("http: {allowed_hosts: [a.example]}", b"a.example", True),
        ("http: {allowed_hosts: [a.example]}", b"localhost", True),
    ],
)
def test_which_hosts_the_data_listener_answers_to(text: str, host: bytes, admitted: bool) -> None:
    """Loopback names on a loopback bind, and what the configuration names; with neither, any."""
    assert data_origins(_settings(f"{text}\nservers: []")).admits_host(host) is admitted


@pytest.mark.parametrize(
    ("listen", "host", "origin", "admitted"),
    [
        ("tcp:8701:interface=127.0.0.1", b"localhost", b"http://localhost", (True, True)),
        ("tcp:8701:interface=127.0.0.1", b"example.com", b"http://example.com", (False, False)),
        ("tcp:8701", b"example.com", b"http://example.com", (True, False)),
    ],
)
def test_which_hosts_the_admin_listener_answers_to(
    listen: str, host: bytes, origin: bytes, admitted: tuple[bool, bool]
) -> None:
    """No web page has business there."""
    origins = admin_origins(_settings(f"admin: {{listen: '{listen}'}}\nservers: []"))
    assert (origins.admits_host(host), origins.admits_origin(origin)) == admitted


@pytest.mark.parametrize("path", [b"/mcps/x", b"/v1/servers/x/replicas/r1", b"/register"])
def test_whoever_registers_needs_the_scope_for_it(path: bytes) -> None:
    """Also from loopback, where everybody may read."""
    route = admin_routes(_settings("servers: []")).find(path)
    assert route is not None
    assert "register" in (route.scope, route.writing)


def test_what_joins_is_never_dialled_on_its_own_word(environment: Environment) -> None:
    """Replicas of the configuration are trusted, others are looked at before each connect."""
    guarded = replace(environment)
    joined = RegisteredUpstream(url="http://h:2", replica="r1", origin="api")
    settings = ServerSettings(name="x", upstreams=(UpstreamSettings(url="http://h:1"), joined))
    built = server_of(settings, None, Grounds(environment, guarded, "."))
    assert [replica.environment for replica in built.replicas] == [environment, guarded]
    other_rules = Grounds(environment, replace(environment, rules=lambda: Egress(())), ".")
    assert built.replicas[1] is server_of(settings, built, Grounds(environment, guarded, ".")).replicas[1]
    assert built.replicas[0] is server_of(settings, built, other_rules).replicas[0]
    assert built.replicas[1] is not server_of(settings, built, other_rules).replicas[1]
