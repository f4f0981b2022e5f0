"""
Which tools may be called: patterns of names, and the rights made of them.

Lives here: the one answer to "may this tool of this server be used", for a server, a token and a claim alike. Does not
live here: what a body asks for (``wire/calls.py``), and who asks (``policy/authn.py``). A listing of tools is to be
filtered with the same :meth:`ToolRights.admits`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["EVERY_TOOL", "NamePatterns", "ToolRights"]

_ANY = "*"  # stands for any letters
_OF = ":"  # parts a server from its tool
_EVERYTHING = frozenset({"*", "*:*"})


class NamePatterns:
    """
    Names, or patterns of names in which ``*`` stands for any number of any letters.

    The case of letters counts, and nothing but ``*`` means anything. Names come from clients, so a look takes time in
    proportion to their length and not to a power of it: hence no regular expressions. Equal patterns make equals.
    """

    __slots__ = ("_names", "_wild", "patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = frozenset(patterns)
        self._names = frozenset(pattern for pattern in self.patterns if _ANY not in pattern)
        self._wild = tuple(pattern.split(_ANY) for pattern in sorted(self.patterns - self._names))

    def matches(self, name: str) -> bool:
        """Say whether one of the patterns fits the whole name."""
        return name in self._names or any(_fits(name, pieces) for pieces in self._wild)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamePatterns) and other.patterns == self.patterns

    def __hash__(self) -> int:
        return hash(self.patterns)

    def __repr__(self) -> str:
        return f"NamePatterns({sorted(self.patterns)})"


def _fits(name: str, pieces: list[str]) -> bool:
    """Say whether a name is these pieces with anything between them; each is taken as early as it comes."""
    first, *inner, last = pieces
    place, end = len(first), len(name) - len(last)
    if place > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in inner:
        found = name.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True


class _ToolPatterns:
    """
    Patterns of tools, some of them for certain servers only.

    :param is_greedy: a pattern with a colon is also taken for the name of a tool that has one.
    """

    __slots__ = ("_of_any", "_of_some", "patterns")

    def __init__(self, patterns: Iterable[str], is_greedy: bool) -> None:
        self.patterns = frozenset(patterns)
        self._of_any = NamePatterns(pattern for pattern in self.patterns if is_greedy or _OF not in pattern)
        tools: dict[str, list[str]] = {}
        for pattern in self.patterns:
            server, colon, tool = pattern.partition(_OF)
            if colon:
                tools.setdefault(server, []).append(tool)
        self._of_some = tuple((NamePatterns([server]), NamePatterns(names)) for server, names in tools.items())

    def matches(self, server: str, tool: str) -> bool:
        if self._of_any.matches(tool):
            return True
        return any(servers.matches(server) and tools.matches(tool) for servers, tools in self._of_some)


class ToolRights:
    """
    What of the tools is allowed, less what is denied.

    A pattern is ``TOOL``, for that tool of any server, or ``SERVER:TOOL``; both may hold ``*``. The first colon parts
    them, since the name of a server has none. Where a tool has one (the specification advises against it), an allowing
    pattern must name the server, too (``*:a:b``); a denying one is tried both ways, so that ``a:b`` never denies less
    than it says. Equal patterns make equals.

    :param allow: ``None`` allows every tool, an empty one none.
    :param deny: wins over ``allow``.
    :ivar decides: false if every tool may be called, so that nobody needs to look for its name.
    """

    __slots__ = ("_allowed", "_denied", "_patterns", "decides")

    def __init__(self, allow: Iterable[str] | None = None, deny: Iterable[str] = ()) -> None:
        self._allowed = _ToolPatterns(_EVERYTHING if allow is None else allow, is_greedy=False)
        self._denied = _ToolPatterns(deny, is_greedy=True)
        self._patterns = self._allowed.patterns, self._denied.patterns
        self.decides = bool(self._denied.patterns) or self._allowed.patterns.isdisjoint(_EVERYTHING)

    def admits(self, server: str, tool: str) -> bool:
        """
        Say whether a tool may be called, and so whether it is to be listed.

        :param server: the name of the server, as configured.
        :param tool: the name of the tool, as in ``params.name``.
        """
        return self._allowed.matches(server, tool) and not self._denied.matches(server, tool)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToolRights) and other._patterns == self._patterns

    def __hash__(self) -> int:
        return hash(self._patterns)

    def __repr__(self) -> str:
        allowed, denied = self._patterns
        return f"ToolRights(allow={sorted(allowed)}, deny={sorted(denied)})"


EVERY_TOOL: Final = ToolRights()
"""Nothing is restricted."""
