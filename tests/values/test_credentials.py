"""How tokens, keys and rights are written."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.values import credentials


def test_token_digests() -> None:
    """A digest is kept in lower case; a token in clear text is refused with two ways to hash it."""
    assert credentials.token_digest("AB" * 32) == "ab" * 32
    with pytest.raises(ValueError, match=r"mcpgate token new NAME.*printf %s TOKEN \| sha256sum") as refused:
        credentials.token_digest("tok-0123456789abcdef")
    assert "tok-" not in str(refused.value)


@pytest.mark.parametrize("nothing", [b"", b"\n", b"\r\n"])
def test_digests_of_nothing(nothing: bytes) -> None:
    """A hash that was made of an empty variable is not that of a token."""
    with pytest.raises(ValueError, match="the hash of no text at all"):
        credentials.token_digest(hashlib.sha256(nothing).hexdigest())


@pytest.mark.parametrize("text", ["k" * 32, "k" * 1024, "!~" * 16])
def test_session_keys(text: str) -> None:
    """Visible ASCII, at least 32 characters."""
    assert credentials.session_key(text) == text


@pytest.mark.parametrize("text", ["", "k" * 31, "k" * 1025, "k" * 31 + " ", "k" * 32 + "\n", "é" * 32])
def test_what_is_no_session_key(text: str) -> None:
    """What is guessed, or read in two ways, seals nothing."""
    with pytest.raises(ValueError, match="expected"):
        credentials.session_key(text)


@pytest.mark.parametrize("text", ["repo", "repo:read", "https://api.example.com/x", "*", "!", "#[]~", "a" * 256])
def test_scopes(text: str) -> None:
    """Any scope of RFC 6749."""
    assert credentials.scope(text) == text


@given(st.text(max_size=8))
def test_a_scope_stands_in_a_quoted_string_as_it_is(text: str) -> None:
    """What is taken has neither blanks nor quotes, so that a list of scopes can be told in a header."""
    try:
        credentials.scope(text)
    except ValueError:
        return
    assert text
    assert all("!" <= letter <= "~" and letter not in '"\\' for letter in text)


@pytest.mark.parametrize(
    ("text", "why"), [("a b", "one scope in each entry"), ("", "empty"), ("a" * 257, "too long"), ('"', "not a scope")]
)
def test_what_is_no_scope(text: str, why: str) -> None:
    """The most likely slip, several scopes in one text, is called what it is."""
    with pytest.raises(ValueError, match=why):
        credentials.scope(text)


def test_granted_servers() -> None:
    """A name, or every one; a pattern could grant what comes later."""
    assert [credentials.granted_server(text) for text in ("*", "a-b.c")] == ["*", "a-b.c"]
    for text, why in (("a*", "a pattern"), ("A", "not a name"), ("", "not a name"), ("discovery", "taken")):
        with pytest.raises(ValueError, match=why):
            credentials.granted_server(text)


@pytest.mark.parametrize("text", ["alice", "idp.example.com:alice@example.com", "idp:auth0|5:6", "idp:Ä b"])
def test_principals(text: str) -> None:
    """The id of a token, or an issuer's id and a subject, in which anything may stand."""
    assert credentials.principal(text) == text


@pytest.mark.parametrize("text", ["", "Alice", "idp:", ":alice", "IDP:alice", "idp:a\n", "idp:" + "a" * 257])
def test_what_is_no_principal(text: str) -> None:
    """What nobody can ever be called."""
    with pytest.raises(ValueError, match="expected"):
        credentials.principal(text)


@pytest.mark.parametrize("text", ["*", "tools/call", "get_*", "a.b-c", "notifications/*", "Ä"])
def test_patterns(text: str) -> None:
    """Names, with * wherever anything may stand."""
    assert credentials.name_pattern(text) == text
    assert credentials.tool_pattern(text) == text
    assert credentials.granted_tool(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a?", "[ab]", "a|b", "^a", "a$", "a\\.b", "{a}", "(a)", "a\n", '"a"'])
def test_wildcards_of_other_languages_are_refused(text: str) -> None:
    """A rule in the belief that ? or | means something would protect nothing."""
    for read in (credentials.name_pattern, credentials.tool_pattern, credentials.granted_tool):
        with pytest.raises(ValueError, match="expected"):
            read(text)


def test_patterns_with_a_server() -> None:
    """Before the first colon stands whose tool it is."""
    for text in ("github:*", "*:delete_*", "git*:a", "a:ns:b"):
        assert credentials.granted_tool(text) == text
        with pytest.raises(ValueError, match="with a colon"):
            credentials.tool_pattern(text)
    for text in (":a", "A:b", "a b:c", "a:", "a:b?"):
        with pytest.raises(ValueError, match="expected"):
            credentials.granted_tool(text)


def test_claims() -> None:
    """Any name on one line."""
    assert credentials.claim_text("https://example.com/claims/mcp servers") == "https://example.com/claims/mcp servers"
    for text in ("", "a\n", "a" * 257):
        with pytest.raises(ValueError, match="expected"):
            credentials.claim_text(text)


@pytest.mark.parametrize("text", ["weather", "team-*", "*", "t*", "a.b_c-*"])
def test_servers_that_somebody_may_register(text: str) -> None:
    """A name, or what names begin with."""
    assert credentials.registrable_server(text) == text


@pytest.mark.parametrize("text", ["", "Team-*", "*-a", "a*b", "a**", "-*", "a b*", "team-?", "discovery", "ä*"])
def test_what_no_name_begins_with_is_refused(text: str) -> None:
    """Such a right would never be good for anything."""
    with pytest.raises(ValueError, match="expected"):
        credentials.registrable_server(text)
