"""Hosts, origins, URLs, paths and listen strings as they are written in the configuration."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.values import addresses
from mcpgate.values.addresses import ListenAddress, UpstreamUrl


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:3010", UpstreamUrl("http", "127.0.0.1", 3010, "")),
        ("http://127.0.0.1:3010/", UpstreamUrl("http", "127.0.0.1", 3010, "")),
        ("HTTPS://Mcp.Example.COM", UpstreamUrl("https", "mcp.example.com", 443, "")),
        ("http://h/base", UpstreamUrl("http", "h", 80, "/base")),
        ("http://h/base/two/", UpstreamUrl("http", "h", 80, "/base/two")),
        ("http://[::1]:8080/x", UpstreamUrl("http", "::1", 8080, "/x")),
        ("http://my_service:9/%7Euser", UpstreamUrl("http", "my_service", 9, "/%7Euser")),
    ],
)
def test_upstream_urls(text: str, expected: UpstreamUrl) -> None:
    """Scheme, host, port and base path; a slash at the end means nothing."""
    assert addresses.upstream_url(text) == expected
    assert addresses.upstream_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:3010",
        "ftp://h",
        "http:h",
        "http://",
        "http:///x",
        "http://u:secret@h",
        "http://u@h",
        "http://h?x=1",
        "http://h#f",
        "http://h:0",
        "http://h:65536",
        "http://h:08",
        "http://h:",
        "http://h/a/../b",
        "http://h/%2e%2E/b",
        "http://h/.%2e",
        "http://h/./b",
        "http://h//b",
        "http://h/a b",
        "http://h/a%zz",
        "http://h\n",
        "http://h\\x",
        "http://ho st",
        "http://[::1",
        "http://[::1%25eth0]",
        "http://127.1",
        "http://0x7f.0.0.1",
        "http://2130706433",
        "http://a..b",
        "http://-a",
        "http://bücher.example",
        "http://" + "a" * 64,
    ],
)
def test_what_is_no_upstream_url(text: str) -> None:
    """What has no place in an upstream's URL, or could be read in two ways, is refused without repeating it."""
    with pytest.raises(ValueError, match="expected") as refused:
        addresses.upstream_url(text)
    assert "secret" not in str(refused.value)


@given(st.text(alphabet="abz019.:/[]@?#%-_ \\", max_size=16).map("http://".__add__))
def test_an_accepted_url_means_the_same_to_the_standard_library(text: str) -> None:
    """No URL gets through that another reader would take for another host, port or path."""
    try:
        found = addresses.upstream_url(text)
    except ValueError:
        return
    other = urlsplit(text)
    assert (other.hostname, other.port or 80, other.path.rstrip("/")) == (found.host, found.port, found.base_path)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://Mcp.Example.com", "https://mcp.example.com"),
        ("https://h:443", "https://h"),
        ("http://h:443", "http://h:443"),
        ("http://[::1]:8700", "http://[::1]:8700"),
        ("vscode-webview://abc", "vscode-webview://abc"),
    ],
)
def test_origins(text: str, normal: str) -> None:
    """An origin is kept in the form in which browsers send it."""
    assert addresses.origin(text) == normal


@pytest.mark.parametrize("text", ["null", "*", "h", "https://h/", "https://h/x", "https://h?x", "https://u@h"])
def test_what_is_no_origin(text: str) -> None:
    """Wildcards, paths and bare hosts are refused."""
    with pytest.raises(ValueError, match="expected"):
        addresses.origin(text)


def test_web_origins_are_http_or_https() -> None:
    """The gateway's own origin cannot have another scheme."""
    assert addresses.web_origin("http://h:80") == "http://h"
    with pytest.raises(ValueError, match="another scheme"):
        addresses.web_origin("ws://h")


@pytest.mark.parametrize(
    ("text", "normal"), [("Mcp.Example.com", "mcp.example.com"), ("h:8443", "h:8443"), ("[::0:1]:1", "[::1]:1")]
)
def test_hosts(text: str, normal: str) -> None:
    """A Host entry is kept in lower case, with its port if it has one."""
    assert addresses.host(text) == normal


@pytest.mark.parametrize("text", ["", "*", "*.example.com", "h/", "http://h", "::1", "h:99999", "a_/b", "[1.2.3.4]"])
def test_what_is_no_host(text: str) -> None:
    """Wildcards and URLs are no hosts."""
    with pytest.raises(ValueError, match="expected"):
        addresses.host(text)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/x", "/mcp/v1/github-pm", "/a", "/mcp/discovery2", "/v0.10", "/~u@:x"])
