"""
Keeps registrations over a restart: acknowledged means durable, and nothing that is wrong with a file stops the gateway.

One thread does nothing but write. What waits for it becomes one transaction, so many who register at once share the
price of one commit: 1,000 one after another take 0.23 s, 1,000 at once 0.03 s (one core, and a disk that syncs in 0.1
ms; on a slower one, only the first figure grows much). A file that is locked, full or damaged makes writes fail; each
later one tries again, so the store recovers when the cause is gone. Into another file of that name, all that was
acknowledged is written again before anything new is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, NamedTuple, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from mcpgate.refusals import StoreUnavailable
from mcpgate.registry.database import (
    MIGRATIONS,
    Change,
    Contents,
    Database,
    FileBounds,
    FileIdentity,
    Unusable,
    identity,
    salvage,
    why,
)
from mcpgate.registry.rows import KeptList, Key, Row, is_kept_list, objection

__all__ = ["GROUP", "MAX_REMEMBERED", "Bounds", "KeptList", "Key", "MemoryStore", "Row", "SqliteStore", "Store"]

#: So many writes become one transaction at most, and so many Deferreds fire in one turn of the reactor.
GROUP: Final = 256
#: So many registrations are remembered for another file: as many as the registry takes, 20 MB of a kilobyte each.
MAX_REMEMBERED: Final = 20_000

_PUT = "INSERT OR REPLACE INTO replicas (server, replica, body, registered_at_s, revision) VALUES (?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM replicas WHERE server = ? AND replica = ?"
_PUT_LIST = "INSERT OR REPLACE INTO lists (source, etag, body, fetched_at_s) VALUES (?, ?, ?, ?)"


class Store(Protocol):
    """
    What keeps registrations, and the last good copy of each polled list.

    To be called in the reactor's thread. A Deferred that is cancelled calls nothing off: the write happens.
    """

    @property
    def is_writable(self) -> bool:
        """Whether the last thing that was tried worked."""

    @property
    def fault(self) -> str:
        """Why not, for people; else empty."""

    def load(self) -> list[Row]:
        """
        All registrations; blocks, so before the reactor runs. Never raises: of a broken store, what can be read.

        Some of them may be none that anybody has written; see `mcpgate.registry.rows.objection`.
        """

    def load_lists(self) -> dict[str, KeptList]:
        """All lists by their source; as `load`."""

    def put(self, rows: Sequence[Row]) -> Deferred[None]:
        """
        Keep registrations, all or none of them, in place of those of the same server and replica.

        :returns: fires when they are durable; fails with `StoreUnavailable` if they are not kept.
        """

    def delete(self, keys: Sequence[Key]) -> Deferred[None]:
        """Forget registrations by server and replica; those that are not there, too. Otherwise as `put`."""

    def put_list(self, source: str, etag: str, body: bytes, fetched_at_s: float) -> Deferred[None]:
        """Keep a list in place of the earlier one of this source. Otherwise as `put`."""

    def close(self) -> None:
        """Write what was taken, if that does not take too long; nothing is taken any more."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    :ivar waiting: writes that wait for a slow disk; it takes less than a second for that many.
    :ivar close_s: how long `Store.close` waits for them.
    """

    file: FileBounds = field(default_factory=FileBounds)
    waiting: int = 10_000
    close_s: float = 5.0


class _Write(NamedTuple):
    change: Change
    done: Deferred[None]


class SqliteStore:
    """
    A `Store` in an SQLite file.

    :param path: of the file; made when it is needed, with its folder.
    :param call_from_thread: of the reactor.
    """

    log = Logger()

    def __init__(
        self,
        path: str,
        call_from_thread: Callable[..., object],
        bounds: Bounds = Bounds(),
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        self.path = path
        self.fault = ""
        self._call_from_thread = call_from_thread
        self._bounds = bounds
        self._migrations = migrations
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._waiting_count = 0
        # Made at the first write: no thread survives the fork of a daemon.
        self._thread: Thread | None = None
        self._is_closed = False
        # Of the thread alone, once there is one.
        self._database: Database | None = None
        self._memory = _Memory()

    def __repr__(self) -> str:
        return f"<SqliteStore {self.path}: {self._waiting_count} writes wait{self.fault and f'; {self.fault}'}>"

    @property
    def is_writable(self) -> bool:
        """See `Store`."""
        return not self.fault

    def load(self) -> list[Row]:
        """See `Store`."""
        rows = [Row(*values) for values in self._load().replicas]
        if self._thread is None:
            self._memory = _Memory(rows, identity(self.path))
        return rows

    def load_lists(self) -> dict[str, KeptList]:
        """See `Store`."""
        lists = filter(is_kept_list, self._load().lists)
        return {source: (etag, body, fetched_at_s) for source, etag, body, fetched_at_s in lists}

    def put(self, rows: Sequence[Row]) -> Deferred[None]:
        """See `Store`."""
        return self._write((_PUT, rows))

    def delete(self, keys: Sequence[Key]) -> Deferred[None]:
        """See `Store`."""
        return self._write((_DELETE, keys))

    def put_list(self, source: str, etag: str, body: bytes, fetched_at_s: float) -> Deferred[None]:
        """See `Store`."""
        return self._write((_PUT_LIST, [(source, etag, body, fetched_at_s)]))

    def close(self) -> None:
        """See `Store`. Deferreds of what is written fire in a later turn."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join(self._bounds.close_s)

    # --- the reactor's thread ---------------------------------------------------------------------------------------

    def _load(self) -> Contents:
        # A connection of its own, closed at once: none may be open over the fork of a daemon.
        try:
            database = self._open()
        except (sqlite3.Error, OSError, Unusable) as error:
            self._note(self._explained(error))
            return salvage(self.path, len(self._migrations))
        self._note("")
        try:
            return database.contents()
        finally:
            database.close()

    def _write(self, change: Change) -> Deferred[None]:
        if self._is_closed:
            return fail(StoreUnavailable(detail=f"{self.path}: closed"))
        if self._waiting_count >= self._bounds.waiting:
            return fail(StoreUnavailable(detail=f"{self.path}: {self._waiting_count} writes wait already"))
        if self._thread is None:
            self._thread = Thread(target=self._work, name="mcpgate-store", daemon=True)
            self._thread.start()
        done: Deferred[None] = Deferred()
        self._waiting_count += 1
        self._queue.put(_Write(change, done))
        return done

    def _settle(self, group: Iterable[_Write], fault: str) -> None:
        self._note(fault)
        for write in group:
            self._waiting_count -= 1
            if fault:
                write.done.errback(StoreUnavailable(detail=fault))
            else:
                write.done.callback(None)

    def _note(self, fault: str) -> None:
        if fault and fault != self.fault:
            self.log.error("registrations cannot be stored: {fault}", fault=fault)
        elif self.fault and not fault:
            self.log.info("registrations are stored again: {path}", path=self.path)
        self.fault = fault

    # --- its own thread ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while group := self._next_group():
            fault = self._commit(group)
            self._call_from_thread(self._settle, group, fault)
        self._leave()

    def _next_group(self) -> list[_Write]:
        """What waits, at least one write; empty at the end."""
        group: list[_Write] = []
        entry = self._queue.get()
        while entry is not None:
            group.append(entry)
            if len(group) == GROUP:
                return group
            try:
                entry = self._queue.get_nowait()
            except Empty:
                return group
        if group:
            # The end comes again, after these.
            self._queue.put(None)
        return group

    def _commit(self, group: Iterable[_Write]) -> str:
        """Make one transaction of a group; why that failed, else empty."""
        try:
            if self._database is not None and not self._database.is_there:
                self._leave()
            if self._database is None:
                self._database = self._open()
                self._memory.note_file(self._database)
            changes = [write.change for write in group]
            self._database.apply([*self._memory.missing, *changes])
            self._memory.take(changes)
        except Exception as error:
            # Whatever it was: the thread must go on, and the next group begins with a fresh look at the file.
            self._leave()
            return self._explained(error)
        return ""

    def _leave(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> Database:
        return Database(self.path, self._bounds.file, self._migrations)

    def _explained(self, error: Exception) -> str:
        return f"{self.path}: {why(error)}"


class _Memory:
    """
    What the file must hold, in case another one takes its place: registrations that are acknowledged, not lists, which
    are read again anyway.

    :ivar missing: changes that bring all of it into a file that has not got it; empty once that is done.
    """

    def __init__(self, rows: Iterable[Row] = (), file: FileIdentity | None = None) -> None:
        self.missing: list[Change] = []
        self._rows: dict[Key, Row] = {}
        self._file = file
        self._take_rows(row for row in rows if not objection(row))

    def note_file(self, database: Database) -> None:
        """This file is written from now on."""
        # The number of a file that is gone may come back with the next one.
        if self._rows and (database.is_new or database.file != self._file):
            self.missing = [(_PUT, list(self._rows.values()))]
        self._file = database.file

    def take(self, changes: Iterable[Change]) -> None:
        """These are in the file, and so is what was missing."""
        self.missing = []
        for statement, values in changes:
            if statement == _PUT:
                self._take_rows(Row(*each) for each in values)  # type: ignore[arg-type]
            elif statement == _DELETE:
                for server, replica in values:
                    self._rows.pop((server, replica), None)  # type: ignore[arg-type]

    def _take_rows(self, rows: Iterable[Row]) -> None:
        for row in rows:
            key = row.server, row.replica
            if key in self._rows or len(self._rows) < MAX_REMEMBERED:
                self._rows[key] = row


class MemoryStore:
    """
    A `Store` that keeps nothing over a restart and fires at once.

    :ivar fault: whoever sets it makes all writes fail.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._rows: dict[Key, Row] = {}
        self._lists: dict[str, KeptList] = {}

    @property
    def is_writable(self) -> bool:
        """See `Store`."""
        return not self.fault

    def load(self) -> list[Row]:
        """See `Store`."""
        return list(self._rows.values())

    def load_lists(self) -> dict[str, KeptList]:
        """See `Store`."""
        return dict(self._lists)

    def put(self, rows: Sequence[Row]) -> Deferred[None]:
        """See `Store`."""
        return self._apply(lambda: self._rows.update({(row.server, row.replica): row for row in rows}))

    def delete(self, keys: Sequence[Key]) -> Deferred[None]:
        """See `Store`."""
        return self._apply(lambda: [self._rows.pop(key, None) for key in keys])

    def put_list(self, source: str, etag: str, body: bytes, fetched_at_s: float) -> Deferred[None]:
        """See `Store`."""
        return self._apply(lambda: self._lists.update({source: (etag, body, fetched_at_s)}))

    def close(self) -> None:
        """See `Store`."""

    def _apply(self, change: Callable[[], object]) -> Deferred[None]:
        if self.fault:
            return fail(StoreUnavailable(detail=self.fault))
        change()
        return succeed(None)
