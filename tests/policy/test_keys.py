"""Which keys of a published key set are used, and for what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.signers import Signer, document, key_set, rsa_key, segment, signer
from tests.strategies import PURE

from mcpgate.policy.keys import MAX_KEYS, MAX_TRIED, KeySet, UnusableKeys


def _read(*members: object) -> KeySet:
    keys = KeySet()
    keys.replace(document(*members), 7.0)
    return keys


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_a_key_of_rsa_is_for_all_its_algorithms_unless_it_says_for_which(algorithm: str) -> None:
    """Many issuers name none, and pin it in their documentation."""
    rsa = signer("RS256")
    assert len(_read(rsa.jwk(alg=None)).find(algorithm, "RS256")) == 1
    assert len(_read(rsa.jwk(alg="RS512")).find(algorithm, "RS256")) == (algorithm == "RS512")


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
@pytest.mark.parametrize("wanted", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256", "HS256", "none", "", "ES256K"])
def test_a_key_fits_only_its_own_kind_of_signature(algorithm: str, wanted: str) -> None:
    """Whatever the header of a token says."""
    keys = _read(signer(algorithm).jwk(alg=None))
    assert len(keys.find(wanted, None)) == (algorithm == wanted)


def test_a_key_is_found_by_its_name() -> None:
    """To the letter; a token that names none may be signed by any that fits."""
    first, second = Signer("ES256", "1", signer("ES256").private), Signer("ES256", "2", signer("ES256", "2").private)
    keys = key_set(first, second, signer("EdDSA"))
    assert [key.kid for key in keys.find("ES256", "2")] == ["2"]
    assert [key.kid for key in keys.find("ES256", None)] == ["1", "2"]
    assert keys.find("ES256", "3") == ()
    assert keys.find("ES256", "EdDSA") == ()


def test_a_key_without_a_name_is_not_found_by_one() -> None:
    """Who names his keys in tokens names them in the set, too."""
    keys = _read(signer().jwk(kid=None))
    assert (len(keys.find("ES256", None)), len(keys.find("ES256", "a"))) == (1, 0)


def test_only_a_few_keys_are_tried_for_one_token() -> None:
    """Checking takes long, and tokens are free to invent."""
    keys = _read(*(signer().jwk(kid=f"k{number}") for number in range(10)))
    assert len(keys.find("ES256", None)) == MAX_TRIED


@pytest.mark.parametrize(
    "unusable",
    [
        signer().jwk(use="enc"),
        signer().jwk(use=["sig"]),
        signer().jwk(key_ops=["sign"]),
        signer().jwk(key_ops="verify"),
        signer().jwk(alg="ECDH-ES"),
        signer().jwk(alg="RS256"),
        signer().jwk(alg="HS256"),
        signer().jwk(alg=["ES256"]),
        signer().jwk(alg={"ES256": 1}),
        signer().jwk(kid=7),
        signer().jwk(kid=["a"]),
        signer().jwk(crv="P-384"),
        signer().jwk(crv="secp256k1", alg=None),
        signer().jwk(crv=None),
        signer().jwk(kty="oct"),
        signer().jwk(kty=None),
        signer().jwk(kty=["EC"]),
        signer().jwk(x="AAAA"),
        signer().jwk(x="!" * 43),
        signer().jwk(x=7),
        signer().jwk(y=None),
        signer().jwk(y="A" * 43),
        signer("EdDSA").jwk(x="AAAA"),
        signer("EdDSA").jwk(crv="X25519"),
        signer("EdDSA").jwk(crv="Ed448"),
        signer("RS256").jwk(n="A" * 2000),
        signer("RS256").jwk(n=segment(b"\xff" * 1100).decode()),
        signer("RS256").jwk(n="", alg=None),
        signer("RS256").jwk(e="AA"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
        {},
        None,
        7,
        "key",
        [],
    ],
)
def test_what_is_not_a_public_key_to_check_signatures_with_is_ignored(unusable: object) -> None:
    """The rest of the set stays good."""
    good = signer("ES384").jwk()
    assert len(_read(unusable, good)) == 1
    with pytest.raises(UnusableKeys, match="no usable key"):
        _read(unusable)


def test_a_private_key_that_is_published_is_nobodys() -> None:
    """Everybody can sign with it."""
    with pytest.raises(UnusableKeys):
        _read(signer().jwk(d="c2VjcmV0"))


def test_a_short_key_of_rsa_is_ignored() -> None:
    """RFC 7518 asks for 2048 bits."""
    with pytest.raises(UnusableKeys):
        _read(Signer("RS256", "short", rsa_key(1024)).jwk())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"keys": 9' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "not a key set"),
        (b"null", "not a key set"),
        (b"{}", "not a key set"),
        (b'{"keys": {}}', "not a key set"),
        (b'{"keys": null}', "not a key set"),
        (b'{"keys": []}', "no usable key"),
    ],
)
def test_a_bad_document_changes_nothing(text: bytes, reason: str) -> None:
    """The keys that are there stay in use."""
    keys = key_set(signer())
    with pytest.raises(UnusableKeys, match=reason):
        keys.replace(text, 9.0)
    assert (len(keys), keys.edition, keys.as_of_s) == (1, 1, 0.0)


def test_a_set_has_a_bound() -> None:
    """What comes after it is ignored."""
    keys = _read(*(signer().jwk(kid=f"k{number}") for number in range(MAX_KEYS + 1)))
    assert len(keys) == MAX_KEYS
    assert keys.find("ES256", f"k{MAX_KEYS}") == ()


def test_another_edition_is_one_with_other_keys() -> None:
    """The same keys, read again, are the same edition."""
    keys = key_set(signer())
    keys.replace(document(signer().jwk()), 8.0)
    assert (keys.edition, keys.as_of_s) == (1, 8.0)
    keys.replace(document(signer().jwk(), signer("EdDSA").jwk()), 9.0)
    assert keys.edition == 2


def test_keys_are_doubted_until_they_are_read_again() -> None:
    """Nobody can say then that a key which is missing does not exist."""
    keys = key_set(signer())
    keys.doubt()
    assert (keys.is_doubted, repr(keys)) == (True, "<KeySet: 1 keys, doubted>")
    keys.replace(document(signer().jwk()), 1.0)
    assert (keys.is_doubted, repr(keys)) == (False, "<KeySet: 1 keys>")


def test_a_key_is_held_until_it_is_withdrawn() -> None:
    """By its mark; a set that has not been read yet may hold any key."""
    keys = key_set(signer())
    (key,) = keys.find("ES256", None)
    assert keys.holds(key.mark)
    keys.replace(document(signer("EdDSA").jwk()), 1.0)
    assert not keys.holds(key.mark)
    assert KeySet().holds(key.mark)


def test_the_mark_of_a_key_is_the_same_in_every_reading() -> None:
    """Whatever name the issuer gives it."""
    first, second = (_read(signer().jwk(kid=kid)).find("ES256", None)[0] for kid in ("a", "b"))
    assert first.mark == second.mark
    assert first.mark != _read(signer("ES256", "other").jwk()).find("ES256", None)[0].mark


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@PURE
@given(st.dictionaries(st.sampled_from(sorted({*signer().jwk(), *signer("RS256").jwk(), "d", "key_ops"})), _JSON), st.booleans())
def test_no_member_of_a_key_makes_the_set_fail(changes: dict[str, Any], is_rsa: bool) -> None:
    """Issuers publish what they like."""
    keys = KeySet()
    odd = (signer("RS256") if is_rsa else signer()).jwk() | changes
    keys.replace(json.dumps({"keys": [odd, signer("EdDSA").jwk()]}).encode(), 0.0)
    assert len(keys) in (1, 2)
