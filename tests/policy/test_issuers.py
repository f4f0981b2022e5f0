"""Tokens of issuers: taken if the right key has signed them for us, with a pinned algorithm, and refused else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.signers import AUDIENCE, CLAIMS, ISSUER, NOW_S, Signer, document, issuer, key_set, segment, signer
from tests.strategies import broken

from mcpgate.errors import ExpiredToken, GatewayError, InvalidToken, KeysUnavailable
from mcpgate.policy.authn import Grant, KeysAwaited
from mcpgate.policy.issuers import Issuer, Issuers, IssuerTerms, Proof, read
from mcpgate.policy.keys import KeySet

ES, RS, ED = signer("ES256"), signer("RS256"), signer("EdDSA")


def _verify(token: bytes, *issuers: Issuer, at_s: float = NOW_S, final: bool = True) -> Grant:
    return Issuers(issuers or [issuer(ES, RS, ED)]).verify(token, hashlib.sha256(token).digest(), at_s, final)


def _refused(token: bytes, *issuers: Issuer, at_s: float = NOW_S) -> str:
    """Why, for the log; the client is told the same in every case."""
    with pytest.raises(InvalidToken) as refused:
        _verify(token, *issuers, at_s=at_s)
    assert refused.value.text in (InvalidToken.message, ExpiredToken.message)
    return refused.value.detail.removeprefix("issuer acme: ")


# --- good ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_good_token_is_taken(algorithm: str) -> None:
    """Signed with any algorithm that is pinned."""
    by = signer(algorithm)
    grant = _verify(by.token({"scope": "read write"}), issuer(by, servers=frozenset({"wiki"})))
    assert (grant.name, sorted(grant.scopes)) == ("acme:alice", ["read", "write"])
    assert (sorted(grant.servers), grant.expires_s) == (["wiki"], NOW_S + 630)


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "JOSE"])
def test_a_token_may_say_that_it_is_one(typ: str | None) -> None:
    """RFC 9068 and everybody else."""
    assert _verify(ES.token(typ=typ))


@pytest.mark.parametrize("aud", ["https://gate.example", ["https://gate.example"], ["https://x.example", "https://gate.example"]])
def test_the_audience_may_be_one_of_several(aud: object) -> None:
    """RFC 7519 section 4.1.3."""
    assert _verify(ES.token({"aud": aud}))


def test_a_token_without_the_name_of_its_key_is_checked_with_those_that_fit() -> None:
    """Issuers with a single key often leave it out."""
    other = signer("ES256", "other")
    assert _verify(ES.token(kid=None), issuer(other, ES))


@pytest.mark.parametrize("extra", [{"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example/x"}, {"x5c": ["AAAA"]}])
def test_where_a_token_says_its_key_is_found_is_not_looked_at(extra: dict[str, object]) -> None:
    """Neither for good nor for bad."""
    assert _verify(ES.token(**extra))
    thief = Signer("ES256", ES.kid, signer("ES256", "thief").private)
    assert _refused(thief.token(**extra)) == "signature"


def test_a_key_in_the_header_is_not_used() -> None:
    """Anybody can put his own there."""
    thief = Signer("ES256", ES.kid, signer("ES256", "thief").private)
    assert _refused(thief.token(jwk=thief.jwk())) == "signature"
    assert _refused(Signer("ES256", "new", thief.private).token(jwk=thief.jwk())) == "unknown key"


# --- claims -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"iss": "https://as.example/"}, "issuer or audience"),
        ({"iss": "HTTPS://as.example"}, "issuer or audience"),
        ({"iss": None}, "issuer or audience"),
        ({"iss": ["https://as.example"]}, "issuer or audience"),
        ({"iss": 7}, "issuer or audience"),
        ({"aud": "https://other.example"}, "issuer or audience"),
        ({"aud": "https://gate.example/"}, "issuer or audience"),
        ({"aud": ["https://other.example"]}, "issuer or audience"),
        ({"aud": [["https://gate.example"]]}, "issuer or audience"),
        ({"aud": ["https://gate.example", 7]}, "audience"),
        ({"aud": {"https://gate.example": 1}}, "issuer or audience"),
        ({"aud": []}, "issuer or audience"),
        ({"aud": ""}, "issuer or audience"),
        ({"aud": "*"}, "issuer or audience"),
        ({"aud": None}, "issuer or audience"),
        ({"exp": None}, "claim missing"),
        ({"exp": "1900000000"}, "exp is no date"),
        ({"exp": True}, "exp is no date"),
        ({"exp": 1e300}, "exp is no date"),
        ({"nbf": NOW_S + 31}, "nbf in the future"),
        ({"iat": NOW_S + 31}, "iat in the future"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": 7}, "malformed"),
        ({"jti": 7}, "malformed"),
    ],
)
def test_a_token_that_is_not_for_us_or_not_for_now_is_refused(changes: dict[str, object], detail: str) -> None:
    """Though it is signed well."""
    assert _refused(ES.token(changes)) == detail


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"https://as.example","aud":"https://gate.example","sub":"alice","exp":1e400}',
        b'{"iss":"https://as.example","aud":"https://gate.example","sub":"alice","exp":NaN}',
        b'{"iss":"https://as.example","aud":"https://gate.example","sub":"alice","exp":%b}' % (b"9" * 400),
        b'{"iss":"https://as.example","aud":"https://gate.example","sub":"alice","exp":1900000000,"sub":"bob"}',
        b'{"iss":"https://as.example","aud":"https://gate.example","sub":"alice","exp":1900000000,"x":%b1%b}'
        % (b"[" * 2500, b"]" * 2500),
        b'{"iss":"https://as.example","aud":"https://gate.example","sub":"\xff","exp":1900000000}',
        json.dumps({**CLAIMS}).encode("utf-16"),
        b"[]",
        b"",
    ],
)
def test_odd_claims_are_refused_though_they_are_signed(payload: bytes) -> None:
    """And nothing breaks."""
    assert _refused(ES.signed(payload)) in ("malformed JWT", "exp is no date")


def test_an_expired_token_is_called_so() -> None:
    """It was good once, so its owner may know."""
    with pytest.raises(ExpiredToken) as refused:
        _verify(ES.token(), at_s=NOW_S + 630)
    assert refused.value.text == ExpiredToken.message
    assert _verify(ES.token(), at_s=NOW_S + 629)


def test_a_forged_token_is_not_called_expired() -> None:
    """Its owner is nobody."""
    forged = Signer("ES256", ES.kid, signer("ES256", "thief").private)
    assert _refused(forged.token({"exp": NOW_S - 1000})) == "signature"


def test_a_long_token_is_taken() -> None:
    """Eight kilobytes are what a header may hold of it."""
    token = ES.token({"groups": ["g" * 50] * 105})
    assert 7500 < len(token) < 8192
    assert _verify(token)


# --- algorithms ---------------------------------------------------------------------------------------------------


def _unsigned(algorithm: object, signature: bytes = b"") -> bytes:
    header = {"typ": "JWT", "alg": algorithm, "kid": RS.kid}
    return b".".join([segment(json.dumps(header).encode()), segment(json.dumps(CLAIMS).encode()), segment(signature)])


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "RS257", "ES256K", "Ed25519", "dir"])
def test_a_token_that_nobody_has_signed_is_refused(algorithm: str) -> None:
    """However it spells that."""
    assert _refused(_unsigned(algorithm)) == "algorithm"


@pytest.mark.parametrize("algorithm", [None, 7, True, ["RS256"], {"RS256": 1}])
def test_an_algorithm_is_a_name(algorithm: object) -> None:
    """Anything else breaks nothing."""
    assert _refused(_unsigned(algorithm)) == "JWT header"


@pytest.mark.parametrize("secret", [RS.public_pem(), RS.public_pem().strip(), json.dumps(RS.jwk()).encode(), b""])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_the_public_key_is_not_a_secret(secret: bytes, digest: str) -> None:
    """The classic: a token with HMAC, keyed with what everybody can read."""
    algorithm = f"HS{digest[3:]}"
    message = _unsigned(algorithm).rpartition(b".")[0]
    forged = message + b"." + segment(hmac.digest(secret, message, digest))
    assert _refused(forged) == "algorithm"
    assert _refused(forged, issuer(RS)) == "algorithm"


@pytest.mark.parametrize(
    ("by", "algorithm"), [(RS, "PS256"), (RS, "RS512"), (RS, "ES256"), (ES, "RS256"), (ES, "EdDSA"), (ED, "ES256"), (ES, "ES512")]
)
def test_a_signature_of_one_kind_is_not_taken_for_another(by: Signer, algorithm: str) -> None:
    """The header cannot choose how a key is used."""
    token = by.token(alg=algorithm)
    assert _refused(token, issuer(by)) == "algorithm"
    both = Issuer(IssuerTerms("acme", ISSUER, (AUDIENCE,), (by.algorithm, algorithm)), key_set(by))
    assert _refused(token, both) == "unknown key"
    with pytest.raises(InvalidToken):
        _verify(by.token(alg=algorithm, kid=None), both)


def test_a_good_signature_with_an_algorithm_that_is_not_pinned_is_refused() -> None:
    """Though the key is there and fits."""
    terms = IssuerTerms("acme", ISSUER, (AUDIENCE,), ("ES256",))
    assert _refused(RS.token(), Issuer(terms, key_set(ES, RS))) == "algorithm"


@pytest.mark.parametrize("algorithms", [(), ("HS256",), ("none",), ("RS256", "HS256"), ("rs256",), ("ES256K",)])
def test_only_signatures_can_be_pinned(algorithms: tuple[str, ...]) -> None:
    """A secret that both sides share is not a signature, and nothing is not one either."""
    with pytest.raises(ValueError, match="acme"):
        IssuerTerms("acme", "https://as.example", ("a",), algorithms)
    with pytest.raises(ValueError, match="acme"):
        IssuerTerms("acme", "https://as.example", ())


# --- headers and forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ({"crit": ["exp"]}, "JWT header"),
        ({"crit": ["b64"], "b64": True}, "JWT header"),
        ({"crit": ["b64"], "b64": False}, "JWT header"),
        ({"crit": []}, "JWT header"),
        ({"crit": "b64"}, "JWT header"),
        ({"b64": True}, "JWT header"),
        ({"b64": False}, "JWT header"),
        ({"kid": 7}, "JWT header"),
        ({"kid": ["a"]}, "JWT header"),
        ({"kid": {}}, "JWT header"),
        ({"typ": "logout+jwt"}, "type of JWT"),
        ({"typ": "dpop+jwt"}, "type of JWT"),
        ({"typ": "secevent+jwt"}, "type of JWT"),
        ({"typ": ""}, "type of JWT"),
        ({"typ": 7}, "type of JWT"),
    ],
)
def test_a_token_that_is_something_else_or_demands_something_is_refused(header: dict[str, object], detail: str) -> None:
    """What is critical and not understood must not be passed over (RFC 7515 section 4.1.11)."""
    assert _refused(ES.token(**header)) == detail


@pytest.mark.parametrize(
    "header", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b'{"alg":' * 1000, b"[" * 5000, b"{}", b'{"alg":"ES256"'],
    ids=repr,
)  # fmt: skip
def test_a_header_of_any_form_breaks_nothing(header: bytes) -> None:
    """Even if somebody has signed it."""
    assert _refused(ES.signed_as(header, json.dumps(CLAIMS).encode())) in ("malformed JWT", "JWT header")


_GOOD = ES.token()
_HEAD, _BODY, _SIGNATURE = _GOOD.split(b".")


@pytest.mark.parametrize(
    "token",
    [
        b"..",
        b"a.b.c",
        b"=.=.=",
        b"....",
        b"\x00.\xff.\xfe",
        "ä.ö.ü".encode(),
        b"%b.%b." % (_HEAD, _BODY),
        b"%b..%b" % (_HEAD, _SIGNATURE),
        b".%b.%b" % (_BODY, _SIGNATURE),
        b"%b.%b.%b" % (_BODY, _HEAD, _SIGNATURE),
        b"%b.%b.%b" % (_HEAD, _BODY, _SIGNATURE[:-1]),
        b"%b.%b.%b" % (_HEAD, _BODY, _SIGNATURE[:40]),
        b"%b.%b.%b" % (_HEAD, _BODY, _SIGNATURE + b"A"),
        b"%b.%b.%b" % (_HEAD, _BODY, _SIGNATURE + _SIGNATURE),
        b"%b.%b.%b" % (_HEAD, _BODY, segment(bytes(64))),
        b"%b.%b.%b" % (_HEAD, _BODY, segment(b"\xff" * 64)),
        b"%b.%b .%b" % (_HEAD, _BODY, _SIGNATURE),
        b"%b.%b.%b" % (_HEAD, segment(json.dumps({**CLAIMS, "sub": "root"}).encode()), _SIGNATURE),
        _GOOD.replace(b".", b".."),
    ],
)
def test_a_token_that_was_changed_or_cut_is_refused(token: bytes) -> None:
    """An empty signature and one of zeros too."""
    assert _refused(token) in ("malformed JWT", "JWT header", "malformed", "signature")


@pytest.mark.parametrize("number", [0, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551])
def test_a_signature_of_zeros_is_none(number: int) -> None:
    """Some libraries took it for one by anybody: r and s zero, or the order of the curve, which is as much."""
    assert _refused(b"%b.%b.%b" % (_HEAD, _BODY, segment(number.to_bytes(32, "big") * 2))) == "signature"


# --- keys that are not here ---------------------------------------------------------------------------------------


def test_an_unknown_key_is_asked_for_once() -> None:
    """Then the token is refused: the issuer has no such key."""
    token = ES.token(kid="new")
    with pytest.raises(KeysAwaited) as awaited:
        _verify(token, final=False)
    assert awaited.value.issuer_id == "acme"
    assert _refused(token) == "unknown key"


def test_without_any_keys_nothing_can_be_said() -> None:
    """The token may be good: that is not its owner's fault."""
    nobody = issuer(algorithms=("ES256",))
    with pytest.raises(KeysAwaited):
        _verify(ES.token(), nobody, final=False)
    with pytest.raises(KeysUnavailable) as refused:
        _verify(ES.token(), nobody)
    assert refused.value.detail == "issuer acme"


