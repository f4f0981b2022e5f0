"""
Who presents a token: known tokens by their digest, and tokens of issuers by their signature.

Digests only: no token is kept, and none is compared but in constant time. What a grant is good for is read off the
grant; what a server demands stands in ``policy/access.py``.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mcpgate.errors import ExpiredToken, InvalidToken
from mcpgate.policy.authz import EVERY_TOOL, ToolRights

if TYPE_CHECKING:
    from mcpgate.policy.issuers import Issuers

#: Among scopes: all of them; among servers: every one.
_ALL = "*"
#: So much of a digest files a token. Nobody finds two tokens that agree in 128 bits, so one comparison is enough.
_FILED_BYTES = 16
_NOBODY: Final = bytes(hashlib.sha256().digest_size)


@dataclass(frozen=True, slots=True)
class Grant:
    """
    What a token gives.

    :ivar name: the principal: the id of a token, or ``ISSUER:SUBJECT``; the id of a token never holds a colon.
    :ivar servers: their names, or ``*``.
    :ivar expires_s: wall-clock seconds; from then on the token is worth nothing.
    :ivar proof: what `Authenticator.renew` goes by: the digest of a known token, or what an issuer has signed.
    """

    name: str
    scopes: frozenset[str]
    servers: frozenset[str] = frozenset()
    tools: ToolRights = EVERY_TOOL
    expires_s: float = math.inf
    proof: object = field(default=None, compare=False, repr=False)

    def admits_server(self, name: str) -> bool:
        """Say whether this server may be used."""
        return name in self.servers or _ALL in self.servers

    def may_register(self, name: str) -> bool:
        """Say whether an operator may register this server: names, and prefixes that end in ``*``."""
        return any(name == each or (each[-1:] == _ALL and name.startswith(each[:-1])) for each in self.servers)

    def missing_scopes(self, needed: Iterable[str]) -> list[str]:
        """Those of the scopes that this token does not hold, in order."""
        return [] if _ALL in self.scopes else [scope for scope in needed if scope not in self.scopes]


class KeysAwaited(Exception):
    """
    The issuer's keys must be fetched before this token can be trusted or refused: do it, then identify again.

    :ivar issuer_id: for `mcpgate.upstream.keysource.KeySource.await_keys`.
    """

    def __init__(self, issuer_id: str) -> None:
        self.issuer_id = issuer_id
        super().__init__(issuer_id)


class TokenTable:
    """
    Known tokens by the SHA-256 of their text. A fast hash is right: tokens are 256 random bits, not passwords.

    :param entries: the digest in hex, and what it gives.
    """

    def __init__(self, entries: Iterable[tuple[str, Grant]]) -> None:
        self._grants: dict[bytes, tuple[bytes, Grant | None]] = {}
        for text, grant in entries:
            digest = bytes.fromhex(text)
            self._grants[digest[:_FILED_BYTES]] = digest, replace(grant, proof=digest)

    def find(self, token: bytes) -> Grant | None:
        """The grant of a token, or ``None``. Unknown and malformed tokens take the same way and time."""
        return self.find_digest(hashlib.sha256(token).digest())

    def find_digest(self, digest: bytes) -> Grant | None:
        """
        The grant of the token that has this digest, or ``None``; expired ones, too.

        One comparison, whatever is known: how long it takes tells nothing of a guess, nor how many tokens there are.
        """
        known, grant = self._grants.get(digest[:_FILED_BYTES], (_NOBODY, None))
        return grant if hmac.compare_digest(known, digest) else None


class Authenticator:
    """
    Everybody who may be known here; built anew at each reload.

    :param issuers: whose tokens are taken besides the known ones.
    """

    def __init__(self, tokens: TokenTable, issuers: Issuers | None = None) -> None:
        self._tokens = tokens
        self._issuers = issuers

    def identify(self, token: bytes, wall_s: float, *, final: bool = False) -> Grant:
        """
        Say what a token gives now.

        Costs 1.3 µs for a known token and 2.5 µs for one of 366 bytes that was verified before, of which SHA-256 takes
        0.9 and 1.7 on a processor without instructions for it; to verify one takes 180 to 270 µs (measured 2026-11).

        :param token: as `mcpgate.wire.bearer.bearer_token` gives it; other bytes are refused, too.
        :param final: the keys have been awaited: decide with those that are there.
        :raises mcpgate.errors.InvalidToken: unknown, malformed, or not meant for here; the detail says which.
        :raises mcpgate.errors.ExpiredToken: good once.
        :raises mcpgate.errors.KeysUnavailable: its issuer's keys cannot be had; only if ``final``.
        :raises KeysAwaited: they may be had; only if not ``final``.
        """
        digest = hashlib.sha256(token).digest()
        grant = self._recognise(digest, wall_s)
        if grant is not None:
            return grant
        if self._issuers is not None and token.count(b".") == 2:
            return self._issuers.verify(token, digest, wall_s, final)
        raise InvalidToken(detail="unknown token")

    def recognise(self, token: bytes, wall_s: float) -> Grant | None:
        """
        Say what a token gives now, if that takes no cryptography but its digest; else ``None``.

        :raises mcpgate.errors.ExpiredToken: as `identify`.
        """
        return self._recognise(hashlib.sha256(token).digest(), wall_s)

    def _recognise(self, digest: bytes, wall_s: float) -> Grant | None:
        grant = self._tokens.find_digest(digest)
        if grant is None and self._issuers is not None:
            grant = self._issuers.recall(digest)
        if grant is not None and grant.expires_s <= wall_s:
            raise ExpiredToken(detail=f"token of {grant.name}")
        return grant

    def renew(self, grant: Grant, wall_s: float) -> Grant | None:
        """
        What a token gives now that was granted something by an earlier authenticator.

        :returns: ``None`` if it would be refused: revoked, expired, or its issuer is no longer trusted.
        """
        if isinstance(grant.proof, bytes):
            present = self._tokens.find_digest(grant.proof)
            return present if present is not None and wall_s < present.expires_s else None
        return self._issuers.renew(grant.proof, wall_s) if self._issuers is not None else None


NOBODY_KNOWN: Final = Authenticator(TokenTable(()))
"""Every token is refused."""
