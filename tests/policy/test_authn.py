"""Who presents a token."""

from __future__ import annotations

import hmac
import sys
from collections.abc import Callable
from hashlib import sha256

import pytest

from mcpgate.policy.authn import Grant, TokenTable

READ, WRITE = Grant("reader", frozenset({"read"})), Grant("writer", frozenset({"read", "write"}))


def _digest(token: bytes) -> str:
    return sha256(token).hexdigest()


TABLE = TokenTable([(_digest(b"r-token"), READ), (_digest(b"w-token"), WRITE)])


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (b"r-token", READ),
        (b"w-token", WRITE),
        (b"R-token", None),
        (b"r-toke", None),
        (b"r-token ", None),
        (b"", None),
        (b"reader", None),
        (_digest(b"r-token").encode(), None),
        (sha256(b"r-token").digest(), None),
        (b"\x00\xff" * 5000, None),
    ],
)
def test_a_token_is_known_by_its_digest(token: bytes, expected: Grant | None) -> None:
    """The digest itself, which stands in the configuration, opens nothing."""
    assert TABLE.find(token) is expected


def test_digests_are_read_in_either_case() -> None:
    """Tools write hexadecimal in both."""
    assert TokenTable([(_digest(b"t").upper(), READ)]).find(b"t") is READ


def test_an_empty_table_knows_nobody() -> None:
    """Least of all an empty token."""
    assert TokenTable([]).find(b"") is None


@pytest.mark.parametrize("token", [b"token-0", b"token-49", b"token-99", b"unknown", b"", b"x" * 8192])
def test_every_token_takes_the_same_way(token: bytes) -> None:
    """One comparison with each known digest, in constant time each: the time tells nothing about a guess."""
    table = TokenTable([(_digest(b"token-%d" % number), READ) for number in range(100)])
    assert _calls(hmac.compare_digest, lambda: table.find(token)) == 100


def _calls(function: object, action: Callable[[], object]) -> int:
    """How often a built-in function is called during an action."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "c_call" and argument is function

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    return counted
