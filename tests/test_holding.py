"""Exchanges that wait: for their body, for their turn; and clients that do not wait that long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mcpgate.errors import BadRequest, GatewayError
from mcpgate.exchange import Ended, Exchange, Peer
from mcpgate.holding import Collecting, Waiters, Waiting
from mcpgate.wire.http1 import HeadLimits, parse_request


class Scene:
    """A held exchange, and everybody who hears of it."""

    def __init__(self, sent: bytes) -> None:
        head = parse_request(sent.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", HeadLimits(10_000, 100))
        self.exchange = Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0)
        self.calls: list[str] = []
        self.waiters = Waiters(1000)
        self.sink: Any = None

    def attach(self, sink: Any) -> None:
        self.sink = sink

    def read_body(self) -> None:
        self.calls.append("read body")

    def go_on(self, exchange: Exchange, port: Any) -> None:
        assert (exchange, port) == (self.exchange, self)
        self.calls.append("go on")

    def refuse(self, exchange: Exchange, port: Any, error: GatewayError) -> None:
        self.calls.append(error.reason)

    def record(self, exchange: Exchange, ended: Ended) -> None:
        self.calls.append(ended.value)

    def collect(self, bound_bytes: int, waiters: Waiters | None = None) -> Scene:
        self.waiters = waiters or self.waiters
        Collecting(self.exchange, cast(Any, self), cast(Any, self), self.waiters).begin(bound_bytes, self.go_on)
        return self

    def wait(self, arm: Callable[[Callable[[], None]], Callable[[], None]]) -> Scene:
        Waiting(self.exchange, cast(Any, self), cast(Any, self), self.waiters).begin(arm, self.go_on)
        return self


GET = b"GET /mcp/x HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /mcp/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_that_came_in_pieces_goes_on_as_one() -> None:
    """With a length, whatever its framing was."""
    scene = Scene(CHUNKED).collect(10)
    scene.sink.take_body(b"12345")
    scene.sink.take_body(b"67890")
    assert scene.calls == ["read body"]
    scene.sink.end_body()
    exchange = scene.exchange
    assert scene.calls == ["read body", "go on"]
    assert (exchange.body, exchange.body_is_here) == (b"1234567890", True)
    assert (exchange.head.content_length, exchange.head.chunked, exchange.head.has_body) == (10, False, True)


def test_a_body_over_the_bound_is_refused_once_and_not_kept() -> None:
    """Whatever still comes."""
    scene = Scene(CHUNKED).collect(4)
    for _ in range(3):
        scene.sink.take_body(b"123")
    scene.sink.lose_client(Ended.CLIENT_GONE, None)
    assert scene.calls == ["read body", "body_too_large_to_check"]


def test_a_client_that_leaves_is_recorded_and_nothing_goes_on() -> None:
    """Also when its turn comes later."""
    turns: list[Callable[[], None]] = []
    scene = Scene(GET)

    def arm(go_on: Callable[[], None]) -> Callable[[], None]:
        turns.append(go_on)
        return lambda: scene.calls.append("taken back")

    scene.wait(arm)
    scene.sink.lose_client(Ended.CLIENT_GONE, None)
    turns[0]()
    assert scene.calls == ["taken back", "client_gone"]


def test_what_cannot_go_on_is_refused_with_its_error() -> None:
    """A body that breaks while somebody waits for it."""
    scene = Scene(CHUNKED).collect(100)
    scene.sink.lose_client(Ended.REFUSED, BadRequest())
    assert scene.calls == ["read body", "bad_request"]


def test_a_turn_that_has_come_already_goes_on_at_once_and_once() -> None:
    """Keys that may not be fetched now."""
    scene = Scene(GET)

    def at_once(go_on: Callable[[], None]) -> Callable[[], None]:
        go_on()
        go_on()
        return lambda: scene.calls.append("taken back")

    scene.wait(at_once)
    assert scene.calls == ["go on"]


def test_all_bodies_together_have_a_bound_too() -> None:
    """Many clients, each with a large body that it does not finish; and of all no one may hold more than an eighth."""
    waiters = Waiters(16)
    scenes = [Scene(CHUNKED).collect(8, waiters) for _ in range(10)]
    for number, scene in enumerate(scenes):
        scene.exchange.principal = f"guest {number}"
        scene.sink.take_body(b"12")
    assert [scene.calls[1:] for scene in scenes] == [[]] * 8 + [["overloaded"]] * 2
    scenes[0].sink.take_body(b"3")
    assert scenes[0].calls == ["read body", "overloaded"]
    assert waiters.held == {scene.sink for scene in scenes[1:8]}
    waiters.give_back(scenes[0].exchange)
    waiters.give_back(scenes[0].exchange)
    last = Scene(CHUNKED).collect(8, waiters)
    last.sink.take_body(b"12")
    last.sink.end_body()
    assert last.calls == ["read body", "go on"]


def test_who_waits_is_known_until_it_goes_on() -> None:
    """So that a gateway that stops can tell everybody."""
    turns: list[Callable[[], None]] = []

    def arm(go_on: Callable[[], None]) -> Callable[[], None]:
        turns.append(go_on)
        return lambda: None

    scene = Scene(GET).wait(arm)
    assert scene.waiters.held == {scene.sink}
    assert scene.exchange.was_held
    turns[0]()
    assert scene.waiters.held == set()
