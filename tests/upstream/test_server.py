"""A server at run time."""

from __future__ import annotations

from mcpgate.testing import GatewayUnderTest, request


def test_it_knows_its_open_exchanges() -> None:
    """For as long as they last; and it says so."""
    gate = GatewayUnderTest()
    server = gate.gateway.servers["x"]
    client = gate.connect()
    client.send(request("GET"))
    assert (len(server.relays), repr(server)) == (1, "<Server x: 1 open, <Replica 127.0.0.1:3010: 1 open, 0 idle>>")
    client.reset()
    assert len(server.relays) == 0


def test_names_that_the_configuration_sets_are_known_in_lower_case() -> None:
    """They replace what a client sends, however it is spelled."""
    gate = GatewayUnderTest(
        "servers: [{name: x, upstreams: [{url: 'http://127.0.0.1:1'}], headers: {set: {X-Api-Key: k}}}]"
    )
    assert gate.gateway.servers["x"].set_names == {b"x-api-key"}
