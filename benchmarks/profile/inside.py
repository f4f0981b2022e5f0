"""Run `marked` under a tool that counts from outside, in surroundings that are the same every time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.peers.ground import ROOT

#: It takes half a minute on a quiet machine; a busy one may take ten times as long.
_TIMEOUT_S = 600.0


class ToolMissing(Exception):
    """The counting tool is not here, or may not do its work; the text says what to do."""


class BrokenCourse(Exception):
    """A course did not come to its end; the text is what it said last."""


def said_under(tool: Sequence[str], how: str) -> tuple[str, str]:
    """
    Run all courses once.

    :param tool: its name and options.
    :param how: how `marked` makes its marks.
    :returns: what was written to standard output and to standard error.
    :raises ToolMissing: there is no such program.
    :raises BrokenCourse: it failed, or was not done in time.
    """
    if shutil.which(tool[0]) is None:
        raise ToolMissing(f"{tool[0]} is missing: install it (Debian: apt-get install {tool[0]})")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # The order of sets, and so the way through a dict, is the same in every run.
    environment |= {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [*tool, sys.executable, "-m", "benchmarks.profile.marked", how]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BrokenCourse(f"{tool[0]}: not done after {_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise BrokenCourse(f"{tool[0]}: exit code {done.returncode}; it said:\n{done.stderr[-2000:].strip()}")
    return done.stdout, done.stderr
