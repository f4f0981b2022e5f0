"""Heads of requests and answers: where they end, what they become, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.strategies import PURE, Spoken, answer_heads, broken, cuts, request_heads, split

from mcpgate.errors import BadAnswer, BadRequest, GatewayError, HeadTooLarge, TargetTooLong
from mcpgate.wire import headers
from mcpgate.wire.http1 import AnswerHead, HeadLimits, RequestHead, find_head_end, parse_answer, parse_request

LIMITS = HeadLimits(max_bytes=32 * 1024, max_fields=100)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
Head = RequestHead | AnswerHead


def _request(raw: bytes) -> RequestHead:
    return parse_request(raw, LIMITS)


def _answer(raw: bytes) -> AnswerHead:
    return parse_answer(raw, LIMITS)


# --- where a head ends --------------------------------------------------------------------------------------------


def _read(pieces: list[bytes], limits: HeadLimits, parse: Callable[[bytes, HeadLimits], Head]) -> Head | str:
    """What becomes of a head that comes in pieces: the head, or why it was refused, or that it is waited for."""
    buffer, searched = b"", 0
    for piece in pieces:
        buffer += piece
        try:
            end = find_head_end(buffer, limits, searched)
            if end >= 0:
                return parse(buffer[:end], limits)
        except GatewayError as refusal:
            return type(refusal).__name__ if parse is parse_request else "BadAnswer"  # the upstream side makes it one
        searched = len(buffer)
    return "waits"


_heads = st.one_of(request_heads(), answer_heads()).map(lambda spoken: spoken.raw)


@PURE
@given(
    raw=st.one_of(_heads, broken(_heads)),
    places=cuts,
    max_bytes=st.sampled_from([50, 90, 1000]),
    max_fields=st.sampled_from([2, 100]),
)
@example(raw=b"GET / HTTP/1.1\r\nHost: x\n\n", places=[24], max_bytes=1000, max_fields=9)
@example(raw=b"GET / HTTP/1.1\nHost: " + b"x" * 80, places=[30], max_bytes=50, max_fields=9)
@example(raw=b"GET /\nHost: x\r\nA: b\r\nC: d\r\nE: f\r\n\r\n", places=[7], max_bytes=1000, max_fields=2)
def test_a_head_is_the_same_however_it_is_split(raw: bytes, places: list[int], max_bytes: int, max_fields: int) -> None:
    """In one piece, in many, byte by byte: the same head, or the same refusal, at the latest with the same byte."""
    parse = parse_answer if raw.startswith(b"HTTP/") else parse_request
    limits = HeadLimits(max_bytes, max_fields)
    whole = _read([raw], limits, parse)
    assert _read(split(raw, places), limits, parse) == whole
    assert _read(split(raw, list(range(len(raw)))), limits, parse) == whole


@pytest.mark.parametrize(
    ("buffer", "end"),
    [
        (b"", -1),
        (b"GET", -1),
        (GET, -1),
        (GET + b"\r", -1),
        (GET + b"\r\n", len(GET) + 2),
        (GET + b"\r\nGET", len(GET) + 2),
        (GET + b"\r\n\r\n\r\n", len(GET) + 2),
        (b"\r\n\r\n", 4),
    ],
)
def test_a_head_ends_behind_its_empty_line(buffer: bytes, end: int) -> None:
    """What follows it belongs to the body or to the next request."""
    assert find_head_end(buffer, LIMITS) == end
    assert find_head_end(bytearray(buffer), LIMITS) == end


@pytest.mark.parametrize(
    "raw", [b"\nGET / HTTP/1.1\r\n", b"GET / HTTP/1.1\n", GET + b"A: b\n", GET + b"A: b\n\n", GET + b"A: b\nC: d\r\n"]
)
def test_lines_that_end_in_lf_alone_are_refused_at_once(raw: bytes) -> None:
    """Such a client would wait for an answer to what is no head, and be told after the timeout only."""
    with pytest.raises(BadRequest):
        find_head_end(raw, LIMITS)


def test_a_head_may_be_as_large_as_the_bound_and_no_larger() -> None:
    """The empty line counts; what comes behind it does not."""
    raw = b"GET / HTTP/1.1\r\nHost: x\r\nA: bcd\r\n\r\n"
    assert find_head_end(raw + b"body", HeadLimits(len(raw), 9)) == len(raw)
    with pytest.raises(HeadTooLarge):
        find_head_end(raw + b"body", HeadLimits(len(raw) - 1, 9))
    assert find_head_end(raw[:-1], HeadLimits(len(raw) - 1, 9)) == -1
    with pytest.raises(HeadTooLarge):
        find_head_end(raw[:-1], HeadLimits(len(raw) - 2, 9))


def test_a_request_line_over_the_bound_is_a_long_target() -> None:
    """414 tells a client more than 431."""
    with pytest.raises(TargetTooLong):
        find_head_end(b"GET /" + b"a" * 100, HeadLimits(100, 9))
    with pytest.raises(HeadTooLarge):
        find_head_end(b"GET / HTTP/1.1\r\nA: " + b"a" * 100, HeadLimits(100, 9))


def test_a_head_may_have_as_many_fields_as_the_bound() -> None:
    """Requests over it are 431, answers broken."""
    fields = b"".join(b"A%d: b\r\n" % number for number in range(9))
    assert parse_request(GET + fields + b"\r\n", HeadLimits(1000, 10)).block == fields
    assert parse_answer(OK + fields + b"\r\n", HeadLimits(1000, 9)).block == fields
    with pytest.raises(HeadTooLarge):
        parse_request(GET + fields + b"\r\n", HeadLimits(1000, 9))
    with pytest.raises(BadAnswer):
        parse_answer(OK + fields + b"\r\n", HeadLimits(1000, 8))


# --- what a head becomes ------------------------------------------------------------------------------------------

_PASSING = [b"X-A", b"user-agent", b"Cookie", b"Mcp-Param-x", b"MCP-NAMES", b"x.y!", b"X-Http-Method-Override"]
_NOTED = [b"Accept", b"accept-encoding", b"Content-Type", b"Mcp-Session-Id", b"MCP-Protocol-Version", b"last-event-id"]
_TAKEN = [b"Authorization", b"ORIGIN", b"Via", b"Forwarded", b"X-Forwarded-For", b"Expect"]
_DROPPED = [b"TE", b"Trailer", b"Keep-Alive", b"Proxy-Connection", b"X-Real-IP", b"X_A", b"Mcpgate-X", b"x-mcpgate-y"]
_texts = st.sampled_from([b"a", b"a b", b"a\tb", b"", b"a:b, c", b"\xc3\xa9\x80\xff", b'"q"'])


@PURE
@given(
    start=st.sampled_from([b"GET /a?b HTTP/1.1", b"POST // HTTP/1.1", b"DELETE /%2f; HTTP/1.0"]),
    chosen=st.lists(st.sampled_from([*_PASSING, *_NOTED, *_TAKEN, *_DROPPED]), unique_by=bytes.lower, max_size=8),
    texts=st.lists(_texts, min_size=8, max_size=8),
    repeats=st.integers(0, 2),
)
def test_a_request_comes_out_as_it_was_written(
    start: bytes, chosen: list[bytes], texts: list[bytes], repeats: int
) -> None:
    """Method, target, version; what travels on byte for byte and in order, and what the gateway reads of it."""
    pairs = list(zip(chosen, texts, strict=False)) + [(b"X-Again", b"%d" % number) for number in range(repeats)]
    head = _request(Spoken(start, ((b"Host", b"h"), *pairs)).raw)
    method, target, version = start.split(b" ")
    assert (head.method, head.target, head.path) == (method, target, target.partition(b"?")[0])
    assert head.is_http11 is (version == b"HTTP/1.1")
    assert headers.fields(head.block) == [pair for pair in pairs if pair[0] not in [*_TAKEN, *_DROPPED]]
    read = {name.lower(): text for name, text in pairs if name in [*_TAKEN, *_NOTED]}
    assert head.noted == {b"host": b"h", **read}
    assert (head.content_length, head.chunked, head.has_body) == (None, False, False)
    assert head.keep_alive is head.is_http11


@PURE
@given(
    status=st.integers(100, 599).filter(lambda status: status != 101),  # which is nothing without an Upgrade
    phrase=st.sampled_from([b"", b"OK", b"Not Found", b"a\tb", b"\xe9", b"OK "]),
    fields=st.lists(st.tuples(st.sampled_from([b"X-A", b"Server", b"Vary", b"ETag"]), _texts), max_size=5),
    cookies=st.lists(st.sampled_from([b"a=b; Path=/", b"c", b"a=b, c"]), max_size=3),
)
def test_an_answer_comes_out_as_it_was_written(
    status: int, phrase: bytes, fields: list[tuple[bytes, bytes]], cookies: list[bytes]
) -> None:
    """Status, phrase, what travels on; cookies apart, each on its own, since a comma may stand in one."""
    pairs = [*fields, *((b"Set-Cookie", cookie) for cookie in cookies)]
    head = _answer(Spoken(b"HTTP/1.1 %d %b" % (status, phrase), tuple(pairs)).raw)
    assert (head.status, head.phrase) == (status, phrase)
    assert headers.fields(head.block) == fields
    assert head.cookies == cookies


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (GET + b"\r\n", True),
        (GET + b"Connection: close\r\n\r\n", False),
        (GET + b"Connection: Close\r\n\r\n", False),
        (GET + b"Connection: te ,close\r\n\r\n", False),
        (GET + b"Connection: keep-alive\r\nConnection: close\r\n\r\n", False),
        (GET + b"Connection: closed\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", False),
    ],
)
def test_a_connection_is_kept_as_its_version_and_field_say(raw: bytes, expected: bool) -> None:
    """RFC 9112 section 9.3; an answer's is read in the same way."""
    assert _request(raw).keep_alive is expected
    start, _, rest = raw.partition(b"\r\n")
    assert _answer(start[-8:] + b" 200 OK\r\n" + rest).keep_alive is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n", b"websocket"),
        (b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", b"websocket"),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"h2c"),
        (b"Upgrade: websocket\r\n", b""),
        (b"Connection: upgrade\r\n", b""),
    ],
)
def test_an_upgrade_is_asked_for_in_two_fields(fields: bytes, expected: bytes) -> None:
    """RFC 9110 section 7.8; HTTP/1.0 knows none."""
    assert _request(GET + fields + b"\r\n").upgrade == expected
    assert _request(b"GET / HTTP/1.0\r\n" + fields + b"\r\n").upgrade == b""


