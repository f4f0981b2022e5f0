"""What only real sockets show: bytes move at once, leaving is noticed at once, and memory stays where it was."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from tests.process.peers import Line, Upstream, call, events, length_of, swallow, talking, upstream
from tests.process.stage import Gate, Running, server, wait_until

from mcpgate.testing import request

MIB = 1 << 20
MUCH_BYTES = 100 * MIB
#: The buffers of both sockets of both sides, as Linux lets them grow on loopback (tcp_rmem, tcp_wmem), and ours.
KERNEL_BYTES = 40 * MIB
PIECE = b"x" * MIB
EVENTS = {"Accept": "text/event-stream", "Mcp-Session-Id": "s"}
CHUNK = b"100000\r\n" + PIECE + b"\r\n"


def much(line: Line, head: bytes) -> None:
    """A hundred MiB with a length."""
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MUCH_BYTES)
    for _ in range(MUCH_BYTES // MIB):
        line.send(PIECE)


def much_chunked(line: Line, head: bytes) -> None:
    """A hundred MiB in chunks, as an event stream of large events would be."""
    line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(MUCH_BYTES // MIB):
        line.send(CHUNK)
    line.send(b"0\r\n\r\n")


class Endless:
    """An event stream without end, which notes how much was taken."""

    def __init__(self) -> None:
        self.sent_bytes = 0

    def __call__(self, line: Line, head: bytes) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while True:
            line.send(piece)
            self.sent_bytes += len(piece)


@dataclass
class Stage:
    """A gateway before one upstream that does all of the above."""

    gate: Gate
    running: Running
    peer: Upstream
    endless: Endless

    def growth_kib(self, before_kib: int) -> int:
        """By how much the peak of the gateway's memory has grown."""
        return self.running.memory_kib("VmHWM") - before_kib

    def rest_kib(self) -> int:
        """The memory in use now; peaks are measured from here."""
        self.running.forget_peak()
        return self.running.memory_kib("VmHWM")

    def open_stream(self) -> Line:
        """An event stream that has begun."""
        line = call(self.gate.port)
        line.send(request("GET", "/mcp/a/events", headers=EVENTS))
        line.read_until(b"data: 1\n\n\r\n")
        return line


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One gateway for all tests of this file."""
    endless = Endless()
    talk = talking(events=events, much=much, chunked=much_chunked, swallow=swallow, endless=endless)
    with ExitStack() as stack:
        peer = stack.enter_context(upstream(talk))
        gate = Gate(tmp_path_factory.mktemp("streaming"))
        gate.write(server("a", peer.port, ", max_body_bytes: 1GiB"), rest="http: {send_timeout: 3s}")
        running = stack.enter_context(gate.running())
        stage = Stage(gate, running, peer, endless)
        with call(gate.port) as line:  # the first use of everything costs memory once
            line.send(request("GET", "/mcp/a/x"))
            line.read_answer()
        yield stage


def test_an_event_is_at_the_client_at_once(stage: Stage) -> None:
    """Nothing is collected: each of twenty events takes less than 50 ms, the typical one less than 10."""
    with stage.open_stream() as line:
        took_s = []
        (theirs,) = stage.peer.streams
        for number in range(20):
            event = b"data: %d\n\n" % (100 + number)
            began_s = time.monotonic()
            theirs.send(b"%x\r\n%b\r\n" % (len(event), event))
            line.read_until(event)
            took_s.append(time.monotonic() - began_s)
            time.sleep(0.01)  # so that each is a read of its own
    assert max(took_s) < 0.05
    assert sorted(took_s)[10] < 0.01


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_leaves_is_noticed_upstream_at_once(stage: Stage, leave: str) -> None:
    """Within 100 ms, whether it says goodbye or not."""
    line = stage.open_stream()
    (theirs,) = stage.peer.streams
    getattr(line, leave)()
    assert theirs.ended.wait(0.1)


def test_an_upstream_that_leaves_is_noticed_by_the_client_at_once(stage: Stage) -> None:
    """Within 100 ms, and the stream does not look finished."""
    with stage.open_stream() as line:
        began_s = time.monotonic()
        stage.peer.streams[0].hang_up()
        rest = line.read_to_end()
        assert time.monotonic() - began_s < 0.1
        assert not rest.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("path", ["much", "chunked"])
def test_a_large_answer_passes_without_being_kept(stage: Stage, path: str) -> None:
    """A hundred MiB, with a length or in chunks: less than 8 MiB of memory."""
    before_kib = stage.rest_kib()
    with call(stage.gate.port) as line:
        line.send(request("GET", f"/mcp/a/{path}", headers=EVENTS))
        head = line.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        if length_of(head):
            line.drop(MUCH_BYTES)
        else:
            assert line.drop_chunks() == MUCH_BYTES
    assert stage.growth_kib(before_kib) < 8 * 1024


@pytest.mark.parametrize("framing", [{"Content-Length": str(MUCH_BYTES)}, {"Transfer-Encoding": "chunked"}])
def test_a_large_request_passes_without_being_kept(stage: Stage, framing: dict[str, str]) -> None:
    """A hundred MiB, with a length or in chunks: less than 8 MiB of memory."""
    before_kib = stage.rest_kib()
    with call(stage.gate.port) as line:
        line.send(request("POST", "/mcp/a/swallow", headers=framing))
        for _ in range(MUCH_BYTES // MIB):
            line.send(PIECE if "Content-Length" in framing else CHUNK)
        line.send(b"" if "Content-Length" in framing else b"0\r\n\r\n")
        assert line.read_answer()[0] == 200
    assert stage.growth_kib(before_kib) < 8 * 1024


def test_a_client_that_stops_reading_stops_the_upstream_and_is_cut(stage: Stage) -> None:
    """The upstream's send blocks; nothing piles up in between; after ``send_timeout`` both sides are let go."""
    before_kib = stage.rest_kib()
    with call(stage.gate.port) as line:
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        line.send(request("GET", "/mcp/a/endless", headers=EVENTS))
        line.read_until(b"\r\n\r\n")
        theirs = stage.peer.lines[-1]
        wait_until(lambda: stands_still(stage.endless), "the upstream blocks", 2.5)
        assert stage.endless.sent_bytes < KERNEL_BYTES
        assert not theirs.ended.is_set()
        assert stage.growth_kib(before_kib) < 1024
        assert theirs.ended.wait(6)


