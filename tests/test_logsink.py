"""Where lines go: whole, in order, and without holding anybody up."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mcpgate.logsink import QUEUE_BYTES, LogSink

LINE = b"x" * 999 + b"\n"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[int]:
    """The reading end of ``tmp_path/pipe``."""
    os.mkfifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    with suppress(OSError):
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    """So many bytes, for which the writer may have to wake up."""
    os.set_blocking(descriptor, True)
    taken = bytearray()
    while len(taken) < size and (piece := os.read(descriptor, size - len(taken))):
        taken += piece
    return bytes(taken)


def test_lines_go_to_the_file_in_order(tmp_path: Path) -> None:
    """Also those from before it was started, and of all logs that share it."""
    sink = LogSink(str(tmp_path / "log"))
    first, second = sink.inlet(), sink.inlet()
    first.write(b"one\n")
    second.write(b"two\n")
    sink.start()
    first.write(b"three\nfour\n")
    sink.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\nfour\n"
    assert first.dropped == second.dropped == 0


def test_a_sink_that_was_never_started_is_written_out_at_the_end(tmp_path: Path) -> None:
    """A process that fails at its start says why."""
    sink = LogSink(str(tmp_path / "log"))
    sink.inlet().write(b"one\n")
    sink.close()
    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_the_last_words_of_a_process_are_written(tmp_path: Path) -> None:
    """What is said after the end goes out at once; closing twice does no harm."""
    sink = LogSink(str(tmp_path / "log"))
    sink.close()
    sink.inlet().write(b"bye\n")
    sink.close()
    assert (tmp_path / "log").read_bytes() == b"bye\n"


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    """Whoever starts the process sees it."""
    with pytest.raises(IsADirectoryError):
        LogSink(str(tmp_path))


def test_a_file_is_appended_to_and_readable_as_the_umask_says(tmp_path: Path) -> None:
    """A restart keeps what is there."""
    target = tmp_path / "log"
    target.write_bytes(b"before\n")
    sink = LogSink(str(target))
    sink.inlet().write(b"after\n")
    sink.close()
    assert target.read_bytes() == b"before\nafter\n"


# --- reopening ----------------------------------------------------------------------------------------------------


def test_reopening_splits_the_lines_where_it_was_asked_for(tmp_path: Path) -> None:
    """A rotation that moves the file away loses no line, and none lands in the wrong file."""
    target = tmp_path / "log"
    sink = LogSink(str(target))
    inlet = sink.inlet()
    inlet.write(b"one\n")
    target.rename(tmp_path / "log.1")
    inlet.write(b"two\n")
    sink.reopen()
    inlet.write(b"three\n")
    sink.close()
    assert (tmp_path / "log.1").read_bytes() == b"one\ntwo\n"
    assert target.read_bytes() == b"three\n"


def test_a_file_that_cannot_be_reopened_stays(tmp_path: Path) -> None:
    """And somebody is told."""
    target = tmp_path / "folder" / "log"
    target.parent.mkdir()
    told: list[str] = []
    sink = LogSink(str(target), told.append)
    inlet = sink.inlet()
    with target.open("rb") as still:
        target.unlink()
        target.parent.rmdir()
        sink.reopen()
        inlet.write(b"one\n")
        sink.close()
        assert still.read() == b"one\n"
    assert len(told) == 1
    assert str(target) in told[0]


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    """However often logs are rotated."""
    sink = LogSink(str(tmp_path / "log"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        sink.reopen()
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == before


# --- sinks that take nothing --------------------------------------------------------------------------------------


def test_a_stalled_pipe_delays_nobody_and_costs_whole_lines(tmp_path: Path, reader: int) -> None:
    """What fits into the queue is kept until the reader goes on; the rest is dropped and counted, for each log."""
    sink = LogSink(str(tmp_path / "pipe"))
    sink.start()
    inlet, other = sink.inlet(), sink.inlet()
    batch = LINE * 1000
    written = 0
    while not inlet.dropped:
        inlet.write(batch)
        written += 1000
    assert QUEUE_BYTES // 1000 - 1000 <= written - inlet.dropped <= QUEUE_BYTES // 1000 + 1100
    assert other.dropped == 0
    kept = written - inlet.dropped
    assert _read(reader, kept * len(LINE)) == LINE * kept
    other.write(b"again\n")
    sink.close()
    assert _read(reader, 6) == b"again\n"


def test_a_stalled_pipe_holds_up_the_end_for_a_moment_only(tmp_path: Path, reader: int) -> None:
    """The process leaves with what nobody reads; what is said later is dropped at once."""
    sink = LogSink(str(tmp_path / "pipe"), close_s=0.02)
    inlet = sink.inlet()
    inlet.write(LINE * 1000)
    sink.close()
    inlet.write(b"bye\n")
    assert inlet.dropped == 1
    taken = _read(reader, 1_000_000)  # so that its thread ends with the test
    assert taken == LINE * 1000


def test_the_last_word_waits_for_a_reader_that_is_behind(tmp_path: Path, reader: int) -> None:
    """All else is written, and has just filled the pipe: what is said then is not lost."""
    sink = LogSink(str(tmp_path / "pipe"))
    inlet = sink.inlet()
    room = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    inlet.write(b"x" * (room - 1) + b"\n")
    sink.close()
    late = threading.Timer(0.02, _read, (reader, room))
    late.start()
    inlet.write(b"bye\n")
    late.join()
    os.set_blocking(reader, False)
    assert os.read(reader, 9) == b"bye\n"
    assert inlet.dropped == 0


@contextmanager
def _standard_output(descriptor: int) -> Iterator[None]:
    """Point it there for a while."""
    before = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def test_a_standard_output_that_does_not_block_is_waited_for() -> None:
    """It may be shared with somebody who made it so: no half lines, no lost ones; and it stays open."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with _standard_output(writing):
        sink = LogSink("")
        sink.start()
        inlet = sink.inlet()
        inlet.write(LINE * 500)
        assert _read(reading, 500_000) == LINE * 500
        sink.reopen()
        sink.close()
        assert os.write(1, b"open\n") == 5
    assert inlet.dropped == 0
    os.close(reading)
    os.close(writing)


