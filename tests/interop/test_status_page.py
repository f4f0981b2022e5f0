"""The status page in a real browser: live, harmless whatever is shown, and honest about what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.interop.browser import HOSTILE, TOKEN, Browser, Seen, ShownStage, fact
from tests.interop.callers import Caller, request
from tests.interop.visits import Plan, Visitor

#: The real server's slow tool; the client's streams are open as long as that, and the page is told every two seconds.
SLOW = ("trigger-long-running-operation", {"duration": 6, "steps": 3})


@pytest.fixture
def browser(home: Path, tmp_path: Path) -> Iterator[Browser]:
    """A fresh one for each test."""
    browser = Browser(home, tmp_path)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def shown(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShownStage]:
    """A gateway whose page anybody on this machine may read."""
    stage = ShownStage(home, tmp_path_factory.mktemp("shown"))
    yield from _on_stage(stage)


@pytest.fixture
def guarded(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShownStage]:
    """A gateway whose page asks for a token."""
    stage = ShownStage(home, tmp_path_factory.mktemp("guarded"), guarded=True)
    yield from _on_stage(stage)


def _on_stage(stage: ShownStage) -> Iterator[ShownStage]:
    try:
        stage.public("everything", "http")
        yield stage
    finally:
        stage.close()


def server_row(seen: Seen, name: str = HOSTILE) -> list[str]:
    """The row of a server; empty if it is not there."""
    return next((row for row in seen["servers"] if row[0] == name), [])


def harmless(seen: Seen) -> bool:
    """Nothing of another host was asked for, nothing became markup, nothing was complained about."""
    return not seen["problems"] and not seen["foreign"] and not seen["markup"] and "forged" not in seen["title"]


def test_the_page_follows_a_client_without_being_loaded_again(
    shown: ShownStage, browser: Browser, visitor: Visitor
) -> None:
    """Servers stand there; the streams of a real client appear, and go when it leaves."""
    browser.open(shown.page)
    before = browser.until(lambda seen: seen["state"] == "ready" and server_row(seen), "the page shows its servers")
    assert server_row(before, "gone")[1] == "down"
    assert before["notice"] == "No replica could be reached of: gone."
    assert fact(before, "Open streams") == "0"
    with ThreadPoolExecutor(1) as pool:
        visit = pool.submit(visitor.visit, "typescript-1.32-http", shown.public("everything", "http"), Plan((SLOW,)))
        seen = browser.until(lambda seen: seen["streams"], "the client's streams appear")
        assert {row[0] for row in seen["streams"]} == {"everything"}
        assert {row[1] for row in seen["streams"]} == {"streamable-http"}
        assert fact(seen, "Open streams") == server_row(seen)[6] == str(len(seen["streams"]))
        browser.shoot("status-streams")
        assert visit.result()["calls"]
    after = browser.until(lambda seen: fact(seen, "Open streams") == "0", "the client's streams go")
    assert after["streams"] == []
    assert int(server_row(after)[3]) >= int(server_row(before)[3]) + 4  # initialize, initialized, the call, the stream
    assert after["loads"] == 1
    assert harmless(after)


def test_an_error_appears_by_itself(shown: ShownStage, browser: Browser) -> None:
    """With what a person needs to find it in the log; the same once more is counted."""
    browser.open(shown.page)
    browser.until(lambda seen: seen["state"] == "ready", "the page is told")
    caller = Caller(shown.at_gateway("gone", "http", "/mcp"))
    replies = [caller.call("tools/list") for _ in range(3)]
    assert {reply.status for reply in replies} == {502}
    seen = browser.until(lambda seen: any(row[1:3] == ["3", "gone"] for row in seen["recent"]), "the error appears")
    row = next(row for row in seen["recent"] if row[1:3] == ["3", "gone"])
    assert row[3:6] == ["502", "connect_failed", "127.0.0.1"]
    assert row[7] == replies[-1].error["data"]["requestId"]
    assert server_row(seen, "gone")[4] == "3"
    assert seen["loads"] == 1
    browser.shoot("status-errors")


def test_what_a_client_calls_itself_is_text(shown: ShownStage, browser: Browser) -> None:
    """Also where it would be markup, or a script."""
    url = shown.at_gateway("everything", "http", "/mcp")
    reply = Caller(url).send("POST", request("tools/call", {"name": HOSTILE, "arguments": {}}))
    assert reply.error["message"] == f"Unknown tool: {HOSTILE}"
    browser.open(shown.page)
    seen = browser.until(lambda seen: HOSTILE in str(seen["recent"]).replace("\\'", "'"), "the name is shown")
    assert server_row(seen)
    assert harmless(seen)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_a_telephone(dark: bool, shown: ShownStage, browser: Browser) -> None:
    """Nothing but tables has to be pushed aside."""
    browser.open(shown.page, width=400, dark=dark)
    seen = browser.until(lambda seen: seen["state"] == "ready", "the page is told")
    browser.shoot(f"status-narrow-{'dark' if dark else 'light'}")
    assert not seen["overflows"]
    assert harmless(seen)


def test_a_page_that_has_lost_its_gateway_says_so(shown: ShownStage, browser: Browser) -> None:
    """It shows since when, and goes on by itself with the next one."""
    browser.open(shown.page)
    browser.until(lambda seen: seen["state"] == "ready", "the page is told")
    shown.restart()
    lost = browser.until(lambda seen: seen["state"].startswith("stale since "), "the loss is shown")
    assert lost["title"].startswith("stale since ")
    assert lost["notice"] == "The gateway does not answer. Trying again." or "ended" in lost["notice"]
    assert server_row(lost)  # what was known stays readable
    browser.shoot("status-stale")
    shown.public("everything", "http")
    found = browser.until(lambda seen: seen["state"] == "ready", "the page goes on")
    assert "Trying again" not in found["notice"]
    assert found["loads"] == 1
    assert all("ERR_" in problem for problem in found["problems"])  # the browser's own lines on lost connections


def test_a_page_that_may_not_read_asks_for_a_token(guarded: ShownStage, browser: Browser) -> None:
    """A wrong one is told to be wrong; a good one is kept by nobody but the page."""
    first = browser.open(guarded.page)
    first = browser.until(lambda seen: seen["asks"], "the page asks")
    assert (first["state"], first["focus"], first["servers"]) == ("needs a token", "token", [])
    browser.shoot("status-token")
    browser.tell("submit", token="wrong")
    browser.until(lambda seen: "not known" in seen["asks"], "the wrong token is refused")
    browser.tell("submit", token=TOKEN)
    seen = browser.until(lambda seen: seen["state"] == "ready" and server_row(seen), "the status is shown")
    assert seen["asks"] == ""
    assert TOKEN not in str(seen)
    assert all("401" in problem for problem in seen["problems"])
    assert not seen["foreign"]
    browser.open(guarded.page)
    browser.until(lambda seen: seen["asks"], "a page that was loaded again asks again")