@pytest.mark.parametrize(
    ("start", "value", "expected"),
    [
        (b"POST / HTTP/1.1", b"100-continue", True),
        (b"POST / HTTP/1.1", b"100-Continue", True),
        (b"POST / HTTP/1.0", b"100-continue", False),
        (b"POST / HTTP/1.1", b"more", False),
    ],
)
def test_who_waits_for_continue(start: bytes, value: bytes, expected: bool) -> None:
    """An HTTP/1.0 client could not read an interim answer."""
    assert _request(start + b"\r\nHost: x\r\nExpect: " + value + b"\r\n\r\n").wants_continue is expected


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        (b"http://x/a?b", b"x", b"/a?b"),
        (b"HTTPS://x:1/a", b"x:1", b"/a"),
        (b"http://x", b"x", b"/"),
        (b"http://x//a", b"x", b"//a"),
        (b"http://x/http://y/", b"x", b"/http://y/"),
        (b"http://x/?", b"x", b"/?"),
        (b"http://y/a", b"x", None),
        (b"http://x:80/a", b"x", None),
        (b"http://X/a", b"x", b"/a"),
        (b"http://a@x/a", b"x", None),
        (b"http://x?a", b"x", None),
        (b"ftp://x/a", b"x", None),
        (b"x/a", b"x", None),
        (b"a:b", b"x", None),
        (b"*", b"x", b"*"),
    ],
)
def test_an_absolute_target_names_this_very_host(target: bytes, host: bytes, expected: bytes | None) -> None:
    """RFC 9112 section 3.2.2: two readers could take the one or the other authority, so they must not differ."""
    raw = b"OPTIONS " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    if expected is None:
        with pytest.raises(BadRequest):
            _request(raw)
    else:
        head = _request(raw)
        assert (head.target, head.path) == (expected, expected.partition(b"?")[0])


