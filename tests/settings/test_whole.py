"""The configuration as a whole: defaults, what must fit between its parts, and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from tests.settings.written import TOKEN, refused, server, settings

from mcpgate.settings import (
    AdminSettings,
    AdminToken,
    AllowanceSettings,
    AuthSettings,
    DemoSettings,
    DiscoverySettings,
    DrainSettings,
    GateSettings,
    GrantedToolsSettings,
    HeadersSettings,
    HttpSettings,
    IssuerSettings,
    LimitSettings,
    LoggingSettings,
    MatchSettings,
    MetricsSettings,
    RegistrySettings,
    Section,
    ServerSettings,
    SessionsSettings,
    Settings,
    SourceSettings,
    TimeoutSettings,
    TlsSettings,
    TokenSettings,
    ToolsSettings,
    TracingSettings,
    UpstreamSettings,
    schema,
)
from mcpgate.values.quantities import Rate

SECTIONS = [
    Settings,
    AdminSettings,
    AdminToken,
    HttpSettings,
    ServerSettings,
    UpstreamSettings,
    TlsSettings,
    TimeoutSettings,
    HeadersSettings,
    ToolsSettings,
    MetricsSettings,
    TracingSettings,
    AuthSettings,
    TokenSettings,
    GrantedToolsSettings,
    IssuerSettings,
    LimitSettings,
    MatchSettings,
    GateSettings,
    AllowanceSettings,
    SessionsSettings,
    LoggingSettings,
    DrainSettings,
    DemoSettings,
    RegistrySettings,
    SourceSettings,
    DiscoverySettings,
]


def test_defaults_of_the_gateway() -> None:
    """Loopback listeners, no trust in anybody, no demo."""
    found = Settings()
    assert found.listen == ("tcp:8700:interface=127.0.0.1",)
    assert found.admin.listen == ("tcp:8701:interface=127.0.0.1",)
    assert (found.public_url, found.trusted_proxies, found.servers, found.demo) == (None, (), (), None)
    assert (found.http.max_header_bytes, found.http.max_headers, found.http.max_body_bytes) == (
        32 * 1024,
        100,
        8 * 1024 * 1024,
    )
    assert (found.http.header_timeout, found.http.body_timeout) == (10.0, 60.0)
    assert (found.http.keepalive_timeout, found.http.send_timeout) == (75.0, 60.0)
    assert (found.auth.tokens, found.auth.tokens_file, found.auth.jwt, found.limits) == ((), None, (), ())
    assert (found.sessions.keys, found.sessions.keys_file) == ((), None)
    assert found.gate.connections == AllowanceSettings(rate=Rate(1000, 1), burst=10_000)
    assert found.gate.unauthenticated == AllowanceSettings(rate=Rate(50, 1), burst=200)
    assert found.gate.open_connections == 0
    assert (found.drain.delay, found.drain.timeout) == (0.0, 30.0)
    assert (found.logging.access, found.logging.format, found.logging.sample_2xx) == ("stdout", "auto", 1.0)


def test_listeners_must_not_share_an_address() -> None:
    """The same port twice would fail at start; it is told with the key that repeats it."""
    text = "the address of another listener of this gateway, expected one of its own"
    assert refused(Settings, listen="tcp:8701") == [("admin.listen", text)]
    assert refused(Settings, demo={"listen": "tcp:8700:interface=127.0.0.1"}) == [("demo.listen", text)]
    assert refused(Settings, demo={"listen": "tcp:8701:interface=127.0.0.1"}) == [("demo.listen", text)]


def test_public_url_is_an_origin() -> None:
    """Paths belong to servers, not to the gateway."""
    assert settings(public_url="https://Mcp.example.com:443").public_url == "https://mcp.example.com"
    assert "more than an origin" in refused(Settings, public_url="https://h/x")[0][1]
    assert "another scheme" in refused(Settings, public_url="ws://h")[0][1]


def test_the_origin_for_clients() -> None:
    """The public URL, else the first listener that has a URL, else nothing."""
    assert settings(public_url="https://h").origin == "https://h"
    assert settings(listen=["unix:/x", "tcp:1:interface=127.0.0.1"]).origin == "http://127.0.0.1:1"
    assert settings(listen="unix:/x").origin is None


def test_trusted_proxies_are_networks() -> None:
    """Networks of both families, and ready-made ones in code."""
    given = ["127.0.0.1/32", "fd00::/8", ip_network("10.0.0.0/8")]
    assert settings(trusted_proxies=given).trusted_proxies == (
        ip_network("127.0.0.1/32"),
        ip_network("fd00::/8"),
        ip_network("10.0.0.0/8"),
    )
    assert [where for where, _ in refused(Settings, trusted_proxies=["10.0.0.1/8", 5])] == [
        "trusted_proxies.0",
        "trusted_proxies.1",
    ]


def test_settings_can_be_shown_as_json() -> None:
    """Operators can be shown what is in force."""
    key = "k" * 32
    tokens = [TOKEN | {"expires": "2027-01-31"}]
    found = settings(
        trusted_proxies=["10.0.0.0/8"],
        auth={"tokens": tokens},
        servers=[server()],
        limits=[{"name": "a", "key": ["tool"], "rate": "600/m"}],
        sessions={"keys": [key]},
    ).model_dump(mode="json")
    assert found["auth"]["tokens"][0]["expires"] == "2027-01-31T00:00:00Z"
    assert (found["limits"][0]["rate"], found["limits"][0]["burst"]) == ("600/m", 10)
    assert found["gate"]["connections"] == {"rate": "1000/s", "burst": 10_000}
    assert key not in str(found)
    assert TOKEN["sha256"] not in str(found)
    assert found["trusted_proxies"] == ["10.0.0.0/8"]
    assert found["servers"][0]["upstreams"][0]["url"] == "http://127.0.0.1:3010"


def test_who_is_asked_for_a_token() -> None:
    """Everybody as soon as there is any token or issuer, unless a server says otherwise; else nobody."""
    issuer = {"issuer": "https://idp", "audience": "gw", "jwks_file": "keys.json"}
    servers = [server(), server(name="b", auth="none"), server(name="c", auth="upstream")]
    for auth in ({"tokens": [TOKEN]}, {"jwt": [issuer]}, {"tokens_file": "tokens.yaml"}):
        found = settings(auth=auth, servers=servers)
        assert [found.auth_of(each) for each in found.servers] == ["required", "none", "upstream"]
    found = settings(servers=servers)
    assert [found.auth_of(each) for each in found.servers] == ["none", "none", "upstream"]


def test_a_file_of_tokens_without_tokens_lets_nobody_in() -> None:
    """Whoever takes the last token out of the file does not open the gateway to everybody."""
    found = settings(auth={"tokens_file": "tokens.yaml"}, servers=[server(), server(name="b", auth="required")])
    assert [found.auth_of(each) for each in found.servers] == ["required", "required"]


def test_a_token_is_not_asked_for_where_nobody_has_one() -> None:
    """A server that nobody could use is a mistake."""
    servers = [server(), server(name="b", auth="required")]
    ((where, why),) = refused(Settings, servers=servers)
    assert where == "servers.1.auth"
    assert why.endswith("so nobody could pass; make one with: mcpgate token new NAME")
    assert settings(auth={"tokens": [TOKEN]}, servers=servers).servers[1].auth == "required"


@pytest.mark.parametrize(
    ("key", "value"),
    [("scopes", ["a"]), ("tool_scopes", {"x": ["a"]}), ("upstream_credentials", {"alice": {"set": {"X-Key": "k"}}})],
)
def test_what_depends_on_who_calls_needs_somebody_who_asks(key: str, value: Any) -> None:
    """Protection that would be of no effect is refused rather than ignored."""
    for auth, kind in (({}, "none"), ({"auth": "none"}, "none"), ({"auth": "upstream"}, "upstream")):
        ((where, why),) = refused(Settings, servers=[server(**{key: value}, **auth)])
        assert where == f"servers.0.{key}"
        assert why.startswith(f"of no effect with auth: {kind}")
    assert getattr(settings(auth={"tokens": [TOKEN]}, servers=[server(**{key: value})]).servers[0], key)


def test_faults_of_auth_are_not_told_again_at_the_servers() -> None:
    """A token that is mended may be the one that a server needs."""
    found = refused(Settings, auth={"tokens": [{}]}, servers=[server(auth="required")])
    assert [where for where, _ in found] == ["auth.tokens.0.id", "auth.tokens.0.sha256"]


def test_names_of_limits_are_unique() -> None:
    """A client is told which limit it has met."""
    limit = {"name": "a", "key": ["address"], "rate": "1/s"}
    assert [where for where, _ in refused(Settings, limits=[limit, limit])] == ["limits.1.name"]


def test_a_reload_sees_which_parts_did_not_change() -> None:
    """Parts are compared one by one."""
    written = {"auth": {"tokens": [TOKEN]}, "servers": [server()], "gate": {"connections": None}}
    before, after = settings(**written), settings(**written, sessions={"keys": ["k" * 32]})
    assert (before.auth, before.servers, before.gate) == (after.auth, after.servers, after.gate)
    assert before.sessions != after.sessions
    assert before.auth != settings(auth={"tokens": [TOKEN | {"sha256": "cd" * 32}]}).auth


def test_server_names_and_paths_are_unique() -> None:
    """Also when one path is a default and the other is written."""
    assert [where for where, _ in refused(Settings, servers=[server(), server(path="/x")])] == ["servers.1.name"]
    found = refused(Settings, servers=[server(), server(name="b", path="/mcp/a")])
    assert [where for where, _ in found] == ["servers.1.path"]
    assert [where for where, _ in refused(Settings, servers=[server(), server()])] == ["servers.1.name"]


def test_a_short_path_may_stand_above_others() -> None:
    """/mcp does not swallow /mcp/b: the longest path wins."""
    found = settings(servers=[server(path="/mcp"), server(name="b")])
    assert [each.path for each in found.servers] == ["/mcp", "/mcp/b"]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_is_described_in_one_sentence(section: type[Section]) -> None:
    """Whoever hovers over a key in an editor learns what it is for."""
    for name, field in section.model_fields.items():
        text = field.description or ""
        assert text.endswith("."), f"{section.__name__}.{name}"
        assert text[0].isupper() or text.startswith("http")


def descriptions(part: Any) -> Iterator[Any]:
    """All properties that a JSON Schema names."""
    for definition in [part, *part["$defs"].values()]:
        yield from definition["properties"].items()


def test_the_schema_describes_every_key() -> None:
    """The schema has all sections and a description on each key, and no key beyond the known ones."""
    found = schema()
    assert {each.__name__ for each in SECTIONS} - {"Settings"} == set(found["$defs"])
    assert all("description" in about for _, about in descriptions(found))
    assert all(found["$defs"][name]["additionalProperties"] is False for name in found["$defs"])


def test_defaults_in_the_schema_are_written_as_in_the_file() -> None:
    """An editor that fills in a default writes 10s and 8MiB."""
    http = schema()["$defs"]["HttpSettings"]["properties"]
    assert (http["header_timeout"]["default"], http["max_body_bytes"]["default"]) == ("10s", "8MiB")
    assert (http["max_headers"]["default"], http["allowed_hosts"]["default"]) == (100, [])


def test_the_schema_allows_a_part_without_lines() -> None:
    """An editor accepts what the gateway accepts: a part in which every line is a comment."""
    found = schema()["$defs"]
    assert found["HttpSettings"]["type"] == ["object", "null"]
    assert found["ServerSettings"]["type"] == "object"


def test_the_schema_is_the_same_each_time() -> None:
    """Two calls give the same text, so that the committed file can be compared."""
    assert repr(schema()) == repr(schema())


def test_who_needs_a_token_of_the_gateway() -> None:
    """Where only issuers are known, clients fetch one by themselves."""
    tokens = {"tokens": [{"id": "alice", "sha256": "a" * 64}]}
    issuers = {"jwt": [{"issuer": "https://idp.example", "audience": "x", "jwks_url": "https://idp.example/keys"}]}
    upstreams = [{"url": "http://127.0.0.1:1"}]
    for auth, kind, expected in (
        (tokens, None, True),
        (tokens | issuers, None, True),
        (issuers, None, False),
        (tokens, "none", False),
        (tokens, "upstream", False),
        ({}, None, False),
    ):
        server = {"name": "x", "upstreams": upstreams} | ({"auth": kind} if kind else {})
        found = Settings.model_validate({"auth": auth, "servers": [server]})
        assert found.asks_for_token(found.servers[0]) is expected
