"""The addresses of the admin listener as a tree: what they tell and take, from callables alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.ends import Message, answer_at, answers, behind

from mcpgate.downstream.admin import Operations, admin_tree
from mcpgate.downstream.feed import MAX_READERS, Feed
from mcpgate.downstream.page import status_page
from mcpgate.downstream.site import site_of
from mcpgate.testing import Client, GatewayUnderTest, request

STATUS = {
    "gateway": {
        "version": "1.2.3",
        "state": "ready",
        "checks": {"config": True},
        "time_s": 60.0,
        "uptime_s": 60.0,
        "reload": {"successful": True, "success_at_s": 0.0},
        "connections": {"open": 0, "max": 9, "states": {}},
        "held": {"exchanges": 0, "body_bytes": 0},
        "unexpected_failures": 0,
        "dropped_log_lines": 0,
    },
    "servers": [],
    "streams": [],
    "limits": [],
    "recent": [],
}
LEVELS = {"level": "info", "levels": {}}


class Behind:
    """
    The tree alone behind a listener.

    :ivar taken: what was handed to `set_levels`.
    :ivar spent_s: what the clock shows; the work on metrics moves it.
    """

    def __init__(self, **parts: Any) -> None:
        self.gate = GatewayUnderTest()
        self.taken: list[Any] = []
        self.spent_s = 0.0
        self.pieces_made = 0
        self.feed = Feed(lambda: {"number": 1}, self.gate.reactor.callLater)
        operations = Operations(
            is_ready=lambda: {"a": True, "b": True},
            reload=lambda: {"success": True},
            masked_config=lambda: {"servers": []},
            scrape=lambda accept: (b"text/plain", iter([b"accept: ", accept])),
            status=lambda: STATUS,
            levels=lambda: LEVELS,
            set_levels=self._set_levels,
            registry=cast(Any, None),  # has tests of its own
            feed=self.feed,
            call_later=self.gate.reactor.callLater,
            now=lambda: self.spent_s,
        )
        tree = admin_tree(replace(operations, **parts))
        own = (b"/", b"/livez", b"/readyz", b"/healthz", b"/admin", b"/metrics", b"/status", b"/status.txt")
        behind(self.gate, site_of(tree, self.gate.reactor), *own, on_failure=pytest.fail)

    def _set_levels(self, wanted: Any) -> list[str]:
        self.taken.append(wanted)
        return ["level: not a level", "levels.x: neither"] if wanted.get("level") == "loud" else []

    def send(self, method: str, target: str, body: bytes = b"", **fields: str) -> Client:
        client = self.gate.connect()
        client.send(request(method, target, body, fields))
        return client

    def ask(self, method: str, target: str, body: bytes = b"", **fields: str) -> Message:
        return answer_at(self.send(method, target, body, **fields), method)


# --- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checks", "query", "status", "body"),
    [
        ({"a": True}, "", 200, "ok\n"),
        ({"a": True}, "?verbose", 200, "[+] a\nok\n"),
        ({"a": True, "b": False}, "", 503, "[+] a\n[-] b\nnot ready\n"),
        ({"a": False}, "?verbose", 503, "[-] a\nnot ready\n"),
    ],
)
@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
def test_readiness_lists_its_checks_when_asked_or_failing(
    path: str, checks: dict[str, bool], query: str, status: int, body: str
) -> None:
    """A person sees which one it is."""
    told = Behind(is_ready=lambda: checks).ask("GET", path + query)
    assert (told.status, told.body.decode(), told["content-type"]) == (status, body, b"text/plain; charset=utf-8")


def test_liveness_asks_nobody() -> None:
    """A process that answers is alive."""
    told = Behind(is_ready=lambda: {"a": False}).ask("GET", "/livez")
    assert (told.status, told.body) == (200, b"ok\n")


# --- configuration and levels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "status"), [({"success": True, "added": ["x"]}, 200), ({"success": False, "faults": ["f"]}, 422)]
)
def test_a_reload_is_told_as_it_went(result: dict[str, Any], status: int) -> None:
    """With what the service says."""
    told = Behind(reload=lambda: result).ask("POST", "/admin/reload")
    assert (told.status, told.json) == (status, result)


def test_the_configuration_is_told_as_given() -> None:
    """Masking is the service's."""
    assert Behind().ask("GET", "/admin/config").json == {"servers": []}


