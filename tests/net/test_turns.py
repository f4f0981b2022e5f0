"""What comes at the end of a turn."""

from __future__ import annotations

import socket
import time
from typing import Any

from tests.net.lines import Pair, turn_until
from twisted.internet.protocol import Factory

from mcpgate.net.reactor import LeanEPollReactor


def test_the_end_of_a_turn_comes_after_all_its_events(pair: Pair) -> None:
    """What one connection does at the end of a turn does not come between the others' events."""
    heard: list[str] = []

    def hear(name: str) -> Any:
        def receive(data: bytes) -> None:
            heard.append(name)
            pair.reactor.at_turn_end(lambda: heard.append("end"))

        return receive

    other = pair.connect()
    turn_until(pair.reactor, lambda: len(pair.accepted) == 2)
    for name, listener, peer in (("one", pair.listener, pair.peer), ("two", pair.accepted[1], other)):
        listener.dataReceived = hear(name)  # type: ignore[method-assign]
        peer.sendall(b"x")
    pair.reactor.iterate(0)
    assert sorted(heard[:2]) == ["one", "two"]
    assert heard[2:] == ["end", "end"]


def test_what_a_turns_end_asks_for_belongs_to_the_next(reactor: LeanEPollReactor) -> None:
    """However often something asks again, others have their turn in between."""
    ends: list[int] = []

    def again() -> None:
        ends.append(len(ends))
        reactor.at_turn_end(again)

    reactor.at_turn_end(again)
    reactor.end_turn()
    assert ends == [0]
    reactor.end_turn()
    assert ends == [0, 1]


def test_what_fails_at_a_turns_end_costs_the_others_nothing(reactor: LeanEPollReactor) -> None:
    """One protocol that cannot take its end does not keep the next one open."""
    done: list[str] = []
    reactor.at_turn_end(lambda: done.append("first"))
    reactor.at_turn_end(lambda: 1 // 0)
    reactor.at_turn_end(lambda: done.append("last"))
    reactor.end_turn()
    assert done == ["first", "last"]


def test_what_a_timer_ends_does_not_wait_for_the_next_event(reactor: LeanEPollReactor) -> None:
    """A connection that a deadline cuts is gone before the reactor goes to sleep."""
    ended: list[str] = []
    reactor.callLater(0, reactor.at_turn_end, lambda: ended.append("now"))
    begun_s = time.monotonic()
    reactor.iterate(5)
    assert ended == ["now"]
    assert time.monotonic() - begun_s < 2


def test_a_number_is_not_given_anew_while_events_wait(pair: Pair) -> None:
    """A connection that is cut keeps its descriptor to the end of the turn, so that no other hears its events."""
    number = pair.transport.fileno()
    pair.transport.abortConnection()
    with socket.socket() as fresh:
        assert fresh.fileno() != number
    assert pair.transport not in pair.reactor.getReaders()
    pair.reactor.iterate(0)
    with socket.socket() as fresh:
        assert fresh.fileno() == number


def test_other_ports_of_the_reactor_take_no_part(reactor: LeanEPollReactor) -> None:
    """A port that closes does so on Twisted's own way."""
    port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
    closing = port.stopListening()
    turn_until(reactor, lambda: closing.called)
    assert port not in reactor.getReaders()
