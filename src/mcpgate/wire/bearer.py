"""The `Authorization: Bearer` grammar (RFC 6750 section 2.1)."""

from __future__ import annotations

#: Longer than any token in use (a JWT with many claims is 4 KiB); what is longer is not hashed.
_MAX_TOKEN_BYTES = 8192
_TOKEN68 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="


def bearer_token(value: bytes) -> bytes | None:
    """The token of an `Authorization` value, or ``None`` if it holds no well-formed one."""
    scheme, _, token = value.partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() != b"bearer" or not token or len(token) > _MAX_TOKEN_BYTES or token.translate(None, _TOKEN68):
        return None
    return token
