"""A server at run time."""

from __future__ import annotations

import pytest

from mcpgate.testing import GatewayUnderTest, request
from mcpgate.upstream.pool import Status


def test_it_knows_its_open_exchanges() -> None:
    """For as long as they last; and it says so."""
    gate = GatewayUnderTest()
    server = gate.gateway.servers["x"]
    client = gate.connect()
    client.send(request("GET"))
    assert (len(server.relays), repr(server)) == (1, "<Server x: 1 open, [<Replica 127.0.0.1:3010: 1 open, 0 idle>]>")
    client.reset()
    assert len(server.relays) == 0


TWO = """\
servers:
  - name: x
    upstreams: [{url: "http://127.0.0.1:3010"}, {url: "http://127.0.0.1:3011", weight: 2}]
"""


def test_its_replicas_take_turns() -> None:
    """By weight; who could not be dialled is passed over for a moment."""
    gate = GatewayUnderTest(TWO)
    server = gate.gateway.servers["x"]
    assert sorted(server.next_index() for _ in range(6)) == [0, 0, 1, 1, 1, 1]
    server.replicas[1].note_failure(refused=False)
    assert [server.next_index() for _ in range(3)] == [0, 0, 0]
    gate.advance(2.5)
    assert 1 in [server.next_index() for _ in range(3)]


def test_a_session_finds_its_replica_by_its_tag() -> None:
    """And nothing else."""
    server = GatewayUnderTest(TWO).gateway.servers["x"]
    assert [server.index_of(placement.tag) for placement in server.placements] == [0, 1]
    assert server.index_of(b"other!") is None


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (Status.UP, Status.DOWN, Status.UP),
        (Status.UNKNOWN, Status.DOWN, Status.UNKNOWN),
        (Status.DOWN, Status.DOWN, Status.DOWN),
    ],
)
def test_it_is_up_while_one_replica_is(first: Status, second: Status, together: Status) -> None:
    """Down only if all are."""
    server = GatewayUnderTest(TWO).gateway.servers["x"]
    server.replicas[0].status, server.replicas[1].status = first, second
    assert server.status is together


def test_a_replica_that_is_critical_gets_nothing_new() -> None:
    """Not even if it is the only one, or the others could not be dialled just now."""
    one = GatewayUnderTest().gateway.servers["x"]
    one.replicas[0].is_critical = True
    assert one.next_index() is None
    two = GatewayUnderTest(TWO).gateway.servers["x"]
    two.replicas[1].is_critical = True
    two.replicas[0].note_failure(refused=True)
    assert [two.next_index() for _ in range(3)] == [0, 0, 0]
    two.replicas[0].is_critical = True
    assert two.next_index() is None
