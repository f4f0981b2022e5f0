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

from mcpgate.accesslog import FLUSH_S, AccessLog, Format, json_line, line_of, text_line
from mcpgate.errors import BadAnswer, GatewayError, RouteNotFound
from mcpgate.exchange import Ended, Era, Exchange, Peer
from mcpgate.wire.http1 import HeadLimits, RequestHead, parse_request

#: 2026-07-28, 12:00:00.25 UTC.
NOON_S = 1785240000.25


def _exchange(path: bytes = b"/mcp/x/mcp", method: bytes = b"POST", status: int = 200) -> Exchange:
    head = RequestHead(method, path + b"?q=1", True, b"", {}, path=path)
    exchange = Exchange(head, Peer(b"192.0.2.1", b"http", False), 10.0)
    exchange.server, exchange.era, exchange.status = "x", Era.SESSION, status
    exchange.bytes_in, exchange.bytes_out, exchange.ended = 12, 345, Ended.COMPLETE
    return exchange


def _refused(error: GatewayError, path: bytes = b"/mcp/x") -> Exchange:
    exchange = _exchange(path, status=error.status)
    exchange.error, exchange.ended = error, Ended.REFUSED
    return exchange


def _json(exchange: Exchange, request_id: str = "id-1") -> Any:
    return json.loads(json_line(line_of(exchange, request_id, NOON_S, 0.0015)))


# --- what a line says ---------------------------------------------------------------------------------------------


def test_a_line_says_who_what_and_how_it_ended() -> None:
    """All in one object, the time as RFC 3339 writes it."""
    assert _json(_exchange()) == {
        "time": "2026-07-28T12:00:00.250000Z",
        "client": "192.0.2.1",
        "server": "x",
        "method": "POST",
        "path": "/mcp/x/mcp",
        "status": 200,
        "era": "session",
        "ms": 1.5,
        "bytes_in": 12,
        "bytes_out": 345,
        "ended": "complete",
    }


def test_a_refusal_says_why_and_under_which_id() -> None:
    """The reason that the client has read, and the detail that it has not."""
    told = _json(_refused(BadAnswer(detail="llhttp: no")), "id-7")
    assert (told["reason"], told["request_id"], told["detail"]) == ("bad_answer", "id-7", "llhttp: no")
    assert "detail" not in _json(_refused(RouteNotFound()))


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        (_exchange(), b"12:00:00 200 POST /mcp/x/mcp 1.5 ms (session, complete)\n"),
        (_refused(BadAnswer()), b"12:00:00 502 POST /mcp/x 1.5 ms (session, bad_answer)\n"),
        (_exchange(b'/"\\\xe9'), b'12:00:00 200 POST /\\"\\\\\\xe9 1.5 ms (session, complete)\n'),
    ],
)
def test_a_line_for_a_person(exchange: Exchange, expected: bytes) -> None:
    """Time, status, what was asked, how long it took, and how it ended."""
    assert text_line(line_of(exchange, "id-1", NOON_S, 0.0015)) == expected


# --- what a line never is -----------------------------------------------------------------------------------------

_strange = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b'"', b"\\", b'","status":200}\n{"a":"', b"\r\n", b"\x1b[2J", b"\x9b2J", b"\xc3\xa9", b"\xe2\x80\xa8", b"\x7f"]
    ),
)


@PURE
@given(path=_strange, method=_strange, detail=st.text(max_size=12), address=_strange, request_id=st.text(max_size=5))
def test_no_line_can_be_forged(path: bytes, method: bytes, detail: str, address: bytes, request_id: str) -> None:
    """Whatever a client says, and whatever a server made of it: one line, whose fields are what they were."""
    exchange = _refused(BadAnswer(detail=detail), path)
    exchange.head.method = method
    exchange.peer = Peer(address, b"http", False)
    line = line_of(exchange, request_id, NOON_S, 0.0)
    written = json_line(line)
    assert written.count(b"\n") == 1
    assert min(written[:-1]) >= 0x20
    told = json.loads(written)
    assert (told["path"].encode("latin-1"), told["status"], told.get("detail", "")) == (path, 502, detail)
    text = text_line(line)
    assert text.endswith(b", bad_answer)\n")
    assert all(0x20 <= byte < 0x80 for byte in text[:-1])  # nothing that moves a terminal


