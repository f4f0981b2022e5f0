"""Who may use the servers: tokens and issuers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.settings.written import TOKEN, refused

from mcpgate.settings import AuthSettings, GrantedToolsSettings, IssuerSettings, TokenSettings

ISSUER = {"issuer": "https://idp.example.com/", "audience": "gw", "jwks_url": "https://idp.example.com/keys"}


def test_a_token_needs_a_name_and_a_hash() -> None:
    """It is for every server, without scopes, and for ever."""
    found = TokenSettings.model_validate(TOKEN)
    assert (found.servers, found.scopes, found.expires) == (("*",), (), None)
    assert found.tools == GrantedToolsSettings()


def test_a_token_with_all_its_rights() -> None:
    """Servers, scopes, tools, and a day from which on it is worth nothing."""
    found = TokenSettings.model_validate(
        TOKEN
        | {
            "servers": ["github-pm", "jira"],
            "scopes": ["repo", "repo.delete"],
            "tools": {"allow": ["github-pm:*"], "deny": ["delete_*"]},
            "expires": "2027-01-31T02:00:00+02:00",
        }
    )
    assert (found.servers, found.scopes) == (("github-pm", "jira"), ("repo", "repo.delete"))
    assert (found.tools.allow, found.tools.deny) == (("github-pm:*",), ("delete_*",))
    assert found.expires == 1_801_353_600.0


@pytest.mark.parametrize(
    ("values", "where", "why"),
    [
        ({"id": "Alice"}, "id", "not a name"),
        ({"id": "a:b"}, "id", "not a name"),
        ({"servers": ["git*"]}, "servers.0", "a pattern"),
        ({"servers": ["discovery"]}, "servers.0", "taken by the gateway"),
        ({"servers": "github"}, "servers", "tuple"),
        ({"scopes": ["a b"]}, "scopes.0", "one scope in each entry"),
        ({"expires": "tomorrow"}, "expires", "not a date or time"),
        ({"tools": {"allow": ["A B:x"]}}, "tools.allow.0", "whose server cannot exist"),
    ],
)
def test_tokens_that_cannot_be(values: dict[str, Any], where: str, why: str) -> None:
    """Each value is refused where it stands."""
    ((place, text),) = refused(TokenSettings, **TOKEN | values)
    assert place == where
    assert why in text


def test_tokens_differ_in_name_and_hash() -> None:
    """One token with two names, in whatever case, would have the rights of either."""
    again = TOKEN | {"id": "bob", "sha256": "AB" * 32}
    assert [where for where, _ in refused(AuthSettings, tokens=[TOKEN, again])] == ["tokens.1.sha256"]
    other = TOKEN | {"sha256": "cd" * 32}
    assert [where for where, _ in refused(AuthSettings, tokens=[TOKEN, other])] == ["tokens.1.id"]


def test_an_issuer_needs_an_audience_and_keys() -> None:
    """Its tokens are for every server then, with their own scopes."""
    found = IssuerSettings.model_validate(ISSUER)
    assert (found.id, found.issuer, found.audience) == ("idp.example.com", "https://idp.example.com/", ("gw",))
    assert (found.jwks_url, found.jwks_file) == ("https://idp.example.com/keys", None)
    assert found.algorithms == ("RS256", "ES256", "EdDSA")
    assert (found.leeway, found.refresh) == (30.0, 600.0)
    assert (found.servers, found.servers_claim, found.scopes_claim, found.tools_claim) == (("*",), None, "scope", None)
    assert found.tools == GrantedToolsSettings()


def test_a_claim_that_names_servers_is_the_only_grant() -> None:
    """Unless others are given beside it."""
    assert IssuerSettings.model_validate(ISSUER | {"servers_claim": "mcp"}).servers == ()
    assert IssuerSettings.model_validate(ISSUER | {"servers_claim": "mcp", "servers": ["a"]}).servers == ("a",)


def test_several_audiences() -> None:
    """One of them is enough for a token."""
    assert IssuerSettings.model_validate(ISSUER | {"audience": ["a", "b"]}).audience == ("a", "b")
    for audience in ([], [""], "", "a\n"):
        assert refused(IssuerSettings, **ISSUER | {"audience": audience})[0][0].startswith("audience")


def test_exactly_one_source_of_keys() -> None:
    """Two would be a question of which one counts."""
    without = {key: value for key, value in ISSUER.items() if key != "jwks_url"}
    assert IssuerSettings.model_validate(without | {"jwks_file": "keys.json"}).jwks_file == "keys.json"
    assert refused(IssuerSettings, **without) == [("jwks_file", "without keys, expected jwks_url or jwks_file")]
    assert refused(IssuerSettings, **ISSUER | {"jwks_file": "k"}) == [
        ("jwks_file", "beside jwks_url, expected one of the two")
    ]
    assert [where for where, _ in refused(IssuerSettings, **ISSUER | {"jwks_url": "ftp://h"})] == ["jwks_url"]
    both = ISSUER | {"jwks_url": "ftp://h", "jwks_file": "k"}
    assert [where for where, _ in refused(IssuerSettings, **both)] == ["jwks_url"]


@pytest.mark.parametrize("word", ["none", "None", "HS256", "hs512"])
def test_only_signatures_with_a_public_key(word: str) -> None:
    """A shared secret would let the gateway make tokens; no signature would let everybody."""
    ((where, why),) = refused(IssuerSettings, **ISSUER | {"algorithms": ["RS256", word]})
    assert where == "algorithms.1"
    assert why == "an algorithm without a public key, expected one such as RS256, ES256 or EdDSA"


def test_algorithms_are_known_words() -> None:
    """At least one of them."""
    assert [where for where, _ in refused(IssuerSettings, **ISSUER | {"algorithms": ["rs256"]})] == ["algorithms.0"]
    assert [where for where, _ in refused(IssuerSettings, **ISSUER | {"algorithms": []})] == ["algorithms"]


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"issuer": "idp"}, ["issuer"]),
        ({"issuer": "https://idp/?a"}, ["issuer"]),
        ({"id": "A"}, ["id"]),
        ({"issuer": "https://[::1]/"}, ["id"]),
        ({"leeway": "6m"}, ["leeway"]),
        ({"refresh": "1s"}, ["refresh"]),
        ({"scopes_claim": ""}, ["scopes_claim"]),
        ({"servers_claim": "a\n"}, ["servers_claim"]),
        ({"tools_claim": ""}, ["tools_claim"]),
        ({"servers": ["A"]}, ["servers.0"]),
    ],
)
def test_issuers_that_cannot_be(values: dict[str, Any], where: list[str]) -> None:
    """Each value is refused where it stands, alone."""
    assert [place for place, _ in refused(IssuerSettings, **ISSUER | values)] == where


def test_issuers_have_names_of_their_own() -> None:
    """One issuer may stand there twice, for two audiences; then one of the two needs another name."""
    other = ISSUER | {"audience": "other"}
    assert [where for where, _ in refused(AuthSettings, jwt=[ISSUER, other])] == ["jwt.1.id"]
    assert [where for where, _ in refused(AuthSettings, jwt=[ISSUER, other | {"id": "idp.example.com"}])] == [
        "jwt.1.id"
    ]
    found = AuthSettings.model_validate({"jwt": [ISSUER, other | {"id": "other"}]})
    assert [each.id for each in found.jwt] == ["idp.example.com", "other"]


def test_whether_anybody_is_known() -> None:
    """Tokens, a file of tokens, or an issuer."""
    assert not AuthSettings().knows_somebody
    for auth in ({"tokens": [TOKEN]}, {"tokens_file": "x"}, {"jwt": [ISSUER]}):
        assert AuthSettings.model_validate(auth).knows_somebody


def test_whether_a_token_can_expire_while_something_is_open() -> None:
    """Those of issuers always; our own if they have an end."""
    forever = {"tokens": [TOKEN]}
    assert not AuthSettings().lets_in_for_a_time
    assert not AuthSettings.model_validate(forever).lets_in_for_a_time
    for auth in ({"tokens": [TOKEN | {"expires": "2027-01-31"}]}, {"jwt": [ISSUER]}, forever | {"jwt": [ISSUER]}):
        assert AuthSettings.model_validate(auth).lets_in_for_a_time
