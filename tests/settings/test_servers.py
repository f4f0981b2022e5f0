"""One MCP server: defaults, and values that must fit together."""

from __future__ import annotations

from typing import Any

import pytest
from tests.settings.written import UPSTREAM, refused, server

from mcpgate.settings import HeadersSettings, ServerSettings, Settings, TlsSettings, UpstreamSettings
from mcpgate.values.addresses import UpstreamUrl


def test_a_server_needs_a_name_and_a_url() -> None:
    """Everything else has a default."""
    (found,) = Settings.model_validate({"servers": [server()]}).servers
    assert found.path == "/mcp/a"
    assert found.endpoints == {"streamable-http": "/mcp"}
    assert (found.auth, found.strip_prefix, found.max_body_bytes) == (None, True, None)
    assert (found.tools.allow, found.tools.deny, found.scopes) == (None, (), ())
    assert (found.tool_scopes, found.upstream_credentials) == ({}, {})
    assert (found.timeouts.connect, found.timeouts.response) == (3.0, 300.0)
    assert (found.timeouts.stream_idle, found.timeouts.tunnel_idle) == (0.0, 0.0)
    assert found.upstreams[0].address == UpstreamUrl("http", "127.0.0.1", 3010, "")


def test_equal_settings_are_equal() -> None:
    """A reload sees which servers did not change."""
    assert ServerSettings.model_validate(server()) == ServerSettings.model_validate(server())
    assert ServerSettings.model_validate(server()) != ServerSettings.model_validate(server(title="x"))


def test_a_server_needs_an_upstream() -> None:
    """Nobody would answer."""
    assert refused(ServerSettings, **server(upstreams=[])) == [
        ("upstreams", "no upstreams, expected at least one entry, or replicas_may_register: true")
    ]


def test_a_server_may_have_several_upstreams() -> None:
    """Each at an address of its own, in whatever way that is written."""
    urls = ["http://h:1", "http://h:2", "https://h:1", "http://h:1/base"]
    found = ServerSettings.model_validate(server(upstreams=[{"url": url} for url in urls]))
    assert [each.url for each in found.upstreams] == urls
    for same in ("http://h", "HTTP://H:80/", "http://h:80"):
        upstreams = [UPSTREAM, {"url": "http://h"}, {"url": same}]
        message = "the same as in entry 1 of this list, expected another one"
        assert refused(ServerSettings, **server(upstreams=upstreams)) == [("upstreams.2.url", message)]


def test_an_address_is_read_once() -> None:
    """And that it was read shows nowhere; a copy with another URL has another address."""
    read, unread = (UpstreamSettings(url="http://h:1/base") for _ in range(2))
    assert read.address is read.address
    assert read == unread
    assert (hash(read), repr(read), read.model_dump()) == (hash(unread), repr(unread), unread.model_dump())
    assert read.model_copy(update={"url": "http://other:2"}).address == UpstreamUrl("http", "other", 2, "")


@pytest.mark.parametrize("word", ["required", "none", "upstream"])
def test_who_asks_for_tokens(word: str) -> None:
    """The gateway, nobody, or the server itself."""
    assert ServerSettings.model_validate(server(auth=word)).auth == word


def test_rights_of_a_server() -> None:
    """Which tools may be called, and which scopes they need."""
    found = ServerSettings.model_validate(
        server(
            tools={"allow": ["get_*"], "deny": ["get_secret"]},
            scopes=["repo"],
            tool_scopes={"delete_*": ["repo.delete", "admin"]},
        )
    )
    assert (found.tools.allow, found.tools.deny) == (("get_*",), ("get_secret",))
    assert (found.scopes, found.tool_scopes) == (("repo",), {"delete_*": ("repo.delete", "admin")})


@pytest.mark.parametrize(
    ("values", "where", "why"),
    [
        ({"tools": {"deny": ["a:b"]}}, "tools.deny.0", "with a colon"),
        ({"tools": {"allow": ["get?"]}}, "tools.allow.0", "not a pattern"),
        ({"scopes": ["a b"]}, "scopes.0", "one scope in each entry"),
        ({"scopes": "a"}, "scopes", "tuple"),
        ({"tool_scopes": {"x y": ["a"]}}, "tool_scopes.x y.[key]", "not a pattern"),
        ({"tool_scopes": {"x": []}}, "tool_scopes.x", "an empty list"),
        ({"tool_scopes": {"x": ['"']}}, "tool_scopes.x.0", "not a scope"),
        ({"upstream_credentials": {"A": {}}}, "upstream_credentials.A.[key]", "not a name"),
        ({"upstream_credentials": {"a": {"set": {"Host": "h"}}}}, "upstream_credentials.a.set.Host.[key]", "itself"),
    ],
)
def test_rights_that_cannot_be(values: dict[str, Any], where: str, why: str) -> None:
    """What would never match, or match something else, is refused where it stands."""
    ((place, text),) = refused(ServerSettings, **server(**values))
    assert place == where
    assert why in text


def test_credentials_for_certain_principals() -> None:
    """Holders of tokens and subjects of an issuer; what is set for them is not shown."""
    headers = {"set": {"Authorization": "Bearer s3cret"}}
    found = ServerSettings.model_validate(server(upstream_credentials={"alice": headers, "idp.example.com:u|7": {}}))
    assert found.upstream_credentials["alice"].set == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(found)
    assert "s3cret" not in str(found.model_dump())


def test_endpoints() -> None:
    """Two transports are known; at least one must be there."""
    found = ServerSettings.model_validate(server(endpoints={"sse": "/sse", "streamable-http": "/"}))
    assert found.endpoints == {"sse": "/sse", "streamable-http": "/"}
    assert [where for where, _ in refused(ServerSettings, **server(endpoints={}))] == ["endpoints"]
    assert [where for where, _ in refused(ServerSettings, **server(endpoints={"ws": "/x"}))] == ["endpoints.ws.[key]"]


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
    assert found.model_dump()["set"] == {"X-Api-Key": "***"}
    assert "in different case" in refused(HeadersSettings, set={"a": "1", "A": "2"})[0][1]
    assert [where for where, _ in refused(HeadersSettings, set={"Host": "x", "b": "\n"})] == [
        "set.Host.[key]",
        "set.b",
    ]
