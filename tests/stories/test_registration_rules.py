"""Who may register what, and where it may point: nobody takes what is another's, and nobody is silently replaced."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import pytest
from tests.ends import SSE, answer_at
from tests.guests import bearer, entries, known, reload
from tests.registrants import (
    CONFIG,
    SlowStore,
    X,
    at,
    beat,
    called,
    following,
    gateway,
    goes_on,
    join,
    metric,
    news,
    refusal,
    sent,
    shown,
    state,
    stream,
    told,
    where,
)

from mcpgate.testing import Client, GatewayUnderTest, answer, request

WEATHER = '  - {name: weather, upstreams: [{url: "http://127.0.0.1:3020"}]}\n'
SQUATTER = '  - {name: y, path: /mcp/weather, upstreams: [{url: "http://127.0.0.1:3020"}]}\n'
GROWS = '  - {name: weather, path: /tools/weather, replicas_may_register: true, upstreams: []}\n'
LISTED = CONFIG.replace(
    "allow_networks:", "sources: [{name: l, url: 'http://127.0.0.1:3100/mcps', interval: 5s}], allow_networks:"
)
LISTED_TOO = LISTED.replace("sources: [", "sources: [{name: k, url: 'http://127.0.0.1:3200/mcps', interval: 5s}, ")


def _conflict(gate: GatewayUnderTest, server: str, replica: str = "a") -> str:
    got = told(gate, "GET", where(server, replica)).json
    assert (got["state"] == "conflict") is ("conflict" in got)
    return str(got.get("conflict", ""))


# --- names and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "more", "why"),
    [
        ("x", {}, "the server x stands in the configuration"),
        ("y", {"path": "/mcp/x"}, "that of the server x"),
        ("y", {"path": "/mcp/x/below"}, "is below, that of the server x"),
        ("y", {"path": "/tools"}, "servers have paths below /tools"),
        ("y", {"path": "/tools/a"}, "that of the server taken"),
        ("taken", {}, "another path than that of the replica a"),
        ("taken", {"path": "/tools/a", "strip_prefix": False}, "another strip_prefix"),
        ("taken", {"path": "/tools/a", "endpoints": {"sse": "/sse"}}, "another endpoints"),
        ("taken", {"path": "/tools/a", "url": "http://127.0.0.1:4001"}, "the replica a has this address already"),
    ],
)
def test_what_is_taken_is_refused_with_the_reason(server: str, more: dict[str, Any], why: str) -> None:
    """409 at the registration; and nothing has changed."""
    gate = gateway()
    join(gate, "taken", 4001, path="/tools/a")
    before = told(gate, "GET", "/v1/servers").json
    got = told(gate, "PUT", where(server, "b"), at(4002) | more)
    assert refusal(got) == (409, "taken")
    assert why in got.json["detail"]
    after = told(gate, "GET", "/v1/servers").json
    assert [each["name"] for each in after["servers"]] == [each["name"] for each in before["servers"]]
    assert called(gate, "/mcp/x/mcp") == (200, 3010)


def test_the_only_replica_may_change_what_replicas_must_agree_on() -> None:
    """And where it was is free for others then."""
    gate = gateway()
    join(gate, "weather", 4001)
    join(gate, "weather", 4001, path="/tools/weather", endpoints={"sse": "/sse"})
    assert (called(gate, "/mcp/weather/mcp"), called(gate, "/tools/weather/sse")) == ((404, 0), (200, 4001))
    join(gate, "other", 4002, path="/mcp/weather")
    assert called(gate, "/mcp/weather/mcp") == (200, 4002)


@pytest.mark.parametrize("clash", [WEATHER, SQUATTER])
def test_the_configuration_comes_first_and_gives_back(clash: str) -> None:
    """A reload takes a name or path from who has registered, who is told; without the clash it is as it was."""
    gate = gateway()
    join(gate, "weather", 4001)
    reload(gate, CONFIG + clash)
    assert called(gate, "/mcp/weather/mcp") == (200, 3020)
    assert _conflict(gate, "weather")
    assert beat(gate, "weather").status == 200
    assert refusal(told(gate, "PUT", where("weather"), at(4001))) == (409, "taken")
    reload(gate, CONFIG)
    assert (called(gate, "/mcp/weather/mcp"), _conflict(gate, "weather")) == ((200, 4001), "")


def test_who_waits_for_a_place_does_not_push_out_who_has_it() -> None:
    """A server whose name was taken lost its path meanwhile to another: that one keeps it."""
    gate = gateway()
    join(gate, "weather", 4001, path="/tools/a")
    reload(gate, CONFIG + WEATHER)
    join(gate, "other", 4002, path="/tools/a")
    reload(gate, CONFIG)
    assert called(gate, "/tools/a/mcp") == (200, 4002)
    assert "that of the server other" in _conflict(gate, "weather")


def test_a_reload_while_the_disk_is_slow_promises_nothing_twice() -> None:
    """What was promised before it stays promised to nobody else; what the configuration has taken is not used."""
    store = SlowStore()
    gate = gateway(store=store)
    first, second = (sent(gate, "PUT", where(name), at(4001)) for name in ("a", "weather"))
    del first
    reload(gate, CONFIG + WEATHER)
    assert refusal(told(gate, "PUT", where("b"), at(4002, path="/mcp/a"))) == (409, "taken")
    store.work()
    gate.settle()
    assert answer_at(second).json["state"] == "conflict"
    assert (called(gate, "/mcp/weather/mcp"), called(gate, "/mcp/a/mcp")) == ((200, 3020), (200, 4001))
    for name in ("a", "weather"):
        leaving = sent(gate, "DELETE", where(name))
        store.work()
        gate.settle()
        assert answer_at(leaving).status == 200
    last = sent(gate, "PUT", where("b"), at(4002, path="/mcp/a"))
    store.work()
    gate.settle()
    assert answer_at(last).status == 201


def test_a_server_of_the_configuration_may_take_replicas() -> None:
    """Its path and rules are those of the configuration; without a replica it says so."""
    gate = gateway(CONFIG + GROWS)
    got = called(gate, "/tools/weather/mcp")
    assert got == (503, 0)
    assert join(gate, "weather", 4001).json["path"] == "/tools/weather"
    assert called(gate, "/tools/weather/mcp") == (200, 4001)
    assert refusal(told(gate, "PUT", where("weather", "b"), at(4002, path="/mcp/weather"))) == (409, "taken")
    join(gate, "other", 4003, path="/mcp/weather")
    assert called(gate, "/mcp/weather/mcp") == (200, 4003)
    told(gate, "DELETE", where("weather"))
    client = gate.connect()
    client.send(request(target="/tools/weather/mcp", body=b"{}"))
    none = answer_at(client)
    assert (refusal(none), none["retry-after"]) == ((503, "no_replica"), b"2")
    assert "weather" in shown(gate), "the configuration has it"


# --- tokens ---------------------------------------------------------------------------------------------------------


def _token(name: str, servers: str, scopes: str = "register") -> str:
    digest = sha256(name.encode()).hexdigest()
    return f"    - {{id: {name}, sha256: {digest}, scopes: [{scopes}], servers: {servers}}}\n"


TOKENS = f"admin:\n  tokens:\n{_token('team', '[team-*, weather]')}{_token('reader', '[*]'.replace('*', chr(34) + '*' + chr(34)), 'read')}"


@pytest.mark.parametrize(
    ("token", "server", "more", "expected"),
    [
        ("team", "weather", {}, (201, "")),
        ("team", "team-a", {}, (201, "")),
        ("team", "team-a", {"path": "/mcp/v2/team-a"}, (201, "")),
        ("team", "team-a", {"path": "/mcp/weather"}, (201, "")),
        ("team", "team-a", {"path": "/mcp/github"}, (403, "server_not_registrable")),
        ("team", "team-a", {"path": "/mcp/team-a/github"}, (403, "server_not_registrable")),
        ("team", "github", {}, (403, "server_not_registrable")),
        ("team", "teams", {}, (403, "server_not_registrable")),
        ("reader", "weather", {}, (403, "scope")),
        ("nobody", "weather", {}, (401, "invalid_token")),
    ],
)
def test_a_token_is_good_for_certain_servers(
    token: str, server: str, more: dict[str, Any], expected: tuple[int, str]
) -> None:
    """By name or prefix; and it takes no path at which clients look for another server."""
    gate = gateway(TOKENS + CONFIG)
    got = answer_at(sent(gate, "PUT", where(server), at(4001, **more), token), "PUT")
    assert refusal(got) == expected
    if got.status == 403 and more:
        assert "/mcp/team-a" in got.json["detail"]


def test_a_token_ends_nobody_elses_registration() -> None:
    """Neither by its address, nor by its id, nor with a beat."""
    gate = gateway(TOKENS + CONFIG)
    join(gate, "github", 4001)
    (listed,) = told(gate, "GET", "/mcps").json
    for method, target in (
        ("DELETE", where("github")),
        ("DELETE", f"/mcps/{listed['id']}"),
        ("PUT", f"{where('github')}/heartbeat"),
    ):
        got = answer_at(sent(gate, method, target, token="team"), method)
        assert refusal(got) == (403, "server_not_registrable")
    simple = {"name": "team-a", "basePath": "/mcp/github-2", "host": "127.0.0.1", "port": 4002}
    assert refusal(answer_at(sent(gate, "POST", "/register", simple, "team"))) == (403, "server_not_registrable")
    assert called(gate, "/mcp/github/mcp") == (200, 4001)


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("http://192.168.0.1:80", "http://169.254.169.254/", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0:1"),
        *("http://[fe80::1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://inside.test/", "http://both.test/"),
    ],
)
def test_a_registration_points_only_where_it_may(url: str) -> None:
    """403 for addresses as they are written, as they are mapped, and as names have them."""
    gate = gateway()
    gate.names |= {"inside.test": ["192.168.0.1"], "both.test": ["127.0.0.1", "192.168.0.1"]}
    got = told(gate, "PUT", where("weather"), {"url": url})
    assert refusal(got) == (403, "address")
    if "test" in url:
        assert "192.168" not in got.json["detail"], "what a name means inside is nobody's business"
    assert gate.reactor.tcpClients[1:] == []


def test_nobody_may_join_unless_the_configuration_says_where() -> None:
    """By default nothing may."""
    gate = gateway(f"servers:\n{X}")
    got = told(gate, "PUT", where("weather"), at(4001))
    assert refusal(got) == (403, "address")
    assert "registry.allow_networks" in got.json["detail"]


def test_a_name_that_means_something_else_later_is_not_dialled() -> None:
    """What was good at the registration is looked at again."""
    gate = gateway()
    gate.names["moves.test"] = ["10.0.0.5"]
    assert told(gate, "PUT", where("weather"), {"url": "http://moves.test:4001"}).status == 201
    assert called(gate, "/mcp/weather/mcp") == (200, 4001)
    gate.names["moves.test"] = ["192.168.0.1"]
    gate.advance(10)
    assert called(gate, "/mcp/weather/mcp") == (502, 0)
    assert "192.168.0.1" not in {dial[0] for dial in gate.reactor.tcpClients}


@pytest.mark.parametrize("host", ["10.0.0.5", "moves.test"])
def test_where_nobody_may_point_any_more_nothing_goes(host: str) -> None:
    """After a reload: no idle connection is used, none is made, a stream ends as if its server had left."""
    gate = gateway()
    gate.names["moves.test"] = ["10.0.0.5"]
    assert told(gate, "PUT", where("far"), {"url": f"http://{host}:4001"}).status == 201
    join(gate, "near", 4002)
    far, near = stream(gate, "far"), stream(gate, "near")
    called(gate, "/mcp/far/mcp")
    dials = len(gate.reactor.tcpClients)
    reload(gate, CONFIG.replace(", 10.0.0.0/8", ""))
    assert called(gate, "/mcp/far/mcp")[0] in (404, 502)
    assert "10.0.0.5" not in {dial[0] for dial in gate.reactor.tcpClients[dials:]}
    assert (goes_on(far), goes_on(near)) == (True, True)
    gate.advance(11)
    assert (goes_on(far), goes_on(near)) == (False, True)
    reload(gate, CONFIG)
    gate.advance(3)
    assert called(gate, "/mcp/far/mcp") == (200, 4001)


@pytest.mark.parametrize("url", ["https://a_b.example/", "https://xn--a.example/"])
def test_an_address_that_no_certificate_can_have_is_a_fault(url: str) -> None:
    """It could not be verified; and it must not keep a configuration from being read anew."""
    gate = gateway()
    gate.names |= {"a_b.example": ["10.0.0.5"], "xn--a.example": ["10.0.0.5"]}
    assert refusal(told(gate, "PUT", where("weather"), {"url": url})) == (422, "registration")
    reload(gate, CONFIG + WEATHER)


# --- who may know ---------------------------------------------------------------------------------------------------


def test_news_are_for_those_who_may_use_the_server() -> None:
    """A token that expires, or is taken back, ends what is read with it."""
    until = "2027-01-15T08:00:10Z"
    guests = {"alice": "servers: [weather]", "bob": "servers: [x]", "carol": f'expires: "{until}"'}
    gate = gateway(known(**guests) + CONFIG)
    alice, bob, carol = (following(gate, **bearer(name)) for name in guests)
    nobody = following(gate)
    for reader in (alice, bob, carol, nobody):
        news(gate, reader)
    join(gate, "weather", 4001)
    assert news(gate, alice)[0] == ("added", "weather")
    assert news(gate, carol)[0] == ("added", "weather")
    assert news(gate, bob) == news(gate, nobody) == []
    gate.advance(15)
    gate.advance(5)
    join(gate, "weather", 4001, title="New")
    gate.advance(1)
    assert carol.closed == "fin" or carol.received.endswith(b"0\r\n\r\n")
    reload(gate, "auth:\n" + entries(bob="servers: [x]") + CONFIG)
    gate.advance(1)
    assert alice.received.endswith(b"0\r\n\r\n") or alice.closed
    assert (bob.closed, nobody.closed) == (None, None)


def test_a_server_that_asks_for_tokens_from_now_on_leaves_the_sight_of_those_without() -> None:
    """And comes into it when it does not any more."""
    tokens = known(alice="")
    opened = X.replace("name: x,", "name: x, auth: none,")
    gate = gateway(tokens + CONFIG.replace(X, opened))
    nobody, alice = following(gate), following(gate, **bearer("alice"))
    news(gate, nobody), news(gate, alice)
    reload(gate, tokens + CONFIG)
    assert (news(gate, nobody), shown(gate)) == ([("removed", "x")], {})
    assert news(gate, alice) == [("removed", "x"), ("added", "x")]
    reload(gate, tokens + CONFIG.replace(X, opened))
    assert (news(gate, nobody), list(shown(gate))) == ([("added", "x")], ["x"])


@pytest.mark.parametrize("public", [True, False])
def test_web_pages_may_read_what_is_public(public: bool) -> None:
    """Of every origin, if the operator says so; and then nothing else."""
    gate = gateway(f"discovery: {{any_origin: {'true' if public else 'false'}}}\n{CONFIG}")
    page = {"Origin": "https://page.test"}
    for target in ("/mcp/discovery", "/v0.1/servers", "/.well-known/ai-catalog.json"):
        client = gate.connect()
        client.send(request("GET", target, headers=page))
        got = answer_at(client)
        assert (got.status, got["access-control-allow-origin"]) == ((200, b"*") if public else (403, b""))
    client = gate.connect()
    client.send(request("GET", "/mcp/discovery/events", headers=page | SSE))
    assert client.received.startswith(b"HTTP/1.1 200" if public else b"HTTP/1.1 403")
    refused = gate.connect()
    refused.send(request(target="/mcp/x/mcp", body=b"{}", headers=page))
    assert answer_at(refused).status == 403


# --- lists ----------------------------------------------------------------------------------------------------------


def _polls(gate: GatewayUnderTest, port: int = 3100) -> list[Any]:
    return [peer for peer in gate.peers if peer.transport.getPeer().port == port and peer.closed is None]


def _say(gate: GatewayUnderTest, *servers: tuple[str, int], port: int = 3100, paths: str = "/mcp/{}") -> None:
    """Answer the poll of a list that waits, with these servers."""
    found = [
        {"name": name, "version": "1", "basePath": paths.format(name), "host": "127.0.0.1", "port": at_}
        for name, at_ in servers
    ]
    (poll,) = [peer for peer in _polls(gate, port) if peer.received]
    poll.take()
    poll.send(answer(json.dumps(found).encode()))
    gate.advance(0.1)


def _again(gate: GatewayUnderTest, *servers: tuple[str, int]) -> None:
    """Wait for the next poll, and answer it."""
    gate.advance(6)
    _say(gate, *servers)


def test_servers_of_a_list_come_and_go_with_it() -> None:
    """They are reached like others, and cannot be taken out by anybody else."""
    gate = gateway(LISTED)
    _say(gate, ("one", 4001), ("two", 4002), ("three", 4003))
    assert (set(shown(gate)), called(gate, "/mcp/one/mcp")) == ({"x", "one", "two", "three"}, (200, 4001))
    assert {each["origin"] for each in told(gate, "GET", "/v1/servers").json["servers"]} == {"config", "list:l"}
    replica = told(gate, "GET", "/v1/servers/one/replicas").json["replicas"][0]["id"]
    assert refusal(told(gate, "DELETE", where("one", replica))) == (409, "taken")
    assert refusal(told(gate, "PUT", where("one", replica), at(4009))) == (409, "taken")
    assert refusal(beat(gate, "one", replica)) == (404, "not_registered")
    _again(gate, ("one", 4001), ("two", 4002))
    assert set(shown(gate)) == {"x", "one", "two"}
    assert metric(gate, "mcpgate_source_up") == 1
    reload(gate, CONFIG)
    assert set(shown(gate)) == {"x"}


def test_a_list_that_loses_most_of_its_entries_is_asked_again() -> None:
    """It is believed when it says so twice."""
    gate = gateway(LISTED)
    _say(gate, ("one", 4001), ("two", 4002), ("three", 4003))
    _again(gate, ("one", 4001))
    assert set(shown(gate)) == {"x", "one", "two", "three"}
    _again(gate, ("one", 4001))
    assert set(shown(gate)) == {"x", "one"}


def test_a_list_takes_nothing_that_somebody_has() -> None:
    """Its entry is in conflict, told once, and is used when the name is free."""
    gate = gateway(LISTED)
    join(gate, "one", 4001)
    _say(gate, ("one", 4009), ("x", 4008), ("bad", 4007))
    listed = "127.0.0.1-4009"
    assert "comes from the registry API" in _conflict(gate, "one", listed)
    assert "stands in the configuration" in _conflict(gate, "x", "127.0.0.1-4008")
    assert (called(gate, "/mcp/one/mcp"), called(gate, "/mcp/x/mcp")) == ((200, 4001), (200, 3010))
    index = told(gate, "GET", "/v1/servers")["x-mcpgate-index"]
    _again(gate, ("one", 4009), ("x", 4008), ("bad", 4007))
    assert told(gate, "GET", "/v1/servers")["x-mcpgate-index"] == index, "nothing has changed"
    told(gate, "DELETE", where("one"))
    _again(gate, ("one", 4009), ("x", 4008), ("bad", 4007))
    assert (called(gate, "/mcp/one/mcp"), _conflict(gate, "one", listed)) == ((200, 4009), "")
    got = told(gate, "PUT", where("one", "b"), at(4001))
    assert (refusal(got), "comes from the list l" in got.json["detail"]) == ((409, "taken"), True)


def test_of_two_lists_the_first_that_named_it_has_it() -> None:
    """The other's entry waits."""
    gate = gateway(LISTED_TOO)
    _say(gate, ("one", 4001), port=3200)
    _say(gate, ("one", 4002))
    assert "comes from the list k" in _conflict(gate, "one", "127.0.0.1-4002")
    assert called(gate, "/mcp/one/mcp") == (200, 4001)


