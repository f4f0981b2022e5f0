"""Lists of others are followed: what they say is taken, what they do not say any more stays until that is certain."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from mcpgate.registry.lists import Key
from mcpgate.registry.polling import LAST_RETRY_S, MAX_PAGES, Outlet, Pace, Polling, kept_as
from mcpgate.registry.registration import Registration
from mcpgate.registry.store import KeptList
from mcpgate.settings.registry import SourceSettings
from mcpgate.upstream.fetch import Fetched, FetchFailed

WALL_S = 1_800_000_000.0
SEED = SourceSettings(url="http://registry.example:3100/mcps?key=s3cret", name="seed", interval=30.0)
OTHER = SourceSettings(url="http://gate.example/mcp/discovery", name="other", interval=100.0)
PAGED = SourceSettings(url="https://registry.example/v0.1/servers", name="paged")


class Registries:
    """All that is fetched, when the test says so; stands in for a `Fetcher`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.open: list[Deferred[Fetched]] = []

    def fetch(self, url: str, *, fields: Mapping[str, str], etag: str) -> Deferred[Fetched]:
        self.asked.append((url, etag, fields))
        self.open.append(Deferred(lambda asked: asked.errback(FetchFailed("called off"))))
        return self.open[-1]

    def answer(self, *names: str, etag: str = "", index: int = -1) -> None:
        """The newest question is answered with the list of these servers."""
        self.send(_body(*names), etag=etag, index=index)

    def send(self, body: bytes, status: int = 200, etag: str = "", index: int = -1) -> None:
        self.open[index].callback(Fetched(status, body, etag))

    def fail(self, why: str = "ConnectionRefusedError") -> None:
        self.open[-1].errback(FetchFailed(why))


def _body(*names: str) -> bytes:
    return json.dumps([{"name": name, "host": "10.0.0.1", "port": 80} for name in names]).encode()


class World:
    """Polling, by default of one list and without jitter."""

    def __init__(
        self, *sources: SourceSettings, kept: Mapping[str, KeptList] | None = None, chance: float = 0.5
    ) -> None:
        self.clock = Clock()
        self.there = Registries()
        self.taken: list[tuple[str, list[str]]] = []
        self.kept: list[tuple[str, str, bytes, float]] = []
        pace = Pace(self.clock, lambda: WALL_S + self.clock.seconds(), lambda: chance)
        outlet = Outlet(self._take, lambda *kept: self.kept.append(kept))
        self.polling = Polling(cast(Any, self.there), outlet, pace, kept or {}, sources or (SEED,))

    def _take(self, name: str, listed: Mapping[Key, Registration]) -> None:
        self.taken.append((name, [server for server, _ in listed]))

    def start(self, *names: str, etag: str = "") -> None:
        """The only list is read, and says this."""
        self.polling.start()
        self.there.answer(*names, etag=etag)

    def again(self, wait_s: float = SEED.interval) -> None:
        """It is time to ask again."""
        count = self.count
        self.clock.advance(wait_s)
        assert self.count == count + 1

    @property
    def count(self) -> int:
        return len(self.there.asked)

    @property
    def view(self) -> dict[str, Any]:
        (view,) = self.polling.views()
        return view


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged while a test runs."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("mcpgate."):
            seen.append(f"{event['log_level'].name}: {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


# --- what is asked, and when --------------------------------------------------------------------------------------


def test_a_list_is_read_at_the_start_and_then_again_and_again() -> None:
    """What it says is handed on each time, so that what was in the way once may come in."""
    world = World()
    world.start("a", "b")
    assert world.taken == [("seed", ["a", "b"])]
    world.clock.advance(29.9)
    assert world.count == 1
    world.again(0.1)
    world.there.answer("a", "b", "c")
    world.again()
    world.there.answer("a", "b", "c")
    assert world.taken[1:] == [("seed", ["a", "b", "c"])] * 2


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 27.0), (1.0, 33.0)])
def test_polls_are_spread(chance: float, wait_s: float) -> None:
    """Many gateways that were started at once do not ask at once."""
    world = World(chance=chance)
    world.start("a")
    assert [call.getTime() for call in world.clock.getDelayedCalls()] == [pytest.approx(wait_s)]


