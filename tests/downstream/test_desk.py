"""Where documents are given out: a long one is made in slices, once for all who are told the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.web.http_headers import Headers

from mcpgate.catalog.listing import Page, discovery
from mcpgate.downstream.desk import Asked, Desk, View, reader_of
from mcpgate.downstream.discovery import Entry, Told
from mcpgate.errors import GatewayError, RouteNotFound
from mcpgate.policy.access import Terms
from mcpgate.policy.authn import Grant
from mcpgate.policy.authz import ToolRights
from mcpgate.settings import ServerSettings
from mcpgate.settings.registry import DiscoverySettings

COUNT = 300


def _entry(name: str, terms: Terms | None = None) -> Entry:
    settings = ServerSettings.model_validate({"name": name, "upstreams": [{"url": "http://127.0.0.1:3010"}]})
    return Entry(settings, "up", terms or Terms())


def _request(grant: Grant | None = None) -> Any:
    """What a desk sees of a request, and what was set on it."""
    headers: dict[bytes, bytes] = {}
    refused: list[GatewayError] = []
    return SimpleNamespace(
        exchange=SimpleNamespace(grant=grant),
        requestHeaders=Headers({}),
        setHeader=headers.__setitem__,
        refuse=refused.append,
        headers=headers,
        refused=refused,
    )


class Turns:
    """A reactor whose clock moves by a tenth of a millisecond at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waiting: list[Callable[[], object]] = []
        self.index = 1
        self.entries = [_entry(f"s{number:03}") for number in range(COUNT)]
        self.told = Told(
            gateway="0123456789abcdef",
            catalog=lambda: list(self.entries),
            index=lambda: self.index,
            public_url=lambda: "https://mcp.example.com",
            settings=DiscoverySettings,
            document=lambda exchange: succeed(None),
            call_later=self._call_later,
            now=self._now,
        )

    def _now(self) -> float:
        self.now_s += 0.0001
        return self.now_s

    def _call_later(self, delay_s: float, call: Callable[[], object]) -> Any:
        self.waiting.append(call)
        return SimpleNamespace(cancel=lambda: self.waiting.remove(call))

    def run(self) -> int:
        """As many turns as there is work for."""
        turns = 0
        while self.waiting:
            self.waiting.pop(0)()
            turns += 1
        return turns


def _everything(made: list[int] | None = None) -> Asked:
    def make(view: View) -> Iterator[bytes]:
        if made is not None:
            made.append(1)
        return discovery(view.arrangement, Page({}), view.admits)

    return Asked(make, kept_as="everything")


def test_a_long_document_is_made_in_slices() -> None:
    """And as it was when it was begun, whatever has changed since; the next one is the new one."""
    turns = Turns()
    desk, request = Desk(turns.told), _request()
    told = desk.tell(request, _everything())
    assert isinstance(told, Deferred)
    assert not told.called
    turns.index, turns.entries = 2, turns.entries[1:]
    assert turns.run() >= 1
    body = cast(bytes, told.result)
    assert body.count(b'"path"') == COUNT
    assert request.headers[b"content-length"] == b"%d" % len(body)
    again = desk.tell(_request(), _everything())
    turns.run()
    assert cast(bytes, cast(Any, again).result).count(b'"path"') == COUNT - 1


def test_who_asks_for_the_same_gets_the_same() -> None:
    """Made once: for those who wait, and at once for those who come later."""
    turns, made = Turns(), list[int]()
    desk = Desk(turns.told)
    first, second = desk.tell(_request(), _everything(made)), desk.tell(_request(), _everything(made))
    turns.run()
    third = desk.tell(_request(), _everything(made))
    assert isinstance(third, bytes)
    assert cast(Any, first).result is cast(Any, second).result is third
    assert len(made) == 1


def test_who_leaves_costs_nothing_more() -> None:
    """Those behind it are served."""
    turns = Turns()
    desk = Desk(turns.told)
    gone, stays = cast(Any, desk.tell(_request(), _everything())), cast(Any, desk.tell(_request(), _everything()))
    gone.addErrback(lambda failure: None)
    gone.cancel()
    turns.run()
    assert len(stays.result) > COUNT


@pytest.mark.parametrize("own", [True, False])
def test_what_is_not_there_is_said_in_the_form_that_was_asked_for(own: bool) -> None:
    """The registry has its own; elsewhere it is the gateway's."""
    turns, request = Turns(), _request()
    asked = Asked(lambda view: iter(()), miss=(lambda request: b"not here") if own else None)
    told = Desk(turns.told).tell(request, asked)
    turns.run()
    assert cast(Any, told).result == (b"not here" if own else b"")
    assert [type(error) for error in request.refused] == ([] if own else [RouteNotFound])


def test_readers_with_the_same_servers_are_one() -> None:
    """Whoever they are, and whatever else they may do."""
    told = Turns().told

    def reader(grant: Grant | None) -> object:
        return reader_of(told, cast(Any, SimpleNamespace(grant=grant)))

    one = Grant("one", frozenset({"a"}), frozenset({"x"}), ToolRights(["t"]))
    assert reader(one) == reader(Grant("two", frozenset(), frozenset({"x"})))
    assert hash(reader(one)) == hash(reader(Grant("two", frozenset(), frozenset({"x"}))))
    assert len({reader(one), reader(Grant("one", frozenset(), frozenset({"y"}))), reader(None)}) == 3
