"""Somebody comes with a token of the gateway, or with none, or with what was one: who may use which server."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tests.ends import STREAM_HEAD, Message, answer_at, asked, chunked, refused, request_at
from tests.stories.test_websocket import ACCEPT, OFFER
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from mcpgate.exchange import Ended
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

X, Y = "http://127.0.0.1:1001", "http://127.0.0.1:1002"
#: Two servers that ask for a token, and one that does not.
SERVERS = f"""\
servers:
  - {{name: x, upstreams: [{{url: "{X}"}}]}}
  - {{name: y, upstreams: [{{url: "{Y}"}}]}}
  - {{name: open, auth: none, upstreams: [{{url: "http://127.0.0.1:1003"}}]}}
"""
VERSION = {"MCP-Protocol-Version": "2025-11-25"}
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"rm","arguments":{}}}'
ACCEPTED = f"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode()
#: When the gateway under test starts.
START = "2027-01-15T08:00:00Z"


def bearer(token: str) -> dict[str, str]:
    """The field that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def entry(name: str, more: str = "") -> str:
    """The entry of the token ``NAME-token``, to be read as YAML."""
    digest = sha256(f"{name}-token".encode()).hexdigest()
    return f"{{id: {name}, sha256: {digest}{', ' + more if more else ''}}}"


ALICE, BOB, NOBODY = entry("alice", "servers: [x]"), entry("bob"), entry("nobody", "servers: []")


def _config(*entries: str, servers: str = SERVERS, top: str = "") -> str:
    return f"{top}\nauth:\n  tokens: [{', '.join(entries)}]\n{servers}"


def _gate(*entries: str, servers: str = SERVERS, top: str = "") -> GatewayUnderTest:
    return GatewayUnderTest(_config(*entries, servers=servers, top=top))


def _reload(gate: GatewayUnderTest, *entries: str, servers: str = SERVERS, top: str = "") -> None:
    gate.config = _config(*entries, servers=servers, top=top)
    assert gate.gateway.reload()["success"]
    gate.settle()


def _stream(gate: GatewayUnderTest, token: str, server: str = "x") -> tuple[Client, UpstreamPeer]:
    client, peer = asked(gate, request("GET", f"/mcp/{server}/mcp", headers=bearer(token) | VERSION))
    peer.send(STREAM_HEAD + chunked(b"data: 1\n\n"))
    assert b"data: 1" in client.take()
    return client, peer


def _reason(told: Message) -> tuple[int, bytes]:
    return told.status, told["mcpgate-error"]


# --- who is let in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_known_token_opens_its_server(scheme: str) -> None:
    """The scheme's case does not matter (RFC 9110 section 11.1)."""
    gate = _gate(ALICE)
    client, peer = asked(gate, request(body=CALL, headers={"Authorization": f"{scheme} alice-token"}))
    peer.send(answer(b"fine"))
    assert answer_at(client).body == b"fine"
    assert (gate.records[-1].principal, gate.records[-1].status) == ("alice", 200)


#: Values of Authorization, and the reason they are refused for.
BAD = [
    ("Bearer wrong", "invalid_token"),
    ("Bearer alice-toke", "invalid_token"),
    ("Bearer alice-token2", "invalid_token"),
    ("Bearer Alice-Token", "invalid_token"),
    ("Bearer", "invalid_token"),
    ("Bearer ", "invalid_token"),
    ("Bearer alice-token bob-token", "invalid_token"),
    ("Bearer alice-token, Bearer bob-token", "invalid_token"),
    ("Bearer\talice-token", "invalid_token"),
    ('Bearer "alice-token"', "invalid_token"),
    ("alice-token", "invalid_token"),
    ("Basic YWxpY2U6YWxpY2UtdG9rZW4=", "invalid_token"),
    ("Basic alice-token", "invalid_token"),
    ("DPoP alice-token", "invalid_token"),
    ("Bearer alicé-token", "invalid_token"),
    ("Bearer alice-token\xa0", "invalid_token"),
    ("Bearer " + "a" * 8193, "invalid_token"),
    ("Bearer " + sha256(b"alice-token").hexdigest(), "invalid_token"),
    ("Bearer late-token", "expired_token"),
    ("", "invalid_token"),
]


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_whatever_is_no_good_token_is_refused(value: str, reason: str) -> None:
    """401 in the form of every refusal; malformed and unknown ones look alike, and no server hears of it."""
    gate = _gate(ALICE, entry("late", f"expires: '{START}'"))
    told = refused(gate, request(body=CALL, headers={"Authorization": value}))
    assert (_reason(told), told.json["id"]) == ((401, reason.encode()), 7)
    assert told["www-authenticate"].startswith(b'Bearer error="invalid_token", error_description="')
    if reason == "invalid_token":
        assert told.json["error"]["message"] == "this token is not valid here"
    assert gate.records[-1].principal == ""


