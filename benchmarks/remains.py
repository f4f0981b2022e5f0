"""
Nothing stays running: processes that outlive the subject they belong to are found and killed.

A subject is ended with its process group. A child that has made a group of its own would go on, and disturb what is
measured next; as the runner adopts its orphans, such a child becomes the runner's own, and can be found.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

from benchmarks.proc import ProcessTree

# prctl(2), <linux/prctl.h>.
_PR_SET_CHILD_SUBREAPER = 36
# Until what was killed is gone; a process in the middle of a large write takes a moment.
_END_TIMEOUT_S = 5.0


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, instead of the machine's first process."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_remains() -> list[str]:
    """Kill and reap every descendant of this process; return their names. For moments when there should be none."""
    _reap()
    left = _descendants()
    names = [name for pid in left if (name := _name(pid))]
    deadline = time.monotonic() + _END_TIMEOUT_S
    while left and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        _reap()
        left = _descendants()
    return names


def _descendants() -> list[int]:
    return ProcessTree(os.getpid()).pids()[1:]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
