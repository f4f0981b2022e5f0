"""
How a limit stands, in the fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).

They are Structured Fields (RFC 9651): a list of strings with parameters, here always of one.
"""

from __future__ import annotations

import re

#: What a string of Structured Fields may hold, but for the two letters that it escapes (RFC 9651 section 3.3.3).
_UNWRITABLE = re.compile(r"[^ !#-\[\]-~]")


def rate_lines(policy: str, quota: int, window_s: int, remaining: int, reset_s: int) -> bytes:
    """
    Header lines of a limit on a rate.

    :param quota: how many requests are admitted in ``window_s`` seconds.
    :param reset_s: when to come again; the same moment as `Retry-After` names.
    """
    name = _name(policy)
    return b"RateLimit-Policy: %b;q=%d;w=%d\r\nRateLimit: %b;r=%d;t=%d\r\n" % (
        *(name, quota, window_s),
        *(name, remaining, reset_s),
    )


def concurrency_lines(policy: str, quota: int, reset_s: int) -> bytes:
    """Header lines of a limit on what may be open at the same time, of which nothing is left."""
    name = _name(policy)
    return b'RateLimit-Policy: %b;q=%d;qu="concurrent-requests"\r\nRateLimit: %b;r=0;t=%d\r\n' % (
        *(name, quota),
        *(name, reset_s),
    )


def _name(policy: str) -> bytes:
    return b'"%b"' % _UNWRITABLE.sub("?", policy).encode("ascii")
