"""The sink of the access log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mcpgate.accessfile import AccessFile, pieces


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[int]:
    """The reading end of ``tmp_path/pipe``."""
    os.mkfifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def test_lines_go_to_the_file_and_after_reopening_to_the_new_one(tmp_path: Path) -> None:
    """A rotation that moves the file away loses no line."""
    target = tmp_path / "access.log"
    with closing(AccessFile("file:access.log", str(tmp_path))) as sink:
        sink.write(b"one\n")
        target.rename(tmp_path / "access.log.1")
        sink.write(b"two\n")
        sink.reopen()
        sink.write(b"three\n")
    assert (tmp_path / "access.log.1").read_bytes() == b"one\ntwo\n"
    assert target.read_bytes() == b"three\n"


def test_a_full_pipe_drops_whole_lines_and_counts_them(tmp_path: Path, reader: int) -> None:
    """Who does not read loses lines, never halves of them, and stops nobody."""
    line = b"x" * 999 + b"\n"
    with closing(AccessFile("file:pipe", str(tmp_path))) as sink:
        sink.write(line * 200)
        taken = b""
        while len(taken) + 1000 * sink.dropped < 200_000:
            taken += os.read(reader, 65536)
        assert sink.dropped > 0
        assert taken == line * (200 - sink.dropped)


def test_a_reader_that_is_gone_stops_nobody(tmp_path: Path, reader: int) -> None:
    """A broken pipe is no failure of the gateway."""
    with closing(AccessFile("file:pipe", str(tmp_path))) as sink:
        os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
        sink.write(b"one\n")


def test_lines_are_grouped_but_never_cut() -> None:
    """A line longer than a pipe takes at once stands alone."""
    long = b"y" * 9000 + b"\n"
    assert pieces(b"a\nb\n" + long + b"c\n") == [b"a\nb\n", long, b"c\n"]
