"""One connection to a replica: where an answer ends, and whether the connection is still good after it."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from tests.strategies import THROUGH_THE_GATEWAY, cuts, split
from twisted.internet.task import Clock

from mcpgate.errors import GatewayError
from mcpgate.net.deadlines import Deadlines
from mcpgate.net.memory import MemoryTransport
from mcpgate.upstream.connection import State, UpstreamConnection
from mcpgate.wire.http1 import AnswerHead
from mcpgate.wire.last_head import LastHead

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
SWITCHING = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Sink:
    """Notes what it is told, pieces of a body joined."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.body = b""
        self.heads: list[AnswerHead] = []
        self.connection: UpstreamConnection | None = None

    def take_interim(self, head: AnswerHead) -> None:
        self.told.append(head.status)

    def take_head(self, head: AnswerHead, body: bytes, ended: bool) -> None:
        self.told.append(head.status)
        self.heads.append(head)
        self.body += body
        if ended:
            self.told.append("end")

    def take_answer(self, data: bytes) -> None:
        assert data
        self.body += data

    def end_answer(self) -> None:
        self.told.append("end")

    def lose_upstream(self, error: GatewayError, untouched: bool) -> None:
        self.told.append((error.reason, untouched))

    def time_out_upstream(self) -> None:
        self.told.append("time out")

    def pause_request(self) -> None:
        self.told.append("pause")

    def resume_request(self) -> None:
        self.told.append("resume")


class Wire:
    """A connection with its far end."""

    def __init__(self, *, secure: bool = False) -> None:
        self.clock = Clock()
        self.log: list[str] = []
        deadlines = Deadlines(self.clock.callLater, self.clock.seconds, on_error=print)
        self.connection = UpstreamConnection(
            deadlines,
            lambda connection: self.log.append("opened"),
            lambda connection: self.log.append("released"),
            lambda connection: self.log.append("closed"),
            secure,
        )
        self.transport = MemoryTransport(self.connection, 3010)
        self.connection.makeConnection(cast(Any, self.transport))
        self.sink = Sink()

    def ask(self, *, head_only: bool = False, body_follows: bool = False) -> Wire:
        self.connection.send(cast(Any, self.sink), GET, head_only=head_only, body_follows=body_follows)
        return self

    def say(self, *pieces: bytes) -> Wire:
        for piece in pieces:
            self.transport.take_data(piece)
        return self

    def leave(self, how: str) -> Wire:
        (self.transport.take_end if how == "fin" else self.transport.take_reset)()
        self.transport.deliver_loss()
        return self

    @property
    def state(self) -> State:
        return self.connection.state


def test_it_is_open_when_it_is_connected() -> None:
    """And says so in words."""
    wire = Wire()
    assert (wire.log, wire.state, repr(wire.connection)) == (["opened"], State.IDLE, "<UpstreamConnection idle>")


def test_with_tls_it_is_open_after_the_handshake() -> None:
    """The certificate has been checked then."""
    wire = Wire(secure=True)
    assert (wire.log, wire.state) == ([], State.OPENING)
    wire.connection.handshakeCompleted()
    assert (wire.log, wire.state) == (["opened"], State.IDLE)