@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        ("POST", "/mcp/x/mcp", {}),
        ("GET", "/mcp/x/sse", {"Accept": "text/event-stream"}),
        ("DELETE", "/mcp/x/mcp", {"Mcp-Session-Id": "s"}),
        ("HEAD", "/mcp/x/mcp", {}),
        ("OPTIONS", "/mcp/x/mcp", {}),
        ("PUT", "/mcp/x", {}),
        ("GET", "/mcp/x/ws", OFFER),
        ("GET", "/mcp/x/.well-known/openid-configuration", {}),
        ("POST", "/mcp/x/mcp?access_token=alice-token&token=alice-token", {}),
        ("GET", "/mcp/x/mcp", {"Cookie": "token=alice-token"}),
        ("GET", "/mcp/x/mcp", {"Proxy-Authorization": "Bearer alice-token"}),
        ("GET", "/mcp/x/mcp", {"X-Authorization": "Bearer alice-token"}),
        ("GET", "http://localhost/mcp/x/mcp", {}),
    ],
)
def test_without_a_token_nothing_gets_through(method: str, target: str, fields: dict[str, str]) -> None:
    """On every transport, and wherever else a token may have been put: in a header it is, or it is not there."""
    told = refused(_gate(ALICE), request(method, target, headers=fields))
    assert _reason(told) == (401, b"no_token")
    assert told["www-authenticate"] == b'Bearer realm="mcpgate"'


def test_two_tokens_are_a_bad_request() -> None:
    """Which of the two another reader would take, nobody knows; in whatever case the field is written."""
    gate = _gate(ALICE, BOB)
    for second in ("Authorization", "authorization", "AUTHORIZATION"):
        fields = "".join(f"{name}: Bearer {token}-token\r\n" for name, token in (("Authorization", "alice"), (second, "alice")))
        told = refused(gate, f"GET /mcp/x/mcp HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        assert _reason(told) == (400, b"bad_request")


def test_a_body_is_not_even_asked_for() -> None:
    """A client that waits for 100 Continue reads 401 instead."""
    client = (gate := _gate(ALICE)).connect()
    client.send(request(headers=bearer("wrong") | {"Expect": "100-continue", "Content-Length": "5"}))
    told = answer_at(client, "POST")
    assert (told.status, told.interim) == (401, [])
    assert gate.peers == []


def test_servers_that_ask_nobody_take_everybody() -> None:
    """`auth: none` beside servers that ask: what comes as a token is not looked at."""
    for fields in ({}, bearer("alice-token"), bearer("wrong"), {"Authorization": "Basic eA=="}):
        _, peer = asked(gate := _gate(ALICE), request("GET", "/mcp/open/mcp", headers=fields))
        assert "authorization" not in request_at(peer)
        peer.send(answer())
        assert gate.records[-1].principal == ""


# --- what a token is good for -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "target", "admitted"),
    [
        ("alice", "/mcp/x/mcp", True),
        ("alice", "/mcp/y/mcp", False),
        ("bob", "/mcp/x/mcp", True),
        ("bob", "/mcp/y/mcp", True),
        ("nobody", "/mcp/x/mcp", False),
        ("nobody", "/mcp/open/mcp", True),
        ("alice", "/mcp/y/mcp?server=x", False),
    ],
)
def test_a_token_opens_the_servers_that_it_names(token: str, target: str, admitted: bool) -> None:
    """Names, all of them by default, or none at all."""
    gate = _gate(ALICE, BOB, NOBODY)
    sent = request("GET", target, headers=bearer(f"{token}-token"))
    if admitted:
        asked(gate, sent)
        assert len(gate.peers) == 1
    else:
        told = refused(gate, sent)
        assert _reason(told) == (403, b"server_not_granted")
        assert "www-authenticate" not in told
        assert (gate.records[-1].principal, gate.records[-1].server) == (token, target[5])


