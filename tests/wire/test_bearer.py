"""The token in an Authorization field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.wire.bearer import bearer_token


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
        (b"", None),
        (b"abc", None),
        (b"Bearer a b", None),
        (b"Bearer a,b", None),
        (b"Bearer a, Bearer b", None),
        (b'Bearer "abc"', None),
        (b"Bearer a\xc3\xa9", None),
        (b"Bearer a\x00", None),
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
