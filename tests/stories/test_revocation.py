"""What somebody has open ends when they may not have it any more, within seconds; nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, answer_at, chunked, server
from tests.guests import HANDSHAKE, SWITCHING, bearer, call, known, message, post, reload, served, visit
from tests.policy.signers import document, signer

from mcpgate.exchange import Ended
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

#: What is promised, in seconds.
SOON_S = 5.0
#: Ten seconds after a gateway of the kit has started.
IN_TEN_S = "expires: 2027-01-15T08:00:10Z"
ADD = call("add", 7)
EVENT = chunked(b"data: 1\n\n")
Fields = dict[str, str]


def _stream(fields: Fields) -> bytes:
    return request("GET", headers=SSE | {"MCP-Protocol-Version": "2025-11-25"} | fields)


def _legacy(fields: Fields) -> bytes:
    return request("GET", "/mcp/x/sse", headers=SSE | fields)


def _websocket(fields: Fields) -> bytes:
    return request("GET", "/mcp/x/ws", headers=HANDSHAKE | fields)


def _call(fields: Fields) -> bytes:
    return request("POST", body=ADD, headers=fields)


def _listen(fields: Fields) -> bytes:
    return request("POST", body=message("subscriptions/listen", 7), headers=fields)


#: What may be open: the request, what the server has said so far, and whether the client has got it.
OPEN: dict[str, tuple[Callable[[Fields], bytes], bytes, bool]] = {
    "stream": (_stream, STREAM_HEAD + EVENT, True),
    "legacy stream": (_legacy, STREAM_HEAD + chunked(b"event: endpoint\ndata: /m?sessionId=1\n\n"), True),
    "listen": (_listen, STREAM_HEAD + EVENT, True),
    "answer in events": (_call, STREAM_HEAD + EVENT, True),
    "answer with a length": (_call, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", True),
    "WebSocket": (_websocket, SWITCHING + b"\x81\x02hi", True),
    "held call": (_call, b"", False),
    "held stream": (_legacy, STREAM_HEAD, False),
}
kinds = pytest.mark.parametrize("kind", OPEN)
Ends = tuple[Client, UpstreamPeer]


def _open(gate: GatewayUnderTest, kind: str, fields: Fields) -> Ends:
    """Open one of these."""
    ask, said, begun = OPEN[kind]
    client = gate.connect()
    client.send(ask(fields))
    peer = gate.upstream()
    if said:
        peer.send(said)
    assert bool(client.received) is begun
    return client, peer


def _is_open(ends: Ends) -> bool:
    """Whether both ends still have their connection, and no answer is over."""
    client, peer = ends
    return client.closed is None and peer.closed is None


def _has_ended(gate: GatewayUnderTest, kind: str, ends: Ends, reason: str) -> bool:
    """Whether it is over at both ends, truthfully: cut, or answered if nothing had been answered."""
    client, peer = ends
    assert peer.closed == "reset"
    record = gate.records[-1]
    if OPEN[kind][2]:
        assert client.closed is not None
        assert not client.received.endswith(LAST_CHUNK)
        return record.ended is Ended.REVOKED
    told = answer_at(client, "POST")
    assert (told.status, told["mcpgate-error"]) == (401, reason.encode())
    assert told["www-authenticate"].startswith(b"Bearer ")
    assert told.json["id"] == (7 if kind == "held call" else None)
    return record.ended is Ended.REFUSED


# --- expiry ---------------------------------------------------------------------------------------------------------


@kinds
def test_what_is_open_ends_soon_after_its_token_has_expired(kind: str) -> None:
    """Not before; and what others have open goes on."""
    gate = GatewayUnderTest(known(alice=IN_TEN_S, bob="") + server("timeouts: {response: 60s}"))
    others = _open(gate, kind, bearer("bob"))
    mine = _open(gate, kind, bearer("alice"))
    if kind == "held stream":  # its head is held for a second only
        return
    gate.advance(9.75)
    assert _is_open(mine)
    gate.advance(0.25 + SOON_S)
    assert _has_ended(gate, kind, mine, "expired_token")
    gate.advance(20)
    assert _is_open(others)


@kinds
def test_what_is_open_with_a_signed_token_ends_with_it(kind: str, tmp_path: Path) -> None:
    """A JWT says itself until when it is good."""
    keys = tmp_path / "keys.json"
    keys.write_bytes(document(signer().jwk()))
    issuer = "issuer: 'https://as.example', audience: 'https://gate.example', leeway: 0s"
    auth = f"auth:\n  jwt: [{{{issuer}, jwks_file: '{keys}'}}]\n"
    gate = GatewayUnderTest(auth + server())
    if kind == "held stream":
        return
    ends = []
    for lasts_s in (10, 1000):
        token = signer().token({"sub": f"for-{lasts_s}", "exp": gate.wall_s + lasts_s}).decode()
        ends.append(_open(gate, kind, {"Authorization": f"Bearer {token}"}))
    gate.advance(9.75)
    assert _is_open(ends[0])
    gate.advance(0.25 + SOON_S)
    assert _has_ended(gate, kind, ends[0], "expired_token")
    assert _is_open(ends[1])


def test_the_end_comes_soon_whenever_a_token_expires() -> None:
    """Not only for some of them."""
    for early_s in range(1, 9):
        gate = GatewayUnderTest(known(alice=IN_TEN_S) + server())
        gate.wall_s += early_s - 0.25
        mine = _open(gate, "stream", bearer("alice"))
        gate.advance(10.25 - early_s + SOON_S)
        assert not _is_open(mine), early_s


def test_a_connection_between_two_requests_stays_and_the_next_is_refused() -> None:
    """At the very moment of expiry: what was found out about its head before is worth nothing then."""
    gate = GatewayUnderTest(known(alice=IN_TEN_S) + server())
    client, told = gate.connect(), []
    for wait_s in (0, 9.75, 0.25):
        gate.advance(wait_s)
        client.take()
        served(gate, client, post(ADD, "alice"))
        told.append(answer_at(client, "POST").status)
    assert told == [200, 200, 401]
    assert answer_at(client, "POST")["mcpgate-error"] == b"expired_token"


def test_expiry_follows_the_clock_on_the_wall() -> None:
    """Tokens expire by the calendar."""
    gate = GatewayUnderTest(known(alice=IN_TEN_S) + server())
    gate.wall_s += 3600
    assert visit(gate, post(ADD, "alice")).reason == "expired_token"


# --- reload ---------------------------------------------------------------------------------------------------------

TWO = server() + '  - {name: y, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'
SCOPED = TWO.replace("    upstreams", "    scopes: [use]\n    upstreams", 1)
BOTH = known(alice="", bob="") + TWO
#: What a reload may take from Alice and leave to Bob: the configuration before and after it.
LOSSES = {
    "her token is gone": (BOTH, known(bob="") + TWO),
    "her token is another": (BOTH, known(alicia="", bob="").replace("id: alicia", "id: alice") + TWO),
    "her token has expired": (BOTH, known(alice="expires: 2020-01-01", bob="") + TWO),
    "the server is taken from her": (BOTH, known(alice="servers: [y]", bob="servers: [x]") + TWO),
    "a scope is demanded": (known(alice="", bob="scopes: [use]") + TWO, known(alice="", bob="scopes: [use]") + SCOPED),
    "a scope is taken from her": (
        known(alice="scopes: [use]", bob="scopes: ['*']") + SCOPED,
        known(alice="scopes: [other]", bob="scopes: ['*']") + SCOPED,
    ),
}


@kinds
@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_open_ends_when_a_reload_takes_the_right_to_it(kind: str, loss: str) -> None:
    """What others have open on the same server goes on, and the next request of the one who lost is refused."""
    before, after = LOSSES[loss]
    gate = GatewayUnderTest(before)
    others = _open(gate, kind, bearer("bob"))
    mine = _open(gate, kind, bearer("alice"))
    reload(gate, after)
    gate.advance(0.75 if kind == "held stream" else SOON_S)
    assert _has_ended(gate, kind, mine, "invalid_token")
    assert _is_open(others)
    assert visit(gate, post(ADD, "alice")).arrived is None
    assert visit(gate, post(ADD, "bob")).arrived is not None


@kinds
def test_what_is_open_is_not_touched_by_other_changes(kind: str) -> None:
    """However often the configuration is read again, and whatever else is in it then."""
    gate = GatewayUnderTest(BOTH)
    mine = _open(gate, kind, bearer("alice"))
    for change in (
        BOTH,
        known(alice="scopes: [a]", bob="", carol="") + TWO,
        known(alice="servers: [x]") + TWO.replace("    upstreams", "    title: X\n    upstreams", 1),
        known(alice="scopes: [use]") + SCOPED,
        known(alice="expires: 2099-01-01") + server(),
        "limits: [{name: a, key: [principal], rate: 1/h, burst: 1}]\n" + known(alice="") + TWO,
        "sessions: {keys: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]}\n" + BOTH,
    ):
        reload(gate, change)
        assert _is_open(mine)
    if kind != "held stream":
        gate.advance(40)
        assert _is_open(mine)


@kinds
def test_what_strangers_have_open_ends_when_a_server_begins_to_ask_for_tokens(kind: str) -> None:
    """They came without one; those on a server that stays open are left alone."""
    gate = GatewayUnderTest(server())
    mine = _open(gate, kind, {})
    reload(gate, known(alice="") + server("auth: none"))
    assert _is_open(mine)
    reload(gate, known(alice="") + server())
    gate.advance(0.5 if kind == "held stream" else SOON_S)
    assert _has_ended(gate, kind, mine, "invalid_token")


def test_what_is_open_on_a_server_that_asks_for_no_tokens_any_more_stays() -> None:
    """Also when the token that opened it expires: nobody needs it."""
    gate = GatewayUnderTest(known(alice=IN_TEN_S) + server())
    mine = _open(gate, "stream", bearer("alice"))
    reload(gate, known(alice=IN_TEN_S) + server("auth: none"))
    gate.advance(20)
    assert _is_open(mine)


def test_a_reload_may_change_when_a_token_expires() -> None:
    """What is open follows, in both directions."""
    gate = GatewayUnderTest(known(alice=IN_TEN_S, bob="") + server())
    alice, bob = (_open(gate, "stream", bearer(guest)) for guest in ("alice", "bob"))
    reload(gate, known(alice="", bob=IN_TEN_S) + server())
    gate.advance(9.75)
    assert _is_open(alice)
    assert _is_open(bob)
    gate.advance(0.25 + SOON_S)
    assert _is_open(alice)
    assert not _is_open(bob)


def test_tokens_that_come_with_a_reload_expire_too() -> None:
    """Also if nobody was known before."""
    gate = GatewayUnderTest(server())
    gate.advance(30)
    reload(gate, known(alice="expires: 2027-01-15T08:00:40Z") + server())
    mine = _open(gate, "stream", bearer("alice"))
    gate.advance(10 + SOON_S)
    assert not _is_open(mine)


def test_a_bad_configuration_takes_nothing_from_anybody() -> None:
    """The old one stays."""
    gate = GatewayUnderTest(BOTH)
    mine = _open(gate, "stream", bearer("alice"))
    gate.config = known(bob="") + "servers: [{name: x}]"
    assert not gate.gateway.reload()["success"]
    gate.advance(10)
    assert _is_open(mine)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (None, known(bob="") + 'servers:\n  - {name: y, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'),
        (known(alice="") + server(name="y"), known(bob="") + server(name="y")),
        (None, known(bob="") + server(url="http://127.0.0.1:3099")),
        (known(alice="") + server(url="http://127.0.0.1:3099"), known(bob="") + server(url="http://127.0.0.1:3099")),
        (None, known(bob="") + server("path: /mcp/moved")),
        (known(alice="") + server("path: /mcp/moved"), known(bob="") + server("path: /mcp/moved")),
    ],
    ids=["removed", "removed before", "moved", "moved before", "other path", "other path before"],
)
def test_a_token_is_revoked_on_servers_that_are_leaving_too(first: str | None, then: str) -> None:
    """Their streams may go on for a while, but only for those who may have them."""
    leaving = "drain: {timeout: 10m}\n"
    gate = GatewayUnderTest(leaving + BOTH)
    mine = _open(gate, "stream", bearer("alice"))
    if first is not None:
        reload(gate, leaving + first)
        gate.advance(SOON_S)
        assert _is_open(mine)
    reload(gate, leaving + then)
    gate.advance(SOON_S)
    assert _has_ended(gate, "stream", mine, "")


def test_a_token_expires_on_servers_that_are_leaving_too() -> None:
    """Likewise."""
    gate = GatewayUnderTest("drain: {timeout: 10m}\n" + known(alice=IN_TEN_S) + TWO)
    mine = _open(gate, "stream", bearer("alice"))
    reload(gate, "drain: {timeout: 10m}\n" + known(alice=IN_TEN_S) + server(name="y"))
    gate.advance(9.75)
    assert _is_open(mine)
    gate.advance(0.25 + SOON_S)
    assert not _is_open(mine)


@pytest.mark.parametrize(
    ("auth", "servers"),
    [
        (known(alice="", bob=""), TWO.replace("    upstreams", "    tools: {deny: [rm]}\n    upstreams", 1)),
        (known(alice="tools: {deny: [rm]}", bob=""), TWO),
        (known(alice="", bob=""), TWO.replace("    upstreams", "    tool_scopes: {rm: [a]}\n    upstreams", 1)),
    ],
)
def test_a_websocket_ends_when_rights_to_single_tools_begin_to_apply(auth: str, servers: str) -> None:
    """Nobody reads what goes through it, and a new one would be refused; streams of events stay."""
    gate = GatewayUnderTest(BOTH)
    tunnel, stream = (_open(gate, kind, bearer("alice")) for kind in ("WebSocket", "stream"))
    reload(gate, auth + servers)
    gate.advance(SOON_S)
    assert _is_open(stream)
    assert not _is_open(tunnel)


# --- what has not gone out yet --------------------------------------------------------------------------------------

RIGHTS = "tools: {deny: [rm]}"


def test_a_body_that_is_still_coming_in_meets_the_new_rules() -> None:
    """It is refused when it is here, and goes nowhere."""
    gate = GatewayUnderTest(known(alice="") + server(RIGHTS))
    client = gate.connect()
    head, _, body = post(ADD, "alice").partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n", body[:9])
    reload(gate, known(bob="") + server(RIGHTS))
    client.send(body[9:])
    assert answer_at(client, "POST")["mcpgate-error"] == b"invalid_token"
    assert gate.peers == []


@pytest.mark.parametrize("loss", ["her token is gone", "the server is taken from her", "a scope is demanded"])
def test_a_call_that_waits_for_its_turn_meets_the_new_rules(loss: str) -> None:
    """Likewise."""
    limits = "limits: [{name: a, key: [principal], rate: 1/s, burst: 1, wait: 10s}]\n"
    before, after = (limits + config for config in LOSSES[loss])
    gate = GatewayUnderTest(before)
    visit(gate, post(ADD, "alice"))
    waiting = gate.connect()
    waiting.send(post(ADD, "alice"))
    arrived = len(gate.upstream().received)
    reload(gate, after)
    gate.advance(SOON_S)
    assert answer_at(waiting, "POST").status in (401, 403)
    assert len(gate.upstream().received) == arrived


def test_an_upstream_connection_that_was_used_for_a_guest_carries_nothing_over_to_the_next() -> None:
    """Connections are shared; rights are not."""
    gate = GatewayUnderTest(BOTH)
    visit(gate, post(ADD, "alice"), answer())
    visit(gate, post(ADD, "bob"), answer())
    assert len(gate.peers) == 1
    assert b"alice" not in gate.upstream().received
    assert b"uthorization" not in gate.upstream().received
