"""Gateways with one feature switched on each: what stands in their configurations, and what their clients send."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from benchmarks.peers.gateway import FULL, UNLIMITED, Gateway
from benchmarks.peers.ground import Ground

_ISSUER, _AUDIENCE, _KEY_ID = "https://idp.example.com/", "https://mcp.example.com", "bench"
_ISSUERS = f"""
auth: {{jwt: [{{issuer: "{_ISSUER}", audience: "{_AUDIENCE}", id: bench, jwks_file: jwks.json}}]}}
"""
_LIMITS = """
limits: [{name: everybody, key: [address], rate: 1000000/s, burst: 1000000}]
"""
_TOOLS = '    tools: {deny: ["delete_*"]}\n'
_TOKEN_LASTS_S = 3600


@dataclass(frozen=True)
class JwtGateway(Gateway):
    """The gateway that takes signed tokens, and the issuer of one: both for this run only."""

    name: str = "mcpgate-jwt"
    access: str = "off"
    rules: str = _ISSUERS
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def command(self, ground: Ground) -> list[str]:
        """
        Write gate.yaml and the issuer's public key.

        :raises PeerMissing: as for `Gateway`.
        """
        public = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        keys = {"keys": [{**public, "kid": _KEY_ID, "alg": "ES256", "use": "sig"}]}
        (ground.folder / "jwks.json").write_text(json.dumps(keys))
        return super().command(ground)

    def client_fields(self, ground: Ground) -> bytes:
        """Return the token."""
        now_s = int(time.time())
        claims = {"iss": _ISSUER, "aud": _AUDIENCE, "sub": "bench", "iat": now_s, "exp": now_s + _TOKEN_LASTS_S}
        token = jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": _KEY_ID})
        return b"Authorization: Bearer %b\r\n" % token.encode()


@dataclass(frozen=True)
class PlainGateway(Gateway):
    """
    The gateway without an access log, whose clients name no session, as in the stateless era.

    :ivar server: what stands in the entry of its server besides.
    """

    access: str = "off"
    server: str = ""

    def command(self, ground: Ground) -> list[str]:
        """
        Write gate.yaml.

        :raises PeerMissing: as for `Gateway`.
        """
        command = super().command(ground)
        config = ground.folder / "gate.yaml"
        before, place, after = config.read_text().partition("  - name: bench\n")
        assert place, "the entry of the server is not where it was"
        config.write_text(before + place + self.server + after)
        return command

    def client_fields(self, ground: Ground) -> bytes:
        """Return the token, if tokens are checked."""
        lines = super().client_fields(ground).splitlines(keepends=True)
        return b"".join(line for line in lines if not line.startswith(b"Mcp-Session-Id:"))


@dataclass(frozen=True)
class Feature:
    """
    Something that can be switched on.

    :ivar against: what it is compared with, since it cannot be had without: the bare gateway, or another feature.
    """

    gateway: Gateway
    against: str = ""


BARE = "bare"


def features() -> dict[str, Feature]:
    """Return the bare gateway, and what can be switched on there; metrics are not among it: they are always on."""
    token = PlainGateway("mcpgate-token", rules=UNLIMITED.rules)
    return {
        BARE: Feature(PlainGateway("mcpgate-bare")),
        "a token": Feature(token, BARE),
        "a JWT, known from before": Feature(JwtGateway(), BARE),
        "a limit": Feature(PlainGateway("mcpgate-limit", rules=_LIMITS), BARE),
        "an access log": Feature(PlainGateway("mcpgate-log", access=FULL.access), BARE),
        "a tool filter": Feature(PlainGateway("mcpgate-tools", server=_TOOLS), BARE),
        "a sealed session": Feature(Gateway("mcpgate-sealed", "off", UNLIMITED.rules), "a token"),
        "all of it but JWT and tool filter": Feature(FULL, BARE),
    }
