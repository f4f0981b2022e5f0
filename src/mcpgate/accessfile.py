"""Where access lines go: standard output, or a file that can be opened anew after it was moved away."""

from __future__ import annotations

import contextlib
import os
import select
import stat
from typing import BinaryIO

#: What a pipe that is writable at all takes without blocking (POSIX: at least 512; Linux: PIPE_BUF is 4096).
_PIECE_BYTES = select.PIPE_BUF


class AccessFile:
    """
    The sink of the access log. It never holds the gateway up: lines that a pipe does not take now are dropped.

    :param target: ``stdout`` or ``file:PATH``; a relative path starts at ``rundir``.
    :raises OSError: the file cannot be opened.
    :ivar dropped: lines that nobody took.
    """

    def __init__(self, target: str, rundir: str) -> None:
        self._path = os.path.join(rundir, target.removeprefix("file:")) if target.startswith("file:") else ""
        self._file = self._open()
        self.dropped = 0

    def _open(self) -> BinaryIO:
        if self._path:
            return open(self._path, "ab", buffering=0)
        # Not a copy of the descriptor: a daemon points it elsewhere after we are made.
        return os.fdopen(1, "ab", buffering=0, closefd=False)

    def write(self, data: bytes) -> None:
        """Write whole lines; a sink that is full or gone costs its lines and nothing else."""
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.write(data)
                return
            for piece in pieces(data):
                if self._takes():
                    self._file.write(piece)
                else:
                    self.dropped += piece.count(b"\n")

    def _takes(self) -> bool:
        room = select.poll()
        room.register(self._file.fileno(), select.POLLOUT)
        return bool(room.poll(0))

    def close(self) -> None:
        """Write no more; standard output stays open."""
        self._file.close()

    def reopen(self) -> None:
        """Go on in a new file of the same name."""
        fresh = self._open()
        self._file.close()
        self._file = fresh


def pieces(data: bytes) -> list[bytes]:
    """Lines in groups that a pipe takes at once; a line that is longer by itself stands alone."""
    groups: list[bytes] = []
    for line in data.splitlines(keepends=True):
        if groups and len(groups[-1]) + len(line) <= _PIECE_BYTES:
            groups[-1] += line
        else:
            groups.append(line)
    return groups
