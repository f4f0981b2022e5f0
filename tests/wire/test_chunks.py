"""Chunked bodies: the payload, the exact last byte, and nothing that two readers could read in two ways."""

from __future__ import annotations

from dataclasses import dataclass

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.strategies import PURE, broken, cuts, split

from mcpgate.wire.chunks import LAST_CHUNK, BrokenFraming, ChunkReader, chunk

NEXT = b"GET /next HTTP/1.1\r\n\r\n"


@dataclass(frozen=True)
class Coded:
    """A body as it is sent, and what it says."""

    wire: bytes
    payload: bytes


_payloads = st.lists(st.one_of(st.binary(min_size=1, max_size=5), st.binary(min_size=10, max_size=40)), max_size=5)
_sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"%016x"])
_extensions = st.sampled_from([b"", b"", b"", b";", b";a", b' ; a="b; c"', b"\t;a=b;c"])
_trailers = st.sampled_from([b"", b"", b"A: b\r\n", b"A: b\r\nX-Y:\r\nz: \xc3\xa9\r\n"])
_plain = _payloads.map(lambda pieces: Coded(b"".join(map(chunk, pieces)), b"".join(pieces)))


@st.composite
def _bodies(draw: st.DrawFn) -> Coded:
    """Whole bodies in every form that the grammar allows."""
    pieces = draw(_payloads)
    lines = [(draw(_sizes) % len(piece)) + draw(_extensions) for piece in pieces]
    chunks = [line + b"\r\n" + piece + b"\r\n" for line, piece in zip(lines, pieces, strict=True)]
    last = draw(st.sampled_from([b"0", b"00000", b"0;a=b", b"0 ;a"]))
    return Coded(b"".join(chunks) + last + b"\r\n" + draw(_trailers) + b"\r\n", b"".join(pieces))


def _fed(*pieces: bytes) -> tuple[ChunkReader, bytes]:
    """A reader that was fed, and the payload that it gave."""
    reader = ChunkReader()
    payload = b""
    for piece in pieces:
        got = reader.feed(piece)
        assert all(got)
        payload += b"".join(got)
    return reader, payload


def _state(reader: ChunkReader) -> tuple[object, ...]:
    """Everything by which a caller can tell two readers apart, but for how they were read."""
    return repr(reader), reader.done, reader.is_between_chunks, reader.tail, reader.rest


# --- good bodies --------------------------------------------------------------------------------------------------


@PURE
@given(body=_bodies(), rest=st.sampled_from([b"", b"\r\n", NEXT]), places=cuts)
def test_a_body_is_the_same_however_it_is_split(body: Coded, rest: bytes, places: list[int]) -> None:
    """Its payload, its last bytes, and to the byte what came behind it."""
    wire = body.wire + rest
    for pieces in ([wire], split(wire, places), [wire[at : at + 1] for at in range(len(wire))]):
        reader, payload = _fed(*pieces)
        assert payload == body.payload
        assert reader.done
        assert not reader.is_between_chunks
        assert reader.rest == rest
        assert reader.tail == body.payload[-4:]
        assert reader.followed_bytes == 0


@PURE
@given(body=_bodies(), place=st.integers(0, 300))
def test_a_body_is_not_over_before_its_last_byte(body: Coded, place: int) -> None:
    """What is missing is missed, wherever it was cut."""
    cut = body.wire[: place % len(body.wire)]
    reader, payload = _fed(cut)
    assert not reader.done
    assert body.payload.startswith(payload)


@pytest.mark.parametrize(
    ("wire", "between"),
    [
        (b"", True),
        (b"3", False),
        (b"3\r\n", False),
        (b"3\r\nab", False),
        (b"3\r\nabc", False),
        (b"3\r\nabc\r", False),
        (b"3\r\nabc\r\n", True),
        (b"3\r\nabc\r\n0", False),
        (b"3\r\nabc\r\n0\r\n", False),
        (b"3\r\nabc\r\n0\r\n\r\n", False),
    ],
)
def test_a_chunk_of_our_own_fits_between_two_chunks_only(wire: bytes, between: bool) -> None:
    """Elsewhere it would become part of what the server said."""
    assert _fed(wire)[0].is_between_chunks is between


def test_a_written_chunk_is_read_back() -> None:
    """The size in hexadecimal, without zeros before it."""
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
    assert _fed(chunk(b"abc") + LAST_CHUNK)[1] == b"abc"


