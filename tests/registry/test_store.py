"""What is kept over a restart, and what happens when that does not work."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from mcpgate.refusals import StoreUnavailable
from mcpgate.registry.database import MIGRATIONS, FileBounds
from mcpgate.registry.store import GROUP, Bounds, MemoryStore, Row, SqliteStore, Store

PATIENCE_S = 20.0
#: Nobody is waited for.
HASTY = Bounds(file=FileBounds(busy_s=0.0))


class Calls:
    """The reactor as the writer's thread sees it: calls wait until the test takes them."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
        self.thread_names: list[str] = []

    def from_thread(self, call: Callable[..., object], *arguments: object) -> None:
        """As the reactor's."""
        self.thread_names.append(threading.current_thread().name)
        self._queue.put((call, arguments))

    def take(self) -> None:
        """Make one call, which may still have to come."""
        call, arguments = self._queue.get(timeout=PATIENCE_S)
        call(*arguments)

    def take_rest(self) -> None:
        """Make those that are there."""
        with contextlib.suppress(Empty):
            while True:
                call, arguments = self._queue.get_nowait()
                call(*arguments)

    def outcome(self, done: Deferred[None]) -> str:
        """What becomes of a write: ``kept``, or why not, for the log."""
        results: list[str] = []
        done.addCallbacks(lambda _: results.append("kept"), lambda failure: results.append(told(failure.value)))
        while not results:
            self.take()
        return results[0]


def told(error: Exception) -> str:
    """What the log gets of an error."""
    assert isinstance(error, StoreUnavailable), error
    return error.detail.rpartition("/")[2]


def row(server: str, revision: int = 1) -> Row:
    """A registration."""
    return Row(server, "r1", b'{"url": "http://127.0.0.1:1"}', 1.5, revision)


class Shelf:
    """Stores on one file, as one process after the other opens it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.calls = Calls()
        self._opened: list[SqliteStore] = []

    def open(self, bounds: Bounds = HASTY) -> SqliteStore:
        """Begin anew with what the file holds."""
        self._opened.append(SqliteStore(self.path, self.calls.from_thread, bounds))
        return self._opened[-1]

    def kept(self) -> list[str]:
        """The servers whose registrations a new process finds."""
        return sorted(row.server for row in self.open().load())

    def close(self) -> None:
        """End all threads."""
        for store in self._opened:
            store.close()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A place for a file that is not there yet."""
    shelf = Shelf(str(tmp_path / "var" / "registry.db"))
    yield shelf
    shelf.close()


@pytest.fixture(params=["sqlite", "memory"])
def any_store(request: pytest.FixtureRequest, shelf: Shelf) -> Store:
    """Each kind of store."""
    return shelf.open() if request.param == "sqlite" else MemoryStore()


# --- what both do ----------------------------------------------------------------------------------------------------


def test_what_was_put_is_loaded_and_what_was_deleted_is_not(any_store: Store, shelf: Shelf) -> None:
    """The last word on a replica counts."""
    outcome = shelf.calls.outcome
    assert any_store.load() == []
    assert outcome(any_store.put([row("a"), row("b"), row("c")])) == "kept"
    assert outcome(any_store.put([row("b", 2)])) == "kept"
    assert outcome(any_store.delete([("c", "r1"), ("nobody", "r1")])) == "kept"
    assert sorted(any_store.load()) == [row("a"), row("b", 2)]
    assert (any_store.is_writable, any_store.fault) == (True, "")


def test_the_last_copy_of_a_list_is_kept(any_store: Store, shelf: Shelf) -> None:
    """With its ETag, so that the next poll may ask whether it changed."""
    assert any_store.load_lists() == {}
    for body in (b"old", b"[1]"):
        assert shelf.calls.outcome(any_store.put_list("one", '"e"', body, 2.5)) == "kept"
    assert shelf.calls.outcome(any_store.put_list("two", "", b"", 3.0)) == "kept"
    assert any_store.load_lists() == {"one": ('"e"', b"[1]", 2.5), "two": ("", b"", 3.0)}


# --- the thread ------------------------------------------------------------------------------------------------------


