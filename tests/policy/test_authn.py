"""Who presents a token."""

from __future__ import annotations

import hmac
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.signers import NOW_S, document, issuer, signer
from tests.strategies import PURE

from mcpgate.errors import ExpiredToken, GatewayError, InvalidToken, KeysUnavailable
from mcpgate.policy.authn import Authenticator, Grant, KeysAwaited, TokenTable
from mcpgate.policy.issuers import Issuers

READ, WRITE = Grant("reader", frozenset({"read"})), Grant("writer", frozenset({"read", "write"}))


def _digest(token: bytes) -> str:
    return sha256(token).hexdigest()


# --- grants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "admitted"), [(set(), ""), ({"a"}, "a"), ({"a", "b"}, "ab"), ({"*"}, "ab*"), ({"*", "a"}, "ab*"), ({"A"}, "")]
)
def test_a_grant_is_for_the_servers_it_names(servers: set[str], admitted: str) -> None:
    """Or for all of them; by default for none."""
    grant = Grant("alice", frozenset(), frozenset(servers))
    assert [name for name in "ab*" if grant.admits_server(name)] == list(admitted)


@pytest.mark.parametrize(
    ("servers", "may"),
    [
        (set(), []),
        ({"*"}, ["weather", "team-a", "team-", "team"]),
        ({"weather"}, ["weather"]),
        ({"team-*"}, ["team-a", "team-"]),
        ({"team-*", "weather"}, ["weather", "team-a", "team-"]),
        ({"TEAM-*", "weathe", "weather2", "*-a"}, []),
    ],
)
def test_an_operator_registers_the_servers_that_the_token_names(servers: set[str], may: list[str]) -> None:
    """By name, or by what names begin with."""
    grant = Grant("team", frozenset({"register"}), frozenset(servers))
    assert [name for name in ("weather", "team-a", "team-", "team") if grant.may_register(name)] == may


@pytest.mark.parametrize(
    ("scopes", "missing"), [(set(), ["a", "b"]), ({"a"}, ["b"]), ({"a", "b", "c"}, []), ({"*"}, []), ({"A"}, ["a", "b"])]
)
def test_a_grant_lacks_the_scopes_it_does_not_hold(scopes: set[str], missing: list[str]) -> None:
    """A star holds all of them."""
    assert Grant("alice", frozenset(scopes)).missing_scopes(["a", "b"]) == missing


def test_a_grant_tells_no_digest() -> None:
    """It stands in logs and failures."""
    digest = _digest(b"t")
    grant = TokenTable([(digest, READ)]).find(b"t")
    assert grant is not None
    assert grant.proof == bytes.fromhex(digest)
    assert digest not in repr(grant)
    assert repr(grant.proof) not in repr(grant)


# --- known tokens -------------------------------------------------------------------------------------------------

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
    assert TABLE.find(token) == expected


def test_digests_are_read_in_either_case() -> None:
    """Tools write hexadecimal in both."""
    assert TokenTable([(_digest(b"t").upper(), READ)]).find(b"t") == READ


def test_an_empty_table_knows_nobody() -> None:
    """Least of all an empty token, or one with a digest of zeros."""
    assert TokenTable([]).find(b"") is None
    assert TokenTable([]).find_digest(bytes(32)) is None


def test_the_whole_digest_counts() -> None:
    """Not only the part that files it."""
    digest = sha256(b"r-token").digest()
    assert TABLE.find_digest(digest) == READ
    assert TABLE.find_digest(digest[:-1] + bytes([digest[-1] ^ 1])) is None
    assert TABLE.find_digest(digest[:16]) is None


@pytest.mark.parametrize("token", [b"token-0", b"token-49", b"token-99", b"unknown", b"", b"x" * 8192])
def test_every_token_takes_the_same_way(token: bytes) -> None:
    """One comparison in constant time, whoever is known: the time tells nothing about a guess."""
    table = TokenTable([(_digest(b"token-%d" % number), READ) for number in range(100)])
    assert _calls(hmac.compare_digest, lambda: table.find(token)) == 1


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


# --- everybody ----------------------------------------------------------------------------------------------------

ES = signer("ES256")
JWT = ES.token()


def _everybody() -> Authenticator:
    known = replace(READ, expires_s=NOW_S + 60)
    # A token of ours may look like a JWT.
    table = TokenTable([(_digest(b"r-token"), known), (_digest(b"w-token"), WRITE), (_digest(b"a.b.c"), WRITE)])
    return Authenticator(table, Issuers([issuer(ES)]))


@pytest.mark.parametrize(("token", "name"), [(b"r-token", "reader"), (b"w-token", "writer"), (b"a.b.c", "writer"), (JWT, "acme:alice")])
def test_a_token_is_identified_however_it_came_to_be(token: bytes, name: str) -> None:
    """Known, or signed by somebody who is trusted; the second time, too."""
    everybody = _everybody()
    assert [everybody.identify(token, NOW_S).name for _ in range(2)] == [name, name]


@pytest.mark.parametrize("token", [b"", b"unknown", b"x" * 8192, b"a.b", b"a.b.c.d", b"...", b"\xff.\xff.\xff", JWT[:-3], JWT.lower()])
def test_unknown_and_malformed_tokens_are_refused_alike(token: bytes) -> None:
    """The client hears the same; with and without issuers."""
    for everybody in (_everybody(), Authenticator(TABLE)):
        with pytest.raises(InvalidToken) as refused:
            everybody.identify(token, NOW_S)
        assert (refused.value.text, refused.value.reason) == (InvalidToken.message, "invalid_token")