def test_server_paths(path: str) -> None:
    """Any plain absolute path may be a server's, also a short one above the gateway's own."""
    assert addresses.server_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "mcp/x",
        "/mcp/x/",
        "/mcp//x",
        "/mcp/../x",
        "/mcp/.",
        "/mcp?x",
        "/mcp#x",
        "/mcp/%61",
        "/mcp/x;y",
        "/mcp/ x",
        "/mcp/ä",
        "/mcp/x\n",
        "/mcp/discovery",
        "/mcp/discovery/events",
        "/v0.1",
        "/v0.1/servers",
        "/.well-known",
        "/.well-known/x",
    ],
)
def test_what_is_no_server_path(path: str) -> None:
    """Paths that two readers could compare differently, and the gateway's own, are refused."""
    with pytest.raises(ValueError, match="expected"):
        addresses.server_path(path)


def test_endpoint_paths() -> None:
    """An endpoint may end in a slash, and may be one."""
    for path in ("/mcp", "/mcp/", "/", "/sse"):
        assert addresses.endpoint_path(path) == path
    for path in ("", "mcp", "/a/../b", "/a?b", "//"):
        with pytest.raises(ValueError, match="expected"):
            addresses.endpoint_path(path)


def test_networks() -> None:
    """Networks and single addresses, of both families."""
    assert [str(addresses.network(text)) for text in ("10.0.0.0/8", "127.0.0.1", "::1", "fd00::/8")] == [
        "10.0.0.0/8",
        "127.0.0.1/32",
        "::1/128",
        "fd00::/8",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("10.0.0.1/8", "bits set"), ("h", "not a network"), ("", "not a network"), ("fe80::1%eth0", "zone")],
)
def test_what_is_no_network(text: str, message: str) -> None:
    """A mistaken prefix is told apart from a mistaken address."""
    with pytest.raises(ValueError, match=message):
        addresses.network(text)


@pytest.mark.parametrize("text", ["http://h/x?y#z", "https://docs.example.com:8080/a b".replace(" ", "%20")])
def test_web_pages(text: str) -> None:
    """A link for people may have everything a link has."""
    assert addresses.web_page(text) == text


@pytest.mark.parametrize("text", ["javascript:alert(1)", "ftp://h", "http://h/a b", "http://h/\n", "h"])
def test_what_is_no_web_page(text: str) -> None:
    """A link that a portal should not show is refused."""
    with pytest.raises(ValueError, match="expected"):
        addresses.web_page(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp:8700:interface=127.0.0.1", ListenAddress("tcp", "127.0.0.1", 8700)),
        ("tcp:0", ListenAddress("tcp", "", 0)),
        ("tcp:port=8700:backlog=100", ListenAddress("tcp", "", 8700)),
        (r"tcp:8700:interface=\:\:1", ListenAddress("tcp", "::1", 8700)),
        ("tcp:8700:localhost", ListenAddress("tcp", "localhost", 8700)),
        ("ssl:443:privateKey=k.pem:certKey=c.pem:interface=10.0.0.1", ListenAddress("ssl", "10.0.0.1", 443)),
        ("tls:/etc/live", ListenAddress("tls", "::", 443)),
        ("tls:/etc/live:8443:interface=127.0.0.1", ListenAddress("tls", "127.0.0.1", 8443)),
        ("unix:/run/gate.sock:mode=660", ListenAddress("unix", "", None, "/run/gate.sock")),
        ("systemd:domain=INET:index=0", ListenAddress("systemd")),
    ],
)
def test_listen_addresses(text: str, expected: ListenAddress) -> None:
    """The kinds of Twisted endpoint that a gateway can listen on."""
    assert addresses.listen_address(text) == expected
    assert addresses.listen_text(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a listen address"),
        ("8700", "not a listen address"),
        ("127.0.0.1:8700", "not a listen address"),
        ("http:8700", "not a listen address"),
        ("stdio:", "not a listen address"),
        ("tcp=8700", "not a listen address"),
        ("tcp:", "without port"),
        ("tcp:interface=127.0.0.1", "without port"),
        ("tcp:http", "impossible port"),
        ("tcp:65536", "impossible port"),
        ("tcp:-1", "impossible port"),
        ("tcp:8700:iface=127.0.0.1", "did you mean interface"),
        ("tcp:1:2:3:4", "too many parameters"),
        ("unix:", "without address"),
        ("tcp:1\n", "control characters"),
    ],
)
def test_what_is_no_listen_address(text: str, message: str) -> None:
    """A slip in an endpoint string is found before anything is opened."""
    with pytest.raises(ValueError, match=message):
        addresses.listen_address(text)


