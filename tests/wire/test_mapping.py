"""Where public paths lie at an upstream, and what the addresses in its answers become."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcpgate.wire.mapping import ForeignEndpoint, PathMap, has_dot_segment

AT_ROOT = PathMap(b"/mcp/x", b"http", b"upstream:3010")
AT_BASE = PathMap(b"/mcp/x", b"http", b"upstream:3010", base=b"/base")
WHOLE = PathMap(b"/mcp/x", b"http", b"upstream:3010", strip_prefix=False)
WHOLE_AT_BASE = PathMap(b"/mcp/x", b"http", b"upstream:3010", base=b"/base", strip_prefix=False)
ALIASED = PathMap(b"/mcp/x", b"http", b"10.0.0.7:3010", aliases=(b"http://localhost:3010", b"https://mcp.test"))

path_maps = st.builds(
    PathMap,
    public_prefix=st.sampled_from([b"/mcp/x", b"/x", b"/mcp/v1/deep/x"]),
    scheme=st.just(b"http"),
    authority=st.just(b"upstream:3010"),
    base=st.sampled_from([b"", b"/base", b"/base/servers/time", b"/mcp"]),
    strip_prefix=st.booleans(),
)
# Dots, slashes and escapes often enough to matter; no control bytes, which no target can hold.
segments = st.lists(
    st.sampled_from([b"a", b"sse", b"mcp", b"x", b"base", b"%2f", b"%2e", b".", b";", b"", b"\xc3\xa9", b"%252e"]),
    max_size=4,
).map(b"".join)
upstream_paths = st.lists(segments, min_size=1, max_size=5).map(lambda parts: b"/" + b"/".join(parts))
plain_paths = upstream_paths.filter(lambda path: not has_dot_segment(path))
queries = st.sampled_from([b"", b"?", b"?sessionId=1", b"?a=%2Fb&x=/../y&u=http://else.test/", b"?q=a?b"])


def _lies_under(path: bytes, prefix: bytes) -> bool:
    return path == prefix or path.startswith(prefix + b"/")


# -- request targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path_map", "target", "expected"),
    [
        (AT_ROOT, b"/mcp/x/sse?q", b"/sse?q"),
        (AT_ROOT, b"/mcp/x/sse", b"/sse"),
        (AT_ROOT, b"/mcp/x/", b"/"),
        (AT_ROOT, b"/mcp/x", b"/"),
        (AT_ROOT, b"/mcp/x?q", b"/?q"),
        (AT_ROOT, b"/mcp/x?", b"/?"),
        (AT_ROOT, b"/mcp/x/?q=/mcp/x", b"/?q=/mcp/x"),
        (AT_ROOT, b"/mcp/x/mcp/x/y", b"/mcp/x/y"),
        (AT_ROOT, b"/mcp/x/a%2fb;c%5c//d%00", b"/a%2fb;c%5c//d%00"),
        (AT_BASE, b"/mcp/x/sse", b"/base/sse"),
        (AT_BASE, b"/mcp/x", b"/base"),
        (AT_BASE, b"/mcp/x?q", b"/base?q"),
        (AT_BASE, b"/mcp/x/", b"/base/"),
        (WHOLE, b"/mcp/x/sse?q", b"/mcp/x/sse?q"),
        (WHOLE, b"/mcp/x", b"/mcp/x"),
        (WHOLE_AT_BASE, b"/mcp/x/sse?q", b"/base/mcp/x/sse?q"),
        (WHOLE_AT_BASE, b"/mcp/x", b"/base/mcp/x"),
        (PathMap(b"", b"http", b"upstream"), b"/sse", b"/sse"),
    ],
)
def test_a_public_target_becomes_the_target_at_the_upstream(path_map: PathMap, target: bytes, expected: bytes) -> None:
    """The public prefix is exchanged for the base and nothing else changes."""
    assert path_map.to_upstream(target) == expected


@given(path_maps, st.one_of(st.just(b""), upstream_paths), queries)
def test_the_way_up_and_back_gives_the_same_target(path_map: PathMap, rest: bytes, query: bytes) -> None:
    """What was mapped to the upstream maps back to the same public target, bytes and all."""
    target = path_map.public_prefix + rest + query
    back = path_map.to_public(path_map.to_upstream(target))
    if not rest and path_map.strip_prefix and not path_map.base:
        target = path_map.public_prefix + b"/" + query  # a bare prefix and one with a slash are one place
    assert back == target


@given(path_maps, upstream_paths, queries)
def test_the_way_back_and_up_gives_the_same_path(path_map: PathMap, path: bytes, query: bytes) -> None:
    """An upstream path that has a public one is what a request for that reaches."""
    inside = path_map.base + (b"" if path_map.strip_prefix else path_map.public_prefix) + path
    for target in (path + query, inside + query):
        public = path_map.to_public(target)
        assert public is None or path_map.to_upstream(public) == target
    assert path_map.to_public(inside) is not None


@pytest.mark.parametrize(
    ("path_map", "path", "expected"),
    [
        (AT_ROOT, b"/", b"/mcp/x/"),
        (AT_ROOT, b"/sse?q", b"/mcp/x/sse?q"),
        (AT_ROOT, b"sse", None),
        (AT_ROOT, b"", None),
        (AT_BASE, b"/base", b"/mcp/x"),
        (AT_BASE, b"/base?q", b"/mcp/x?q"),
        (AT_BASE, b"/base/", b"/mcp/x/"),
        (AT_BASE, b"/basement", None),
        (AT_BASE, b"/", None),
        (WHOLE, b"/mcp/x/sse", b"/mcp/x/sse"),
        (WHOLE, b"/mcp/y/sse", None),
        (WHOLE_AT_BASE, b"/base/mcp/x/sse", b"/mcp/x/sse"),
        (WHOLE_AT_BASE, b"/base/sse", None),
    ],
)
def test_an_upstream_path_has_a_public_path_only_where_the_server_is_mounted(
    path_map: PathMap, path: bytes, expected: bytes | None
) -> None:
    """Paths of the upstream outside its base have no public address, not even one that begins alike."""
    assert path_map.to_public(path) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_prefix": b"/mcp/x/"},
        {"public_prefix": b"mcp"},
        {"public_prefix": b"/mcp/../x"},
        {"public_prefix": b"/x;Path=/"},
        {"base": b"/"},
        {"base": b"/base/"},
        {"base": b"/base?q"},
        {"base": b"/%2e%2e"},
        {"authority": b""},
        {"authority": b"user@upstream"},
        {"authority": b"upstream:port"},
        {"aliases": (b"localhost:3010",)},
        {"aliases": (b"//localhost:3010",)},
        {"aliases": (b"http://localhost:3010/path",)},
        {"aliases": (b"http://localhost:3010?q",)},
        {"aliases": (b"http://localhost:3010#part",)},
    ],
)
def test_a_map_of_the_wrong_form_is_not_made(wrong: dict[str, bytes]) -> None:
    """A slash too many or something that is no origin is told at once, not with the first request."""
    right: dict[str, object] = {"public_prefix": b"/mcp/x", "scheme": b"http", "authority": b"upstream:3010"}
    with pytest.raises(ValueError, match=r"^not an? "):
        PathMap(**{**right, **wrong})  # type: ignore[arg-type]


# -- dot segments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    b"/.. /../b /mcp/x/.. /mcp/x/../b /a/./b /. /./ /a/%2e%2e/b /a/%2E%2e /a/.%2E/b /a/%2e./b /a/%2e "
    b"/a/%2E/b /v1.2/../b".split(),
)
def test_a_dot_segment_is_seen_in_every_spelling(path: bytes) -> None:
    """Plain, encoded and mixed dot segments are all found, also as the last segment."""
    assert has_dot_segment(path)


@pytest.mark.parametrize(
    "path",
    b"/ /mcp/x/sse /.well-known/x /a.b/c..d /... /a/..%2fb /a/..%5cb /a/..;/b /a/%252e%252e/b "
    b"/a/%c0%ae%c0%ae/b /a/%2e%2e%2e /a/..b/%2ec /%20./%2".split(),
)
def test_what_only_looks_like_a_dot_segment_is_none(path: bytes) -> None:
    """Encoded slashes, parameters, double encoding and overlong forms are ordinary names."""
    assert not has_dot_segment(path)


@given(upstream_paths)
def test_dot_segments_are_those_that_decode_to_dots_once(path: bytes) -> None:
    """The answer is the same as after splitting at slashes and decoding every segment once."""
    decoded = [re.sub(rb"(?i)%2e", b".", segment) for segment in path.split(b"/")]
    assert has_dot_segment(path) == any(segment in (b".", b"..") for segment in decoded)


# -- Location ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"http://upstream:3010/login?next=/mcp/x/y#top", b"/mcp/x/login?next=/mcp/x/y#top"),
        (b"HTTP://Upstream:3010/mcp/", b"/mcp/x/mcp/"),
        (b"http://upstream:03010/a", b"/mcp/x/a"),
        (b"http://upstream:3010", b"/mcp/x/"),
        (b"http://upstream:3010?q", b"/mcp/x/?q"),
        (b"//upstream:3010/a", b"/mcp/x/a"),
        (b"/mcp", b"/mcp/x/mcp"),
        (b"/a%2fb;c?d=%0a", b"/mcp/x/a%2fb;c?d=%0a"),
        (b"next", b"/mcp/x/dir/next"),
        (b"./next?q", b"/mcp/x/dir/next?q"),
        (b"../next", b"/mcp/x/next"),
        (b"?page=2", b"/mcp/x/dir/page?page=2"),
        (b"#part", b"/mcp/x/dir/page?q=1#part"),
        (b"1a:b", b"/mcp/x/dir/1a:b"),
        # What climbs out ends at the top of the server, as it would without the gateway.
        (b"../../../b", b"/mcp/x/b"),
        (b"/../b/", b"/mcp/x/b/"),
        (b"/%2e%2e/b/.", b"/mcp/x/b/"),
        (b"/a/.%2E", b"/mcp/x/"),
        # The server was told its public prefix.
        (b"/mcp/x/login", b"/mcp/x/login"),
        (b"http://upstream:3010/mcp/x/login", b"/mcp/x/login"),
        # Elsewhere, or nothing to be understood: unchanged.
        (b"https://login.test/authorize?x", b"https://login.test/authorize?x"),
        (b"//login.test/x", b"//login.test/x"),
        (b"https://upstream:3010/a", b"https://upstream:3010/a"),
        (b"http://upstream:3011/a", b"http://upstream:3011/a"),
        (b"http://upstream/a", b"http://upstream/a"),
        (b"http://upstream:3010@login.test/a", b"http://upstream:3010@login.test/a"),
        (b"http://upstream:30100000/a", b"http://upstream:30100000/a"),
        (b"http:/a", b"http:/a"),
        (b"http:///a", b"http:///a"),
        (b"mailto:a@b.test", b"mailto:a@b.test"),
        (b"/\\login.test/a", b"/\\login.test/a"),
        # A header that would break in two is dropped.
        (b"/a\r\nSet-Cookie: s=1", b""),
        (b"/a\x00", b""),
    ],
)
def test_a_redirect_leads_to_the_public_address(value: bytes, expected: bytes) -> None:
    """Whatever form the upstream chose for its own address, the client gets a public path."""
    assert AT_ROOT.location(value, b"/dir/page?q=1") == expected


@pytest.mark.parametrize(
    ("path_map", "value", "request_target", "expected"),
    [
        (AT_BASE, b"http://upstream:3010/base/a", b"/base/", b"/mcp/x/a"),
        (AT_BASE, b"/base", b"/base/", b"/mcp/x"),
        (AT_BASE, b"a", b"/base/sse", b"/mcp/x/a"),
        (AT_BASE, b"a", b"/base", b"a"),
        (AT_BASE, b"/outside", b"/base/", b"/outside"),
        (AT_BASE, b"/base/../outside", b"/base/", b"/base/../outside"),
        (AT_BASE, b"/mcp/x", b"/base/", b"/mcp/x"),
        (WHOLE, b"http://upstream:3010/mcp/x/a", b"/mcp/x/b", b"/mcp/x/a"),
        (WHOLE_AT_BASE, b"/base/mcp/x/a?q", b"/base/mcp/x/b", b"/mcp/x/a?q"),
        (ALIASED, b"http://localhost:3010/a", b"/", b"/mcp/x/a"),
        (ALIASED, b"https://MCP.test:443/a", b"/", b"/mcp/x/a"),
        (ALIASED, b"https://mcp.test:/mcp/x/a", b"/", b"/mcp/x/a"),
        (ALIASED, b"//localhost:3010/a", b"/", b"/mcp/x/a"),
        (ALIASED, b"//mcp.test/a", b"/", b"//mcp.test/a"),
        (PathMap(b"/x", b"https", b"[::1]"), b"https://[::1]:443/a", b"/", b"/x/a"),
        (PathMap(b"/x", b"https", b"u"), b"//u/a", b"/", b"/x/a"),
        # A server at the root: a path must not turn into the name of a host.
        (PathMap(b"", b"http", b"u"), b"http://u//evil.test/a", b"/", b"http://u//evil.test/a"),
        (PathMap(b"", b"http", b"u"), b"http://u/a", b"/", b"/a"),
        # The upstream's own paths begin like the public prefix: they are its own, not public ones.
        (PathMap(b"/mcp", b"http", b"u"), b"http://u/mcp/", b"/mcp", b"/mcp/mcp/"),
        (PathMap(b"/mcp", b"http", b"u"), b"http://u/mcp", b"/mcp/", b"/mcp/mcp"),
        (PathMap(b"/mcp", b"http", b"u"), b"http://u/mcp", b"/", b"/mcp/mcp"),
        (PathMap(b"/mcp/x", b"http", b"u", b"/mcp/x"), b"http://u/mcp/x/a", b"/mcp/x/b", b"/mcp/x/a"),
        (PathMap(b"/mcp/x", b"http", b"u", b"/mcp/x/v2"), b"/mcp/x/v2/a", b"/mcp/x/v2/b", b"/mcp/x/a"),
    ],
)
def test_a_redirect_respects_base_aliases_and_origin(
    path_map: PathMap, value: bytes, request_target: bytes, expected: bytes
) -> None:
    """Base paths, unstripped prefixes, aliases and default ports are taken into account."""
    assert path_map.location(value, request_target) == expected


@given(path_maps, plain_paths, queries, st.sampled_from([b"", b"http://upstream:3010", b"//upstream:3010"]))
def test_a_redirect_reaches_what_the_upstream_meant(
    path_map: PathMap, rest: bytes, query: bytes, origin: bytes
) -> None:
    """Following the rewritten redirect through the gateway asks the upstream for the path it named."""
    path = path_map.to_upstream(path_map.public_prefix + rest)
    told_its_prefix = _lies_under(path, path_map.public_prefix) and path_map.strip_prefix
    assume(not told_its_prefix and (origin or not path.startswith(b"//")))
    public = path_map.location(origin + path + query, path_map.to_upstream(path_map.public_prefix + b"/sse"))
    assert path_map.to_upstream(public) == path + query


@given(path_maps, st.binary(max_size=40))
def test_a_rewritten_redirect_never_breaks_a_header(path_map: PathMap, value: bytes) -> None:
    """Whatever an upstream writes into Location, no line end gets through."""
    assert not re.search(rb"[\x00-\x1f\x7f]", path_map.location(value, b"/sse"))


# -- Set-Cookie ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path_map", "value", "expected"),
    [
        (AT_ROOT, b"s=1; Domain=.test; Path=/", b"s=1; Path=/mcp/x"),
        (AT_ROOT, b"s=1", b"s=1; Path=/mcp/x"),
        (AT_ROOT, b"s=1; Path=/sub", b"s=1; Path=/mcp/x/sub"),
        (AT_ROOT, b"s=1;path= /sub ;HttpOnly", b"s=1;path=/mcp/x/sub;HttpOnly"),
        (
            AT_ROOT,
            b's="a=b"; Max-Age=9 ;  SameSite=Lax;DOMAIN = a.test; Expires=Wed, 21 Oct 2026 07:28:00 GMT',
            b's="a=b"; Max-Age=9 ;  SameSite=Lax; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/mcp/x',
        ),
        (AT_ROOT, b"s=1; Path", b"s=1; Path=/mcp/x"),
        (AT_ROOT, b"s=1; Path=relative", b"s=1; Path=/mcp/x"),
        (AT_ROOT, b'domain=d; Path="/"', b"domain=d; Path=/mcp/x"),
        # The last path counts in browsers; none of them may reach a neighbour.
        (AT_ROOT, b"s=1; Path=/a; Path=/b", b"s=1; Path=/mcp/x/b; Path=/mcp/x/b"),
        (AT_ROOT, b"s=1; Path=/mcp/x", b"s=1; Path=/mcp/x"),
        (AT_ROOT, b"s=1; Path=/mcp/x/sub", b"s=1; Path=/mcp/x/sub"),
        (AT_ROOT, b"s=1; Path=/mcp/y", b"s=1; Path=/mcp/x/mcp/y"),
        (AT_ROOT, b"__Secure-s=1; Secure; Path=/", b"__Secure-s=1; Secure; Path=/mcp/x"),
        (AT_ROOT, b"__Host-s=1; Secure; Path=/", b""),
        (AT_ROOT, b" __hOST-s=1; Secure; Path=/", b""),
        (AT_BASE, b"s=1; Path=/", b"s=1; Path=/mcp/x"),
        (AT_BASE, b"s=1; Path=/base", b"s=1; Path=/mcp/x"),
        (AT_BASE, b"s=1; Path=/base/sub", b"s=1; Path=/mcp/x/sub"),
        (AT_BASE, b"s=1; Path=/mcp/x/sub", b"s=1; Path=/mcp/x/sub"),
        (AT_BASE, b"s=1; Path=/basement", b""),
        (PathMap(b"/mcp/x", b"http", b"u", b"/mcp/x/v2"), b"s=1; Path=/mcp/x/v2/a", b"s=1; Path=/mcp/x/a"),
        (PathMap(b"/mcp/x", b"http", b"u", b"/mcp/x/v2"), b"s=1; Path=/mcp/x/v1", b""),
        (WHOLE, b"s=1; Path=/", b"s=1; Path=/mcp/x"),
        (WHOLE, b"s=1; Path=/mcp/x/sub", b"s=1; Path=/mcp/x/sub"),
        (WHOLE, b"s=1; Path=/mcp/y", b""),
        (WHOLE_AT_BASE, b"s=1; Path=/base", b"s=1; Path=/mcp/x"),
        (WHOLE_AT_BASE, b"s=1; Path=/base/mcp/x/sub", b"s=1; Path=/mcp/x/sub"),
        (PathMap(b"", b"http", b"u"), b"s=1", b"s=1; Path=/"),
    ],
)
def test_a_cookie_stays_with_its_server(path_map: PathMap, value: bytes, expected: bytes) -> None:
    """Domain goes, the path is put under the public prefix, and everything else keeps its bytes."""
    assert path_map.cookie(value) == expected


@given(
    path_maps,
    st.lists(
        st.sampled_from([b"Path=/", b" path=/mcp", b"PATH = /mcp/y", b"Path=", b" Domain=test", b"domain", b"Secure"])
    ),
)
def test_no_cookie_reaches_a_neighbour(path_map: PathMap, attributes: list[bytes]) -> None:
    """Every path in a rewritten cookie lies under the public prefix, and no domain is left."""
    sent = path_map.cookie(b";".join([b"s=1", *attributes]))
    names = [attribute.partition(b"=")[0].strip().lower() for attribute in sent.split(b";")]
    paths = [
        attribute.partition(b"=")[2] for name, attribute in zip(names, sent.split(b";"), strict=True) if name == b"path"
    ]
    assert b"domain" not in names
    assert not sent or paths
    assert all(_lies_under(path, path_map.public_prefix) for path in paths)


# -- the legacy endpoint event -------------------------------------------------------------------------------

ENDPOINT_FORMS = [
    (b"/message?sessionId=X", b"/mcp/x/message?sessionId=X"),
    (b"message?sessionId=X", b"/mcp/x/message?sessionId=X"),
    (b"./message?sessionId=X", b"/mcp/x/message?sessionId=X"),
    (b"?sessionId=X", b"/mcp/x/sse?sessionId=X"),
    (b"http://upstream:3010/message?sessionId=X", b"/mcp/x/message?sessionId=X"),
    (b"//upstream:3010/message?sessionId=X", b"/mcp/x/message?sessionId=X"),
    (b"/message?tenant=a%2Fb&x=1&sessionId=X", b"/mcp/x/message?tenant=a%2Fb&x=1&sessionId=X"),
    (b"/mcp/x/message?sessionId=X", b"/mcp/x/message?sessionId=X"),
    (b"http://upstream:3010/mcp/x/message?sessionId=X", b"/mcp/x/message?sessionId=X"),
    (b"/messages/?session_id=X", b"/mcp/x/messages/?session_id=X"),
    (b"", b"/mcp/x/sse"),
    (b" /message ", b"/mcp/x/message"),
    (b"/message?x=1#part", b"/mcp/x/message?x=1"),
    (b"/a/../message?x=/../y", b"/mcp/x/message?x=/../y"),
    (b"/a/%2E%2e/message", b"/mcp/x/message"),
    (b"/mcp/xy/message", b"/mcp/x/mcp/xy/message"),
    (b"/mcp/x", b"/mcp/x/mcp/x"),
    (b"/message?path=a\\b", b"/mcp/x/message?path=a\\b"),
]


@pytest.mark.parametrize(("data", "expected"), ENDPOINT_FORMS)
def test_an_endpoint_works_in_a_client_of_the_public_address(data: bytes, expected: bytes) -> None:
    """Every form that servers send resolves in a client to the right public path at the client's origin."""
    sent = AT_ROOT.endpoint(data, b"/sse")
    assert sent == expected
    resolved = urlsplit(urljoin("https://gate.test/mcp/x/sse", sent.decode()))
    assert (resolved.scheme, resolved.netloc) == ("https", "gate.test")
    assert resolved._replace(scheme="", netloc="").geturl() == expected.decode()


