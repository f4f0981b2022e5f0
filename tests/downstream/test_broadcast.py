"""Events for all who listen: exactly once, in order, and nobody waits for anybody."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ends import Message, answer_at, behind, timers

from mcpgate.downstream.broadcast import HANDFUL, Broadcast, Timing
from mcpgate.downstream.ring import PIECE_BYTES, RING_EVENTS, Event
from mcpgate.exchange import Exchange
from mcpgate.testing import Client, GatewayUnderTest, request

START = 5000
KEEP_ALIVE_S = 15.0


class Told(NamedTuple):
    """One event as a client has read it."""

    id: int
    kind: str
    content: Any


class Turn:
    """A call in the next turn of the reactor."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def cancel(self) -> None:
        self.act = lambda: None


class Air:
    """
    A broadcast behind the listener of a gateway: everybody who asks for ``/all`` sees all, others what is odd.

    :param hurried: its clock says after each handful that the slice is over, and its turns are taken one by one.
    """

    def __init__(self, hurried: bool = False) -> None:
        self.gate = GatewayUnderTest()
        self.hurried = hurried
        self.turns: list[Turn] = []
        self.looks = 0
        self.index = START
        self.most = 10_000
        self.made: list[tuple[int, Hashable]] = []
        self.padding = ""
        self.shared_view = False
        self.feed = Broadcast(
            self._view_of,
            self._render,
            Timing(self._call_later, self._now),
            index=lambda: self.index,
            keep_alive_s=lambda: KEEP_ALIVE_S,
            max_subscribers=lambda: self.most,
        )
        behind(self.gate, self.feed, b"/all", b"/odd")

    def _call_later(self, delay_s: float, act: Callable[[], None]) -> Any:
        if self.hurried and not delay_s:
            self.turns.append(Turn(act))
            return self.turns[-1]
        return self.gate.reactor.callLater(delay_s, act)

    def _now(self) -> float:
        self.looks += self.hurried
        return self.looks + float(self.gate.reactor.seconds())

    @property
    def timers(self) -> int:
        """How many timers the feed has."""
        return sum("Broadcast" in repr(call) for call in timers(self.gate))

    def _view_of(self, exchange: Exchange) -> Hashable:
        return b"/all" if self.shared_view else exchange.head.path

    def _render(self, event: Event, view: Hashable) -> bytes | None:
        self.made.append((event.index, view))
        if event.subject == "broken":
            raise RuntimeError("cannot be told")
        if view == b"/odd" and event.index % 2 == 0:
            return None
        return json.dumps({"subject": event.subject, "padding": self.padding}).encode()

    def listen(self, path: str = "/all", last_id: str | None = None, **fields: str) -> Client:
        client = self.gate.connect()
        headers = fields | ({} if last_id is None else {"Last-Event-ID": last_id})
        client.send(request("GET", path, headers=headers))
        return client

    def publish(self, count: int = 1, subject: object = "x") -> None:
        """Some events of one turn; nobody has been told of them yet."""
        for _ in range(count):
            self.index += 1
            self.feed.publish("changed", self.index, subject)

    def turn(self) -> None:
        """Let everybody be told."""
        while self.turns:
            self.slice()
        self.gate.advance(0.001)

    def slice(self) -> None:
        """Take one turn."""
        self.turns.pop(0).act()
        self.gate.settle()

    def ended(self) -> list[tuple[int, str]]:
        return [(each.status, each.ended.value if each.ended else "") for each in self.gate.records]


