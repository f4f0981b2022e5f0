"""The SQLite file that keeps registrations: whose it is, its versions, and what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mcpgate.registry.database import MIGRATIONS, Change, Contents, Database, FileBounds, Unusable, salvage, why

HASTY = FileBounds(busy_s=0.0)


def rows(*servers: str) -> Change:
    """One registration for each server."""
    statement = "INSERT INTO replicas (server, replica, body, registered_at_s, revision) VALUES (?, 'r', x'7b7d', 1, 1)"
    return statement, [(server,) for server in servers]


def names(contents: Contents) -> list[str]:
    """The servers of registrations."""
    return sorted(row[0] for row in contents.replicas)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a file may be made."""
    return str(tmp_path / "var" / "registry.db")


@pytest.fixture
def made(path: str) -> str:
    """A file with two registrations."""
    with closing(Database(path)) as database:
        database.apply([rows("a", "b")])
    return path


@pytest.fixture
def other(made: str) -> Iterator[sqlite3.Connection]:
    """Another process that has the file open."""
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        yield connection


def version(path: str) -> int:
    """What the file says of its version."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def spoil(path: str, offset: int, content: bytes) -> None:
    """Write something into a file where it does not belong."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def test_a_file_is_made_with_its_folder_for_its_owner_only(path: str) -> None:
    """It may hold the credentials that replicas have registered; so do the files that SQLite puts beside it."""
    with closing(Database(path)) as database:
        database.apply([rows("a")])
        found = {
            name: stat.S_IMODE(os.stat(os.path.join(os.path.dirname(path), name)).st_mode)
            for name in os.listdir(os.path.dirname(path))
        }
    assert found == {"registry.db": 0o600, "registry.db-wal": 0o600, "registry.db-shm": 0o600}
    assert version(path) == len(MIGRATIONS)


def test_what_was_written_is_there_the_next_time(made: str) -> None:
    """Closed and opened again."""
    with closing(Database(made)) as database:
        assert database.contents() == ([("a", "r", b"{}", 1.0, 1), ("b", "r", b"{}", 1.0, 1)], [])


def test_changes_are_made_all_or_none(made: str) -> None:
    """One that fails takes back those before it."""
    with closing(Database(made)) as database:
        with pytest.raises(sqlite3.IntegrityError):
            database.apply([rows("c"), rows("a")])
        assert names(database.contents()) == ["a", "b"]
        database.apply([rows("c")])
        assert names(database.contents()) == ["a", "b", "c"]


