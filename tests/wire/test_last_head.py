"""A head that comes again on its connection is recognised, and never taken for another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE, answer_heads, broken, cuts, request_heads

from mcpgate.errors import GatewayError
from mcpgate.wire.http1 import AnswerHead, HeadLimits, RequestHead, parse_answer, parse_request
from mcpgate.wire.last_head import LastHead

LIMITS = HeadLimits(max_bytes=32 * 1024, max_fields=100)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
Head = RequestHead | AnswerHead


def _request(raw: bytes) -> RequestHead:
    return parse_request(raw, LIMITS)


def _answer(raw: bytes) -> AnswerHead:
    return parse_answer(raw, LIMITS)


_heads = st.one_of(request_heads(), answer_heads()).map(lambda spoken: spoken.raw)
#: What may stand behind the colon: some are lengths, the others would be to a careless reader.
_LENGTHS = [
    b"0", b"5", b"05", b"1234567890123456", b"0000000000000005", b"12345678901234567", b"0" * 16 + b"5", b"9" * 5000,
    b"", b"5 ", b" 5", b"5\t", b"+5", b"-5", b"5_0", b"0x5", b"5,5", b"5, 5", b"5.0", b"1e3", b"5;", b"5\x00", b"5\x0b",
    b"\xd9\xa5",
]  # fmt: skip
_OTHER_LINES = st.sampled_from(
    [
        b"", b"", b"A: b\r\n", b"Accept: a\r\nAccept: b\r\n", b"X: Content-Length: 5\r\n", b"Content-Length\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: Content-Length\r\n",
        b"X:\r\n Content-Length: 5\r\n", b"Content-Length: 5\r\n", b"content-length: 5\r\n",
    ]
)  # fmt: skip
_LENGTH_NAMES = st.sampled_from(
    [b"Content-Length: "] * 3
    + [b"content-length: "] * 2
    + [b"CONTENT-LENGTH: ", b"Content-length: ", b"Content-Length:", b"Content-Length:  ", b"Content-Length:\t"]
    + [b"X-Content-Length: ", b"X: Content-Length: ", b"Content-Length : ", b"Content_Length: "]
)


@st.composite
def _repeating(draw: st.DrawFn, starts: list[bytes]) -> list[bytes]:
    """Heads as one connection could carry them: mostly the same but for their length, now and then another."""
    raws = []
    start, name, before, after = b"", b"", b"", b""
    for number in range(draw(st.integers(2, 5))):
        if number == 0 or draw(st.integers(0, 4)) == 0:
            start, name = draw(st.sampled_from(starts)), draw(_LENGTH_NAMES)
            before, after = draw(_OTHER_LINES), draw(_OTHER_LINES)
        length = name + draw(st.sampled_from(_LENGTHS)) + b"\r\n" if draw(st.integers(0, 9)) else b""
        raws.append(start + b"\r\n" + before + length + after + b"\r\n")
    return raws


def _without_length(head: Head) -> Head:
    """``noted`` keeps the length of the first head; everybody reads ``content_length``."""
    return replace(head, noted={name: value for name, value in head.noted.items() if name != b"content-length"})


def _compare_with_memory(pieces: list[bytes], last: LastHead[Any], parse: Callable[[bytes], Head]) -> None:
    for piece in pieces:
        start, end, _ = piece.partition(b"\r\n\r\n")
        raw = start + end  # a caller cuts heads before it looks at them
        if not end:
            continue
        try:
            fresh = parse(raw)
        except GatewayError:
            assert last.recall(raw) is None
            assert last.repeats(raw) is None
            continue
        recalled, repeated = last.recall(raw), last.repeats(raw + b"{}")
        for head in (recalled, repeated):
            assert head is None or _without_length(head) == _without_length(fresh)
        assert repeated is None or last.raw_bytes == len(raw)
        last.note(raw, recalled or fresh)
        kept = len(raw) <= 4096
        assert last.repeats(raw + b"NEXT") is ((recalled or fresh) if kept else None)


@PURE
@given(raws=_repeating([b"POST / HTTP/1.1\r\nHost: x"] * 4 + [b"POST / HTTP/1.0", b"GET / HTTP/1.1\r\nHost: x"]))
def test_a_recalled_request_is_the_parsed_one(raws: list[bytes]) -> None:
    """For any heads in a row, and never for one that would have been refused."""
    _compare_with_memory(raws, LastHead(), _request)


@PURE
@given(raws=_repeating([b"HTTP/1.1 200 OK"] * 4 + [b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b"]))
def test_a_recalled_answer_is_the_parsed_one(raws: list[bytes]) -> None:
    """Likewise for what servers send."""
    _compare_with_memory(raws, LastHead(), _answer)


@PURE
@given(raws=st.lists(st.one_of(_heads, broken(_heads)), min_size=1, max_size=3), places=cuts)
def test_a_head_is_recalled_only_for_what_equals_it(raws: list[bytes], places: list[int]) -> None:
    """Any head, with any digits in the place of its length, against parsing it anew."""
    for raw in raws:
        parse: Callable[[bytes], Head] = _answer if raw.startswith(b"HTTP/") else _request
        again = [raw]
        for place in places:
            again.append(raw.replace(b": 5", b": %d" % place))
            again.append(raw[: place % len(raw)] + b"5" + raw[place % len(raw) :])
        _compare_with_memory(again, LastHead(), parse)


@pytest.mark.parametrize(
    ("noted", "asked"),
    [
        (b"X-Content-Length: 5", b"X-Content-Length: 7"),
        (b"X: Content-Length: 5", b"X: Content-Length: 7"),
        (b"X: content-length: 5", b"X: content-length: 7"),
        (b"CONTENT-LENGTH: 5", b"CONTENT-LENGTH: 7"),
        (b"Content-Length:5", b"Content-Length:7"),
        (b"Content-Length:\t5", b"Content-Length:\t7"),
        (b"Content-Length: 5", b"content-length: 5"),
        (b"Content-Length: 5\r\nA: b", b"Content-Length: 5\r\nA: c"),
        (b"Content-Length: 5\r\nA: b", b"Content-Length: 5\r\nA: b\r\nA: b"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 7"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (b"A: b", b"Content-Length: 5"),
        (b"Content-Length: 5", b"A: b"),
        (b"A: b", b"A: c"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
        *((b"Content-Length: 5", b"Content-Length: " + length) for length in _LENGTHS if not length.isdigit()),
        *((b"Content-Length: 5", b"Content-Length: " + length) for length in _LENGTHS if len(length) > 16),
    ],
)
def test_a_head_that_differs_in_more_is_not_recalled(noted: bytes, asked: bytes) -> None:
    """Then it is read anew, and refused if it must be."""
    last: LastHead[RequestHead] = LastHead()
    raw = GET + noted + b"\r\n\r\n"
    last.note(raw, _request(raw))
    assert last.recall(GET + asked + b"\r\n\r\n") is None
    assert last.repeats(GET + asked + b"\r\n\r\n") is None
    assert last.repeats(raw) is not None


def test_a_recalled_answer_keeps_what_stands_beside_its_fields() -> None:
    """Cookies, the version, whether it is a stream: all but the length."""
    last: LastHead[AnswerHead] = LastHead()
    fields = b"Set-Cookie: a=b\r\nContent-Type: text/event-stream\r\nConnection: keep-alive\r\n"
    raw = b"HTTP/1.0 200 Fine\r\n" + fields + b"content-length: 5\r\nA: b\r\n\r\n"
    last.note(raw, _answer(raw))
    again = raw.replace(b": 5", b": 0017")
    recalled = last.recall(again)
    assert recalled is not None
    assert _without_length(recalled) == _without_length(_answer(again))
    assert (recalled.cookies, recalled.is_event_stream, recalled.content_length) == ([b"a=b"], True, 17)


def test_a_long_head_is_not_kept() -> None:
    """Ten thousand connections may wait idle; real clients send a tenth of that."""
    last: LastHead[RequestHead] = LastHead()
    short = GET + b"A: " + b"b" * (4096 - len(GET) - 7) + b"\r\n\r\n"
    last.note(short, _request(short))
    assert (len(short), last.raw_bytes, last.repeats(short) is None) == (4096, 4096, False)
    long = short.replace(b"A: ", b"A: b")
    last.note(long, _request(long))
    assert (last.raw_bytes, last.repeats(long), last.repeats(short), last.recall(long)) == (0, None, None, None)


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_a_head_with_another_length_is_recalled(name: bytes) -> None:
    """In the two spellings that clients use; the head that was noted stays as it was."""
    last: LastHead[RequestHead] = LastHead()
    raw = GET + name + b": 5\r\nA: b\r\n\r\n"
    first = _request(raw)
    first.decision = "kept"
    last.note(raw, first)
    again = last.recall(raw.replace(b"5", b"12"))
    assert again is not None
    assert (again.content_length, again.has_body, again.decision, again.block) == (12, True, "kept", first.block)
    empty = last.recall(raw.replace(b"5", b"0"))
    assert empty is not None
    assert (empty.content_length, empty.has_body) == (0, False)
    assert (first.content_length, first.has_body) == (5, True)


def test_a_head_without_a_length_repeats_itself_only() -> None:
    """Nothing in it may differ; a body behind it is not looked at."""
    last: LastHead[RequestHead] = LastHead()
    raw = GET + b"\r\n"
    head = _request(raw)
    last.note(raw, head)
    assert last.repeats(raw + b"GET") is head
    assert last.raw_bytes == len(raw)
    assert last.recall(raw) is None
    assert last.repeats(raw[:-1]) is None
    assert last.repeats(raw.replace(b"x", b"y")) is None


def test_a_forgotten_head_is_not_recalled() -> None:
    """Nor does the memory of a connection that has carried none hold anything."""
    last: LastHead[RequestHead] = LastHead()
    raw = GET + b"Content-Length: 5\r\n\r\n"
    assert (last.repeats(raw), last.repeats(b""), last.recall(raw), last.raw_bytes) == (None, None, None, 0)
    last.note(raw, _request(raw))
    last.forget()
    assert (last.repeats(raw), last.repeats(b""), last.recall(raw), last.raw_bytes) == (None, None, None, 0)
