"""Child processes of the interop tests: free ports, starting, waiting until ready, ending, their output."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Below the ephemeral range of Linux (32768): an outgoing connection there may already hold the port.
PORTS = range(20_000, 32_000)
POLL_S = 0.05
# Node and Python servers are up within 3 s here; the rest is for a loaded CI machine.
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
TAIL_BYTES = 2000


def free_port(taken: set[int]) -> int:
    """Find a port nobody listens on and that is not in ``taken``, and add it there."""
    for _ in range(200):
        port = random.choice(PORTS)
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise RuntimeError(f"no free port found in {PORTS}")


def is_free(port: int) -> bool:
    """Tell whether all addresses of a port can be bound (some servers under test take them all)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def accepts(port: int) -> bool:
    """Tell whether somebody accepts connections on a loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_until(ready: Callable[[], bool], what: str, timeout_s: float = READY_TIMEOUT_S) -> None:
    """
    Poll until ``ready()`` is true.

    :raises AssertionError: naming ``what`` if it is still false after ``timeout_s``.
    """
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not after {timeout_s} s")
        time.sleep(POLL_S)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, where, with which additions to the environment."""

    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str]


class Running:
    """A started command in its own process group; everything it prints goes to one file."""

    def __init__(self, name: str, command: Command, log: Path) -> None:
        self.name = name
        self.log = log
        self._marked_bytes = 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command.argv,
                cwd=command.folder,
                env=os.environ | command.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether the command has not ended by itself."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id, for signals."""
        return self._process.pid

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """
        Wait until ``ready()`` is true.

        :raises AssertionError: with the end of the output if the command ended first or takes too long.
        """
        try:
            wait_until(lambda: not self.alive or ready(), f"{self.name} is ready")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.tail()}") from None
        if not self.alive:
            raise AssertionError(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")

    def mark(self) -> None:
        """Forget what was printed up to now, as far as `tail` is concerned."""
        self._marked_bytes = self.log.stat().st_size

    def tail(self) -> str:
        """Return the last of what was printed since the last `mark`."""
        return self.log.read_bytes()[self._marked_bytes :][-TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> int:
        """End the whole group, politely first; return the exit status (negative: the signal that ended it)."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        # What is left: a command that does not listen, or a wrapper's child.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


def run_to_end(command: Command, script: Path | None, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """
    Run a command, with ``script`` as its input, and return its output; its group does not survive.

    :raises AssertionError: with the end of its output if it takes longer than ``timeout_s``.
    """
    with contextlib.ExitStack() as stack:
        given = stack.enter_context(script.open("rb")) if script else subprocess.DEVNULL
        process = subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env=os.environ | command.env,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        late = False
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if late:
            out, err = process.communicate()
            raise AssertionError(f"{command.argv[0]}: not after {timeout_s} s\n{out}\n{err[-TAIL_BYTES:]}")
        return subprocess.CompletedProcess(command.argv, process.returncode, out, err)
