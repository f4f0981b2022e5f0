"""
Where lines go: standard output, or a file that can be opened anew after it was moved away.

One thread does nothing but write, so that a pipe whose reader has stopped, or a disk that is slow or full, delays
nobody. What does not fit into its queue, and what cannot be written, is dropped in whole lines and counted. Both logs
share a sink if they go to the same place; their lines never mix.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from collections.abc import Callable
from queue import SimpleQueue
from threading import RLock, Thread
from typing import Final, NamedTuple

#: What may wait for a sink that takes nothing: half a minute of lines at 1,000 requests a second.
QUEUE_BYTES: Final = 8 * 1024 * 1024
#: How long the end of the process waits for a slow sink.
CLOSE_S: Final = 2.0
#: How long each of the last words may wait, of which there are two: a reader that has to empty a full pipe first takes
#: some milliseconds, and a busy machine some more.
LAST_MS: Final = 250
_STDOUT = 1
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Inlet:
    """
    One log's way into a sink.

    :param put: of the sink.
    """

    def __init__(self, put: Callable[[Inlet, bytes], bool]) -> None:
        self._put = put
        # Two, since each is counted up by another thread.
        self._without_room = 0
        self._unwritten = 0

    def write(self, lines: bytes) -> None:
        """Hand in whole lines; returns at once. Any thread may do that."""
        if not self._put(self, lines):
            self._without_room += lines.count(b"\n")

    def lose(self, lines: int) -> None:
        """The sink could not write so many."""
        self._unwritten += lines

    @property
    def dropped(self) -> int:
        """Lines that are lost."""
        return self._without_room + self._unwritten


class _Entry(NamedTuple):
    """``lines`` of an inlet; without one, an order to the thread: reopen, or end if there are no ``lines`` either."""

    inlet: Inlet | None
    lines: bytes


_REOPEN = _Entry(None, b"reopen")
_END = _Entry(None, b"")


class LogSink:
    """
    A file or standard output, and the thread that writes to it.

    Until `start` lines wait; it is called when the process has its final id, since threads do not survive a fork.

    :param path: of the file; empty for standard output.
    :param tell: told once when the sink fails; it may write to this very sink.
    :param close_s: how long the end waits for what takes nothing.
    :raises OSError: the file cannot be opened.
    """

    def __init__(
        self, path: str, tell: Callable[[str], None] = lambda text: None, close_s: float = CLOSE_S
    ) -> None:
        self.path = path
        self._tell = tell
        self._close_s = close_s
        self._file = self._open()
        self._queue: SimpleQueue[_Entry] = SimpleQueue()
        self._thread: Thread | None = None
        # A signal, or the garbage collector, may have something to say while a line is handed in.
        self._lock = RLock()
        self._taken_bytes = self._done_bytes = 0
        self._is_closed = self._has_ended = False
        self._is_torn = self._is_failing = False

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads along."""
        with contextlib.suppress(OSError):
            return os.isatty(self._file)
        return False

    def inlet(self) -> Inlet:
        """A way in, for one log."""
        return Inlet(self._put)

    # --- any thread -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to write."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="mcpgate-log", daemon=True)
            self._thread.start()

    def reopen(self) -> None:
        """Go on in a new file of the same name, with the lines that are handed in from now on."""
        if self.path:
            self._queue.put(_REOPEN)

    def close(self) -> None:
        """
        Write what waits, if that does not take too long.

        What comes later (the process says a word when it is over) is written if the sink takes it within `LAST_MS`.
        """
        self.start()
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(_END)
        if self._thread is not None:
            self._thread.join(self._close_s)

    def _put(self, inlet: Inlet, lines: bytes) -> bool:
        with self._lock:
            if self._is_closed:
                return self._write_last(lines)
            if self._taken_bytes - self._done_bytes + len(lines) > QUEUE_BYTES:
                return False
            self._taken_bytes += len(lines)
            self._queue.put(_Entry(inlet, lines))
        return True

    def _write_last(self, lines: bytes) -> bool:
        if not self._has_ended or not _takes_soon(self._file, lines):
            return False
        return _write_out(self._file, lines)[1] is None

    # --- its own thread -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (entry := self._queue.get()) is not _END:
            if entry is _REOPEN:
                self._reopen()
            elif entry.inlet is not None:
                self._write(entry.inlet, entry.lines)
                self._done_bytes += len(entry.lines)
        self._has_ended = True

    def _open(self) -> int:
        # Not a copy of the descriptor: a daemon points it elsewhere after we are made.
        return os.open(self.path, _FLAGS, 0o666) if self.path else _STDOUT

    def _reopen(self) -> None:
        try:
            fresh = self._open()
        except OSError as error:
            self._tell(f"cannot reopen the log, the old file stays: {self.path}: {error.strerror}")
            return
        os.close(self._file)
        self._file, self._is_torn = fresh, False

    def _write(self, inlet: Inlet, lines: bytes) -> None:
        count, error = 0, None
        if self._is_torn:
            _, error = _write_out(self._file, b"\n")
        if error is None:
            count, error = _write_out(self._file, lines)
            self._is_torn = not _ends_a_line(self._file, lines[:count])
        if error is None:
            self._is_failing = False
            return
        inlet.lose(lines.count(b"\n", count))
        if not self._is_failing:
            self._is_failing = True
            self._tell(f"log lines are lost: {self.path or 'standard output'}: {error.strerror}")


def _write_out(file: int, lines: bytes) -> tuple[int, OSError | None]:
    """Write, for as long as that takes; how many bytes were written, and why not all of them."""
    count = 0
    while count < len(lines):
        try:
            count += os.write(file, lines[count:] if count else lines)
        except BlockingIOError:
            # Somebody who shares our standard output made it so.
            _is_writable(file, None)
        except OSError as error:
            return count, error
    return count, None


def _is_writable(file: int, wait_ms: int | None) -> bool:
    room = select.poll()
    room.register(file, select.POLLOUT)
    return bool(room.poll(wait_ms))


def _takes_soon(file: int, lines: bytes) -> bool:
    """A pipe that is writable at all has room for that much (POSIX, PIPE_BUF)."""
    with contextlib.suppress(OSError):
        return (len(lines) <= select.PIPE_BUF or _is_regular(file)) and _is_writable(file, LAST_MS)
    return False


def _is_regular(file: int) -> bool:
    return stat.S_ISREG(os.fstat(file).st_mode)


def _ends_a_line(file: int, written: bytes) -> bool:
    """Whether the next line may follow; the piece of one that a full disk took is taken back."""
    piece = len(written) - written.rfind(b"\n") - 1
    if not piece:
        return True
    with contextlib.suppress(OSError):
        if _is_regular(file):
            os.ftruncate(file, os.fstat(file).st_size - piece)
            return True
    return False
