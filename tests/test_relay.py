"""The states of one exchange: every move is in the table, and whatever happens, both sides are treated lawfully."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scenes import LIMITS, Scene
from tests.stories.test_websocket import ACCEPT, OFFER

from mcpgate.errors import BadRequest, ConnectFailed, Draining
from mcpgate.exchange import Ended
from mcpgate.net.deadlines import NEVER_S
from mcpgate.relay import HOLD_S
from mcpgate.stages import MOVES, Stage
from mcpgate.testing import request
from mcpgate.wire.http1 import AnswerHead, parse_answer

ENDPOINT = b"event: endpoint\ndata: /m?s=1\n\n"


def _head(said: str) -> AnswerHead:
    return parse_answer(f"HTTP/1.1 {said}\r\n\r\n".encode(), LIMITS)


def _plain() -> AnswerHead:
    return _head("200 OK\r\nContent-Length: 100")


def _stream() -> AnswerHead:
    return _head("200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked")


def _switching() -> AnswerHead:
    return _head(f"101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}")


WEBSOCKET = request("GET", headers=OFFER)

#: A way to each move of the table; together they must walk all of it.
WALKS: dict[tuple[Stage, Stage], Callable[[], Scene]] = {
    (Stage.OPENING, Stage.HEAD): lambda: Scene().connect(),
    (Stage.OPENING, Stage.CLOSED): lambda: _then(Scene(), lambda s: s.relay.fail_connection(ConnectFailed())),
    (Stage.HEAD, Stage.OPENING): lambda: Scene().connect(fresh=False).lose(untouched=True),
    (Stage.HEAD, Stage.FIRST_EVENT): lambda: Scene(holds=True).connect().answer(_stream()),
    (Stage.HEAD, Stage.PIPING): lambda: Scene().connect().answer(_plain()),
    (Stage.HEAD, Stage.TUNNEL): lambda: Scene(WEBSOCKET).connect().answer(_switching()),
    (Stage.HEAD, Stage.CLOSED): lambda: Scene().connect().answer(_plain(), b"x" * 100, ended=True),
    (Stage.FIRST_EVENT, Stage.PIPING): lambda: Scene(holds=True).connect().answer(_stream(), ENDPOINT),
    (Stage.FIRST_EVENT, Stage.CLOSED): lambda: Scene(holds=True).connect().answer(_stream()).lose(),
    (Stage.PIPING, Stage.CLOSED): lambda: Scene().connect().answer(_plain()).end(),
    (Stage.TUNNEL, Stage.CLOSED): lambda: Scene(WEBSOCKET).connect().answer(_switching()).end(),
}


def _then(scene: Scene, act: Callable[[Scene], object]) -> Scene:
    scene.dials[-1].pending = False
    act(scene)
    return scene


def test_the_table_names_every_stage() -> None:
    """Where nothing is listed, nothing may happen."""
    assert set(MOVES) == set(Stage)
    assert MOVES[Stage.CLOSED] == frozenset()


def test_every_move_of_the_table_happens() -> None:
    """The table promises nothing that the code does not do."""
    assert set(WALKS) == {(before, after) for before, allowed in MOVES.items() for after in allowed}
    for move, walk in WALKS.items():
        assert walk().relay.moves[-1] == move


_EVENTS = (
    "connect fresh", "connect reused", "fail to connect", "interim", "plain", "stream", "whole", "empty", "switching",
    "data", "endpoint", "foreign", "end", "lose", "lose untouched", "time out", "body", "end body", "tunnel", "pause",
    "resume", "pause request", "resume request", "client leaves", "client spoils", "cut",
)  # fmt: skip
_SCENES: dict[str, Callable[[], Scene]] = {
    "get": Scene,
    "legacy": lambda: Scene(holds=True),
    "legacy with idle limit": lambda: Scene(holds=True, timeouts="30s"),
    "websocket": lambda: Scene(WEBSOCKET),
    "post": lambda: Scene(request(headers={"Content-Length": "1000"})),
    "chunked post": lambda: Scene(request(headers={"Transfer-Encoding": "chunked"})),
    "head": lambda: Scene(request("HEAD")),
}


def _play(scene: Scene, event: str) -> None:
    """Let one thing happen, if it can happen now."""
    relay, port, connection = scene.relay, scene.port, scene.connection
    dialling = scene.dials[-1].pending
    live = connection is not None and connection.open and not scene.is_over
    waiting = live and relay.stage is Stage.HEAD
    answering = live and relay.stage in (Stage.FIRST_EVENT, Stage.PIPING, Stage.TUNNEL)
    reading = live and "read_body" in port.calls and connection is not None and connection.body_open
    acts: dict[str, tuple[bool, Callable[[], object]]] = {
        "connect fresh": (dialling, scene.connect),
        "connect reused": (dialling, lambda: scene.connect(fresh=False)),
        "fail to connect": (dialling, lambda: _then(scene, lambda s: s.relay.fail_connection(ConnectFailed()))),
        "interim": (waiting, lambda: relay.take_interim(_head("103 Early Hints"))),
        "plain": (waiting, lambda: scene.answer(_plain(), b"x")),
        "stream": (waiting, lambda: scene.answer(_stream(), b": hi\n")),
        "whole": (waiting, lambda: scene.answer(_head("200 OK\r\nContent-Length: 2"), b"{}", ended=True)),
        "empty": (waiting, lambda: scene.answer(_head("204 No Content"), ended=True)),
        "switching": (waiting, lambda: scene.answer(_switching())),
        "data": (answering, lambda: relay.take_answer(b"data: 1\n\n")),
        "endpoint": (answering, lambda: relay.take_answer(ENDPOINT)),
        "foreign": (answering, lambda: relay.take_answer(b"event: endpoint\ndata: http://other/\n\n")),
        "end": (answering, scene.end),
        "lose": (live, scene.lose),
        "lose untouched": (waiting, lambda: scene.lose(untouched=True)),
        "time out": (live and connection is not None and connection.deadline_s < NEVER_S, relay.time_out_upstream),
        "body": (reading, lambda: relay.take_body(b"x")),
        "end body": (reading, relay.end_body),
        "tunnel": (answering and relay.stage is Stage.TUNNEL, lambda: relay.take_tunnel(b"x")),
        "pause": (not scene.is_over, relay.pause_answer),
        "resume": (not scene.is_over, relay.resume_answer),
        "pause request": (live, relay.pause_request),
        "resume request": (live, relay.resume_request),
        "client leaves": (not scene.is_over, lambda: _leave(scene)),
        "client spoils": (reading, lambda: relay.lose_client(Ended.REFUSED, BadRequest())),
        "cut": (not scene.is_over, lambda: relay.cut(Ended.DRAIN, Draining())),
    }
    possible, act = acts[event]
    if possible:
        act()


def _leave(scene: Scene) -> None:
    """The client is gone: nothing may be said to it any more."""
    scene.port.over = True
    scene.relay.lose_client(Ended.CLIENT_GONE, None)


@pytest.mark.parametrize("kind", _SCENES)
def test_whatever_happens_happens_by_the_table(kind: str) -> None:
    """
    Any order of events moves only as the table says, speaks to the client in the promised order, ends once, and lets
    go of the server.
    """

    @settings(max_examples=120, deadline=None)
    @given(events=st.lists(st.sampled_from(_EVENTS), max_size=25))
    def holds(events: list[str]) -> None:
        scene = _SCENES[kind]()
        for event in events:
            _play(scene, event)
            assert len(scene.ends) == int(scene.is_over)
        if not scene.is_over:
            _leave(scene)
        assert len(scene.ends) == 1
        assert scene.relays == set()
        assert scene.connection is None or not scene.connection.open
        assert not any(dial.pending for dial in scene.dials)
        assert all(after in MOVES[before] for before, after in scene.relay.moves)

    holds()


# --- details that no move shows -----------------------------------------------------------------------------------


def test_a_relay_is_among_the_open_ones_of_its_server_while_it_lives() -> None:
    """So that a reload or a drain can end it."""
    scene = Scene()
    assert scene.relays == {scene.relay}
    scene.relay.cut(Ended.DRAIN, Draining())
    assert scene.relays == set()
    assert not scene.dials[0].pending


@pytest.mark.parametrize(
    ("holds", "body", "deadline_s"), [(False, b"", NEVER_S), (True, b"", HOLD_S), (True, ENDPOINT, NEVER_S)]
)
def test_what_is_waited_for(holds: bool, body: bytes, deadline_s: float) -> None:
    """Five minutes for a head, a second for a first event, nothing for the rest of a stream."""
    scene = Scene(holds=holds).connect()
    assert scene.connection is not None
    assert scene.connection.deadline_s == 1300
    scene.answer(_stream(), body)
    assert scene.connection.deadline_s == 1000 + deadline_s


def test_the_wait_for_a_head_begins_anew_with_every_piece_of_the_request() -> None:
    """A long upload is not the server's slowness."""
    scene = Scene(request(headers={"Content-Length": "1000"})).connect()
    assert scene.connection is not None
    for now_s in (100.0, 200.0):
        scene.now_s = now_s
        scene.relay.take_body(b"x")
        assert scene.connection.deadline_s == now_s + 300
    scene.now_s = 400.0
    scene.relay.end_body()
    assert scene.connection.deadline_s == 700


