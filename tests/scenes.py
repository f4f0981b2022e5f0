"""A relay between a client and a server that a test plays: doubles that insist on what their ports promise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from mcpgate.errors import BadAnswer, GatewayError
from mcpgate.exchange import Answer, Ended, Exchange, Peer, RequestSink
from mcpgate.net.deadlines import NEVER_S
from mcpgate.plan import Plan
from mcpgate.relay import Relay
from mcpgate.settings import TimeoutSettings
from mcpgate.stages import Stage
from mcpgate.testing import request
from mcpgate.wire.http1 import AnswerHead, HeadLimits, parse_request
from mcpgate.wire.mapping import PathMap

LIMITS = HeadLimits(10_000, 100)

#: Where a relay keeps its stage.
_SLOT: Any = vars(Relay)["stage"]


class Watched(Relay):
    """A relay whose moves are written down."""

    moves: list[tuple[Stage, Stage]]

    def _get(self) -> Stage:
        stage: Stage = _SLOT.__get__(self)
        return stage

    def _set(self, stage: Stage) -> None:
        try:
            before = self._get()
        except AttributeError:
            self.moves = []
        else:
            self.moves.append((before, stage))
        _SLOT.__set__(self, stage)

    stage = property(_get, _set)


class Port:
    """The client's side; it insists on the order of calls that `Downstream` promises."""

    forwards_chunks = False

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent = b""
        self.status = 0
        self.sink: RequestSink | None = None
        self.over = False

    def _note(self, call: str) -> None:
        assert not self.over, f"{call} after the end: {self.calls}"
        self.calls.append(call)

    @property
    def began(self) -> bool:
        return "start" in self.calls or "open_tunnel" in self.calls

    def attach(self, sink: RequestSink) -> None:
        assert not self.calls
        self._note("attach")
        self.sink = sink

    def read_body(self) -> None:
        assert "read_body" not in self.calls
        self._note("read_body")

    def pause_body(self) -> None:
        self._note("pause_body")

    def resume_body(self) -> None:
        self._note("resume_body")

    def inform(self, answer: Answer) -> None:
        assert not self.began
        self._note("inform")

    def start(self, answer: Answer, body: bytes = b"", ended: bool = False) -> None:
        assert not self.began
        self._note("start")
        self.status = answer.status
        self.sent += body
        self.over = ended

    def write(self, data: bytes) -> None:
        assert self.began
        assert data
        self._note("write")
        self.sent += data


    def finish(self) -> None:
        assert self.began
        self._note("finish")
        self.over = True

    def abort(self) -> None:
        assert self.began
        self._note("abort")
        self.over = True

    def open_tunnel(self, answer: Answer, first: bytes) -> None:
        assert not self.began
        self._note("open_tunnel")
        self.status = answer.status
        self.sent += first


class Connection:
    """The server's side: what it was sent, and whether it is still ours."""

    def __init__(self) -> None:
        self.sent = b""
        self.deadline_s = NEVER_S
        self.open = True
        self.body_open = False
        self.paused = False

    def send(self, sink: Relay, request: bytes, *, head_only: bool, body_follows: bool) -> None:
        self.sent += request
        self.body_open = body_follows

    def send_body(self, data: bytes) -> None:
        assert self.open
        self.sent += data

    def end_body(self) -> None:
        assert self.body_open
        self.body_open = False

    def watch(self, at_s: float) -> None:
        self.deadline_s = at_s

    def pass_chunks(self, pipe_from: object) -> None:
        """Nothing comes in chunks here."""

    def pause_answer(self) -> None:
        self.paused = True

    def resume_answer(self) -> None:
        self.paused = False

    def abort(self) -> None:
        assert self.open
        self.open = False

    def close_tunnel(self, by_s: float) -> None:
        assert self.open
        self.open = False


class Dial:
    """An attempt to connect."""

    def __init__(self) -> None:
        self.pending = True

    def cancel(self) -> None:
        assert self.pending
        self.pending = False


class Scene:
    """A relay between a client and a server that a test plays."""

    def __init__(self, asked: bytes = request("GET"), *, holds: bool = False, timeouts: str = "") -> None:
        self.now_s = 1000.0
        self.port = Port()
        self.dials: list[Dial] = []
        self.connection: Connection | None = None
        self.ends: list[Ended] = []
        self.opened: list[str] = []
        self.errors: list[GatewayError] = []
        self.relays: set[Any] = set()
        head = parse_request(asked.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", LIMITS)
        limits = TimeoutSettings.model_validate({"stream_idle": timeouts} if timeouts else {})
        server = SimpleNamespace(relays=self.relays, announced={}, timeouts=limits, response_s=limits.response)
        placement = SimpleNamespace(
            replica=SimpleNamespace(acquire=self._dial, dial=self._dial, name="127.0.0.1:3010"),
            paths=PathMap(b"/mcp/x", b"http", b"127.0.0.1:3010"),
        )
        plan = Plan(cast(Any, server), cast(Any, placement), b"/sse", holds)
        exchange = Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0)
        self.relay = Watched(exchange, self.port, plan, cast(Any, self), lambda: self.now_s)
        self.relay.begin(b"REQUEST")

    def _dial(self, caller: object) -> Any:
        self.dials.append(Dial())
        return self.dials[-1]

    # --- the outcome

    def refuse(self, exchange: Exchange, port: Port, error: GatewayError) -> None:
        self.errors.append(error)
        port.start(Answer(error.status, b"", b"", 0), b"", True)
        self.ends.append(Ended.REFUSED)

    def open_stream(self, exchange: Exchange) -> None:
        self.opened.append(exchange.transport)

    def first_event(self, exchange: Exchange) -> None:
        self.opened.append("first event")

    def record(self, exchange: Exchange, ended: Ended) -> None:
        self.ends.append(ended)

    # --- what may happen

    def connect(self, fresh: bool = True) -> Scene:
        self.dials[-1].pending = False
        self.connection = Connection()
        self.relay.take_connection(cast(Any, self.connection), fresh)
        return self

    def answer(self, head: AnswerHead, body: bytes = b"", ended: bool = False) -> Scene:
        if ended:
            self.let_go()
        self.relay.take_head(head, body, ended)
        return self

    def let_go(self) -> None:
        """The connection is back in its pool, or gone: the relay has no say any more."""
        assert self.connection is not None
        self.connection.open = False

    def lose(self, untouched: bool = False) -> Scene:
        self.let_go()
        self.relay.lose_upstream(BadAnswer(), untouched)
        return self

    def end(self) -> Scene:
        self.let_go()
        self.relay.end_answer()
        return self

    @property
    def is_over(self) -> bool:
        return self.relay.stage is Stage.CLOSED
