"""
Where a course is when somebody looks, two hundred times a second, by py-spy: the share of each function.

Only what the gateway does counts, not its peers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.ground import ROOT
from benchmarks.profile.inside import BrokenCourse, ToolMissing

#: Some seconds of each.
_UNITS = {"request": 50_000, "event": 200_000, "stream": 4_000}
#: With native frames py-spy needs some milliseconds for a look, and one that is late sees what is slow too often.
_RATE_HZ = 200
_TIMEOUT_S = 180.0
#: In every stack of the gateway's own work.
_TURN = ";GatewayInside.turn"
_PLACE = re.compile(r".*/(?:src|site-packages|dist-packages)/")
_FRAME = re.compile(r"(.+) \((.+?)(?::\d+)?\)")


@dataclass(frozen=True)
class Samples:
    """
    Shares of the gateway's own time, from 0 to 1.

    :ivar python: by Python function, with what it calls in C; ``native`` by the function outside Python that ran.
    :ivar seen: how many samples there were.
    """

    python: dict[str, float]
    native: dict[str, float]
    seen: int


def take(name: str) -> Samples:
    """
    Run a course under py-spy.

    :raises ToolMissing: there is no py-spy.
    :raises BrokenCourse: it failed.
    """
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        raise ToolMissing("py-spy is missing: pip install py-spy")
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with tempfile.TemporaryDirectory(prefix="bench-samples-") as folder:
        raw = Path(folder) / "raw.txt"
        record = [program, "record", "--native", "--function", "--full-filenames", "--format", "raw"]
        course = [sys.executable, "-m", "benchmarks.profile.course", name, f"{_UNITS[name]}"]
        command = [*record, "--rate", f"{_RATE_HZ}", "--output", f"{raw}", "--", *course]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise BrokenCourse(f"py-spy: not done after {_TIMEOUT_S:.0f} s") from None
        if done.returncode or not raw.exists():
            raise BrokenCourse(f"py-spy: exit code {done.returncode}; it said:\n{done.stderr[-1000:].strip()}")
        return read(raw.read_text())


def read(raw: str) -> Samples:
    """Read what py-spy has written: a line for each stack, outermost first, and how often it was seen."""
    python: Counter[str] = Counter()
    native: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if _TURN not in stack:
            continue
        frames = [_frame(frame) for frame in stack.split(";")]
        python[next(name for name, is_python in reversed(frames) if is_python)] += int(count)
        name, is_python = frames[-1]
        native["Python itself" if is_python else name] += int(count)
    seen = sum(python.values())
    return Samples(_shares(python, seen), _shares(native, seen), seen)


def _frame(text: str) -> tuple[str, bool]:
    """``mcpgate/relay.py Relay.take_head``, or ``libc.so.6 send``, and whether it is Python's."""
    found = _FRAME.fullmatch(text)
    if found is None:
        return text, False
    function, path = found.groups()
    place = _PLACE.sub("", path)
    # Where this machine keeps it says nothing.
    shown = Path(place).name if place.startswith("/") else place
    # A function without a name is at another address in every run.
    named = "(unnamed)" if function.startswith("0x") else function
    return f"{shown} {named}", shown.endswith(".py") or shown.startswith("<")


def _shares(counts: Counter[str], seen: int) -> dict[str, float]:
    return {name: count / seen for name, count in counts.most_common()}