def test_the_log_tells_an_unknown_token_from_a_broken_one() -> None:
    """Though never what it was."""
    details = []
    for token in (b"unknown", b"a.b", b"x.y.z", ES.token({"aud": "x"})):
        with pytest.raises(InvalidToken) as refused:
            _everybody().identify(token, NOW_S)
        details.append(refused.value.detail)
    assert details == ["unknown token", "unknown token", "malformed JWT", "issuer or audience"]


def test_a_jwt_is_nothing_where_no_issuer_is_trusted() -> None:
    """However well it is signed."""
    with pytest.raises(InvalidToken):
        Authenticator(TABLE).identify(JWT, NOW_S)


@pytest.mark.parametrize(("token", "until_s"), [(b"r-token", NOW_S + 60), (JWT, NOW_S + 630)])
def test_a_token_is_good_until_it_expires(token: bytes, until_s: float) -> None:
    """Also when it is remembered from better times."""
    everybody = _everybody()
    assert everybody.identify(token, until_s - 1).expires_s == until_s
    for at_s in (until_s, until_s + 1e9):
        with pytest.raises(ExpiredToken):
            everybody.identify(token, at_s)


def test_a_known_token_without_an_expiry_is_good_for_ever() -> None:
    """Until a reload takes it away."""
    assert _everybody().identify(b"w-token", 1e18).expires_s == math.inf


def test_the_keys_are_awaited_before_a_token_is_refused() -> None:
    """Whoever is told to await them says afterwards that it has."""
    everybody = Authenticator(TABLE, Issuers([issuer(algorithms=("ES256",))]))
    with pytest.raises(KeysAwaited) as awaited:
        everybody.identify(JWT, NOW_S)
    assert awaited.value.issuer_id == "acme"
    with pytest.raises(KeysUnavailable):
        everybody.identify(JWT, NOW_S, final=True)


def test_cheap_is_what_needs_no_signature_to_be_checked() -> None:
    """Everything else is asked for at the gate first."""
    everybody = _everybody()
    assert [everybody.recognise(token, NOW_S) for token in (b"unknown", b"x.y.z", JWT)] == [None] * 3
    for token in (b"r-token", JWT):
        grant = everybody.identify(token, NOW_S)
        assert everybody.recognise(token, NOW_S) is grant
        with pytest.raises(ExpiredToken):
            everybody.recognise(token, grant.expires_s)
    assert Authenticator(TABLE).recognise(JWT, NOW_S) is None


def test_a_remembered_token_is_not_verified_again() -> None:
    """Checking a signature takes a hundred times as long."""
    everybody = _everybody()
    first = everybody.identify(JWT, NOW_S)
    assert everybody.identify(JWT, NOW_S + 1) is first


# --- after a reload -----------------------------------------------------------------------------------------------


def test_a_grant_is_renewed_as_the_new_configuration_has_it() -> None:
    """By its token, whatever that is called now."""
    grant = _everybody().identify(b"r-token", NOW_S)
    after = Authenticator(TokenTable([(_digest(b"r-token"), replace(WRITE, name="renamed"))]))
    renewed = after.renew(grant, NOW_S)
    assert renewed is not None
    assert (renewed.name, sorted(renewed.scopes)) == ("renamed", ["read", "write"])
    assert after.renew(renewed, NOW_S) == renewed


def test_a_revoked_or_expired_grant_is_not_renewed() -> None:
    """Neither is one whose name was given to another token."""
    grant = _everybody().identify(b"r-token", NOW_S)
    assert _everybody().renew(grant, NOW_S + 59) == grant
    assert _everybody().renew(grant, NOW_S + 60) is None
    assert Authenticator(TokenTable([(_digest(b"other"), grant)])).renew(grant, NOW_S) is None
    assert Authenticator(TokenTable([])).renew(grant, NOW_S) is None


def test_a_grant_of_an_issuer_is_renewed_on_its_terms() -> None:
    """Or not, if it is not trusted any more."""
    grant = _everybody().identify(JWT, NOW_S)
    after = Authenticator(TABLE, Issuers([issuer(ES, servers=frozenset({"new"}))]))
    renewed = after.renew(grant, NOW_S)
    assert renewed is not None
    assert renewed.servers == {"new"}
    assert after.renew(grant, NOW_S + 630) is None
    assert Authenticator(TABLE).renew(grant, NOW_S) is None


def test_a_grant_that_nothing_proves_is_not_renewed() -> None:
    """It came from nowhere."""
    assert _everybody().renew(Grant("ghost", frozenset({"*"})), NOW_S) is None


def test_a_withdrawn_key_ends_what_it_has_signed() -> None:
    """Also what is remembered."""
    own = issuer(ES)
    everybody = Authenticator(TABLE, Issuers([own]))
    grant = everybody.identify(JWT, NOW_S)
    own.keys.replace(document(signer("EdDSA").jwk()), 1.0)
    assert everybody.renew(grant, NOW_S) is None
    assert everybody.recognise(JWT, NOW_S) is None
    with pytest.raises(InvalidToken):
        everybody.identify(JWT, NOW_S, final=True)


_PARTS = st.sampled_from([b".", b"..", b"r-token", JWT, *JWT.split(b"."), b"=", b"\x00", b"\xff", b"eyJ", b" "])


@PURE
@given(st.lists(_PARTS | st.binary(max_size=5), max_size=6).map(b"".join))
def test_whatever_is_presented_is_granted_something_or_refused(token: bytes) -> None:
    """Nothing else ever leaves; and only what was given out is granted something."""
    everybody = _everybody()
    try:
        grant = everybody.identify(token, NOW_S)
    except GatewayError as refused:
        assert refused.reason == "invalid_token"
    except KeysAwaited:
        assert token.count(b".") == 2
    else:
        assert (token.rstrip(b"="), grant.name) in [(b"r-token", "reader"), (JWT, "acme:alice")]
