"""One address cannot take the gateway from everybody else, however many connections and tokens it tries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ends import answer_at, refused, server
from tests.guests import bearer, call, connect_from, known, post, reload, served, statuses, token, visit
from tests.policy.signers import document, signer

from mcpgate.testing import Client, GatewayUnderTest, request

HERE, THERE = "198.51.100.1", "198.51.100.2"
PROXY = "10.0.0.1"
ALICE = known(alice="")
ADD = call("add")
CONNECTIONS = "gate: {connections: {rate: 1/s, burst: 3}}\n"
OPEN = "gate: {open_connections: 2}\n"
TRIES = "gate: {unauthenticated: {rate: 6/m, burst: 3}}\n"
TRUSTED = "trusted_proxies: [10.0.0.0/8]\n"


def _admitted(gate: GatewayUnderTest, address: str, times: int) -> list[bool]:
    """Which of so many new connections stay; they stay open."""
    return [connect_from(gate, address).closed is None for _ in range(times)]


# --- connections ----------------------------------------------------------------------------------------------------


def test_an_address_that_connects_too_fast_is_cut() -> None:
    """Before a byte is read or written, and nobody else notices."""
    gate = GatewayUnderTest(CONNECTIONS + server())
    assert _admitted(gate, HERE, 3) == [True] * 3
    late = connect_from(gate, HERE)
    assert (late.closed, late.received) == ("reset", b"")
    late.send(request("GET"))
    assert (gate.peers, gate.records) == ([], [])
    assert _admitted(gate, THERE, 3) == [True] * 3
    gate.advance(1)
    assert _admitted(gate, HERE, 2) == [True, False]


def test_connections_that_are_open_are_not_cut() -> None:
    """Who is in stays in, and is served."""
    gate = GatewayUnderTest(CONNECTIONS + server())
    client = connect_from(gate, HERE)
    _admitted(gate, HERE, 5)
    assert served(gate, client, post(ADD)) is not None
    assert answer_at(client, "POST").status == 200


@pytest.mark.parametrize("end", [Client.close, Client.reset])
def test_only_so_many_connections_of_an_address_may_be_open(end: Callable[[Client], None]) -> None:
    """When one has gone, however it went, there is room for one, not for two."""
    gate = GatewayUnderTest(OPEN + server())
    first = connect_from(gate, HERE)
    assert _admitted(gate, HERE, 2) == [True, False]
    assert _admitted(gate, THERE, 1) == [True]
    end(first)
    assert _admitted(gate, HERE, 2) == [True, False]


def test_connections_that_time_out_make_room() -> None:
    """Nothing is counted that is not there any more."""
    gate = GatewayUnderTest(OPEN + "http: {header_timeout: 2s}\n" + server())
    assert _admitted(gate, HERE, 3) == [True, True, False]
    gate.advance(6)
    assert not gate.gateway.door.connections
    assert _admitted(gate, HERE, 3) == [True, True, False]


def test_an_ipv6_customer_is_one_customer() -> None:
    """With all the addresses of a /64."""
    gate = GatewayUnderTest(OPEN + server())
    told = [connect_from(gate, f"2001:db8:0:{net}::{host}").closed for net in (1, 2) for host in (1, 2, 3)]
    assert told == [None, None, "reset"] * 2
    assert _admitted(gate, "::ffff:198.51.100.1", 1) + _admitted(gate, HERE, 2) == [True, True, False]


def test_by_default_an_address_leaves_a_tenth_of_the_connections_to_others() -> None:
    """The kit's bound for all is 1000."""
    gate = GatewayUnderTest(server())
    clients = [connect_from(gate, HERE) for _ in range(901)]
    assert [client.closed for client in clients] == [None] * 900 + ["reset"]
    assert _admitted(gate, THERE, 1) == [True]


@pytest.mark.parametrize("section", [CONNECTIONS, OPEN])
def test_what_a_trusted_proxy_opens_is_not_counted(section: str) -> None:
    """Others stand behind it; a stranger who says so is not one."""
    gate = GatewayUnderTest(section + TRUSTED + server())
    assert _admitted(gate, PROXY, 20) == [True] * 20
    assert False in _admitted(gate, HERE, 4)


