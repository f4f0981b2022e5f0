"""Collecting the first event of a stream, rewriting its data, and where events end."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.wire.sse import (
    FIRST_EVENT_LIMIT_BYTES,
    KEEPALIVE,
    Event,
    FirstEvent,
    FirstEventState,
    ends_event,
    rewritten,
)

NEEDS_MORE, COMPLETE, TOO_LARGE = FirstEventState

# Whole lines in every form, and stray bytes between them.
pieces = st.sampled_from(
    b"event: endpoint|event:endpoint|event: message|event|data: /message?s=1|data:/m|data: |data|data:  x|"
    b"id: 7|retry: 500|: ping|:|x\xc3\xa9|\xef\xbb\xbf".split(b"|")
)
line_ends = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r"])
streams = st.lists(st.one_of(pieces, line_ends), max_size=14).map(b"".join)


def _collect(chunks: list[bytes], limit_bytes: int = FIRST_EVENT_LIMIT_BYTES) -> tuple[FirstEvent, bytes]:
    """Feed chunks until the state is final; give the collector and what was not fed any more."""
    collector = FirstEvent(limit_bytes)
    for count, chunk in enumerate(chunks, 1):
        if collector.feed(chunk) is not NEEDS_MORE:
            return collector, b"".join(chunks[count:])
    return collector, b""


def _complete(stream: bytes) -> FirstEvent:
    collector = FirstEvent()
    assert collector.feed(stream) is COMPLETE
    return collector


def _split(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


def _client_events(stream: bytes) -> list[Event]:
    """Read a whole stream as a client does, by the words of the standard and without any cleverness."""
    events = []
    name, data = b"", b""
    for line in re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if field == b"event":
            name = value
        elif field == b"data":
            data += value + b"\n"
        if not line:
            if data:
                events.append(Event(name or b"message", data[:-1]))
            name, data = b"", b""
    return events


# -- collecting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"event: endpoint", b"data: /message?s=1"], Event(b"endpoint", b"/message?s=1")),
        ([b"event:endpoint", b"data:/message"], Event(b"endpoint", b"/message")),
        ([b"data: /message", b"event: endpoint"], Event(b"endpoint", b"/message")),
        ([b"\xef\xbb\xbfevent: endpoint", b"data: /m"], Event(b"endpoint", b"/m")),
        ([b": hello", b":", b"", b"", b"event: endpoint", b"data: /m"], Event(b"endpoint", b"/m")),
        ([b"retry: 10", b"", b"id: 3", b"", b"event: ping", b"", b"data: x"], Event(b"message", b"x")),
        ([b"id: 0", b"data: "], Event(b"message", b"")),
        ([b"id: 0", b"retry: 500", b"data:"], Event(b"message", b"")),
        ([b"id: 0", b"data"], Event(b"message", b"")),
        ([b"event: endpoint"], Event(b"endpoint", b"")),
        ([b"event: endpoint", b"event: message", b"data: x"], Event(b"message", b"x")),
        ([b"event:  endpoint", b"data:  two"], Event(b" endpoint", b" two")),
        ([b"data: a", b"data: b", b"data"], Event(b"message", b"a\nb\n")),
        ([b"Event: endpoint", b"eventx: endpoint", b" data: no", b"data: yes"], Event(b"message", b"yes")),
    ],
)
def test_the_first_event_is_read_with_every_line_end(line_end: bytes, lines: list[bytes], expected: Event) -> None:
    """Comments, blank lines and blocks that dispatch nothing may come first; the event is still found."""
    stream = line_end.join([*lines, b"", b""])
    collector = _complete(stream)
    assert collector.event == expected
    assert collector.raw + collector.rest == stream
    assert collector.rest in (b"", b"\n")


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\xef\xbb\xbf",
        b": ping\n\n: ping\n\n",
        b"id: 3\nretry: 5\n\n",
        b"event: message\n\n",
        b"event: endpoint\ndata: /m\n",
        b"event: endpoint\r\ndata: /m\r\n",
        b"event: endpoint\rdata: /m\r",
        b"event: endpoint\ndata: /m",
    ],
)
def test_a_stream_without_a_whole_event_is_waited_for_and_kept(stream: bytes) -> None:
    """As long as no event is there nothing is invented and nothing lost."""
    collector = FirstEvent()
    assert collector.feed(stream) is NEEDS_MORE
    assert collector.held == stream
    with pytest.raises(RuntimeError):
        _ = collector.event
    with pytest.raises(RuntimeError):
        rewritten(collector, b"/x")


def test_what_follows_the_first_event_is_the_rest() -> None:
    """Bytes that came along with the first event are handed on, not looked at."""
    collector = _complete(b"event: endpoint\ndata: /m\n\ndata: second\n\n\x00\xff")
    assert collector.raw == b"event: endpoint\ndata: /m\n\n"
    assert collector.rest == b"data: second\n\n\x00\xff"


@pytest.mark.parametrize(
    "stream", [b"event: endpoint\r\ndata: /m\r\n\r", b"event: endpoint\rdata: /m\r\r", b"data: /m\n\r"]
)
def test_a_carriage_return_at_the_end_does_not_delay_the_event(stream: bytes) -> None:
    """The event is there with the CR; a line feed behind it is sent on with whatever follows."""
    assert _complete(stream).rest == b""
    both = _complete(stream + b"\n")
    assert (both.raw, both.rest) == (stream, b"\n")


def test_a_collector_that_is_done_takes_no_more() -> None:
    """Feeding on would lose bytes silently, so it is an error."""
    collector = _complete(b"data: x\n\n")
    with pytest.raises(RuntimeError):
        collector.feed(b"data: y\n\n")


@given(streams, st.lists(st.integers(0, 1000), max_size=6))
def test_any_split_of_a_stream_gives_the_same_first_event(stream: bytes, cuts: list[int]) -> None:
    """However the network cuts a stream, state, event, its bytes and what follows are the same."""
    whole, _ = _collect([stream])
    pieced, unfed = _collect(_split(stream, cuts))
    assert pieced.state is whole.state
    assert (pieced.raw, pieced.rest + unfed) == (whole.raw, whole.rest)
    if whole.state is COMPLETE:
        assert pieced.event == whole.event
        assert pieced.block() == whole.block()


@given(streams)
def test_a_stream_byte_by_byte_gives_the_same_first_event(stream: bytes) -> None:
    """One byte at a time is no different, line ends included."""
    whole, _ = _collect([stream])
    pieced, unfed = _collect([stream[at : at + 1] for at in range(len(stream))])
    assert (pieced.state, pieced.raw, pieced.rest + unfed) == (whole.state, whole.raw, whole.rest)


@given(streams)
def test_the_first_event_is_the_first_a_client_sees(stream: bytes) -> None:
    """A reader that follows the standard word by word sees the same first event in the collected bytes."""
    collector, _ = _collect([stream])
    seen = _client_events(stream)
    if collector.state is NEEDS_MORE:
        assert not seen
    elif re.search(rb"(?m)^data[:\r\n]", collector.block()[1].replace(b"\r", b"\n")):
        assert _client_events(collector.raw) == [collector.event] == seen[:1]
    else:
        assert collector.event == (b"endpoint", b"")


# -- the bound -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_an_event_that_just_fits_is_taken(line_end: bytes) -> None:
    """The bound counts every byte up to the end of the blank line; one more is too many."""
    event = b"data: /m" + 2 * line_end
    assert FirstEvent(len(event)).feed(event + b"more") is COMPLETE
    assert FirstEvent(len(event) - 1).feed(event + b"more") is TOO_LARGE


def test_a_stream_without_end_is_not_collected_for_ever() -> None:
    """Comments without an event stop at 64 KiB, and what was held can still be sent on."""
    collector = FirstEvent()
    stream = b": nothing yet\n" * 5000
    assert collector.feed(stream[:65535]) is NEEDS_MORE
    assert collector.feed(stream[65535:65536]) is TOO_LARGE
    assert collector.held == stream[:65536]


@given(streams, st.integers(1, 60), st.lists(st.integers(0, 1000), max_size=6))
def test_the_bound_holds_for_any_split(stream: bytes, limit_bytes: int, cuts: list[int]) -> None:
    """Whether a stream is too large does not depend on how it is cut either."""
    whole, _ = _collect([stream], limit_bytes)
    pieced, unfed = _collect(_split(stream, cuts), limit_bytes)
    assert pieced.state is whole.state
    assert pieced.held + unfed == stream
    if whole.state is COMPLETE:
        assert pieced.raw == whole.raw
        assert len(whole.raw) <= limit_bytes


# -- rewriting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"event: endpoint\ndata: /m\n\n", b"event: endpoint\ndata: /NEW\n\n"),
        (b"event:endpoint\r\ndata:/m\r\n\r", b"event:endpoint\r\ndata:/NEW\r\n\r"),
        (b"event: endpoint\rdata: /m\r\r", b"event: endpoint\rdata: /NEW\r\r"),
        (
            b"\xef\xbb\xbf: data: a\r\nid:1\rretry:  5\n\n:c\ndata: /m\r\n:d\nevent: endpoint\rx\n\n",
            b"\xef\xbb\xbf: data: a\r\nid:1\rretry:  5\n\n:c\ndata: /NEW\r\n:d\nevent: endpoint\rx\n\n",
        ),
        (b"\xef\xbb\xbfdata: /m\nevent: endpoint\n\n", b"\xef\xbb\xbfdata: /NEW\nevent: endpoint\n\n"),
        (b"id: 1\r\n\r\nevent: endpoint\ndata\n\n", b"id: 1\r\n\r\nevent: endpoint\ndata:/NEW\n\n"),
        (b"event: endpoint\ndata: /a\nid: 2\ndata: /b\n\n", b"event: endpoint\ndata: /NEW\nid: 2\n:\n\n"),
        (b"event: endpoint\rdata: /a\rdata: /b\n\n", b"event: endpoint\rdata: /NEW\r:\n\n"),
        (b"event: endpoint\nid: 1\n\n", b"event: endpoint\nid: 1\n\n"),
    ],
)
def test_only_the_data_of_the_first_event_is_replaced(stream: bytes, expected: bytes) -> None:
    """Comments, ids, retry times and line ends of every kind stay as the server wrote them."""
    assert rewritten(_complete(stream), b"/NEW") == expected


@given(streams, st.sampled_from([b"/mcp/x/message?s=1", b"", b" spaced", b"a: b"]), line_ends)
def test_a_rewritten_event_is_read_with_the_new_data(stream: bytes, new_data: bytes, line_end: bytes) -> None:
    """A client of the rewritten bytes sees the same event with the new data, and everything behind it."""
    collector, _ = _collect([stream + line_end + b"data: last\n\n"])
    changed = rewritten(collector, new_data)
    if not _client_events(collector.raw):
        assert changed == collector.raw  # an endpoint without a data line
        return
    assert _client_events(changed) == [Event(collector.event.name, new_data)]
    assert _client_events(changed + collector.rest)[1:] == _client_events(collector.raw + collector.rest)[1:]


def test_new_data_that_begins_with_a_space_keeps_it() -> None:
    """A client takes one space off behind the colon; the value's own space is not that one."""
    assert rewritten(_complete(b"data:x\n\n"), b" y") == b"data:  y\n\n"


