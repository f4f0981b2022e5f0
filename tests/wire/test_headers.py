"""Which fields travel on, which end here, and what the gateway says about who asked."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE, names

from mcpgate.wire import headers
from mcpgate.wire.headers import ANSWER, HOP_BY_HOP, REQUEST, Role, Roles


def _names(text: str) -> list[bytes]:
    return [name.encode() for name in text.split()]


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (Role.DROP, "Keep-Alive Proxy-Connection Proxy-Authenticate Proxy-Authorization TE Trailer HTTP2-Settings"),
        (Role.DROP, "X-Real-IP X-Original-URL X-Rewrite-URL X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Anything"),
        (Role.DROP, "Content_Length X_Forwarded_For X_ _ Mcpgate-Error Mcpgate- X-Mcpgate-User mcpgate-x"),
        (
            Role.TAKE,
            "Connection Transfer-Encoding Upgrade Host Content-Length Expect Authorization Origin Via Forwarded",
        ),
        (Role.TAKE, "X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto traceparent X-Request-Id"),
        (Role.NOTE, "Accept Accept-Encoding Content-Type Last-Event-ID Mcp-Method Mcp-Name MCP-Protocol-Version Mcp-Session-Id"),
        (Role.NOTE, "Sec-WebSocket-Key Sec-WebSocket-Version Content-Encoding"),
        (Role.NOTE, "Access-Control-Request-Method Access-Control-Request-Headers"),
        (Role.PASS, "User-Agent Cookie Mcp-Param-Anything Sec-WebSocket-Protocol tracestate baggage"),
        (Role.PASS, "X-Api-Key Set-Cookie Location mcpgate x-mcpgate X-Forwarded If-None-Match"),
    ],
)
def test_the_fields_of_a_request(role: Role, names: str) -> None:
    """Toward the server: nothing of the hop, nothing that is ours to say, and unknown ones as they are."""
    for name in _names(names):
        for spelling in (name, name.lower(), name.upper(), name.title()):
            assert REQUEST.of(spelling) == (role, name.lower())


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (Role.DROP, "Keep-Alive Proxy-Connection Proxy-Authenticate Proxy-Authorization TE Trailer"),
        (Role.DROP, "Clear-Site-Data Mcpgate-Error X-Mcpgate-Reason"),
        (Role.TAKE, "Connection Transfer-Encoding Upgrade Content-Length Location Set-Cookie"),
        (Role.NOTE, "Content-Type Content-Encoding Sec-WebSocket-Accept WWW-Authenticate Mcp-Session-Id"),
        (Role.PASS, "Server Date Vary ETag Cache-Control X-Accel-Buffering Via"),
        (Role.PASS, "Sec-WebSocket-Protocol Retry-After X_Y X-Forwarded-For Access-Control-Allow-Origin Link"),
    ],
)
def test_the_fields_of_an_answer(role: Role, names: str) -> None:
    """Toward the client: addresses and cookies are written anew, and nobody speaks for the gateway."""
    for name in _names(names):
        for spelling in (name, name.lower(), name.upper(), name.title()):
            assert ANSWER.of(spelling) == (role, name.lower())


@PURE
@given(name=names, capitals=st.lists(st.booleans(), min_size=30, max_size=30), roles=st.sampled_from([REQUEST, ANSWER]))
def test_a_name_has_one_role_in_every_spelling(name: bytes, capitals: list[bool], roles: Roles) -> None:
    """No spelling slips past what holds for another (the usual ones are looked up, the others worked out)."""
    letters = zip(name.decode(), capitals, strict=False)
    spelled = "".join(letter.upper() if capital else letter.lower() for letter, capital in letters).encode()
    assert roles.of(spelled) == (roles.of(name.lower())[0], name.lower())


@pytest.mark.parametrize("roles", [REQUEST, ANSWER])
def test_a_name_that_is_nearly_known_is_another(roles: Roles) -> None:
    """A letter more or less, and it is somebody's own field, which travels on unless its form is forbidden."""
    for known in (b"Host", b"Content-Length", b"MCP-Protocol-Version", b"Mcp-Session-Id", b"Set-Cookie", b"Connection"):
        for name in (known[:-1], known[1:], known + b"x", known.upper()[:-1], known.lower() + b"-"):
            assert roles.of(name) == (Role.PASS, name.lower())


def test_nothing_of_the_hop_travels_on() -> None:
    """RFC 9110 section 7.6.1, in both directions."""
    for roles in (REQUEST, ANSWER):
        assert {roles.of(name)[0] for name in HOP_BY_HOP} == {Role.DROP, Role.TAKE}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"x-a", True),
        (b"keep-alive", True),
        (b"user-agent", True),
        (b"host", False),
        (b"authorization", False),
        (b"content-length", False),
        (b"content-type", False),
        (b"accept", False),
        (b"cookie", False),
        (b"origin", False),
        (b"mcp-session-id", False),
        (b"mcp-anything", False),
        (b"x-forwarded-for", False),
    ],
)
def test_what_connection_may_list(name: bytes, expected: bool) -> None:
    """Not who asks, nor what."""
    assert headers.may_be_listed(name) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"close", [b"close"]),
        (b"Keep-Alive, Upgrade", [b"keep-alive", b"upgrade"]),
        (b" a ,\tb\t,,c, ", [b"a", b"b", b"c"]),
        (b"", []),
        (b" , ", []),
        (b"a b", [b"a b"]),
    ],
)
def test_the_members_of_a_list(value: bytes, expected: list[bytes]) -> None:
    """Empty ones do not count (RFC 9110 section 5.6.1)."""
    assert headers.tokens(value) == expected