@pytest.mark.parametrize(
    ("fields", "length", "chunked"),
    [
        (b"Content-Length: 0\r\n", 0, False),
        (b"Content-Length:5\r\n", 5, False),
        (b"Content-Length:\t 5\r\n", 5, False),
        (b"CONTENT-LENGTH: 0005\r\n", 5, False),
        (b"Content-Length: 9999999999999999\r\n", 9999999999999999, False),
        (b"Transfer-Encoding: chunked\r\n", None, True),
        (b"transfer-encoding:CHUNKED\r\n", None, True),
        (b"", None, False),
    ],
)
def test_a_body_ends_as_one_field_says(fields: bytes, length: int | None, chunked: bool) -> None:
    """RFC 9112 section 6.3, for requests and answers."""
    request, answer = _request(GET + fields + b"\r\n"), _answer(OK + fields + b"\r\n")
    for head in (request, answer):
        assert (head.content_length, head.chunked) == (length, chunked)
    assert request.has_body is (chunked or bool(length))
    assert b"ength" not in request.block + answer.block  # framing is written anew on every hop


_DOUBTFUL = [
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: 5_0",
    b"Content-Length: 5 5",
    b"Content-Length: 0x5",
    b"Content-Length: 5.0",
    b"Content-Length: 5,5",
    b"Content-Length: 5, 5",
    b"Content-Length: ",
    b"Content-Length: \xd9\xa5",
    b"Content-Length: 12345678901234567",
    b"Content-Length: " + b"0" * 17,
    b"Content-Length: " + b"9" * 5000,
    b"Content-Length: 5\x0b",
    b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 5\r\ncontent-length: 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length : 5",
    b"Content-Length: 5\r\n 6",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: ,chunked",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: ",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\r\n chunked",
]