def test_standard_output_is_where_it_points_when_lines_are_written() -> None:
    """A daemon points it elsewhere after the sink is made."""
    reading, writing = os.pipe()
    sink = LogSink("")
    with _standard_output(writing):
        sink.inlet().write(b"one\n")
        sink.close()
    assert os.read(reading, 99) == b"one\n"
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_costs_lines_and_nothing_else(tmp_path: Path, reader: int) -> None:
    """They are counted; it is told once, not with every line."""
    told: list[str] = []
    sink = LogSink(str(tmp_path / "pipe"), told.append)
    os.close(reader)
    inlet = sink.inlet()
    for _ in range(3):
        inlet.write(b"one\ntwo\n")
    sink.close()
    assert inlet.dropped == 6
    assert len(told) == 1
    assert "lost" in told[0]


@contextmanager
def _no_file_longer_than(size: int) -> Iterator[None]:
    """As a full disk: a write is cut at the bound, and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)


def test_a_full_disk_takes_whole_lines_or_none(tmp_path: Path) -> None:
    """The piece of a line is taken back, what did not fit is counted, and later lines go on as ever."""
    target = tmp_path / "log"
    sink = LogSink(str(target))
    inlet = sink.inlet()
    inlet.write(b"0123456\n" * 3)
    with _no_file_longer_than(20):
        sink.close()
    assert target.read_bytes() == b"0123456\n" * 2
    assert inlet.dropped == 1
    inlet.write(b"later\n")
    assert target.read_bytes() == b"0123456\n" * 2 + b"later\n"


def test_after_a_piece_of_a_line_the_next_begins_on_its_own(tmp_path: Path, reader: int) -> None:
    """A pipe gives nothing back: what was cut when its reader left stays the only broken line."""
    failed = threading.Event()
    sink = LogSink(str(tmp_path / "pipe"), lambda text: failed.set())
    sink.start()
    inlet = sink.inlet()
    inlet.write(LINE * 1000)
    taken = _read(reader, 4001)
    os.close(reader)
    assert failed.wait(5)
    again = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(again, True)
    inlet.write(b"later\n")
    while not taken.endswith(b"later\n"):
        taken += os.read(again, 65536)
    sink.close()
    os.close(again)
    lines = taken.splitlines(keepends=True)
    assert lines[-1] == b"later\n"
    assert [line for line in lines[:-2] if line != LINE] == []
    assert inlet.dropped == 1000 - lines.count(LINE)


def test_every_thread_may_write(tmp_path: Path) -> None:
    """Each of the lines is whole, and all are there."""
    sink = LogSink(str(tmp_path / "log"))
    sink.start()
    inlet = sink.inlet()

    def write() -> None:
        for _ in range(50):
            inlet.write(LINE)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()
    assert (tmp_path / "log").read_bytes() == LINE * 200


def test_a_terminal_is_known() -> None:
    """Its lines are for a person."""
    master, slave = os.openpty()
    try:
        assert LogSink(os.ttyname(slave)).is_terminal
    finally:
        os.close(master)
        os.close(slave)


def test_a_file_is_no_terminal(tmp_path: Path) -> None:
    """Its lines are for programs."""
    assert not LogSink(str(tmp_path / "log")).is_terminal
