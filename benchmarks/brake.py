"""
Let a subject run for a part of the time only, so that plain clients can offer it more than it can do.

A bare proxy takes no longer for a call than a client written in Python takes for asking. What happens when there is
twice as much to do as can be done does not depend on how much that is: so its processes are stopped and continued by
turns. ``python -m benchmarks.brake PID ...`` does that until its standard input is closed, and leaves them
running.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks.harness import STOP_TIMEOUT_S, Subject
from benchmarks.peers.ground import ROOT

# Long against the kernel's slices, short against a client's patience.
PERIOD_S = 0.010
RUNNING_S = 0.001


@contextlib.contextmanager
def slowed(subject: Subject) -> Iterator[None]:
    """Have the subject run for a tenth to a fifth of the time while the block runs: the kernel wakes up late."""
    pids = subject.tree.pids()
    command = [sys.executable, "-m", "benchmarks.brake", *map(str, pids)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        # Beside the subject, where nothing else can keep it from stopping and continuing in time.
        os.sched_setaffinity(process.pid, os.sched_getaffinity(pids[0]))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.read(1)
        try:
            yield
        finally:
            process.stdin.close()
            process.wait(STOP_TIMEOUT_S)


def brake(pids: Sequence[int], lifeline: int) -> None:
    """Stop and continue until the lifeline can be read, which is when the other end is gone."""
    started_s, periods = time.monotonic(), 0
    try:
        while True:
            _signal(pids, signal.SIGCONT)
            if _is_over(lifeline, started_s + periods * PERIOD_S + RUNNING_S):
                return
            _signal(pids, signal.SIGSTOP)
            periods += 1
            if _is_over(lifeline, started_s + periods * PERIOD_S):
                return
    finally:
        _signal(pids, signal.SIGCONT)


def _is_over(lifeline: int, until_s: float) -> bool:
    return bool(select.select([lifeline], (), (), max(0.0, until_s - time.monotonic()))[0])


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def main() -> None:
    """Say that it begins, and brake."""
    sys.stdout.write("!")
    sys.stdout.flush()
    brake([int(text) for text in sys.argv[1:]], sys.stdin.fileno())


if __name__ == "__main__":
    main()