@pytest.mark.parametrize(
    ("said", "states"),
    [
        ([OK, b"Content-Length: 3\r\n\r\n", b"ab", b"c"], [State.WAITING, State.COUNTED, State.COUNTED, State.IDLE]),
        ([OK + b"Content-Length: 0\r\n\r\n"], [State.IDLE]),
        ([CHUNKED, b"3\r\nabc\r\n", b"0\r\n", b"\r\n"], [State.CHUNKED, State.CHUNKED, State.CHUNKED, State.IDLE]),
        ([CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"], [State.IDLE]),
        ([OK + b"\r\n", b"abc"], [State.UNTIL_CLOSE, State.UNTIL_CLOSE]),
        ([SWITCHING, b"abc"], [State.TUNNEL, State.TUNNEL]),
        ([b"HTTP/1.1 102 Processing\r\n\r\n", OK + b"Content-Length: 0\r\n\r\n"], [State.WAITING, State.IDLE]),
        ([b"nonsense"], [State.CLOSED]),
    ],
)
def test_its_states(said: list[bytes], states: list[State]) -> None:
    """By the framing of the answer (RFC 9112 section 6.3)."""
    wire = Wire().ask()
    seen = []
    for piece in said:
        wire.say(piece)
        seen.append(wire.state)
    assert seen == states


FRAMINGS = {
    "counted": (OK + b"Content-Length: 11\r\n\r\nhello world", b"hello world"),
    "chunked": (CHUNKED + b"5;a=b\r\nhello\r\n006\r\n world\r\n0\r\nX: y\r\n\r\n", b"hello world"),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "after interim": (b"HTTP/1.1 103 Hints\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_any_split_ends_at_the_same_byte(framing: str) -> None:
    """The body is whole, and the connection goes back to its pool exactly once."""
    said, body = FRAMINGS[framing]

    @THROUGH_THE_GATEWAY
    @given(places=cuts)
    def holds(places: list[int]) -> None:
        wire = Wire().ask().say(*split(said, places))
        assert wire.sink.body == body
        assert wire.sink.told[-1] == "end"
        assert wire.log == ["opened", "released"]

    holds()


@pytest.mark.parametrize("framing", FRAMINGS)
def test_any_split_notices_a_byte_too_many(framing: str) -> None:
    """Wherever it comes: such a connection is never given to anybody again."""
    said, body = FRAMINGS[framing]

    @THROUGH_THE_GATEWAY
    @given(places=cuts)
    def holds(places: list[int]) -> None:
        wire = Wire().ask().say(*split(said + b"H", places))
        assert wire.sink.body == body
        assert (wire.state, wire.transport.closed) == (State.CLOSED, "reset")

    holds()


def test_it_is_back_in_its_pool_before_the_end_is_told() -> None:
    """So that a request that follows at once finds it."""
    wire = Wire().ask()
    order: list[str] = []
    wire.connection._released = lambda connection: order.append("released")
    wire.sink.end_answer = lambda: order.append("told")  # type: ignore[method-assign]
    wire.say(CHUNKED, b"0\r\n\r\n")
    assert order == ["released", "told"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"head_only": True}, OK + b"Content-Length: 5\r\n\r\n"),
        ({}, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ({}, b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ({}, OK + b"Content-Length: 0\r\nConnection: close\r\n\r\n"),
        ({}, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ({"body_follows": True}, OK + b"Content-Length: 0\r\n\r\n"),
    ],
)
def test_after_these_it_is_not_used_again(ask: dict[str, bool], said: bytes) -> None:
    """The answer is whole, the connection doubtful."""
    wire = Wire().ask(**ask).say(said)
    assert wire.sink.told == [int(said[9:12]), "end"]
    assert (wire.transport.closed, wire.log) == ("reset", ["opened"])


def test_a_request_that_was_sent_whole_does_not_spoil_it() -> None:
    """`end_body` came in time."""
    wire = Wire().ask(body_follows=True)
    wire.connection.send_body(b"abc")
    wire.connection.end_body()
    wire.say(OK + b"Content-Length: 0\r\n\r\n")
    assert wire.transport.delivered == GET + b"abc"
    assert wire.log == ["opened", "released"]


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize(
    ("said", "fin", "lost"),
    [
        (b"", ("bad_answer", True), ("bad_answer", True)),
        (b"H", ("bad_answer", False), ("bad_answer", False)),
        (b"HTTP/1.1 102 P\r\n\r\n", ("bad_answer", False), ("bad_answer", False)),
        (OK + b"Content-Length: 3\r\n\r\na", ("bad_answer", False), ("bad_answer", False)),
        (CHUNKED + b"1\r\na\r\n", ("bad_answer", False), ("bad_answer", False)),
        (OK + b"\r\na", "end", ("bad_answer", False)),
        (SWITCHING + b"a", "end", ("bad_answer", False)),
    ],
)
def test_what_a_loss_means(said: bytes, fin: Any, lost: Any, how: str) -> None:
    """An end where the framing asks for one, else a loss; and whether a byte of an answer was there before it."""
    wire = Wire().ask()
    if said:
        wire.say(said)
    wire.leave(how)
    assert wire.sink.told[-1] == (fin if how == "fin" else lost)
    assert wire.log == ["opened", "closed"]


def test_a_loss_between_two_exchanges_is_told_to_the_pool_alone() -> None:
    """Nobody is waiting."""
    wire = Wire().ask().say(OK + b"Content-Length: 0\r\n\r\n").leave("fin")
    assert wire.sink.told == [200, "end"]
    assert wire.log == ["opened", "released", "closed"]


def test_abort_says_nothing_to_the_one_who_asked_for_it() -> None:
    """It is the sink that leaves; bytes that come after it are nobody's."""
    wire = Wire().ask().say(OK + b"Content-Length: 3\r\n\r\n")
    wire.connection.abort()
    wire.say(b"abc")
    wire.connection.abort()
    wire.transport.deliver_loss()
    assert (wire.sink.told, wire.log) == ([200], ["opened", "closed"])
    assert not wire.connection.is_quiet()


def test_a_deadline_is_told_to_the_sink_while_there_is_one() -> None:
    """Without one, the connection goes."""
    wire = Wire().ask()
    wire.connection.watch(5)
    wire.clock.advance(5.5)
    assert (wire.sink.told, wire.transport.closed) == (["time out"], None)
    wire.say(OK + b"Content-Length: 0\r\n\r\n")
    wire.connection.watch(10)
    wire.clock.advance(5.5)
    assert wire.transport.closed == "reset"


def test_back_pressure_is_passed_on_both_ways() -> None:
    """A full socket pauses the request; a slow client pauses the answer."""
    wire = Wire().ask(body_follows=True)
    wire.transport.taking = False
    wire.connection.send_body(b"x" * 70_000)
    assert wire.connection.unsent_bytes() == 70_000
    wire.transport.taking = True
    wire.transport.deliver()
    assert wire.sink.told == ["pause", "resume"]
    wire.connection.pause_answer()
    assert not wire.transport.reading
    wire.connection.resume_answer()
    assert wire.transport.reading


def test_a_paused_connection_reads_again_when_it_is_free() -> None:
    """Else its next exchange would never hear an answer."""
    wire = Wire().ask().say(OK + b"Content-Length: 3\r\n\r\n")
    wire.connection.pause_answer()
    wire.say(b"abc")
    assert wire.log == ["opened", "released"]
    assert wire.transport.reading


class Passed:
    """Takes what goes past the sink."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


def test_whole_chunks_can_go_past_the_sink() -> None:
    """As they came; what is no whole chunk goes the ordinary way, and the end is found all the same."""
    wire = Wire().ask().say(CHUNKED)
    passed = Passed()
    wire.connection.pass_chunks(lambda reader: passed)
    whole, several = b"4\r\nabcd\r\n", b"5\r\nefghi\r\n4\r\njklm\r\n"
    wire.say(whole, several, b"4;x=y\r\nnopq\r\n", b"4\r\nr", b"stu\r\n", whole, b"0\r\n\r\n")
    assert passed.pieces == [whole, several, whole]
    assert wire.sink.body == b"nopqrstu"
    assert wire.sink.told == [200, "end"]
    assert wire.log == ["opened", "released"]


def test_close_tunnel_sends_the_rest_and_is_patient_for_a_moment() -> None:
    """Then it cuts."""
    wire = Wire().ask().say(SWITCHING)
    wire.transport.taking = False
    wire.connection.send_body(b"bye")
    wire.connection.close_tunnel(5)
    wire.clock.advance(4)
    assert wire.transport.closed is None
    wire.clock.advance(2)
    assert wire.transport.closed == "reset"
    assert wire.sink.told == [101]


def test_a_stream_that_begins_like_another_of_its_replica_is_recognised() -> None:
    """Read once, whatever the connection; one that begins otherwise is read anew."""
    events = CHUNKED[:-2] + b"Content-Type: text/event-stream\r\n\r\n"
    of_replica: LastHead[AnswerHead] = LastHead()
    heads = []
    for said in (events, events, events.replace(b"200", b"201")):
        wire = Wire()
        wire.connection.stream_heads = of_replica
        wire.ask().say(said[:9], said[9:], b"3\r\nabc\r\n")
        assert (wire.state, wire.sink.body) == (State.CHUNKED, b"abc")
        heads += wire.sink.heads
    assert [head.status for head in heads] == [200, 200, 201]
    assert heads[0] is heads[1]
