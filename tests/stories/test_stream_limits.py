"""An operator says how many streams somebody may have open: every way to open one counts, and no end is forgotten."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, answer_at, asked, server
from tests.guests import (
    HANDSHAKE,
    SWITCHING,
    bearer,
    call,
    connect_from,
    known,
    message,
    post,
    reload,
    statuses,
    visit,
)

from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

ADD, LIST = call("add"), message("tools/list", 2)
LISTEN = message("subscriptions/listen", 4)
STREAMS = "limits:\n  - {name: streams, key: [principal], concurrent_streams: 1}\n"
EVENTS = SSE | {"MCP-Protocol-Version": "2025-11-25"}
GET_STREAM = request("GET", headers=EVENTS)
WEBSOCKET = request("GET", "/mcp/x/ws", headers=HANDSHAKE | {"Accept": "*/*"})
OPENERS = {"GET": (GET_STREAM, STREAM_HEAD), "listen": (post(LISTEN), STREAM_HEAD), "WebSocket": (WEBSOCKET, SWITCHING)}


def _gate(limits: str = STREAMS, more: str = "", auth: str = "") -> GatewayUnderTest:
    """A gateway with one server ``x``."""
    return GatewayUnderTest(f"{auth}{limits}{server(more)}")


def _open(gate: GatewayUnderTest, sent: bytes, said: bytes, address: str = "127.0.0.1") -> tuple[Client, UpstreamPeer]:
    """Open a stream."""
    client = connect_from(gate, address)
    client.send(sent)
    peer = gate.upstream()
    peer.send(said)
    assert client.received.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 101 ")), client.received
    return client, peer


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("other", OPENERS)
def test_open_streams_are_counted(opener: str, other: str) -> None:
    """Whichever way they were opened, they take the same slots."""
    gate = _gate(STREAMS)
    _open(gate, *OPENERS[opener])
    seen = visit(gate, OPENERS[other][0])
    assert (seen.status, seen.reason, seen.arrived) == (429, "too_many_streams", None)
    assert seen.answer["ratelimit-policy"] == b'"streams";q=1;qu="concurrent-requests"'
    assert int(seen.answer["retry-after"]) >= 1
    assert seen.answer.json["error"]["data"]["policy"] == "streams"
    assert visit(gate, post(ADD)).status == 200


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (LISTEN, {}),
        (b'{"id":0,' + LISTEN[1:], {}),
        (LISTEN[:-1] + b',"x":1,"x":2}', {}),
        (b"\xef\xbb\xbf" + LISTEN, {}),
        (LISTEN.decode().encode("utf-16"), {}),
        (gzip.compress(LISTEN, mtime=0), {"Content_Encoding": "gzip"}),
        (LISTEN.replace(b"{", b"+AHs-"), {"Content_Type": "application/json; charset=utf-7"}),
        (b"[%b]" % LISTEN, {}),
    ],
)
def test_a_subscription_takes_its_slot_however_it_is_written(body: bytes, fields: dict[str, str]) -> None:
    """One that we cannot read is refused, or counted."""
    gate, opened = _gate(STREAMS), 0
    for _ in range(2):
        before = len(gate.peers)
        gate.connect().send(post(body, **fields))
        if len(gate.peers) > before:
            gate.upstream().send(STREAM_HEAD)
            opened += 1
    assert opened <= 1


def _finish(gate: GatewayUnderTest, client: Client, peer: UpstreamPeer) -> None:
    peer.send(LAST_CHUNK)


def _cut(gate: GatewayUnderTest, client: Client, peer: UpstreamPeer) -> None:
    peer.reset()


def _leave(gate: GatewayUnderTest, client: Client, peer: UpstreamPeer) -> None:
    client.close()


def _reset(gate: GatewayUnderTest, client: Client, peer: UpstreamPeer) -> None:
    client.reset()


def _speak(gate: GatewayUnderTest, client: Client, peer: UpstreamPeer) -> None:
    client.send(b"x")
    client.close()
    peer.reset()


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("end", [_finish, _cut, _leave, _reset, _speak])
def test_the_slot_of_a_stream_is_given_back_however_it_ends(
    opener: str, end: Callable[[GatewayUnderTest, Client, UpstreamPeer], None]
) -> None:
    """Once: there is one slot again, not two."""
    gate = _gate(STREAMS)
    client, peer = _open(gate, *OPENERS[opener])
    if end is _finish and opener == "WebSocket":
        end = _cut
    end(gate, client, peer)
    client.close()
    gate.advance(6)
    _open(gate, *OPENERS[opener])
    assert visit(gate, OPENERS[opener][0]).status == 429


@pytest.mark.parametrize(
    "said", [answer(status="405 Method Not Allowed"), answer(status="500 No"), b"HTTP/1.1 nonsense\r\n\r\n"]
)
def test_a_stream_that_never_began_keeps_no_slot(said: bytes) -> None:
    """Servers without streams answer 405 to every client."""
    gate = _gate(STREAMS)
    for _ in range(3):
        assert visit(gate, GET_STREAM, said).reason != "too_many_streams"


def test_a_server_that_cannot_be_reached_keeps_no_slot() -> None:
    """Nor one that does not answer."""
    gate = _gate(STREAMS, "timeouts: {response: 2s}")
    gate.refusing = {3010}
    assert statuses(gate, GET_STREAM, 3) == [502] * 3
    gate.refusing = set()
    client, _ = asked(gate, GET_STREAM)
    assert visit(gate, GET_STREAM).status == 429
    gate.advance(3)
    assert answer_at(client).status == 504
    assert visit(gate, GET_STREAM, answer()).status == 200


def test_a_stream_refused_by_another_limit_takes_no_slot() -> None:
    """All or nothing."""
    gate = _gate(STREAMS + "  - {name: some, key: [server], rate: 1/h, burst: 1}\n")
    statuses(gate, post(LIST), 10)
    assert [visit(gate, GET_STREAM).reason for _ in range(3)] == ["rate_limited"] * 3


def test_an_ordinary_answer_in_events_takes_no_slot() -> None:
    """A server may answer any call as a stream; it ends with the answer."""
    gate = _gate(STREAMS)
    for _ in range(3):
        client, peer = asked(gate, post(ADD))
        peer.send(STREAM_HEAD)
        assert answer_at(client, "POST").status == 200


def test_streams_of_others_do_not_count() -> None:
    """Here: of other addresses."""
    gate = _gate(STREAMS)
    for address in ("198.51.100.1", "198.51.100.2"):
        _open(gate, GET_STREAM, STREAM_HEAD, address)
        assert visit(gate, GET_STREAM, address=address).status == 429


def test_streams_that_end_on_reload_give_back_their_slots() -> None:
    """Also when their limit stays."""
    gate = _gate(STREAMS, auth=known(alice=""))
    opening = request("GET", headers=EVENTS | bearer("alice"))
    _open(gate, opening, STREAM_HEAD)
    reload(gate, known(bob="") + STREAMS + server())
    reload(gate, known(alice="") + STREAMS + server())
    _open(gate, opening, STREAM_HEAD)
    assert visit(gate, opening).status == 429


def test_a_reload_keeps_count_of_open_streams() -> None:
    """And the slots of a stream from before it are given back after it."""
    gate = _gate(STREAMS)
    client, _ = _open(gate, GET_STREAM, STREAM_HEAD)
    reload(gate, STREAMS + server("title: X"))
    assert visit(gate, GET_STREAM).status == 429
    client.close()
    _open(gate, GET_STREAM, STREAM_HEAD)


def test_a_get_cannot_say_that_it_opens_no_stream() -> None:
    """Neither by what it accepts nor by a body: the server decides what it answers."""
    gate = GatewayUnderTest(known(alice="") + server() + "limits: [{name: s, key: [principal, tool], concurrent_streams: 1}]\n")
    first, peer = asked(gate, request("GET", "/mcp/x/sse", headers=bearer("alice", Accept="*/*")))
    peer.send(STREAM_HEAD)
    for body in (b"", message("server/discover"), message("tools/call", name="a"), message("tools/call", name="b")):
        again = gate.connect()
        again.send(request("GET", "/mcp/x/sse", body, headers=bearer("alice", Accept="*/*")))
        assert answer_at(again).status == 429
    assert first.closed is None
