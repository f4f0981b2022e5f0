"""
Fail when the hot path has grown: what a call, an event and a stream take of instructions and system calls is compared
with ``allowed.json``.

``python -m benchmarks.profile.gate`` exits with 1 if one needs 3 % more instructions than allowed, or one more system
call; ``--accept`` takes what is counted now as what is allowed, for this version of Python.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.profile import instructions, syscalls
from benchmarks.profile.figures import Change, Counts, basis_for, compare
from benchmarks.profile.inside import BrokenCourse, ToolMissing
from benchmarks.profile.tools import ensure

ALLOWED = Path(__file__).with_name("allowed.json")
#: On a busy machine the kernel hands bytes over late now and then, and every time adds a turn: so many do not show.
_MOST_LATE = 4
_ATTEMPTS = 3


def count() -> Counts:
    """
    Count with what is installed here.

    :raises ToolMissing: there is no valgrind, and it may not be installed.
    :raises BrokenCourse: a course failed.
    """
    ensure("valgrind")
    for _ in range(_ATTEMPTS):
        counted = instructions.count()
        if counted.late <= _MOST_LATE:
            break
    units = {name: round(unit, 1) for name, unit in counted.units.items()}
    return Counts(_build(), round(counted.calibration, 1), units, _system_calls())


def _system_calls() -> dict[str, dict[str, float]]:
    try:
        ensure("strace")
        for _ in range(_ATTEMPTS):
            counted = syscalls.count()
            if counted.late <= _MOST_LATE:
                break
    except ToolMissing as missing:
        print(f"gate: system calls are not counted: {missing}")
        return {}
    return counted.units


def _build() -> str:
    return " ".join(sys.version.split())


def version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def read_allowed(path: Path) -> dict[str, Counts]:
    """Return what is allowed, by version of Python; nothing if there is no such file."""
    if not path.exists():
        return {}
    return {version: Counts(**counts) for version, counts in json.loads(path.read_text()).items()}


def write_allowed(path: Path, allowed: dict[str, Counts]) -> None:
    """Write it so that a change of one figure is a change of one line."""
    text = json.dumps({version: asdict(counts) for version, counts in sorted(allowed.items())}, indent=2)
    path.write_text(f"{text}\n")


def judge(found: Counts, allowed: dict[str, Counts], version: str) -> int:
    """Print every figure with what is allowed; return the exit code."""
    basis = basis_for(found.build, version, allowed)
    print(f"gate: {basis.sentence}")
    verdicts = compare(found, basis)
    for verdict in verdicts:
        print(f"gate: {verdict.sentence}")
    return int(any(verdict.change is Change.GROWN for verdict in verdicts))


def main(arguments: Sequence[str]) -> int:
    """Count, and judge or accept."""
    parser = argparse.ArgumentParser("python -m benchmarks.profile.gate", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="what is counted now is allowed from now on")
    chosen = parser.parse_args(arguments)
    try:
        found = count()
    except (ToolMissing, BrokenCourse) as fault:
        print(f"gate: {fault}", file=sys.stderr)
        return 1
    allowed = read_allowed(ALLOWED)
    code = judge(found, allowed, version()) if allowed else 0
    if not chosen.accept:
        return code
    write_allowed(ALLOWED, allowed | {version(): found})
    print(f"gate: accepted for Python {version()}: {ALLOWED.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
