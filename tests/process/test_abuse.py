"""
Cases of the corpus that mean something with real sockets only: memory, CPU, descriptors, a log nobody reads.

The docstrings name the cases. Every bound on memory is the growth of the peak while the case runs.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from tests.process.peers import Line, Upstream, ask, call, events, length_of, swallow, talking, upstream
from tests.process.stage import TWISTD, Gate, Running, environ, server, wait_until

from mcpgate.testing import answer, request

MIB = 1 << 20
PROBE = request("GET", "/mcp/a/probe")
HANDSHAKE = request(
    "GET",
    "/mcp/a/tunnel",
    headers={
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    },
)


def tunnel(line: Line, head: bytes) -> None:
    """Take a WebSocket and forget what comes through it."""
    switch(line, head)
    while line.sock.recv(MIB):
        pass


def flood(line: Line, head: bytes) -> None:
    """Take a WebSocket and push through it whatever goes."""
    switch(line, head)
    while True:
        line.send(b"\x82\x7f" + (65536).to_bytes(8, "big") + b"x" * 65536)


def switch(line: Line, head: bytes) -> None:
    """Answer a WebSocket handshake."""
    key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    line.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(digest)
    )


def large(line: Line, head: bytes) -> None:
    """An answer of 4 KiB, which comes in one piece."""
    line.send(answer(b"x" * 4096))


def interim(line: Line, head: bytes) -> None:
    """A hundred thousand early hints."""
    line.read(length_of(head))
    line.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100_000)


def long_head(line: Line, head: bytes) -> None:
    """A hundred thousand field lines."""
    line.read(length_of(head))
    line.send(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 100_000 + b"\r\n")


@dataclass
class Stage:
    """A gateway before one upstream that does all of the above."""

    gate: Gate
    running: Running
    peer: Upstream

    def growth_mib(self, case: Callable[[], object]) -> float:
        """By how much the peak of the gateway's memory grows while a case runs; afterwards it must be healthy."""
        self.running.forget_peak()
        before_kib = self.running.memory_kib("VmHWM")
        case()
        grown = (self.running.memory_kib("VmHWM") - before_kib) / 1024
        assert ask(self.gate.port, PROBE)[0] == 200
        return grown

    def tunnel(self, path: bytes = b"tunnel") -> Line:
        """An open WebSocket."""
        line = call(self.gate.port)
        line.send(HANDSHAKE.replace(b"tunnel", path))
        assert line.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        return line


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One gateway for most tests of this file."""
    talk = talking(
        tunnel=tunnel, flood=flood, large=large, interim=interim, long=long_head, events=events, swallow=swallow
    )
    with ExitStack() as stack:
        peer = stack.enter_context(upstream(talk))
        gate = Gate(tmp_path_factory.mktemp("abuse"))
        gate.write(server("a", peer.port), rest="http: {send_timeout: 2s}")
        running = stack.enter_context(gate.running())
        ask(gate.port, PROBE)
        yield Stage(gate, running, peer)


def send_until_blocked(line: Line, data: bytes, at_most_bytes: int = 64 * MIB) -> int:
    """Send again and again, reading nothing, until nobody takes it any more."""
    line.sock.setblocking(False)
    sent, view = 0, memoryview(data * (1 + MIB // len(data)))
    with contextlib.suppress(ConnectionError):
        while sent < at_most_bytes and select.select([], [line.sock], [], 1.0)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += line.sock.send(view)
    return sent


def test_a_thousand_pipelined_requests_cost_little(stage: Stage) -> None:
    """LI-PIPELINE-1000: all are answered, for less than 4 MiB."""

    def case() -> None:
        with call(stage.gate.port) as line:
            line.send(PROBE * 1000)
            for _ in range(1000):
                assert line.read_answer()[0] == 200

    assert stage.growth_mib(case) < 4


@pytest.mark.parametrize("answers_first", [False, True], ids=["at once", "when no more answers fit"])
def test_a_client_that_only_sends_is_not_read_for_ever(stage: Stage, answers_first: bool) -> None:
    """LI-PIPELINE-NOREAD: what it sends stays with it, for less than 2 MiB here."""

    def case() -> None:
        with call(stage.gate.port) as line:
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            if answers_first:  # slowly enough that no request waits for the one before it, until the answers do
                for _ in range(2500):
                    line.send(request("GET", "/mcp/a/large"))
                    time.sleep(0.0005)
            assert send_until_blocked(line, PROBE * 100) < 32 * MIB

    assert stage.growth_mib(case) < 2


def test_a_body_of_unknown_length_is_cut_at_the_bound(stage: Stage) -> None:
    """LI-BODY-OVER-MAX-CHUNKED: 413 at 8 MiB, for less than 4 MiB."""

    def case() -> None:
        with call(stage.gate.port) as line:
            line.send(request("POST", "/mcp/a/swallow", headers={"Transfer-Encoding": "chunked"}))
            with contextlib.suppress(ConnectionError):
                for _ in range(140):
                    line.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            assert line.read_answer()[0] == 413

    assert stage.growth_mib(case) < 4


@pytest.mark.parametrize("path", ["interim", "long"])
def test_a_head_without_end_is_given_up(stage: Stage, path: str) -> None:
    """US-1XX-MANY, US-HDR-100000: 502, for less than 4 MiB."""

    def case() -> None:
        with call(stage.gate.port) as line:
            line.send(request(target=f"/mcp/a/{path}", body=b"{}"))
            head = line.read_until(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 103 "):
                head = line.read_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 502 ")

    assert stage.growth_mib(case) < 4


@pytest.mark.parametrize(
    "frames",
    [b"\x01\x80\x00\x00\x00\x00" + b"\x00\x81\x00\x00\x00\x00a" * 1_000_000, b"\x89\x80\x00\x00\x00\x00" * 200_000],
    ids=["fragments", "pings"],
)
def test_floods_through_a_websocket_cost_no_memory(stage: Stage, frames: bytes) -> None:
    """WS-FRAGMENT-FLOOD, WS-PING-FLOOD: they are bytes to us, for less than 4 MiB and five seconds."""

    def case() -> None:
        with stage.tunnel() as line:
            began_s = time.monotonic()
            line.send(frames)
            assert time.monotonic() - began_s < 5

    assert stage.growth_mib(case) < 4


def test_a_websocket_whose_client_does_not_read_is_cut(stage: Stage) -> None:
    """WS-SLOW-CONSUMER: the upstream is stopped, then both are let go of after ``send_timeout``; less than 1 MiB."""

    def case() -> None:
        with stage.tunnel(b"flood"):
            theirs = next(line for line in stage.peer.lines if not line.ended.is_set() and not line.is_stream)
            assert not theirs.ended.wait(1)
            assert theirs.ended.wait(5)

    assert stage.growth_mib(case) < 1


def test_open_streams_cost_no_cpu(stage: Stage) -> None:
    """LI-IDLE-AFTER-ACCEPT: two hundred quiet streams and connections, and next to nothing is done for them."""
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(call(stage.gate.port))
            line = stack.enter_context(call(stage.gate.port))
            line.send(request("GET", "/mcp/a/events", headers={"Mcp-Session-Id": "s"}))
            line.read_until(b"data: 1\n\n")
        before_s = stage.running.cpu_s()
        time.sleep(1)
        assert stage.running.cpu_s() - before_s < 0.05


def test_no_failure_of_the_gateway_was_logged(stage: Stage) -> None:
    """After all of the above."""
    assert "Traceback" not in stage.running.said


def test_more_clients_than_descriptors_wait_and_harm_nobody(gate: Gate) -> None:
    """The rest waits in the kernel's queue, without a busy loop; who is in is served; then the others are."""
    with upstream() as peer:
        gate.write(server("a", peer.port), rest="gate: {open_connections: 1000}")
        with (
            gate.running(before=["sh", "-c", 'ulimit -n 100; exec "$@"', "sh"]) as running,
            ExitStack() as stack,
            call(gate.port) as first,
        ):
            first.send(PROBE)
            assert first.read_answer()[0] == 200
            others = [stack.enter_context(call(gate.port)) for _ in range(150)]
            before_s = running.cpu_s()
            time.sleep(1)
            assert running.cpu_s() - before_s < 0.2
            first.send(PROBE)
            assert first.read_answer()[0] == 200
            for line in others:
                line.close()
            wait_until(lambda: is_healthy(gate), "health", 5)
            assert "Traceback" not in running.said


def is_healthy(gate: Gate) -> bool:
    """Whether a new client is served."""
    try:
        return ask(gate.port, PROBE)[0] == 200
    except (OSError, EOFError):
        return False


def test_a_log_that_nobody_reads_stops_nobody(gate: Gate) -> None:
    """OB-LOG-STALLED: access lines go to a pipe whose reader has stopped; clients are served all the same."""
    with upstream() as peer:
        gate.write(server("a", peer.port))
        child = subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", "mcpgate", "-c", gate.config],
            cwd=gate.folder,
            env=environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: is_healthy(gate), "health")
            long_path = request("GET", "/mcp/a/" + "x" * 500)
            with call(gate.port) as line:
                line.sock.settimeout(5)
                for _ in range(600):  # of more than 600 bytes each: several times what a pipe holds
                    line.send(long_path)
                    assert line.read_answer()[0] == 200
        finally:
            child.kill()
            child.communicate()
