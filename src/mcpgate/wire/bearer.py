"""
Bearer tokens and challenges: the fields `Authorization` and `WWW-Authenticate`.

Lives here: finding the token (RFC 6750 section 2.1), writing a challenge of ours, and pointing a server's own
challenge at our address for its metadata (RFC 9728 section 5.1). Does not live here: the metadata itself
(``wire/metadata.py``) and what a token is worth (``policy/authn.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["bearer_token", "challenge", "rewritten_challenge"]

#: Longer than any token in use (a JWT with many claims is 4 KiB); what is longer is not hashed.
_MAX_TOKEN_BYTES = 8192
#: RFC 9110 section 11.2; RFC 6750 section 2.1 calls it b64token.
_TOKEN68 = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*) *")

#: RFC 6750 section 3 wants at least one parameter, and TypeScript clients read no challenge without one.
_BARE = b'Bearer realm="mcpgate"'
_METADATA = b"resource_metadata"
#: Schemes in whose challenges clients look for it (RFC 9728 section 5.1, RFC 9449 section 7.1).
_WITH_METADATA = frozenset({b"bearer", b"dpop"})

# RFC 9110: token 5.6.2, quoted-string 5.6.4, auth-param and token68 11.2, challenge 11.3.
_WORD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
# Servers do write URLs without quotes, and clients read them so. A backslash or a quote inside means neither form.
_UNQUOTED = rb"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e\x80-\xff]++"
_PARAMETER = re.compile(rb"(" + _WORD + rb")[ \t]*=[ \t]*(" + _QUOTED + rb"|" + _UNQUOTED + rb")")
_OPENING = re.compile(rb"(" + _WORD + rb")(?:[ \t]+(.+))?", re.DOTALL)
#: What stands up to the next comma that is not inside quotes. Possessive: a quote without its end costs no second walk.
_MEMBER = re.compile(rb'((?:"(?:[^"\\]|\\.)*+"|[^",])*+)(?:,|\Z)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SPECIAL = re.compile(rb'(["\\])')
_UNWRITABLE = re.compile(rb"[^\x20-\x7e]")


def bearer_token(value: bytes) -> bytes | None:
    """The token of an `Authorization` value, or ``None`` if it holds no well-formed one."""
    found = _BEARER.fullmatch(value)
    return found[1] if found is not None and len(found[1]) <= _MAX_TOKEN_BYTES else None


def challenge(*, metadata: str = "", error: str = "", description: str = "", scopes: Sequence[str] = ()) -> bytes:
    """
    The value of a `WWW-Authenticate` field: one `Bearer` challenge (RFC 6750 section 3, RFC 9728 section 5.1).

    :param metadata: URL of the protected resource's metadata.
    :param error: of RFC 6750 section 3.1; empty if the request carried no token.
    :param scopes: all that the request needs, those it had among them: clients ask for exactly these.
    :returns: visible ASCII and spaces; a ``?`` stands for everything else.
    """
    told = {
        b"error": error,
        b"error_description": description,
        b"scope": " ".join(scopes),
        _METADATA: metadata,
    }
    parameters = [b"%b=%b" % (name, _quoted(text.encode("ascii", "replace"))) for name, text in told.items() if text]
    return b"Bearer " + b", ".join(parameters) if parameters else _BARE


def rewritten_challenge(value: bytes, metadata_of: Callable[[bytes], bytes | None]) -> bytes:
    """
    Point the challenges of a server that does its own OAuth at the metadata that we publish for it.

    All other parameters and challenges keep their bytes. Without the parameter a client looks at the well-known
    address of the URL that it uses, which is ours too; so where the address cannot be told, the parameter goes.

    :param value: of `WWW-Authenticate`; several fields are joined with commas (RFC 9110 section 5.3).
    :param metadata_of: our address for the server's, ``None`` if there is none.
    :returns: the value for the client. If it cannot be read in one way, and seems to name such an address, a bare
        challenge takes its place: clients search for the parameter anywhere.
    """
    if _METADATA not in value.lower():
        return value
    try:
        members = list(_members(value))
    except _Malformed:
        return _BARE
    pieces: list[bytes] = []
    scheme, is_lone = b"", False  # lone: the last piece is a scheme whose parameter was taken out
    for member in members:
        scheme = member.scheme.lower() or scheme
        piece = member.raw
        if scheme in _WITH_METADATA and member.name == _METADATA:
            ours = metadata_of(member.text)
            piece = member.opening if ours is None else member.head + _quoted(ours)
        if not piece:
            continue
        if is_lone and not member.scheme:
            pieces[-1] += b" " + piece.strip(b" \t")
        else:
            pieces.append(piece)
        is_lone = piece == member.opening and member.name != b""
    return b",".join(pieces)


class _Malformed(ValueError):
    """Not a list of challenges."""


class _Member(NamedTuple):
    """One member of the list: a scheme, a parameter, or the one with the other; the rest is empty."""

    raw: bytes
    scheme: bytes = b""
    name: bytes = b""  # lower case
    head: bytes = b""  # what stands before the parameter's value
    value: bytes = b""

    @property
    def opening(self) -> bytes:
        """What is left without the parameter."""
        return self.raw[: self.raw.index(self.scheme) + len(self.scheme)]

    @property
    def text(self) -> bytes:
        """The parameter's value, without quotes and escapes."""
        return _ESCAPED.sub(rb"\1", self.value[1:-1]) if self.value.startswith(b'"') else self.value


def _members(value: bytes) -> Iterator[_Member]:
    """
    The members of a list of challenges in order, without the empty ones.

    :raises _Malformed: at the first that is none, or is a parameter of no challenge.
    """
    at, in_challenge = 0, False
    while at < len(value):
        found = _MEMBER.match(value, at)
        if found is None:
            raise _Malformed
        at = found.end()
        if found[1].strip(b" \t"):
            member = _member(found[1])
            in_challenge = in_challenge or member.scheme != b""
            if not in_challenge:
                raise _Malformed
            yield member


def _member(raw: bytes) -> _Member:
    text, scheme = raw.strip(b" \t"), b""
    found = _PARAMETER.fullmatch(text)
    if found is None:
        opening = _OPENING.fullmatch(text)
        if opening is None:
            raise _Malformed
        scheme, rest = opening[1], opening[2]
        if rest is None or _TOKEN68.fullmatch(rest):
            return _Member(raw, scheme)
        found = _PARAMETER.fullmatch(rest)
        if found is None:
            raise _Malformed
    return _Member(raw, scheme, found[1].lower(), raw[: raw.rindex(found[2])], found[2])


def _quoted(text: bytes) -> bytes:
    return b'"%b"' % _SPECIAL.sub(rb"\\\1", _UNWRITABLE.sub(b"?", text))