@pytest.mark.parametrize(
    ("path_map", "data", "request_target", "expected"),
    [
        (AT_ROOT, b"?sessionId=X", b"/sse?token=a", b"/mcp/x/sse?sessionId=X"),
        (AT_ROOT, b"message", b"/deep/sse?at=/other/", b"/mcp/x/deep/message"),
        (AT_BASE, b"/base/messages/?session_id=X", b"/base/sse", b"/mcp/x/messages/?session_id=X"),
        (AT_BASE, b"messages/?session_id=X", b"/base/sse", b"/mcp/x/messages/?session_id=X"),
        (AT_BASE, b"/base?s=X", b"/base/sse", b"/mcp/x?s=X"),
        (AT_BASE, b"/mcp/x?s=X", b"/base/sse", b"/mcp/x?s=X"),
        (AT_BASE, b"/mcp/x/message", b"/base/sse", b"/mcp/x/message"),
        (WHOLE, b"/mcp/x/message", b"/mcp/x/sse", b"/mcp/x/message"),
        (WHOLE_AT_BASE, b"/base/mcp/x/message", b"/base/mcp/x/sse", b"/mcp/x/message"),
        (WHOLE_AT_BASE, b"/mcp/x/message", b"/base/mcp/x/sse", b"/mcp/x/message"),
        (ALIASED, b"http://localhost:3010/message", b"/sse", b"/mcp/x/message"),
        (ALIASED, b"HTTPS://mcp.TEST:443/mcp/x/message?s=1", b"/sse", b"/mcp/x/message?s=1"),
        (PathMap(b"/mcp", b"http", b"u"), b"/mcp/message", b"/mcp/sse", b"/mcp/mcp/message"),
        (PathMap(b"/mcp/x", b"http", b"u", b"/mcp/x"), b"/mcp/x/message", b"/mcp/x/sse", b"/mcp/x/message"),
    ],
)
def test_an_endpoint_respects_base_and_aliases(
    path_map: PathMap, data: bytes, request_target: bytes, expected: bytes
) -> None:
    """Base paths, unstripped prefixes and explicit aliases are mapped like the request was."""
    assert path_map.endpoint(data, request_target) == expected