@pytest.mark.parametrize("new_data", [b"/a\n/b", b"/a\r", b"\n\ndata: forged"])
def test_new_data_cannot_bring_in_lines(new_data: bytes) -> None:
    """A value with a line end in it would forge an event, so it is refused."""
    with pytest.raises(ValueError):
        rewritten(_complete(b"data: x\n\n"), new_data)


# -- where events end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"", b"ta\n\n", b"\r\n\r\n", b"ta\r\r", b"a\n\r\n", b"a\r\r\n", b"a\r\n\r", b"\n\n"])
def test_a_stream_that_ends_with_a_blank_line_stands_between_events(tail: bytes) -> None:
    """LF, CRLF, CR and mixtures of them end an event; so does the start of the stream."""
    assert ends_event(tail)


@pytest.mark.parametrize("tail", [b"data", b"ata\n", b"ta\r\n", b"ata\r", b"\n\na", b"\r\n:", b"\r\n", b"x"])
def test_a_stream_inside_an_event_is_not_between_events(tail: bytes) -> None:
    """One line end alone, or a line that has begun, is the middle of an event."""
    assert not ends_event(tail)


@given(streams, st.lists(st.integers(0, 1000), max_size=6))
def test_a_keepalive_between_events_changes_nothing_for_a_client(stream: bytes, cuts: list[int]) -> None:
    """Put in wherever an event has ended, keep-alive comments never change what a client reads."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")  # in front of a byte order mark nothing may be put
    sent = b""
    for chunk in _split(stream, cuts):
        sent += chunk
        if ends_event(sent[-4:]):
            sent += KEEPALIVE
    assert _client_events(sent) == _client_events(stream)
