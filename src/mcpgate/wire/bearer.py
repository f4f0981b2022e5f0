"""The `Authorization: Bearer` grammar (RFC 6750 section 2.1)."""

from __future__ import annotations

import re

#: Longer than any token in use (a JWT with many claims is 4 KiB); what is longer is not hashed.
_MAX_TOKEN_BYTES = 8192
_TOKEN68 = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


def bearer_token(value: bytes) -> bytes | None:
    """The token of an `Authorization` value, or ``None`` if it holds no well-formed one."""
    scheme, _, token = value.partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or len(token) > _MAX_TOKEN_BYTES or not _TOKEN68.fullmatch(token):
        return None
    return token
