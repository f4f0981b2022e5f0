"""The token in an Authorization field, and challenges: ours, and a server's own that we rewrite."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.wire.bearer import bearer_token, challenge, rewritten_challenge

OURS = b"https://gw.example/.well-known/oauth-protected-resource/mcp/x"
BARE = b'Bearer realm="mcpgate"'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer abc", b"abc"),
        (b"BEARER abc", b"abc"),
        (b"Bearer   abc ", b"abc"),
        (b"Bearer a.b_c~d+e/f-g==", b"a.b_c~d+e/f-g=="),
        (b"Bearer " + b"a" * 8192, b"a" * 8192),
        (b"Bearer " + b"a" * 8193, None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Bearer\tabc", None),
        (b"Bearerabc", None),
        (b"Basic abc", None),
        (b"DPoP abc", None),
        (b"Basic abc, Bearer abc", None),
        (b"", None),
        (b"abc", None),
        (b"Bearer a b", None),
        (b"Bearer a\tb", None),
        (b"Bearer a\t", None),
        (b"Bearer a,b", None),
        (b"Bearer a, Bearer b", None),
        (b"Bearer a,", None),
        (b"Bearer a;", None),
        (b'Bearer "abc"', None),
        (b"Bearer a\xc3\xa9", None),
        (b"Bearer a\x00", None),
        (b"Bearer a\n", None),
        (b"Bearer a=b", None),
        (b"Bearer =", None),
    ],
)
def test_which_values_hold_a_token(value: bytes, expected: bytes | None) -> None:
    """RFC 6750 section 2.1: one word after the scheme; equals signs at its end only."""
    assert bearer_token(value) == expected


@PURE
@given(value=st.one_of(st.binary(max_size=20), st.binary(max_size=20).map(b"Bearer ".__add__)))
def test_any_value_has_a_token_or_none(value: bytes) -> None:
    """Whatever a client sends, it is looked up as it came, or not at all."""
    token = bearer_token(value)
    assert token is None or (token and value.endswith(token + b" " * (len(value) - len(value.rstrip(b" ")))))


# --- our challenges ------------------------------------------------------------------------------------------------


def field(name: str, value: bytes) -> str | None:
    """A parameter as the Python and TypeScript clients find it: the first place that looks like it."""
    found = re.search(rf'{name}=(?:"([^"]+)"|([^\s,]+))', value.decode("latin-1"))
    return found and (found[1] or found[2])


def test_a_client_finds_everything_in_a_challenge() -> None:
    """Where the metadata lie, what was wrong, and the scopes to ask for."""
    metadata = OURS.decode()
    value = challenge(
        metadata=metadata,
        error="insufficient_scope",
        description="this needs more scopes",
        scopes=("files:read", "files:write"),
    )
    assert value.startswith(b"Bearer ")
    found = {name: field(name, value) for name in ("error", "error_description", "scope", "resource_metadata")}
    assert found == {
        "error": "insufficient_scope",
        "error_description": "this needs more scopes",
        "scope": "files:read files:write",
        "resource_metadata": metadata,
    }


def test_a_challenge_tells_only_what_there_is_to_tell() -> None:
    """A request without a token gets no error (RFC 6750 section 3.1); a challenge never has no parameter at all."""
    assert challenge(metadata="https://gw/x") == b'Bearer resource_metadata="https://gw/x"'
    assert challenge() == BARE


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ('say "please"', rb'Bearer error_description="say \"please\""'),
        ("a\\b", rb'Bearer error_description="a\\b"'),
        ("two\r\nSet-Cookie: x", b'Bearer error_description="two??Set-Cookie: x"'),
        ("é", b'Bearer error_description="?"'),
        ('", realm="x', rb'Bearer error_description="\", realm=\"x"'),
    ],
)
def test_no_text_breaks_out_of_a_challenge(description: str, expected: bytes) -> None:
    """RFC 9110 section 5.6.4: quotes and backslashes are escaped; nothing ends the line."""
    assert challenge(description=description) == expected


@PURE
@given(text=st.text(st.characters(), max_size=20))
@example('"\\')
@example("\ud800")
def test_a_challenge_is_one_well_formed_challenge(text: str) -> None:
    """Whatever it tells: visible ASCII, and our own rewriting reads it as what it is."""
    value = challenge(metadata="https://gw/x", description=text, scopes=[text])
    assert not re.search(rb"[^\x20-\x7e]", value)
    asked: list[bytes] = []
    rewritten_challenge(value, lambda address: asked.append(address))
    assert asked == [b"https://gw/x"]


# --- a server's own challenges -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'Bearer resource_metadata="http://u/x"', b'Bearer resource_metadata="%b"'),
        (
            b'Bearer error="invalid_token", resource_metadata="http://u/x", scope="a b"',
            b'Bearer error="invalid_token", resource_metadata="%b", scope="a b"',
        ),
        (b'bearer RESOURCE_METADATA = "http://u/x"', b'bearer RESOURCE_METADATA = "%b"'),
        (b"Bearer resource_metadata=http://u/x, scope=a", b'Bearer resource_metadata="%b", scope=a'),
        (rb'Bearer resource_metadata="http:\/\/u/x"', b'Bearer resource_metadata="%b"'),
        (
            b'Basic realm="a, b=\\"c\\"", Bearer resource_metadata="http://u/x"',
            b'Basic realm="a, b=\\"c\\"", Bearer resource_metadata="%b"',
        ),
        (
            b'Negotiate abc==, Bearer scope="a", resource_metadata="http://u/x", Negotiate',
            b'Negotiate abc==, Bearer scope="a", resource_metadata="%b", Negotiate',
        ),
        (
            b'Bearer resource_metadata="http://u/x", Bearer resource_metadata="http://u/x"',
            b'Bearer resource_metadata="%b", Bearer resource_metadata="%b"',
        ),
        (b',, Bearer resource_metadata="http://u/x" ,', b' Bearer resource_metadata="%b"'),
    ],
)
def test_the_address_of_the_metadata_becomes_ours(value: bytes, expected: bytes) -> None:
    """In every form that RFC 9110 section 11 admits, among other challenges, and as servers write it unquoted."""
    asked: list[bytes] = []
    assert rewritten_challenge(value, lambda address: (asked.append(address), OURS)[1]) == expected.replace(b"%b", OURS)
    assert set(asked) == {b"http://u/x"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'Bearer resource_metadata="http://u/x"', b"Bearer"),
        (b'Bearer resource_metadata="http://u/x", scope="a", error="b"', b'Bearer scope="a", error="b"'),
        (b'Bearer scope="a", resource_metadata="http://u/x", error="b"', b'Bearer scope="a", error="b"'),
        (b'Bearer resource_metadata="http://u/x", Basic realm="a"', b'Bearer, Basic realm="a"'),
        (b'Bearer resource_metadata="http://u/x", , scope="a"', b'Bearer scope="a"'),
        (b'Bearer resource_metadata="http://u/x", resource_metadata="http://u/y", scope=a', b"Bearer scope=a"),
        (b'Basic realm="a", Bearer resource_metadata="http://u/x", scope=a', b'Basic realm="a", Bearer scope=a'),
    ],
)
def test_an_address_that_is_not_ours_to_tell_goes(value: bytes, expected: bytes) -> None:
    """A client then looks at the well-known address; what else the challenges say stays."""
    assert rewritten_challenge(value, lambda _: None) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer",
        b"",
        b'Bearer scope="a"',
        b'Digest realm="r", nonce="n", qop="auth, auth-int"',
        b'Bearer realm="unterminated',
        b"Negotiate abc==",
        b'Basic realm="resource_metadata=\\"http://u/x\\""',
    ],
)
def test_other_challenges_keep_their_bytes(value: bytes) -> None:
    """Also what is malformed, where it names no address."""
    assert rewritten_challenge(value, lambda _: OURS) == value


@pytest.mark.parametrize(
    "value",
    [
        b'Bearer resource_metadata="http://u/x',
        b'Bearer resource_metadata="http://u/x" scope="a"',
        b'resource_metadata="http://u/x"',
        b'Bearer scope="a" resource_metadata="http://u/x"',
        b'Bearer resource_metadata="a"b"',
        b'Bearer error="a\x01", resource_metadata="http://u/x"',
        b'Basic realm="a, Bearer resource_metadata="http://u/x"',
        b'Bearer resource_metadata="http://u/x\\',
        b'Bearer [resource_metadata="http://u/x"',
        b'Bearer error=, resource_metadata="http://u/x", a b c',
    ],
)
def test_a_malformed_challenge_with_an_address_gives_way_to_a_bare_one(value: bytes) -> None:
    """Clients search for the parameter anywhere, so nothing of it may stay."""
    assert rewritten_challenge(value, lambda _: OURS) == BARE


def test_an_address_of_ours_is_quoted_as_well() -> None:
    """A server's bytes that came into our address cannot end the value, or the line."""
    value = rewritten_challenge(b'Bearer resource_metadata="http://u/x"', lambda _: b'https://gw/"\r\nX: y')
    assert value == b'Bearer resource_metadata="https://gw/\\"??X: y"'


