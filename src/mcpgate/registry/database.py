"""
The SQLite file that keeps registrations: opened, checked and migrated, read, written.

Write-ahead log and ``synchronous=FULL``: what `Database.apply` has returned from survives a crash of the process and
a power cut. A file that is not ours, or of a later version, is never changed. Everything here blocks; the thread that
may is in ``store.py``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

#: "mcpg", where SQLite keeps whose file it is (its file format, section 1.3.15).
APPLICATION_ID: Final = 0x6D637067
#: The statements that lead from version n of the file to version n + 1; its length is today's version.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        "CREATE TABLE replicas (server TEXT NOT NULL, replica TEXT NOT NULL, body BLOB NOT NULL,"
        " registered_at_s REAL NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (server, replica))",
        "CREATE TABLE lists (source TEXT NOT NULL PRIMARY KEY, etag TEXT NOT NULL, body BLOB NOT NULL,"
        " fetched_at_s REAL NOT NULL)",
    ),
)
#: What SQLite keeps beside a file; the log of one file, found beside another, would be played into it.
_BESIDE: Final = ("-wal", "-shm", "-journal")
#: Where such a thing goes when its file is gone; the next one takes its place.
_ORPHANED: Final = ".orphaned"
#: SQLite's default, and what is written with ``max_page_count``.
_PAGE_BYTES = 4096
#: The log is cut back to that after a checkpoint; without it, it stays as large as it ever was.
_LOG_BYTES = 4 << 20

#: One statement, and all the values it is run with.
Change = tuple[str, Sequence[tuple[object, ...]]]
#: Device and number of a file.
FileIdentity = tuple[int, int]


class Unusable(Exception):
    """A file that must not be written, with the reason for people."""


@dataclass(frozen=True, slots=True)
class FileBounds:
    """
    What a file may take.

    :ivar busy_s: how long one waits for another process that writes.
    :ivar file_bytes: 10,000 registrations of a kilobyte are 15 MB; more than this and somebody fills the disk.
    """

    busy_s: float = 5.0
    file_bytes: int = 1 << 30


class Contents(NamedTuple):
    """All rows of both tables, as they stand there; whether they make sense is for others to say."""

    replicas: list[tuple[Any, ...]]
    lists: list[tuple[Any, ...]]


class Database:
    """
    One open file, checked and brought to today's version; made if it is not there, for its owner only, as it may hold
    credentials.

    Belongs to the thread that made it.

    :ivar file: which file it is, whatever its name is by now.
    :ivar is_new: whether it held nothing at all.
    :raises Unusable: it is somebody else's, of a later version, or damaged.
    :raises sqlite3.Error: it is locked, write-protected, or the disk is full.
    :raises OSError: its folder cannot be made.
    """

    def __init__(
        self, path: str, bounds: FileBounds = FileBounds(), migrations: Sequence[Sequence[str]] = MIGRATIONS
    ) -> None:
        _make(path)
        self._path = path
        self.file = identity(path)
        self._beside: dict[str, FileIdentity | None] = {}
        self._connection = sqlite3.connect(path, timeout=bounds.busy_s, isolation_level=None)
        try:
            _refuse_foreign(self._connection, len(migrations))
            _refuse_damaged(self._connection)
            self._prepare(bounds)
            self.is_new = self._migrate(migrations)
            self._beside = {name: identity(name) for name in _beside(path)}
        except BaseException:
            self.close()
            raise

    @property
    def is_there(self) -> bool:
        """Whether the file still is the one of that name: it may have been moved away, or another put in its place."""
        return self.file == identity(self._path)

    def apply(self, changes: Iterable[Change]) -> None:
        """
        Make all changes durably, or none.

        :raises sqlite3.Error: none was made.
        """
        with _transaction(self._connection):
            for statement, values in changes:
                self._connection.executemany(statement, values)

    def contents(self) -> Contents:
        """Everything."""
        return _read(self._connection)

    def close(self) -> None:
        """
        Close it; the log is joined to the file if nobody else has it open.

        If the file is not there any more, the log is put aside, even if somebody else still has it open.
        """
        is_there = self.is_there
        self._connection.close()
        if not is_there:
            # By identity: another file may have come with a log of its own.
            _put_aside(name for name, known in self._beside.items() if known is not None and known == identity(name))

    def _prepare(self, bounds: FileBounds) -> None:
        for setting in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"journal_size_limit = {_LOG_BYTES}",
            f"max_page_count = {bounds.file_bytes // _PAGE_BYTES}",
        ):
            self._connection.execute(f"PRAGMA {setting}").fetchall()

    def _migrate(self, migrations: Sequence[Sequence[str]]) -> bool:
        """Whether there was nothing at all."""
        with _transaction(self._connection):
            version = _number(self._connection, "user_version")
            for statement in (each for steps in migrations[version:] for each in steps):
                self._connection.execute(statement)
            # Written even if it is the same: whether a file can be written is not known before.
            self._connection.execute(f"PRAGMA user_version = {len(migrations)}")
        return version == 0


def salvage(path: str, newest: int = len(MIGRATIONS)) -> Contents:
    """What can be read of a file that cannot be written; it is not changed."""
    address = Path(path).absolute().as_uri()
    # "immutable" reads where not even the files beside it can be made, but does not see what stands in the log.
    for mode in ("mode=ro", "immutable=1"):
        try:
            with contextlib.closing(sqlite3.connect(f"{address}?{mode}", uri=True, timeout=0.0)) as connection:
                _refuse_foreign(connection, newest)
                return _read(connection)
        except (sqlite3.Error, Unusable) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                break
    return Contents([], [])


def why(error: Exception) -> str:
    """What is wrong with a file, for people."""
    return (error.strerror or "unknown error") if isinstance(error, OSError) else str(error) or type(error).__name__


def _make(path: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    # Only if it is not there: closing a descriptor of a database would drop the locks of all others in this process.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _put_aside(_beside(path))


def _beside(path: str) -> list[str]:
    return [path + suffix for suffix in _BESIDE]


def _put_aside(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.replace(name, name + _ORPHANED)


def identity(path: str) -> FileIdentity | None:
    """Which file stands there, as long as somebody has it open; ``None`` if there is none to be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse_foreign(connection: sqlite3.Connection, newest: int) -> None:
    application, version = _number(connection, "application_id"), _number(connection, "user_version")
    is_fresh = not application and not version and not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and not is_fresh:
        raise Unusable("a database of something else, expected a file of its own")
    if version > newest:
        raise Unusable("written by a newer mcpgate")


def _refuse_damaged(connection: sqlite3.Connection) -> None:
    """Find a torn page before something is written beside it: 15 ms for 10,000 registrations."""
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise Unusable("database disk image is malformed")


def _number(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _read(connection: sqlite3.Connection) -> Contents:
    # Text with a flipped bit must not hide the rows after it.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return Contents(
        _rows(
            connection,
            "SELECT server, replica, CAST(body AS BLOB), CAST(registered_at_s AS REAL), CAST(revision AS INTEGER)"
            " FROM replicas",
        ),
        _rows(connection, "SELECT source, etag, CAST(body AS BLOB), CAST(fetched_at_s AS REAL) FROM lists"),
    )


def _rows(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """The rows up to the first that cannot be read."""
    found: list[tuple[Any, ...]] = []
    with contextlib.suppress(sqlite3.Error):
        for row in connection.execute(query):
            found.append(row)
    return found
