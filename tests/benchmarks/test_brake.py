"""benchmarks.brake: a subject is slowed down, and let go again."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.brake import brake


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def is_stopped(pid: int) -> bool:
    """Whether the kernel says so (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")


def test_a_process_is_stopped_by_turns_and_runs_in_the_end(sleeper: int) -> None:
    """Whoever ends the brake leaves nobody standing; one that is gone is no fault."""
    lifeline, end = os.pipe()
    # Larger than any id the kernel gives (proc(5): pid_max).
    gone = 2**22 + 1
    thread = threading.Thread(target=brake, args=([sleeper, gone], lifeline))
    thread.start()
    deadline = time.monotonic() + 5
    for wanted in (True, False, True):
        while is_stopped(sleeper) is not wanted:
            assert time.monotonic() < deadline
    os.close(end)
    thread.join()
    os.close(lifeline)
    assert not is_stopped(sleeper)