@pytest.mark.parametrize(
    ("via", "count"),
    [
        (b"", 0),
        (b"1.1 mcpgate", 1),
        (b"1.1 mcpgate, 1.1 mcpgate", 2),
        (b"1.0 fred, 1.1 MCPgate (twice), HTTP/1.1 mcpgate,1.1 other", 2),
        (b"1.1 mcpgate-2, 1.1 xmcpgate, mcpgate.example", 0),
        (headers.VIA, 1),
    ],
)
def test_how_often_a_request_was_here(via: bytes, count: int) -> None:
    """By our own entries in Via, among those of others."""
    assert headers.passes_count(via) == count


@PURE
@given(
    lines=st.lists(st.tuples(st.sampled_from([b"X-A", b"x-a", b"X-AB", b"A"]), st.sampled_from([b"", b"x-a: b", b"c"])))
)
def test_lines_are_taken_out_by_name(lines: list[tuple[bytes, bytes]]) -> None:
    """In every spelling, however often; all others stay, byte for byte and in order."""
    block = b"".join(b"%b: %b\r\n" % line for line in lines)
    assert headers.fields(block) == lines
    left = headers.without(block, {b"x-a"})
    assert headers.fields(left) == [line for line in lines if line[0].lower() != b"x-a"]
    assert headers.without(block, set()) == block


@PURE
@given(
    lines=st.lists(st.tuples(st.sampled_from([b"X-A", b"x-a", b"X-B", b"B", b"C"]), st.sampled_from([b"", b"x-b: c", b"\tB"]))),
    wanted=st.sets(st.sampled_from([b"x-a", b"x-b", b"b", b"x", b"x-a: x-b"])),
)
def test_few_names_are_taken_out_like_many(lines: list[tuple[bytes, bytes]], wanted: set[bytes]) -> None:
    """One by one or in one walk, which of it is quicker."""
    block = b"".join(b"%b: %b\r\n" % line for line in lines)
    many = wanted | {b"other-%d" % number for number in range(10)}
    assert headers.without(block, wanted) == headers.without(block, many)


@pytest.mark.parametrize("roles", [REQUEST, ANSWER])
def test_what_a_walk_over_a_head_needs_follows_from_the_role(roles: Roles) -> None:
    """Whether a field travels on, and whether we read it: four roles, and no field that has no fate."""
    fates = {Role.PASS: (True, False), Role.DROP: (False, False), Role.TAKE: (False, True), Role.NOTE: (True, True)}
    for name in (*roles.usual, b"X-Own", b"HOST", b"aCCept", b"te", b"Mcpgate-X"):
        role, lower = roles.of(name)
        travels, read_as = roles.fate(name)
        assert (travels, bool(read_as)) == fates[role]
        assert read_as in (b"", lower)
        assert roles.usual.get(name, (travels, read_as)) == (travels, read_as)


_NETWORKS = [ipaddress.ip_network(text) for text in ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8", "::1/128")]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", False),
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("fd12::1", True),
        ("fd12::1%eth0", True),
        ("fe80::1", False),
        ("::1", True),
        ("", False),
        ("unix", False),
        ("10.0.0.1:80", False),
        ("10.1", False),
        ("localhost", False),
    ],
)
def test_who_may_say_who_the_client_is(address: str, expected: bool) -> None:
    """Addresses in the networks, also as a socket for both families writes them; nothing that is no address."""
    assert headers.is_trusted(address, _NETWORKS) is expected
    assert not headers.is_trusted(address, [])


@pytest.mark.parametrize(
    ("host", "earlier", "expected"),
    [
        (b"", (b"", b""), [b"192.0.2.1", b"https", b"1.1 mcpgate"]),
        (b"gate.example", (b"", b""), [b"192.0.2.1", b"https", b"gate.example", b"1.1 mcpgate"]),
        (b"g:1", (b"10.0.0.1, 10.0.0.2", b""), [b"10.0.0.1, 10.0.0.2, 192.0.2.1", b"https", b"g:1", b"1.1 mcpgate"]),
        (b"", (b"", b"1.0 fred"), [b"192.0.2.1", b"https", b"1.0 fred, 1.1 mcpgate"]),
    ],
)
def test_what_the_gateway_says_about_who_asked(
    host: bytes, earlier: tuple[bytes, bytes], expected: list[bytes]
) -> None:
    """Its peer behind what a trusted proxy has said; a Host only if there was one."""
    written = headers.fields(headers.forwarding(b"192.0.2.1", b"https", host, earlier))
    names = _names("X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host Via")
    assert written == list(zip([name for name in names if host or name != b"X-Forwarded-Host"], expected, strict=True))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"for=192.0.2.1", {b"for": b"192.0.2.1"}),
        (b"For=a;PROTO=https; host=g:1", {b"for": b"a", b"proto": b"https", b"host": b"g:1"}),
        (b'for="[2001:db8::1]:4711"', {b"for": b"[2001:db8::1]:4711"}),
        (b"for=spoofed;host=evil, for=192.0.2.1", {b"for": b"192.0.2.1"}),
        (b'for="spoofed, for=192.0.2.1;proto=https', {b"for": b"192.0.2.1", b"proto": b"https"}),
        (b"for=a,", {}),
        (b"for", {}),
        (b"for=;proto=http", {b"proto": b"http"}),
        (b"", {}),
    ],
)
def test_what_the_last_proxy_says(value: bytes, expected: dict[bytes, bytes]) -> None:
    """RFC 7239: what stands before its own element came from whoever asked it, and is not believed."""
    assert headers.forwarded(value) == expected
