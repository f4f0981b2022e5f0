"""Who presents a token: digests only, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token gives: a name for the log, and scopes."""

    name: str
    scopes: frozenset[str]


class TokenTable:
    """
    Known tokens by the SHA-256 of their text. A fast hash is right: tokens are 256 random bits, not passwords.

    :param entries: the digest in hex, and what it gives.
    """

    def __init__(self, entries: Iterable[tuple[str, Grant]]) -> None:
        self._grants = {bytes.fromhex(digest): grant for digest, grant in entries}

    def find(self, token: bytes) -> Grant | None:
        """The grant of a token, or ``None``. Unknown and malformed tokens take the same way and time."""
        presented = hashlib.sha256(token).digest()
        found = None
        for digest, grant in self._grants.items():
            if hmac.compare_digest(digest, presented):
                found = grant
        return found
