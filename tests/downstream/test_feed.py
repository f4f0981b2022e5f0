"""The live status: made once for all who watch, only while somebody does, and kept for nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.ends import Message, answer_at, behind
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from mcpgate.downstream.feed import MAX_READERS, TICK_S, Feed
from mcpgate.downstream.local import LocalSite
from mcpgate.testing import Client, GatewayUnderTest, request


class Watched:
    """A feed of a status that counts how often it was asked for, behind a gateway's listener."""

    def __init__(self) -> None:
        self.gate = GatewayUnderTest()
        self.asked = 0
        self.padding = ""
        self.breaks = False
        self.feed = Feed(self._status, self.gate.reactor.callLater)
        self.slow: list[Any] = []
        site = Site(_At(self.feed, self.slow), reactor=self.gate.reactor)
        behind(self.gate, LocalSite(site), b"/status/events", b"/slow")

    def _status(self) -> dict[str, Any]:
        self.asked += 1
        if self.breaks:
            raise RuntimeError("no status")
        return {"number": self.asked, "padding": self.padding}

    def watch(self) -> Client:
        client = self.gate.connect()
        client.send(request("GET", "/status/events"))
        return client

    def numbers(self, client: Client) -> list[int]:
        return [event["number"] for event in events(answer_at(client))]


class _At(Resource):
    """The feed, and an address that takes its time."""

    isLeaf = True

    def __init__(self, feed: Feed, slow: list[Any]) -> None:
        super().__init__()
        self._feed = feed
        self._slow = slow

    def render(self, request: Any) -> int:
        if request.uri == b"/slow":
            self._slow.append(request)
            return NOT_DONE_YET
        request.setHeader(b"content-type", b"text/event-stream")
        self._feed.tell(request).addCallback(lambda rest: request.finish())
        return NOT_DONE_YET


def events(answer: Message) -> list[dict[str, Any]]:
    """The data of the events in an answer; each has one line of it."""
    found = []
    for event in answer.body.decode().split("\n\n")[:-1]:
        kind, line = event.split("\n")
        assert kind == "event: status"
        found.append(json.loads(line.removeprefix("data: ")))
    return found


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_reader_is_told_at_once_and_then_every_two_seconds(watched: Watched) -> None:
    """Without asking again."""
    client = watched.watch()
    assert watched.numbers(client) == [1]
    watched.gate.advance(TICK_S * 2)
    assert watched.numbers(client) == [1, 2, 3]
    assert not answer_at(client).complete


def test_all_readers_share_one_status(watched: Watched) -> None:
    """However many look, it is made once in two seconds."""
    first = watched.watch()
    watched.gate.advance(TICK_S / 2)
    second = watched.watch()
    watched.gate.advance(TICK_S / 2)
    assert (watched.numbers(first), watched.numbers(second)) == ([1, 2], [1, 2])
    assert watched.asked == 2


@pytest.mark.parametrize("leave", [Client.close, Client.reset], ids=["fin", "reset"])
def test_nothing_is_made_when_nobody_looks(watched: Watched, leave: Callable[[Client], None]) -> None:
    """The last one who leaves, in whatever way, stops it; the next one gets a fresh one."""
    client = watched.watch()
    leave(client)
    watched.gate.advance(TICK_S * 3)
    assert (watched.asked, len(watched.feed)) == (1, 0)
    assert watched.numbers(watched.watch()) == [2]


def test_a_reader_that_leaves_does_not_disturb_the_others(watched: Watched) -> None:
    """They are told on."""
    staying, leaving = watched.watch(), watched.watch()
    leaving.reset()
    watched.gate.advance(TICK_S)
    assert watched.numbers(staying) == [1, 2]


def test_a_reader_that_takes_nothing_misses_events(watched: Watched) -> None:
    """Nothing is kept for it; when it reads again it is told how things are then."""
    watched.padding = "x" * 100_000
    client, quick = watched.watch(), watched.watch()
    client.stop_reading()
    watched.gate.advance(TICK_S * 5)
    kept_bytes = client.transport.unsent_bytes()
    assert kept_bytes <= 2 * 100_100
    client.read_on()
    watched.gate.advance(TICK_S)
    numbers = watched.numbers(client)
    assert numbers[-1] == watched.numbers(quick)[-1] == 7
    assert len(numbers) < 7


def test_a_reader_that_never_reads_is_cut(watched: Watched) -> None:
    """As every client is, after ``http.send_timeout``."""
    watched.padding = "x" * 100_000
    client = watched.watch()
    client.stop_reading()
    watched.gate.advance(130)
    assert client.closed == "reset"
    assert len(watched.feed) == 0


def test_a_client_that_has_closed_its_side_has_left(watched: Watched) -> None:
    """Also if that was known before its turn came, and it is told of the leaving while the first event is written."""
    client = watched.gate.connect()
    client.send(request("GET", "/slow") + request("GET", "/status/events"))
    client.close()
    watched.slow[0].finish()
    watched.gate.settle()
    watched.gate.advance(TICK_S * 2)
    assert (len(watched.feed), watched.asked) == (0, 1)


def test_a_closed_feed_ends_every_answer(watched: Watched) -> None:
    """With its proper end: the readers can tell that from a failure."""
    clients = [watched.watch(), watched.watch()]
    watched.feed.close()
    watched.gate.settle()
    assert all(answer_at(client).complete for client in clients)
    watched.gate.advance(TICK_S * 2)
    assert (watched.asked, watched.feed.is_closed) == (1, True)


def test_the_room_is_bounded(watched: Watched) -> None:
    """So many may look, and one more when one has left."""
    clients = [watched.watch() for _ in range(MAX_READERS)]
    assert watched.feed.is_full
    clients[3].reset()
    assert not watched.feed.is_full


def test_a_status_that_cannot_be_made_is_left_out(watched: Watched, failures: list[str]) -> None:
    """The log is told; the next one comes."""
    client = watched.watch()
    watched.breaks = True
    watched.gate.advance(TICK_S)
    watched.breaks = False
    watched.gate.advance(TICK_S)
    assert watched.numbers(client) == [1, 3]
    assert len(failures) == 1


def test_the_stream_is_on_record_while_it_is_open(watched: Watched) -> None:
    """As one of the gateway's own, with what ended it."""
    client = watched.watch()
    watched.gate.advance(TICK_S)
    client.close()
    (record,) = watched.gate.records
    assert (record.server, record.transport, record.status) == ("", "other", 200)
    assert record.ended is not None
    assert record.ended.value == "client_gone"