@pytest.mark.parametrize(
    ("scopes", "needed", "missing"),
    [
        ("[use]", "[use]", False),
        ("[use, more]", "[use]", False),
        ("['*']", "[use, more]", False),
        ("[]", "[use]", True),
        ("[use]", "[use, more]", True),
        ("[USE]", "[use]", True),
        ("[us]", "[use]", True),
    ],
)
def test_a_server_may_ask_for_scopes(scopes: str, needed: str, missing: bool) -> None:
    """All of them; the challenge names what this needs, those that are there among them."""
    gate = _gate(
        entry("alice", f"scopes: {scopes}"),
        servers=f'servers:\n  - {{name: x, scopes: {needed}, upstreams: [{{url: "{X}"}}]}}\n',
    )
    sent = request("GET", headers=bearer("alice-token"))
    if missing:
        told = refused(gate, sent)
        assert _reason(told) == (403, b"insufficient_scope")
        named = needed.strip("[]").split(", ")
        assert told["www-authenticate"].startswith(b'Bearer error="insufficient_scope", error_description="')
        assert f'scope="{" ".join(sorted(named))}"'.encode() in told["www-authenticate"]
        assert told.json["error"]["data"]["scopes"] == sorted(named)
    else:
        asked(gate, sent)
        assert len(gate.peers) == 1


def test_everybody_on_a_connection_is_somebody() -> None:
    """A proxy in front may send requests of several people on one connection: each is its own principal's."""
    gate = _gate(ALICE, BOB)
    client = gate.connect()
    statuses = []
    for token, target in (("alice", "x"), ("bob", "y"), ("alice", "y"), ("", "x"), ("alice", "x"), ("wrong", "x")):
        client.take()
        client.send(request("GET", f"/mcp/{target}/mcp", headers=bearer(f"{token}-token") if token else {}))
        if not client.received:
            next(peer for peer in gate.peers if peer.take()).send(answer())
        statuses.append(answer_at(client).status)
    assert statuses == [200, 200, 403, 401, 200, 401]
    assert [each.principal for each in gate.records] == ["alice", "bob", "alice", "", "alice", ""]


def test_discovery_shows_what_the_token_opens() -> None:
    """And without one, what is open to everybody; a bad token is refused, since it would show too little."""
    gate = _gate(ALICE, BOB, NOBODY)
    shown = {}
    for token in ("alice", "bob", "nobody", ""):
        told = refused(gate, request("GET", "/mcp/discovery", headers=bearer(f"{token}-token") if token else {}))
        shown[token] = [server["name"] for server in told.json["mcpServers"]]
    assert shown == {"alice": ["open", "x"], "bob": ["open", "x", "y"], "nobody": ["open"], "": ["open"]}
    assert _reason(refused(gate, request("GET", "/mcp/discovery", headers=bearer("wrong")))) == (401, b"invalid_token")


def test_tokens_of_clients_and_of_operators_are_apart() -> None:
    """Neither opens the other's listener, whatever its scopes are."""
    gate = _gate(entry("alice", "scopes: ['*']"))
    client = gate.connect(admin=True)
    client.send(request("POST", "/admin/reload", headers=bearer("alice-token")))
    assert _reason(answer_at(client, "POST")) == (401, b"invalid_token")
    assert _reason(refused(gate, request("GET", headers=bearer("admin-token")))) == (401, b"invalid_token")


# --- a right that ends --------------------------------------------------------------------------------------------


def test_a_token_expires_on_an_open_connection() -> None:
    """To the second, though the client repeats its head byte for byte."""
    gate = _gate(entry("alice", "expires: '2027-01-15T08:00:30Z'"))
    client, peer = asked(gate, sent := request("GET", headers=bearer("alice-token")))
    peer.send(answer())
    gate.advance(29.75)
    client.take()
    client.send(sent)
    gate.upstream().send(answer())
    assert answer_at(client).status == 200
    gate.advance(0.25)
    client.take()
    gate.upstream().take()
    client.send(sent)
    assert _reason(answer_at(client)) == (401, b"expired_token")
    assert gate.upstream().received == b""


