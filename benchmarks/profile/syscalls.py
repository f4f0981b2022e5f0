"""
System calls per unit of each course, exactly, as strace sees them.

``python -m benchmarks.profile.syscalls`` prints them. What Python asks memory for is not counted: it depends on what
was freed before.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.profile.course import COURSES
from benchmarks.profile.inside import BrokenCourse, ToolMissing, said_under
from benchmarks.profile.marked import UNITS, WITH, WITHOUT

_MARK = re.compile(r'\W"/mark/([a-z-]+)"')
_CALL = re.compile(r"^(?:\d+ +)?([a-z0-9_]+)\(")
_MEMORY = frozenset({"brk", "mmap", "munmap", "mremap", "madvise"})
_REFUSED = ("ptrace", "Operation not permitted")


@dataclass(frozen=True)
class SystemCalls:
    """
    What was counted.

    :ivar units: calls of one unit, by course and by the call's name; what client and upstream call is not in it.
    :ivar late: how often the kernel was late; each adds a turn of the reactor.
    """

    units: dict[str, dict[str, float]]
    late: int


def count() -> SystemCalls:
    """
    Run and count.

    :raises ToolMissing: there is no strace, or processes may not be traced here.
    :raises BrokenCourse: a course failed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-strace-") as folder:
        trace = Path(folder) / "trace.txt"
        try:
            printed, _ = said_under(("strace", "-f", "-qq", "-s", "40", "-o", f"{trace}"), "name")
        except BrokenCourse as broken:
            if all(word in str(broken) for word in _REFUSED):
                raise ToolMissing("strace may not trace processes here") from broken
            raise
        return SystemCalls(per_unit(trace.read_text(errors="replace")), json.loads(printed)["late"])


def per_unit(trace: str) -> dict[str, dict[str, float]]:
    """Count the calls between the two marks of each label; return them per unit, by course."""
    counts: dict[str, Counter[str]] = {}
    label = ""
    for line in trace.splitlines():
        mark = _MARK.search(line)
        if mark is not None:
            label = "" if label else mark.group(1)
            continue
        call = _CALL.match(line)
        if label and call is not None and call.group(1) not in _MEMORY:
            counts.setdefault(label, Counter())[call.group(1)] += 1
    return {name: _less(counts[f"{name}-{WITH}"], counts[f"{name}-{WITHOUT}"], UNITS[name]) for name in COURSES}


def _less(every: Counter[str], peers: Counter[str], units: int) -> dict[str, float]:
    per_unit = {name: round((every[name] - peers[name]) / units, 2) for name in sorted(every)}
    return {name: count for name, count in per_unit.items() if count}


def main() -> None:
    """Print what is counted."""
    counted = count()
    for name, calls in counted.units.items():
        named = ", ".join(f"{call} {number:g}" for call, number in calls.items())
        print(f"{name:8} {sum(calls.values()):6.2f} system calls: {named}")
    print(f"the kernel was late {counted.late} times")


if __name__ == "__main__":
    main()
