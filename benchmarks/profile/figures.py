"""What the gate compares: counts of this run with those that are allowed. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

#: The same tree counts the same to 0.002 %, also on a busy machine. Any change anywhere moves objects in memory, and
#: with them the hits of the interpreter's own caches: up to 2 %. An empty call more for each event, the shortest unit,
#: is 2 % of it.
TOLERANCE = 0.03
#: The ratio to the calibration, of the same code: two builds of 3.11 (-O2 and -O3) differ by up to 3 %, and 3.13 takes
#: 4 to 17 % less than 3.11.
TOLERANCE_OF_BUILDS = 0.05
TOLERANCE_OF_VERSIONS = 0.10
#: System calls are whole numbers; a kernel that was late in a few units out of a hundred shows in the second place.
_CALLS_TOLERANCE = 0.05


@dataclass(frozen=True)
class Counts:
    """
    What one Python took.

    :ivar build: which Python that was, to the day on which it was built.
    :ivar calibration: instructions of one unit of the calibration.
    :ivar instructions: of one unit, by course.
    :ivar system_calls: of one unit, by course and the call's name; empty if they could not be counted.
    """

    build: str
    calibration: float
    instructions: dict[str, float]
    system_calls: dict[str, dict[str, float]]

    def ratio(self, course: str) -> float:
        """How many units of the calibration one unit takes."""
        return self.instructions[course] / self.calibration


class Change(enum.Enum):
    """How a figure stands to what is allowed."""

    GROWN = "grown"
    KEPT = "kept"
    SHRUNK = "shrunk"


@dataclass(frozen=True)
class Verdict:
    """One figure of one course, and a sentence about it."""

    change: Change
    sentence: str


@dataclass(frozen=True)
class Basis:
    """
    What is compared with what.

    :ivar exact: instructions can be compared; otherwise their ratio to the calibration.
    :ivar tolerance: by how much a figure may grow, as a share.
    :ivar sentence: says so.
    """

    allowed: Counts
    exact: bool
    tolerance: float
    sentence: str


def basis_for(build: str, version: str, allowed: Mapping[str, Counts]) -> Basis:
    """
    Choose the allowed counts to compare with: those of this version, or of the one next to it.

    :param version: ``3.11``; the keys of ``allowed`` are such versions, and there is at least one.
    """
    same = allowed.get(version)
    if same is not None and same.build == build:
        return Basis(same, True, TOLERANCE, f"counted with the Python {version} that the allowed counts are of")
    if same is not None:
        return Basis(same, False, TOLERANCE_OF_BUILDS, _only_ratio(f"another build of {version}", TOLERANCE_OF_BUILDS))
    nearest = min(allowed, key=lambda other: abs(_minor(other) - _minor(version)))
    told = _only_ratio(f"Python {nearest}, not {version}", TOLERANCE_OF_VERSIONS)
    return Basis(allowed[nearest], False, TOLERANCE_OF_VERSIONS, told)


def _only_ratio(other: str, tolerance: float) -> str:
    return f"the allowed counts are of {other}: only ratios to plain Python are compared, {tolerance:.0%} is nothing"


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def compare(found: Counts, basis: Basis) -> list[Verdict]:
    """Judge every figure of every course that is allowed."""
    allowed = basis.allowed
    verdicts = []
    for course in allowed.instructions:
        verdicts.append(_of_instructions(course, found, basis))
        if found.system_calls and allowed.system_calls:
            verdicts.append(_of_calls(course, found.system_calls[course], allowed.system_calls[course]))
    return verdicts


def _of_instructions(course: str, found: Counts, basis: Basis) -> Verdict:
    if basis.exact:
        now, before = found.instructions[course], basis.allowed.instructions[course]
        figures = f"{now:,.0f} instructions, {before:,.0f} allowed"
    else:
        now, before = found.ratio(course), basis.allowed.ratio(course)
        figures = f"{now:.3f} calibrations, {before:.3f} allowed"
    share = now / before - 1
    change = _change(share, basis.tolerance)
    # Another Python may well take less.
    advice = _ADVICE[change] if basis.exact or change is Change.GROWN else ""
    return Verdict(change, f"{course}: {figures} ({share:+.1%}){advice}")


def _of_calls(course: str, now: dict[str, float], before: dict[str, float]) -> Verdict:
    growth = sum(now.values()) - sum(before.values())
    change = _change(growth, _CALLS_TOLERANCE)
    moved = [
        f"{name} {before.get(name, 0):g} -> {now.get(name, 0):g}"
        for name in sorted({*now, *before})
        if abs(now.get(name, 0) - before.get(name, 0)) > _CALLS_TOLERANCE
    ]
    told = f" ({', '.join(moved)})" if moved else ""
    figures = f"{sum(now.values()):.2f} system calls, {sum(before.values()):.2f} allowed"
    return Verdict(change, f"{course}: {figures}{told}{_ADVICE[change]}")


def _change(growth: float, tolerance: float) -> Change:
    if growth > tolerance:
        return Change.GROWN
    return Change.SHRUNK if growth < -tolerance else Change.KEPT


_ADVICE = {
    Change.GROWN: ": the hot path has grown. Make it shorter, or say why it must be so long and accept it",
    Change.KEPT: "",
    Change.SHRUNK: ": less than allowed. Lower the bar with --accept, so that it stays so",
}
