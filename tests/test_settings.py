"""Every knob: defaults, bounds, and values that must fit together."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mcpgate import settings as module
from mcpgate.settings import (
    AdminSettings,
    AdminToken,
    DemoSettings,
    DrainSettings,
    HeadersSettings,
    HttpSettings,
    LoggingSettings,
    Section,
    ServerSettings,
    Settings,
    TimeoutSettings,
    TlsSettings,
    UpstreamSettings,
    schema,
)
from mcpgate.values.addresses import UpstreamUrl

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
    LoggingSettings,
    DrainSettings,
    DemoSettings,
]

UPSTREAM = {"url": "http://127.0.0.1:3010"}


def server(**values: Any) -> dict[str, Any]:
    """A complete server as it is written, with some values changed."""
    return {"name": "a", "upstreams": [UPSTREAM]} | values


def settings(**values: Any) -> Settings:
    """Settings from values as they are written."""
    return Settings.model_validate(values)


def refused(section: type[BaseModel], **values: Any) -> list[tuple[str, str]]:
    """Where and why values are refused."""
    with pytest.raises(ValidationError) as caught:
        section.model_validate(values)
    return [
        (".".join(map(str, line["loc"])), line["msg"].removeprefix("Value error, "))
        for line in caught.value.errors()
        if line["type"] != "default_factory_not_called"
    ]


def test_a_server_needs_a_name_and_a_url() -> None:
    """Everything else has a default."""
    (found,) = Settings.model_validate({"servers": [server()]}).servers
    assert found.path == "/mcp/a"
    assert found.endpoints == {"streamable-http": "/mcp"}
    assert (found.auth, found.strip_prefix, found.max_body_bytes) == ("none", True, None)
    assert (found.timeouts.connect, found.timeouts.response) == (3.0, 300.0)
    assert (found.timeouts.stream_idle, found.timeouts.tunnel_idle) == (0.0, 0.0)
    assert found.upstreams[0].address == UpstreamUrl("http", "127.0.0.1", 3010, "")


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
    assert (found.drain.delay, found.drain.timeout) == (0.0, 30.0)
    assert (found.logging.access, found.logging.format, found.logging.sample_2xx) == ("stdout", "json", 1.0)


def test_settings_made_in_code_are_checked_like_written_ones() -> None:
    """There is no way around the checks."""
    with pytest.raises(ValidationError):
        UpstreamSettings(url="ftp://h")
    with pytest.raises(ValidationError):
        HttpSettings(header_timeout=0)


def test_nothing_can_be_changed_or_added() -> None:
    """Settings are the same for everybody who holds them."""
    found = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        found.public_url = "http://h"
    assert refused(Settings, liste="x") == [("liste", "Extra inputs are not permitted")]


def test_equal_settings_are_equal() -> None:
    """A reload sees which servers did not change."""
    assert ServerSettings.model_validate(server()) == ServerSettings.model_validate(server())
    assert ServerSettings.model_validate(server()) != ServerSettings.model_validate(server(title="x"))


def test_one_listener_or_several() -> None:
    """A listen address may be text or a list of texts."""
    assert settings(listen="tcp:1").listen == ("tcp:1",)
    assert settings(listen=["tcp:1", "unix:/x"]).listen == ("tcp:1", "unix:/x")
    assert [where for where, _ in refused(Settings, listen=[])] == ["listen"]
    assert [where for where, _ in refused(Settings, listen=["tcp:1", "tcp:x"])] == ["listen.1"]


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
    found = settings(trusted_proxies=["10.0.0.0/8"], servers=[server()]).model_dump(mode="json")
    assert found["trusted_proxies"] == ["10.0.0.0/8"]
    assert found["servers"][0]["upstreams"][0]["url"] == "http://127.0.0.1:3010"


def test_admin_tokens() -> None:
    """A hash, a name and at least one known scope."""
    token = {"id": "ops", "sha256": "AB" * 32, "scopes": ["read", "write"]}
    (found,) = AdminSettings.model_validate({"tokens": [token]}).tokens
    assert (found.id, found.sha256, found.scopes) == ("ops", "ab" * 32, frozenset({"read", "write"}))
    assert "sha256sum" in refused(AdminToken, **token | {"sha256": "clear-text"})[0][1]
    assert [where for where, _ in refused(AdminToken, **token | {"scopes": []})] == ["scopes"]
    assert [where for where, _ in refused(AdminToken, **token | {"scopes": ["red"]})] == ["scopes.0"]
    assert [where for where, _ in refused(AdminSettings, tokens=[token, token])] == ["tokens.1.id"]


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


def test_exactly_one_upstream_until_balancing_is_built() -> None:
    """More than one is refused with the reason rather than ignored."""
    assert refused(ServerSettings, **server(upstreams=[])) == [
        ("upstreams", "an empty list, expected one upstream")
    ]
    assert refused(ServerSettings, **server(upstreams=[UPSTREAM, UPSTREAM])) == [
        ("upstreams", "2 upstreams, expected exactly one: balancing is not built yet")
    ]


@pytest.mark.parametrize("word", ["required", "upstream"])
def test_authentication_is_refused_rather_than_ignored(word: str) -> None:
    """Whoever asks for token authentication is not left without it unawares."""
    assert "not built yet" in refused(ServerSettings, **server(auth=word))[0][1]


def test_later_parts_are_known_by_name() -> None:
    """The top-level parts that later versions bring are listed for a refusal of their own."""
    assert module.LATER_KEYS == ("auth", "limits", "registry")
    assert not set(module.LATER_KEYS) & set(Settings.model_fields)


def test_endpoints() -> None:
    """Two transports are known; at least one must be there."""
    found = ServerSettings.model_validate(server(endpoints={"sse": "/sse", "streamable-http": "/"}))
    assert found.endpoints == {"sse": "/sse", "streamable-http": "/"}
    assert [where for where, _ in refused(ServerSettings, **server(endpoints={}))] == ["endpoints"]
    assert [where for where, _ in refused(ServerSettings, **server(endpoints={"ws": "/x"}))] == [
        "endpoints.ws.[key]"
    ]


def test_certificates_need_https() -> None:
    """TLS settings on an http URL would protect nothing."""
    assert UpstreamSettings(url="https://h", tls=TlsSettings(ca_file="x")).tls is not None
    found = refused(UpstreamSettings, url="HTTP://h", tls={"ca_file": "x"})
    assert found == [("tls", "certificates for an http:// URL, expected https:// in url, or no tls")]


def test_a_key_needs_its_certificate() -> None:
    """A certificate may hold its key; a key alone is useless."""
    assert TlsSettings(cert_file="c").key_file is None
    assert TlsSettings(cert_file="c", key_file="k").key_file == "k"
    assert refused(TlsSettings, key_file="k") == [
        ("key_file", "a key without a certificate, expected cert_file beside it")
    ]
    assert [where for where, _ in refused(TlsSettings, cert_file=5, key_file="k")] == ["cert_file"]


def test_headers_are_not_shown_and_not_doubled() -> None:
    """Credentials do not appear in a printed object; names differ in more than case."""
    found = HeadersSettings(set={"X-Api-Key": "s3cret"})
    assert found.set == {"X-Api-Key": "s3cret"}
    assert "s3cret" not in repr(found)
    assert "in different case" in refused(HeadersSettings, set={"a": "1", "A": "2"})[0][1]
    assert [where for where, _ in refused(HeadersSettings, set={"Host": "x", "b": "\n"})] == [
        "set.Host.[key]",
        "set.b",
    ]


def test_an_error_does_not_show_the_value() -> None:
    """Even the library's own text, should it be logged, keeps values back."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"servers": [server(headers={"set": {"X-Key": "s3cret\n"}})]})
    assert "s3cret" not in str(caught.value)


def test_the_demo_stays_on_loopback() -> None:
    """A server without any authentication is not offered to the network."""
    assert settings(demo=DemoSettings()).demo == DemoSettings(listen="tcp:8710:interface=127.0.0.1")
    assert DemoSettings(listen="unix:/run/demo").listen == "unix:/run/demo"
    assert "expected a loopback one" in refused(DemoSettings, listen="tcp:8710")[0][1]


def test_a_part_without_lines_is_its_defaults() -> None:
    """In YAML a key with nothing but comments below it has no value."""
    found = Settings.model_validate({"http": None, "drain": None, "servers": [server(timeouts=None)]})
    assert (found.http, found.drain) == (HttpSettings(), DrainSettings())


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
