"""benchmarks.upstream: what it holds back, and what it says of it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks import messages
from benchmarks.upstream import Upstream


@pytest.fixture
def port() -> Iterator[int]:
    """Where an upstream serves."""
    lifeline, end = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        thread = threading.Thread(target=Upstream(listener, time.monotonic).run, args=(lifeline,))
        thread.start()
        yield listener.getsockname()[1]
        os.close(end)
        thread.join()
        os.close(lifeline)


def told(port: int, target: str) -> dict[str, int]:
    """What it says when it is told something."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", target)
    counts: dict[str, int] = json.loads(connection.getresponse().read())
    connection.close()
    return counts


def await_held(port: int, wanted: int) -> None:
    """Ask until it holds so many calls."""
    deadline = time.monotonic() + 5
    while told(port, "/pace/0")["held"] != wanted:
        assert time.monotonic() < deadline


def held(port: int, number: int) -> socket.socket:
    """A call that is to wait, when it is there."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    before = told(port, "/pace/0")["held"]
    sock.sendall(messages.call_head("/hold", port, b"") + messages.call(number))
    await_held(port, before + 1)
    return sock


def test_a_held_call_is_answered_when_the_upstream_is_told_to(port: int) -> None:
    """Nobody is answered before; then everybody gets the own answer."""
    callers = [held(port, messages.FIRST_CALL + place) for place in range(3)]
    callers[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        callers[0].recv(1)
    callers[0].settimeout(5)
    told(port, "/release")
    for place, sock in enumerate(callers):
        with sock:
            assert sock.recv(4096).endswith(messages.answer(messages.FIRST_CALL + place))
    assert told(port, "/pace/0")["held"] == 0


def test_a_caller_who_leaves_is_held_no_more(port: int) -> None:
    """The question may ask how many calls are held."""
    held(port, messages.FIRST_CALL).close()
    await_held(port, 0)
    assert told(port, "/release")["held"] == 0


def test_a_stamped_stream_says_when_its_events_were_sent(port: int) -> None:
    """The first event is there at once, with the time of this machine."""
    before_ns = time.monotonic_ns()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(b"GET /stamped HTTP/1.1\r\n\r\n")
        _head, _, frame = sock.recv(4096).partition(b"\r\n\r\n")
    sent_ns = messages.sent_ns_of(frame.partition(b"\r\n")[2])
    assert sent_ns is not None
    assert before_ns <= sent_ns <= time.monotonic_ns()
    assert frame == messages.stamped_frame(0, sent_ns)