def test_what_is_open_ends_when_its_token_expires() -> None:
    """Within five seconds: streams and WebSockets are cut, whoever has no answer yet is told."""
    gate = _gate(entry("alice", "expires: '2027-01-15T08:00:30Z'"), BOB)
    stream, behind = _stream(gate, "alice-token")
    other, _ = _stream(gate, "bob-token")
    tunnel, far = asked(gate, request("GET", "/mcp/x/ws", headers=OFFER | bearer("alice-token")))
    far.send(ACCEPTED)
    waiting, server = asked(gate, request(body=CALL, headers=bearer("alice-token")))
    gate.advance(29)
    assert (stream.closed, tunnel.closed, waiting.received) == (None, None, b"")
    gate.advance(6)
    assert stream.closed
    assert not stream.received.endswith(b"0\r\n\r\n")
    assert tunnel.closed
    assert _reason(answer_at(waiting)) == (401, b"expired_token")
    assert all(peer.closed for peer in (behind, far, server))
    assert other.closed is None
    ended = {each.ended for each in gate.records if each.principal == "alice" and each.status != 401}
    assert ended == {Ended.REVOKED}


def test_a_token_that_expires_while_its_body_arrives_opens_nothing() -> None:
    """The body was held back to be read; by the time that it is here nobody is known any more."""
    gate = _gate(
        entry("alice", "expires: '2027-01-15T08:00:05Z', tools: {deny: [other]}"),
    )
    client = gate.connect()
    client.send(request(headers=bearer("alice-token") | {"Content-Length": str(len(CALL)), "Content-Type": "application/json"}))
    client.send(CALL[:20])
    gate.advance(6)
    client.send(CALL[20:])
    assert _reason(answer_at(client, "POST")) == (401, b"expired_token")
    assert gate.peers == []


def test_a_token_that_expires_while_its_turn_is_awaited_opens_nothing() -> None:
    """A limit held the call; the right to make it has gone in the meantime."""
    gate = _gate(
        entry("alice", "expires: '2027-01-15T08:00:05Z'"),
        top="limits: [{name: slow, key: [principal], rate: 6/m, burst: 1, wait: 30s}]",
    )
    gate.advance(1)
    first, peer = asked(gate, request(body=CALL, headers=bearer("alice-token")))
    peer.send(answer())
    assert answer_at(first).status == 200
    peer.take()
    second = gate.connect()
    second.send(request(body=CALL, headers=bearer("alice-token")))
    assert second.received == b""
    gate.advance(15)
    assert _reason(answer_at(second, "POST")) == (401, b"expired_token")
    assert not any(each.received for each in gate.peers)


@pytest.mark.parametrize(
    ("after", "status", "reason"),
    [
        ([BOB], 401, b"invalid_token"),
        ([entry("alice", "servers: [y]"), BOB], 403, b"server_not_granted"),
        ([entry("alice", "servers: []"), BOB], 403, b"server_not_granted"),
        ([entry("alice", f"expires: '{START}'"), BOB], 401, b"expired_token"),
    ],
)
def test_a_reload_takes_rights_away_at_once(after: list[str], status: int, reason: bytes) -> None:
    """From requests that repeat an earlier one, from open streams and WebSockets, and from what waits."""
    gate = _gate(ALICE, BOB)
    warm, peer = asked(gate, sent := request("GET", headers=bearer("alice-token")))
    peer.send(answer())
    stream, _ = _stream(gate, "alice-token")
    tunnel, far = asked(gate, request("GET", "/mcp/x/ws", headers=OFFER | bearer("alice-token")))
    far.send(ACCEPTED)
    waiting, _ = asked(gate, request(body=CALL, headers=bearer("alice-token")))
    other, _ = _stream(gate, "bob-token")
    _reload(gate, *after)
    gate.advance(5)
    assert stream.closed
    assert tunnel.closed
    assert answer_at(waiting).status == 401
    warm.take()
    warm.send(sent)
    assert _reason(answer_at(warm)) == (status, reason)
    assert other.closed is None


