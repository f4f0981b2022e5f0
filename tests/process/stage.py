"""Real gateways as child processes: started by the command users type, watched by polling, ended by their pid."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
TWISTD = Path(sys.executable).with_name("twistd")
# Below the ephemeral range of Linux (32768): an outgoing connection there may already hold the port.
_PORTS = range(20_000, 32_000)
_POLL_S = 0.01
#: A start takes a second of one CPU; the rest is for a loaded machine.
PATIENCE_S = 30.0


def free_port() -> int:
    """A loopback port that nobody listens on."""
    while True:
        port = random.choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(happened: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> float:
    """
    Poll until something is true.

    :returns: how many seconds that took.
    :raises AssertionError: naming ``what`` if it does not happen in time.
    """
    began_s = time.monotonic()
    while not happened():
        if time.monotonic() - began_s > within_s:
            raise AssertionError(f"{what}: not within {within_s} s")
        time.sleep(_POLL_S)
    return time.monotonic() - began_s


def environ(*folders: Path) -> dict[str, str]:
    """The environment of a child that is to run this tree, wherever it runs; ``folders`` come first on its path."""
    paths = [*map(str, folders), str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


class Running:
    """
    One twistd process.

    :param arguments: of twistd, from its own options on.
    :param before: a command that becomes twistd.
    :ivar output: the file that takes stdout and stderr.
    """

    def __init__(self, folder: Path, arguments: Sequence[str], before: Sequence[str] = ()) -> None:
        self.folder = folder
        self.output = folder / "output"
        with self.output.open("wb") as sink:
            self.process = subprocess.Popen(
                [*before, TWISTD, *arguments],
                cwd=folder,
                # A test may put a sitecustomize.py there.
                env=environ(folder),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self.output.read_text("utf-8", "replace")

    def wait_said(self, text: str, times: int = 1) -> None:
        """Wait until it has printed something."""
        wait_until(lambda: self.said.count(text) >= times or self.process.poll() is not None, f"{text!r} is printed")
        assert self.said.count(text) >= times, self.said

    def exit_code(self, within_s: float = PATIENCE_S) -> int:
        """Wait for its end."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within_s} s:\n{self.said}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End it, whatever it is doing."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)

    def memory_kib(self, what: str) -> int:
        """A line of ``/proc/PID/status``: ``VmHWM``, ``VmRSS``."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))

    def forget_peak(self) -> None:
        """Let ``VmHWM`` begin anew at what is in use now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """CPU time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@dataclass
class Gate:
    """
    A gateway with a configuration of its own.

    :ivar port: where clients connect; ``admin_port`` is for operators.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "gate.yaml"

    def write(self, *servers: str, rest: str = "", listen: str = "") -> None:
        """Write the configuration: one flow mapping for each server, and further lines."""
        lines = [
            f"listen: {listen or f'tcp:{self.port}:interface=127.0.0.1'}",
            f"admin: {{listen: 'tcp:{self.admin_port}:interface=127.0.0.1'}}",
            "servers:" if servers else "servers: []",
            *(f"  - {server}" for server in servers),
            rest,
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, *options: str, before: Sequence[str] = ()) -> Running:
        """Start it in the foreground, with further options of twistd; returns when it serves."""
        running = Running(self.folder, ["-n", "--pidfile=", *options, "mcpgate", "-c", str(self.config)], before)
        try:
            running.wait_said("config OK")
        except AssertionError:
            running.end()
            raise
        return running

    @contextlib.contextmanager
    def running(self, *options: str, before: Sequence[str] = ()) -> Iterator[Running]:
        """As `start`, and its end."""
        running = self.start(*options, before=before)
        try:
            yield running
        finally:
            running.end()


def server(name: str, port: int | str, rest: str = "") -> str:
    """A server for `Gate.write`; ``port`` may be a whole URL."""
    url = port if isinstance(port, str) else f"http://127.0.0.1:{port}"
    return f'{{name: {name}, upstreams: [{{url: "{url}"}}]{rest}}}'