def stands_still(endless: Endless) -> bool:
    """Whether nothing more is taken for a while."""
    seen = endless.sent_bytes
    time.sleep(0.3)
    return seen == endless.sent_bytes > 0


def test_aborted_streams_leave_nothing_behind(stage: Stage) -> None:
    """A thousand streams that are cut, fifty at a time: no stream is left upstream, and no descriptor here."""
    wait_until(lambda: not stage.peer.streams, "quiet", 10)
    before = stage.running.descriptors()
    for _ in range(20):
        lines = [stage.open_stream() for _ in range(50)]
        for number, line in enumerate(lines):
            line.reset() if number % 2 else line.close()
        wait_until(lambda: not stage.peer.streams, "all ended upstream", 5)
    # The idle connection that there may have been before was let go of meanwhile.
    wait_until(lambda: stage.running.descriptors() <= before, "descriptors", 6)


def test_a_connection_that_both_sides_have_closed_is_gone(stage: Stage) -> None:
    """Clients that ask for one answer each, and close when they have it, leave no descriptors for later."""
    wait_until(lambda: not stage.peer.streams, "quiet", 10)
    before = stage.running.descriptors()
    for _ in range(20):
        with call(stage.gate.port) as line:
            line.send(request("GET", "/mcp/a/x", headers={"Connection": "close"}))
            assert line.read_to_end().endswith(b'{"target":"/x"}')
    # One more for the idle connection to the upstream.
    wait_until(lambda: stage.running.descriptors() <= before + 1, "descriptors", 0.5)


def test_many_threads_of_clients_get_their_own_answers(stage: Stage) -> None:
    """Forty clients at once, keeping their connections: nobody gets somebody else's answer."""
    wrong: list[bytes] = []

    def ask_often(name: int) -> None:
        with call(stage.gate.port) as line:
            for number in range(25):
                line.send(request("GET", f"/mcp/a/{name}-{number}"))
                body = line.read_answer()[2]
                if body != b'{"target":"/%d-%d"}' % (name, number):
                    wrong.append(body)

    threads = [threading.Thread(target=ask_often, args=(name,)) for name in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_no_failure_of_the_gateway_was_logged(stage: Stage) -> None:
    """After all of the above."""
    assert "Traceback" not in stage.running.said