def test_a_list_points_only_where_it_may() -> None:
    """Its entry is told and not shown, before and after a reload; in an allowed network it is used."""
    gate = gateway(LISTED.replace(", 10.0.0.0/8", ""))
    (poll,) = [peer for peer in _polls(gate) if peer.received]
    poll.take()
    poll.send(answer(b'[{"name": "far", "basePath": "/mcp/far", "host": "10.0.0.5", "port": 4001}]'))
    gate.advance(0.1)
    assert "registry.allow_networks" in _conflict(gate, "far", "10.0.0.5-4001")
    assert "far" not in shown(gate)
    reload(gate, LISTED.replace(", 10.0.0.0/8", "").replace("10s", "11s"))
    assert _conflict(gate, "far", "10.0.0.5-4001")
    reload(gate, LISTED)
    gate.advance(1)
    assert called(gate, "/mcp/far/mcp") == (200, 4001)


def test_lists_are_read_when_somebody_asks() -> None:
    """And what cannot be read is said; what was known stays."""
    gate = gateway(LISTED)
    _say(gate, ("one", 4001))
    asked: Client = sent(gate, "POST", "/refresh")
    _say(gate, ("one", 4001), ("two", 4002))
    assert answer_at(asked).json["success"] is True
    assert set(shown(gate)) == {"x", "one", "two"}
    gate.refusing.add(3100)
    for peer in _polls(gate):
        peer.reset()
    failed = told(gate, "POST", "/refresh").json
    assert (failed["success"], failed["message"]) == (False, "not read: l")
    (source,) = told(gate, "GET", "/v1/sources").json["sources"]
    assert (source["name"], source["ok"], source["entries"]) == ("l", False, 2)
    assert set(shown(gate)) == {"x", "one", "two"}
    assert state(gate, "one", "127.0.0.1-4001") == "listed"
    assert metric(gate, "mcpgate_source_up") == 0


