"""What lists say becomes entries, a few in each turn; what stays the same is not touched."""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from zope.interface import implementer

from mcpgate.policy.egress import Egress
from mcpgate.refusals import RegistrationRefused
from mcpgate.registry.attendance import Times
from mcpgate.registry.changes import Changes
from mcpgate.registry.following import HANDFUL, Effects, Following
from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Conditions, Entry, Key, Roster
from mcpgate.values.addresses import network


class World:
    """A roster that follows lists, and what follows from that."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.roster = Roster(count(1).__next__)
        self.roster.follow({}, Egress([network("127.0.0.0/8")]))
        self.changes = Changes(100, self.clock.callLater)
        self.applied: list[set[str]] = []
        self.told: list[tuple[str, str]] = []
        self.conflicts: list[str] = []
        self.broken: set[str] = set()
        self.lines: list[str] = []
        effects = Effects(self._apply, self._tell, self._note)
        self.following = Following(
            self.roster, self.changes, Times(self.clock, self.clock.seconds, self.clock.seconds), effects
        )

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.lines.append(formatEvent(event))

        self.following.log = Logger(observer=observe)

    def _apply(self, names: Any, drain_s: float | None) -> None:
        if self.broken & set(names):
            raise RegistrationRefused("cannot run")
        self.applied.append(set(names))

    def _tell(self, kind: str, entry: Entry) -> None:
        self.told.append((kind, entry.server))

    def _note(self, entry: Entry) -> None:
        if entry.conflict:
            self.conflicts.append(entry.server)

    def say(self, name: str, listed: dict[Key, Registration], turns: int = 100) -> None:
        """A list says this, and so many turns pass."""
        self.told.clear()
        self.applied.clear()
        self.following.take(name, listed)
        for _ in range(turns):
            self.clock.advance(0)


def _said(port: int, **more: object) -> Registration:
    return Registration.model_validate({"url": f"http://127.0.0.1:{port}", **more})


def _many(number: int, begin: int = 0) -> dict[Key, Registration]:
    return {(f"s{at}", "r"): _said(4000 + at) for at in range(begin, begin + number)}


def test_a_list_is_taken_a_few_at_a_time() -> None:
    """The first at once, then a handful in each turn; the same again changes nothing."""
    world, listed = World(), _many(3 * HANDFUL + 1)
    world.say("l", listed, turns=0)
    assert [len(names) for names in world.applied] == [HANDFUL]
    for _ in range(5):
        world.clock.advance(0)
    assert [len(names) for names in world.applied] == [HANDFUL, HANDFUL, HANDFUL, 1]
    assert world.told == [("registered", key[0]) for key in listed]
    index = world.changes.index
    world.say("l", listed)
    world.say("l", _many(3 * HANDFUL + 1))
    assert (world.told, world.applied, world.changes.index) == ([], [], index)


def test_what_a_list_says_next_counts_at_once() -> None:
    """Nothing of what it said before is taken any more."""
    world = World()
    world.say("l", _many(3 * HANDFUL), turns=0)
    world.say("l", _many(2))
    assert {entry.server for entry in world.roster} == {"s0", "s1"}
    world.say("l", {})
    assert (len(world.roster), world.clock.getDelayedCalls()) == (0, [])


def test_a_changed_entry_is_told() -> None:
    """And one that has left, before those that come."""
    world = World()
    world.say("l", _many(2))
    world.say("l", {("s1", "r"): _said(4001, title="New"), ("s2", "r"): _said(4000)})
    assert world.told == [("deregistered", "s0"), ("changed", "s1"), ("registered", "s2")]


def test_what_is_anothers_waits_and_is_told_once() -> None:
    """A name of somebody else; then it is free."""
    world = World()
    world.roster.confirm(world.roster.claim(("s0", "own"), _said(5000), Conditions(), 0.0))
    for _ in range(3):
        world.say("l", _many(1))
    assert (world.conflicts, world.told) == (["s0"], [])
    world.roster.remove(("s0", "own"))
    world.say("l", _many(1))
    (entry,) = world.roster
    assert (entry.conflict, world.told) == ("", [("changed", "s0")])


def test_the_very_replica_of_somebody_else_is_left_alone() -> None:
    """The log says it once; when a list has left, nothing but its own goes with it."""
    world = World()
    own = world.roster.confirm(world.roster.claim(("s0", "r"), _said(5000), Conditions(), 0.0))
    for _ in range(2):
        world.say("l", _many(1))
    assert world.roster.get(("s0", "r")) is own
    assert world.lines == ["s0/r of list:l is not used: it comes from api already"]
    world.say("l", {})
    assert world.roster.get(("s0", "r")) is own


def test_what_came_in_place_of_an_entry_stays() -> None:
    """While a list lets go of many, somebody takes the place of one of them."""
    world = World()
    world.say("l", _many(2 * HANDFUL))
    world.say("l", {}, turns=0)
    last = (f"s{2 * HANDFUL - 1}", "r")
    world.roster.remove(last)
    world.roster.confirm(world.roster.claim(last, _said(5000), Conditions(), 0.0))
    world.clock.advance(0)
    assert [entry.key for entry in world.roster] == [last]


def test_a_server_that_cannot_run_holds_up_no_other() -> None:
    """The log names it."""
    world = World()
    world.broken.add("s1")
    world.say("l", _many(3))
    assert world.applied == [{"s0"}, {"s2"}] or world.applied == [{"s2"}, {"s0"}]
    assert world.lines == ["s1 cannot run: cannot run"]
