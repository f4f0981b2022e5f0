"""The folder with files of servers, watched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from mcpgate.registry.folder import FILES_PER_INTERVAL, SLICE, Folder


class Watched:
    """A watched folder with one file, and a clock to look at it by."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.waits: list[float] = []
        self.told = 0
        self.fails = False
        path.mkdir()
        self.write("a.yaml", "name: a")
        self.folder = Folder(str(path), self._changed, self._call_later)

    def _call_later(self, wait_s: float, call: Callable[[], None]) -> IDelayedCall:
        self.waits.append(wait_s)
        return self.clock.callLater(wait_s, call)

    def _changed(self) -> None:
        self.told += 1
        if self.fails:
            raise ValueError("not for the watch to mind")

    def write(self, name: str, text: str) -> None:
        """Write a file; a text of another length is a change in any case, however coarse the times of files are."""
        (self.path / name).write_text(text)

    def look(self, times: int = 1) -> int:
        """Let so many seconds pass; how often a change was told since the start."""
        for _ in range(times):
            self.clock.advance(1.0)
        return self.told


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """A folder whose watch has begun."""
    watched = Watched(tmp_path / "servers")
    watched.folder.start()
    return watched


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged while a test runs."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == Folder.__module__ + ".Folder":
            seen.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


def test_a_folder_that_stays_the_same_is_never_told(watched: Watched) -> None:
    """Not at the start either, since it has just been read."""
    assert watched.look(10) == 0
    assert repr(watched.folder) == f"<Folder {watched.path}: 1 files>"


def test_each_kind_of_change_is_told_once(watched: Watched) -> None:
    """A new file, a changed one, one of another name, one in its place, one that is gone."""
    changes: list[Callable[[], None]] = [
        lambda: watched.write("b.yml", "name: b"),
        lambda: watched.write("b.yml", "name: bb"),
        lambda: os.utime(watched.path / "b.yml", (1, 1)),
        lambda: os.rename(watched.path / "b.yml", watched.path / "c.yml"),
        lambda: os.unlink(watched.path / "c.yml"),
    ]
    for number, change in enumerate(changes, 1):
        change()
        assert watched.look(5) == number


def test_a_change_is_told_when_it_has_settled(watched: Watched) -> None:
    """A file that is still being written is not read."""
    for length in range(1, 5):
        watched.write("b.yaml", "x" * length)
        assert watched.look() == 0
    assert watched.look() == 1
    assert watched.look(5) == 1


def test_a_change_that_is_taken_back_is_none(watched: Watched) -> None:
    """Nothing is read anew that is as it was."""
    watched.write("b.yaml", "x")
    watched.look()
    os.unlink(watched.path / "b.yaml")
    assert watched.look(5) == 0


def test_files_of_no_concern_change_nothing(watched: Watched) -> None:
    """What editors and version control leave in a folder."""
    for name in ("b.yaml~", ".b.yaml.swp", ".#b.yaml", "README.md", "b.yaml.bak"):
        watched.write(name, "x")
    assert watched.look(5) == 0


def test_a_link_that_is_turned_around_is_a_change(watched: Watched) -> None:
    """As Kubernetes does it: the files are links through a folder that is replaced whole."""
    for name in ("one", "two"):
        (watched.path / f"..{name}").mkdir()
        (watched.path / f"..{name}" / "b.yaml").write_text("name: b")
    (watched.path / "..data").symlink_to("..one")
    (watched.path / "b.yaml").symlink_to("..data/b.yaml")
    assert watched.look(5) == 1
    (watched.path / "..new").symlink_to("..two")
    os.rename(watched.path / "..new", watched.path / "..data")
    assert watched.look(5) == 2
    os.unlink(watched.path / "..data")
    assert watched.look(5) == 3


def test_a_folder_that_vanishes_changes_nothing(watched: Watched, logged: list[str]) -> None:
    """It is logged once; when it is back, what differs is told."""
    os.rename(watched.path, watched.path.with_name("away"))
    assert watched.look(5) == 0
    assert logged == [f"{watched.path} cannot be read: No such file or directory; the servers that were in it stay"]
    assert repr(watched.folder) == f"<Folder {watched.path}: 1 files, away>"
    os.rename(watched.path.with_name("away"), watched.path)
    assert watched.look(5) == 0
    os.rename(watched.path, watched.path.with_name("away"))
    watched.look()
    assert len(logged) == 2
    watched.path.mkdir()
    assert watched.look(5) == 1


def test_a_folder_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    """Whatever it holds when it comes is new."""
    watched = Watched(tmp_path / "servers")
    os.rename(watched.path, tmp_path / "away")
    watched.folder.start()
    os.rename(tmp_path / "away", watched.path)
    assert watched.look(5) == 1


def test_whoever_is_told_may_fail(watched: Watched, failures: list[str]) -> None:
    """The watch goes on, and says so."""
    watched.fails = True
    watched.write("b.yaml", "x")
    assert watched.look(5) == 1
    assert "not for the watch to mind" in failures[0]
    watched.write("b.yaml", "xx")
    assert watched.look(5) == 2


def test_many_files_are_looked_at_in_several_turns(tmp_path: Path) -> None:
    """So that no stream waits for that; and with very many, the looks are further apart."""
    watched = Watched(tmp_path / "servers")
    for number in range(FILES_PER_INTERVAL):
        watched.write(f"{number}.yaml", "")
    watched.folder.start()
    watched.clock.advance(0.0)
    assert watched.waits == [*[0.0] * (FILES_PER_INTERVAL // SLICE), 2.0]
    assert repr(watched.folder) == f"<Folder {watched.path}: {FILES_PER_INTERVAL + 1} files>"


def test_a_watch_can_be_stopped(watched: Watched) -> None:
    """Nothing is left on the clock; starting twice is one watch."""
    watched.folder.start()
    assert len(watched.clock.getDelayedCalls()) == 1
    watched.folder.stop()
    watched.folder.stop()
    assert watched.clock.getDelayedCalls() == []
