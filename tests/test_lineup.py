"""Who runs: servers come, change and go a few at a time, and what nobody touches is not touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from mcpgate.assembly import AssemblyFault, Grounds
from mcpgate.config import parse
from mcpgate.lineup import Lineup, Notices, open_on
from mcpgate.net.deadlines import Deadlines
from mcpgate.policy.egress import Egress
from mcpgate.settings import RegisteredUpstream, ServerSettings, Settings
from mcpgate.upstream.pool import Environment, Replica, Status
from mcpgate.upstream.resolver import Resolver

ONE, TWO = "http://127.0.0.1:1001", "http://127.0.0.1:1002"


def _settings(*names: str) -> Settings:
    lines = "".join(f'  - {{name: {name}, upstreams: [{{url: "{ONE}"}}]}}\n' for name in names)
    return parse(f"servers:\n{lines}" if names else "servers: []", "gate.yaml", {})


def _joined(name: str, *urls: str) -> ServerSettings:
    upstreams = tuple(RegisteredUpstream(url=url, replica=f"r{at}", origin="api") for at, url in enumerate(urls))
    return ServerSettings(name=name, path=f"/mcp/{name}", upstreams=upstreams)


class World:
    """A lineup, and what is told of it."""

    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str]] = []
        self.gone: list[set[str]] = []
        deadlines = Deadlines(self.clock.callLater, self.clock.seconds, on_error=print)
        resolver = Resolver(lambda host: None, self.clock.seconds)  # type: ignore[arg-type,return-value]
        trusted = Environment(self.clock, resolver, deadlines, self.clock.seconds)
        self.grounds = Grounds(trusted, replace(trusted, rules=lambda: Egress(())), ".")
        self.lineup = Lineup(self.clock.callLater, Notices(self._note, self.gone.append))
        self.settings = _settings(*names)
        self.reload(*names)

    def _note(self, name: str, replica: Replica) -> None:
        self.told.append((name, replica.status.value))

    def reload(self, *names: str) -> list[str]:
        """Another configuration; the names of what has changed."""
        self.settings = _settings(*names)
        prepared = self.lineup.prepare(self.settings.servers, self.grounds)
        return [change.name for change in self.lineup.swap(self.settings, prepared)]

    def change(self, drain_s: float = 10.0, **wanted: ServerSettings | None) -> list[str]:
        """Some servers are others now; the names of what has changed."""
        return [change.name for change in self.lineup.change(self.settings, wanted, self.grounds, drain_s)]

    def found(self, path: str) -> str:
        """Which server a path leads to."""
        route = self.lineup.routes.find(path.encode())
        return "" if route is None or route.server is None else route.server.name


def test_a_server_that_joins_is_routed_and_others_stay_the_same() -> None:
    """The table that was given out before is not changed."""
    world = World("a", "b")
    before, table = dict(world.lineup.servers), world.lineup.routes
    assert world.change(c=_joined("c", TWO)) == ["c"]
    assert [world.found(f"/mcp/{name}/mcp") for name in "abc"] == ["a", "b", "c"]
    assert all(world.lineup.servers[name] is before[name] for name in before)
    assert table.find(b"/mcp/c") is None


def test_what_is_wanted_as_it_is_does_not_change() -> None:
    """Neither by a reload nor by a registration."""
    world = World("a")
    world.change(c=_joined("c", TWO))
    assert world.change(c=_joined("c", TWO)) == []
    assert world.reload("a") == ["c"]
    assert world.reload("a") == []


def test_a_replica_that_stays_keeps_its_connections() -> None:
    """Whoever comes beside it, or leaves; what is open on its server is known to the new one."""
    world = World()
    world.change(c=_joined("c", ONE))
    former = world.lineup.servers["c"]
    world.change(c=_joined("c", ONE, TWO))
    server = world.lineup.servers["c"]
    assert server is not former
    assert server.replicas[0] is former.replicas[0]
    assert server.relays is former.relays
    world.change(c=_joined("c", TWO))
    assert former.replicas[0].is_retired
    assert not world.lineup.servers["c"].replicas[0].is_retired


def test_a_server_that_leaves_is_forgotten_after_its_time() -> None:
    """Its name is told then, unless it has come back; nothing else of it is kept where nothing is open."""
    world = World("a")
    world.change(c=_joined("c", TWO), d=_joined("d", TWO))
    world.change(c=None, d=None)
    assert [server.name for server in world.lineup.everything()] == ["a"]
    world.change(d=_joined("d", TWO))
    world.clock.advance(10)
    assert [server.name for server in world.lineup.everything()] == ["a", "d"]
    assert set().union(*world.gone) == {"c"}
    assert open_on(world.lineup.everything()) == []


def test_a_server_that_left_is_not_known_for_hours() -> None:
    """However long its streams were given, which it did not have."""
    world = World()
    for _ in range(3):
        world.change(c=_joined("c", TWO))
        world.change(drain_s=3600, c=None)
    world.clock.advance(31)
    assert (world.lineup.retired, set().union(*world.gone)) == ([], {"c"})
    assert world.clock.getDelayedCalls() == []


def test_who_runs_is_told_of_what_its_replicas_find() -> None:
    """Who does not run any more, is not."""
    world = World("a")
    world.change(c=_joined("c", TWO))
    (replica,) = world.lineup.servers["c"].replicas
    replica.note_success()
    replica.note_success()
    replica.note_failure(refused=False)
    assert world.told == [("c", "up"), ("c", "down")]
    world.change(c=None)
    replica.note_success()
    assert (world.told[2:], replica.status) == ([], Status.UP)


def test_what_cannot_run_changes_nothing() -> None:
    """Neither the servers nor the routes."""
    world = World("a")
    servers, routes = world.lineup.servers, world.lineup.routes
    with pytest.raises(AssemblyFault):
        world.change(b=_joined("b", TWO), c=_joined("c", "https://a_b.example"))
    assert world.lineup.servers is servers
    assert world.lineup.routes is routes
