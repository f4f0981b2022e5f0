"""The registry between disk, clock and gateway: who asks is answered when it is kept, and only then it is live."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from tests.registrants import SlowStore
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from mcpgate.config import parse
from mcpgate.refusals import NotRegistered, RegistrationRefused
from mcpgate.registry.attendance import Times
from mcpgate.registry.changes import Changes
from mcpgate.registry.ports import Receipt
from mcpgate.registry.registration import Registration, stored
from mcpgate.registry.registry import Neighbours, Registry
from mcpgate.registry.roster import Conditions
from mcpgate.registry.store import MemoryStore, Row, Store
from mcpgate.upstream.resolver import Resolver

ANY = Conditions()
CONFIG = "registry: {allow_networks: [127.0.0.0/8], ttl: 20s}\nservers: []"


class Lists:
    """What follows the lists, for which there is nothing to do."""

    def __init__(self) -> None:
        self.outcome: list[dict[str, Any]] = []

    def revise(self, sources: object) -> None:
        """None are named."""

    start = stop = lambda self: None

    def refresh(self) -> Deferred[list[dict[str, Any]]]:
        return succeed(self.outcome)

    def views(self) -> list[dict[str, Any]]:
        return self.outcome


def _shown(name: str, replicas: list[dict[str, object]]) -> dict[str, object]:
    return {"name": name, "replicas": replicas}


class World:
    """A registry, and its neighbours as a test plays them."""

    def __init__(self, store: Store | None = None) -> None:
        self.clock = Clock()
        self.clock.rightNow = 1000.0
        self.store = store or MemoryStore()
        self.changes = Changes(100, self.clock.callLater)
        self.applied: list[tuple[list[str], float | None]] = []
        self.restated: list[tuple[str, bool]] = []
        self.told: list[tuple[str, object, object]] = []
        self.lists = Lists()
        self.broken = ""
        resolver = Resolver(lambda host: succeed(["127.0.0.1"]), self.clock.seconds)
        self.registry = Registry(self.store, resolver, Times(self.clock, self.clock.seconds, lambda: 5.0), self.changes)
        self.registry.attach(
            Neighbours(self._apply, self._restate, lambda key: None, self._tell, tuple, _shown),
            self.lists,  # type: ignore[arg-type]
        )
        self.registry.follow(parse(CONFIG, "gate.yaml", {}))
        self.registry.start()

    def _apply(self, names: Collection[str], drain_s: float | None) -> None:
        if self.broken in names:
            self.broken = ""
            raise RegistrationRefused("cannot run")
        self.applied.append((sorted(names), drain_s))

    def _restate(self, key: tuple[str, str], serves: bool) -> None:
        self.restated.append((key[0], serves))

    def _tell(self, kind: str, index: int, entry: dict[str, object]) -> None:
        assert index == self.changes.index
        self.told.append((kind, entry["server"], entry["state"]))

    def register(self, server: str = "a", replica: str = "r", **said: object) -> Deferred[Receipt]:
        """Ask for a registration."""
        registration = Registration.model_validate({"url": "http://127.0.0.1:4001", **said})
        return self.registry.register(server, replica, registration, ANY)


def _result(waiting: Deferred[Any]) -> Any:
    done: list[Any] = []
    waiting.addBoth(done.append)
    return done[0] if done else None


def test_it_is_live_in_the_turn_in_which_it_is_acknowledged() -> None:
    """And not before it is kept."""
    store = SlowStore()
    world = World(store)
    done = world.register()
    assert (_result(done), world.applied, world.told, world.registry.entry("a", "r")) == (None, [], [], None)
    seen: list[Any] = []
    done.addCallback(lambda _: seen.append(list(world.applied)))
    store.work()
    assert (seen, world.told) == ([[(["a"], None)]], [("registered", "a", "starting")])
    receipt = world.registry.entry("a", "r")
    assert receipt is not None
    assert (receipt.etag, receipt.entry["heartbeatSeconds"]) == ('"101"', pytest.approx(20 / 3))


def test_what_cannot_run_is_undone() -> None:
    """A new one is gone, in place of a former one there is that again; also on the disk."""
    world = World()
    world.broken = "a"
    failure = _result(world.register())
    assert failure.check(RegistrationRefused)
    assert (world.registry.entry("a", "r"), world.store.load(), world.registry.attendance.get(("a", "r"))) == (None, [], None)
    assert _result(world.register()).created
    world.broken = "a"
    assert _result(world.register(weight=9)).check(RegistrationRefused)
    (row,) = world.store.load()
    assert b'"weight":1' in row.body
    receipt = world.registry.entry("a", "r")
    assert receipt is not None
    assert (receipt.entry["weight"], receipt.entry["state"]) == (1, "starting")
    assert [kind for kind, *_ in world.told] == ["registered"]


def test_a_beat_is_not_kept_and_tells_only_what_is_new() -> None:
    """Of somebody who is not there, it says so."""
    world = World()
    world.register()
    world.told.clear()
    for _ in range(3):
        told = world.registry.beat("a", "r", "", "")
    assert (told["state"], world.told) == ("passing", [("state", "a", "passing")])
    world.registry.beat("a", "r", "critical", "ill")
    world.registry.beat("a", "r", "passing", "")
    assert world.restated == [("a", False), ("a", True)]
    with pytest.raises(NotRegistered):
        world.registry.beat("a", "other", "", "")


def test_who_leaves_says_how_long_it_needs() -> None:
    """The last that is told of it is how it was; a second farewell finds nobody."""
    world = World()
    world.register()
    told = _result(world.registry.deregister("a", "r", 3.0, ANY))
    assert (told["state"], world.applied[-1], world.told[-1]) == (
        "draining",
        (["a"], 3.0),
        ("deregistered", "a", "starting"),
    )
    assert (len(world.registry.roster), world.store.load()) == (0, [])
    assert _result(world.registry.deregister("a", "r", 3.0, ANY)).check(NotRegistered)


def test_time_takes_out_who_does_not_beat() -> None:
    """From the disk, too; and it is told as expired."""
    world = World()
    for server in "abc":
        world.register(server, deregister_critical_after=5)
    for _ in range(60):
        world.clock.advance(0.5)
        world.registry.beat("b", "r", "", "")
        world.registry.beat("c", "r", "", "")
    assert world.restated == [("a", False)]
    assert world.told[-1] == ("expired", "a", "critical")
    assert [row.server for row in world.store.load()] == ["b", "c"]
    assert world.registry.headcount() == {("api", "passing"): 2}


def test_a_row_that_nobody_understands_keeps_no_other_away() -> None:
    """A later version may have written it; the others are there as they were, with their revisions."""
    store = MemoryStore()
    good = Registration.model_validate({"url": "http://127.0.0.1:4001", "title": "A"})
    store.put([Row("bad", "r", b'{"url": 7}', 1.0, 50), Row("a", "r", stored(good), 2.0, 5_000)])
    world = World(store)
    world.registry.restore()
    receipt = world.registry.entry("a", "r")
    assert receipt is not None
    assert (receipt.etag, receipt.entry["state"], len(world.registry.roster)) == ('"5000"', "unverified", 1)
    assert world.registry.index == 5_000, "also if the clock was put back"
    assert [each.name for each in world.registry.wanted([])] == ["a"]
    assert (world.registry.serves("a"), world.registry.serves("bad")) == (True, False)


def test_what_is_there_is_shown_in_both_forms() -> None:
    """By server, and as a flat list whose ids lead back."""
    world = World()
    world.register("a", "r")
    world.register("a", "s", url="http://127.0.0.1:4002")
    (server,) = world.registry.servers()
    assert (world.registry.server("a"), world.registry.server("b")) == (server, None)
    assert [each["id"] for each in server["replicas"]] == ["r", "s"]  # type: ignore[attr-defined]
    ids = [str(each["id"]) for each in world.registry.simple()]
    assert [world.registry.find_id(each) for each in ids] == [("a", "r"), ("a", "s")]
    assert [world.registry.find_id(each) for each in ("a", "a~x", "~", "")] == [None] * 4


@pytest.mark.parametrize(
    ("outcomes", "success", "message"),
    [
        ([], True, "MCP configurations refreshed"),
        ([{"name": "k", "ok": True}], True, "MCP configurations refreshed"),
        ([{"name": "k", "ok": False}, {"name": "l", "ok": False}], False, "not read: k, l"),
    ],
)
def test_a_refresh_says_what_came_of_it(outcomes: list[dict[str, Any]], success: bool, message: str) -> None:
    """As the seed's clients read it, and in detail."""
    world = World()
    world.lists.outcome = outcomes
    assert _result(world.registry.refresh()) == {"success": success, "message": message, "sources": outcomes}
    assert world.registry.sources() == outcomes