def test_every_commit_reaches_the_disk(made: str) -> None:
    """The settings that durability depends on, as SQLite itself tells them."""
    with closing(Database(made)) as database:
        told = [
            database._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    assert told == ["wal", 2]


# --- versions --------------------------------------------------------------------------------------------------------


def test_an_older_file_is_brought_to_the_version_of_today(made: str) -> None:
    """Step by step, with what it holds."""
    later = (
        *MIGRATIONS,
        ("ALTER TABLE replicas ADD COLUMN zone TEXT NOT NULL DEFAULT 'here'",),
        ("UPDATE replicas SET zone = zone || '!'", "CREATE INDEX zones ON replicas (zone)"),
    )
    with closing(Database(made, migrations=later)) as database:
        assert names(database.contents()) == ["a", "b"]
        assert database._connection.execute("SELECT DISTINCT zone FROM replicas").fetchall() == [("here!",)]
    assert version(made) == len(MIGRATIONS) + 2


def test_an_empty_file_is_the_oldest(tmp_path: Path) -> None:
    """A start that was cut off before its first commit leaves one."""
    path = str(tmp_path / "registry.db")
    Path(path).touch()
    with closing(Database(path)) as database:
        database.apply([rows("a")])
        assert names(database.contents()) == ["a"]


def test_a_migration_that_fails_changes_nothing(made: str) -> None:
    """The file is as it was, for the version that could read it."""
    broken = (*MIGRATIONS, ("CREATE TABLE half (a)", "CREATE TABLE half (a)"))
    with pytest.raises(sqlite3.OperationalError):
        Database(made, migrations=broken)
    assert version(made) == len(MIGRATIONS)
    with closing(Database(made)) as database:
        assert names(database.contents()) == ["a", "b"]


def test_a_newer_file_is_not_touched(made: str) -> None:
    """What a later version means with it is not known: not read, not written, not even its log is made."""
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("PRAGMA journal_mode = DELETE")
    before = Path(made).read_bytes()
    with pytest.raises(Unusable, match="written by a newer mcpgate"):
        Database(made)
    assert salvage(made) == ([], [])
    assert Path(made).read_bytes() == before


def test_a_database_of_something_else_is_not_touched(path: str) -> None:
    """A path that was mistyped does not put our tables into somebody's accounts."""
    os.makedirs(os.path.dirname(path))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE replicas (money)")
        connection.commit()
    before = Path(path).read_bytes()
    with pytest.raises(Unusable, match="a database of something else"):
        Database(path)
    assert salvage(path) == ([], [])
    assert Path(path).read_bytes() == before


# --- what can be wrong -----------------------------------------------------------------------------------------------


def test_a_damaged_page_is_found_before_something_is_written(made: str) -> None:
    """What stands in the other pages can still be read."""
    with closing(Database(made)) as database:
        database.apply([rows(*(f"server-{number:03}" for number in range(400)))])
    size = os.path.getsize(made)
    spoil(made, size - 4096, b"\xff" * 4096)
    with pytest.raises(Unusable, match="malformed"):
        Database(made)
    assert 0 < len(salvage(made).replicas) < 402


def test_a_file_that_is_no_database(path: str) -> None:
    """It is refused, and stays."""
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(b"servers: []\n" * 500)
    with pytest.raises(sqlite3.DatabaseError, match="file is not a database"):
        Database(path)
    assert salvage(path) == ([], [])
    assert Path(path).read_bytes() == b"servers: []\n" * 500


def test_a_folder_that_cannot_be_made(made: str) -> None:
    """A path below a file, as also root meets it."""
    with pytest.raises(OSError) as refused:
        Database(f"{made}/below/registry.db")
    assert why(refused.value) == "Not a directory"
    assert salvage(f"{made}/below/registry.db") == ([], [])


def test_a_write_protected_file_can_be_read(made: str) -> None:
    """By the byte of its head with which SQLite marks a file as written by a later SQLite: readable, not writable."""
    spoil(made, 18, b"\x03")
    with pytest.raises(sqlite3.OperationalError) as refused:
        Database(made, HASTY)
    assert why(refused.value) == "attempt to write a readonly database"
    assert names(salvage(made)) == ["a", "b"]


def test_a_locked_file_can_be_read(made: str, other: sqlite3.Connection) -> None:
    """While somebody else writes, nothing is written; what was there before is there."""
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM replicas")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        Database(made, HASTY)
    assert names(salvage(made)) == ["a", "b"]


def test_a_file_that_somebody_has_for_himself_is_left_alone(made: str, other: sqlite3.Connection) -> None:
    """Half-written pages are not read."""
    for statement in ("PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = DELETE", "BEGIN EXCLUSIVE"):
        other.execute(statement).fetchall()
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        Database(made, HASTY)
    assert salvage(made) == ([], [])


def test_a_file_that_may_not_grow_keeps_what_it_has(made: str) -> None:
    """As on a full disk: the write fails, and works again when there is room."""
    with closing(Database(made, FileBounds(file_bytes=10 * 4096))) as database:
        with pytest.raises(sqlite3.OperationalError, match="full"):
            database.apply([rows(*("x" * 2000 + str(number) for number in range(100)))])
        assert names(database.contents()) == ["a", "b"]
        database.apply([rows("c")])
        assert names(database.contents()) == ["a", "b", "c"]


def test_a_file_that_was_moved_away_is_noticed(made: str) -> None:
    """Else one would go on writing where nobody reads."""
    with closing(Database(made)) as database:
        assert database.is_there
        os.rename(made, f"{made}.old")
        assert not database.is_there
        Path(made).touch()
        assert not database.is_there


def test_a_file_that_has_vanished_is_begun_anew_though_somebody_reads_the_old_one(
    made: str, other: sqlite3.Connection
) -> None:
    """Its log, which that process keeps there, is put aside; when it leaves, nothing of the new file goes with it."""
    with closing(Database(made)) as database:
        other.execute("SELECT * FROM replicas").fetchall()
        database.apply([rows("c")])
        os.unlink(made)
    with closing(Database(made)) as database:
        assert database.is_new
        database.apply([rows("d")])
        other.close()
        assert os.path.exists(f"{made}-wal")
        database.apply([rows("e")])
    with closing(Database(made)) as database:
        assert (names(database.contents()), database.is_new) == (["d", "e"], False)
    assert os.path.exists(f"{made}-wal.orphaned")


def test_a_log_without_its_file_is_not_played_into_a_new_one(made: str) -> None:
    """It is what a crash leaves behind when somebody then deletes the file alone."""
    with closing(Database(made)) as database:
        database.apply([rows("c")])
        log = Path(f"{made}-wal").read_bytes()
    os.unlink(made)
    Path(f"{made}-wal").write_bytes(log)
    with closing(Database(made)) as database:
        assert names(database.contents()) == []
    assert Path(f"{made}-wal.orphaned").read_bytes() == log


def test_text_that_is_none_does_not_hide_the_rows_after_it(made: str, other: sqlite3.Connection) -> None:
    """One flipped bit costs one registration."""
    other.execute("UPDATE replicas SET server = CAST(x'ff' AS TEXT) WHERE server = 'a'")
    with closing(Database(made)) as database:
        assert names(database.contents()) == ["b", "\ufffd"]
    assert names(salvage(made)) == ["b", "\ufffd"]


def test_reasons_are_for_people() -> None:
    """Never an empty one."""
    assert why(OSError()) == "unknown error"
    assert why(ValueError()) == "ValueError"
