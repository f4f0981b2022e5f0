"""An operator says how often and how much: what is over is told when to come again, and nobody else notices."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from tests.ends import LAST_CHUNK, SSE, answer_at, answers, chunked, request_at, requests, server
from tests.guests import (
    HANDSHAKE,
    call,
    known,
    message,
    post,
    reload,
    served,
    statuses,
    visit,
)

from mcpgate.exchange import Ended
from mcpgate.testing import Client, GatewayUnderTest, answer, request

ADD, LIST = call("add"), message("tools/list", 2)
DISCOVER = message("server/discover", 3)
CHUNKED = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
BROWSER = {"Origin": "http://localhost"}


def _limits(*policies: str) -> str:
    """The ``limits`` section: one policy in each line."""
    return "limits:\n" + "".join(f"  - {{{policy}}}\n" for policy in policies)


#: Two at once, then one in ten seconds.
CALLS = _limits("name: calls, key: [principal], rate: 6/m, burst: 2")


def _gate(limits: str = CALLS, more: str = "", auth: str = "", top: str = "") -> GatewayUnderTest:
    """A gateway with one server ``x``."""
    return GatewayUnderTest(f"{top}\n{auth}{limits}{server(more)}")


# --- who is over the limit ------------------------------------------------------------------------------------------


def test_who_is_over_the_limit_is_told_when_to_come_again() -> None:
    """In the fields that programs read, and in the message for the people in front of them."""
    gate = _gate()
    assert statuses(gate, post(ADD), 2) == [200, 200]
    gate.advance(1)
    seen = visit(gate, post(call("add", 5)))
    assert (seen.status, seen.reason, seen.arrived) == (429, "rate_limited", None)
    assert seen.answer["retry-after"] == b"9"
    assert seen.answer["ratelimit-policy"] == b'"calls";q=2;w=20'
    assert seen.answer["ratelimit"] == b'"calls";r=0;t=9'
    assert seen.answer["content-type"] == b"application/json"
    told = seen.answer.json
    assert (told["id"], told["error"]["code"]) == (5, -31429)
    assert "9 s" in told["error"]["message"]
    del told["error"]["data"]["requestId"]
    assert told["error"]["data"] == {
        "reason": "rate_limited",
        "hop": "gateway",
        "server": "x",
        "retryAfterSeconds": 9,
        "policy": "calls",
    }


def test_who_comes_when_told_is_admitted() -> None:
    """Not a moment earlier; and what was refused in between has cost nothing."""
    gate = _gate()
    statuses(gate, post(ADD), 2)
    told = []
    for _ in range(5):
        told += statuses(gate, post(ADD), 3)
        gate.advance(int(visit(gate, post(ADD)).answer["retry-after"]) - 0.25)
        told += statuses(gate, post(ADD), 1)
        gate.advance(0.25)
        told += statuses(gate, post(ADD), 1)
    assert told == [429, 429, 429, 429, 200] * 5


def test_over_an_hour_exactly_burst_and_rate_are_admitted() -> None:
    """However greedy the client is."""
    gate = _gate(_limits("name: calls, key: [principal], rate: 1/m, burst: 5"))
    admitted = 0
    for _ in range(120):
        admitted += statuses(gate, post(ADD), 1) == [200]
        gate.reactor.advance(30)
        gate.settle()
    assert admitted == 5 + 59


def test_the_clock_on_the_wall_does_not_matter() -> None:
    """It may be set, by an hour to and fro."""
    gate = _gate()
    statuses(gate, post(ADD), 2)
    for wall_s in (gate.wall_s + 3600, gate.wall_s - 3600):
        gate.wall_s = wall_s
        assert statuses(gate, post(ADD), 1) == [429]


def test_a_connection_stays_open_over_a_refusal() -> None:
    """And requests that are pipelined behind one are answered in their order."""
    gate = _gate()
    client = gate.connect()
    client.send(post(ADD) + post(ADD) + post(ADD) + post(LIST))
    for _ in range(3):
        gate.upstream().send(answer())
    told = answers(client.received, None, ["POST"] * 4)
    assert [each.status for each in told] == [200, 200, 429, 200]
    assert client.closed is None


def test_a_refusal_stands_in_the_log() -> None:
    """As refused, with reason and status."""
    gate = _gate()
    statuses(gate, post(ADD), 3)
    record = gate.records[-1]
    assert (record.status, record.ended) == (429, Ended.REFUSED)
    assert record.error is not None
    assert record.error.reason == "rate_limited"


def test_a_browser_may_read_when_to_come_again() -> None:
    """A page of an allowed origin gets the fields and the leave to read them."""
    gate = _gate()
    statuses(gate, post(ADD, **BROWSER), 2)
    told = visit(gate, post(ADD, **BROWSER)).answer
    assert (told.status, told["access-control-allow-origin"]) == (429, b"http://localhost")
    assert {b"Retry-After", b"RateLimit"} <= set(told["access-control-expose-headers"].split(b", "))


# --- whom a limit counts together -----------------------------------------------------------------------------------

GUESTS = known(alice="", bob="")


def test_guests_are_counted_apart() -> None:
    """By who they are, not by anything that they can choose."""
    gate = _gate(auth=GUESTS)
    for turn in range(4):
        sent = post(ADD, "alice", User_Agent=f"agent-{turn}", X_Forwarded_For=f"192.0.2.{turn}", X_Request_Id=str(turn))
        assert visit(gate, sent, address=f"198.51.100.{turn}").status == (200 if turn < 2 else 429)
    assert statuses(gate, post(ADD, "bob"), 2) == [200, 200]


def test_all_connections_of_a_guest_are_counted_together() -> None:
    """Old ones and new ones."""
    gate = _gate(auth=GUESTS)
    clients = [gate.connect() for _ in range(4)]
    for client in clients:
        served(gate, client, post(ADD, "alice"))
    assert [answer_at(client, "POST").status for client in clients] == [200, 200, 429, 429]


def test_without_a_principal_the_address_takes_its_place() -> None:
    """And somebody with a token is not counted with their address."""
    gate = GatewayUnderTest(GUESTS + CALLS + server("auth: none"))
    assert statuses(gate, post(ADD), 3, "198.51.100.1") == [200, 200, 429]
    assert statuses(gate, post(ADD), 3, "198.51.100.2") == [200, 200, 429]


def test_a_guest_cannot_use_up_what_belongs_to_an_address_of_the_same_name() -> None:
    """The two are kept apart, although both are texts."""
    two = server() + '  - {name: y, auth: none, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'
    guest = known(alice="").replace("id: alice", "id: 198.51.100.1")
    gate = GatewayUnderTest(guest + CALLS + two)
    assert statuses(gate, post(ADD, "alice"), 3) == [200, 200, 429]
    assert statuses(gate, post(ADD, target="/mcp/y/mcp"), 3, "198.51.100.1") == [200, 200, 429]


PER_ADDRESS = _limits("name: calls, key: [address], rate: 6/m, burst: 2")


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
    ],
)
def test_addresses_of_one_customer_are_counted_together(first: str, second: str, together: bool) -> None:
    """An IPv6 customer has a whole /64."""
    gate = _gate(PER_ADDRESS)
    assert statuses(gate, post(ADD), 3, first) == [200, 200, 429]
    assert statuses(gate, post(ADD), 1, second) == [429 if together else 200]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("198.51.100.1", "198.51.100.2", False),
        ("198.51.100.1", "6.6.6.6, 198.51.100.1", True),
        ("198.51.100.1", "198.51.100.1, 10.0.0.9", True),
        ("198.51.100.1", "6.6.6.6, 198.51.100.1,10.1.1.1 , 10.0.0.9", True),
        ("2001:db8:0:1::1", "2001:DB8:0:1::0002", True),
        ("198.51.100.1", "198.51.100.1, nonsense", False),
        ("", "198.51.100.1", False),
        ("", "nonsense", True),
    ],
)
def test_behind_a_trusted_proxy_the_clients_are_counted_apart(first: str, second: str, together: bool) -> None:
    """The last address that is no trusted proxy's counts; what a client writes in front of it does not."""
    gate = _gate(PER_ADDRESS, top="trusted_proxies: [10.0.0.0/8]")

    def sent(chain: str) -> bytes:
        return post(ADD, **({"X-Forwarded-For": chain} if chain else {}))

    assert statuses(gate, sent(first), 3, "10.0.0.1") == [200, 200, 429]
    assert statuses(gate, sent(second), 1, "10.0.0.1") == [429 if together else 200]


