"""
The keys with which an issuer signs its tokens: the usable ones of a JSON Web Key Set (RFC 7517).

Fetching them is `mcpgate.upstream.keysource`'s; here is what was read last, which stays in use while nothing better
comes. Only public keys: what could also sign is ignored, whoever publishes it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from jwt import PyJWK
from jwt.algorithms import AllowedPublicKeys
from jwt.exceptions import PyJWTError

#: Issuers publish two to ten.
MAX_KEYS = 100
#: A token that names no key is tried with so many; a check takes 0.1 ms.
MAX_TRIED = 4
#: RSA below that is not to be used (RFC 7518 section 3.3).
_MIN_RSA_BITS = 2048
#: Of a parameter in base64url: the modulus of RSA with 8192 bits has 1366. Checking takes longer with every bit.
_MAX_PARAMETER_CHARS = 1400

#: What signs a token: algorithm -> kind of key and curve (RFC 7518 section 3.1, RFC 8037 section 3.1). No secret that
#: both sides share is among them.
_KINDS: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
ALGORITHMS: Final = frozenset(_KINDS)
"""The names that a configuration may pin."""
#: Kind of key -> what of it is public (RFC 7518 section 6, RFC 8037 section 2).
_PUBLIC_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class UnusableKeys(ValueError):
    """What should be a key set is none, or has no key to check a token with; the text says why."""


class Key(NamedTuple):
    """
    One public key.

    :ivar kid: its name, if it has one.
    :ivar algorithm: the only one it is for; ``None``: all that fit its kind.
    :ivar mark: the same for the same key, and for no other.
    """

    kid: str | None
    kind: tuple[str, str | None]
    algorithm: str | None
    public: AllowedPublicKeys
    mark: bytes

    def fits(self, algorithm: str) -> bool:
        """Say whether signatures of this algorithm are checked with it."""
        return _KINDS.get(algorithm) == self.kind and self.algorithm in (None, algorithm)


class KeySet:
    """
    The keys of one issuer, empty until `replace` has been called.

    :ivar edition: another number whenever the keys are others.
    :ivar as_of_s: when they were read, on the clock of whoever called `replace`.
    :ivar is_doubted: since then somebody tried to read them anew and failed.
    """

    def __init__(self) -> None:
        self._keys: tuple[Key, ...] = ()
        self.edition = 0
        self.as_of_s = -math.inf
        self.is_doubted = False

    def __repr__(self) -> str:
        return f"<KeySet: {len(self._keys)} keys{', doubted' if self.is_doubted else ''}>"

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, algorithm: str, kid: str | None) -> tuple[Key, ...]:
        """
        The keys with which a token may be signed, at most `MAX_TRIED`.

        :param kid: what the token says; ``None``: every key that fits the algorithm.
        """
        fitting = (key for key in self._keys if kid in (None, key.kid) and key.fits(algorithm))
        return tuple(key for key, _ in zip(fitting, range(MAX_TRIED), strict=False))

    def holds(self, mark: bytes) -> bool:
        """Say whether a key is among them, or may be, since none has been read yet."""
        return not self._keys or any(key.mark == mark for key in self._keys)

    def replace(self, document: bytes, at_s: float) -> None:
        """
        Take a key set in place of the one there is.

        Members that are not understood are ignored (RFC 7517 section 5): other kinds, curves and uses, secrets, private
        keys, short ones, and all after the first `MAX_KEYS`.

        :param document: JSON, as published (RFC 7517 section 5).
        :param at_s: seconds, for ``as_of_s``.
        :raises UnusableKeys: no key is left; those that are there stay.
        """
        keys = tuple(_usable(_members(document)))
        if not keys:
            raise UnusableKeys("no usable key")
        if keys != self._keys:
            self._keys = keys
            self.edition += 1
        self.as_of_s = at_s
        self.is_doubted = False

    def doubt(self) -> None:
        """Note that the keys could not be read anew: one that is missing here may exist."""
        self.is_doubted = True


def _members(document: bytes) -> list[Any]:
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise UnusableKeys("not JSON") from None
    members = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(members, list):
        raise UnusableKeys("not a key set")
    return members[:MAX_KEYS]


def _usable(members: list[Any]) -> Iterator[Key]:
    for member in members:
        key = _key(member) if isinstance(member, dict) else None
        if key is not None:
            yield key


def _key(member: dict[str, Any]) -> Key | None:
    """A key to check signatures with, or ``None``."""
    kid, algorithm = member.get("kid"), member.get("alg")
    if not isinstance(kid, str | None) or not _is_to_verify(member):
        return None
    public = _public_members(member)
    kind = (str(member.get("kty")), public.get("crv"))
    if algorithm is not None and _KINDS.get(str(algorithm)) != kind:
        return None
    try:
        parsed = PyJWK(public).key if kind in _KINDS.values() else None
    except PyJWTError:
        return None
    if parsed is None or (kind[0] == "RSA" and parsed.key_size < _MIN_RSA_BITS):
        return None
    mark = hashlib.sha256(json.dumps(public, sort_keys=True).encode()).digest()
    return Key(kid, kind, algorithm, parsed, mark)


def _is_to_verify(member: dict[str, Any]) -> bool:
    """Say whether it is public and meant for signatures (RFC 7517 sections 4.2 and 4.3)."""
    operations = member.get("key_ops", ["verify"])
    if "d" in member or not isinstance(operations, list):
        return False
    return member.get("use", "sig") == "sig" and "verify" in operations


def _public_members(member: dict[str, Any]) -> dict[str, str]:
    """What of a key is public, so that nothing else of a member steers how it is read."""
    kind = member.get("kty")
    names = _PUBLIC_MEMBERS.get(kind, ()) if isinstance(kind, str) else ()
    found = {name: member.get(name) for name in ("kty", *names)}
    return {
        name: value for name, value in found.items() if isinstance(value, str) and len(value) <= _MAX_PARAMETER_CHARS
    }