def test_levels_are_told() -> None:
    """As they are in force."""
    assert Behind().ask("GET", "/admin/log-levels").json == LEVELS


@pytest.mark.parametrize("wanted", [{"level": "debug"}, {"levels": {"mcpgate.upstream": None}}, {}])
def test_levels_can_be_set_in_parts(wanted: dict[str, Any]) -> None:
    """The answer is what holds then."""
    tree = Behind()
    told = tree.ask("PUT", "/admin/log-levels", json.dumps(wanted).encode())
    assert (told.status, told.json, tree.taken) == (200, LEVELS, [wanted])


def test_levels_that_do_not_exist_are_refused() -> None:
    """With all that is wrong, for programs and for people."""
    told = Behind().ask("PUT", "/admin/log-levels", b'{"level": "loud"}')
    assert (told.status, told["content-type"]) == (422, b"application/problem+json")
    assert told.json["faults"] == ["level: not a level", "levels.x: neither"]
    assert told.json["detail"] == "level: not a level; levels.x: neither"
    assert (told.json["status"], told.json["title"]) == (422, "Unprocessable Content")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"debug"', b"{", b"\xff", b'{"level": "\xff"}', b"[" * 5000])
def test_what_is_no_json_object_sets_nothing(body: bytes) -> None:
    """The answer shows how one looks."""
    tree = Behind()
    told = tree.ask("PUT", "/admin/log-levels", body)
    assert (told.status, tree.taken) == (422, [])
    assert '{"level": "info"' in told.json["detail"]


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_come_in_the_form_that_is_asked_for() -> None:
    """All that was accepted is handed on; the answer has a length."""
    told = Behind().ask("GET", "/metrics", Accept="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert told.body == b"accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1"
    assert (told.status, told["content-type"]) == (200, b"text/plain")
    assert int(told["content-length"]) == len(told.body)


def test_a_scraper_that_only_wants_the_head_gets_it() -> None:
    """With the length that a whole answer would have."""
    told = Behind().ask("HEAD", "/metrics", Accept="x")
    assert (told.status, told.body, told["content-length"]) == (200, b"", b"9")


def long_work(tree: Callable[[], Behind], count: int) -> Callable[[bytes], tuple[bytes, Iterator[bytes]]]:
    """Metrics of which each piece takes a slice."""

    def pieces() -> Iterator[bytes]:
        for _ in range(count):
            tree().spent_s += 0.002
            tree().pieces_made += 1
            yield b"x"

    return lambda accept: (b"text/plain", pieces())


def test_a_long_scrape_lets_others_in_between() -> None:
    """Health is answered while the metrics are being made."""
    tree = Behind(scrape=long_work(lambda: tree, 3))
    client = tree.send("GET", "/metrics")
    assert client.received == b""
    assert tree.ask("GET", "/livez").body == b"ok\n"
    tree.gate.advance(0.01)
    assert answer_at(client).body == b"xxx"


def test_a_scraper_that_leaves_is_not_worked_for() -> None:
    """What was begun for it stops."""
    tree = Behind(scrape=long_work(lambda: tree, 1000))
    tree.send("GET", "/metrics").reset()
    tree.gate.advance(0.25)
    assert tree.pieces_made == 1
    assert [record.ended.value for record in tree.gate.records if record.ended] == ["client_gone"]


# --- status -----------------------------------------------------------------------------------------------------------


def test_the_page_comes_with_what_holds_a_browser_to_it() -> None:
    """No script but its own, no frame around it, no guess at what it is, no copy."""
    page = status_page()
    told = Behind().ask("GET", "/")
    assert (told.status, told.body, told["content-type"]) == (200, page.body, b"text/html; charset=utf-8")
    assert told["content-security-policy"] == page.policy
    fields = ("x-content-type-options", "referrer-policy", "cache-control")
    assert [told[name] for name in fields] == [b"nosniff", b"no-referrer", b"no-store"]


def test_the_status_has_twins_for_programs_and_terminals() -> None:
    """Both made anew."""
    assert Behind().ask("GET", "/status").json == STATUS
    told = Behind().ask("GET", "/status.txt")
    assert told["content-type"] == b"text/plain; charset=utf-8"
    assert told.body.startswith(b"mcpgate 1.2.3: ready, up 1m 0s\n")


def test_the_feed_is_a_stream_of_events() -> None:
    """That nobody between collects or keeps."""
    told = Behind().ask("GET", "/status/events")
    assert (told.status, told["content-type"], told["cache-control"]) == (200, b"text/event-stream", b"no-store")
    assert told["x-accel-buffering"] == b"no"
    assert told.body == b'event: status\ndata: {"number":1}\n\n'
    assert not told.complete


def test_who_only_wants_the_head_of_the_feed_gets_it() -> None:
    """And is no reader."""
    tree = Behind()
    told = tree.ask("HEAD", "/status/events")
    assert (told.status, told["content-type"], told.complete) == (200, b"text/event-stream", True)
    assert len(tree.feed) == 0


def test_a_full_feed_refuses() -> None:
    """Until somebody leaves."""
    tree = Behind()
    readers = [tree.send("GET", "/status/events") for _ in range(MAX_READERS)]
    told = tree.ask("GET", "/status/events")
    assert (told.status, told["mcpgate-error"]) == (503, b"overloaded")
    assert "retry-after" in told
    readers[0].close()
    assert tree.ask("GET", "/status/events").status == 200


def test_a_closed_feed_refuses() -> None:
    """The process is about to end."""
    tree = Behind()
    tree.feed.close()
    assert tree.ask("GET", "/status/events").status == 503


# --- the form of all --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/admin/reload", 405, b"POST"),
        ("DELETE", "/livez", 405, b"GET, HEAD"),
        ("OPTIONS", "/livez", 405, b"GET, HEAD"),
        ("POST", "/metrics", 405, b"GET, HEAD"),
        ("POST", "/", 405, b"GET, HEAD"),
        ("POST", "/status/events", 405, b"GET, HEAD"),
        ("POST", "/admin/log-levels", 405, b"GET, HEAD, PUT"),
        ("GET", "/admin", 404, b""),
        ("GET", "/admin/nothing", 404, b""),
        ("GET", "/livez/", 404, b""),
        ("GET", "/livez//", 404, b""),
        ("GET", "/status/nothing", 404, b""),
        ("GET", "/admin%2fconfig", 404, b""),
        ("GET", "/livez/%ff", 400, b""),
    ],
)
def test_what_the_tree_does_not_have_is_refused_in_our_form(
    method: str, target: str, status: int, allow: bytes
) -> None:
    """Klein's own pages are never seen, and it redirects nobody."""
    told = Behind().ask(method, target)
    assert (told.status, told["allow"]) == (status, allow)
    assert told.json["error"]["code"] == -31000 - status


def test_answers_follow_each_other_on_one_connection() -> None:
    """In the order of the requests, however long one takes."""
    tree = Behind(scrape=long_work(lambda: tree, 3))
    client = tree.gate.connect()
    client.send(request("GET", "/metrics") + request("GET", "/livez"))
    tree.gate.advance(0.01)
    assert [told.body for told in answers(client.received, None, ["GET", "GET"])] == [b"xxx", b"ok\n"]