def test_two_forwarding_fields_count_as_one() -> None:
    """As RFC 9110 says: the second goes behind the first."""
    gate = _gate(PER_ADDRESS, top="trusted_proxies: [10.0.0.0/8]")
    assert statuses(gate, post(ADD, **{"X-Forwarded-For": "198.51.100.1"}), 2, "10.0.0.1") == [200, 200]
    sent = post(ADD, **{"X-Forwarded-For": "6.6.6.6\r\nX-Forwarded-For: 198.51.100.1"})
    assert statuses(gate, sent, 1, "10.0.0.1") == [429]


def test_what_a_stranger_says_about_forwarding_does_not_count() -> None:
    """Only trusted proxies are believed."""
    gate = _gate(PER_ADDRESS, top="trusted_proxies: [10.0.0.0/8]")
    told = [visit(gate, post(ADD, X_Forwarded_For=f"192.0.2.{n}"), address="198.51.100.1").status for n in range(3)]
    assert told == [200, 200, 429]


@pytest.mark.parametrize(
    ("key", "apart"),
    [
        ("[server]", {"guest": False, "server": True, "tool": False}),
        ("[principal, server]", {"guest": True, "server": True, "tool": False}),
        ("[principal, tool]", {"guest": True, "server": False, "tool": True}),
        ("[tool]", {"guest": False, "server": False, "tool": True}),
    ],
)
def test_what_is_counted_apart_is_what_the_key_names(key: str, apart: dict[str, bool]) -> None:
    """Alone or together."""
    two = server() + '  - {name: y, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'
    gate = GatewayUnderTest(GUESTS + _limits(f"name: calls, key: {key}, rate: 1/m, burst: 1") + two)
    assert statuses(gate, post(ADD, "alice"), 2) == [200, 429]
    others = {
        "guest": post(ADD, "bob"),
        "server": post(ADD, "alice", "/mcp/y/mcp"),
        "tool": post(call("sub"), "alice"),
    }
    assert {what: visit(gate, sent).status == 200 for what, sent in others.items()} == apart