def test_null_admits_any_number() -> None:
    """As written."""
    gate = GatewayUnderTest("gate: {connections: null, unauthenticated: null}\n" + ALICE + server())
    assert _admitted(gate, HERE, 50) == [True] * 50
    assert statuses(gate, post(ADD), 300, HERE) == [401] * 300


def test_the_admin_listener_has_the_same_gate() -> None:
    """There the tokens are worth more; connections to both count together."""
    gate = GatewayUnderTest(OPEN + server())
    _admitted(gate, HERE, 2)
    assert connect_from(gate, HERE, admin=True).closed == "reset"
    assert connect_from(gate, THERE, admin=True).closed is None
    reload(gate, OPEN.replace("2", "3") + server())
    assert [connect_from(gate, HERE, admin=True).closed for _ in range(2)] == [None, "reset"]


# --- requests without a good token ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Authorization": "Bearer nobody"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer " + token("carol")},
    ],
)
def test_an_address_that_tries_too_many_tokens_is_told_to_wait(fields: dict[str, str]) -> None:
    """429 with the time, and no challenge to try again; other addresses are heard."""
    gate = GatewayUnderTest(TRIES + known(alice="", carol="expires: 2020-01-01") + server())
    sent = post(ADD, "", **fields)
    assert statuses(gate, sent, 3, HERE) == [401] * 3
    seen = visit(gate, sent, address=HERE)
    assert (seen.status, seen.reason, seen.arrived) == (429, "address_limited", None)
    assert seen.answer["retry-after"] == b"10"
    assert seen.answer.json["error"]["data"]["retryAfterSeconds"] == 10
    assert "www-authenticate" not in seen.answer
    assert statuses(gate, sent, 1, THERE) == [401]
    gate.advance(10)
    assert statuses(gate, sent, 2, HERE) == [401, 429]


def test_good_tokens_of_the_same_address_go_on() -> None:
    """An office has one address; a broken script there must not shut out the others."""
    gate = GatewayUnderTest(TRIES + ALICE + server())
    assert 429 in statuses(gate, post(ADD, "nobody"), 5, HERE)
    assert statuses(gate, post(ADD, "alice"), 20, HERE) == [200] * 20
    assert statuses(gate, post(ADD, "nobody"), 1, HERE) == [429]


def test_a_refusal_leaves_the_connection_as_it_is() -> None:
    """The same connection may bring a good token next."""
    gate = GatewayUnderTest(TRIES + ALICE + server())
    client = connect_from(gate, HERE)
    told = []
    for guest in ("nobody", "nobody", "nobody", "nobody", "alice"):
        client.take()
        served(gate, client, post(ADD, guest))
        told.append(answer_at(client, "POST").status)
    assert told == [401, 401, 401, 429, 200]


def test_good_tokens_are_never_charged() -> None:
    """Nor requests that need none."""
    gate = GatewayUnderTest(TRIES + ALICE + server() + server("auth: none", name="open").partition("\n")[2])
    assert statuses(gate, post(ADD, "alice"), 10, HERE) == [200] * 10
    assert statuses(gate, post(ADD, target="/mcp/open/mcp"), 10, HERE) == [200] * 10
    assert statuses(gate, request("GET", "/mcp/discovery"), 10, HERE) == [200] * 10
    preflight = request("OPTIONS", headers={"Origin": "http://localhost", "Access-Control-Request-Method": "POST"})
    assert statuses(gate, preflight, 10, HERE) == [204] * 10
    assert statuses(gate, post(ADD), 4, HERE) == [401] * 3 + [429]


def test_a_right_that_is_missing_is_not_charged() -> None:
    """Somebody with a token has been let in; what they may not do is another matter."""
    gate = GatewayUnderTest(TRIES + known(alice="servers: [other]") + server())
    assert statuses(gate, post(ADD, "alice"), 10, HERE) == [403] * 10


def _signed(tmp_path: Path, keys: str = "") -> str:
    """An ``auth`` section with an issuer, whose keys are in a file."""
    file = tmp_path / "keys.json"
    file.write_bytes(document(signer().jwk()))
    source = keys or f"jwks_file: '{file}'"
    return f"auth:\n  jwt:\n    - {{issuer: 'https://as.example', audience: 'https://gate.example', {source}}}\n"


