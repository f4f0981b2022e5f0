"""
Cross-origin requests of browser clients (WHATWG Fetch, "HTTP CORS protocol").

Lives here: the header lines of a preflight's answer and of every other answer to an admitted origin. Does not live
here: which origins are admitted (``policy/origin.py``). Tokens travel in `Authorization`, which a page sets itself;
so nothing here asks a browser for its cookies (no `Access-Control-Allow-Credentials`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["FIELDS", "lines", "preflight"]

#: The fields of the protocol in answers. With ours there, a server's own would be a second, other word.
FIELDS: Final = frozenset(
    {
        b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-allow-methods",
        b"access-control-allow-headers", b"access-control-expose-headers", b"access-control-max-age",
        b"access-control-allow-private-network",
    }
)  # fmt: skip

#: What a page may read of an answer beside the safelisted fields: all that clients act on.
_EXPOSED = b", ".join(
    (
        b"Mcp-Session-Id", b"MCP-Protocol-Version", b"WWW-Authenticate", b"Retry-After", b"RateLimit",
        b"RateLimit-Policy", b"Mcpgate-Error", b"X-Request-Id",
    )
)  # fmt: skip
#: What MCP transports use, whatever the server; a browser needs no leave for HEAD.
_METHODS = b"GET, POST, DELETE, OPTIONS"
#: The most that Chromium keeps; Firefox would keep a day.
_MAX_AGE_S = 7200
#: All the fields of a call with many `Mcp-Param-*` have some hundred bytes of names.
_MAX_REQUESTED_BYTES = 4096
_REQUESTED = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*+")


def preflight(noted: Mapping[bytes, bytes]) -> bytes | None:
    """
    The header lines of the 204 answer to a preflight from an admitted origin.

    The requested field names are allowed as they are asked for: `Mcp-Param-*` depend on tools and cannot be listed.
    What is no list of field names is not allowed, and the browser then does without the request.

    :param noted: fields of an OPTIONS request by lower-case name.
    :returns: ``None`` if it is no preflight, and the request is like any other.
    """
    origin = noted.get(b"origin")
    if origin is None or b"access-control-request-method" not in noted:
        return None
    asked = noted.get(b"access-control-request-headers", b"")
    is_allowed = len(asked) <= _MAX_REQUESTED_BYTES and _REQUESTED.fullmatch(asked) is not None
    return b"".join(
        (
            b"Access-Control-Allow-Origin: %b\r\n" % origin,
            b"Access-Control-Allow-Methods: %b\r\n" % _METHODS,
            b"Access-Control-Allow-Headers: %b\r\n" % asked if is_allowed else b"",
            b"Access-Control-Max-Age: %d\r\n" % _MAX_AGE_S,
            b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n",
        )
    )


def lines(origin: bytes) -> bytes:
    """The header lines of any other answer to a page of an admitted origin, refusals among them."""
    return b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Expose-Headers: %b\r\nVary: Origin\r\n" % (
        origin,
        _EXPOSED,
    )
