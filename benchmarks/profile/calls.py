"""
Every call of a Python function and of a C function per unit, counted exactly, by ``sys.setprofile``.

What client and upstream of the course call is left out; so is what C calls in C.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from benchmarks.profile.course import Run, run
from benchmarks.profile.stand import Middle, Nothing

_PEERS = "benchmarks."


@dataclass(frozen=True)
class Calls:
    """
    What is called in one unit.

    :ivar python: times per unit, by module and qualified name; ``c`` the same for functions without a frame.
    :ivar garbage: objects that only the garbage collector could free.
    """

    python: dict[str, float]
    c: dict[str, float]
    garbage: float


def count(name: str, units: int, between: Callable[[int], Middle]) -> Calls:
    """
    Run a course with the gateway and without, and count.

    :param between: makes the gateway.
    :raises answers.BrokenAnswer: something arrived that was not sent.
    """
    peers, _ = _every_call(name, units, Nothing)
    every, went = _every_call(name, units, between)
    every.subtract(peers)
    return Calls(_per_unit(every, "python", units), _per_unit(every, "c", units), went.garbage)


def _every_call(name: str, units: int, between: Callable[[int], Middle]) -> tuple[Counter[tuple[str, str]], Run]:
    calls: Counter[tuple[str, str]] = Counter()

    def note(frame: FrameType, what: str, argument: Any) -> None:
        module = frame.f_globals.get("__name__", "?")
        if module.startswith(_PEERS):
            return
        if what == "call":
            calls["python", f"{module}.{frame.f_code.co_qualname}"] += 1
        elif what == "c_call":
            calls["c", _name_of(argument)] += 1

    def switch() -> None:
        sys.setprofile(None if sys.getprofile() else note)

    try:
        went = run(name, units, between, switch)
    finally:
        sys.setprofile(None)
    return calls, went


def _name_of(function: Any) -> str:
    """A method's class and name; a function's module and name."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, type(sys)):
        return f"{function.__module__ or type(owner).__name__}.{function.__qualname__}"
    return str(function.__qualname__)


def _per_unit(calls: Counter[tuple[str, str]], kind: str, units: int) -> dict[str, float]:
    return {name: count / units for (found, name), count in calls.most_common() if found == kind and count}
