"""What the claims of a token give: who it is, until when, and to what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.signers import AUDIENCE, CLAIMS, ISSUER, NOW_S
from tests.strategies import PURE

from mcpgate.errors import ExpiredToken, InvalidToken
from mcpgate.policy.authn import Grant
from mcpgate.policy.authz import EVERY_TOOL, ToolRights
from mcpgate.policy.claims import MAX_SUBJECT_CHARS, grant_of, read_claims
from mcpgate.policy.issuers import IssuerTerms

ABSENT = object()


def _terms(**changes: Any) -> IssuerTerms:
    return IssuerTerms(**{"id": "acme", "issuer": ISSUER, "audiences": (AUDIENCE,), **changes})


def _grant(changes: Mapping[str, object], **terms: Any) -> Grant:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ABSENT}
    return grant_of(claims, _terms(**terms), NOW_S, None)


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"7",
        b"[]",
        b"null",
        b'"sub"',
        b'{"sub": "a"}{}',
        b'\xef\xbb\xbf{"sub": "a"}',
        '{"sub": "a"}'.encode("utf-16"),
        '{"sub": "a"}'.encode("utf-32-le"),
        b'{"sub": "\xff"}',
        b'{"sub": "a", "sub": "b"}',
        b'{"sub": "a", "x": [{"y": 1, "y": 1}]}',
        b'{"sub": "a", "s\\u0075b": "b"}',
        b'{"exp": NaN}',
        b'{"exp": Infinity}',
        b'{"exp": -Infinity}',
        b'{"exp": ' + b"9" * 5000 + b"}",
        b'{"x": ' + b"[" * 4000 + b"]" * 4000 + b"}",
        b'{"x":' * 1200 + b"1" + b"}" * 1200,
    ],
)
def test_claims_that_two_readers_could_read_differently_are_no_claims(payload: bytes) -> None:
    """Nor are those that make a reader give up."""
    with pytest.raises(ValueError):
        read_claims(payload)


def test_claims_of_any_layout_are_read() -> None:
    """Blanks, escapes and names that differ only in case are nobody's problem."""
    payload = b' {\n"s\\u0075b": "a", "Sub": "b", "exp": 1.5, "x": {"y": [null]}}\r\n'
    assert read_claims(payload) == {"sub": "a", "Sub": "b", "exp": 1.5, "x": {"y": [None]}}


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exp", "leeway_s", "left_s"), [(60, 0.0, 60), (60, 30.0, 90), (0, 30.0, 30), (-29, 30.0, 1), (0.5, 0.0, 0.5)])
def test_a_token_is_good_until_it_expires_and_a_little_longer(exp: float, leeway_s: float, left_s: float) -> None:
    """The clocks of an issuer and of the gateway differ."""
    assert _grant({"exp": NOW_S + exp}, leeway_s=leeway_s).expires_s == NOW_S + left_s


@pytest.mark.parametrize(("exp", "leeway_s"), [(0, 0.0), (-1, 0.0), (-30, 30.0), (-NOW_S, 30.0)])
def test_from_its_expiry_on_it_is_not(exp: float, leeway_s: float) -> None:
    """RFC 7519: on or after."""
    with pytest.raises(ExpiredToken):
        _grant({"exp": NOW_S + exp}, leeway_s=leeway_s)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_of_the_future_is_not_good_yet(name: str) -> None:
    """But for the leeway."""
    assert _grant({name: NOW_S + 30}, leeway_s=30.0)
    with pytest.raises(InvalidToken) as refused:
        _grant({name: NOW_S + 31}, leeway_s=30.0)
    assert refused.value.detail == f"issuer acme: {name} in the future"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [str(NOW_S), "", True, False, None, [], [NOW_S], {}, math.nan, math.inf, -math.inf, 1e400, -1, 10**400, NOW_S * 1000],
)
def test_a_time_that_is_no_date_is_refused(name: str, value: object) -> None:
    """Milliseconds, too: such a token would be good for ever."""
    with pytest.raises(InvalidToken) as refused:
        _grant({name: value})
    assert refused.value.detail == f"issuer acme: {name} is no date"


def test_a_token_without_an_expiry_is_refused() -> None:
    """Nothing is good for ever."""
    with pytest.raises(InvalidToken):
        _grant({"exp": ABSENT})


# --- who it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, "acme:alice"),
        ({"client_id": "robot"}, "acme:alice"),
        ({"sub": ABSENT, "client_id": "robot", "azp": "other"}, "acme:client:robot"),
        ({"sub": ABSENT, "azp": "other"}, "acme:client:other"),
        ({"sub": "a:b c"}, "acme:a:b c"),
        ({"sub": "Zoë"}, "acme:Zoë"),
        ({"sub": "x" * MAX_SUBJECT_CHARS}, "acme:" + "x" * MAX_SUBJECT_CHARS),
    ],
)
def test_a_principal_is_named_after_issuer_and_subject(claims: dict[str, object], name: str) -> None:
    """A client's own token may have no subject; no user has its name then (RFC 9068 section 5)."""
    assert _grant(claims).name == name