def _jwt(**claims: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {signer().token(claims).decode()}"}


def test_no_signature_is_checked_for_an_address_that_is_over(tmp_path: Path) -> None:
    """It would cost us more than it; a token whose signature was checked before goes on."""
    gate = GatewayUnderTest(TRIES + _signed(tmp_path) + server())
    early, late = (post(ADD, **_jwt(sub=who)) for who in ("early", "late"))
    assert statuses(gate, early, 1, HERE) == [200]
    assert 429 in statuses(gate, post(ADD), 4, HERE)
    assert statuses(gate, early, 2, HERE) == [200, 200]
    seen = visit(gate, late, address=HERE)
    assert (seen.status, seen.reason, seen.arrived) == (429, "address_limited", None)
    assert statuses(gate, late, 1, THERE) == [200]
    assert statuses(gate, late, 1, HERE) == [200]


def test_no_keys_are_fetched_for_an_address_that_is_over(tmp_path: Path) -> None:
    """Nobody makes us ask an issuer by inventing keys."""
    keys = "jwks_url: 'http://127.0.0.1:9000/keys'"
    gate = GatewayUnderTest(TRIES + _signed(tmp_path, keys) + server())
    gate.refusing = {9000}
    gate.advance(120)
    assert 429 in statuses(gate, post(ADD), 4, HERE)
    dialled = len(gate.reactor.tcpClients)
    assert statuses(gate, post(ADD, **_jwt()), 1, HERE) == [429]
    assert len(gate.reactor.tcpClients) == dialled


@pytest.mark.parametrize("chain", [HERE, f"6.6.6.6, {HERE}"])
def test_behind_a_trusted_proxy_each_client_has_its_own_count(chain: str) -> None:
    """As told by the proxy, not as the client wrote before it."""
    gate = GatewayUnderTest(TRIES + TRUSTED + ALICE + server())
    assert statuses(gate, post(ADD, X_Forwarded_For=chain), 4, PROXY) == [401] * 3 + [429]
    assert statuses(gate, post(ADD, X_Forwarded_For=THERE), 1, PROXY) == [401]
    assert statuses(gate, post(ADD), 1, HERE) == [429]


def test_a_stranger_cannot_put_the_blame_on_somebody_else() -> None:
    """What it says about forwarding is not believed."""
    gate = GatewayUnderTest(TRIES + TRUSTED + ALICE + server())
    sent = [post(ADD, X_Forwarded_For=f"192.0.2.{number}") for number in range(4)]
    assert [visit(gate, each, address=HERE).status for each in sent] == [401, 401, 401, 429]
    assert statuses(gate, post(ADD), 1, "192.0.2.0") == [401]


def test_tries_on_different_addresses_of_the_gateway_are_counted_together() -> None:
    """A server, another one, discovery, and the admin listener."""
    two = server() + '  - {name: y, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'
    gate = GatewayUnderTest(TRIES + ALICE + two)
    nobody = bearer("nobody")
    for target in ("/mcp/x/mcp", "/mcp/y/mcp", "/mcp/discovery"):
        assert refused(gate, request("GET", target, headers=nobody)).status == 401
    operator = gate.connect(admin=True)
    operator.send(request("POST", "/admin/reload", headers=nobody))
    told = answer_at(operator, "POST")
    assert (told.status, told["content-type"], told["retry-after"]) == (429, b"application/problem+json", b"10")


def test_by_default_a_few_hundred_tries_are_possible() -> None:
    """Clients that find their way to a token begin without one."""
    gate = GatewayUnderTest(ALICE + server())
    told = statuses(gate, post(ADD), 201, HERE)
    assert told == [401] * 200 + [429]


# --- reload ---------------------------------------------------------------------------------------------------------


def test_a_reload_forgets_nothing() -> None:
    """Neither who is connected nor what was tried."""
    both = "gate: {open_connections: 2, unauthenticated: {rate: 6/m, burst: 3}}\n"
    gate = GatewayUnderTest(both + ALICE + server())
    first = connect_from(gate, HERE)
    statuses(gate, post(ADD), 3, HERE)
    assert _admitted(gate, HERE, 2) == [True, False]
    reload(gate, both.replace("open_connections: 2", "open_connections: 3") + ALICE + server("title: X"))
    late = connect_from(gate, HERE)
    late.send(post(ADD))
    assert answer_at(late, "POST").status == 429
    assert _admitted(gate, HERE, 1) == [False]
    first.close()
    assert _admitted(gate, HERE, 2) == [True, False]