@pytest.mark.parametrize("fields", _DOUBTFUL)
def test_a_framing_on_which_two_readers_could_differ_is_refused(fields: bytes) -> None:
    """From clients and from servers: what one takes for a body, another takes for a request."""
    with pytest.raises(BadRequest):
        _request(GET + fields + b"\r\n\r\n")
    with pytest.raises(BadAnswer):
        _answer(OK + fields + b"\r\n\r\n")


def test_chunks_need_http11() -> None:
    """HTTP/1.0 has no transfer codings (RFC 9112 section 6.1)."""
    with pytest.raises(BadRequest):
        _request(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(BadAnswer):
        _answer(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


@pytest.mark.parametrize("name", sorted(headers.SINGLE))
def test_a_field_that_stands_alone_stands_once(name: bytes) -> None:
    """A second one, in whatever spelling, is somebody's attempt to be read in two ways."""
    value = {b"content-length": b"5", b"transfer-encoding": b"chunked"}.get(name, b"x")
    start = b"GET / HTTP/1.1\r\n" + (b"" if name == b"host" else b"Host: x\r\n")
    once = name + b": " + value + b"\r\n"
    assert name in _request(start + once + b"\r\n").noted
    for again in (once, once.title(), once.upper()):
        with pytest.raises(BadRequest):
            _request(start + once + again + b"\r\n")


@pytest.mark.parametrize(
    ("listed", "travels"),
    [
        (b"x-a", False),
        (b"close, X-A", False),
        (b"X-A ,x-b", False),
        (b"x-b", True),
        (b"close", True),
        (b"x-", True),
        (b"x-a-", True),
    ],
)
def test_what_connection_lists_ends_here(listed: bytes, travels: bool) -> None:
    """RFC 9110 section 7.6.1, in both directions, in any spelling and as often as it stands there."""
    fields = b"X-A: 1\r\nConnection: " + listed + b"\r\nx-A: 2\r\n\r\n"
    for head in (_request(GET + fields), _answer(OK + fields)):
        assert head.block == (b"X-A: 1\r\nx-A: 2\r\n" if travels else b"")


@pytest.mark.parametrize(
    "name", [b"Content-Type", b"Accept", b"Cookie", b"Mcp-Session-Id", b"Mcp-Name", b"MCP-Protocol-Version"]
)
def test_connection_cannot_take_away_what_protects(name: bytes) -> None:
    """A listed session or type would change what the server takes the request for."""
    head = _request(GET + b"Connection: close, " + name + b"\r\n" + name + b": x\r\n\r\n")
    assert head.block == name + b": x\r\n"


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (b"text/event-stream", True),
        (b"Text/Event-Stream", True),
        (b"text/event-stream; charset=utf-8", True),
        (b"text/event-stream;charset=utf-8", True),
        (b"text/event-streams", False),
        (b"application/json", False),
        (b"application/text/event-stream", False),
    ],
)
def test_what_an_event_stream_is(media_type: bytes, expected: bool) -> None:
    """By its media type alone, parameters aside (RFC 9110 section 8.3.1)."""
    assert _answer(OK + b"Content-Type: " + media_type + b"\r\n\r\n").is_event_stream is expected


