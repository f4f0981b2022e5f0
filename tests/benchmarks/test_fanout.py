"""benchmarks.questions.fanout: an event that is lost, repeated or overtaken is an error, never a figure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.answers import BrokenAnswer
from benchmarks.questions.fanout import FeedReader, Told, check_same
from mcpgate.downstream.ring import word
from mcpgate.wire.chunks import chunk

_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(number: int) -> bytes:
    return b'id: %d\nevent: added\ndata: {"name":"x"}\n\n' % number


def _reader(*pieces: bytes) -> FeedReader:
    reader = FeedReader({})
    reader.feed(_HEAD + b"".join(map(chunk, pieces)))
    return reader


@given(st.lists(st.integers(1, 60), max_size=12))
def test_events_are_counted_however_they_arrive(cuts: list[int]) -> None:
    """Cut anywhere, a feed is the same; comments and the time to wait are no events."""
    sent = _HEAD + chunk(b"retry: 2000\n\n" + word(b"ready", 5)) + chunk(b": keep-alive\n\n") + chunk(_event(6))
    reader, at = FeedReader({}), 0
    found: list[Told] = []
    for cut in [*cuts, len(sent)]:
        found += reader.feed(sent[at : at + cut])
        at += cut
    assert reader.told == found == [Told(5, "ready"), Told(6, "added")]


@pytest.mark.parametrize("numbers", [(5, 5), (5, 7, 6)])
def test_an_event_again_or_too_late_is_an_error(numbers: tuple[int, ...]) -> None:
    """Ids grow."""
    with pytest.raises(BrokenAnswer, match="came after"):
        _reader(*map(_event, numbers))


@pytest.mark.parametrize("piece", [b"id: 5\nevent: added\n\n", b"event: added\ndata: {}\n\n", b"data: {}\n\n"])
def test_what_is_no_event_of_ours_is_an_error(piece: bytes) -> None:
    """Each has an id, a name and a text."""
    with pytest.raises(BrokenAnswer, match="not an event"):
        _reader(piece)


def test_a_feed_that_ends_is_an_error() -> None:
    """Nobody was cut."""
    with pytest.raises(BrokenAnswer, match="ended"):
        FeedReader({}).feed(_HEAD + chunk(_event(1)) + b"0\r\n\r\n")


def test_a_lost_event_is_an_error() -> None:
    """Whoever came late need not have what was before, but everything after."""
    early = _reader(_event(1), _event(2), _event(3), _event(4))
    late = _reader(_event(2), _event(3), _event(4))
    assert check_same([early, late]) == 4
    with pytest.raises(BrokenAnswer, match="different stories"):
        check_same([early, _reader(_event(2), _event(4))])