# --- what a limit charges -------------------------------------------------------------------------------------------


def test_handshakes_pings_and_lists_are_charged_apart_from_calls() -> None:
    """Ten times as many, and none of them takes a call from anybody."""
    gate = _gate()
    light = [
        *(message("initialize"), message("notifications/initialized", None), message("ping"), LIST),
        *(message("resources/list"), message("prompts/list"), message("logging/setLevel"), b'{"id":1,"result":{}}'),
    ]
    for body in light:
        assert visit(gate, post(body)).status == 200
    assert statuses(gate, post(ADD), 3) == [200, 200, 429]
    assert visit(gate, request("GET", headers=SSE), answer()).status == 200
    assert visit(gate, request("DELETE")).status == 200
    assert statuses(gate, post(LIST), 11) == [200] * 10 + [429]


@pytest.mark.parametrize(
    "body", [ADD, message("prompts/get", name="a"), message("resources/read", uri="a"), message("x/y"), b"a=b", b"{"]
)
def test_everything_else_is_a_call(body: bytes) -> None:
    """Also what nobody can read: it must not be a way around the limit."""
    gate = _gate()
    assert statuses(gate, post(body), 3) == [200, 200, 429]
    assert visit(gate, post(ADD)).status == 429


@pytest.mark.parametrize("method", ["PUT", "GET", "PATCH", "OPTIONS"])
def test_a_call_is_a_call_whatever_the_method(method: str) -> None:
    """What counts is the message."""
    gate = _gate()
    assert statuses(gate, request(method, body=ADD), 3) == [200, 200, 429]