@pytest.mark.parametrize(
    ("path_map", "data"),
    [
        (AT_ROOT, b"http://other-host:9999/message?sessionId=X"),
        (AT_ROOT, b"http://169.254.169.254/x"),
        (AT_ROOT, b"//other-host/message"),
        (AT_ROOT, b"///other-host/message"),
        (AT_ROOT, b"  http://other-host/message"),
        (AT_ROOT, b"https://upstream:3010/message"),
        (AT_ROOT, b"http://upstream:3010@other-host/message"),
        (AT_ROOT, b"http://upstream/message"),
        (AT_ROOT, b"http:message"),
        (AT_ROOT, b"javascript:alert(1)"),
        (AT_ROOT, b"/\\other-host/message"),
        (AT_ROOT, b"\\\\other-host/message"),
        (AT_ROOT, b"/..\\..\\y/message"),
        (AT_ROOT, b"/../y/message"),
        (AT_ROOT, b"../../y/message"),
        (AT_ROOT, b"/%2e%2e/y/message"),
        (AT_ROOT, b"http://upstream:3010/a/../../y/message"),
        (AT_ROOT, b"/..;y"),
        (AT_ROOT, b".. #part"),
        (AT_ROOT, b"/message\n/other"),
        (AT_ROOT, b"/mess\x00age"),
        (AT_ROOT, b"/message\t"),
        (AT_BASE, b"/message"),
        (AT_BASE, b"../message"),
        (AT_BASE, b"/basement/message"),
        (WHOLE, b"/message"),
        (WHOLE, b"/mcp/y/message"),
        (ALIASED, b"http://localhost/message"),
        (PathMap(b"", b"http", b"u"), b"http://u//other-host/message"),
    ],
)
def test_an_endpoint_that_leads_away_is_refused(path_map: PathMap, data: bytes) -> None:
    """Other hosts, schemes and paths outside the server are refused, in whatever disguise."""
    with pytest.raises(ForeignEndpoint):
        path_map.endpoint(data, path_map.to_upstream(path_map.public_prefix + b"/sse"))