@PURE
@given(spoken=request_heads(), word=st.text("abcdefgh", min_size=8, max_size=12))
def test_no_line_holds_a_secret(spoken: Any, word: str) -> None:
    """Nothing of a query, a token, a cookie or a session, whatever else the request is."""
    secret = f"S3CR3T{word}".encode()
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
    for form in (json_line, text_line):
        assert b"S3CR3T" not in form(line_of(exchange, "id", NOON_S, 0.0))


_SINGLE = (
    b"host", b"content-length", b"transfer-encoding", b"authorization", b"mcp-session-id", b"origin", b"upgrade",
    b"content-type", b"mcp-protocol-version", b"last-event-id", b"sec-websocket-key", b"sec-websocket-version",
)  # fmt: skip


@pytest.mark.parametrize("form", [json_line, text_line])
@pytest.mark.parametrize("letter", [b"a", b'"', b"\x01", b"\xff"])
def test_a_line_has_a_bound(form: Format, letter: bytes) -> None:
    """A log does not grow with what a client asks for, however much of it must be escaped."""
    line = line_of(_exchange(b"/" + letter * 100_000), "id-1", NOON_S, 0.0)
    assert line.path.encode("latin-1") == b"/" + letter * 511
    assert len(form(line)) < 512 * 6 + 300


@pytest.mark.parametrize("form", [json_line, text_line])
def test_a_method_has_a_bound_too(form: Format) -> None:
    """HTTP has none for it, and a foreign `Site` takes any."""
    assert len(form(line_of(_exchange(method=b"A" * 10_000), "id-1", NOON_S, 0.0))) < 1000


# --- when it is written -------------------------------------------------------------------------------------------


class _Paper:
    """An access log on a clock; what was written, batch by batch."""

    def __init__(self, sample_2xx: float = 1.0, random: Callable[[], float] = lambda: 0.0) -> None:
        self.clock = Clock()
        self.batches: list[bytes] = []
        self.log = AccessLog(
            json_line,
            self.batches.append,
            self.clock.callLater,
            (lambda: NOON_S, lambda: 10.0 + self.clock.seconds()),
            sample_2xx,
            random,
        )

    def lines(self) -> list[Any]:
        return [json.loads(line) for batch in self.batches for line in batch.splitlines()]


def test_lines_wait_a_moment_for_company() -> None:
    """One write for all that ended within it, in order; no timer runs while nothing waits."""
    paper = _Paper()
    assert not paper.clock.getDelayedCalls()
    paper.log.record(_exchange(b"/1"), "")
    paper.clock.advance(FLUSH_S / 2)
    paper.log.record(_exchange(b"/2"), "")
    assert paper.batches == []
    paper.clock.advance(FLUSH_S / 2)
    assert len(paper.batches) == 1
    assert [(line["path"], line["ms"]) for line in paper.lines()] == [("/1", 0.0), ("/2", 1000 * FLUSH_S / 2)]
    assert not paper.clock.getDelayedCalls()
    paper.log.record(_exchange(b"/3"), "")
    paper.clock.advance(FLUSH_S)
    assert len(paper.batches) == 2


def test_many_lines_do_not_wait() -> None:
    """Memory is not what a busy log is kept in."""
    paper = _Paper()
    for number in range(1100):
        paper.log.record(_exchange(b"/%d" % number), "")
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
    paper.log.record(_exchange(), "")
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
        paper.log.record(_exchange(), "")
    paper.log.flush()
    assert len(paper.lines()) == written


@pytest.mark.parametrize("status", [0, 101, 199, 300, 304, 404, 499, 500, 502])
def test_what_is_no_success_is_always_written(status: int) -> None:
    """Errors are what a log is for."""
    paper = _Paper(0.0)
    paper.log.record(_exchange(status=status), "")
    paper.log.flush()
    assert [line["status"] for line in paper.lines()] == [status]