def test_a_batch_costs_as_much_as_its_calls_and_is_admitted_whole_or_not_at_all() -> None:
    """Nothing of one that is refused is charged."""
    gate = _gate(_limits("name: calls, key: [principal], rate: 1/m, burst: 3"))
    batch = b"[%b,%b,%b]" % (ADD, LIST, ADD)
    assert statuses(gate, post(batch), 2) == [200, 429]
    assert statuses(gate, post(ADD), 2) == [200, 429]


THREE = b"[%b]" % b",".join([ADD] * 3)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (THREE, {}),
        (gzip.compress(THREE, mtime=0), {"Content_Encoding": "gzip"}),
        (THREE.decode().encode("utf-16"), {}),
        (THREE.decode().encode("utf-16-be"), {"Content_Type": "application/json; charset=utf-16be"}),
        (THREE.replace(b"[", b"+AFs-").replace(b"{", b"+AHs-"), {"Content_Type": "application/json; charset=utf-7"}),
        (THREE[:-1] + b",]", {}),
    ],
)
def test_a_batch_is_no_cheaper_if_it_is_written_so_that_we_cannot_count(body: bytes, fields: dict[str, str]) -> None:
    """It does not pass as one call."""
    gate = _gate()
    assert visit(gate, post(ADD)).status == 200
    assert visit(gate, post(body, **fields)).arrived is None


def test_several_limits_are_charged_together_or_not_at_all() -> None:
    """A call that one of them refuses has cost nothing at the others, in any order."""
    small, large = (
        "name: small, key: [tool], rate: 1/h, burst: 1",
        "name: large, key: [principal], rate: 1/h, burst: 3",
    )
    for policies in ((small, large), (large, small)):
        gate = _gate(_limits(*policies))
        told = [visit(gate, post(call(tool))) for tool in ("a", "a", "a", "b", "c", "d")]
        assert [each.status for each in told] == [200, 429, 429, 200, 200, 429]
        assert [each.answer["ratelimit"].split(b";")[0] for each in (told[1], told[5])] == [b'"small"', b'"large"']


def test_the_longest_wait_is_told() -> None:
    """Who comes earlier would be refused by the other limit."""
    gate = _gate(
        _limits("name: minute, key: [principal], rate: 1/m, burst: 1", "name: hour, key: [server], rate: 1/h, burst: 1")
    )
    statuses(gate, post(ADD), 1)
    told = visit(gate, post(ADD)).answer
    assert (told["retry-after"], told["ratelimit-policy"]) == (b"3600", b'"hour";q=1;w=3600')


@pytest.mark.parametrize(
    ("match", "charged"),
    [
        ("methods: [tools/call]", {"add", "sub"}),
        ("methods: ['tools/*']", {"add", "sub", "list"}),
        ("tools: [add]", {"add"}),
        ("tools: [mul]", set()),
        ("methods: [prompts/get]", {"prompt"}),
        ("servers: [x]", {"add", "sub", "prompt"}),
        ("servers: [y]", set()),
        ("servers: ['*'], tools: ['a*'], methods: ['*/call']", {"add"}),
    ],
)
def test_a_limit_charges_what_it_names(match: str, charged: set[str]) -> None:
    """And looks at nothing else."""
    bodies = {"add": ADD, "sub": call("sub"), "list": LIST, "prompt": message("prompts/get", name="add")}
    for name, body in bodies.items():
        gate = _gate(_limits(f"name: some, key: [principal], match: {{{match}}}, rate: 1/h, burst: 1"))
        assert statuses(gate, post(body), 2) == [200, 429 if name in charged else 200], name


