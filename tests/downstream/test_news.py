"""What changes of the servers, told to clients as it happens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ends import behind
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from mcpgate.catalog.listing import describe
from mcpgate.config import parse
from mcpgate.downstream.discovery import Entry, Told
from mcpgate.downstream.news import EVENTS, discovery_events
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.authn import Grant
from mcpgate.settings.registry import DiscoverySettings
from mcpgate.testing import GatewayUnderTest, request

SERVER = 'servers: [{name: x, upstreams: [{url: "http://127.0.0.1:3010"}]}]'
SETTINGS = parse(SERVER, "gate.yaml", {}).servers[0]
OPEN, CLOSED = Entry(SETTINGS, "up", Terms()), Entry(SETTINGS, "down", Terms(Auth.REQUIRED))


@pytest.mark.parametrize(
    ("grant", "statuses"),
    [
        (None, ["up"]),
        (Grant("a", frozenset(), frozenset({"x"})), ["up", "down"]),
        (Grant("b", frozenset(), frozenset({"y"})), ["up"]),
    ],
)
@pytest.mark.parametrize(("public_url", "origin"), [("https://mcp.example.com",) * 2, (None, "http://localhost")])
def test_a_change_is_told_to_those_who_may_see_it(
    grant: Grant | None, statuses: list[str], public_url: str | None, origin: str
) -> None:
    """As the list shows the server, under the name by which the reader came."""
    clock, gate = Clock(), GatewayUnderTest()
    told = Told(
        gateway="0123456789abcdef",
        catalog=list,
        index=lambda: 7,
        public_url=lambda: public_url,
        settings=DiscoverySettings,
        document=lambda exchange: succeed(None),
        call_later=clock.callLater,
        now=clock.seconds,
    )
    events = discovery_events(told)

    class WithGrant:
        def answer(self, exchange: Any, port: Any, outcome: Any) -> None:
            exchange.grant = grant
            events.answer(exchange, port, outcome)

    behind(gate, WithGrant(), EVENTS)
    client = gate.connect()
    client.send(request("GET", EVENTS.decode()))
    events.publish("added", 8, OPEN)
    events.publish("status", 9, CLOSED)
    clock.advance(0)
    texts = [json.loads(line[5:]) for line in client.received.decode().splitlines() if line.startswith("data:")]
    assert texts == [{"index": 7}, *(describe(SETTINGS, status, origin) for status in statuses)]
    events.close()