def test_a_refused_endpoint_is_named_for_the_log_but_not_in_the_reason() -> None:
    """The operator learns what the server sent, without the session; the reason repeats nothing of it."""
    with pytest.raises(ForeignEndpoint) as caught:
        AT_ROOT.endpoint(b"http://169.254.169.254/x?sessionId=secret", b"/sse")
    assert caught.value.reference == b"http://169.254.169.254/x"
    assert "169" not in str(caught.value)


references = st.builds(
    lambda origin, path, query: origin + path + query,
    st.sampled_from([b"", b"", b"http://upstream:3010", b"//upstream:3010", b"http://other"]),
    st.one_of(st.just(b""), upstream_paths, segments, upstream_paths.map(lambda path: b"/mcp/x" + path)),
    queries,
)


@given(path_maps, references)
def test_rewriting_an_endpoint_twice_changes_nothing(path_map: PathMap, data: bytes) -> None:
    """Behind a second pass the endpoint is the same: a prefix is never doubled."""
    request_target = path_map.to_upstream(path_map.public_prefix + b"/sse")
    try:
        once = path_map.endpoint(data, request_target)
    except ForeignEndpoint:
        return
    assert path_map.endpoint(once, request_target) == once


@given(path_maps, references)
def test_an_endpoint_is_refused_or_lies_under_the_public_prefix(path_map: PathMap, data: bytes) -> None:
    """Resolved as the Python client does it, an endpoint stays with its server and keeps its query."""
    try:
        sent = path_map.endpoint(data, path_map.to_upstream(path_map.public_prefix + b"/sse"))
    except ForeignEndpoint:
        return
    public_get = "https://gate.test" + path_map.public_prefix.decode() + "/sse"
    resolved = urljoin(public_get, sent.decode()).encode()
    path, _, query = resolved.removeprefix(b"https://gate.test").partition(b"?")
    assert _lies_under(path, path_map.public_prefix)
    assert not has_dot_segment(sent.partition(b"?")[0])
    assert query == data.partition(b"?")[2]
    assert sent.partition(b"?")[1] == data.partition(b"?")[1]