def test_headers_do_not_decide_what_a_call_costs() -> None:
    """The body does; if the two differ, it is refused."""
    gate = _gate()
    light = {"Mcp_Method": "ping", "MCP_Protocol_Version": "2025-11-25"}
    assert statuses(gate, post(ADD, **light), 3) == [200, 200, 429]
    seen = visit(gate, post(ADD, **light | {"MCP_Protocol_Version": "2026-07-28"}))
    assert (seen.status, seen.reason) == (400, "header_mismatch")


def test_what_is_refused_for_another_reason_costs_nothing() -> None:
    """No route, no token, no right."""
    gate = _gate(auth=known(alice="tools: {deny: [rm]}, servers: [x]"))
    for sent in (post(ADD), post(call("rm"), "alice"), post(ADD, "nobody"), post(ADD, "alice", "/nowhere")):
        assert visit(gate, sent).arrived is None
    assert statuses(gate, post(ADD, "alice"), 3) == [200, 200, 429]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("GET", "/mcp/discovery"), 200),
        (request("GET", "/.well-known/oauth-protected-resource"), 404),
        (request("GET", "/mcp/x/.well-known/openid-configuration", headers={"Accept": "*/*"}), 429),
    ],
)
def test_documents_are_outside_the_limits(sent: bytes, status: int) -> None:
    """Who has used up everything can still find out where to go; what is the server's own is charged."""
    gate = _gate(_limits("name: calls, key: [address], rate: 1/h, burst: 1"))
    assert statuses(gate, post(b"?"), 2) == [200, 429]
    assert statuses(gate, sent, 3) == [status] * 3


def test_a_browsers_preflight_is_outside_the_limits() -> None:
    """It cannot be told from an attack otherwise, and it goes nowhere."""
    gate = _gate(_limits("name: calls, key: [address], rate: 1/h, burst: 1"), auth=known(alice=""))
    asking = request("OPTIONS", headers=BROWSER | {"Access-Control-Request-Method": "POST"})
    for _ in range(30):
        seen = visit(gate, asking)
        assert (seen.status, seen.arrived) == (204, None)
    assert statuses(gate, post(ADD, "alice"), 2) == [200, 429]
    assert visit(gate, asking).status == 204


# --- server/discover ------------------------------------------------------------------------------------------------


def test_discover_waits_and_is_never_refused() -> None:
    """A 429 there would send a client back to an older protocol; two seconds are not too long."""
    gate = _gate(_limits("name: calls, key: [principal], rate: 1/h, burst: 1"))
    assert statuses(gate, post(LIST), 11) == [200] * 10 + [429]
    client = gate.connect()
    client.send(post(DISCOVER))
    before = len(gate.upstream().received)
    gate.advance(1.75)
    assert len(gate.upstream().received) == before
    gate.advance(0.5)
    assert len(gate.upstream().received) > before
    gate.upstream().send(answer())
    assert answer_at(client, "POST").status == 200


def test_discover_does_not_wait_without_need() -> None:
    """It is light."""
    gate = _gate()
    statuses(gate, post(ADD), 3)
    assert statuses(gate, post(DISCOVER), 3) == [200] * 3


def test_a_batch_around_discover_is_a_batch() -> None:
    """It is no way around the limit."""
    gate = _gate()
    statuses(gate, post(ADD), 2)
    assert statuses(gate, post(b"[%b,%b]" % (DISCOVER, ADD)), 1) == [429]


# --- wait -----------------------------------------------------------------------------------------------------------

WAITING = _limits("name: calls, key: [principal], rate: 1/s, burst: 1, wait: 3s")


def _order(gate: GatewayUnderTest) -> list[int]:
    """The ids of the messages that have arrived, in order."""
    seen = [each for peer in gate.peers for each in requests(peer.received)]
    return [int(each.json["id"]) for each in seen]


