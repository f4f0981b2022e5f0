"""Where a request goes: the longest path wins, the prefix is taken off, and every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.ends import asked, gateway, refused, request_at
from tests.strategies import THROUGH_THE_GATEWAY

from mcpgate.testing import GatewayUnderTest, request
from mcpgate.wire.mapping import has_dot_segment

ROOT, BASE, BASE_SLASH = "http://127.0.0.1:3010", "http://127.0.0.1:3010/base", "http://127.0.0.1:3010/base/"


@pytest.mark.parametrize(
    ("url", "more", "target", "upstream"),
    [
        (ROOT, "", "/mcp/x/sse?q", b"/sse?q"),
        (ROOT, "", "/mcp/x/", b"/"),
        (ROOT, "", "/mcp/x", b"/"),
        (ROOT, "", "/mcp/x?q=1", b"/?q=1"),
        (ROOT, "", "/mcp/x/?", b"/?"),
        (ROOT, "", "/mcp/x//a//", b"//a//"),
        (ROOT, "", "/mcp/x/mcp/x", b"/mcp/x"),
        (ROOT, "", "/mcp/x/a%2fb%5Cc;d=e", b"/a%2fb%5Cc;d=e"),
        (ROOT, "", "/mcp/x/..%2f..;x", b"/..%2f..;x"),
        (ROOT, "", "/mcp/x/%252e%252e/a", b"/%252e%252e/a"),
        (ROOT, "", "/mcp/x/.../.a/a.", b"/.../.a/a."),
        (ROOT, "", "/mcp/x/a?x=/../y&z=%2e%2e", b"/a?x=/../y&z=%2e%2e"),
        (ROOT, "", '/mcp/x/"<>^`{|}', b'/"<>^`{|}'),
        (ROOT, "", "/mcp/x/server-card", b"/server-card"),
        (BASE, "", "/mcp/x/sse", b"/base/sse"),
        (BASE, "", "/mcp/x", b"/base"),
        (BASE, "", "/mcp/x/", b"/base/"),
        (BASE_SLASH, "", "/mcp/x/sse", b"/base/sse"),
        (BASE_SLASH, "", "/mcp/x", b"/base"),
        (ROOT, "strip_prefix: false", "/mcp/x/sse?q", b"/mcp/x/sse?q"),
        (ROOT, "strip_prefix: false", "/mcp/x", b"/mcp/x"),
        (BASE, "strip_prefix: false", "/mcp/x/sse", b"/base/mcp/x/sse"),
        (ROOT, "path: /mcp/v1/x", "/mcp/v1/x/sse", b"/sse"),
        (ROOT, "path: /deep/er/and/deeper", "/deep/er/and/deeper/sse", b"/sse"),
    ],
)
def test_how_paths_map(url: str, more: str, target: str, upstream: bytes) -> None:
    """The table of the contract, and its corners."""
    _, peer = asked(gateway(more, url=url), request("GET", target))
    assert peer.received.split(b" ")[1] == upstream


SEVERAL = """\
servers:
  - {name: x, upstreams: [{url: "http://127.0.0.1:1001"}]}
  - {name: xy, upstreams: [{url: "http://127.0.0.1:1002"}]}
  - {name: deep, path: /mcp/x/deep, upstreams: [{url: "http://127.0.0.1:1003"}]}
  - {name: other, path: /tools, upstreams: [{url: "http://127.0.0.1:1004"}]}
"""


@pytest.mark.parametrize(
    ("target", "port"),
    [
        ("/mcp/x", 1001),
        ("/mcp/x/dee", 1001),
        ("/mcp/x/deeper", 1001),
        ("/mcp/x/a/deep", 1001),
        ("/mcp/xy", 1002),
        ("/mcp/xy/deep", 1002),
        ("/mcp/x/deep", 1003),
        ("/mcp/x/deep/a", 1003),
        ("/mcp/x/deep?x", 1003),
        ("/tools/mcp/x", 1004),
        ("/mcp/x%2fdeep", None),
        ("/mcp/x;deep", None),
        ("/mcp/xyz", None),
        ("/toolsmith", None),
        ("/tool", None),
    ],
)
def test_the_longest_path_wins_at_whole_segments(target: str, port: int | None) -> None:
    """No encoded byte steers, and a longer name is another server's."""
    gate = GatewayUnderTest(SEVERAL)
    if port is None:
        assert refused(gate, request("GET", target)).status == 404
    else:
        asked(gate, request("GET", target))
        assert gate.reactor.tcpClients[-1][1] == port


@pytest.mark.parametrize(
    "target",
    [
        "/mcp/x/..",
        "/mcp/x/../a",
        "/mcp/x/.",
        "/mcp/x/./a",
        "/./mcp/x",
        "/mcp/x/%2e%2E/a",
        "/mcp/x/.%2e",
        "/mcp/x/%2E/",
        "/..",
    ],
)
def test_dot_segments_are_refused(target: str) -> None:
    """Two readers could take them for two paths."""
    told = refused(GatewayUnderTest(), request("GET", target))
    assert (told.status, told["mcpgate-error"]) == (400, b"bad_target")


@pytest.mark.parametrize("target", ["/mcp/x/a\\b", "/mcp/x/\\..\\y", "/mcp/x/a#b", "/mcp/x?q=\\"])
def test_bytes_that_two_readers_take_for_different_paths_are_refused(target: str) -> None:
    """A raw backslash is a slash to browsers' URL readers, and a fragment is no part of a request."""
    told = refused(GatewayUnderTest(), request("GET", target))
    assert (told.status, told["mcpgate-error"]) == (400, b"bad_request")


def test_an_absolute_target_of_this_host_is_a_path() -> None:
    """Clients of plain proxies send those (RFC 9112 section 3.2.2)."""
    _, peer = asked(
        GatewayUnderTest(), request("GET", "http://localhost:8700/mcp/x/a?b", headers={"Host": "localhost:8700"})
    )
    assert peer.received.startswith(b"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:3010\r\n")


def test_bytes_of_a_target_are_kept() -> None:
    """Any visible byte in path or query arrives as it was sent."""
    gate = GatewayUnderTest()
    visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)

    @THROUGH_THE_GATEWAY
    @given(rest=visible)
    def holds(rest: str) -> None:
        target = f"/mcp/x/{rest}"
        assume(not has_dot_segment(target.partition("?")[0].encode()) and not {"#", "\\"} & set(rest))
        client, peer = asked(gate, request("GET", target))
        assert peer.received.split(b" ")[1] == target.removeprefix("/mcp/x").encode()
        client.reset()

    holds()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "PROPFIND", "M-SEARCH"])
def test_all_methods_but_two_are_forwarded(method: str) -> None:
    """CONNECT and TRACE are not for servers."""
    _, peer = asked(GatewayUnderTest(), request(method))
    assert request_at(peer).method == method.encode()
