"""
Watches the folder ``registry.files``: once a second it is seen whether its files are still the same.

By looking, not by being told: that works on every file system, also for the links that Kubernetes turns around. Only
names, times, sizes and inodes are looked at; what the files say is for ``config.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mcpgate.joined_files import is_snippet, why_unreadable

#: Files looked at in one turn of the reactor: 0.7 ms.
SLICE: Final = 200
#: A look at 1,000 files takes 3.5 ms in all, spread over turns; with more files the looks are as much further apart, so
#: that they never take more than 0.4 % of a core.
FILES_PER_INTERVAL: Final = 1000

#: Of each file by its name: when it was changed (ns), its size and inode; None for a link that leads nowhere.
Picture = dict[str, tuple[int, int, int] | None]


class Folder:
    """
    A folder that is looked at again and again.

    A change is told when the folder has looked the same for one look more, so that files which are still being written
    are not read. A folder that vanishes or cannot be read is no change.

    :param changed: called once for each change; whatever it raises is logged.
    :param call_later: of the reactor.
    """

    log = Logger()

    def __init__(
        self,
        path: str,
        changed: Callable[[], object],
        call_later: Callable[[float, Callable[[], None]], IDelayedCall],
        interval_s: float = 1.0,
    ) -> None:
        self.path = path
        self._changed = changed
        self._call_later = call_later
        self._interval_s = interval_s
        self._call: IDelayedCall | None = None
        # The look that is being taken.
        self._entries: Iterator[os.DirEntry[str]] | None = None
        self._seen: Picture = {}
        # What was seen the last time, and what is known to whoever is told.
        self._last: Picture | None = None
        self._known: Picture | None = None
        self._is_away = False

    def __repr__(self) -> str:
        return f"<Folder {self.path}: {len(self._known or ())} files{', away' if self._is_away else ''}>"

    def start(self) -> None:
        """Begin; the first look is what changes are told against, so the folder should just have been read."""
        if self._call is None:
            self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._entries = None

    def _look(self) -> None:
        """Look at some files; the rest is for later turns."""
        try:
            if self._entries is None:
                self._entries, self._seen = _entries_of(self.path), {}
            part = [(entry.name, _stamp(entry)) for entry in islice(self._entries, SLICE)]
        except OSError as refused:
            self._entries = None
            self._miss(refused)
            self._call = self._call_later(self._interval_s, self._look)
            return
        self._seen.update(part)
        if len(part) == SLICE:
            self._call = self._call_later(0.0, self._look)
            return
        self._entries = None
        self._call = self._call_later(self._interval_s * (1 + len(self._seen) // FILES_PER_INTERVAL), self._look)
        self._compare(self._seen)

    def _compare(self, seen: Picture) -> None:
        last, self._last, self._is_away = self._last, seen, False
        if self._known is None:
            self._known = seen
        elif seen == last != self._known:
            self._known = seen
            self._tell()

    def _tell(self) -> None:
        try:
            self._changed()
        except Exception:
            self.log.failure("{path} has changed, and reading it failed", path=self.path)

    def _miss(self, refused: OSError) -> None:
        if not self._is_away:
            self._is_away = True
            self.log.warn(
                "{path} cannot be read: {why}; the servers that were in it stay",
                path=self.path,
                why=why_unreadable(refused),
            )
        if self._known is None:
            # What comes back later is new.
            self._known = {}


def _entries_of(path: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        yield from (entry for entry in entries if is_snippet(entry.name))


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int, int] | None:
    try:
        found = entry.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