def test_a_limit_may_let_wait_instead_of_refusing() -> None:
    """First come, first served, one in a second; who would have to wait for longer is refused at once."""
    gate = _gate(WAITING)
    clients = [gate.connect() for _ in range(6)]
    for number, client in enumerate(clients):
        client.send(post(call("add", number)))
    assert _order(gate) == [0]
    assert [answer_at(client, "POST").status for client in clients[4:]] == [429, 429]
    assert answer_at(clients[4], "POST")["retry-after"] == b"4"
    arrived = []
    for _ in range(3):
        gate.advance(0.75)
        arrived.append(sorted(_order(gate)))
        gate.advance(0.25)
        arrived.append(sorted(_order(gate)))
    assert arrived == [[0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2, 3]]
    for client, peer in zip(clients[:4], gate.peers, strict=True):
        peer.send(answer())
        assert answer_at(client, "POST").status == 200


def test_a_body_that_waits_arrives_whole() -> None:
    """In pieces, in chunks, with its length."""
    gate = _gate(WAITING)
    assert statuses(gate, post(ADD), 1) == [200]
    client = gate.connect()
    client.send(request(headers=CHUNKED), chunked(ADD[:7]), chunked(ADD[7:]), LAST_CHUNK)
    gate.advance(1.25)
    seen = request_at(gate.upstream())
    assert (seen.body, seen.complete, seen["content-length"]) == (ADD, True, b"%d" % len(ADD))


def test_what_is_pipelined_behind_a_waiting_call_waits_with_it() -> None:
    """Answers keep the order of requests."""
    gate = _gate(WAITING)
    statuses(gate, post(ADD), 1)
    client = gate.connect()
    client.send(post(call("add", 7)) + post(message("ping", 8)))
    assert _order(gate) == [1]
    gate.advance(1.25)
    assert _order(gate) == [1, 7]
    gate.upstream().send(answer())
    assert _order(gate) == [1, 7, 8]


@pytest.mark.parametrize("leave", [Client.reset, Client.close])
def test_a_client_that_leaves_while_it_waits(leave: Callable[[Client], None]) -> None:
    """Its call is not made, and nobody waits for its turn any more; a half close is no goodbye."""
    gate = _gate(WAITING)
    statuses(gate, post(ADD), 1)
    client = gate.connect()
    client.send(post(ADD))
    in_a_second = gate.reactor.seconds() + 1
    turn = next(each for each in gate.reactor.getDelayedCalls() if each.getTime() == in_a_second)
    leave(client)
    gone = leave is Client.reset
    assert turn.active() is not gone
    assert [record.ended for record in gate.records[1:]] == ([Ended.CLIENT_GONE] if gone else [])
    gate.advance(2)
    assert len(_order(gate)) == (1 if gone else 2)
    if not gone:
        gate.upstream().send(answer())
        assert answer_at(client, "POST").status == 200
    assert len(gate.records) == 2


def test_a_token_that_expires_while_its_call_waits_is_refused() -> None:
    """What counts is the moment in which the call would be made."""
    gate = _gate(WAITING, auth=known(alice="expires: 2027-01-15T08:00:01Z"))
    assert statuses(gate, post(ADD, "alice"), 1) == [200]
    clients = [gate.connect() for _ in range(3)]
    for client in clients:
        client.send(post(ADD, "alice"))
    gate.advance(4)
    assert len(_order(gate)) == 1
    assert [answer_at(client, "POST")["mcpgate-error"] for client in clients] == [b"expired_token"] * 3


def test_a_server_that_leaves_while_calls_wait_for_it() -> None:
    """They are told, and go nowhere."""
    gate = _gate(WAITING)
    statuses(gate, post(ADD), 1)
    client = gate.connect()
    client.send(post(ADD))
    reload(gate, WAITING + server(name="y"))
    gate.advance(2)
    assert answer_at(client, "POST").status == 404
    assert len(_order(gate)) == 1


# --- bodies that must be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_body_in_pieces_costs_what_it_costs_whole(size: int) -> None:
    """It is collected first, and sent on with its length."""
    gate = _gate()
    whole = request(headers=CHUNKED) + chunked(ADD[:3], ADD[3:20], ADD[20:]) + LAST_CHUNK
    for status in (200, 200, 429):
        client = gate.connect()
        client.send(*(whole[at : at + size] for at in range(0, len(whole), size)))
        if status == 200:
            seen = request_at(gate.upstream())
            assert (seen.body, seen["content-length"], "transfer-encoding" in seen) == (ADD, b"%d" % len(ADD), False)
            gate.upstream().send(answer())
        assert answer_at(client, "POST").status == status


