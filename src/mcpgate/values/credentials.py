"""
How tokens, keys and rights are written: digests, scopes, principals, patterns of names.

Pure functions from text to text, of the same kind as those in ``grammar.py``: each raises :class:`ValueError` whose
message reads on after "this value is" and never repeats the value, least of all here.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from mcpgate.values import grammar

#: The remedy for a token in clear text, wherever one is found.
HOW_TO_HASH: Final = "make one with: mcpgate token new NAME; or hash the one there is: printf %s TOKEN | sha256sum"
CLEAR_TEXT: Final = f"a token in clear text, expected only its hash, under sha256; {HOW_TO_HASH}"
#: Grants every server, or every scope.
EVERYTHING: Final = "*"

# What comes out of `sha256sum` when a variable was empty or its line end was hashed: keys to an open door.
_DIGESTS_OF_NOTHING = frozenset(hashlib.sha256(text).hexdigest() for text in (b"", b"\n", b"\r\n"))
# RFC 6749 appendix A.4.
_SCOPE = re.compile(r"[!#-\[\]-~]+")
# Names of tools as MCP advises (letters, digits, _ - . /), and whatever else is printable but could be meant as a
# wildcard of another language; `*` stands for those.
_PATTERN = re.compile(r"[^\s?\[\]{}()|^$\\\"']+")
_SERVER_PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9._-]*)?")
_SERVER_PATTERN = re.compile(r"[a-z0-9._*-]+")
#: Names of tools have at most 128 characters (MCP 2025-11-25, server/tools), scopes are of the same order.
_MAX_LENGTH = 256
#: 128 bits in hexadecimal; whoever makes a key of random characters has more.
LEAST_KEY_LENGTH: Final = 32
_MOST_KEY_LENGTH = 1024
_KEY = re.compile(r"[!-~]+")


def token_digest(text: str) -> str:
    """The SHA-256 of an access token, 64 hexadecimal digits, given back in lower case."""
    if re.fullmatch("[0-9A-Fa-f]{64}", text) is None:
        raise ValueError(f"not a SHA-256, expected 64 hexadecimal digits and never the token itself; {HOW_TO_HASH}")
    if text.lower() in _DIGESTS_OF_NOTHING:
        raise ValueError(f"the hash of no text at all, expected that of a token; {HOW_TO_HASH}")
    return text.lower()


def session_key(text: str) -> str:
    """A secret that seals session ids: visible ASCII, so that it is the same bytes wherever it is written."""
    if len(text) < LEAST_KEY_LENGTH:
        raise ValueError(f"too short for a key, expected at least {LEAST_KEY_LENGTH} random characters")
    if len(text) > _MOST_KEY_LENGTH:
        raise ValueError(f"too long for a key, expected at most {_MOST_KEY_LENGTH} characters")
    if _KEY.fullmatch(text) is None:
        raise ValueError("not a key, expected visible ASCII characters without blanks")
    return text


def scope(text: str) -> str:
    """One scope (RFC 6749 section 3.3)."""
    _bounded(text)
    if " " in text:
        raise ValueError("text with a blank, expected one scope in each entry of the list")
    if _SCOPE.fullmatch(text) is None:
        raise ValueError('not a scope, expected visible ASCII characters without " and \\')
    return text


def granted_server(text: str) -> str:
    """A server that somebody may use: its name, or ``*`` for every one."""
    if text != EVERYTHING and "*" in text:
        raise ValueError("a pattern, expected the name of a server, or * alone for every one")
    return text if text == EVERYTHING else grammar.server_name(text)


def registrable_server(text: str) -> str:
    """A server that somebody may register: its name, or what names begin with and ``*``."""
    prefix = text.removesuffix(EVERYTHING)
    if prefix != text:
        if _SERVER_PREFIX.fullmatch(prefix) is None:
            raise ValueError("not a prefix of names, expected one such as team-a-*")
        return text
    return grammar.server_name(text)


def principal(text: str) -> str:
    """Who is known by a token: the id of a token, or ``ISSUER:SUB`` with an issuer's id and its ``sub``."""
    issuer, colon, subject = text.partition(":")
    grammar.name(issuer)
    if colon:
        _bounded(subject)
        if not subject.isprintable():
            raise ValueError("a subject with control characters, expected plain text")
    return text


def claim_text(text: str) -> str:
    """The name of a claim, or what must stand in one."""
    _bounded(text)
    return grammar.plain_line(text)


def name_pattern(text: str) -> str:
    """A name, or a pattern of names in which ``*`` stands for any characters."""
    _bounded(text)
    if _PATTERN.fullmatch(text) is None or not text.isprintable():
        raise ValueError("not a pattern, expected a name without blanks, in which * stands for anything")
    return text


def tool_pattern(text: str) -> str:
    """A pattern for the tools of one server."""
    name_pattern(text)
    if ":" in text:
        raise ValueError("a pattern with a colon, expected that of a tool alone: whose it is, is known here")
    return text


def granted_tool(text: str) -> str:
    """A pattern for tools, ``TOOL``, or ``SERVER:TOOL`` for those of certain servers."""
    server, colon, tool = text.partition(":")
    if colon and _SERVER_PATTERN.fullmatch(server) is None:
        raise ValueError("a pattern whose server cannot exist, expected TOOL or SERVER:TOOL, with * for anything")
    name_pattern(tool if colon else text)
    return text


def _bounded(text: str) -> None:
    if not text:
        raise ValueError("empty, expected some text")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"too long, expected at most {_MAX_LENGTH} characters")
