"""
What the claims of a token give (RFC 7519 section 4): who it is, until when, and to what.

Only reading; that somebody has signed them is checked in ``policy/issuers.py``. A claim that is missing, or not of the
form that the terms expect, gives nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mcpgate.errors import ExpiredToken, InvalidToken
from mcpgate.policy.authn import Grant
from mcpgate.policy.authz import ToolRights

if TYPE_CHECKING:
    from mcpgate.policy.issuers import IssuerTerms

Claims = dict[str, Any]

#: In front of the name of a client that comes for itself.
_CLIENT: Final = "client:"

#: The longest subject (RFC 7519 sets no bound; OpenID Connect Core section 2 says 255).
MAX_SUBJECT_CHARS = 256
#: 9999-12-31. A later date is milliseconds in place of seconds, and would never come.
_LAST_S = 253_402_300_799
#: Who the token is about: the first of these that is there. Tokens of clients themselves may lack ``sub``.
_SUBJECT_CLAIMS: Final = ("sub", "client_id", "azp")


def read_claims(payload: bytes) -> Claims:
    """
    The claims of a payload, if every reader reads them alike.

    :raises ValueError: no JSON object in UTF-8, or one with a name twice, or with NaN in it.
    """
    try:
        claims = json.loads(payload.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(claims, dict):
        raise ValueError("not an object")
    return claims


def _unique(pairs: list[tuple[str, Any]]) -> Claims:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def grant_of(claims: Claims, terms: IssuerTerms, wall_s: float, proof: object) -> Grant:
    """
    What these claims give on these terms.

    :raises mcpgate.errors.ExpiredToken: not any more.
    :raises mcpgate.errors.InvalidToken: not yet, or to nobody.
    """
    expires_s = _expiry(claims, terms, wall_s)
    scopes = claims.get(terms.scopes_claim, claims.get("scp") if terms.scopes_claim == "scope" else None)
    servers = _words(claims.get(terms.servers_claim)) if terms.servers_claim else frozenset()
    return Grant(
        f"{terms.id}:{_subject(claims, terms)}",
        # Who asks for a scope `*` at an issuer that grants whatever it is asked for must not get all of ours.
        _words(scopes) - {"*"},
        terms.servers | servers,
        _tools(claims, terms),
        expires_s,
        proof,
    )


def _expiry(claims: Claims, terms: IssuerTerms, wall_s: float) -> float:
    """When the token ends, by our clock and with its leeway (RFC 7519 sections 4.1.4 to 4.1.6)."""
    for name in ("nbf", "iat"):
        if name in claims and _seconds(claims, name, terms) > wall_s + terms.leeway_s:
            raise invalid(terms, f"{name} in the future")
    expires_s = _seconds(claims, "exp", terms) + terms.leeway_s
    if expires_s <= wall_s:
        raise ExpiredToken(detail=f"issuer {terms.id}")
    return expires_s


def _seconds(claims: Claims, name: str, terms: IssuerTerms) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_S:
        raise invalid(terms, f"{name} is no date")
    return float(value)


def _subject(claims: Claims, terms: IssuerTerms) -> str:
    """Who it is; printable, since it goes into logs, header lines and keys."""
    claim = next((name for name in _SUBJECT_CLAIMS if name in claims), "sub")
    subject = claims.get(claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS or not subject.isprintable():
        raise invalid(terms, "subject")
    if claim == "sub" and subject.startswith(_CLIENT):
        raise invalid(terms, "subject")
    # A client must not be taken for the user of the same name (RFC 9068 section 5).
    return subject if claim == "sub" else _CLIENT + subject


def _tools(claims: Claims, terms: IssuerTerms) -> ToolRights:
    if terms.tools_claim is None:
        return terms.tools
    claimed = ToolRights(_words(claims.get(terms.tools_claim)))
    return _Narrowed(claimed, terms.tools) if terms.tools.decides else claimed


class _Narrowed(ToolRights):
    """What two rights both admit."""

    __slots__ = ("_rights",)

    def __init__(self, *rights: ToolRights) -> None:
        super().__init__()
        self._rights = rights
        self.decides = any(each.decides for each in rights)

    def admits(self, server: str, tool: str) -> bool:
        return all(each.admits(server, tool) for each in self._rights)

    def __repr__(self) -> str:  # what makes them equal, too
        return " and ".join(map(repr, self._rights))


def _words(value: object) -> frozenset[str]:
    """The words of a claim: a list of strings, or one with spaces (RFC 8693 section 4.2). Anything else has none."""
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return frozenset()
    return frozenset(words) - {""}


def invalid(terms: IssuerTerms, detail: str) -> InvalidToken:
    """The error for a token of this issuer; the log is told why, the client is not."""
    return InvalidToken(detail=f"issuer {terms.id}: {detail}")
