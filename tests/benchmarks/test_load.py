"""benchmarks.load: clients that get something else than they asked for say so, whatever kind of clients they are."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import messages
from benchmarks.answers import BrokenAnswer
from benchmarks.load.loop import Loop
from benchmarks.load.mixture import Fetcher, PacedCallers, StampedReader
from benchmarks.load.single import SingleCaller
from benchmarks.load.throng import is_refusal

ANSWER_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 158\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST = messages.FIRST_CALL + 1


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's socket, and the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def subject_at(sock: socket.socket) -> Any:
    """A subject that is reached through this socket."""
    return cast(Any, SimpleNamespace(port=1, fields=b"", connect=lambda: sock))


def answered(number: int) -> bytes:
    """The answer to a call, as it travels."""
    return ANSWER_HEAD + messages.answer(number)


# --- one call at a time ---------------------------------------------------------------------------------------------


def test_a_single_call_takes_the_time_until_its_answer(pair: tuple[socket.socket, socket.socket]) -> None:
    """The answer is read whole, and what the other end has got is the call."""
    ours, theirs = pair
    theirs.sendall(answered(FIRST))
    assert 0 < SingleCaller(ours, b"head ").call() < 5
    assert theirs.recv(1000) == b"head " + messages.call(FIRST)


def test_a_single_caller_finds_a_wrong_answer(pair: tuple[socket.socket, socket.socket]) -> None:
    """The time of somebody else's answer is no figure."""
    ours, theirs = pair
    theirs.sendall(answered(FIRST + 1))
    with pytest.raises(BrokenAnswer, match="was answered with"):
        SingleCaller(ours, b"").call()


def test_a_single_caller_finds_a_closed_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    """No answer takes no time at all, which would be the best figure of all."""
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenAnswer, match="closed before the answer"):
        SingleCaller(ours, b"").call()


# --- everything at once ---------------------------------------------------------------------------------------------


def test_an_event_says_how_long_it_was_under_way() -> None:
    """Each event in its turn is counted, with its delay."""
    delays_s: list[float] = []
    reader = StampedReader(delays_s)
    now_ns = time.monotonic_ns()
    reader.feed(STREAM_HEAD + messages.stamped_frame(0, now_ns - 1_000_000_000))
    reader.feed(messages.stamped_frame(1, now_ns))
    assert 1 <= delays_s[0] < 6
    assert 0 <= delays_s[1] < 5


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (messages.stamped_frame(2, 5), "event 1 was lost or overtaken by 2"),
        (messages.stamped_frame(0, 5), "event 0 came again or too late"),
        (messages.stamped_frame(1, 5).replace(b"x", b"y", 1), "event 1 was changed"),
        (messages.event_frame(1).replace(b"xx", b"x ", 1), "event 1 was changed"),
        (messages.stamped_frame(1, 10**19), "event 1 came before it was sent"),
    ],
    ids=["lost", "doubled", "changed", "without a stamp", "from the future"],
)
def test_a_stamped_event_that_is_not_as_it_was_sent_is_an_error(frame: bytes, complaint: str) -> None:
    """A stamp makes nothing less strict."""
    reader = StampedReader([])
    reader.feed(STREAM_HEAD + messages.stamped_frame(0, 5))
    with pytest.raises(BrokenAnswer, match=complaint):
        reader.feed(frame)


def test_a_call_that_must_wait_for_a_connection_counts_from_when_it_was_due(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Two calls on one connection: the second is sent when the first is answered, and its wait is the longer one."""
    ours, theirs = pair
    with contextlib.closing(Loop()) as loop:
        callers = PacedCallers(loop, subject_at(ours), 1)
        due_s = time.monotonic()
        callers.call(due_s)
        callers.call(due_s)
        assert theirs.recv(4096).count(b"POST ") == 1
        theirs.sendall(answered(FIRST))
        loop.turn(1.0)
        assert theirs.recv(4096).endswith(messages.call(FIRST + 1))
        assert callers.is_waiting
        theirs.sendall(answered(FIRST + 1))
        loop.turn(1.0)
    first_s, second_s = callers.waits_s
    assert 0 < first_s <= second_s
    assert not callers.is_waiting


@pytest.mark.parametrize("calls", [0, 1])
def test_a_paced_caller_finds_an_answer_that_is_not_its_own(
    pair: tuple[socket.socket, socket.socket], calls: int
) -> None:
    """Whether it waits for another one, or for none."""
    ours, theirs = pair
    with contextlib.closing(Loop()) as loop:
        callers = PacedCallers(loop, subject_at(ours), 1)
        for _ in range(calls):
            callers.call(time.monotonic())
        theirs.sendall(answered(FIRST + 7))
        with pytest.raises(BrokenAnswer, match="answer"):
            loop.turn(1.0)


@pytest.mark.parametrize(("body", "is_good"), [(messages.BLOCK, True), (messages.BLOCK[::-1], False)])
def test_a_large_body_is_fetched_whole_and_checked(
    pair: tuple[socket.socket, socket.socket], body: bytes, is_good: bool
) -> None:
    """A body that comes changed is none."""
    ours, theirs = pair
    theirs.setblocking(False)
    with contextlib.closing(Loop()) as loop:
        fetcher = Fetcher(loop, subject_at(ours), 1)
        fetcher.fetch()
        unsent = memoryview(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        with contextlib.nullcontext() if is_good else pytest.raises(BrokenAnswer, match="came changed"):
            while unsent or fetcher.left_bytes:
                with contextlib.suppress(BlockingIOError):
                    unsent = unsent[theirs.send(unsent) :]
                loop.turn(1.0)
    assert fetcher.fetched == int(is_good)


# --- too much -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable"])
def test_a_refusal_is_one_when_it_is_whole(status: bytes) -> None:
    """Whoever is refused may use the connection again, and so must have read all."""
    refusal = b"HTTP/1.1 %b\r\nRetry-After: 1\r\nContent-Length: 5\r\n\r\nlater" % status
    assert [is_refusal(refusal[:end]) for end in range(len(refusal))] == [False] * len(refusal)
    assert is_refusal(refusal)


@pytest.mark.parametrize("head", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0", b"HTTP/1.1 503 No", b"SSH-2.0-x"])
def test_whatever_else_comes_is_an_error(head: bytes) -> None:
    """Too much to do is no excuse for another answer, or for one without an end."""
    with pytest.raises(BrokenAnswer, match="neither answered nor refused"):
        is_refusal(head + b"\r\n\r\n")