@given(st.text(alphabet="tcp:ulxni=0123\\.aé\n", max_size=20) | st.text(max_size=20))
def test_any_text_is_a_listen_address_or_refused(text: str) -> None:
    """Whatever stands there, the answer is an address or a reason."""
    try:
        addresses.listen_address(text)
    except ValueError as refused:
        assert "expected" in str(refused)


@pytest.mark.parametrize(
    ("text", "is_loopback", "origin"),
    [
        ("tcp:8700:interface=127.0.0.1", True, "http://127.0.0.1:8700"),
        (r"tcp:8700:interface=\:\:1", True, "http://[::1]:8700"),
        ("tcp:8700:interface=localhost", True, "http://localhost:8700"),
        ("tcp:80", False, "http://127.0.0.1"),
        ("tcp:8700:interface=10.0.0.1", False, "http://10.0.0.1:8700"),
        ("tls:/live", False, "https://[::1]"),
        ("unix:/run/x", True, None),
        ("systemd:INET:0", False, None),
    ],
)
def test_who_reaches_a_listener_and_how(text: str, is_loopback: bool, origin: str | None) -> None:
    """Loopback or not decides about defaults; the origin goes into client snippets."""
    found = addresses.listen_address(text)
    assert (found.is_loopback, found.origin) == (is_loopback, origin)


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("tcp:1:interface=127.0.0.1", "tcp:1:interface=127.0.0.1", True),
        ("tcp:1", "tcp:1:interface=127.0.0.1", True),
        ("tcp:1:interface=127.0.0.2", "tcp:1:interface=127.0.0.1", False),
        ("tcp:1", "tcp:2", False),
        ("tcp:0", "tcp:0", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "tcp:1", False),
        ("systemd:INET:0", "systemd:INET:1", False),
    ],
)
def test_listeners_that_exclude_each_other(one: str, other: str, collide: bool) -> None:
    """The same port or socket twice is seen before the system refuses it."""
    a, b = addresses.listen_address(one), addresses.listen_address(other)
    assert a.collides(b) is b.collides(a) is collide


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://idp.example.com/", "idp.example.com"),
        ("https://IDP.example.com:8443/realms/a%20b", "idp.example.com"),
        ("http://127.0.0.1:8080", "127.0.0.1"),
        ("https://[::1]/x", "::1"),
    ],
)
def test_issuers(text: str, host: str) -> None:
    """An issuer is kept to the character, its host is known."""
    assert addresses.issuer(text) == text
    assert addresses.issuer_host(text) == host


@pytest.mark.parametrize(
    "text", ["", "idp", "ftp://idp", "https://", "https://u:p@idp/", "https://idp/?x", "https://idp/#x", "https://idp/a b"]
)
def test_what_is_no_issuer(text: str) -> None:
    """What two readers could take for two issuers is refused."""
    with pytest.raises(ValueError, match="expected"):
        addresses.issuer(text)


def test_an_issuer_without_a_host() -> None:
    """Whatever is written, the question has an answer."""
    assert addresses.issuer_host("nonsense") == addresses.issuer_host("https://u@h") == ""


@pytest.mark.parametrize(
    "text",
    ["https://idp.example.com/keys?p=a%20b", "http://127.0.0.1:8080/jwks", "http://localhost/jwks", "http://[::1]:1/"],
)
def test_where_keys_are_fetched(text: str) -> None:
    """From anywhere over TLS, and from this machine without."""
    assert addresses.keys_url(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://idp.example.com/keys", "of another machine"),
        ("http://localhost.example.com/keys", "of another machine"),
        ("http://10.0.0.1/keys", "of another machine"),
        ("ftp://h/keys", "another scheme"),
        ("https://u:p@h/keys", "user name or password"),
        ("https://h/keys#x", "blanks and fragment"),
        ("https://h/a b", "blanks and fragment"),
        ("https://h/\x7f", "blanks and fragment"),
        ("h/keys", "not a URL"),
    ],
)
def test_where_no_keys_are_fetched(text: str, why: str) -> None:
    """Whoever can put other keys in their place could make tokens."""
    with pytest.raises(ValueError, match=why):
        addresses.keys_url(text)