# --- the gateway itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [8700, 8701])
def test_nobody_makes_the_admin_listener_a_server_of_clients(port: int) -> None:
    """What it tells its neighbours would be told to everybody; and requests to the other one would go in circles."""
    gate = gateway()
    got = told(gate, "PUT", where("w"), at(port))
    assert refusal(got) == (403, "address")
    assert "the gateway itself listens" in got.json["detail"]
    gate.names["here.test"] = ["127.0.0.1"]
    assert refusal(told(gate, "PUT", where("w"), {"url": f"http://here.test:{port}"})) == (403, "address")


def test_who_was_away_while_rights_changed_begins_anew() -> None:
    """A reader of the feed that comes back after a reload would else keep what it may not see any more."""
    gate = gateway()
    reader = _reader(gate)
    join(gate, "w", 4001)
    gate.advance(0.01)
    last = re.findall(rb"id: (\d+)", reader.received)[-1].decode()
    back = _reader(gate, Last_Event_ID=last)
    assert b"event: ready" in back.received
    reload(gate, CONFIG)
    again = _reader(gate, Last_Event_ID=last)
    assert b"event: reset" in again.received
    assert b"event: added" not in again.received


def _reader(gate: GatewayUnderTest, **fields: str) -> Client:
    client = gate.connect()
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    client.send(request("GET", "/mcp/discovery/events", headers=headers))
    gate.advance(0.01)
    return client
