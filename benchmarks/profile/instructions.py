"""
Instructions per unit of each course, exact to some tenths of a per cent: counted by valgrind, outside the kernel.

``python -m benchmarks.profile.instructions`` prints them, and how many times the `calibration` they are: that ratio
says something about the code, whatever Python runs it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from benchmarks.profile.course import COURSES
from benchmarks.profile.inside import BrokenCourse, said_under
from benchmarks.profile.marked import BLANK, CALIBRATION, CALIBRATION_UNITS, UNITS, WITH, WITHOUT

#: The cheapest of its tools that counts. The caches of the processor are not simulated; nothing is kept.
_CACHEGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
#: ``==12345== I   refs:      2,446,042,353``, for each process at its end.
_TOTAL = re.compile(r"^==(\d+)== I +refs: +([\d,]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Counted:
    """
    What was counted.

    :ivar units: instructions of one unit, by course; what client and upstream take is not in it.
    :ivar calibration: those of one unit of the calibration.
    :ivar late: how often the kernel was late; each adds a turn of the reactor.
    """

    units: dict[str, float]
    calibration: float
    late: int


def count() -> Counted:
    """
    Run and count.

    :raises ToolMissing: there is no valgrind.
    :raises BrokenCourse: a course failed.
    """
    return read(*said_under(_CACHEGRIND, "fork"))


def read(printed: str, told: str) -> Counted:
    """
    Put together what `marked` printed and valgrind told.

    :raises BrokenCourse: they do not fit.
    """
    totals = {int(process): int(total.replace(",", "")) for process, total in _TOTAL.findall(told)}
    course = json.loads(printed)
    between: dict[str, list[int]] = {}
    for label, process in course["marks"]:
        if process not in totals:
            raise BrokenCourse(f"valgrind did not say how many instructions came before {label}: {told[-2000:]}")
        between.setdefault(label, []).append(totals[process])
    took = {label: end - begin for label, (begin, end) in between.items()}
    mark = took[BLANK]
    return Counted(
        {name: (took[f"{name}-{WITH}"] - took[f"{name}-{WITHOUT}"]) / UNITS[name] for name in COURSES},
        (took[CALIBRATION] - mark) / CALIBRATION_UNITS,
        course["late"],
    )


def main() -> None:
    """Print what is counted."""
    counted = count()
    for name, instructions in counted.units.items():
        print(f"{name:8} {instructions:12,.0f} instructions, {instructions / counted.calibration:7.3f} calibrations")
    print(f"one calibration: {counted.calibration:,.1f} instructions; the kernel was late {counted.late} times")


if __name__ == "__main__":
    main()
