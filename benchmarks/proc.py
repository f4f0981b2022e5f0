"""
What the kernel says about a process and its children: CPU time, memory. Reads /proc, keeps nothing.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# What clear_refs takes to set the peak resident size back to the present one (proc(5)).
_RESET_PEAK = "5"
# The kind of clock that counts what all threads of a process were run for (clock_getcpuclockid(3)).
_RUN_TIME = 2


@dataclass(frozen=True)
class Usage:
    """One process as /proc/PID/stat shows it; times in clock ticks."""

    pid: int
    parent: int
    own_ticks: int
    reaped_ticks: int


def parse_stat(text: str) -> Usage:
    """
    Read the text of /proc/PID/stat (proc(5)): user and system time, own and of children already waited for.

    :raises ValueError: if it is no such text.
    """
    # The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    pid, _, rest = text.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    if len(fields) < 15:
        raise ValueError(f"not a stat line: {text!r}")
    user, system, reaped_user, reaped_system = (int(field) for field in fields[11:15])
    return Usage(int(pid), int(fields[1]), user + system, reaped_user + reaped_system)


def parse_kib(text: str, key: str) -> int:
    """
    Read one ``Key:   123 kB`` line of a /proc text (status, smaps_rollup); KiB.

    :raises ValueError: if there is no such line.
    """
    for line in text.splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise ValueError(f"no {key} in {text[:80]!r}")


def descendants(root: int, usages: list[Usage]) -> list[Usage]:
    """Return ``root`` and everything below it, parents first."""
    tree = [usage for usage in usages if usage.pid == root]
    for parent in tree:
        tree.extend(usage for usage in usages if usage.parent == parent.pid)
    return tree


def _all_usages() -> list[Usage]:
    usages = []
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            try:
                usages.append(parse_stat((folder / "stat").read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return usages


def _run_time_s(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | _RUN_TIME)
    except OSError:
        # It has just ended: its parent will know.
        return 0.0


class ProcessTree:
    """A process and its living children; one that ended counts through its parent, as the kernel does it."""

    def __init__(self, root: int) -> None:
        self._root = root

    def pids(self) -> list[int]:
        """Return the living processes, parents first."""
        return [usage.pid for usage in descendants(self._root, _all_usages())]

    def cpu_s(self) -> float:
        """Return the CPU seconds used since the start, to the nanosecond; of ended children in clock ticks (10 ms)."""
        tree = descendants(self._root, _all_usages())
        reaped_s = sum(usage.reaped_ticks for usage in tree) / os.sysconf("SC_CLK_TCK")
        return reaped_s + sum(_run_time_s(usage.pid) for usage in tree)

    def pss_kib(self) -> int:
        """Return the proportional set size: private memory and the fair share of what is shared."""
        return self._sum_kib("smaps_rollup", "Pss")

    def peak_kib(self) -> int:
        """Return the largest resident size since ``reset_peak``, summed over the processes."""
        return self._sum_kib("status", "VmHWM")

    def reset_peak(self) -> None:
        """Forget the peak so far."""
        for pid in self.pids():
            (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)

    def _sum_kib(self, name: str, key: str) -> int:
        return sum(parse_kib((_PROC / str(pid) / name).read_text(), key) for pid in self.pids())