# --- broken bodies ------------------------------------------------------------------------------------------------

_BROKEN = [
    b"-5\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b"0X5\r\nhello\r\n",
    b"5_0\r\nhello\r\n",
    b"5 \r\nhello\r\n",
    b"5\t\r\nhello\r\n",
    b" 5\r\nhello\r\n",
    b"\r\n5\r\nhello\r\n",
    b"5\x00\r\nhello\r\n",
    b"5\x0b\r\nhello\r\n",
    b"5,5\r\nhello\r\n",
    b"5h\r\nhello\r\n",
    b"5.0\r\nhello\r\n",
    b"\xd9\xa5\r\nhello\r\n",
    b";a\r\nhello\r\n",
    b" ;a\r\nhello\r\n",
    b"00000000000000005\r\nhello\r\n",
    b"fffffffffffffffff\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"5\n\r\nhello\r\n",
    b"5\r\r\nhello\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"5\r\nhello\n\r0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\rX0\r\n\r\n",
    b"4\r\nhello\r\n0\r\n\r\n",
    b"6\r\nhello\r\n0\r\n\r\n",
    b"5;a\x00\r\nhello\r\n",
    b"5;a\rb\r\nhello\r\n",
    b"5;a\nb\r\nhello\r\n",
    b"5;a\x7f\r\nhello\r\n",
    b"5;a\x80\r\nhello\r\n",
    b"5;" + b"a" * 300 + b"\r\nhello\r\n",
    b"5;" + b"a" * 300,
    b"0" * 300,
    b"GET / HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("wire", _BROKEN)
def test_a_broken_chunk_is_refused(wire: bytes) -> None:
    """However it is split; nothing of it is made to look like the end of a body."""
    for before in (b"", b"3\r\nabc\r\n"):
        for pieces in ([before + wire], [before, wire], [bytes([byte]) for byte in before + wire]):
            with pytest.raises(BrokenFraming):
                _fed(*pieces)


@pytest.mark.parametrize(
    "trailer",
    [
        b"A: b\nC: d\r\n\r\n",
        b"\nGET /hidden HTTP/1.1\r\n\r\n",
        b"A: b\rC: d\r\n\r\n",
        b"A: b\x00\r\n\r\n",
        b"A\r\n\r\n",
        b"A : b\r\n\r\n",
        b": b\r\n\r\n",
        b" A: b\r\n\r\n",
        b"A: b\r\n c\r\n\r\n",
        b"A\x00: b\r\n\r\n",
    ],
)
def test_a_broken_trailer_is_refused(trailer: bytes) -> None:
    """A proxy before us that ends lines in LF would see another end of the body, and a request behind it."""
    for last in (b"0\r\n", b"3\r\nabc\r\n0\r\n"):
        for pieces in ([last + trailer], [last, trailer], [bytes([byte]) for byte in last + trailer]):
            with pytest.raises(BrokenFraming):
                _fed(*pieces)


@pytest.mark.parametrize(("extra", "refused"), [(0, False), (1, True), (5000, True)])
def test_a_chunk_line_and_a_trailer_have_bounds(extra: int, refused: bool) -> None:
    """Else a body of lines could go on for ever, none of them payload."""
    line = b"3;" + b"a" * (252 + extra) + b"\r\nabc\r\n"  # 256 bytes
    trailer = b"0\r\n" + b"A: b\r\n" * 1364 + b"A: " + b"b" * (1 + extra) + b"\r\n\r\n"  # 8192 bytes
    for wire in (line, trailer):
        for pieces in ([wire], split(wire, list(range(0, len(wire), 100)))):
            if refused:
                with pytest.raises(BrokenFraming):
                    _fed(*pieces)
            else:
                _fed(*pieces)


def test_framing_may_cost_a_few_times_what_it_carries() -> None:
    """One-byte chunks pass for ever; with a long extension each, they are an attack on the reader's time."""
    assert _fed(b"1\r\na\r\n" * 20_000 + LAST_CHUNK)[1] == b"a" * 20_000
    assert _fed((b"40;" + b"a" * 200 + b"\r\n" + b"b" * 64 + b"\r\n") * 200)[1] == b"b" * 12_800
    with pytest.raises(BrokenFraming, match="cost"):
        _fed((b"1;" + b"a" * 200 + b"\r\nb\r\n") * 200)


@pytest.mark.parametrize("letters", range(120, 150, 2))
def test_the_cost_of_framing_is_the_same_however_it_is_split(letters: int) -> None:
    """Around the bound itself: a chunk that is all here costs as much as one that comes in pieces."""
    dear = (b"1;" + b"a" * 200 + b"\r\nb\r\n") * 82 + b"1;" + b"a" * letters + b"\r\nb\r\n"
    wire = dear + b"0000000000000002\r\nbc\r\n"
    verdicts = []
    for pieces in ([wire], split(wire, list(range(0, len(wire), 3))), [bytes([byte]) for byte in wire]):
        try:
            verdicts.append(_fed(*pieces)[1])
        except BrokenFraming:
            verdicts.append(b"refused")
    assert len(set(verdicts)) == 1


# --- passing on as it came ----------------------------------------------------------------------------------------


@PURE
@given(
    before=_plain,
    data=st.one_of(_plain.map(lambda body: body.wire), _bodies().map(lambda body: body.wire)),
    more=_bodies(),
)
@example(before=Coded(chunk(b"data: x"), b"data: x"), data=chunk(b"\n"), more=Coded(LAST_CHUNK, b""))
@example(before=Coded(chunk(b"abcd"), b"abcd"), data=b"", more=Coded(LAST_CHUNK, b""))
def test_following_is_feeding(before: Coded, data: bytes, more: Coded) -> None:
    """Where whole plain chunks come, following leaves the reader as feeding would; elsewhere it changes nothing."""
    follower, feeder = _fed(before.wire)[0], _fed(before.wire)[0]
    if follower.follow(data):
        payload = b"".join(feeder.feed(data))
        assert follower.followed_bytes == len(payload)
    else:
        assert follower.feed(data) == feeder.feed(data)
        assert follower.followed_bytes == 0
    assert _state(follower) == _state(feeder)
    if not follower.done:
        assert follower.feed(more.wire) == feeder.feed(more.wire)
        assert _state(follower) == _state(feeder)


@PURE
@given(raw=broken(st.one_of(_plain, _bodies()).map(lambda body: body.wire)))
def test_only_whole_plain_chunks_are_followed(raw: bytes) -> None:
    """What feeding would refuse, cut, or find an end in does not pass unread to the client."""
    follower = ChunkReader()
    if follower.follow(raw):
        feeder, payload = _fed(raw)
        assert feeder.is_between_chunks
        assert follower.followed_bytes == len(payload)
        assert _state(follower) == _state(feeder)


@PURE
@given(body=_bodies(), rest=st.sampled_from([b"", NEXT]), places=cuts)
def test_a_body_followed_where_possible_ends_as_a_fed_one(body: Coded, rest: bytes, places: list[int]) -> None:
    """As an event stream is read: pieces are passed on if they are whole chunks, else taken apart."""
    reader, passed, payload = ChunkReader(), b"", b""
    for piece in split(body.wire + rest, places):
        if reader.follow(piece):
            passed += piece
            payload += _fed(piece)[1]
        else:
            payload += b"".join(reader.feed(piece))
    assert payload == body.payload
    assert reader.followed_bytes == len(_fed(passed)[1])
    assert (reader.done, reader.rest, reader.tail) == (True, rest, body.payload[-4:])


@pytest.mark.parametrize(
    ("before", "data"),
    [
        (b"", b""),
        (b"", b"0\r\n\r\n"),
        (b"", b"4\r\nabcd\r\n0\r\n\r\n"),
        (b"", b"4;a\r\nabcd\r\n"),
        (b"", b"4\r\nabcd\r"),
        (b"", b"4\r\nabcd"),
        (b"", b"4\r\nabcd\r\n4\r\nabc"),
        (b"", b"4\r\nabcd\r\n4"),
        (b"", b"4\r\nabcde\r\n"),
        (b"", b"4\r\nabcdXX"),
        (b"", b"4\r\nabcd\n\r"),
        (b"", b"4 \r\nabcd\r\n"),
        (b"", b"+4\r\nabcd\r\n"),
        (b"", b"0x4\r\nabcd\r\n"),
        (b"", b"4\nabcd\r\n"),
        (b"", b"\r\n4\r\nabcd\r\n"),
        (b"", b"00000000000000004\r\nabcd\r\n"),
        (b"", b"\r\n" + b"x" * 1500 + b"\r\n"),
        (b"", b"." * 1500 + b"\r\n"),
        (b"4", b"\r\nabcd\r\n"),
        (b"4\r\na", b"bcd\r\n"),
        (b"4\r\nabcd", b"\r\n"),
        (b"4\r\nabcd\r", b"\n"),
        (b"1", b"4\r\nabcd\r\n"),
        (b"9\r\n", b"4\r\nabcd\r\n"),
        (b"0\r\n", b"4\r\nabcd\r\n"),
        (b"0\r\n\r\n", b"4\r\nabcd\r\n"),
    ],
)
def test_what_is_not_whole_chunks_is_not_followed(before: bytes, data: bytes) -> None:
    """Ends, extensions, pieces of chunks, and whatever is broken."""
    reader = _fed(before)[0]
    state = _state(reader)
    assert not reader.follow(data)
    assert (_state(reader), reader.followed_bytes) == (state, 0)
    assert _fed(b"")[0].follow(b"0000000000000004\r\nabcd\r\n")  # all that is missing above


def test_events_are_followed() -> None:
    """The way of nearly every event: one whole chunk at a time, or several at once."""
    reader = ChunkReader()
    for data in (
        chunk(b"data: 1\n\n"),
        chunk(b"data: 2\n\n") + chunk(b"data: 3\r\n\r\n"),
        chunk(b"x" * 70_000 + b"\n\n"),
    ):
        assert reader.follow(data)
    assert reader.followed_bytes == 9 + 9 + 11 + 70_002
    assert reader.tail == b"xx\n\n"
    assert reader.is_between_chunks


# --- as h11 reads it ----------------------------------------------------------------------------------------------

#: What h11 takes and the gateway does not: a name for why, and a body.
STRICTER = {
    "blanks behind a size": b"3 \r\nabc\r\n0\r\n\r\n",
    "sizes of 17 digits": b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    "control bytes in extensions": b"3;\x01\r\nabc\r\n0\r\n\r\n",
    "bytes above ASCII in extensions": b"3;\xe9\r\nabc\r\n0\r\n\r\n",
    "CR in extensions": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "lines over 256 bytes": b"3;" + b"a" * 300 + b"\r\nabc\r\n0\r\n\r\n",
    "trailers that end in LF": b"3\r\nabc\r\n0\r\nA: b\nC: d\r\n\r\n",
    "folded trailers": b"3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n",
}
#: The other way round. RFC 9112 section 7.1.1 allows the blanks; trailers end here, so what they say is nothing.
LAXER = {
    "blanks before an extension": b"3 ;a\r\nabc\r\n0\r\n\r\n",
    "framing in trailers": b"3\r\nabc\r\n0\r\nTransfer-Encoding: gzip\r\nContent-Length: x\r\n\r\n",
}


def _by_h11(wire: bytes) -> tuple[bytes, bytes] | None:
    """Payload and rest as h11 reads them; ``None`` if it refuses, or waits."""
    connection = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    payload = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                payload += event.data
            elif isinstance(event, h11.EndOfMessage):
                return payload, connection.trailing_data[0]
            elif not isinstance(event, h11.Request):
                return None
    except h11.RemoteProtocolError:
        return None


@pytest.mark.parametrize("reason", STRICTER)
def test_the_gateway_is_stricter_than_h11(reason: str) -> None:
    """What is refused although another good parser takes it."""
    assert _by_h11(STRICTER[reason]) == (b"abc", b"")
    with pytest.raises(BrokenFraming):
        _fed(STRICTER[reason])


@pytest.mark.parametrize("reason", LAXER)
def test_h11_is_stricter_than_the_gateway(reason: str) -> None:
    """And the other way round."""
    assert _by_h11(LAXER[reason]) is None
    assert _fed(LAXER[reason])[1] == b"abc"


@PURE
@given(wire=st.one_of(broken(_bodies().map(lambda body: body.wire)), _bodies().map(lambda body: body.wire)))
@example(wire=b"0\r\nA: b\n\nGET / HTTP/1.1\r\n\r\n")
def test_h11_reads_every_accepted_body_alike(wire: bytes) -> None:
    """Good bodies and broken ones: the same payload, and the same bytes behind its end."""
    try:
        reader, payload = _fed(wire + NEXT)
    except BrokenFraming:
        return
    if reader.done and b" ;" not in wire and b"\t;" not in wire:
        assert _by_h11(wire + NEXT) == (payload, reader.rest)
