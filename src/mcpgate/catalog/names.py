"""What registries and cards call us, and how they want texts: within their lengths and alphabets. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Of names, before the slash.
_FOREIGN = re.compile(r"[^a-zA-Z0-9.-]")
#: A name has 200 characters at most (server.json, `name`), of which 63 may follow the slash.
_MAX_PUBLISHER_LENGTH = 136
#: `description` and `title` of the MCP Registry and of cards.
_MAX_TEXT_LENGTH = 100


class Publisher(NamedTuple):
    """
    Who publishes the servers here.

    :ivar name: as it stands before the slash of a server's name, such as ``com.example``.
    :ivar domain: the same read forward, ``example.com``, as URNs have it.
    """

    name: str
    domain: str


def publisher_of(configured: str | None, origin: str) -> Publisher:
    """
    The publisher as configured, else the host of our public origin, turned around.

    Addresses and names without a dot (localhost) stay as they are: turned around they would be somebody else's.
    """
    if configured is not None:
        name = _plain(configured)
        return Publisher(name, _turned(name))
    domain = _plain(_host(origin))
    has_order = "." in domain and not domain.rpartition(".")[2].isdigit()
    return Publisher(_turned(domain) if has_order else domain, domain)


def _host(origin: str) -> str:
    authority = origin.partition("://")[2]
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def _plain(text: str) -> str:
    return _FOREIGN.sub("-", text)[:_MAX_PUBLISHER_LENGTH] or "localhost"


def _turned(text: str) -> str:
    return ".".join(reversed(text.split(".")))


def shortened(text: str) -> str:
    """A text within 100 characters: cut between words if it can be, with an ellipsis."""
    if len(text) <= _MAX_TEXT_LENGTH:
        return text
    cut = text[: _MAX_TEXT_LENGTH - 1]
    whole, blank, _ = cut.rpartition(" ")
    kept = whole if blank and len(whole) >= _MAX_TEXT_LENGTH // 2 else cut
    return kept.rstrip(" ,;:.-") + "\u2026"
