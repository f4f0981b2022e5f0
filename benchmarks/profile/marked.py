"""
All courses, each with the gateway and without, in one process; marks say to a tool outside where each begins and ends.

Started by `instructions` and `syscalls`, never by a person: most of the time goes into importing the gateway under
valgrind, so that is done once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.profile.calibration import calibrate
from benchmarks.profile.course import COURSES, WARM_UNITS, gateways, run
from benchmarks.profile.stand import Nothing

#: Of each course half a second of its clock: every timer of the gateway (0.2 to 0.5 s) comes in it.
UNITS = {"request": 2048, "event": 2048, "stream": 128}
CALIBRATION_UNITS = 2000
CALIBRATION = "calibration"
#: Two marks with nothing between: what a mark itself costs.
BLANK = "blank"
WITH, WITHOUT = "gateway", "nothing"


def mark_by_fork(marks: list[tuple[str, int]], label: str) -> None:
    """Split off a process that ends at once: a tool that counts says at its end how far this process has come."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    marks.append((label, child))


def mark_by_name(marks: list[tuple[str, int]], label: str) -> None:
    """Ask for a file with a telling name, which a list of system calls shows."""
    os.access(f"/mark/{label}", os.F_OK)


MARKS: dict[str, Callable[[list[tuple[str, int]], str], None]] = {"fork": mark_by_fork, "name": mark_by_name}


def walk(mark: Callable[[str], None]) -> int:
    """Run everything; return how often the kernel was late."""
    late = 0
    mark(BLANK)
    mark(BLANK)
    calibrate(WARM_UNITS)
    mark(CALIBRATION)
    calibrate(CALIBRATION_UNITS)
    mark(CALIBRATION)
    for name in COURSES:
        late += run(name, UNITS[name], Nothing, partial(mark, f"{name}-{WITHOUT}")).late
        with gateways() as between:
            late += run(name, UNITS[name], between, partial(mark, f"{name}-{WITH}")).late
    return late


def main() -> None:
    """Mark as the command line says (``fork``, ``name``), and print ``late`` and the ``marks`` as JSON."""
    marks: list[tuple[str, int]] = []
    late = walk(partial(MARKS[sys.argv[1]], marks))
    print(json.dumps({"late": late, "marks": marks}))


if __name__ == "__main__":
    main()