def test_an_empty_chunked_body_is_sent_on_as_an_empty_body() -> None:
    """There is nothing in it to be charged as light."""
    gate = _gate()
    seen = visit(gate, request(headers=CHUNKED) + LAST_CHUNK)
    assert seen.arrived is not None
    assert (seen.arrived.body, seen.arrived["content-length"]) == (b"", b"0")


def test_what_is_too_large_to_look_at_is_refused() -> None:
    """Counted by its head, chunked where it becomes too large; and it costs nothing."""
    gate = _gate(top="http: {max_inspect_bytes: 1KiB}")
    long = request(headers={"Content-Length": "1025", "Content-Type": "application/json"})
    for sent in ([long], [request(headers=CHUNKED), chunked(b"x" * 1000), chunked(b"x" * 25)]):
        client = gate.connect()
        client.send(*sent)
        told = answer_at(client, "POST")
        assert (told.status, told["mcpgate-error"]) == (413, b"body_too_large_to_check")
        assert client.closed is not None
    assert gate.peers == []
    assert statuses(gate, post(ADD), 3) == [200, 200, 429]


def test_the_bound_on_bodies_that_are_read_changes_on_reload() -> None:
    """For connections that are open, too."""
    gate = _gate()
    client = gate.connect()
    served(gate, client, post(b" " * 1025))
    reload(gate, "http: {max_inspect_bytes: 1KiB}\n" + CALLS + server())
    client.take()
    head, _, body = post(b" " * 1025).partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n", body)
    assert answer_at(client, "POST").status == 413


# --- reload ---------------------------------------------------------------------------------------------------------


def test_a_reload_leaves_buckets_as_full_as_they_are() -> None:
    """Nobody gets a second burst by it, whatever else changes."""
    gate = _gate()
    statuses(gate, post(ADD), 2)
    reload(gate, CALLS + _limits("name: new, key: [server], rate: 100/s").partition("\n")[2] + server("title: X"))
    assert statuses(gate, post(ADD), 1) == [429]
    reload(gate, CALLS + server())
    gate.advance(10)
    assert statuses(gate, post(ADD), 2) == [200, 429]


def test_a_limit_that_is_new_or_gone_counts_at_once() -> None:
    """On connections that are open, too."""
    gate = GatewayUnderTest()
    client = gate.connect()
    told = []
    for limits in ("", _limits("name: calls, key: [principal], rate: 1/h, burst: 1"), ""):
        reload(gate, limits + server())
        for _ in range(2):
            client.take()
            served(gate, client, post(ADD))
            told.append(answer_at(client, "POST").status)
    assert told == [200, 200, 200, 429, 200, 200]


def test_a_limit_that_changes_applies_at_once() -> None:
    """Its buckets are new ones."""
    gate = _gate()
    assert statuses(gate, post(ADD), 3) == [200, 200, 429]
    reload(gate, CALLS.replace("burst: 2", "burst: 4") + server())
    assert statuses(gate, post(ADD), 5) == [200] * 4 + [429]


def test_a_tunnel_is_charged_by_every_limit() -> None:
    """Nobody counts what goes through it, so it costs one of each, whatever they name."""
    calls = "limits: [{name: calls, key: [address], match: {methods: [tools/call]}, rate: 1/m, burst: 1}]\n"
    gate = GatewayUnderTest(server() + calls)
    first = gate.connect()
    first.send(request("GET", "/mcp/x/ws", headers=HANDSHAKE))
    assert len(gate.peers) == 1
    second = gate.connect()
    second.send(request("GET", "/mcp/x/ws", headers=HANDSHAKE))
    assert answer_at(second).status == 429
