"""
Versioned paths, and the versions that servers say they have: what belongs together, and which is newer. Pure.

``/mcp/v1/github-pm`` and ``/mcp/v2/github-pm`` are versions of one server, whose family is ``/mcp/github-pm``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: A segment such as v1 or v2.10; more digits than that are no version, and would cost something to read.
_SEGMENT = re.compile(r"/(v[0-9]{1,9}(?:\.[0-9]{1,9}){0,2})(?=/|$)")
_NUMBERS = re.compile(r"v?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?(-)?")
#: What the MCP Registry takes for a version (server.json, `version`): one, no range of several, and not "latest".
_VERSION = re.compile(r"(?!(?i:latest)$)(?!(?:.*\.)?[xX](?:\.|$))[0-9A-Za-z][0-9A-Za-z.+_-]{0,180}")
#: What may stand behind the slash of a server's name there.
_FOREIGN = re.compile(r"[^a-zA-Z0-9._-]")
#: As a server's own name; what is longer makes no good label.
_MAX_LABEL_LENGTH = 63

#: What a server is given that does not say which version it is: older than every real one.
NO_VERSION = "0.0.0"


class Place(NamedTuple):
    """
    A path, taken apart.

    :ivar family: the path without its version.
    :ivar version: such as ``v2``; empty if the path has none.
    """

    family: str
    version: str


def place_of(path: str) -> Place:
    """Take the first version segment out of a server's path."""
    match = _SEGMENT.search(path)
    if match is None:
        return Place(path, "")
    family = path[: match.start()] + path[match.end() :]
    return Place(family, match[1]) if label_of(family) else Place(path, "")


def label_of(family: str) -> str:
    """
    What a family is called: its path without ``/mcp``, with dots for slashes.

    :returns: empty if nothing is left that could be a name.
    """
    segments = [segment for segment in family.split("/") if segment]
    label = _FOREIGN.sub("-", ".".join(segments[1:] if segments[:1] == ["mcp"] else segments))
    return label if len(label) <= _MAX_LABEL_LENGTH else ""


def version_of(own: str | None, place: Place) -> str:
    """
    The version by which registries know a server: its own, else that of its path (``v2`` is 2.0.0), else 0.0.0.

    One that the MCP Registry would refuse counts as none.
    """
    if own is not None and _VERSION.fullmatch(own):
        return own
    if not place.version:
        return NO_VERSION
    major, *rest = place.version[1:].split(".")
    return ".".join([major, *rest, "0", "0"][:3])


class Rank(NamedTuple):
    """What is newer compares as larger: the version of the path, then the server's own; a release before a preview."""

    path: tuple[int, ...]
    own: tuple[int, ...]
    is_release: bool
    name: str


def rank_of(name: str, own: str | None, place: Place) -> Rank:
    """How new one of a family is. Beside versioned paths, a path without version stands where its own version says."""
    match = _NUMBERS.match(own or "")
    numbers = tuple(int(number or 0) for number in match.groups()[:3]) if match else ()
    path = tuple(int(number) for number in place.version[1:].split(".")) if place.version else numbers[:1]
    return Rank(path, numbers, match is None or match[4] is None, name)
