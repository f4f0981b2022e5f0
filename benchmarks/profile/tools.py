"""Programs that count from outside, installed where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess

from benchmarks.profile.inside import ToolMissing

_TIMEOUT_S = 600.0


def ensure(program: str) -> None:
    """
    Make sure that a program is there; as root on Debian it is installed if it is not.

    :param program: its name, and that of its package.
    :raises ToolMissing: it is not there and cannot be installed; the text says what to do.
    """
    if shutil.which(program):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise ToolMissing(f"{program} is missing: run `apt-get install -y {program}` as root")
    print(f"installing {program} (once)")
    _apt_get("update", "-q")
    _apt_get("install", "-q", "-y", "--no-install-recommends", program)


def _apt_get(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *arguments]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise ToolMissing(f"`{' '.join(command)}` is not done after {_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise ToolMissing(f"`{' '.join(command)}` failed: {done.stderr[-500:].strip()}")