def test_headers_of_the_configuration_go_along_and_are_told_to_nobody(lines: list[str]) -> None:
    """Neither they nor what stands in the query."""
    source = SEED.model_copy(update={"headers": SEED.headers.model_copy(update={"set": {"X-Api-Key": "t0ken"}})})
    world = World(source)
    world.polling.start()
    assert world.there.asked == [(source.url, "", {"X-Api-Key": "t0ken"})]
    world.there.fail()
    told = f"{lines} {world.polling.views()} {world.polling!r}"
    assert "t0ken" not in told
    assert "s3cret" not in told


def test_a_list_that_has_not_changed_need_not_come_again() -> None:
    """It is asked for by its tag; what it said stays, and is kept once."""
    world = World()
    world.start("a", etag='"1"')
    world.again()
    assert world.there.asked[-1][1] == '"1"'
    world.there.send(b"", 304)
    assert world.taken == [("seed", ["a"])] * 2
    world.again()
    world.there.answer("a", etag='"2"')
    world.again()
    assert world.there.asked[-1][1] == '"2"'
    assert world.kept == [(kept_as(SEED), '"1"', _body("a"), WALL_S)]


def test_a_poll_that_hangs_is_not_joined_by_another() -> None:
    """One at a time; its own deadline ends it."""
    world = World()
    world.polling.start()
    world.clock.advance(10 * SEED.interval)
    world.polling.refresh()
    assert world.count == 1


def test_a_long_list_is_read_in_steps() -> None:
    """Between which the reactor turns."""
    world = World()
    names = [f"s{number}" for number in range(35)]
    world.start(*names)
    assert world.taken == []
    world.clock.pump([0, 0, 0])
    assert world.taken == [("seed", names)]


# --- a list that is away ------------------------------------------------------------------------------------------


def test_a_list_that_is_away_changes_nothing(lines: list[str]) -> None:
    """It is tried again, ever more rarely; that is told once, and once that it is back."""
    world = World()
    world.start("a")
    world.again()
    for wait_s in [1, 2, 4, 8, 16, 32, LAST_RETRY_S, LAST_RETRY_S]:
        world.there.fail()
        world.again(wait_s)
    assert world.taken == [("seed", ["a"])]
    assert (world.view["ok"], world.view["entries"], world.view["error"]) == (False, 1, "ConnectionRefusedError")
    world.there.answer("a", "b")
    assert lines == [
        "warn: list seed: cannot be read from http://registry.example:3100/mcps: ConnectionRefusedError; "
        "its 1 entries stay",
        "info: list seed: back, 2 entries",
    ]
    assert world.view["error"] == ""


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 404, "status 404"),
        (b"[]", 302, "status 302"),
        (b"", 304, "status 304"),
        (b"<html>", 200, "not JSON from line 1, column 1 on"),
        (b"{}", 200, "not a list of servers, expected an array of servers"),
        (b"[" * 100_000, 200, "nested too deeply"),
    ],
)
def test_an_answer_that_is_no_list_counts_as_none(body: bytes, status: int, error: str) -> None:
    """What was known stays."""
    world = World()
    world.start("a")
    world.again()
    world.there.send(body, status)
    assert world.view["error"].startswith(error)
    assert world.taken == [("seed", ["a"])]
    assert world.polling.states()[0].is_up is False


def test_bad_entries_are_told_once(lines: list[str]) -> None:
    """Until they are others."""
    world = World()
    world.start("a", "?")
    for _ in range(2):
        world.again()
        world.there.answer("a", "?", "b")
    assert world.view["faults"] == [lines[0].partition("first: ")[2]]
    assert lines[0].startswith("warn: list seed: 1 faults, the first: entry 1: name: not a name")
    assert len(lines) == 1