@pytest.mark.parametrize("subject", ["", "client:robot", 7, None, True, [], ["alice"], {}, "a\nb", "a\0", "a\x7f", "\ud800", "\u2028", "x" * 257, ABSENT])
def test_nobody_is_not_a_principal(subject: object) -> None:
    """And what would break a log line, a header or a key is nobody; a bad subject is not replaced by another claim."""
    with pytest.raises(InvalidToken) as refused:
        _grant({"sub": subject} | ({} if subject is ABSENT else {"client_id": "robot"}))
    assert refused.value.detail == "issuer acme: subject"


# --- to what ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a b", {"a", "b"}),
        (" a  b ", {"a", "b"}),
        ("", set()),
        (["a", "b c"], {"a", "b c"}),
        (["a", ""], {"a"}),
        ([], set()),
        (["a", 7], set()),
        (["a", ["b"]], set()),
        ({"a": 1}, set()),
        (7, set()),
        (None, set()),
        (True, set()),
        (ABSENT, set()),
    ],
)
def test_a_claim_is_a_list_or_words(value: object, words: set[str]) -> None:
    """For scopes, servers and tools alike; what is malformed or missing gives nothing."""
    assert _grant({"scope": value}).scopes == words
    assert _grant({"mcp": value}, servers_claim="mcp").servers == words
    assert _grant({"tools": value}, tools_claim="tools").tools == ToolRights(words)


@pytest.mark.parametrize(
    ("claims", "scopes_claim", "scopes"),
    [
        ({"scp": ["a"]}, "scope", {"a"}),
        ({"scp": ["a"], "scope": "b"}, "scope", {"b"}),
        ({"scp": ["a"], "scope": ""}, "scope", set()),
        ({"scp": ["a"], "scope": "b"}, "roles", set()),
        ({"scp": ["a"], "roles": ["c"]}, "roles", {"c"}),
    ],
)
def test_scopes_come_from_the_claim_that_is_configured(claims: dict[str, object], scopes_claim: str, scopes: set[str]) -> None:
    """Where none is, from the two that are in use."""
    assert _grant(claims, scopes_claim=scopes_claim).scopes == scopes


def test_a_star_among_the_scopes_of_an_issuer_is_not_all_of_them() -> None:
    """Some issuers grant whatever scope they are asked for."""
    assert _grant({"scope": "* a"}).scopes == {"a"}


def test_servers_are_those_of_all_and_those_of_the_claim() -> None:
    """`*` is every one."""
    terms = {"servers": frozenset({"common"}), "servers_claim": "mcp"}
    assert _grant({}, **terms).servers == {"common"}
    grant = _grant({"mcp": ["a"]}, **terms)
    assert (grant.admits_server("a"), grant.admits_server("common"), grant.admits_server("b")) == (True, True, False)
    assert _grant({"mcp": "*"}, **terms).admits_server("b")


def test_without_a_claim_for_tools_the_terms_decide() -> None:
    """By default, every tool of the servers."""
    assert _grant({}).tools is EVERY_TOOL
    rights = ToolRights(["read_*"])
    assert _grant({"tools": ["write"]}, tools=rights).tools is rights


def test_a_claim_for_tools_narrows_what_the_terms_allow() -> None:
    """Both must admit a tool."""
    rights = ToolRights(["read_*"], ["s:read_secrets"])
    tools = _grant({"tools": "read_a read_secrets write"}, tools_claim="tools", tools=rights).tools
    assert tools.decides
    assert [name for name in ("read_a", "read_b", "read_secrets", "write") if tools.admits("s", name)] == ["read_a"]
    assert tools.admits("t", "read_secrets")


def test_a_claim_for_every_tool_leaves_the_terms() -> None:
    """A star narrows nothing; equal rights are equal, so that a reload sees that nothing has changed."""
    claims = {"tools": "*"}
    assert not _grant(claims, tools_claim="tools").tools.decides
    rights = ToolRights(None, ["drop"])
    first, second = (_grant(claims, tools_claim="tools", tools=rights).tools for _ in range(2))
    assert (first.admits("s", "a"), first.admits("s", "drop")) == (True, False)
    assert first == second
    assert first != _grant(claims, tools_claim="tools").tools


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@PURE
@given(st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "scope", "scp", "azp", "mcp", "tools"]), _ANY))
def test_claims_of_any_form_give_a_grant_or_a_refusal(changes: dict[str, object]) -> None:
    """Never anything else; and no grant for nobody, or for ever."""
    try:
        grant = _grant(changes, servers_claim="mcp", tools_claim="tools")
    except InvalidToken as refused:
        assert refused.text in (InvalidToken.message, ExpiredToken.message)
    else:
        assert grant.name.removeprefix("acme:").isprintable()
        assert NOW_S < grant.expires_s < math.inf