PIECES = st.sampled_from(
    [b"Bearer", b"Basic", b" ", b",", b"=", b'"', b"\\", b"a", b"abc==", b"\t", b"resource_metadata", b'="http://u/x"',
     b'"http://u/x"', b"http://u/x", b'realm="a, b"', b"Resource_Metadata=http://u/x", b"\x80", b", Bearer "]
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=12).map(b"".join)


@PURE
@given(value=VALUES)
@example(b'Bearer resource_metadata="http://u/x", scope="a"')
@example(b'Basic a="resource_metadata", Bearer b')
def test_rewriting_twice_is_rewriting_once(value: bytes) -> None:
    """The result is read as it was written: no bytes of a server change what ours mean."""
    once = rewritten_challenge(value, lambda _: OURS)
    seen: list[bytes] = []
    assert rewritten_challenge(once, lambda address: (seen.append(address), address)[1]) == once
    assert set(seen) <= {OURS}


@PURE
@given(
    value=VALUES, after=st.sampled_from([b', Bearer resource_metadata="http://u/x"', b", Bearer resource_metadata=h"])
)
def test_the_last_challenge_never_keeps_the_servers_address(value: bytes, after: bytes) -> None:
    """Whatever stands in front of a Bearer challenge, at its end there is our address, or no challenge but ours."""
    result = rewritten_challenge(value + after, lambda _: OURS)
    assert (
        result == BARE
        or result.endswith(b', Bearer resource_metadata="%b"' % OURS)
        or (result == b' Bearer resource_metadata="%b"' % OURS)
    )


def test_many_quotes_cost_no_more_than_their_length() -> None:
    """A challenge as long as a head may be is read in one walk."""
    value = b"Bearer resource_metadata=" + b'"\\"' * 10_000
    assert rewritten_challenge(value, lambda _: OURS) == BARE
    value = b'Bearer resource_metadata="http://u/x"' + b", a=b" * 6_000
    assert rewritten_challenge(value, lambda _: OURS).startswith(b'Bearer resource_metadata="https://gw.example/')
