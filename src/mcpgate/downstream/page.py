"""The status page: one file that needs no other, and the header fields that hold a browser to that."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


class Page(NamedTuple):
    """
    A page as it is sent.

    :ivar policy: the value of ``Content-Security-Policy``.
    """

    body: bytes
    policy: bytes


def status_page() -> Page:
    """
    The status page.

    :raises OSError: it was not installed.
    """
    return page_of(files("mcpgate").joinpath("page", "status.html").read_bytes())


def page_of(body: bytes) -> Page:
    """
    A page whose own scripts and styles run, and nothing else: no other file, frame or form, no other host (CSP 3).
    """
    hashes: dict[bytes, list[bytes]] = {b"script": [], b"style": []}
    for kind, inline in _INLINE.findall(body):
        hashes[kind].append(b"'sha256-%b'" % b64encode(sha256(inline).digest()))
    directives = [
        b"default-src 'none'",
        *(b"%b-src %b" % (kind, b" ".join(found) or b"'none'") for kind, found in hashes.items()),
        b"connect-src 'self'",
        b"img-src data:",  # its empty icon, so that browsers ask for none
        b"base-uri 'none'",
        b"form-action 'none'",
        b"frame-ancestors 'none'",
    ]
    return Page(body, b"; ".join(directives))