def test_who_is_cut_short_by_a_reload_is_told_how_to_go_on() -> None:
    """The 401 is a challenge like any other: a bare scheme is no challenge to many clients (RFC 6750 section 3)."""
    gate = _gate(ALICE)
    waiting, _ = asked(gate, request(body=CALL, headers=bearer("alice-token")))
    _reload(gate, BOB)
    told = answer_at(waiting)
    assert _reason(told) == (401, b"invalid_token")
    assert told["www-authenticate"].startswith(b'Bearer error="invalid_token", error_description="')


def test_a_stream_ends_with_the_scope_that_it_needed() -> None:
    """The token is the same, but the server asks for more now."""
    gate = _gate(ALICE)
    stream, _ = _stream(gate, "alice-token")
    _reload(gate, ALICE, servers=f'servers:\n  - {{name: x, scopes: [use], upstreams: [{{url: "{X}"}}]}}\n')
    gate.advance(5)
    assert stream.closed


def test_a_server_that_asks_from_now_on_ends_what_came_without_a_token() -> None:
    """It was open to everybody before."""
    gate = _gate(ALICE)
    client, peer = asked(gate, request("GET", "/mcp/open/mcp", headers=VERSION))
    peer.send(STREAM_HEAD)
    _reload(gate, ALICE, servers=SERVERS.replace("auth: none, ", ""))
    gate.advance(5)
    assert client.closed


def test_a_revoked_token_ends_its_stream_though_the_server_goes_too() -> None:
    """A server that was removed lets its streams go on for a while; those of a revoked token end in five seconds."""
    gate = _gate(ALICE, BOB, top="drain: {timeout: 60s}")
    stream, _ = _stream(gate, "alice-token")
    other, _ = _stream(gate, "bob-token")
    _reload(gate, BOB, servers=f'servers:\n  - {{name: y, upstreams: [{{url: "{Y}"}}]}}\n', top="drain: {timeout: 60s}")
    gate.advance(5)
    assert stream.closed
    assert other.closed is None


def test_a_websocket_ends_when_tools_are_denied() -> None:
    """Nobody can look inside it, so it would not be opened now."""
    gate = _gate(ALICE, BOB)
    tunnels = []
    for token in ("alice-token", "bob-token"):
        tunnel, far = asked(gate, request("GET", "/mcp/x/ws", headers=OFFER | bearer(token)))
        far.send(ACCEPTED)
        tunnels.append(tunnel)
    _reload(gate, entry("alice", "servers: [x], tools: {deny: [rm]}"), BOB)
    gate.advance(5)
    assert tunnels[0].closed
    assert tunnels[1].closed is None


def test_a_tool_that_is_denied_while_a_call_awaits_its_turn_is_not_called() -> None:
    """The call was admitted and charged before the reload, and goes on after it."""
    top = "limits: [{name: slow, key: [principal], rate: 6/m, burst: 1, wait: 30s}]"
    gate = _gate(entry("alice", "tools: {deny: [other]}"), top=top)
    _, peer = asked(gate, request(body=CALL, headers=bearer("alice-token")))
    peer.send(answer())
    peer.take()
    second = gate.connect()
    second.send(request(body=CALL, headers=bearer("alice-token")))
    assert second.received == b""
    _reload(gate, entry("alice", "tools: {deny: [other, rm]}"), top=top)
    gate.advance(11)
    assert not any(each.received for each in gate.peers)
    assert b"Unknown tool: rm" in second.received


def test_rights_that_grow_leave_everything_open() -> None:
    """A reload that takes nothing away cuts nobody."""
    gate = _gate(ALICE)
    stream, peer = _stream(gate, "alice-token")
    _reload(gate, entry("alice", "scopes: [more]"), BOB)
    gate.advance(10)
    peer.send(chunked(b"data: 2\n\n"))
    assert b"data: 2" in stream.received
    asked(gate, request("GET", "/mcp/y/mcp", headers=bearer("alice-token")))
    assert request_at(gate.upstream()).target == b"/mcp"


def test_an_extended_token_goes_on() -> None:
    """A reload that names a later date is noticed by what is open already."""
    gate = _gate(entry("alice", "expires: '2027-01-15T08:00:30Z'"))
    stream, _ = _stream(gate, "alice-token")
    _reload(gate, entry("alice", "expires: '2027-01-15T08:10:00Z'"))
    gate.advance(60)
    assert stream.closed is None
    gate.advance(545)
    assert stream.closed