def test_what_cannot_be_taken_does_not_end_the_polling(lines: list[str]) -> None:
    """A fault of our own is told with all that is known of it."""
    world = World()
    world.polling.start()
    world.taken = cast(Any, None)
    world.there.answer("a")
    assert world.view["error"] == "it cannot be taken"
    assert lines[-1].startswith("critical: list seed")
    world.taken = []
    world.again(1)
    world.there.answer("a")
    assert world.taken == [("seed", ["a"])]


# --- a list that loses its entries --------------------------------------------------------------------------------


def test_a_list_that_loses_more_than_half_is_believed_when_it_says_so_again(lines: list[str]) -> None:
    """A registry that has just started knows nobody yet; its tag must not hide what it says."""
    world = World()
    world.start("a", "b", "c", etag='"1"')
    world.again()
    world.there.answer("c", etag='"2"')
    assert world.taken == [("seed", ["a", "b", "c"])]
    assert (world.view["entries"], world.view["ok"]) == (3, False)
    assert lines == ["warn: list seed: more than half of its entries are gone; that is believed if it says so again"]
    world.again()
    assert world.there.asked[-1][1] == ""
    world.there.answer("c", etag='"2"')
    assert world.taken[1:] == [("seed", ["c"])]
    assert (world.view["entries"], world.view["ok"]) == (1, True)


def test_a_list_that_was_empty_for_a_moment_was_never_empty() -> None:
    """And is doubted anew the next time."""
    world = World()
    world.start("a", "b")
    for names in ([], ["a", "b"], [], ["b", "a"]):
        world.again()
        world.there.answer(*names)
    assert [sorted(names) for _, names in world.taken] == [["a", "b"]] * 3


def test_half_may_go_at_once() -> None:
    """As may any number that come."""
    world = World()
    world.start("a", "b")
    world.again()
    world.there.answer("b", "c", "d")
    world.again()
    world.there.answer("b", "c")
    assert world.taken[1:] == [("seed", ["b", "c", "d"]), ("seed", ["b", "c"])]


def test_a_failure_says_nothing_of_the_entries() -> None:
    """It does not confirm that they are gone, and does not begin the doubt anew."""
    world = World()
    world.start("a", "b")
    world.again()
    world.there.answer()
    world.again()
    world.there.fail()
    world.again(1)
    assert world.taken == [("seed", ["a", "b"])]
    world.there.answer()
    assert world.taken[1:] == [("seed", [])]


# --- over a restart -----------------------------------------------------------------------------------------------


def test_what_was_kept_is_there_before_the_list_is_read() -> None:
    """With its tag; if the list is away, for as long as that takes."""
    world = World(kept={kept_as(SEED): ('"1"', _body("a", "b"), WALL_S - 100)})
    world.polling.start()
    assert world.taken == [("seed", ["a", "b"])]
    assert world.there.asked[-1][1] == '"1"'
    world.there.fail()
    assert (world.view["entries"], world.view["fetchedAt"]) == (2, "2027-01-15T07:58:20.000Z")
    world.again(1)
    world.there.send(b"", 304)
    assert (world.view["fetchedAt"], world.kept) == ("2027-01-15T08:00:01.000Z", [])


def test_what_was_kept_counts_where_entries_are_lost() -> None:
    """A registry that has restarted along with the gateway is doubted, too."""
    world = World(kept={kept_as(SEED): ("", _body("a", "b"), WALL_S)})
    world.start()
    assert world.taken == [("seed", ["a", "b"])]


def test_what_was_kept_and_cannot_be_read_is_as_nothing(lines: list[str]) -> None:
    """It is told, and the list is read."""
    world = World(kept={kept_as(SEED): ('"1"', b"{}", WALL_S)})
    world.start("a")
    assert world.there.asked[-1][1] == ""
    assert world.taken == [("seed", ["a"])]
    assert "what was kept is not a list" in lines[0]


def test_what_another_list_has_said_is_not_taken_for_this_one() -> None:
    """Under the same name at another place."""
    moved = SEED.model_copy(update={"url": "http://new.example/mcps"})
    world = World(moved, kept={kept_as(SEED): ('"1"', _body("a"), WALL_S)})
    world.polling.start()
    assert (world.taken, world.there.asked[-1][1]) == ([], "")