def test_an_unknown_key_of_an_issuer_that_is_away_may_exist() -> None:
    """Those that are known stay good."""
    away = issuer(ES)
    away.keys.doubt()
    assert _verify(ES.token(), away)
    with pytest.raises(KeysUnavailable):
        _verify(ES.token(kid="new"), away)


@pytest.mark.parametrize(
    "token",
    [ES.token({"aud": "x"}), ES.token({"iss": "x"}), ES.token(alg="none"), ES.token(typ="x"), _HEAD + b"." + b"x.y", ES.token(crit=["x"])],
)
def test_keys_are_not_fetched_for_what_is_refused_anyway(token: bytes) -> None:
    """Nobody makes the gateway ask an issuer with rubbish."""
    with pytest.raises(InvalidToken):
        _verify(token, issuer(algorithms=("ES256",)), final=False)


# --- several issuers ----------------------------------------------------------------------------------------------


def test_the_token_says_which_issuer_it_is_of() -> None:
    """And only that one's keys can have signed it."""
    a, b = issuer(ES, id="a", issuer="https://a.example"), issuer(RS, id="b", issuer="https://b.example")
    assert _verify(ES.token({"iss": "https://a.example"}), a, b).name == "a:alice"
    assert _verify(RS.token({"iss": "https://b.example"}), a, b).name == "b:alice"
    assert _refused(ES.token({"iss": "https://b.example"}), a, b) == "issuer b: algorithm"