def test_a_reload_that_shortens_a_token_counts_for_what_is_open() -> None:
    """The other way round."""
    gate = _gate(ALICE)
    stream, _ = _stream(gate, "alice-token")
    _reload(gate, entry("alice", "servers: [x], expires: '2027-01-15T08:00:30Z'"))
    gate.advance(28)
    assert stream.closed is None
    gate.advance(7)
    assert stream.closed


def test_tokens_in_a_file_follow_the_file(tmp_path: Path) -> None:
    """Who takes the last one out of it has not opened the gateway to everybody."""
    file = tmp_path / "tokens.yaml"
    file.write_text(f"- {ALICE}\n")
    gate = GatewayUnderTest(f"auth: {{tokens_file: {file}}}\n{SERVERS}")
    sent = request("GET", headers=bearer("alice-token"))
    asked(gate, sent)
    assert len(gate.peers) == 1
    file.write_text("[]\n")
    assert gate.gateway.reload()["success"]
    assert _reason(refused(gate, sent)) == (401, b"invalid_token")
    assert _reason(refused(gate, request("GET"))) == (401, b"no_token")
    file.write_text(f"- {BOB}\n")
    assert gate.gateway.reload()["success"]
    asked(gate, request("GET", headers=bearer("bob-token")))
    assert len(gate.peers) == 2


def test_a_token_in_clear_text_is_refused_and_leaves_the_old_ones() -> None:
    """The fault says how to hash it, and does not repeat it."""
    gate = _gate(ALICE)
    gate.config = f"auth:\n  tokens: [{{id: alice, token: hunter2-in-clear}}]\n{SERVERS}"
    told = gate.gateway.reload()
    assert told["success"] is False
    assert "mcpgate token new" in str(told["faults"])
    assert "hunter2" not in str(told["faults"])
    asked(gate, request("GET", headers=bearer("alice-token")))
    assert len(gate.peers) == 1


# --- where a token never goes -------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Everything that is logged while a test runs, with all that belongs to it."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        seen.append(f"{formatEvent(event)} {event!r}")

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize("field", ["Authorization", "authorization", "AUTHORIZATION"])
@pytest.mark.parametrize(
    ("method", "target", "fields", "body"),
    [
        ("POST", "/mcp/x/mcp", {}, CALL),
        ("POST", "/mcp/x/mcp", {"Connection": "keep-alive, Authorization"}, CALL),
        ("GET", "/mcp/x/sse", {"Accept": "text/event-stream"}, b""),
        ("DELETE", "/mcp/x/mcp", {}, b""),
        ("GET", "/mcp/x/ws", OFFER, b""),
        ("POST", "/mcp/open/mcp", {}, CALL),
    ],
)
def test_the_server_never_sees_the_token(
    method: str, target: str, fields: dict[str, str], body: bytes, field: str, logged: list[str]
) -> None:
    """Passing it on is forbidden (MCP authorization, "Token passthrough"): a server could be somebody with it."""
    gate = _gate(entry("alice", "tools: {deny: [other]}") if body else entry("alice"))
    for _ in range(2):
        client = gate.connect()
        client.send(request(method, target, body, fields | {field: "Bearer alice-token"}))
    gate.advance(1)
    assert len(gate.peers) == 2
    for peer in gate.peers:
        assert b"alice-token" not in peer.received
        assert b"authorization" not in peer.received.lower()
        peer.reset()
    gate.advance(1)
    assert b"alice-token" not in b"".join(gate.log_lines)
    assert "alice-token" not in "".join(logged)


@pytest.mark.parametrize("value", [value for value, _ in BAD if "alice" in value or "late" in value])
@pytest.mark.parametrize("target", ["/mcp/x/mcp", "/mcp/discovery", "/mcp/none", "/mcp/x/../y", "/mcp/x/mcp?a=alice-token"])
def test_no_error_and_no_log_line_repeats_a_token(value: str, target: str, logged: list[str]) -> None:
    """A token that is refused here may be good somewhere else, or be a typing mistake away from a good one."""
    gate = _gate(entry("bob"), entry("late", f"expires: '{START}'"))
    told = refused(gate, request("GET", target, headers={"Authorization": value}))
    gate.advance(1)
    assert gate.log_lines
    secret = value.partition(" ")[2] or value
    for text in (told.body.decode(), str(told.fields), b"".join(gate.log_lines).decode(), "".join(logged)):
        assert secret not in text
        assert "alice-token" not in text


