"""A session belongs to whoever began it, on the server and the replica where it began; to others it does not exist."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, answer_at, asked, chunked, request_at, server
from tests.guests import HANDSHAKE, bearer, connect_from, known, message, post, reload, served, visit

from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

TOKENS = known(alice="", bob="", carol="servers: [y]")
X, Y = "http://127.0.0.1:3010", "http://127.0.0.1:3011"
TWO_SERVERS = f'servers:\n  - {{name: x, upstreams: [{{url: "{X}"}}]}}\n  - {{name: y, upstreams: [{{url: "{Y}"}}]}}\n'
INITIALIZE, LIST = message("initialize"), message("tools/list", 2)
#: An id as servers make them; it stays in front of the seal.
RAW = "5f3a-raw.id"


def _replicas(*ports: int, weights: tuple[int, ...] = (), more: str = "") -> str:
    """One server ``x`` on these ports."""
    weights = weights or (1,) * len(ports)
    urls = ", ".join(
        f'{{url: "http://127.0.0.1:{port}", weight: {weight}}}' for port, weight in zip(ports, weights, strict=True)
    )
    return f"servers:\n  - {{name: x, upstreams: [{urls}]{more}}}\n"


def _guarded(config: str = TWO_SERVERS, tokens: str = TOKENS) -> GatewayUnderTest:
    return GatewayUnderTest(tokens + config)


def _begin(gate: GatewayUnderTest, guest: str = "alice", target: str = "/mcp/x/mcp", raw: str = RAW) -> str:
    """Begin a session; the id that the client gets."""
    seen = visit(gate, post(INITIALIZE, guest, target), answer(headers={"Mcp-Session-Id": raw}))
    return seen.answer["mcp-session-id"].decode()


def _port(gate: GatewayUnderTest, sent: bytes, headers: dict[str, str] | None = None) -> int:
    """At which replica a request arrives, which answers it."""
    client = gate.connect()
    peer = served(gate, client, sent, answer(headers=headers))
    assert peer is not None
    client.close()
    return peer.transport.getPeer().port


# --- ids in headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "PUT"])
def test_whoever_began_a_session_goes_on_with_it(method: str) -> None:
    """The server sees its own id, and nothing of the seal."""
    gate = _guarded()
    sealed = _begin(gate)
    assert sealed.startswith(RAW + ".")
    body = LIST if method == "POST" else b""
    seen = visit(gate, request(method, "/mcp/x/mcp", body, bearer("alice", Mcp_Session_Id=sealed)))
    assert seen.arrived is not None
    assert (seen.arrived["mcp-session-id"], seen.arrived.body) == (RAW.encode(), body)
    assert sealed.encode() not in gate.upstream().received


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "HEAD", "PUT", "OPTIONS"])
def test_somebody_elses_session_does_not_exist(method: str) -> None:
    """With a good token of their own, and whatever they try: 404, and the server hears nothing of it."""
    gate = _guarded()
    sealed = _begin(gate)
    body = LIST if method == "POST" else b""
    seen = visit(gate, request(method, "/mcp/x/mcp", body, bearer("bob", Mcp_Session_Id=sealed)))
    assert (seen.status, seen.reason, seen.arrived) == (404, "session_lost", None)
    assert visit(gate, post(LIST, "alice", Mcp_Session_Id=sealed)).arrived is not None


def test_a_websocket_names_no_session_of_somebody_else() -> None:
    """The fourth way in is like the others."""
    gate = _guarded()
    fields = HANDSHAKE | bearer("bob", Mcp_Session_Id=_begin(gate))
    seen = visit(gate, request("GET", "/mcp/x/ws", headers=fields))
    assert (seen.status, seen.arrived) == (404, None)


def test_what_is_lost_is_told_apart_by_nobody() -> None:
    """Made up, changed, somebody else's and another server's: the answers are the same but for their own ids."""
    gate = _guarded()
    sealed = _begin(gate)
    tries = [
        post(LIST, "bob", Mcp_Session_Id=sealed),
        post(LIST, "alice", "/mcp/y/mcp", Mcp_Session_Id=sealed),
        post(LIST, "alice", Mcp_Session_Id=RAW),
        post(LIST, "alice", Mcp_Session_Id="a" + sealed),
        post(LIST, "alice", Mcp_Session_Id=sealed[:-1]),
        post(LIST, "alice", Mcp_Session_Id=sealed + "A"),
        post(LIST, "alice", Mcp_Session_Id=sealed.swapcase()),
        post(LIST, "alice", Mcp_Session_Id="x"),
        post(LIST, "alice", Mcp_Session_Id=""),
        post(LIST, "alice", Mcp_Session_Id=sealed + "." + sealed.rpartition(".")[2]),
    ]
    told = set()
    for sent in tries:
        seen = visit(gate, sent)
        assert seen.arrived is None
        error = seen.answer.json["error"]
        del error["data"]["requestId"], error["data"]["server"]
        told.add((seen.status, str(error)))
    assert len(told) == 1
    assert next(iter(told))[0] == 404


def test_a_session_is_bound_to_the_server_that_was_asked() -> None:
    """Also if another one leads to the same upstream: it may have other rules."""
    gate = _guarded(TWO_SERVERS.replace(Y, X))
    sealed = _begin(gate)
    _, _, target = _endpoint(gate)
    assert visit(gate, post(LIST, "alice", "/mcp/y/mcp", Mcp_Session_Id=sealed)).status == 404
    assert visit(gate, post(LIST, "alice", target.replace("/mcp/x/", "/mcp/y/"))).status == 404
    assert visit(gate, post(LIST, "alice", Mcp_Session_Id=sealed)).arrived is not None


def test_an_id_that_was_not_sealed_never_arrives() -> None:
    """Even if the server would know it: nobody has shown whose it is."""
    gate = _guarded()
    _begin(gate)
    for guest in ("alice", "bob"):
        seen = visit(gate, post(LIST, guest, Mcp_Session_Id=RAW))
        assert (seen.status, seen.arrived) == (404, None)


def test_a_session_needs_a_token_every_time() -> None:
    """Knowing its id shows nothing."""
    gate = _guarded()
    seen = visit(gate, post(LIST, Mcp_Session_Id=_begin(gate)))
    assert (seen.status, seen.reason, seen.arrived) == (401, "no_token", None)


def test_on_a_connection_that_others_use_too_every_request_counts_by_itself() -> None:
    """As behind a proxy that shares its connections."""
    gate = _guarded()
    sealed = _begin(gate)
    client = gate.connect()
    told = []
    for guest in ("alice", "bob", "alice", "bob"):
        client.take()
        served(gate, client, post(LIST, guest, Mcp_Session_Id=sealed))
        told.append(answer_at(client, "POST").status)
    assert told == [200, 404, 200, 404]


def test_every_answer_seals_what_it_names() -> None:
    """Errors and streams too; an id that the server changes is sealed anew."""
    gate = _guarded()
    for said in (
        answer(status="400 Bad Request", headers={"mcp-session-id": "other"}),
        STREAM_HEAD[:-2] + b"MCP-SESSION-ID: other\r\n\r\n" + LAST_CHUNK,
    ):
        told = visit(gate, post(INITIALIZE, "alice"), said).answer
        assert told["mcp-session-id"].startswith(b"other.")
        assert visit(gate, post(LIST, "alice", Mcp_Session_Id=told["mcp-session-id"].decode())).arrived is not None


def test_a_get_stream_is_opened_by_its_owner_only() -> None:
    """What a server pushes goes to nobody else."""
    gate = _guarded()
    sealed = _begin(gate)
    client, peer = asked(gate, request("GET", "/mcp/x/mcp", headers=SSE | bearer("alice", Mcp_Session_Id=sealed)))
    peer.send(STREAM_HEAD + chunked(b"data: secret\n\n"))
    thief = gate.connect()
    thief.send(request("GET", "/mcp/x/mcp", headers=SSE | bearer("bob", Mcp_Session_Id=sealed)))
    assert answer_at(thief).status == 404
    assert answer_at(client).body == b"data: secret\n\n"
    assert client.closed is None


def test_a_session_outlives_a_new_token_of_the_same_guest() -> None:
    """It belongs to the principal, not to the token: tokens are renewed within long sessions."""
    gate = _guarded()
    sealed = _begin(gate)
    reload(
        gate,
        TOKENS.replace("id: bob", "id: bobby").replace("id: alice", "id: bob").replace("bobby", "alice") + TWO_SERVERS,
    )
    assert visit(gate, post(LIST, "bob", Mcp_Session_Id=sealed)).arrived is not None
    assert visit(gate, post(LIST, "alice", Mcp_Session_Id=sealed)).status == 404


# --- addresses of the legacy transport --------------------------------------------------------------------------------


def _endpoint(
    gate: GatewayUnderTest, announced: str = "/message?sessionId=1", guest: str = "alice"
) -> tuple[Client, UpstreamPeer, str]:
    """Open a legacy stream: both ends, and the endpoint that the client is told."""
    client, peer = asked(gate, request("GET", "/mcp/x/sse", headers=SSE | bearer(guest)))
    peer.send(STREAM_HEAD, chunked(f"event: endpoint\ndata: {announced}\n\n".encode()))
    return client, peer, answer_at(client).body.partition(b"data: ")[2].strip().decode()


def test_messages_to_an_announced_endpoint_arrive() -> None:
    """The server sees the address that it has announced, byte for byte."""
    gate = _guarded()
    _, _, target = _endpoint(gate, "/message?x=%2f&sessionId=1;2&&a")
    assert target.startswith("/mcp/x/message?x=%2f&sessionId=1;2&&a&mcpgate=")
    seen = visit(gate, post(LIST, "alice", target))
    assert seen.arrived is not None
    assert seen.arrived.target == b"/message?x=%2f&sessionId=1;2&&a"


def test_an_endpoint_without_a_query_is_sealed_too() -> None:
    """Its session is in the path."""
    gate = _guarded()
    _, _, target = _endpoint(gate, "/message/1")
    assert target.startswith("/mcp/x/message/1?mcpgate=")
    seen = visit(gate, post(LIST, "alice", target))
    assert seen.arrived is not None
    assert seen.arrived.target == b"/message/1"
    assert visit(gate, post(LIST, "bob", target)).arrived is None


def test_an_announced_endpoint_is_nobody_elses() -> None:
    """Nor is it worth anything when it is changed, or without its seal."""
    gate = _guarded()
    _, _, target = _endpoint(gate)
    own, _, seal = target.rpartition("&mcpgate=")
    tries = [
        post(LIST, "bob", target),
        post(LIST, "alice", own),
        post(LIST, "alice", target.replace("sessionId=1", "sessionId=2")),
        post(LIST, "alice", target.replace("/message", "/other")),
        post(LIST, "alice", target.replace("sessionId=1", "sessionId=2&sessionId=1")),
        post(LIST, "alice", f"{target}&sessionId=2"),
        post(LIST, "alice", f"{own}&sessionId=2&mcpgate={seal}"),
        post(LIST, "alice", f"/mcp/x/message?mcpgate={seal}&sessionId=1"),
        post(LIST, "alice", f"{own}&MCPGATE={seal}"),
        post(LIST, "alice", f"{own}&%6dcpgate={seal}"),
        post(LIST, "alice", f"{own}&mcpgate={seal[:-1]}"),
        post(LIST, "alice", f"{own}&mcpgate="),
        post(LIST, "alice", target.replace("/mcp/x/", "/mcp/y/")),
        post(LIST, "alice", f"{target}&mcpgate={seal}"),
    ]
    for sent in tries:
        seen = visit(gate, sent)
        assert (seen.status, seen.reason, seen.arrived) == (404, "session_lost", None), sent


def test_a_redirect_within_a_session_leads_on() -> None:
    """Frameworks send a client from ``/message`` to ``/message/``, with the session in the query."""
    gate = _guarded()
    _, _, target = _endpoint(gate)
    moved = answer(status="307 Temporary Redirect", headers={"Location": "/message/?sessionId=1"})
    location = visit(gate, post(LIST, "alice", target), moved).answer["location"].decode()
    assert visit(gate, post(LIST, "bob", location)).status == 404
    seen = visit(gate, post(LIST, "alice", location))
    assert seen.arrived is not None
    assert seen.arrived.target == b"/message/?sessionId=1"


@pytest.mark.parametrize(
    "query",
    [
        *("sessionId=1", "session_id=1", "sessionid=1", "SESSIONID=1", "session-id=1", "session=1", "a=b&sessionId=1"),
        *("%73essionId=1", "sessionId%5b%5d=1", "[sessionId]=1", "a;sessionId=1", "sessionId", "clientId=1"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_session_in_the_query_without_a_seal_is_nobodys(method: str, query: str) -> None:
    """However its name is written, and whatever the method."""
    gate = _guarded()
    seen = visit(gate, request(method, f"/mcp/x/message?{query}", b"", bearer("alice")))
    assert (seen.status, seen.reason, seen.arrived) == (404, "session_lost", None)


@pytest.mark.parametrize("query", ["q=sessionId", "client_id=1", "permission=1", "s=1"])
def test_other_queries_pass(query: str) -> None:
    """Values may say what they like."""
    assert visit(_guarded(), post(LIST, "alice", f"/mcp/x/message?{query}")).arrived is not None


def test_header_and_address_must_lead_to_the_same_replica() -> None:
    """Two sessions in one request are none."""
    gate = _guarded(_replicas(3010, 3011))
    first = _begin(gate)
    _, peer, target = _endpoint(gate)
    assert peer.transport.getPeer().port == 3011
    assert visit(gate, post(LIST, "alice", target, Mcp_Session_Id=first)).status == 404
    second = _begin(gate, raw="second")
    assert _port(gate, post(LIST, "alice", Mcp_Session_Id=second)) == 3010
    _begin(gate)
    third = _begin(gate, raw="third")
    assert visit(gate, post(LIST, "alice", target, Mcp_Session_Id=third)).status == 404


def test_a_seal_is_good_only_where_it_stands() -> None:
    """One of an address opens no header, and the other way round."""
    gate = _guarded()
    _, _, target = _endpoint(gate)
    seal = target.rpartition("=")[2]
    assert visit(gate, post(LIST, "alice", Mcp_Session_Id=f"/mcp/x/message?sessionId=1.{seal}")).status == 404
    sealed = _begin(gate, raw="/mcp/x/message?sessionId=1")
    assert visit(gate, post(LIST, "alice", f"/mcp/x/message?sessionId=1&mcpgate={sealed[-30:]}")).status == 404


# --- keys -----------------------------------------------------------------------------------------------------------

OLD, NEW, OTHER = ("a" * 32, "b" * 32, "c" * 32)


def _keyed(*keys: str) -> str:
    return f"sessions: {{keys: [{', '.join(keys)}]}}\n{TOKENS}{TWO_SERVERS}"


def test_sessions_live_on_while_their_key_is_in_the_configuration() -> None:
    """A new key seals, old ones still open; one that is taken out opens nothing any more."""
    gate = GatewayUnderTest(_keyed(OLD))
    first = _begin(gate)
    _, _, target = _endpoint(gate)
    reload(gate, _keyed(NEW, OLD))
    second = _begin(gate)
    assert second != first
    for sent in (post(LIST, "alice", target), *(post(LIST, "alice", Mcp_Session_Id=each) for each in (first, second))):
        assert visit(gate, sent).arrived is not None
    assert visit(gate, post(LIST, "bob", Mcp_Session_Id=first)).status == 404
    reload(gate, _keyed(NEW))
    assert visit(gate, post(LIST, "alice", target)).status == 404
    assert visit(gate, post(LIST, "alice", Mcp_Session_Id=first)).status == 404
    assert visit(gate, post(LIST, "alice", Mcp_Session_Id=second)).arrived is not None


def test_gateways_with_the_same_keys_open_each_others_sessions() -> None:
    """Nothing is stored, so several can stand behind one address, and a restart loses nothing."""
    sealed = _begin(GatewayUnderTest(_keyed(OLD)))
    assert visit(GatewayUnderTest(_keyed(OTHER, OLD)), post(LIST, "alice", Mcp_Session_Id=sealed)).arrived is not None
    assert visit(GatewayUnderTest(_keyed(OTHER)), post(LIST, "alice", Mcp_Session_Id=sealed)).status == 404


def test_a_reload_changes_the_keys_for_connections_that_are_open() -> None:
    """What was found out before it does not count after it."""
    gate = GatewayUnderTest(_keyed(OLD))
    sent = post(LIST, "alice", Mcp_Session_Id=_begin(gate))
    client = gate.connect()
    assert served(gate, client, sent) is not None
    reload(gate, _keyed(NEW))
    client.take()
    client.send(sent)
    assert answer_at(client, "POST").status == 404


# --- several replicas -----------------------------------------------------------------------------------------------


def test_new_sessions_take_turns_and_old_ones_stay_where_they_are() -> None:
    """However the requests of different sessions are mixed, also without tokens."""
    gate = GatewayUnderTest(_replicas(3010, 3011, 3012))
    client = gate.connect()
    sessions = []
    for number in range(6):
        client.take()
        peer = served(gate, client, post(INITIALIZE), answer(headers={"Mcp-Session-Id": f"raw-{number}"}))
        assert peer is not None
        assert peer.transport.getPeer().port == 3010 + number % 3
        sessions.append(answer_at(client, "POST")["mcp-session-id"].decode())
    for number in (5, 0, 3, 1, 4, 2, 2, 5):
        for method, body in (("POST", LIST), ("GET", b""), ("DELETE", b"")):
            sent = request(method, "/mcp/x/mcp", body, {"Mcp-Session-Id": sessions[number]})
            assert _port(gate, sent) == 3010 + number % 3
            newest = [peer for peer in gate.peers if peer.transport.getPeer().port == 3010 + number % 3][-1]
            assert request_at(newest)["mcp-session-id"] == b"raw-%d" % number


def test_shares_follow_the_weights() -> None:
    """And a reload of the weights moves no session."""
    gate = GatewayUnderTest(_replicas(3010, 3011, weights=(3, 1)))
    sealed = _begin(gate, "")
    ports = Counter(_port(gate, post(INITIALIZE)) for _ in range(39))
    assert ports == {3010: 29, 3011: 10}
    reload(gate, _replicas(3010, 3011, weights=(1, 1000)))
    assert {_port(gate, post(LIST, Mcp_Session_Id=sealed)) for _ in range(3)} == {3010}


def test_legacy_sessions_stay_with_their_stream() -> None:
    """The endpoint of a stream leads to the replica that keeps it open."""
    gate = GatewayUnderTest(_replicas(3010, 3011))
    opened = [_endpoint(gate, f"/message?sessionId={number}", "") for number in range(4)]
    for number, (_, peer, target) in enumerate(opened):
        assert peer.transport.getPeer().port == 3010 + number % 2
        assert {_port(gate, post(LIST, target=target)) for _ in range(3)} == {3010 + number % 2}
        assert target.startswith(f"/mcp/x/message?sessionId={number}&mcpgate=")


@pytest.mark.parametrize("more", ["auth: none", ""])
def test_an_id_without_a_seal_is_lost_where_there_are_several_replicas(more: str) -> None:
    """Nobody knows where it leads, token or not."""
    gate = GatewayUnderTest(TOKENS * (not more) + _replicas(3010, 3011, more=f", {more}" if more else ""))
    guest = "" if more else "alice"
    assert visit(gate, post(LIST, guest, Mcp_Session_Id=RAW)).status == 404
    assert visit(gate, post(LIST, guest, "/mcp/x/message?sessionId=1")).status == 404
    assert gate.peers == []


def test_the_session_of_a_replica_that_was_taken_out_is_lost() -> None:
    """404 makes the client begin a new one; the sessions of the others live on."""
    gate = _guarded(_replicas(3010, 3011))
    first, second = _begin(gate), _begin(gate)
    reload(gate, TOKENS + _replicas(3011, 3012))
    seen = visit(gate, post(LIST, "alice", Mcp_Session_Id=first))
    assert (seen.status, seen.reason, seen.arrived) == (404, "session_lost", None)
    assert _port(gate, post(LIST, "alice", Mcp_Session_Id=second)) == 3011
    assert {_port(gate, post(INITIALIZE, "alice")) for _ in range(2)} == {3011, 3012}


def test_sessions_survive_another_order_and_fewer_replicas() -> None:
    """A replica is known by its address, not by its place in the list."""
    gate = _guarded(_replicas(3010, 3011))
    first, second = _begin(gate), _begin(gate)
    reload(gate, TOKENS + _replicas(3011, 3010))
    assert [_port(gate, post(LIST, "alice", Mcp_Session_Id=each)) for each in (first, second)] == [3010, 3011]
    reload(gate, TOKENS + _replicas(3010))
    assert _port(gate, post(LIST, "alice", Mcp_Session_Id=first)) == 3010


def test_a_replica_that_is_away_is_passed_over() -> None:
    """One request notices it; the next ones go elsewhere until it is tried again."""
    gate = GatewayUnderTest(_replicas(3010, 3011))
    gate.refusing = {3010}
    told = [visit(gate, post(INITIALIZE)).status for _ in range(6)]
    assert sorted(told) == [200] * 5 + [502]
    gate.refusing = set()
    gate.advance(3)
    assert {_port(gate, post(INITIALIZE)) for _ in range(2)} == {3010, 3011}


def test_a_session_whose_replica_is_away_goes_nowhere_else() -> None:
    """Another replica does not know it: the client is told that the server cannot be reached, and keeps its session."""
    gate = GatewayUnderTest(_replicas(3010, 3011))
    sealed = _begin(gate, "")
    gate.advance(5)
    gate.refusing = {3010}
    for _ in range(3):
        seen = visit(gate, post(LIST, Mcp_Session_Id=sealed))
        assert (seen.status, seen.arrived) == (502, None)
    gate.refusing = set()
    assert _port(gate, post(LIST, Mcp_Session_Id=sealed)) == 3010


def test_if_all_are_away_they_are_still_tried() -> None:
    """The first that comes back is found."""
    gate = GatewayUnderTest(_replicas(3010, 3011))
    gate.refusing = {3010, 3011}
    assert [visit(gate, post(INITIALIZE)).status for _ in range(4)] == [502] * 4
    gate.refusing = {3010}
    assert 200 in [visit(gate, post(INITIALIZE)).status for _ in range(2)]


def test_what_a_replica_says_of_itself_is_mapped_by_its_own_address() -> None:
    """Location and endpoint name the public path, and the base path of that replica is taken off."""
    config = (
        'servers:\n  - {name: x, upstreams: [{url: "http://127.0.0.1:3010/one"}, {url: "http://127.0.0.1:3011/two"}]}\n'
    )
    gate = GatewayUnderTest(config)
    for port, base in ((3010, "one"), (3011, "two"), (3010, "one")):
        location = f"http://127.0.0.1:{port}/{base}/next"
        seen = visit(gate, post(INITIALIZE), answer(status="307 Temporary Redirect", headers={"Location": location}))
        assert seen.arrived is not None
        assert seen.arrived.target == f"/{base}/mcp".encode()
        assert seen.arrived["host"] == f"127.0.0.1:{port}".encode()
        assert seen.answer["location"] == b"/mcp/x/next"
    _, peer, target = _endpoint(gate, "/two/message?sessionId=1", "")
    assert request_at(peer).target == b"/two/sse"
    assert target.startswith("/mcp/x/message?sessionId=1&mcpgate=")
    client = gate.connect()
    landed = served(gate, client, post(LIST, target=target))
    assert landed is not None
    assert landed.transport.getPeer().port == 3011
    assert request_at(landed).target == b"/two/message?sessionId=1"


def test_requests_of_2026_07_28_spread() -> None:
    """They have no session, also when one connection sends them all."""
    gate = GatewayUnderTest(_replicas(3010, 3011))
    sent = post(message("tools/call", name="add"), MCP_Protocol_Version="2026-07-28", Mcp_Method="tools/call")
    client, ports = gate.connect(), []
    for _ in range(6):
        client.take()
        peer = served(gate, client, sent)
        assert peer is not None
        ports.append(peer.transport.getPeer().port)
        assert answer_at(client, "POST").status == 200
    assert ports == [3010, 3011] * 3


# --- where nothing is bound -----------------------------------------------------------------------------------------


def test_one_replica_without_tokens_gets_and_gives_its_own_ids() -> None:
    """Byte for byte, in headers, queries and endpoints: there is nobody, and nothing, to bind them to."""
    gate = GatewayUnderTest()
    assert _begin(gate, "") == RAW
    seen = visit(gate, post(LIST, target="/mcp/x/message?sessionId=1&mcpgate=2", Mcp_Session_Id=RAW))
    assert seen.arrived is not None
    assert (seen.arrived.target, seen.arrived["mcp-session-id"]) == (b"/message?sessionId=1&mcpgate=2", RAW.encode())
    assert _endpoint(gate, guest="")[2] == "/mcp/x/message?sessionId=1"


def test_an_open_server_beside_guarded_ones_is_left_alone() -> None:
    """What is bound is decided for each server."""
    gate = GatewayUnderTest(TOKENS + TWO_SERVERS.replace("name: x", "name: x, auth: none"))
    assert _begin(gate, "") == RAW
    assert visit(gate, post(LIST, Mcp_Session_Id=RAW)).arrived is not None
    assert _begin(gate, "alice", "/mcp/y/mcp") != RAW


def test_addresses_of_clients_bind_nothing() -> None:
    """A guest may come from another network in the middle of a session."""
    gate = _guarded()
    sealed = _begin(gate)
    client = connect_from(gate, "198.51.100.7")
    assert served(gate, client, post(LIST, "alice", Mcp_Session_Id=sealed)) is not None


def test_no_redirect_makes_a_seal_for_a_session_that_was_not_opened() -> None:
    """Whoever could have any address sealed by a server that redirects could have another's session."""
    gate = GatewayUnderTest(known(alice="", bob="") + server())
    asked_for = request("GET", "/mcp/x/go?next=/messages%3Fsession_id=HERS", headers=bearer("bob"))
    client, peer = asked(gate, asked_for)
    peer.send(answer(b"", "307 Temporary Redirect", {"Location": "/messages?session_id=HERS"}))
    led = answer_at(client)["location"].decode()
    assert led == "/mcp/x/messages?session_id=HERS"
    again = gate.connect()
    again.send(request("POST", led, b"{}", headers=bearer("bob")))
    assert answer_at(again, "POST").status == 404
    assert len(gate.peers) == 1