def events(client: Client) -> list[Told]:
    """What a client has been told, comments left out; each event has one line of text."""
    found = []
    for block in answer_at(client).body.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
        if "event" in lines:
            found.append(Told(int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


def ids(client: Client) -> list[int]:
    return [event.id for event in events(client)]


def kinds(client: Client) -> str:
    """The first letters of what a client was told."""
    return "".join(event.kind[:3] + " " for event in events(client)).strip()


@pytest.fixture
def air() -> Air:
    return Air()


# --- what one is told ---------------------------------------------------------------------------------------------


def test_the_answer_is_an_event_stream_that_nobody_keeps(air: Air) -> None:
    """Not even a proxy on the way; and a page of an allowed origin may read it."""
    answer = answer_at(air.listen(Origin="http://localhost"))
    assert (answer.status, answer["content-type"], answer["cache-control"]) == (200, b"text/event-stream", b"no-store")
    assert answer["x-accel-buffering"] == b"no"
    assert answer["access-control-allow-origin"] == b"http://localhost"
    assert answer.body.startswith(b"retry: 2000\n\n")
    assert not answer.complete


def test_a_newcomer_is_told_where_it_stands(air: Air) -> None:
    """With the present index as id, so that it can come back from there."""
    air.publish(2)
    assert events(air.listen()) == [Told(START + 2, "ready", {"index": START + 2})]


def test_everybody_is_told_what_they_may_see(air: Air) -> None:
    """Made once for all who see the same."""
    one, two, odd = air.listen(), air.listen(), air.listen("/odd")
    air.publish()
    air.turn()
    air.publish()
    air.turn()
    assert events(one)[1:] == [Told(START + n, "changed", {"subject": "x", "padding": ""}) for n in (1, 2)]
    assert events(two) == events(one)
    assert ids(odd) == [START, START + 1]
    assert sorted(air.made) == sorted((START + n, view) for n in (1, 2) for view in (b"/all", b"/odd"))


def test_nothing_is_made_while_nobody_listens(air: Air) -> None:
    """It is kept, to be made when somebody asks."""
    air.publish(5)
    air.turn()
    assert air.made == []
    assert (air.feed.event_count, air.timers) == (5, 0)


def test_what_happens_in_one_turn_leaves_in_one_write(air: Air) -> None:
    """So a reload that changes many servers costs each reader one system call."""
    client = air.gate.connect()
    writes: list[bytes] = []
    client.transport.write = writes.append  # type: ignore[method-assign,assignment]
    client.send(request("GET", "/all"))
    air.publish(10)
    air.turn()
    assert [written.count(b"event: ready") for written in writes] == [1, 0]
    assert writes[1].count(b"event: changed") == 10


def test_an_old_client_reads_until_the_end(air: Air) -> None:
    """HTTP/1.0 knows no chunks."""
    client = air.gate.connect()
    client.send(request("GET", "/all").replace(b"HTTP/1.1", b"HTTP/1.0"))
    other = air.listen()
    air.publish()
    air.turn()
    assert ids(client) == ids(other) == [START, START + 1]
    air.feed.close()
    air.gate.settle()
    assert answer_at(client).complete


def test_an_event_that_cannot_be_told_is_reported(air: Air, failures: list[str]) -> None:
    """The next one is told."""
    client = air.listen()
    air.publish(subject="broken")
    air.publish()
    air.turn()
    assert ids(client) == [START, START + 2]
    assert len(failures) == 1
    assert "cannot be told" in failures[0]


# --- coming back --------------------------------------------------------------------------------------------------


def test_who_comes_back_is_told_what_it_has_missed(air: Air) -> None:
    """Then that this was all, then what happens."""
    air.publish(4)
    client = air.listen(last_id=str(START + 2))
    air.publish()
    air.turn()
    assert ids(client) == [START + 3, START + 4, START + 4, START + 5]
    assert kinds(client) == "cha cha rea cha"


def test_who_has_missed_nothing_is_told_so(air: Air) -> None:
    """It need not read anything anew."""
    air.publish(4)
    assert kinds(air.listen(last_id=str(START + 4))) == "rea"
    assert kinds(air.listen(last_id="")) == "rea"


@pytest.mark.parametrize("last_id", ["4999", "999999", "x", "-1", "5e3"])
def test_whose_id_is_not_known_begins_anew(air: Air, last_id: str) -> None:
    """Of a process before, of the future, or invented: it reads the listing and goes on from here."""
    air.publish(4)
    client = air.listen(last_id=last_id)
    assert events(client) == [Told(START + 4, "reset", {"index": START + 4})]
    air.publish()
    air.turn()
    assert ids(client) == [START + 4, START + 5]


def test_who_was_away_too_long_begins_anew(air: Air) -> None:
    """What has fallen out of the ring cannot be told."""
    air.publish(RING_EVENTS + 1)
    assert kinds(air.listen(last_id=str(START))) == "res"
    client = air.listen(last_id=str(START + 1))
    assert ids(client) == [*range(START + 2, START + RING_EVENTS + 2), air.index]


def test_much_that_was_missed_is_told_as_fast_as_it_is_read(air: Air) -> None:
    """Whoever comes back on a thin line is neither cut, nor are its events kept in memory, nor are any lost."""
    air.padding = "x" * 1000
    air.publish(500)
    client = air.gate.connect()
    client.stop_reading()
    client.send(request("GET", "/all", headers={"Last-Event-ID": str(START)}))
    assert client.transport.unsent_bytes() < 64 * 1024 + 2 * PIECE_BYTES
    air.publish(3)
    air.turn()
    client.read_on()
    air.turn()
    air.publish()
    air.turn()
    assert [event.id for event in events(client) if event.kind == "changed"] == list(range(START + 1, START + 505))
    assert kinds(client).count("rea") == 1
    assert (air.feed.cut_count, len(air.feed)) == (0, 1)


def test_who_comes_while_others_are_being_told_hears_nothing_twice(air: Air) -> None:
    """What has been published and not told yet is behind it."""
    first = air.listen()
    air.publish()
    newcomer, back = air.listen(), air.listen(last_id=str(START))
    air.publish()
    air.turn()
    assert ids(first) == [START, START + 1, START + 2]
    assert ids(newcomer) == [START + 1, START + 2]
    assert ids(back) == [START + 1, START + 1, START + 2]


# --- many ---------------------------------------------------------------------------------------------------------


def test_many_are_told_in_slices_and_in_order() -> None:
    """The reactor turns in between, and what happens meanwhile comes after what happened before."""
    air = Air(hurried=True)
    clients = [air.listen() for _ in range(HANDFUL * 3)]
    late = air.listen("/odd")
    air.publish()
    air.slice()
    assert [len(ids(client)) for client in clients] == [2] * HANDFUL + [1] * HANDFUL * 2
    air.publish()
    newcomer = air.listen()
    air.turn()
    assert {tuple(ids(client)) for client in clients} == {(START, START + 1, START + 2)}
    assert (ids(late), ids(newcomer)) == ([START, START + 1], [START + 2])


def test_who_leaves_in_the_middle_of_a_round_is_told_nothing_more() -> None:
    """Its connection may be answering something else by then."""
    air = Air(hurried=True)
    clients = [air.listen() for _ in range(HANDFUL * 2)]
    air.publish()
    air.slice()
    air.feed.close()
    air.gate.settle()
    for client in (clients[0], clients[-1]):
        assert answer_at(client).complete
        before = len(client.received)
        client.send(request("HEAD", "/all"))
        assert client.received[before:].startswith(b"HTTP/1.1 503 ")
    air.turn()
    assert len(air.gate.records) == HANDFUL * 2 + 2


def test_more_than_the_ring_holds_at_once_is_told_as_a_reset(air: Air) -> None:
    """To read the listing once is less than to read a thousand changes of it."""
    client = air.listen()
    air.publish(RING_EVENTS + 1)
    air.turn()
    air.publish()
    air.turn()
    assert kinds(client) == "rea res cha"
    assert ids(client)[1:] == [START + RING_EVENTS + 1, START + RING_EVENTS + 2]


def test_a_burst_cuts_nobody_who_reads(air: Air) -> None:
    """However large it is: it is told in pieces."""
    air.padding = "x" * 1000
    fast, slow = air.listen(), air.listen()
    slow.stop_reading()
    air.publish(500)
    air.turn()
    assert ids(fast) == list(range(START, START + 501))
    slow.read_on()
    air.publish()
    air.turn()
    assert ids(slow) == list(range(START, START + 502))
    assert air.feed.cut_count == 0


# --- slow ones ----------------------------------------------------------------------------------------------------


def test_who_does_not_read_is_cut_and_nobody_waits_for_it(air: Air) -> None:
    """It comes back with the id of the last event it has read, and misses nothing."""
    air.padding = "x" * 10_000
    slow, fast = air.listen(), air.listen()
    slow.stop_reading()
    for _ in range(8):
        air.publish()
        air.turn()
    assert (len(air.feed), air.feed.cut_count) == (1, 1)
    assert air.ended() == [(200, "send_timeout")]
    assert ids(fast) == list(range(START, START + 9))
    slow.read_on()
    assert (answer_at(slow).complete, slow.closed) == (False, "fin")
    again = air.listen(last_id=str(ids(slow)[-1]))
    assert ids(slow) + ids(again)[:-1] == ids(fast)


def test_a_reader_that_is_resumed_without_a_pause_hears_nothing_twice(air: Air) -> None:
    """As some doors do."""
    client = air.listen()
    air.publish()
    air.turn()
    for reader in air.feed._readers:
        reader.resume_answer()
    assert ids(client) == [START, START + 1]


def test_the_door_knows_what_went_past_it(air: Air) -> None:
    """Who takes a little all the time is not taken for stuck: each byte is counted once."""
    client = air.listen()
    (reader,) = air.feed._readers
    assert reader.wire_bytes == 0
    air.publish()
    air.turn()
    told_bytes = reader.wire_bytes
    assert told_bytes == len(answer_at(client).body) - answer_at(client).body.index(b"id: %d\n" % (START + 1))
    reader.wire_bytes = 0
    air.publish()
    air.turn()
    assert reader.wire_bytes == told_bytes


# --- silence ------------------------------------------------------------------------------------------------------


def _comments(client: Client) -> int:
    return answer_at(client).body.count(b": keep-alive\n\n")


def test_a_silent_stream_says_that_it_is_there(air: Air) -> None:
    """Again and again, and with one timer for all."""
    clients = [air.listen() for _ in range(3)]
    assert air.timers == 1
    air.gate.advance(KEEP_ALIVE_S - 0.5)
    assert [_comments(client) for client in clients] == [0, 0, 0]
    air.gate.advance(1)
    assert [_comments(client) for client in clients] == [1, 1, 1]
    air.gate.advance(KEEP_ALIVE_S)
    assert [_comments(client) for client in clients] == [2, 2, 2]


def test_an_event_breaks_the_silence(air: Air) -> None:
    """Then it begins anew; for those who may not see the event it goes on."""
    client, odd = air.listen(), air.listen("/odd")
    air.publish()  # for both
    air.turn()
    air.gate.advance(KEEP_ALIVE_S - 1)
    air.publish()  # for one
    air.turn()
    air.gate.advance(1.5)
    assert _comments(odd) == 1
    odd.close()
    air.publish()
    air.turn()
    before = _comments(client)
    air.gate.advance(KEEP_ALIVE_S - 1)
    assert _comments(client) == before
    air.gate.advance(1.5)
    assert _comments(client) == before + 1


# --- leaving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [Client.close, Client.reset], ids=["fin", "reset"])
def test_who_leaves_is_forgotten_and_recorded(air: Air, leave: Callable[[Client], None]) -> None:
    """Once; and when nobody is left nothing is done any more."""
    client = air.listen()
    air.publish()
    air.turn()
    told = answer_at(client).body
    leave(client)
    air.gate.settle()
    assert (len(air.feed), air.ended()) == (0, [(200, "client_gone")])
    (record,) = air.gate.records
    assert (record.transport, record.bytes_out) == ("sse", len(told))
    assert record.first_event_s >= record.started_s > 0
    assert air.timers == 0
    air.publish()
    assert air.timers == 0


def test_who_had_left_before_the_answer_is_not_counted(air: Air) -> None:
    """A client that closes its side at once is not there any more."""
    client = air.gate.connect()
    client.transport.arrive(lambda: None)
    client.stop_reading()
    client.transport.protocol.dataReceived(request("GET", "/all") + b"surplus")
    air.gate.settle()
    assert len(air.feed) == 0
    assert air.ended() == [(200, "client_gone")]


def test_closing_ends_every_answer_properly(air: Air) -> None:
    """Whoever comes later is sent away."""
    clients = [air.listen(), air.listen("/odd")]
    air.feed.close()
    air.gate.settle()
    assert all(answer_at(client).complete for client in clients)
    assert air.ended() == [(200, "drain")] * 2
    assert (answer_at(air.listen()).status, len(air.feed)) == (503, 0)
    assert air.timers == 0


def test_a_token_that_expires_ends_the_stream(air: Air) -> None:
    """At the next event or sign of life."""
    clients = [air.listen() for _ in range(3)]
    exchanges = [reader.exchange for reader in air.feed._readers]
    now_s = air.gate.reactor.seconds()
    exchanges[0].expires_s, exchanges[1].expires_s = now_s + 5, now_s + 10
    air.feed.recheck(lambda exchange: True)
    air.gate.advance(6)
    air.publish()
    air.turn()
    assert [answer_at(client).complete for client in clients] == [True, False, False]
    assert (ids(clients[0]), ids(clients[1])) == ([START], [START, START + 1])
    air.gate.advance(KEEP_ALIVE_S + 1)
    assert [answer_at(client).complete for client in clients] == [True, True, False]
    assert air.ended() == [(200, "revoked")] * 2
    assert all(exchange.expires_s < math.inf for exchange in exchanges[:2])


def test_new_rules_end_who_may_not_listen_any_more(air: Air) -> None:
    """Nobody else notices."""
    stays, goes = air.listen(), air.listen("/odd")
    air.publish()
    air.feed.recheck(lambda exchange: exchange.head.path != b"/odd")
    air.gate.settle()
    air.turn()
    assert (answer_at(goes).complete, ids(goes)) == (True, [START])
    assert ids(stays) == [START, START + 1]
    assert air.ended() == [(200, "revoked")]


def test_who_sees_something_else_by_the_new_rules_begins_anew(air: Air) -> None:
    """On the same connection: it reads the listing again."""
    stays, changes = air.listen(), air.listen("/odd")
    air.shared_view = True
    air.feed.recheck(lambda exchange: True)
    air.publish(2)
    air.turn()
    assert (kinds(stays), kinds(changes)) == ("rea cha cha", "rea res cha cha")
    assert ids(changes) == [START, START, START + 1, START + 2]


def test_new_rules_in_the_middle_of_a_round_do_not_mix_old_and_new() -> None:
    """Nobody is told an older event after it was told to begin anew."""
    air = Air(hurried=True)
    clients = [air.listen("/odd") for _ in range(HANDFUL * 2)]
    air.publish()
    air.slice()
    air.shared_view = True
    air.feed.recheck(lambda exchange: True)
    air.publish()
    air.turn()
    assert {kinds(client) for client in clients} == {"rea cha res cha"}
    assert {tuple(ids(client)) for client in clients} == {(START, START + 1, START + 1, START + 2)}


# --- refusals -----------------------------------------------------------------------------------------------------


def _answer(air: Air, sent: bytes, method: str = "GET") -> Message:
    client = air.gate.connect()
    client.send(sent)
    return answer_at(client, method)


def test_head_gets_the_head(air: Air) -> None:
    """And is no reader."""
    answer = _answer(air, request("HEAD", "/all"), "HEAD")
    assert (answer.status, answer["content-type"], answer.complete) == (200, b"text/event-stream", True)
    assert (len(air.feed), air.ended()) == (0, [(200, "complete")])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_refused(air: Air, method: str) -> None:
    """With those that are not."""
    answer = _answer(air, request(method, "/all"), method)
    assert (answer.status, answer["allow"]) == (405, b"GET, HEAD")


def test_a_request_with_a_body_to_come_is_refused(air: Air) -> None:
    """On a stream nothing may come."""
    assert _answer(air, request("GET", "/all", headers={"Content-Length": "5"})).status == 400
    assert len(air.feed) == 0


def test_there_is_a_bound_of_readers(air: Air) -> None:
    """One more is told to come later; when one leaves there is room."""
    air.most = 1
    first = air.listen()
    answer = answer_at(air.listen())
    assert (answer.status, answer["retry-after"]) == (503, b"1")
    first.close()
    assert kinds(air.listen()) == "rea"


# --- anything -----------------------------------------------------------------------------------------------------

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 120)),
        st.tuples(st.sampled_from(["turn", "come", "return", "stop", "read", "leave", "recheck"]), st.integers(0, 7)),
    ),
    max_size=40,
)