def test_an_answer_that_failed_repeats_no_token(logged: list[str]) -> None:
    """Neither the refusal nor the log, when the server was away."""
    gate = _gate(ALICE)
    gate.refusing = {1001}
    client = gate.connect()
    client.send(request(body=CALL, headers=bearer("alice-token")))
    gate.advance(1)
    assert answer_at(client).status == 502
    assert b"alice-token" not in client.received + b"".join(gate.log_lines)
    assert "alice-token" not in "".join(logged)


# --- what the server is sent instead ------------------------------------------------------------------------------

CREDENTIALS = """\
servers:
  - name: x
    upstreams: [{url: "http://127.0.0.1:1001"}]
    headers: {set: {Authorization: Bearer of-the-gateway, X-Team: tools}}
    upstream_credentials:
      alice: {set: {authorization: Bearer of-alice-upstream}}
      bob: {set: {X-Api-Key: bobs}}
"""


@pytest.mark.parametrize(
    ("token", "sent"),
    [
        ("alice", {"authorization": b"Bearer of-alice-upstream", "x-team": b"tools", "x-api-key": b""}),
        ("bob", {"authorization": b"Bearer of-the-gateway", "x-team": b"tools", "x-api-key": b"bobs"}),
        ("carol", {"authorization": b"Bearer of-the-gateway", "x-team": b"tools", "x-api-key": b""}),
    ],
)
def test_each_principal_has_its_own_credentials_at_the_server(token: str, sent: dict[str, bytes]) -> None:
    """Those of everybody, with its own over them; what the client sends under such a name is replaced."""
    gate = _gate(ALICE, BOB, entry("carol"), servers=CREDENTIALS)
    fields = {"X-Team": "forged", "x-team": "forged too"} | ({"X-API-KEY": "mine"} if token != "alice" else {"x-api-key": "bobs"})
    client = gate.connect()
    for _ in range(2):  # the second time from memory
        client.send(request("GET", headers=bearer(f"{token}-token") | fields))
        got = request_at(gate.upstream())
        assert {name: got[name] for name in sent} == sent
        gate.upstream().send(answer())


def test_credentials_follow_the_principal_on_one_connection() -> None:
    """The connection to the server is shared; the credentials are not."""
    gate = _gate(ALICE, BOB, servers=CREDENTIALS)
    client = gate.connect()
    seen = []
    for token in ("alice", "bob", "alice"):
        client.send(request("GET", headers=bearer(f"{token}-token")))
        seen.append(request_at(gate.upstream())["authorization"])
        gate.upstream().send(answer())
    assert len(gate.peers) == 1
    assert seen == [b"Bearer of-alice-upstream", b"Bearer of-the-gateway", b"Bearer of-alice-upstream"]


def test_credentials_change_with_a_reload() -> None:
    """Also for a head that comes again."""
    gate = _gate(ALICE, servers=CREDENTIALS)
    client, peer = asked(gate, sent := request("GET", headers=bearer("alice-token")))
    peer.send(answer())
    _reload(gate, ALICE, servers=CREDENTIALS.replace("of-alice-upstream", "renewed"))
    client.send(sent)
    assert request_at(gate.upstream())["authorization"] == b"Bearer renewed"


def test_credentials_are_shown_to_nobody() -> None:
    """Neither to the client nor to an operator, nor in a log line."""
    gate = _gate(ALICE, servers=CREDENTIALS)
    client, peer = asked(gate, request("GET", headers=bearer("alice-token")))
    peer.send(answer())
    gate.advance(1)
    config = gate.ask(request("GET", "/admin/config"), admin=True)
    assert b" 200 " in config
    shown = client.received + config + b"".join(gate.log_lines) + gate.ask(request("GET", "/mcp/discovery"))
    for secret in (b"of-alice-upstream", b"of-the-gateway", sha256(b"alice-token").hexdigest().encode()):
        assert secret not in shown
