"""benchmarks.answers: what was delivered wrongly never becomes a figure."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import answers, messages

ANSWER_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 158\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nTransfer-Encoding: chunked\r\n\r\n"


def opened() -> answers.EventReader:
    """Return a reader that has had its head and event 0."""
    reader = answers.EventReader()
    assert reader.feed(STREAM_HEAD + messages.event_frame(0)) == 1
    return reader


def chunked(payload: bytes, size_bytes: int) -> bytes:
    """Return ``payload`` in chunks of at most ``size_bytes``."""
    pieces = [payload[at : at + size_bytes] for at in range(0, len(payload), size_bytes)]
    return b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def test_an_answer_may_come_in_pieces() -> None:
    """A call is answered when the last byte is there, and not before."""
    whole = ANSWER_HEAD + messages.answer(messages.FIRST_CALL)
    for end in (5, 60, len(whole) - 1):
        assert not answers.is_whole_answer(whole[:end], messages.FIRST_CALL)
    assert answers.is_whole_answer(whole, messages.FIRST_CALL)


def test_an_answer_to_somebody_elses_call_is_an_error() -> None:
    """Answers given to the wrong caller are found."""
    with pytest.raises(answers.BrokenAnswer, match="was answered with"):
        answers.is_whole_answer(ANSWER_HEAD + messages.answer(messages.FIRST_CALL + 1), messages.FIRST_CALL)


def test_an_error_status_is_an_error() -> None:
    """A subject that refuses quickly has not answered cheaply."""
    with pytest.raises(answers.BrokenAnswer, match="expected 200"):
        answers.is_whole_answer(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", messages.FIRST_CALL)


def test_events_in_their_turn_are_counted() -> None:
    """Events that come one by one or several at once are all counted."""
    reader = opened()
    assert reader.feed(messages.event_frame(1)) == 1
    assert reader.feed(messages.event_frame(2) + messages.event_frame(3)) == 2


@given(size_bytes=st.integers(1, 400), cuts=st.lists(st.integers(0, 1200), max_size=8))
def test_any_chunking_and_any_split_gives_the_same_events(size_bytes: int, cuts: list[int]) -> None:
    """A proxy may cut chunks anew, and the network may cut anywhere."""
    sent = STREAM_HEAD + chunked(b"".join(messages.event(number) for number in range(5)), size_bytes)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
    reader = answers.EventReader()
    counted = sum(reader.feed(sent[start:end]) for start, end in itertools.pairwise(bounds))
    assert (counted, reader.expected) == (5, 5)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ((2,), "event 1 was lost or overtaken by 2"),
        ((1, 1), "event 1 came again or too late, 2 was due"),
        ((2, 1), "event 1 was lost or overtaken by 2"),
        ((1, 0), "event 0 came again or too late, 2 was due"),
    ],
    ids=["lost", "doubled", "reordered", "late"],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_event_out_of_turn_is_an_error(frames: tuple[int, ...], complaint: str, together: bool) -> None:
    """A lost, doubled or reordered event is found, whether it comes alone or with others."""
    reader = opened()
    sent = [messages.event_frame(number) for number in frames]
    with pytest.raises(answers.BrokenAnswer, match=complaint):
        list(map(reader.feed, [b"".join(sent)] if together else sent))


def test_a_changed_event_is_an_error() -> None:
    """Every byte of an event counts."""
    with pytest.raises(answers.BrokenAnswer, match="event 1 was changed"):
        opened().feed(messages.event_frame(1).replace(b"x", b"y", 1))


def test_an_ended_stream_is_an_error() -> None:
    """A stream that ends in the middle of the measurement would make everything after it free."""
    with pytest.raises(answers.BrokenAnswer, match="ended before event 1"):
        opened().feed(b"0\r\n\r\n")


def test_a_stream_without_chunks_is_an_error() -> None:
    """Only a chunked stream can be told from a broken connection."""
    with pytest.raises(answers.BrokenAnswer, match="in chunks"):
        answers.EventReader().feed(b"HTTP/1.1 200 OK\r\n\r\n")