def test_one_issuer_may_stand_twice_for_two_audiences() -> None:
    """With other rights for each."""
    a = issuer(ES, id="a", audiences=("A",), servers=frozenset({"x"}))
    b = issuer(ES, id="b", audiences=("B",), servers=frozenset({"y"}))
    assert _verify(ES.token({"aud": "A"}), a, b).servers == {"x"}
    assert _verify(ES.token({"aud": "B"}), a, b).servers == {"y"}
    assert _verify(ES.token({"aud": ["B", "A"]}), a, b).name == "a:alice"
    assert _refused(ES.token({"aud": "C"}), a, b) == "issuer or audience"


def test_of_two_that_fit_the_one_with_the_right_key_takes_it() -> None:
    """In any order, and though the other has none at all."""
    right, other, empty = issuer(ES, id="r"), issuer(signer("ES256", "other"), id="o"), issuer(id="e")
    for issuers in ((right, other), (other, right), (empty, right), (other, empty, right)):
        assert _verify(ES.token(kid=None), *issuers, final=False).name == "r:alice"
    with pytest.raises(KeysAwaited):
        _verify(ES.token(kid="new"), other, empty, final=False)
    assert _refused(signer("ES256", "thief").token(kid=None), right, other) == "issuer o: signature"


def test_of_two_that_fit_the_one_that_does_not_take_such_signatures_is_not_asked() -> None:
    """Though it has a key that would fit."""
    unable = Issuer(IssuerTerms("u", ISSUER, (AUDIENCE,), ("RS256",)), key_set(ES))
    with pytest.raises(KeysAwaited) as awaited:
        _verify(ES.token(), issuer(id="e"), unable, final=False)
    assert awaited.value.issuer_id == "e"


