"""
``python -m benchmarks.profile.listing FOLDER``: for each course a text that shows where its work goes.

``profile-request.txt``, ``profile-event.txt`` and ``profile-stream.txt`` are written there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.profile import calls, samples
from benchmarks.profile.course import COURSES, gateways
from benchmarks.profile.gate import ALLOWED, read_allowed, version
from benchmarks.profile.inside import ToolMissing
from benchmarks.profile.marked import UNITS

#: Of each list; what comes after it is one or two per cent each.
_MOST = 40
_MOST_NATIVE = 15
#: What is less would stand there as nothing.
_LEAST = 0.005


def text(name: str, called: calls.Calls, sampled: samples.Samples | str, counted: str) -> str:
    """
    Lay out what is known of a course.

    :param sampled: or why there is nothing.
    :param counted: a line about instructions and system calls.
    """
    calls_of = (
        f"{sum(called.python.values()):.1f} calls of Python functions, {sum(called.c.values()):.1f} of C functions"
    )
    lines = [
        f"One {name} through the gateway, with a token, a limit, a sealed session, metrics and an access log.",
        f"Python {version()}. Made by `make profile`.",
        "",
        f"{calls_of}, {called.garbage:.1f} objects left to the collector.",
        *([counted] if counted else []),
    ]
    if isinstance(sampled, str):
        lines += ["", f"Where the time goes is not known: {sampled}"]
    else:
        title = f"Time by Python function, with what it calls in C; {sampled.seen} samples"
        lines += _table(title, "{:8.1%}", sampled.python)
        lines += _table("The same time by what ran", "{:8.1%}", sampled.native, _MOST_NATIVE)
    lines += _table("Python functions, calls per unit", "{:8.2f}", called.python)
    lines += _table("C functions, calls per unit", "{:8.2f}", called.c)
    return "\n".join(lines) + "\n"


def _table(title: str, form: str, rows: Mapping[str, float], most: int = _MOST) -> list[str]:
    """The largest rows, and how much the others are together."""
    shown = [(name, value) for name, value in rows.items() if value >= _LEAST][:most]
    lines = [f"{form.format(value)}  {name}" for name, value in shown]
    if len(rows) > len(shown):
        others = sum(rows.values()) - sum(value for _, value in shown)
        lines.append(f"{form.format(others)}  {len(rows) - len(shown)} others")
    return ["", title, "", *lines]


def _counted(name: str) -> str:
    """What the gate allows: what was counted when it was last set."""
    allowed = read_allowed(ALLOWED).get(version())
    if allowed is None:
        return ""
    called = allowed.system_calls.get(name, {})
    named = ", ".join(f"{call} {number:g}" for call, number in called.items())
    return f"Allowed: {allowed.instructions[name]:,.0f} instructions; {sum(called.values()):g} system calls: {named}."


def main() -> None:
    """Write the texts."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in COURSES:
        with gateways() as between:
            called = calls.count(name, UNITS[name], between)
        try:
            sampled: samples.Samples | str = samples.take(name)
        except ToolMissing as missing:
            sampled = f"{missing}"
        path = folder / f"profile-{name}.txt"
        path.write_text(text(name, called, sampled, _counted(name)))
        print(f"written: {path}")


if __name__ == "__main__":
    main()
