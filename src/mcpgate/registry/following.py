"""
What polled lists say becomes entries of the roster, a few in each turn of the reactor: a long list must not hold it up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from mcpgate.refusals import RegistrationRefused
from mcpgate.registry.attendance import Times
from mcpgate.registry.changes import Changes
from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Entry, Key, Roster

#: Servers that are taken in one turn: some 3 ms.
HANDFUL: Final = 8


@dataclass(frozen=True, slots=True)
class Effects:
    """
    What follows from an entry that is there, is another, or is gone.

    :ivar apply: these servers have changed.
    :ivar tell: an event for operators: its kind, and the entry.
    :ivar note_conflict: an entry may not be used.
    """

    apply: Callable[[Collection[str], float | None], None]
    tell: Callable[[str, Entry], None]
    note_conflict: Callable[[Entry], None]


class Following:
    """Keeps the entries of all lists as the lists say."""

    log = Logger()

    def __init__(self, roster: Roster, changes: Changes, times: Times, effects: Effects) -> None:
        self._roster = roster
        self._changes = changes
        self._times = times
        self._effects = effects
        self._steps: dict[str, Iterator[None]] = {}
        self._twins: set[tuple[str, Key]] = set()

    def take(self, name: str, listed: Mapping[Key, Registration]) -> None:
        """A list says this now. The first entries follow at once, the others in further turns."""
        steps = self._steps[name] = self._follow(f"list:{name}", listed)
        self._step(name, steps)

    def _step(self, name: str, steps: Iterator[None]) -> None:
        if self._steps.get(name) is not steps:
            return  # it has said something else since
        for _ in steps:
            self._times.clock.callLater(0, self._step, name, steps)
            return
        del self._steps[name]

    def _follow(self, origin: str, listed: Mapping[Key, Registration]) -> Iterator[None]:
        present = [entry for entry in self._roster if entry.origin == origin]
        gone = [entry for entry in present if entry.key not in listed]
        for start in range(0, len(gone), HANDFUL):
            if start:
                yield
            self._let_go(gone[start : start + HANDFUL])
        touched: set[str] = set()
        for key, registration in listed.items():
            if self._take_one(origin, key, registration):
                touched.add(key[0])
            if len(touched) == HANDFUL:
                self._apply(touched)
                touched = set()
                yield
        if touched:
            self._apply(touched)

    def _let_go(self, entries: Collection[Entry]) -> None:
        for entry in entries:
            present = self._roster.get(entry.key)
            if present is not None and present.origin == entry.origin:  # nobody else has taken its place meanwhile
                self._roster.remove(entry.key)
                self._effects.tell("deregistered", entry)
        self._apply({entry.server for entry in entries})

    def _take_one(self, origin: str, key: Key, registration: Registration) -> bool:
        """Whether anything is different now."""
        before, wall_s = self._roster.get(key), self._times.wall()
        if before is not None and before.origin != origin:
            self._note_twin(entry=before, origin=origin)
            return False
        self._twins.discard((origin, key))
        if before is not None and _is_same(before.registration, registration) and not self._is_free(before):
            return False
        since_s = wall_s if before is None else before.registered_at_s
        entry = Entry(*key, origin, registration, self._changes.advance(), since_s, wall_s)
        entry = self._roster.restore(entry)
        if before is None or before.conflict != entry.conflict:
            self._effects.note_conflict(entry)
        self._effects.tell("registered" if before is None else "changed", entry)
        return True

    def _note_twin(self, entry: Entry, origin: str) -> None:
        """Somebody has this very replica already: said once, since there is no place where it could be shown."""
        if (origin, entry.key) not in self._twins:
            self._twins.add((origin, entry.key))
            self.log.warn(
                "{server}/{replica} of {origin} is not used: it comes from {other} already",
                server=entry.server,
                replica=entry.replica,
                origin=origin,
                other=entry.origin,
            )

    def _is_free(self, entry: Entry) -> bool:
        """Whether an entry that could not be used can be now, or for another reason not."""
        return bool(entry.conflict) and entry.conflict != self._roster.objection(entry)

    def _apply(self, names: Collection[str]) -> None:
        try:
            self._effects.apply(names, None)
        except RegistrationRefused as bad:
            if len(names) == 1:
                self.log.warn("{names} cannot run: {why}", names=", ".join(names), why=bad.text)
                return
            for name in names:
                self._apply([name])


def _is_same(mine: Registration, other: Registration) -> bool:
    """A list that has not changed is told with the very same objects."""
    return mine is other or mine == other
