"""What browsers ask before a cross-origin request, and what a page may read of an answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.wire.cors import FIELDS, lines, preflight

ORIGIN = b"https://app.example"


def asking(headers: bytes | None = None, method: bytes = b"POST") -> dict[bytes, bytes]:
    """The fields of a preflight."""
    noted = {b"origin": ORIGIN, b"access-control-request-method": method}
    return noted if headers is None else {**noted, b"access-control-request-headers": headers}


def told(block: bytes | None) -> dict[bytes, bytes]:
    """Header lines as a mapping."""
    assert block is not None
    assert block.endswith(b"\r\n")
    return {name: value for name, _, value in (line.partition(b": ") for line in block.split(b"\r\n")[:-1])}


def test_a_preflight_is_allowed_what_mcp_needs() -> None:
    """The methods of its transports, the origin itself, and the very fields that were asked for."""
    assert told(preflight(asking(b"authorization,content-type,mcp-param-region"))) == {
        b"Access-Control-Allow-Origin": ORIGIN,
        b"Access-Control-Allow-Methods": b"GET, POST, DELETE, OPTIONS",
        b"Access-Control-Allow-Headers": b"authorization,content-type,mcp-param-region",
        b"Access-Control-Max-Age": b"7200",
        b"Vary": b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    }


@pytest.mark.parametrize(
    "headers",
    [None, b"", b"a b", b"a,", b",a", b"a,,b", b'"a"', b"a:b", b"a\xc3\xa9", b"a" * 4097, b"*/*", b"a\r\nX: y"],
)
def test_what_is_no_list_of_names_is_not_allowed(headers: bytes | None) -> None:
    """The preflight is still answered, and the browser then does without the request."""
    allowed = told(preflight(asking(headers)))
    assert b"Access-Control-Allow-Headers" not in allowed
    assert allowed[b"Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("headers", [b"a", b"a, b\t,c", b"a" * 4096, b"*", b"X-A|x", b",".join([b"mcp-param-a"] * 300)])
def test_any_names_are_allowed_as_asked(headers: bytes) -> None:
    """`Mcp-Param-*` depend on the tools of a server, so nobody could list them."""
    assert told(preflight(asking(headers)))[b"Access-Control-Allow-Headers"] == headers


@pytest.mark.parametrize(
    "noted",
    [{}, {b"origin": ORIGIN}, {b"access-control-request-method": b"POST"}, {b"access-control-request-headers": b"a"}],
)
def test_another_options_request_is_no_preflight(noted: dict[bytes, bytes]) -> None:
    """It goes the way of every other request."""
    assert preflight(noted) is None


def test_a_page_may_read_what_clients_act_on() -> None:
    """The session, the challenge, the wait; and nobody else's cached answer is taken for this origin's."""
    allowed = told(lines(ORIGIN))
    assert allowed[b"Access-Control-Allow-Origin"] == ORIGIN
    assert allowed[b"Vary"] == b"Origin"
    assert set(allowed[b"Access-Control-Expose-Headers"].split(b", ")) == {
        b"Mcp-Session-Id",
        b"MCP-Protocol-Version",
        b"WWW-Authenticate",
        b"Retry-After",
        b"RateLimit",
        b"RateLimit-Policy",
        b"Mcpgate-Error",
        b"X-Request-Id",
    }


def test_browsers_are_never_asked_for_cookies() -> None:
    """A page's requests carry the token that it sets itself, not what the browser remembers of its user."""
    for block in (preflight(asking(b"a")), lines(ORIGIN)):
        assert b"Access-Control-Allow-Credentials" not in told(block)


def test_every_field_that_we_write_is_taken_from_servers() -> None:
    """Two words about the same would be read as none."""
    ours = {*told(preflight(asking(b"a"))), *told(lines(ORIGIN))}
    assert {name.lower() for name in ours} - {b"vary"} <= FIELDS
    assert b"access-control-allow-credentials" in FIELDS


@PURE
@given(headers=st.one_of(st.binary(max_size=30), st.text("a-,\t \r\n:", max_size=12).map(str.encode)))
def test_a_preflight_never_writes_more_lines_than_ours(headers: bytes) -> None:
    """Whatever is asked for, the answer has four or five well-formed lines."""
    block = preflight(asking(headers))
    assert block is not None
    assert re.fullmatch(rb"(?:[A-Za-z-]+: [\t\x20-\x7e]+\r\n){4,5}", block)
