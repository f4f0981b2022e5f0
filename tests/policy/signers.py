"""Issuers for tests: real keys, the key sets they publish, and tokens that they sign, good and bad."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mcpgate.policy.issuers import Issuer, IssuerTerms
from mcpgate.policy.keys import KeySet

NOW_S = 1_800_000_000.0
ISSUER, AUDIENCE = "https://as.example", "https://gate.example"
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW_S + 600}


def segment(content: bytes) -> bytes:
    """One of the three parts of a token."""
    return base64.urlsafe_b64encode(content).rstrip(b"=")


class Signer:
    """
    A key of an issuer.

    :param algorithm: what it signs with, unless told otherwise.
    """

    def __init__(self, algorithm: str, kid: str, private: Any) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private = private

    def jwk(self, **members: object) -> dict[str, Any]:
        """The public key as issuers publish it; members that are ``None`` are left out."""
        kind = jwt.get_algorithm_by_name(self.algorithm)
        found = kind.to_jwk(self.private.public_key(), as_dict=True)
        found |= {"kid": self.kid, "use": "sig", "alg": self.algorithm, **members}
        return {name: value for name, value in found.items() if value is not None}

    def public_pem(self) -> bytes:
        """The public key as everybody can have it."""
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def token(self, changes: Mapping[str, object] | None = None, /, **header: Any) -> bytes:
        """A good token, but for the changes; claims and members of the header that are ``None`` are left out."""
        claims = {name: value for name, value in {**CLAIMS, **(changes or {})}.items() if value is not None}
        return self.signed(json.dumps(claims).encode(), **header)

    def signed(self, payload: bytes, /, **header: Any) -> bytes:
        """A token with any payload."""
        members = {"typ": "JWT", "alg": self.algorithm, "kid": self.kid, **header}
        members = {name: value for name, value in members.items() if value is not None}
        return self.signed_as(json.dumps(members).encode(), payload)

    def signed_as(self, header: bytes, payload: bytes) -> bytes:
        """A token with any header and payload."""
        message = segment(header) + b"." + segment(payload)
        return message + b"." + segment(jwt.get_algorithm_by_name(self.algorithm).sign(message, self.private))


@functools.cache
def signer(algorithm: str = "ES256", kid: str = "") -> Signer:
    """The one key of this name in a test run; making one of RSA takes a tenth of a second."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        private: Any = ec.generate_private_key(curves[algorithm])
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa_key()
    return Signer(algorithm, kid or algorithm, private)


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """The only key of RSA with so many bits."""
    return rsa.generate_private_key(65537, bits)


def document(*members: object) -> bytes:
    """A key set as it is published."""
    return json.dumps({"keys": members}).encode()


def key_set(*signers: Signer) -> KeySet:
    """The keys of these signers."""
    keys = KeySet()
    if signers:
        keys.replace(document(*(each.jwk() for each in signers)), 0.0)
    return keys


def issuer(*signers: Signer, **terms: Any) -> Issuer:
    """An issuer that signs with these keys; terms may be changed."""
    default: dict[str, Any] = {
        "id": "acme",
        "issuer": ISSUER,
        "audiences": (AUDIENCE,),
        "algorithms": tuple(dict.fromkeys(each.algorithm for each in signers)) or ("ES256",),
    }
    return Issuer(IssuerTerms(**{**default, **terms}), key_set(*signers))