def test_a_write_is_acknowledged_when_it_is_durable(shelf: Shelf) -> None:
    """When its call comes out of the thread, another process finds it already."""
    done = shelf.open().put([row("a")])
    seen: list[list[str]] = []
    done.addCallback(lambda _: seen.append(shelf.kept()))
    assert not done.called
    shelf.calls.take()
    assert seen == [["a"]]
    assert shelf.calls.thread_names == ["mcpgate-store"]


def test_what_waits_becomes_one_transaction(shelf: Shelf, other: sqlite3.Connection) -> None:
    """A thousand who register at once do not wait for a thousand commits, but for a few."""
    store = shelf.open(Bounds(file=FileBounds(busy_s=PATIENCE_S)))
    before = len(shelf.calls.thread_names)
    other.execute("BEGIN IMMEDIATE")
    done = [store.put([row(f"s{number:04}")]) for number in range(1000)]
    other.execute("COMMIT")
    assert [shelf.calls.outcome(each) for each in done] == ["kept"] * 1000
    # The first may have found one write, or some; all others were full, but for the last.
    assert len(shelf.calls.thread_names) - before <= 1000 // GROUP + 2
    assert len(shelf.kept()) == 1001


def test_a_cancelled_write_is_written_all_the_same(shelf: Shelf) -> None:
    """A client that leaves does not undo what it asked for; the next write goes on as if nothing had been."""
    store = shelf.open()
    left = store.put([row("a")])
    left.cancel()
    failures: list[type[BaseException] | None] = []
    left.addErrback(lambda failure: failures.append(failure.type))
    assert shelf.calls.outcome(store.put([row("b")])) == "kept"
    assert failures == [CancelledError]
    assert shelf.kept() == ["a", "b"]


def test_closing_writes_what_was_taken(shelf: Shelf) -> None:
    """Afterwards nothing is taken; closing twice is harmless."""
    store = shelf.open()
    done = [store.put([row(f"s{number}")]) for number in range(GROUP + 10)]
    store.close()
    store.close()
    assert len(shelf.kept()) == GROUP + 10
    shelf.calls.take_rest()
    assert all(each.called for each in done)
    assert shelf.calls.outcome(store.put([row("late")])) == "registry.db: closed"


def test_closing_waits_only_so_long(shelf: Shelf, other: sqlite3.Connection) -> None:
    """A process ends although its disk does not answer."""
    store = shelf.open(Bounds(file=FileBounds(busy_s=0.05), close_s=0.0))
    other.execute("BEGIN IMMEDIATE")
    done = store.put([row("a")])
    store.close()
    assert not done.called
    assert "locked" in shelf.calls.outcome(done)


def test_not_more_than_a_bound_wait(shelf: Shelf) -> None:
    """A disk that has stopped makes the gateway say so, instead of eating its memory."""
    store = shelf.open(Bounds(waiting=3))
    done = [store.put([row(name)]) for name in "abcd"]
    assert shelf.calls.outcome(done[3]) == "registry.db: 3 writes wait already"
    assert repr(store) == f"<SqliteStore {shelf.path}: 3 writes wait>"
    assert [shelf.calls.outcome(each) for each in done[:3]] == ["kept"] * 3
    assert shelf.calls.outcome(store.put([row("d")])) == "kept"


def test_a_value_that_no_file_can_hold_does_not_end_the_thread(shelf: Shelf) -> None:
    """Its group is refused, the next is written."""
    store = shelf.open()
    assert "too large" in shelf.calls.outcome(store.put([row("a", 1 << 70)]))
    assert shelf.calls.outcome(store.put([row("a")])) == "kept"


# --- what can be wrong -----------------------------------------------------------------------------------------------


@pytest.fixture
def other(shelf: Shelf) -> Iterator[sqlite3.Connection]:
    """Another process that has the file open, which holds a registration."""
    assert shelf.calls.outcome(shelf.open().put([row("old")])) == "kept"
    with contextlib.closing(sqlite3.connect(shelf.path, isolation_level=None)) as connection:
        yield connection