# --- remembering --------------------------------------------------------------------------------------------------


def _digests(*tokens: bytes) -> list[bytes]:
    return [hashlib.sha256(token).digest() for token in tokens]


def test_a_verified_token_is_remembered_by_its_digest() -> None:
    """The same grant, without any cryptography; a refused one is not remembered."""
    issuers = Issuers([issuer(ES)])
    good, bad = ES.token(), ES.token({"aud": "x"})
    (digest, other) = _digests(good, bad)
    assert issuers.recall(digest) is None
    grant = issuers.verify(good, digest, NOW_S, False)
    with pytest.raises(InvalidToken):
        issuers.verify(bad, other, NOW_S, False)
    assert (issuers.recall(digest), issuers.recall(other)) == (grant, None)
    assert repr(issuers) == "<Issuers: acme; 1 tokens remembered>"


def test_other_keys_make_every_token_be_verified_again() -> None:
    """A key that was withdrawn because it was stolen opens nothing any more."""
    own = issuer(ES)
    issuers = Issuers([own])
    (digest,) = _digests(ES.token())
    issuers.verify(ES.token(), digest, NOW_S, False)
    own.keys.replace(document(ES.jwk()), 1.0)
    assert issuers.recall(digest) is not None
    own.keys.replace(document(RS.jwk()), 2.0)
    assert issuers.recall(digest) is None
    assert repr(issuers) == "<Issuers: acme; 0 tokens remembered>"