class _Play:
    """Clients that come and go as a test says."""

    def __init__(self) -> None:
        self.air = Air()
        self.air.padding = "x" * 700
        self.clients: list[Client] = []
        self.left: list[Client] = []

    def step(self, what: str, number: int) -> None:
        client = self.clients[number % len(self.clients)] if self.clients else None
        if what == "publish":
            self.air.publish(number)
        elif what == "turn":
            self.air.gate.advance(number + 0.001)
        elif what == "recheck":
            self.air.feed.recheck(lambda exchange: True)
        elif what == "come":
            self.clients.append(self.air.listen())
        elif client is not None:
            self._act(client, what)

    def _act(self, client: Client, what: str) -> None:
        if what == "return":
            read = ids(client)
            self.clients.append(self.air.listen(last_id=str(read[-1]) if read else "0"))
        elif client.closed is None and client not in self.left:
            self.left += [client] if what == "leave" else []
            {"stop": client.stop_reading, "read": client.read_on, "leave": client.close}[what]()


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_nothing_is_lost_repeated_or_reordered(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, what a client reads follows on what it has read, up to where it was cut; or it is reset."""
    play = _Play()
    for what, number in steps:
        play.step(what, number)
    play.air.gate.advance(1)
    for client in play.clients:
        client.read_on()
    play.air.gate.advance(1)
    for client in play.clients:
        told = events(client)
        for before, after in itertools.pairwise(told):
            assert after.kind == "reset" or after.id == before.id + (after.kind == "changed")
        if client.closed is None and client not in play.left:
            assert told[-1].id == play.air.index
