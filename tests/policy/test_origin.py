"""Which Host and Origin a listener answers to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE, broken

from mcpgate.policy.origin import LOOPBACK_NAMES, AllowedOrigins, split_host

LOCAL = AllowedOrigins(LOOPBACK_NAMES)
NAMED = AllowedOrigins(
    ["gate.example", "Ported.example:8443", "[2001:db8::1]"], ["https://app.example", "HTTPS://Other.Example/"]
)
ANY = AllowedOrigins((), any_host=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"gate.example", (b"gate.example", b"")),
        (b"GATE.Example:8443", (b"gate.example", b"8443")),
        (b"a_b.example", (b"a_b.example", b"")),  # no host name, but a registered one
        (b"xn--mller-kva.example", (b"xn--mller-kva.example", b"")),
        (b"gate.example.", (b"gate.example.", b"")),
        (b"127.0.0.1:0", (b"127.0.0.1", b"0")),
        (b"10.0.0.7:65535", (b"10.0.0.7", b"65535")),
        (b"[::1]", (b"[::1]", b"")),
        (b"[2001:DB8::1]:80", (b"[2001:db8::1]", b"80")),
        (b"[::ffff:127.0.0.1]", (b"[::ffff:127.0.0.1]", b"")),
        (b"[fe80::1%25eth0]:80", (b"[fe80::1%25eth0]", b"80")),
        (b"", None),
        (b":80", None),
        (b"gate.example:", None),
        (b"gate.example:65536", None),
        (b"gate.example:008080", None),
        (b"gate.example:8o", None),
        (b"gate.example:-1", None),
        (b"gate.example:+1", None),
        (b"gate.example:80:80", None),
        (b"gate.example, evil.example", None),
        (b"gate.example evil.example", None),
        (b"gate.example\t", None),
        (b"gate.example\n", None),
        (b"gate.example/", None),
        (b"gate.example?a", None),
        (b"gate.example#a", None),
        (b"gate.example\\a", None),
        (b"user@gate.example", None),
        (b"user:word@gate.example", None),
        (b"http://gate.example", None),
        (b"m\xc3\xbcller.example", None),
        (b"g%61te.example", None),
        (b"::1", None),
        (b"[::1", None),
        (b"[::1]x", None),
        (b"[::1]:", None),
        (b"[]", None),
        (b"[:::1]", None),
        (b"[1.2.3.4]", None),
        (b"[g::1]", None),
        (b"[::1%eth0]", None),
        (b"[v1.a]", None),
        (b"\x00", None),
    ],
)
def test_what_a_host_is(value: bytes, expected: tuple[bytes, bytes] | None) -> None:
    """RFC 9110 section 7.2, less what no client sends: escapes, an empty port, an address of the future."""
    assert split_host(value) == expected
    assert (ANY.admits_host(value) is None) is (expected is None)
    assert (LOCAL.admits_host(value) is None) is (expected is None)


@pytest.mark.parametrize(
    ("value", "local", "named"),
    [
        (b"localhost", True, False),
        (b"LOCALHOST:8700", True, False),
        (b"127.0.0.1:1", True, False),
        (b"[::1]:8700", True, False),
        (b"[0:0:0:0:0:0:0:1]", False, False),  # the same address, which no client writes so
        (b"127.0.0.2", False, False),
        (b"0.0.0.0", False, False),
        (b"localhost.", False, False),  # the same name; a browser takes it for another origin, and so it is here
        (b"localhost.evil.example", False, False),
        (b"xlocalhost", False, False),
        (b"gate.example", False, True),
        (b"gate.example:443", False, True),
        (b"gate.example.", False, False),
        (b"sub.gate.example", False, False),
        (b"ported.example:8443", False, True),
        (b"PORTED.example:8443", False, True),
        (b"ported.example:443", False, False),
        (b"ported.example", False, False),
        (b"ported.example:08443", False, False),
        (b"[2001:DB8::1]:9", False, True),
        (b"[2001:db8::2]", False, False),
    ],
)
def test_whose_host_is_admitted(value: bytes, local: bool, named: bool) -> None:
    """A name with any port, or with its own; compared letter by letter, without regard to case."""
    for _ in range(2):  # what was admitted is remembered
        assert LOCAL.admits_host(value) is local
        assert NAMED.admits_host(value) is named
        assert ANY.admits_host(value) is True


@pytest.mark.parametrize(
    ("value", "local", "named"),
    [
        (b"http://localhost", True, False),
        (b"http://localhost:5173", True, False),
        (b"https://127.0.0.1:8700", True, False),
        (b"HTTP://LocalHost", True, False),
        (b"http://[::1]:6274", True, False),
        (b"http://localhost.", False, False),
        (b"http://localhost.evil.example", False, False),
        (b"http://localhost@evil.example", False, False),
        (b"http://evil.example@localhost", False, False),
        (b"http://localhost:80@evil.example", False, False),
        (b"http://localhost/", False, False),
        (b"http://localhost/.evil.example", False, False),
        (b"http://localhost?evil.example", False, False),
        (b"http://localhost#evil.example", False, False),
        (b"http://localhost\\.evil.example", False, False),
        (b"http://localhost http://evil.example", False, False),
        (b"http://localhost, http://evil.example", False, False),
        (b"http://localhost\n", False, False),
        (b"http://", False, False),
        (b"http:///", False, False),
        (b"http:localhost", False, False),
        (b"//localhost", False, False),
        (b"localhost", False, False),
        (b"ws://localhost", False, False),
        (b"file://", False, False),
        (b"file://localhost", False, False),
        (b"chrome-extension://localhost", False, False),
        (b"null", False, False),
        (b"NULL", False, False),
        (b"", False, False),
        (b"*", False, False),
        (b"https://gate.example", False, True),
        (b"http://gate.example:8080", False, True),
        (b"https://ported.example:8443", False, True),
        (b"https://ported.example", False, False),
        (b"https://app.example", False, True),
        (b"HTTPS://APP.EXAMPLE", False, True),
        (b"http://app.example", False, False),
        (b"https://app.example:8443", False, False),
        (b"https://app.example.", False, False),
        (b"https://app.example.evil.example", False, False),
        (b"https://xapp.example", False, False),
        (b"https://other.example", False, True),
        (b"https://m\xc3\xbcller.example", False, False),
        (b"https://xn--mller-kva.example", False, False),
    ],
)
def test_whose_pages_are_admitted(value: bytes, local: bool, named: bool) -> None:
    """Those of the hosts themselves, and the origins that are named, scheme and port and all."""
    assert LOCAL.admits_origin(value) is local
    assert NAMED.admits_origin(value) is named


@pytest.mark.parametrize("value", [b"null", b"https://any.example", b"http://localhost", b"chrome-extension://abc"])
def test_a_listener_for_any_host_is_not_for_any_page(value: bytes) -> None:
    """Who listens everywhere without a name must say which pages may come in; `*` and `null` only if they are named."""
    assert not ANY.admits_origin(value)
    assert AllowedOrigins((), ["*"]).admits_origin(value)
    assert AllowedOrigins((), ["null"]).admits_origin(value) is (value == b"null")
    assert AllowedOrigins((), [value.decode().upper()]).admits_origin(value)


def test_nothing_is_admitted_where_nothing_is_named() -> None:
    """Closed unless somebody opens it."""
    closed = AllowedOrigins(())
    assert closed.admits_host(b"localhost") is False
    assert not closed.admits_origin(b"http://localhost")


@pytest.mark.parametrize("name", ["m\u00fcller.example", "gate\u3002example", "g\u0430te.example"])
def test_a_name_beyond_ascii_admits_nothing(name: str) -> None:
    """Names travel, and are configured, in their ASCII form (`xn--...`); what only looks like one is none."""
    odd = AllowedOrigins([name], [f"https://{name}"])
    for value in (name.encode(), b"gate.example", b"muller.example", name.encode("idna")):
        assert not odd.admits_host(value)
        assert not odd.admits_origin(b"https://" + value)


def test_what_is_remembered_is_bounded() -> None:
    """A client that invents hosts fills nothing, and is answered all the same."""
    anybody = AllowedOrigins((), any_host=True)
    assert all(anybody.admits_host(b"host-%d.example" % number) for number in range(1000))
    assert len(anybody._admitted) == 64
    assert anybody.admits_host(b"host-999.example")


@PURE
@given(
    value=broken(
        st.sampled_from([b"localhost", b"localhost:8700", b"[::1]:1", b"127.0.0.1", b"http://localhost:1", b"null"])
    )
)
def test_what_looks_like_a_loopback_name_is_one_or_is_refused(value: bytes) -> None:
    """One wrong byte in a Host or an Origin never makes it something else that is admitted."""
    letters = set(value) - set(b"0123456789")
    if LOCAL.admits_host(value):
        name = (
            value.lower().rpartition(b":")[0]
            if value[-1:].isdigit() and value.lower() != b"127.0.0.1"
            else value.lower()
        )
        assert name in (b"localhost", b"127.0.0.1", b"[::1]")
        assert letters <= set(b"LOCALHOSTlocalhost.:[]")
    if LOCAL.admits_origin(value):
        assert LOCAL.admits_host(value.partition(b"://")[2])
        assert value.partition(b"://")[0].lower() in (b"http", b"https")