# --- in pages -----------------------------------------------------------------------------------------------------


def _page(name: str, cursor: str = "") -> bytes:
    remote = {"type": "sse", "url": "https://api.example.com/sse"}
    server = {"name": f"com.example/{name}", "version": "1", "remotes": [remote]}
    return json.dumps({"servers": [{"server": server}], "metadata": {"nextCursor": cursor}}).encode()


def test_a_registry_is_read_page_by_page() -> None:
    """All of it is one list; the tag of a page is worth nothing."""
    world = World(PAGED)
    world.polling.start()
    world.there.send(_page("a", "a:1"), etag='"1"')
    assert world.taken == []
    world.there.send(_page("b"), etag='"2"')
    assert [url for url, *_ in world.there.asked] == [
        "https://registry.example/v0.1/servers?limit=100",
        "https://registry.example/v0.1/servers?limit=100&cursor=a%3A1",
    ]
    assert world.taken == [("paged", ["a", "b"])]
    world.again(PAGED.interval)
    assert world.there.asked[-1][1] == ""


def test_pages_are_kept_together() -> None:
    """And read again as one list."""
    world = World(PAGED)
    world.polling.start()
    world.there.send(_page("a", "x"))
    world.there.send(_page("b"))
    ((key, etag, body, at_s),) = world.kept
    later = World(PAGED, kept={key: (etag, body, at_s)})
    later.polling.start()
    assert later.taken == [("paged", ["a", "b"])]


def test_a_page_that_is_missing_leaves_the_list_as_it_was() -> None:
    """Half a list is none."""
    world = World(PAGED)
    world.polling.start()
    world.there.send(_page("a", "x"))
    world.there.fail()
    assert (world.taken, world.kept, world.view["ok"]) == ([], [], False)


@pytest.mark.parametrize("cursors", [["x", "x"], ["x", "y", "x"]])
def test_pages_that_go_in_a_circle_end(cursors: list[str]) -> None:
    """With the first that comes again."""
    world = World(PAGED)
    world.polling.start()
    for number, cursor in enumerate(cursors):
        world.there.send(_page(f"s{number}", cursor))
    assert [len(names) for _, names in world.taken] == [len(cursors)]


def test_pages_have_a_bound() -> None:
    """What is behind it is told as left out."""
    world = World(PAGED)
    world.polling.start()
    for number in range(MAX_PAGES):
        world.there.send(_page(f"s{number}", f"c{number}"))
    world.clock.pump([0] * 20)
    assert world.count == MAX_PAGES
    assert [len(names) for _, names in world.taken] == [MAX_PAGES]
    assert world.view["faults"] == [f"the list: the rest is left out after {MAX_PAGES} pages"]


# --- on demand ----------------------------------------------------------------------------------------------------


def test_all_lists_can_be_read_at_once() -> None:
    """What runs already counts; each tells what came of it."""
    world = World(SEED, OTHER)
    world.polling.start()
    world.there.answer("a", index=0)
    outcomes: list[Any] = []
    world.polling.refresh().addCallback(outcomes.extend)
    assert world.count == 3
    world.there.fail()
    assert outcomes == []
    world.there.answer("b", index=1)
    assert outcomes == world.polling.views()
    assert outcomes[0] == {
        "name": "seed",
        "url": "http://registry.example:3100/mcps",
        "ok": False,
        "entries": 1,
        "error": "ConnectionRefusedError",
        "fetchedAt": "2027-01-15T08:00:00.000Z",
        "faults": [],
    }
    assert (outcomes[1]["name"], outcomes[1]["ok"]) == ("other", True)
    assert len(world.clock.getDelayedCalls()) == 2


def test_who_does_not_wait_for_the_end_calls_nothing_off() -> None:
    """Neither the poll nor the others who wait."""
    world = World()
    world.polling.start()
    outcomes: list[Any] = []
    left, stays = world.polling.refresh(), world.polling.refresh()
    left.addErrback(lambda _: None)
    stays.addCallback(outcomes.extend)
    left.cancel()
    world.there.answer("a")
    assert world.taken == [("seed", ["a"])]
    assert outcomes[0]["ok"] is True


