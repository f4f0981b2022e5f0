"""What discovery shows, and what changes of it: one table, from which every form is made and every event comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mcpgate.downstream.discovery import Entry
from mcpgate.policy.access import Auth
from mcpgate.registry.changes import Changes


@dataclass(frozen=True, slots=True)
class Eyes:
    """
    How the directory sees, and whom it tells.

    :ivar look: a server as it should be shown now; ``None`` if it should not be.
    :ivar tell: an event: its kind (``added``, ``removed``, ``changed``, ``status``), its number, and the server as it
        is, or was.
    :ivar wall: seconds since 1970.
    """

    look: Callable[[str], Entry | None]
    tell: Callable[[str, int, Entry], None]
    wall: Callable[[], float]


class Directory:
    """
    :ivar entries: what is shown, by name.
    """

    def __init__(self, eyes: Eyes, changes: Changes) -> None:
        self.entries: dict[str, Entry] = {}
        self._eyes = eyes
        self._changes = changes

    def catalog(self) -> list[Entry]:
        """All that is shown; who may see what is decided by the reader's token."""
        return list(self.entries.values())

    def fill(self, names: Iterable[str]) -> None:
        """At the start, before anybody listens."""
        for name in names:
            entry = self._eyes.look(name)
            if entry is not None:
                self.entries[name] = entry

    def note(self, names: Iterable[str]) -> None:
        """Something of these servers may have changed: look at them, and tell what has."""
        for name in names:
            before, after = self.entries.get(name), self._eyes.look(name)
            if before is not None and after is not None and _asks_for_tokens(before) != _asks_for_tokens(after):
                self._show(name, "removed", None)  # who may see it is another now: each is told what it can see
                before = None
            kind = _kind(before, after)
            if kind:
                self._show(name, kind, after)

    def _show(self, name: str, kind: str, after: Entry | None) -> None:
        if after is None:
            shown = self.entries.pop(name)
        else:
            shown = self.entries[name] = after
        self._eyes.tell(kind, self._changes.advance(), shown)


def _asks_for_tokens(entry: Entry) -> bool:
    return entry.terms.auth is Auth.REQUIRED


def _kind(before: Entry | None, after: Entry | None) -> str:
    """What has happened, in one word; empty if nothing has."""
    if before is None:
        return "added" if after is not None else ""
    if after is None:
        return "removed"
    if (before.settings, before.terms) != (after.settings, after.terms):
        return "changed"
    return "status" if before.status != after.status else ""