def test_the_token_that_was_used_longest_ago_is_forgotten_first() -> None:
    """Memory has a bound."""
    issuers = Issuers([issuer(ES)], capacity=2)
    tokens = [ES.token({"sub": name}) for name in "abc"]
    a, b, c = _digests(*tokens)
    issuers.verify(tokens[0], a, NOW_S, False)
    issuers.verify(tokens[1], b, NOW_S, False)
    assert issuers.recall(a)
    issuers.verify(tokens[2], c, NOW_S, False)
    assert [issuers.recall(digest) is not None for digest in (a, b, c)] == [True, False, True]


# --- granting anew ------------------------------------------------------------------------------------------------


def test_after_a_reload_a_grant_is_what_the_new_terms_give() -> None:
    """For whoever is in the middle of something; nothing of the token itself is kept."""
    before = _verify(ES.token({"mcp": "a"}), issuer(ES, servers_claim="mcp"))
    assert isinstance(before.proof, Proof)
    assert _SIGNATURE not in before.proof.payload
    after = Issuers([issuer(ES, servers=frozenset({"b"}), leeway_s=0.0)]).renew(before.proof, NOW_S)
    assert after is not None
    assert (after.name, sorted(after.servers), after.expires_s) == ("acme:alice", ["b"], NOW_S + 600)