def test_without_lists_there_is_nothing_to_wait_for() -> None:
    """And nothing goes wrong."""
    outcomes: list[Any] = []
    world = World()
    world.polling.revise([])
    world.polling.refresh().addCallback(outcomes.append)
    assert outcomes == [[]]


# --- reload and end -----------------------------------------------------------------------------------------------


def test_a_list_that_stays_is_not_read_anew() -> None:
    """A new interval counts from now."""
    world = World()
    world.start("a")
    world.polling.revise([SEED.model_copy(update={"interval": 5.0}), OTHER])
    assert [url for url, *_ in world.there.asked] == [SEED.url, OTHER.url]
    world.again(5.0)
    assert world.polling.states()[0] == ("seed", True, WALL_S, 1, 0)


def test_a_list_with_other_headers_is_read_at_once() -> None:
    """Somebody has mended its token."""
    world = World()
    world.start("a")
    headers = SEED.headers.model_copy(update={"set": {"Authorization": "Bearer x"}})
    world.polling.revise([SEED.model_copy(update={"headers": headers})])
    assert world.there.asked[-1][2] == {"Authorization": "Bearer x"}
    assert world.count == 2


def test_a_list_that_has_left_takes_its_entries_along() -> None:
    """And what it still answers is not heard."""
    world = World(SEED, OTHER)
    world.polling.start()
    world.there.answer("a", index=0)
    world.polling.revise([SEED])
    assert world.taken == [("seed", ["a"]), ("other", [])]
    assert len(world.clock.getDelayedCalls()) == 1


def test_a_list_that_has_moved_is_believed_at_once() -> None:
    """It is another one; until it is read, the old entries stay."""
    world = World()
    world.start("a", "b", etag='"1"')
    world.polling.revise([SEED.model_copy(update={"url": "http://new.example/mcps"})])
    assert world.there.asked[-1][:2] == ("http://new.example/mcps", "")
    world.there.answer("c")
    assert world.taken == [("seed", ["a", "b"]), ("seed", ["c"])]


def test_what_a_former_url_has_said_ends_with_the_first_failure_of_the_new_one() -> None:
    """Nobody vouches for it any more; also if the URL has changed twice meanwhile. What is said then stays as ever."""
    world = World()
    world.start("a", "b")
    for name in ("new", "newer"):
        world.polling.revise([SEED.model_copy(update={"url": f"http://{name}.example/mcps"})])
    assert world.taken == [("seed", ["a", "b"])]
    world.there.fail()
    assert world.taken[1:] == [("seed", [])]
    world.again(1.0)
    world.there.answer("c")
    world.again()
    world.there.fail()
    assert world.taken[2:] == [("seed", ["c"])]


def test_after_the_end_nobody_is_asked(lines: list[str]) -> None:
    """Who waits is told that nothing came of it."""
    world = World()
    world.polling.start()
    outcomes: list[Any] = []
    world.polling.refresh().addCallback(outcomes.extend)
    world.polling.stop()
    world.polling.refresh().addCallback(outcomes.extend)
    assert [each["error"] for each in outcomes] == ["not read yet"] * 2
    assert (world.clock.getDelayedCalls(), world.taken, lines) == ([], [], [])


def test_a_list_that_is_being_read_at_the_end_is_left() -> None:
    """Between two steps, too."""
    world = World()
    world.start(*(f"s{number}" for number in range(35)))
    world.polling.stop()
    assert (world.clock.getDelayedCalls(), world.taken) == ([], [])


def test_how_it_stands_can_be_seen() -> None:
    """In one line for each list."""
    world = World(SEED, OTHER)
    world.polling.start()
    world.there.answer("a", index=0)
    world.there.fail()
    assert repr(world.polling) == "<Polling: seed: idle, 1 entries, other: away, 0 entries>"
    assert world.polling.states() == [("seed", True, WALL_S, 1, 0), ("other", False, 0.0, 0, 0)]
