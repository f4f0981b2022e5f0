"""
What the kernel and the interpreter know of this process, under the names that all clients of Prometheus use.

Read here and not by ``prometheus_client``, which lists the open descriptors at one go: with 20,000 of them that takes
22 ms. Since 6.2 Linux tells their number as the size of the folder, in 4 us; where it does not they are counted in
steps (1.5 ms each at most: the kernel makes out a thousand at a time).
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import resource
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
#: Places in /proc/PID/stat behind the name of the program, which may hold anything (proc_pid_stat(5), less 3).
_USER, _SYSTEM, _START, _ADDRESS_SPACE, _RESIDENT = 11, 12, 19, 20, 21


class Process:
    """
    This process.

    :param proc: where its files are; a system without them has fewer series.
    """

    def __init__(self, proc: Path = _PROC) -> None:
        self._self = proc / "self"
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._page_bytes = resource.getpagesize()
        self._booted_at_s = _boot_time(proc / "stat")
        self.open_fds = 0

    def count_descriptors(self) -> Iterator[None]:
        """Bring ``open_fds`` up to date, in small steps."""
        folder = self._self / "fd"
        count = 0
        with contextlib.suppress(OSError):
            count = folder.stat().st_size
            if not count:
                count = (yield from _count_entries(folder)) - 1  # the one by which they were listed
        self.open_fds = count

    def series(self) -> dict[str, float]:
        """The numbers of ``process_*``, by name; those that cannot be had are missing."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        found: dict[str, float] = {"process_open_fds": self.open_fds, "process_max_fds": limit}
        with contextlib.suppress(OSError):
            fields = (self._self / "stat").read_bytes().rpartition(b")")[2].split()
            found["process_cpu_seconds_total"] = (int(fields[_USER]) + int(fields[_SYSTEM])) / self._ticks_per_s
            found["process_resident_memory_bytes"] = int(fields[_RESIDENT]) * self._page_bytes
            found["process_virtual_memory_bytes"] = int(fields[_ADDRESS_SPACE])
            found["process_start_time_seconds"] = self._booted_at_s + int(fields[_START]) / self._ticks_per_s
        return found


def _count_entries(folder: Path) -> Generator[None, None, int]:
    count = 0
    with os.scandir(folder) as entries:
        for _ in entries:
            count += 1
            yield
    return count


def _boot_time(stat: Path) -> float:
    with contextlib.suppress(OSError), stat.open("rb") as lines:
        for line in lines:
            if line.startswith(b"btime "):
                return float(line.split()[1])
    return 0.0


def python_labels() -> tuple[str, ...]:
    """The labels of ``python_info``."""
    major, minor, patchlevel = platform.python_version_tuple()
    return platform.python_implementation(), major, minor, patchlevel, platform.python_version()


def collections(what: str) -> Iterator[tuple[tuple[str], int]]:
    """
    What the garbage collector has done, by generation.

    :param what: ``collections``, ``collected`` or ``uncollectable``.
    """
    for generation, done in enumerate(gc.get_stats()):
        yield (str(generation),), done[what]