@pytest.mark.parametrize(
    "terms", [{"issuer": "https://x.example"}, {"audiences": ("x",)}, {"algorithms": ("RS256",)}, {"id": "other"}]
)
def test_who_would_be_refused_now_is_not_granted_anew(terms: dict[str, Any]) -> None:
    """Another issuer, audience or algorithm is meant now."""
    proof = _verify(ES.token(), issuer(ES)).proof
    assert Issuers([issuer(ES, **terms)]).renew(proof, NOW_S) is None


def test_who_has_expired_or_whose_key_is_withdrawn_is_not_granted_anew() -> None:
    """While keys that have not been fetched yet are not withdrawn ones."""
    proof = _verify(ES.token(), issuer(ES)).proof
    assert Issuers([issuer(ES)]).renew(proof, NOW_S + 629) is not None
    assert Issuers([issuer(ES)]).renew(proof, NOW_S + 630) is None
    assert Issuers([issuer(signer("ES256", "other"))]).renew(proof, NOW_S) is None
    assert Issuers([issuer(algorithms=("ES256",))]).renew(proof, NOW_S) is not None
    assert Issuers([]).renew(proof, NOW_S) is None
    assert Issuers([issuer(ES)]).renew(b"digest", NOW_S) is None


# --- anything -----------------------------------------------------------------------------------------------------

_TOKENS = [ES.token(), RS.token(), ED.token(), ES.token(kid=None)]
_ISSUERS = [issuer(ES, RS, ED)]


def _meaning(token: bytes) -> list[bytes]:
    """The bytes that a token stands for: padding is no difference."""
    return [base64.urlsafe_b64decode(part.rstrip(b"=") + b"==") for part in token.split(b".")]


@settings(max_examples=300, deadline=None)
@given(broken(st.sampled_from(_TOKENS)))
def test_a_token_that_was_changed_anywhere_is_refused_and_nothing_else_happens(token: bytes) -> None:
    """Unless it still says the same, as with padding that RFC 7515 leaves out."""
    try:
        _verify(token, *_ISSUERS)
    except GatewayError as refused:
        assert refused.text in (InvalidToken.message, ExpiredToken.message)
    else:
        assert _meaning(token) in [_meaning(good) for good in _TOKENS]


_HEADERS: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty", "zip", "enc"]),
    st.sampled_from(["ES256", "none", "JWT", "HS256", "", True, False, None, 7, [], ["b64"], {}, "DEF", 1e300, math.nan]),
)


@settings(max_examples=150, deadline=None)
@given(_HEADERS, st.binary(max_size=40) | st.just(json.dumps(CLAIMS).encode()))
def test_a_header_and_a_payload_of_any_kind_are_read_without_a_crash(header: dict[str, object], payload: bytes) -> None:
    """Signed with a good key, to come as far as possible."""
    token = ES.signed_as(json.dumps({"alg": "ES256", "kid": ES.kid} | header).encode(), payload)
    try:
        grant = _verify(token, *_ISSUERS)
    except GatewayError as refused:
        assert isinstance(refused, InvalidToken)
    else:
        assert grant.name == "acme:alice"
        assert read(token).algorithm == "ES256"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda parts: b".".join(map(segment, parts))))
def test_bytes_of_any_kind_are_no_token(token: bytes) -> None:
    """And break nothing."""
    with pytest.raises(InvalidToken):
        _verify(token, *_ISSUERS)


def test_the_kit_signs_as_pyjwt_does() -> None:
    """Otherwise all that was refused above could have been refused for a fault of the test."""
    made = jwt.encode(CLAIMS, ES.private, "ES256", {"kid": ES.kid}).encode()
    assert _verify(made).name == "acme:alice"
    assert jwt.decode(ES.token({"exp": 4e9}), ES.private.public_key(), ["ES256"], audience=AUDIENCE)
    assert len(KeySet()) == 0