def test_a_locked_file_is_written_when_the_lock_is_gone(shelf: Shelf, other: sqlite3.Connection) -> None:
    """Until then writes fail and say why; what is there is read."""
    store = shelf.open()
    other.execute("BEGIN IMMEDIATE")
    assert [each.server for each in store.load()] == ["old"]
    assert (store.is_writable, store.fault) == (False, f"{shelf.path}: database is locked")
    assert shelf.calls.outcome(store.put([row("a")])) == "registry.db: database is locked"
    assert repr(store) == f"<SqliteStore {shelf.path}: 0 writes wait; {shelf.path}: database is locked>"
    other.execute("COMMIT")
    assert shelf.calls.outcome(store.put([row("a")])) == "kept"
    assert (store.is_writable, store.fault) == (True, "")
    assert shelf.kept() == ["a", "old"]


def test_a_lock_in_passing_is_waited_for(shelf: Shelf, other: sqlite3.Connection) -> None:
    """A backup or a curious operator costs a moment, not a registration."""
    store = shelf.open(Bounds(file=FileBounds(busy_s=PATIENCE_S)))
    other.execute("BEGIN IMMEDIATE")
    done = store.put([row("a")])
    other.execute("COMMIT")
    assert shelf.calls.outcome(done) == "kept"


def spoil(shelf: Shelf, offset: int, content: bytes) -> None:
    """Write something into the file where it does not belong."""
    with open(shelf.path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def keep(shelf: Shelf, *servers: str) -> None:
    """A process that kept something and has ended."""
    store = shelf.open()
    assert shelf.calls.outcome(store.put([row(server) for server in servers])) == "kept"
    store.close()


@pytest.mark.parametrize(
    ("offset", "content", "reason"),
    [
        (0, b"something else\n", "file is not a database"),
        (4096, b"\xff" * 4096, "database disk image is malformed"),
        (60, b"\0\0\0\x63", "written by a newer mcpgate"),
        (68, b"\0\0\0\x63", "a database of something else, expected a file of its own"),
    ],
)
def test_a_broken_file_is_left_until_somebody_takes_it_away(
    shelf: Shelf, offset: int, content: bytes, reason: str
) -> None:
    """The gateway starts without it and says what is wrong with it; when it is gone, a new one is begun."""
    keep(shelf, "old")
    spoil(shelf, offset, content)
    store = shelf.open()
    assert isinstance(store.load(), list)
    assert isinstance(store.load_lists(), dict)
    assert (store.is_writable, store.fault) == (False, f"{shelf.path}: {reason}")
    assert shelf.calls.outcome(store.put([row("a")])) == f"registry.db: {reason}"
    os.rename(shelf.path, f"{shelf.path}.broken")
    assert shelf.calls.outcome(store.put([row("a")])) == "kept"
    assert (store.is_writable, shelf.kept()) == (True, ["a"])


def test_a_write_protected_file_is_read(shelf: Shelf) -> None:
    """Its registrations come back; new ones are refused."""
    keep(shelf, "old")
    spoil(shelf, 18, b"\x03")
    store = shelf.open()
    assert [each.server for each in store.load()] == ["old"]
    assert not store.is_writable
    assert shelf.calls.outcome(store.put([row("a")])) == "registry.db: attempt to write a readonly database"
    spoil(shelf, 18, b"\x02")
    assert shelf.calls.outcome(store.put([row("a")])) == "kept"
    assert shelf.kept() == ["a", "old"]


def test_a_folder_that_cannot_be_made(shelf: Shelf) -> None:
    """Where a file stands in its place, for instance; once that is gone, the folder is made."""
    folder = Path(shelf.path).parent
    folder.touch()
    store = shelf.open()
    assert store.load() == []
    assert store.fault == f"{shelf.path}: File exists"
    assert "File exists" in told_of(shelf, store)
    folder.unlink()
    assert told_of(shelf, store) == "kept"


def told_of(shelf: Shelf, store: SqliteStore) -> str:
    """What becomes of a further write."""
    return shelf.calls.outcome(store.put([row("further")]))


def test_a_full_disk_refuses_what_has_no_room_and_nothing_else(shelf: Shelf) -> None:
    """What was acknowledged stays; what is smaller, or a deletion, is written again at once."""
    store = shelf.open(Bounds(file=FileBounds(file_bytes=12 * 4096)))
    assert told_of(shelf, store) == "kept"
    large = row("large")._replace(body=b"x" * 100_000)
    assert "full" in shelf.calls.outcome(store.put([large]))
    assert not store.is_writable
    assert shelf.calls.outcome(store.put([row("small")])) == "kept"
    assert shelf.calls.outcome(store.delete([("further", "r1")])) == "kept"
    assert shelf.kept() == ["small"]


def take_away(shelf: Shelf) -> None:
    """The file goes, with everything beside it."""
    for name in os.listdir(os.path.dirname(shelf.path)):
        os.unlink(os.path.join(os.path.dirname(shelf.path), name))


def test_a_file_that_is_taken_away_while_it_is_in_use(shelf: Shelf) -> None:
    """The next write begins a new one, and what was acknowledged stands in it: written, loaded, but not deleted."""
    keep(shelf, "loaded", "deleted")
    store = shelf.open()
    store.load()
    assert shelf.calls.outcome(store.put([row("a")])) == "kept"
    assert shelf.calls.outcome(store.delete([("deleted", "r1")])) == "kept"
    take_away(shelf)
    assert shelf.calls.outcome(store.put([row("b")])) == "kept"
    assert shelf.kept() == ["a", "b", "loaded"]


def test_a_file_in_whose_place_another_was_put(shelf: Shelf) -> None:
    """A copy of yesterday gets what was acknowledged since, and the log of the other file is not played into it."""
    keep(shelf, "a")
    shutil.copy(shelf.path, f"{shelf.path}.copy")
    store = shelf.open()
    assert shelf.calls.outcome(store.put([row("a", 2), row("b")])) == "kept"
    os.replace(f"{shelf.path}.copy", shelf.path)
    assert shelf.calls.outcome(store.put([row("c")])) == "kept"
    assert sorted(shelf.open().load()) == [row("a", 2), row("b"), row("c")]


def test_what_a_new_file_lacks_is_written_even_if_its_first_write_fails(shelf: Shelf) -> None:
    """It is owed until a transaction has brought it."""
    store = shelf.open()
    assert told_of(shelf, store) == "kept"
    take_away(shelf)
    assert shelf.calls.outcome(store.put([row("a", 2**70)])) != "kept"
    assert shelf.calls.outcome(store.put([row("b")])) == "kept"
    assert shelf.kept() == ["b", "further"]


def test_rows_that_nobody_has_written_are_not_written_again(shelf: Shelf) -> None:
    """Bits that have flipped in one file do not go into the next."""
    keep(shelf, "a", "b")
    with contextlib.closing(sqlite3.connect(shelf.path)) as connection:
        connection.execute("UPDATE replicas SET server = CAST(x'ff' AS TEXT) WHERE server = 'a'")
        connection.commit()
    store = shelf.open()
    assert sorted(each.server for each in store.load()) == ["b", "\ufffd"]
    take_away(shelf)
    assert told_of(shelf, store) == "kept"
    assert shelf.kept() == ["b", "further"]


def test_a_kept_list_that_cannot_be_is_left_out(shelf: Shelf) -> None:
    """The list is read again instead."""
    store = shelf.open()
    for source, fetched_at_s in (("good", 1.0), ("bad", 1e300)):
        assert shelf.calls.outcome(store.put_list(source, "", b"[]", fetched_at_s)) == "kept"
    assert store.load_lists() == {"good": ("", b"[]", 1.0)}


def test_an_older_file_is_brought_up_to_date(shelf: Shelf) -> None:
    """At the first load or write, with what it holds."""
    keep(shelf, "old")
    later = (*MIGRATIONS, ("ALTER TABLE replicas ADD COLUMN zone TEXT",))
    store = SqliteStore(shelf.path, shelf.calls.from_thread, migrations=later)
    assert [each.server for each in store.load()] == ["old"]
    assert not shelf.open().load()
    assert "newer" in told_of(shelf, shelf.open())


def test_a_store_in_memory_can_be_broken(shelf: Shelf) -> None:
    """For tests of what happens then."""
    store = MemoryStore()
    store.fault = "no room"
    assert not store.is_writable
    assert shelf.calls.outcome(store.put([row("a")])) == "no room"
    store.fault = ""
    assert store.load() == []
    store.close()