@pytest.mark.parametrize(
    "line",
    [
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET / HTTP/0.9",
        b"GET / http/1.1",
        b"GET /",
        b"GET HTTP/1.1",
        b"get / HTTP/1.1",
        b"FROB / HTTP/1.1",
        b"GET /\x80 HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"GET /a\\b HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a?b#c HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"SOURCE / ICE/1.0",
        b"OPTIONS / RTSP/1.0",
        b"\r\nGET / HTTP/1.1",
        b"GET / HTTP/1.1\r",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_request_line_has_one_form(line: bytes) -> None:
    """RFC 9112 section 3: a method, a target and a version, one space between them."""
    with pytest.raises(BadRequest):
        _request(line + b"\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 600 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\x1bK",
        b"\r\nHTTP/1.1 200 OK",
        b"SSH-2.0-OpenSSH_9.6",
    ],
)
def test_a_status_line_has_one_form(line: bytes) -> None:
    """RFC 9112 section 4; its phrase goes to the client as it is, so it holds no control bytes."""
    with pytest.raises(BadAnswer):
        _answer(line + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"A : b",
        b": b",
        b"A",
        b" A: b",
        b"A\x00: b",
        b"A\x80: b",
        b"A(: b",
        b"A: b\x00",
        b"A: b\x7f",
        b"A: \x0bb",
        b"A: b\r",
        b"A: b\rC: d",
        b"A: b\nC: d",
        b"A: b\r\n c",
        b"A: b\r\n\tc",
        b"A:\r\n b",
    ],
)
def test_a_field_line_has_one_form(line: bytes) -> None:
    """RFC 9112 section 5: no folding, no blanks before the colon, no control bytes, no bare CR or LF."""
    for before in (b"", b"B: c\r\n"):
        with pytest.raises(BadRequest):
            _request(GET + before + line + b"\r\n\r\n")
        with pytest.raises(BadAnswer):
            _answer(OK + before + line + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("head", "admitted"), [(b"HTTP/1.1\r\n", False), (b"HTTP/1.1\r\nHost:\r\n", True), (b"HTTP/1.0\r\n", True)]
)
def test_http11_needs_a_host(head: bytes, admitted: bool) -> None:
    """One that is there and empty is for the gate to judge."""
    if admitted:
        _request(b"GET / " + head + b"\r\n")
    else:
        with pytest.raises(BadRequest):
            _request(b"GET / " + head + b"\r\n")


def test_what_is_wrong_with_an_answer_is_for_the_log() -> None:
    """The client is told that the server's answer is broken; how exactly is the operator's business."""
    for raw in (
        OK + b"Content-Length: x\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Upgrade: a\r\nUpgrade: b\r\n\r\n",
    ):
        with pytest.raises(BadAnswer) as caught:
            _answer(raw)
        assert caught.value.text == BadAnswer.message
        assert caught.value.detail


@PURE
@given(raw=st.one_of(st.binary(max_size=60), broken(_heads), _heads))
def test_nothing_but_a_refusal_is_raised(raw: bytes) -> None:
    """Whatever comes, and also if it is no whole head."""
    parsers: list[tuple[Callable[[bytes, HeadLimits], Head], tuple[type[GatewayError], ...]]] = [
        (parse_request, (BadRequest, HeadTooLarge)),
        (parse_answer, (BadAnswer,)),
    ]
    for parse, faults in parsers:
        try:
            parse(raw, HeadLimits(1000, 3))
        except GatewayError as refusal:
            assert isinstance(refusal, faults)


def test_blanks_behind_a_value_are_no_part_of_it() -> None:
    """RFC 9112 section 5; what travels on keeps its bytes."""
    request = _request(b"POST / HTTP/1.1\r\nHost: x \r\nContent-Length: 5\t\r\nAccept: a \r\n\r\n")
    assert (request.noted[b"host"], request.content_length, request.noted[b"accept"]) == (b"x", 5, b"a")
    assert request.block == b"Accept: a \r\n"


def test_a_stream_does_not_hold_the_head_that_asked_for_it() -> None:
    """But for what its record tells in the end."""
    head = _request(b"GET /x?a HTTP/1.1\r\nHost: x\r\nAccept: a\r\nMCP-Protocol-Version: 2025-11-25\r\nX-Own: y\r\n\r\n")
    head.lighten()
    assert (head.method, head.path, head.block, head.decision) == (b"GET", b"/x", b"", None)
    assert head.noted == {b"mcp-protocol-version": b"2025-11-25"}