@pytest.mark.parametrize(
    ("asked", "fresh", "untouched", "again"),
    [
        (request("GET"), False, True, True),
        (request("HEAD"), False, True, True),
        (request("OPTIONS"), False, True, True),
        (request("GET"), True, True, False),
        (request("GET"), False, False, False),
        (request("DELETE"), False, True, False),
        (request("POST"), False, True, False),
        (request("GET", headers={"Content-Length": "2"}), False, True, False),
    ],
)
def test_what_may_be_sent_again(asked: bytes, fresh: bool, untouched: bool, again: bool) -> None:
    """Safe, without a body, on a reused connection, before a byte of an answer: all of it, or not at all."""
    scene = Scene(asked).connect(fresh=fresh).lose(untouched=untouched)
    assert len(scene.dials) == (2 if again else 1)
    assert [error.reason for error in scene.errors] == ([] if again else ["bad_answer"])


@pytest.mark.parametrize(("seconds_later", "told"), [(0.0, ["bad_request"]), (1.0, [])])
def test_a_broken_request_is_told_as_long_as_nothing_was_answered(seconds_later: float, told: list[str]) -> None:
    """A held stream can still become an error; one whose head is out can only be cut."""
    scene = Scene(request("GET", headers={"Content-Length": "9"}), holds=True).connect().answer(_stream())
    if seconds_later:
        scene.relay.time_out_upstream()
    scene.relay.lose_client(Ended.REFUSED, BadRequest())
    assert [error.reason for error in scene.errors] == told
    assert scene.ends == [Ended.REFUSED]


def test_a_stream_does_not_keep_the_request_that_opened_it() -> None:
    """Ten thousand of them would."""
    scene = Scene().connect().answer(_stream())
    assert scene.relay._request == b""


def test_it_says_where_it_stands() -> None:
    """For a person with a debugger."""
    assert repr(Scene().connect().answer(_stream()).relay).startswith("<Relay piping <Exchange b'GET'")
