"""Access lines: one per exchange, that nobody can forge or blow up, written in batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE, request_heads
from twisted.internet.task import Clock

from mcpgate.accesslog import FLUSH_S, AccessLog, Format, json_lines, line_of, text_lines
from mcpgate.errors import BadAnswer, BadRequest, GatewayError, RateLimited, RouteNotFound, ServerForbidden
from mcpgate.exchange import Ended, Era, Exchange, Peer
from mcpgate.wire.http1 import HeadLimits, RequestHead, parse_request
from mcpgate.wire.operation import Operation, Result
from mcpgate.wire.traceparent import Trace

#: 2026-07-28, 12:00:00.25 UTC.
NOON_S = 1785240000.25
_NOON = "2026-07-28T12:00:00.250Z"
BEGAN_S = 10.0


def _exchange(path: bytes = b"/mcp/x/mcp", method: bytes = b"POST", status: int = 200) -> Exchange:
    head = RequestHead(method, path + b"?q=1", True, b"", {}, path=path)
    exchange = Exchange(head, Peer(b"192.0.2.1", b"http", False), BEGAN_S)
    exchange.server, exchange.era, exchange.status, exchange.request_id = "x", Era.SESSION, status, b"id-1"
    exchange.bytes_in, exchange.bytes_out, exchange.ended = 12, 345, Ended.COMPLETE
    return exchange


def _call(status: int = 200) -> Exchange:
    """A tool call of somebody known, answered by a stream, in a trace."""
    exchange = _exchange(status=status)
    exchange.principal, exchange.replica, exchange.transport = "alice", "127.0.0.1:3010", "streamable-http"
    exchange.operation, exchange.result = Operation("tools/call", "echo", 7), Result(-32602, False)
    exchange.first_byte_s, exchange.first_event_s = BEGAN_S + 0.001, BEGAN_S + 0.00125
    exchange.trace = Trace(b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331", b"", True)
    return exchange


def _refused(error: GatewayError, path: bytes = b"/mcp/x", server: str = "x") -> Exchange:
    exchange = _exchange(path, status=error.status)
    exchange.error, exchange.ended, exchange.server = error, Ended.REFUSED, server
    return exchange


def _written(exchange: Exchange, form: Format = json_lines) -> bytes:
    return form([line_of(exchange, _NOON, BEGAN_S + 0.0015)])


def _json(exchange: Exchange) -> Any:
    return json.loads(_written(exchange))


# --- what a line says ---------------------------------------------------------------------------------------------


def test_a_line_says_who_what_and_how_it_ended() -> None:
    """All in one object, the time as RFC 3339 writes it; what there is nothing to say of is left out."""
    assert _json(_exchange()) == {
        "time": _NOON,
        "request_id": "id-1",
        "client": "192.0.2.1",
        "server": "x",
        "era": "session",
        "method": "POST",
        "path": "/mcp/x/mcp",
        "status": 200,
        "ended": "complete",
        "hop": "upstream",
        "bytes_in": 12,
        "bytes_out": 345,
        "ms": 1.5,
    }


def test_a_line_of_a_call_says_what_was_called_where_and_how_soon_it_was_answered() -> None:
    """In this order, so that a person finds it, too."""
    assert list(_json(_call()).items()) == [
        ("time", _NOON),
        ("request_id", "id-1"),
        ("client", "192.0.2.1"),
        ("principal", "alice"),
        ("server", "x"),
        ("upstream", "127.0.0.1:3010"),
        ("era", "session"),
        ("transport", "streamable-http"),
        ("method", "POST"),
        ("path", "/mcp/x/mcp"),
        ("mcp_method", "tools/call"),
        ("name", "echo"),
        ("status", 200),
        ("rpc_code", -32602),
        ("ended", "complete"),
        ("hop", "upstream"),
        ("bytes_in", 12),
        ("bytes_out", 345),
        ("ms", 1.5),
        ("ttfb_ms", 1.0),
        ("first_event_ms", 1.25),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
    ]


def test_a_refusal_says_why_and_under_which_id() -> None:
    """The reason that the client has read, and the detail that it has not."""
    told = _json(_refused(BadAnswer(detail="llhttp: no")))
    assert (told["reason"], told["request_id"], told["detail"]) == ("bad_answer", "id-1", "llhttp: no")
    assert "detail" not in _json(_refused(RouteNotFound()))


@pytest.mark.parametrize(
    ("exchange", "hop"),
    [
        (_exchange(), "upstream"),
        (_exchange(status=500), "upstream"),
        (_refused(ServerForbidden()), "gateway"),
        (_refused(RouteNotFound(), server=""), "gateway"),
    ],
)
def test_a_line_says_who_spoke(exchange: Exchange, hop: str) -> None:
    """An error of a server is not one of ours."""
    assert _json(exchange)["hop"] == hop


def test_what_says_nothing_is_left_out_and_what_is_zero_is_not() -> None:
    """An answer without bytes has 0 of them; an address of the gateway itself has an empty server."""
    exchange = _exchange()
    exchange.bytes_in = exchange.bytes_out = exchange.status = 0
    exchange.server = ""
    told = _json(exchange)
    assert (told["bytes_in"], told["bytes_out"], told["status"], told["server"]) == (0, 0, 0, "")
    assert not {"rpc_code", "principal", "upstream", "name", "ttfb_ms", "first_event_ms", "trace_id"} & set(told)


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        (_exchange(), b"12:00:00.250 200 -                         x                1.5 ms  POST /mcp/x/mcp  id-1\n"),
        (
            _call(),
            b"12:00:00.250 200 tools/call echo           x alice          1.5 ms (error -32602, first event 1.2)"
            b"  POST /mcp/x/mcp  id-1\n",
        ),
        (
            _refused(BadAnswer(detail="llhttp: no")),
            b"12:00:00.250 502 -                         x                1.5 ms (bad_answer, llhttp: no)"
            b"  POST /mcp/x  id-1\n",
        ),
        (
            _exchange(b'/"\\\xe9'),
            b'12:00:00.250 200 -                         x                1.5 ms  POST "/\\"\\\\\\xe9"  id-1\n',
        ),
    ],
)
def test_a_line_for_a_person(exchange: Exchange, expected: bytes) -> None:
    """Time, status, what was asked of whom by whom, how long it took, and what was not as usual."""
    assert _written(exchange, text_lines) == expected


def test_a_person_sees_why_a_stream_has_ended() -> None:
    """And that nothing was answered at all."""
    exchange = _exchange(status=0)
    exchange.ended = Ended.CLIENT_GONE
    text = _written(exchange, text_lines).decode()
    assert " --- " in text
    assert "(client gone)" in text


# --- what a line never is -----------------------------------------------------------------------------------------

_strange = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b'"', b"\\", b'","status":200}\n{"a":"', b"\r\n", b"\x1b[2J", b"\x9b2J", b"\xc3\xa9", b"\xe2\x80\xa8", b"\x7f"]
    ),
)


@PURE
@given(path=_strange, method=_strange, detail=st.text(max_size=12), address=_strange, words=st.text(max_size=9))
def test_no_line_can_be_forged(path: bytes, method: bytes, detail: str, address: bytes, words: str) -> None:
    """Whatever a client says, and whatever a server made of it: one line, whose fields are what they were."""
    exchange = _refused(BadAnswer(detail=detail), path)
    exchange.head.method = method
    exchange.peer = Peer(address, b"http", False)
    exchange.principal = exchange.replica = words
    exchange.operation = Operation(words, words)
    written = _written(exchange)
    assert len(written.decode("utf-8").splitlines()) == 1
    assert min(written[:-1]) >= 0x20
    told = json.loads(written)
    assert (told["path"].encode("latin-1"), told["status"], told.get("detail", "")) == (path, 502, detail)
    assert [told.get(name, "") for name in ("principal", "upstream", "mcp_method", "name")] == [words] * 4
    text = _written(exchange, text_lines)
    assert text.startswith(b"12:00:00.250 502 ")
    assert all(0x20 <= byte < 0x7F for byte in text[:-1])  # nothing that moves a terminal


@PURE
@given(spoken=request_heads(), secret_word=st.text("abcdefgh", min_size=8, max_size=12))
def test_no_line_holds_a_secret(spoken: Any, secret_word: str) -> None:
    """Nothing of a query, a token, a cookie or a session, whatever else the request is."""
    secret = f"S3CR3T{secret_word}".encode()
    kept = tuple((name, value) for name, value in spoken.fields if name.lower() not in _SINGLE)
    method, target, version = spoken.start.split(b" ")
    fields = (*kept, (b"Authorization", b"Bearer " + secret), (b"Cookie", secret), (b"Mcp-Session-Id", secret))
    path = target if target[:1] == b"/" else b"/mcp"
    start = b" ".join((method, path.partition(b"?")[0] + b"?session_id=" + secret, version))
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    head = parse_request(b"%b\r\nHost: x\r\n%bOrigin: http://%b\r\n\r\n" % (start, lines, secret), HeadLimits(9000, 99))
    exchange = Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0)
    exchange.body = secret
    exchange.error = RouteNotFound()
    for form in (json_lines, text_lines):
        assert b"S3CR3T" not in _written(exchange, form)


_SINGLE = (
    b"host", b"content-length", b"transfer-encoding", b"authorization", b"mcp-session-id", b"origin", b"upgrade",
    b"content-type", b"mcp-protocol-version", b"last-event-id", b"sec-websocket-key", b"sec-websocket-version",
)  # fmt: skip


_TEXT = st.text(st.characters(max_codepoint=0x2069), max_size=6)


@PURE
@given(
    head=request_heads(),
    names=st.tuples(_TEXT, _TEXT, _TEXT, _TEXT, st.sampled_from(["", "streamable-http"])),
    operation=st.none() | st.builds(Operation, _TEXT, _TEXT),
    numbers=st.tuples(st.integers(0, 599), st.integers(0, 10**12), st.integers(0, 2000)),
    times=st.tuples(*[st.floats(0, 3) | st.floats(0, 100_000)] * 2),
    ended=st.sampled_from(Ended),
)
def test_lines_of_one_client_share_what_they_say_alike(
    head: Any, names: Any, operation: Operation | None, numbers: Any, times: Any, ended: Ended
) -> None:
    """To the letter as if each was written for itself, whoever chose what."""
    try:
        parsed = parse_request(head.raw, HeadLimits(32_768, 100))
    except GatewayError:
        return
    paper = _Paper()
    expected = []
    for status, name in ((200, "a"), (200, "a"), (200, "a"), (numbers[0], names[3]), (numbers[0], names[3])):
        exchange = Exchange(parsed, Peer(names[0].encode(), b"http", False), BEGAN_S)
        exchange.principal, exchange.server, exchange.replica, _, exchange.transport = names
        exchange.era, exchange.status, exchange.ended, exchange.request_id = Era.SESSION, status, ended, b"aZ09._:/+=@-"
        exchange.operation = operation and Operation(operation.method, name)
        _, exchange.bytes_in, exchange.bytes_out = numbers
        exchange.first_byte_s = BEGAN_S + times[0]
        paper.clock.rightNow = times[0] + times[1]
        paper.log.record(exchange)
        now_s = BEGAN_S + paper.clock.seconds()
        expected.append(line_of(exchange, paper.log._time, now_s))
    paper.log.flush()
    assert b"".join(paper.batches) == json_lines(expected)
    text = _Paper(form=text_lines)
    text.clock.rightNow = paper.clock.seconds()
    text.log.record(exchange)
    text.log.flush()
    assert text.batches == [text_lines(expected[-1:])]


@pytest.mark.parametrize("form", [json_lines, text_lines])
@pytest.mark.parametrize("letter", [b"a", b'"', b"\x01", b"\xff"])
def test_a_line_has_a_bound(form: Format, letter: bytes) -> None:
    """A log does not grow with what a client asks for, however much of it must be escaped."""
    exchange = _refused(BadAnswer(detail=letter.decode("latin-1") * 100_000), b"/" + letter * 100_000)
    exchange.head.method = letter * 100_000
    exchange.operation = Operation(letter.decode("latin-1") * 100_000, letter.decode("latin-1") * 100_000)
    line = line_of(exchange, _NOON, BEGAN_S)
    assert line.path.encode("latin-1") == b"/" + letter * 511
    assert (len(line.method), len(line.mcp_method), len(line.name)) == (32, 64, 128)
    assert len(form([line])) < (512 + 32 + 64 + 128 + 500) * 6 + 500


# --- when it is written -------------------------------------------------------------------------------------------


class _Paper:
    """An access log on a clock; what was written, batch by batch."""

    def __init__(
        self, sample_2xx: float = 1.0, random: Callable[[], float] = lambda: 0.0, form: Format = json_lines
    ) -> None:
        self.clock = Clock()
        self.batches: list[bytes] = []
        self.log = AccessLog(
            form,
            self.batches.append,
            self.clock.callLater,
            (lambda: NOON_S + self.clock.seconds(), lambda: BEGAN_S + self.clock.seconds()),
            sample_2xx,
            random,
        )

    def lines(self) -> list[Any]:
        return [json.loads(line) for batch in self.batches for line in batch.splitlines()]


def test_lines_wait_a_moment_for_company() -> None:
    """One write for all that ended within it, in order; no timer runs while nothing waits."""
    paper = _Paper()
    assert not paper.clock.getDelayedCalls()
    paper.log.record(_exchange(b"/1"))
    paper.clock.advance(FLUSH_S / 2)
    paper.log.record(_exchange(b"/2"))
    assert paper.batches == []
    paper.clock.advance(FLUSH_S / 2)
    assert len(paper.batches) == 1
    assert [(line["path"], line["ms"], line["time"][17:]) for line in paper.lines()] == [
        ("/1", 0.0, "00.250Z"),
        ("/2", 1000 * FLUSH_S / 2, "00.349Z"),
    ]
    assert not paper.clock.getDelayedCalls()
    paper.log.record(_exchange(b"/3"))
    paper.clock.advance(FLUSH_S)
    assert len(paper.batches) == 2


def test_many_lines_do_not_wait() -> None:
    """Memory is not what a busy log is kept in."""
    paper = _Paper()
    for number in range(1100):
        paper.log.record(_exchange(b"/%d" % number))
    assert [batch.count(b"\n") for batch in paper.batches] == [500, 500]
    paper.clock.advance(FLUSH_S)
    assert [line["path"] for line in paper.lines()] == [f"/{number}" for number in range(1100)]
    paper.clock.advance(10)
    assert len(paper.batches) == 3


def test_a_log_is_written_out_when_asked() -> None:
    """At the end of the process, and before its file is moved; with nothing to say, nothing is written."""
    paper = _Paper()
    paper.log.flush()
    assert paper.batches == []
    paper.log.record(_exchange())
    paper.log.flush()
    paper.log.flush()
    paper.clock.advance(1)
    assert len(paper.batches) == 1


@pytest.mark.parametrize(("share", "written"), [(1.0, 10), (0.3, 3), (0.0, 0)])
def test_a_share_of_the_successes_is_written(share: float, written: int) -> None:
    """As many as chance gives; 1 is all of them, 0 none."""
    chances = iter(number / 10 for number in range(10))
    paper = _Paper(share, lambda: next(chances))
    for _ in range(10):
        paper.log.record(_exchange())
    paper.log.flush()
    assert len(paper.lines()) == written


@pytest.mark.parametrize("status", [0, 101, 199, 300, 304, 404, 499, 500, 502])
def test_what_is_no_success_is_always_written(status: int) -> None:
    """Errors are what a log is for."""
    paper = _Paper(0.0)
    paper.log.record(_exchange(status=status))
    paper.log.flush()
    assert [line["status"] for line in paper.lines()] == [status]


# --- floods -------------------------------------------------------------------------------------------------------


def test_a_flood_of_refusals_is_counted_instead_of_written() -> None:
    """Twenty a second of each reason, and one line that says how many more there were."""
    paper = _Paper()
    for _ in range(1000):
        paper.log.record(_refused(BadRequest(), server=""))
    paper.log.record(_refused(RouteNotFound(), server=""))
    paper.clock.pump([FLUSH_S] * 6)
    told = paper.lines()
    assert [line["reason"] for line in told] == ["bad_request"] * 20 + ["no_route", "bad_request"]
    assert told[-1] == {"time": "2026-07-28T12:00:01.250Z", "reason": "bad_request", "left_out": 980}
    assert paper.log.left_out == 980
    assert not paper.clock.getDelayedCalls()
    paper.log.record(_refused(BadRequest(), server=""))
    paper.log.flush()
    assert paper.lines()[-1]["status"] == 400, "the next second begins anew"


def test_a_flood_is_told_at_the_end_too() -> None:
    """The process may end before its second is over."""
    paper = _Paper()
    for _ in range(21):
        paper.log.record(_refused(BadRequest(), server=""))
    paper.log.flush()
    assert paper.lines()[-1]["left_out"] == 1


@pytest.mark.parametrize("error", [RateLimited(), ServerForbidden(), BadAnswer(), RouteNotFound()])
def test_whatever_concerns_a_server_is_written_line_by_line(error: GatewayError) -> None:
    """It has an owner who wants to know."""
    paper = _Paper()
    for _ in range(100):
        paper.log.record(_refused(error))
    paper.log.flush()
    assert len(paper.lines()) == 100
    assert paper.log.left_out == 0


def test_a_person_reads_of_a_flood_as_well() -> None:
    """In words."""
    paper = _Paper(form=text_lines)
    for _ in range(22):
        paper.log.record(_refused(BadRequest(), server=""))
    paper.log.flush()
    assert paper.batches[-1].endswith(b"12:00:00.250 --- 2 more refusals left out: bad_request\n")


def test_one_client_does_not_hide_the_refusals_of_another() -> None:
    """Until there are too many of them altogether."""
    paper = _Paper()
    for number in range(300):
        refused = _refused(BadRequest(), server="")
        refused.client = b"10.0.0.%d" % (number % 3 if number < 290 else 99)
        paper.log.record(refused)
    paper.clock.pump([FLUSH_S] * 6)
    told = paper.lines()
    assert sum("left_out" not in line for line in told) == 40
    assert told[-1]["left_out"] == 260


def test_a_flood_of_one_client_leaves_room_for_others() -> None:
    """Whose refusals are of the same reason."""
    paper = _Paper()
    for _ in range(100):
        paper.log.record(_refused(BadRequest(), server=""))
    other = _refused(BadRequest(), server="")
    other.client = b"10.9.9.9"
    paper.log.record(other)
    paper.log.flush()
    assert [line["client"] for line in paper.lines() if "client" in line].count("10.9.9.9") == 1
