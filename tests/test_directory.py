"""What discovery shows, and which word there is for each change of it."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from mcpgate.directory import Directory, Eyes
from mcpgate.downstream.discovery import Entry
from mcpgate.policy.access import Auth, Terms
from mcpgate.registry.changes import Changes
from mcpgate.settings import ServerSettings, UpstreamSettings

SETTINGS = ServerSettings(name="a", path="/mcp/a", upstreams=(UpstreamSettings(url="http://127.0.0.1:1"),))
TITLED = SETTINGS.model_copy(update={"title": "A"})
UP, DOWN = Entry(SETTINGS, "up", Terms()), Entry(SETTINGS, "down", Terms())
CLOSED = Entry(SETTINGS, "up", Terms(Auth.REQUIRED))


class World:
    """A directory of servers that a test plays."""

    def __init__(self, **seen: Entry | None) -> None:
        self.seen: dict[str, Entry | None] = dict(seen)
        self.told: list[tuple[str, int, Entry]] = []
        self.changes = Changes(100, Clock().callLater)
        eyes = Eyes(self.seen.get, lambda *event: self.told.append(event), lambda: 0.0)
        self.directory = Directory(eyes, self.changes)
        self.directory.fill(seen)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (None, None, []),
        (None, UP, [("added", UP)]),
        (UP, None, [("removed", UP)]),
        (UP, UP, []),
        (UP, Entry(SETTINGS, "up", Terms(), 99.0), []),
        (UP, DOWN, [("status", DOWN)]),
        (UP, Entry(TITLED, "down", Terms()), [("changed", Entry(TITLED, "down", Terms()))]),
        (UP, CLOSED, [("removed", UP), ("added", CLOSED)]),
        (CLOSED, UP, [("removed", CLOSED), ("added", UP)]),
        (UP, Entry(SETTINGS, "up", Terms(Auth.UPSTREAM)), [("changed", Entry(SETTINGS, "up", Terms(Auth.UPSTREAM)))]),
    ],
)
def test_each_change_has_its_word_and_number(
    before: Entry | None, after: Entry | None, kinds: list[tuple[str, Entry]]
) -> None:
    """Who may see a server by other rules now is told that it went and came; what has not changed is not told."""
    world = World(a=before)
    world.seen["a"] = after
    world.directory.note(["a"])
    assert [(kind, entry) for kind, _, entry in world.told] == kinds
    assert [index for _, index, _ in world.told] == [101 + at for at in range(len(kinds))]
    assert [entry.settings for entry in world.directory.catalog()] == ([after.settings] if after is not None else [])


def test_what_is_there_at_the_start_is_no_news() -> None:
    """It is shown, and the number stays."""
    world = World(a=UP, b=None)
    assert (world.directory.catalog(), world.told, world.changes.index) == ([UP], [], 100)
    world.directory.note(["a", "b", "unknown"])
    assert world.told == []
