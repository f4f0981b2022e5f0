"""The lineup, the registry and the directory, wired: what changes goes to each of them in the same order."""

from __future__ import annotations

import pytest
from tests.guests import reload
from tests.registrants import CONFIG, NETWORKS, X, called, gateway, join, shown, told, where

from mcpgate.assembly import AssemblyFault
from mcpgate.config import parse
from mcpgate.registry.store import MemoryStore
from mcpgate.testing import GatewayUnderTest
from mcpgate.upstream.pool import Status

GROWS = '  - {name: grows, replicas_may_register: true, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'


def _origins(gate: GatewayUnderTest) -> dict[str, tuple[str, list[str]]]:
    """The origin of each server, and of its replicas."""
    return {
        each["name"]: (each["origin"], [replica["origin"] for replica in each["replicas"]])
        for each in told(gate, "GET", "/v1/servers").json["servers"]
    }


def test_every_server_tells_where_it_comes_from() -> None:
    """So does every replica; one that cannot be used stands there too."""
    gate = gateway(CONFIG + GROWS)
    join(gate, "weather", 4001)
    join(gate, "grows", 4002)
    assert _origins(gate) == {
        "x": ("config", ["config"]),
        "grows": ("config", ["config", "api"]),
        "weather": ("api", ["api"]),
    }
    reload(gate, NETWORKS.replace("127.0.0.0/8", "10.0.0.0/8").replace("10.0.0.0/8, 10.0.0.0/8", "10.0.0.0/8") + f"servers:\n{X}")
    servers = {each["name"]: each for each in told(gate, "GET", "/v1/servers").json["servers"]}
    assert (servers["weather"]["status"], servers["weather"]["replicas"][0]["state"]) == ("unused", "conflict")


def test_a_replica_is_found_by_its_registration() -> None:
    """As long as it runs; one of the configuration has none."""
    gate = gateway(CONFIG + GROWS)
    join(gate, "grows", 4002)
    fleet = gate.gateway.fleet
    replica = fleet.replica_of(("grows", "a"))
    assert replica is not None
    assert (replica.port, replica.status) == (4002, Status.UP)
    assert (fleet.replica_of(("grows", "b")), fleet.replica_of(("x", "a"))) == (None, None)
    told(gate, "DELETE", where("grows"))
    assert fleet.replica_of(("grows", "a")) is None
    assert called(gate, "/mcp/grows/mcp") == (200, 3011)


def test_what_was_kept_is_restored_once_and_only_where_something_may_join() -> None:
    """A reload that opens the registry brings it back; the next one does not."""
    store = MemoryStore()
    join(gateway(store=store), "weather", 4001)
    closed = f"servers:\n{X}"
    gate = gateway(closed, store=store)
    assert set(shown(gate)) == {"x"}
    reload(gate, CONFIG)
    assert set(shown(gate)) == {"x", "weather"}
    told(gate, "DELETE", where("weather"))
    reload(gate, closed)
    reload(gate, CONFIG)
    assert set(shown(gate)) == {"x"}


def test_settings_that_cannot_be_taken_change_nothing() -> None:
    """They are checked before anything is."""
    gate = gateway()
    bad = CONFIG.replace("http://127.0.0.1:3010", "https://a_b.example")
    with pytest.raises(AssemblyFault):
        gate.gateway.fleet.check(parse(bad, "gate.yaml", {}))
    assert called(gate, "/mcp/x/mcp") == (200, 3010)


def test_what_metrics_tell_is_counted_when_somebody_asks() -> None:
    """Replicas by origin and state, and how the store and the feed are."""
    gate = gateway()
    join(gate, "weather", 4001)
    members = gate.gateway.fleet.headcount(gate.gateway.events)
    assert members[0] == {("api", "starting"): 1} or members[0] == {("api", "passing"): 1}
    assert members[1:] == (0, 0, True, (), 0, 0, gate.gateway.events.event_count)


def test_after_the_end_nobody_is_told_and_nothing_is_asked() -> None:
    """No timer of it is left."""
    gate = gateway()
    join(gate, "weather", 4001)
    gate.gateway.fleet.stop()
    assert gate.gateway.fleet.watch.is_closed
    assert not [call for call in gate.reactor.getDelayedCalls() if "registry" in repr(call)]
