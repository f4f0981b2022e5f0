"""mcpgate.metrics.headcount: who is here is counted once, in small steps, while everything goes on."""

from __future__ import annotations

from typing import Any, cast

from tests.metrics.gate import Connection, Gate, Relay

from mcpgate.metrics.headcount import Headcount
from mcpgate.metrics.process import Process


def headcount_of(gate: Gate) -> Headcount:
    """A count at one go."""
    headcount = Headcount(gate.observed(), Process())
    for _ in headcount.steps():
        pass
    return headcount


def open_on(server: Any, *relays: Relay) -> None:
    server.relays.update(cast(Any, relays))


def test_exchanges_are_counted_by_server_without_streams() -> None:
    """All are asked for their bytes, streams too."""
    gate = Gate()
    relays = [Relay(), Relay(), Relay("sse")]
    open_on(gate.add("a"), *relays)
    gate.add("b")
    assert headcount_of(gate).requests == {"a": 2, "b": 0}
    assert [relay.settled for relay in relays] == [1, 1, 1]


def test_what_a_retired_server_finishes_is_counted_too() -> None:
    """Its exchanges have the same name as those of its successor."""
    gate = Gate()
    old = gate.add("a")
    open_on(old, Relay())
    gate.retired.append(old)
    open_on(gate.add("a"), Relay())
    assert headcount_of(gate).requests == {"a": 2}


def test_a_successor_that_took_over_counts_once() -> None:
    """A reload that changed a server leaves its exchanges to the new one."""
    gate = Gate()
    old = gate.add("a")
    relay = Relay()
    open_on(old, relay)
    gate.add("a").take_over(old)
    gate.retired.append(old)
    assert headcount_of(gate).requests == {"a": 1}
    assert relay.settled == 1


def test_connections_are_counted_by_listener_and_state() -> None:
    """All five states are there, with 0 for none; what clients have not taken is summed."""
    gate = Gate()
    gate.connections["data"] = {Connection("idle"), Connection("stream", 700), Connection("stream", 30)}
    gate.connections["admin"] = {Connection("exchange", 1)}
    headcount = headcount_of(gate)
    assert headcount.connections == {
        ("data", "idle"): 1, ("data", "exchange"): 0, ("data", "stream"): 2, ("data", "tunnel"): 0, ("data", "closing"): 0,
        ("admin", "idle"): 0, ("admin", "exchange"): 1, ("admin", "stream"): 0, ("admin", "tunnel"): 0, ("admin", "closing"): 0,
    }  # fmt: skip
    assert headcount.buffered_bytes == 731


def test_one_is_looked_at_in_a_step() -> None:
    """So whoever counts decides how long it goes on without a break."""
    gate = Gate()
    relays = [Relay() for _ in range(50)]
    clients = [Connection("stream") for _ in range(70)]
    open_on(gate.add("a"), *relays)
    gate.connections["data"] = set(clients)
    for number, _ in enumerate(Headcount(gate.observed(), Process()).steps(), 1):
        assert sum(relay.settled for relay in relays) + sum(client.asked for client in clients) == min(number, 120)


def test_who_leaves_meanwhile_is_not_asked_any_more() -> None:
    """An exchange that is over has been counted where it ended; who comes is counted the next time."""
    gate = Gate()
    server = gate.add("a")
    relays = [Relay() for _ in range(10)]
    open_on(server, *relays)
    steps = Headcount(gate.observed(), Process()).steps()
    next(steps)
    server.relays.clear()
    late = Relay()
    open_on(server, late)
    for _ in steps:
        pass
    assert sum(relay.settled for relay in relays) == 1
    assert late.settled == 0
