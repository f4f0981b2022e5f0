"""
Run one subject on a CPU of its own, with a fresh upstream behind it, and clear everything away again.

Load generator and upstream share the other CPUs. Each sample gets fresh processes and fresh ports, so that
the order of the subjects leaves no trace, neither in their memory nor in sockets that linger.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import answers, messages
from benchmarks.peers.ground import PATH, ROOT, Endpoint, Ground, McpPeer, Peer
from benchmarks.proc import ProcessTree

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
# Descriptors a subject needs beside two per stream: listeners, logs, pools, what Python keeps open.
SPARE_DESCRIPTORS = 300


class HarnessFault(Exception):
    """This machine or this subject cannot be measured as asked; the text says why."""


@dataclass(frozen=True)
class Cpus:
    """Which CPUs belong to whom."""

    subject: frozenset[int]
    load: frozenset[int]


@dataclass(frozen=True)
class Subject:
    """
    A running subject: where to knock, with what, what it uses, and the upstream behind it.

    :ivar endpoint: where it speaks MCP, of a peer that is asked with that.
    """

    name: str
    port: int
    fields: bytes
    upstream_port: int
    admin_port: int
    tree: ProcessTree
    endpoint: Endpoint | None = None

    def connect(self) -> socket.socket:
        """Open a client connection to the subject."""
        return _connect(self.port)

    def pace(self, events_per_s: float) -> dict[str, int]:
        """Tell the upstream how many events to send per second over all streams; return its counts."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=START_TIMEOUT_S)
        with contextlib.closing(upstream):
            upstream.request("POST", f"/pace/{events_per_s}")
            counts: dict[str, int] = json.loads(upstream.getresponse().read())
        return counts


def divide_cpus(available: set[int]) -> Cpus:
    """
    Give the last CPU to the subject and all others to load and upstream.

    :raises HarnessFault: if there is only one.
    """
    if len(available) == 1:
        raise HarnessFault("two CPUs are needed: one for the subject, one for load and upstream")
    subject = max(available)
    return Cpus(frozenset({subject}), frozenset(available - {subject}))


def raise_descriptor_limit(streams: int) -> int:
    """
    Raise this process's descriptor limit, which the subjects inherit, as far as it goes; return it.

    :raises HarnessFault: if that is not enough.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    check_descriptors(streams, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def check_descriptors(streams: int, hard: int) -> None:
    """
    Compare what is needed with the hard limit.

    :raises HarnessFault: if a subject cannot hold two descriptors for each stream.
    """
    needed = 2 * streams + SPARE_DESCRIPTORS
    if hard < needed:
        raise HarnessFault(
            f"{streams} streams need {needed} descriptors in one process, but the hard limit is {hard}: "
            f"raise it (as root: ulimit -Hn {needed}) or ask for --streams {(hard - SPARE_DESCRIPTORS) // 2}"
        )


@contextlib.contextmanager
def running(peer: Peer, cpus: Cpus) -> Iterator[Subject]:
    """
    Start upstream and subject, hand the subject over once it answers a call, and end both afterwards.

    :raises HarnessFault: if it does not start, or breaks what it delivers; with the end of what it said.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{peer.name}-")))
        module = peer.upstream_module if isinstance(peer, McpPeer) else "benchmarks.upstream"
        upstream_port = stack.enter_context(_upstream(module, folder, cpus))
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        port, admin_port = _free_ports(2)
        ground = Ground(folder, port, admin_port, upstream_port, descriptors)
        command = peer.command(ground)
        log = folder / "output.txt"
        with _pinned(cpus.subject), log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **peer.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        stack.callback(_stop, process)
        fields = peer.client_fields(ground)
        _await_answer(process, peer, ground, log)
        endpoint = peer.endpoint(ground) if isinstance(peer, McpPeer) else None
        try:
            yield Subject(peer.name, port, fields, upstream_port, admin_port, ProcessTree(process.pid), endpoint)
        except (answers.BrokenAnswer, ConnectionError, TimeoutError) as fault:
            raise HarnessFault(f"{peer.name}: {fault}; it said:\n{_end_of(log)}") from fault


@contextlib.contextmanager
def _upstream(module: str, folder: Path, cpus: Cpus) -> Iterator[int]:
    """Run the upstream on a socket made here, so that its port is known and open before it has started."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    with listener, _pinned(cpus.load), (folder / "upstream.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(listener.fileno())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=output,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        port: int = listener.getsockname()[1]
    try:
        yield port
    finally:
        _stop(process)


@contextlib.contextmanager
def _pinned(cpus: frozenset[int]) -> Iterator[None]:
    """Start processes on these CPUs: inherited, so that neither they nor a child was ever elsewhere."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _await_answer(process: subprocess.Popen[bytes], peer: Peer, ground: Ground, log: Path) -> None:
    is_ready: Callable[[], bool]
    if isinstance(peer, McpPeer):
        is_ready, timeout_s = functools.partial(peer.is_ready, ground), peer.start_timeout_s
    else:
        head = messages.call_head(f"{PATH}/mcp", ground.port, peer.client_fields(ground))
        is_ready, timeout_s = functools.partial(_answers_a_call, head, ground.port), START_TIMEOUT_S
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, answers.BrokenAnswer):
            if is_ready():
                return
        time.sleep(0.02)
    state = "still running" if process.poll() is None else f"exit code {process.poll()}"
    raise HarnessFault(f"no answer through {process.args!r} ({state}); it said:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:].strip() or "(nothing)"


def _answers_a_call(head: bytes, port: int) -> bool:
    received = b""
    with _connect(port) as sock:
        number = messages.FIRST_CALL
        sock.sendall(head + messages.call(number))
        while chunk := sock.recv(65536):
            received += chunk
            if answers.is_whole_answer(received, number):
                return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: asked first, then killed. Its session holds nothing but them."""
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
