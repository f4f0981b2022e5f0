"""Servers join while the gateway runs, say that they are there, and leave; nobody else notices."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.ends import SSE, answer_at, timers
from tests.guests import message, reload
from tests.registrants import (
    CONFIG,
    NETWORKS,
    SlowStore,
    X,
    at,
    beat,
    called,
    events,
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
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from mcpgate.registry.store import MemoryStore
from mcpgate.testing import answer, request

SIMPLE = {"name": "GitHub PM", "version": "1.0", "basePath": "/mcp/v2/gh", "host": "127.0.0.1", "port": 3333}


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the event log is told meanwhile."""
    found: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


# --- joining --------------------------------------------------------------------------------------------------------


def test_a_server_joins_and_is_reached_at_once() -> None:
    """By path, in discovery, and as news; who follows is told where it is and how it is."""
    gate = gateway()
    feed = following(gate)
    assert news(gate, feed) == [("ready", "")]
    got = join(gate, "weather", 4001, title="Weather", tags=["air"], version="2.1")
    assert (got.status, got["location"], got.json["state"]) == (201, b"/v1/servers/weather/replicas/a", "starting")
    assert called(gate, "/mcp/weather/mcp") == (200, 4001)
    seen = shown(gate)["weather"]
    assert (seen["path"], seen["title"], seen["version"], seen["tags"]) == ("/mcp/weather", "Weather", "2.1", ["air"])
    assert news(gate, feed) == [("added", "weather"), ("status", "weather")]
    assert [each["name"] for each in told(gate, "GET", "/v1/servers").json["servers"]] == ["x", "weather"]


def test_a_server_joins_in_the_simple_form() -> None:
    """With a name for people, and a version in its path; it is listed, and leaves by its id."""
    gate = gateway()
    got = told(gate, "POST", "/register", SIMPLE)
    assert (got.status, got.json["basePath"], got.json["endpoint"]) == (201, "/mcp/v2/gh", "127.0.0.1:3333")
    assert called(gate, "/mcp/v2/gh/mcp") == (200, 3333)
    (listed,) = told(gate, "GET", "/mcps").json
    assert (listed["name"], listed["basePath"], listed["endpoint"]) == ("GitHub PM", "/mcp/v2/gh", "127.0.0.1:3333")
    assert told(gate, "DELETE", f"/mcps/{listed['id']}").json == {"success": True}
    assert told(gate, "GET", "/mcps").json == []
    assert called(gate, "/mcp/v2/gh/mcp") == (404, 0)


def test_two_versions_of_a_server_are_two_entries() -> None:
    """Each at its path; a registry shows them as versions of one server."""
    gate = gateway("public_url: https://mcp.example.com\n" + CONFIG)
    for version, port in (("v1", 4001), ("v2", 4002)):
        simple = SIMPLE | {"name": "github-pm", "basePath": f"/mcp/{version}/github-pm", "port": port}
        assert told(gate, "POST", "/register", simple | {"version": f"{version[1]}.0.0"}).status == 201
    assert called(gate, "/mcp/v1/github-pm/mcp") == (200, 4001)
    assert called(gate, "/mcp/v2/github-pm/mcp") == (200, 4002)
    client = gate.connect()
    client.send(request("GET", "/v0.1/servers/com.example.mcp%2Fgithub-pm/versions"))
    versions = [each["server"]["version"] for each in answer_at(client).json["servers"]]
    assert sorted(versions) == ["1.0.0", "2.0.0"]


def test_replicas_share_the_work_and_a_session_stays_on_its_own() -> None:
    """Each in turn; a session is sealed to where it began, and passes through the end of the other."""
    gate = gateway()
    join(gate, "weather", 4001)
    join(gate, "weather", 4002, "b")
    assert {called(gate, "/mcp/weather/mcp")[1] for _ in range(4)} == {4001, 4002}
    client = gate.connect()
    for peer in gate.peers:
        peer.take()
    client.send(request(target="/mcp/weather/mcp", body=message("initialize")))
    (peer,) = [peer for peer in gate.peers if peer.received and peer.closed is None]
    began = peer.transport.getPeer().port
    peer.send(answer(headers={"Mcp-Session-Id": "raw-1"}))
    session = answer_at(client)["mcp-session-id"].decode()
    assert session != "raw-1"
    for _ in range(4):
        assert called(gate, "/mcp/weather/mcp", Mcp_Session_Id=session) == (200, began)
    own, other = ("a", "b") if began == 4001 else ("b", "a")
    told(gate, "DELETE", where("weather", other))
    assert called(gate, "/mcp/weather/mcp", Mcp_Session_Id=session) == (200, began)
    told(gate, "DELETE", where("weather", own))
    join(gate, "weather", 4009, "c")
    assert called(gate, "/mcp/weather/mcp", Mcp_Session_Id=session)[0] == 404


def test_to_register_again_is_harmless() -> None:
    """The same registration keeps connections, streams and what is known of it."""
    gate = gateway()
    join(gate, "weather", 4001)
    beat(gate, "weather")
    ends = stream(gate, "weather")
    again = join(gate, "weather", 4001)
    assert (again.status, again.json["state"], "location" in again) == (200, "passing", False)
    join(gate, "weather", 4001, weight=7, title="New")
    gate.advance(20)
    assert goes_on(ends)
    assert shown(gate)["weather"]["title"] == "New"


def test_a_registered_server_has_the_rules_of_the_house() -> None:
    """Tokens and limits of the configuration hold for it, too."""
    gate = gateway("auth: {tokens: [{id: a, sha256: '" + "ab" * 32 + "'}]}\n" + CONFIG)
    join(gate, "weather", 4001)
    assert called(gate, "/mcp/weather/mcp") == (401, 0)
    limited = gateway("limits: [{name: few, key: [server], rate: 1/m, burst: 2}]\n" + CONFIG)
    join(limited, "weather", 4001)
    assert [called(limited, "/mcp/weather/mcp")[0] for _ in range(3)] == [200, 200, 429]


# --- leases ---------------------------------------------------------------------------------------------------------


def test_who_stops_beating_is_late_then_critical_then_gone() -> None:
    """Late still works; critical gets nothing and is not shown; a beat brings it back until it is gone."""
    gate = gateway()
    for number in range(3):
        join(gate, f"s{number}", 4001 + number, ttl=30)
    feed = following(gate)

    def pass_(seconds: int) -> None:
        for _ in range(seconds // 5):
            gate.advance(5)
            beat(gate, "s1")
            beat(gate, "s2")

    beat(gate, "s0")
    pass_(15)
    assert state(gate, "s0") == "passing"
    pass_(10)
    assert (state(gate, "s0"), called(gate, "/mcp/s0/mcp")[0], "s0" in shown(gate)) == ("warning", 200, True)
    news(gate, feed)
    pass_(10)
    assert (state(gate, "s0"), called(gate, "/mcp/s0/mcp"), "s0" in shown(gate)) == ("critical", (503, 0), False)
    assert news(gate, feed) == [("removed", "s0")]
    assert beat(gate, "s0").json["state"] == "passing"
    assert (news(gate, feed), called(gate, "/mcp/s0/mcp")[0]) == ([("added", "s0")], 200)
    pass_(35)
    assert state(gate, "s0") == "critical"
    pass_(90)
    assert (state(gate, "s0"), refusal(beat(gate, "s0"))) == ("", (404, "not_registered"))
    assert called(gate, "/mcp/s0/mcp") == (404, 0)
    assert metric(gate, "mcpgate_registry_expired_total") == 1


@pytest.mark.parametrize(("said", "serves"), [("warning", True), ("critical", False), ("fail", False)])
def test_a_server_says_itself_how_it_is(said: str, serves: bool) -> None:
    """With a note for operators; a session that it has goes on, also while it wants no new work."""
    gate = gateway()
    join(gate, "weather", 4001)
    ends = stream(gate, "weather")
    got = beat(gate, "weather", state=said, note="disk at 91 %")
    assert (got.json["state"], got.json["note"]) == ({"fail": "critical"}.get(said, said), "disk at 91 %")
    assert ("weather" in shown(gate)) is serves
    assert called(gate, "/mcp/weather/mcp")[0] == (200 if serves else 503)
    assert goes_on(ends)
    beat(gate, "weather", state="passing")
    assert called(gate, "/mcp/weather/mcp") == (200, 4001)


def test_a_critical_replica_gets_nothing_while_another_is_only_slow_to_answer() -> None:
    """One that could not be dialled a moment ago is tried before one that said that it is ill."""
    gate = gateway()
    join(gate, "weather", 4001)
    join(gate, "weather", 4002, "b")
    beat(gate, "weather", "b", state="critical")
    gate.refusing.add(4001)
    told_ = [called(gate, "/mcp/weather/mcp") for _ in range(3)]
    assert {port for _, port in told_} <= {0, 4001}
    gate.refusing.clear()
    gate.advance(3)
    assert called(gate, "/mcp/weather/mcp") == (200, 4001)


def test_a_server_that_was_killed_leaves_discovery_after_its_lease(lines: list[str]) -> None:
    """Also if it was the only one: nobody listens at its port any more, which is believed."""
    gate = gateway()
    join(gate, "weather", 4001, ttl=30)
    beat(gate, "weather")
    gate.refusing.add(4001)
    gate.upstream().reset()
    gate.advance(25)
    assert "weather" in shown(gate)
    gate.advance(25)
    assert "weather" not in shown(gate)
    assert state(gate, "weather") == "critical"
    assert any("weather/a: " in line and "critical" in line for line in lines)


def test_when_nobody_beats_any_more_the_fault_is_elsewhere(lines: list[str]) -> None:
    """All are kept and shown, a number and a line tell so; who refuses connections goes, who beats is free again."""
    gate = gateway()
    for number in range(4):
        join(gate, f"s{number}", 4001 + number, ttl=30)
        beat(gate, f"s{number}")
    gate.advance(60)
    assert set(shown(gate)) == {"x", "s0", "s1", "s2", "s3"}
    assert metric(gate, "mcpgate_registry_held") == 4
    assert sum("4 of 4 leases are over at once" in line for line in lines) == 1
    held = told(gate, "GET", where("s0")).json
    assert (held["held"], held["expiresInSeconds"], called(gate, "/mcp/s0/mcp")[0]) == (True, 0, 200)
    gate.refusing.add(4001)
    gate.advance(15)
    assert state(gate, "s0") == "critical"
    assert set(shown(gate)) == {"x", "s1", "s2", "s3"}
    free = beat(gate, "s1").json
    assert (free["state"], "held" in free) == ("passing", False)
    gate.advance(0.5)
    assert metric(gate, "mcpgate_registry_held") == 2


def test_who_has_no_lease_is_looked_at() -> None:
    """A port that refuses makes it critical, one that answers makes it well; it is never forgotten."""
    gate = gateway()
    gate.refusing.add(4001)
    join(gate, "weather", 4001, ttl=0)
    gate.advance(1)
    assert (state(gate, "weather"), "weather" in shown(gate)) == ("critical", False)
    join(gate, "weather", 4001, ttl=0)
    gate.advance(31)
    assert state(gate, "weather") == "critical", "to say it again does not make it true"
    gate.advance(3600)
    assert state(gate, "weather") == "critical"
    gate.refusing.clear()
    gate.advance(31)
    assert (state(gate, "weather"), called(gate, "/mcp/weather/mcp")) == ("passing", (200, 4001))


# --- leaving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "left_s"), [("", 10), ("?drain=3s", 3), ("?drain=0s", 0)])
def test_who_leaves_may_finish_its_streams(query: str, left_s: float) -> None:
    """For as long as it says, or as is configured; it gets no new work, and the streams of others go on."""
    gate = gateway()
    join(gate, "weather", 4001)
    leaving = stream(gate, "weather")
    join(gate, "weather", 4002, "b")
    stream(gate, "weather")
    staying, others = stream(gate, "weather"), stream(gate, "x")
    assert {leaving[1].transport.getPeer().port, staying[1].transport.getPeer().port} == {4001, 4002}
    got = told(gate, "DELETE", f"{where('weather')}{query}")
    assert (got.status, got.json["state"], state(gate, "weather")) == (200, "draining", "")
    assert {called(gate, "/mcp/weather/mcp")[1] for _ in range(3)} == {4002}
    if left_s:
        gate.advance(left_s - 0.5)
        assert goes_on(leaving)
    gate.advance(1)
    assert (goes_on(leaving), goes_on(staying), goes_on(others)) == (False, True, True)


def test_of_a_server_that_has_left_nothing_remains() -> None:
    """No path, no series, no timer."""
    gate = gateway()
    join(gate, "weather", 4001)
    called(gate, "/mcp/weather/mcp")
    assert b'server="weather"' in told(gate, "GET", "/metrics").body
    told(gate, "DELETE", where("weather"))
    assert called(gate, "/mcp/weather/mcp") == (404, 0)
    gate.advance(30)
    assert b"weather" not in told(gate, "GET", "/metrics").body
    assert not [call for call in timers(gate) if "Attendance" in repr(call) or "Lineup" in repr(call)]


def test_a_replica_that_moves_leaves_its_old_place() -> None:
    """New calls go to the new address at once; a stream on the old one may finish."""
    gate = gateway()
    join(gate, "weather", 4001)
    ends = stream(gate, "weather")
    join(gate, "weather", 4002)
    assert called(gate, "/mcp/weather/mcp") == (200, 4002)
    gate.advance(9)
    assert goes_on(ends)
    gate.advance(2)
    assert not goes_on(ends)


# --- restart, reload, store -----------------------------------------------------------------------------------------


def test_a_restart_keeps_who_was_there_as_not_verified() -> None:
    """All get work at once, and their ETags are still good; a beat or a connection decides."""
    store = MemoryStore()
    first = gateway(store=store)
    etag = join(first, "here", 4001, headers={"X-Api-Key": "k"})["etag"].decode()
    join(first, "away", 4002)
    join(first, "beats", 4003)
    gate = gateway(store=store)
    assert {state(gate, name) for name in ("here", "away", "beats")} == {"unverified"}
    assert set(shown(gate)) == {"x", "here", "away", "beats"}
    assert called(gate, "/mcp/here/mcp") == (200, 4001)
    assert any(b"X-Api-Key: k" in peer.received for peer in gate.peers)
    gate.refusing.update({4002, 4003})
    assert beat(gate, "beats").json["state"] == "passing"
    gate.advance(1)
    assert [state(gate, name) for name in ("here", "away", "beats")] == ["passing", "critical", "passing"]
    assert set(shown(gate)) == {"x", "here", "beats"}
    assert told(gate, "PUT", where("here"), at(4001, weight=2), If_Match=etag).status == 200


def test_after_a_restart_the_newest_still_says_how_a_server_is_called() -> None:
    """Not whose name comes last."""
    store = MemoryStore()
    first = gateway(store=store)
    join(first, "weather", 4002, "b", title="Old")
    join(first, "weather", 4001, "a", title="New")
    join(first, "weather", 4002, "b", title="Newest")
    join(first, "other", 4003)
    for kept in (store, _reversed(store)):
        assert shown(gateway(store=kept))["weather"]["title"] == "Newest"


def _reversed(store: MemoryStore) -> MemoryStore:
    other = MemoryStore()
    other.put(store.load()[::-1])
    return other


def test_a_reload_keeps_who_has_joined() -> None:
    """With connections, streams and leases; also if what changes is about registration."""
    gate = gateway()
    join(gate, "weather", 4001, ttl=30)
    beat(gate, "weather")
    ends, others = stream(gate, "weather"), stream(gate, "x")
    dials = len(gate.reactor.tcpClients)
    y = '  - {name: y, upstreams: [{url: "http://127.0.0.1:3011"}]}\n'
    reload(gate, CONFIG.replace("127.0.0.0/8, ", "127.0.0.0/8, 192.168.0.0/16, ") + y)
    reload(gate, CONFIG.replace("allow_networks", "ttl: 60s, allow_networks"))
    gate.advance(15)
    assert (goes_on(ends), goes_on(others), state(gate, "weather")) == (True, True, "passing")
    assert called(gate, "/mcp/weather/mcp") == (200, 4001)
    assert [dial[1] for dial in gate.reactor.tcpClients[dials:] if dial[1] != 3011] == [4001]


def test_a_registration_that_cannot_be_kept_is_refused_and_not_seen() -> None:
    """503 on writes; beats and calls go on; and when the disk works again, so do writes."""
    store = MemoryStore()
    gate = gateway(store=store)
    join(gate, "old", 4001)
    store.fault = "disk full"
    got = told(gate, "PUT", where("weather"), at(4002))
    assert (refusal(got), got["retry-after"]) == ((503, "store"), b"2")
    assert ("weather" in shown(gate), called(gate, "/mcp/weather/mcp"), state(gate, "weather")) == (False, (404, 0), "")
    assert refusal(told(gate, "DELETE", where("old"))) == (503, "store")
    assert (beat(gate, "old").status, called(gate, "/mcp/old/mcp")[0]) == (200, 200)
    assert metric(gate, "mcpgate_registry_writable") == 0
    store.fault = ""
    join(gate, "weather", 4002)
    assert metric(gate, "mcpgate_registry_writable") == 1


def test_what_is_said_while_the_disk_is_slow_comes_in_the_same_order() -> None:
    """Two registrations and a farewell: nothing is acknowledged that is not kept, and what is kept is what runs."""
    store = SlowStore()
    gate = gateway(store=store)
    first, second = (sent(gate, "PUT", where("weather"), at(port)) for port in (4001, 4002))
    store.work(1)
    gate.settle()
    assert (answer_at(first).status, second.received) == (201, b"")
    leaving = sent(gate, "DELETE", where("weather"))
    store.work()
    gate.settle()
    assert (answer_at(second).status, answer_at(leaving).status) == (200, 200)
    assert (state(gate, "weather"), store.load()) == ("", [])


def test_who_registers_again_in_the_moment_of_its_end_stays() -> None:
    """Its lease ends while the disk is slow: the new registration is kept, and runs."""
    store = SlowStore()
    gate = gateway(store=store)
    client = sent(gate, "PUT", where("weather"), at(4001, ttl=1, deregister_critical_after=1))
    store.work()
    gate.settle()
    beat(gate, "weather", state="critical")
    again = sent(gate, "PUT", where("weather"), at(4001, ttl=30))
    gate.advance(2)
    assert state(gate, "weather") == ""
    store.work()
    gate.settle()
    assert (answer_at(client).status, answer_at(again).status) == (201, 201)
    assert (called(gate, "/mcp/weather/mcp")[0], len(store.load())) == (200, 1)


# --- conditions -----------------------------------------------------------------------------------------------------


def test_of_two_who_saw_the_same_one_is_told() -> None:
    """412 for who comes second, also while the first is not kept yet; with the new ETag it works."""
    store = SlowStore()
    gate = gateway(store=store)
    first = sent(gate, "PUT", where("weather"), at(4001), If_None_Match="*")
    second = sent(gate, "PUT", where("weather"), at(4002), If_None_Match="*")
    assert refusal(answer_at(second)) == (412, "changed")
    store.work()
    gate.settle()
    etag = answer_at(first)["etag"].decode()
    third = sent(gate, "PUT", where("weather"), at(4003), If_Match=etag)
    fourth = sent(gate, "PUT", where("weather"), at(4004), If_Match=etag)
    assert refusal(answer_at(fourth)) == (412, "changed")
    store.work()
    gate.settle()
    assert answer_at(third).status == 200
    assert refusal(told(gate, "DELETE", where("weather"), If_Match=etag)) == (412, "changed")
    last = sent(gate, "DELETE", where("weather"), If_Match=answer_at(third)["etag"].decode())
    store.work()
    gate.settle()
    assert answer_at(last).status == 200


# --- news -----------------------------------------------------------------------------------------------------------


def test_who_comes_back_is_told_what_it_missed() -> None:
    """By the id of the last event it has read; who missed too much, or comes from elsewhere, starts anew."""
    gate = gateway()
    feed = following(gate)
    join(gate, "one", 4001)
    gate.advance(0.1)
    ids = [line[4:] for line in feed.received.decode().splitlines() if line.startswith("id: ")]
    feed.reset()
    join(gate, "two", 4002)
    told(gate, "DELETE", where("one"))
    back = following(gate, Last_Event_ID=ids[-1])
    assert [event for event in news(gate, back) if event[0] != "status"] == [
        ("added", "two"),
        ("removed", "one"),
        ("ready", ""),
    ]
    assert news(gate, following(gate, Last_Event_ID="7")) == [("reset", "")]


def test_operators_are_told_more_than_clients() -> None:
    """Every state of every replica, with its index; and nobody without a token where one is needed."""
    gate = gateway()
    feed = gate.connect(admin=True)
    feed.send(request("GET", "/v1/events", headers=SSE))
    join(gate, "weather", 4001, ttl=30, headers={"X-Api-Key": "secret"})
    beat(gate, "weather", state="warning", note="hot")
    told(gate, "DELETE", where("weather"))
    gate.advance(0.1)
    assert b"secret" not in feed.received
    seen = events(feed)
    assert [kind for kind, _ in seen] == ["ready", "registered", "state", "state", "deregistered"]
    assert [content.get("state") for _, content in seen[1:]] == ["starting", "passing", "warning", "warning"]


def test_who_waits_for_news_is_answered_when_there_are_some() -> None:
    """Or when its time is over, or when the gateway stops."""
    gate = gateway()
    index = told(gate, "GET", "/v1/servers")["x-mcpgate-index"].decode()
    waiting = sent(gate, "GET", f"/v1/servers?index={index}&wait=20s")
    gate.advance(10)
    assert waiting.received == b""
    join(gate, "weather", 4001)
    gate.advance(0.1)
    got = answer_at(waiting)
    assert [each["name"] for each in got.json["servers"]] == ["x", "weather"]
    assert int(got["x-mcpgate-index"]) > int(index)
    gate.advance(1)
    index = told(gate, "GET", "/v1/servers")["x-mcpgate-index"].decode()
    patient = sent(gate, "GET", f"/v1/servers?index={index}&wait=5s")
    gate.advance(6)
    assert answer_at(patient)["x-mcpgate-index"].decode() == index
    last = sent(gate, "GET", f"/v1/servers?index={index}&wait=5m")
    gate.gateway.stop()
    gate.settle()
    assert answer_at(last).status == 200


# --- many -----------------------------------------------------------------------------------------------------------


def test_a_change_among_ten_thousand_touches_only_its_own() -> None:
    """All other servers and routes stay the same objects."""
    config = NETWORKS + "servers:\n" + X
    gate = gateway(config)
    for number in range(200):
        join(gate, f"s{number}", 10_000 + number)
    servers = dict(gate.gateway.servers)
    routes = {name: gate.gateway.pipeline.snapshot.routes.find(b"/mcp/" + name.encode()) for name in servers}
    dials = len(gate.reactor.tcpClients)
    join(gate, "s7", 20_000)
    join(gate, "new", 20_001)
    told(gate, "DELETE", where("s9"))
    after = gate.gateway.servers
    assert {name for name in servers if after.get(name) is not servers[name]} == {"s7", "s9"}
    found = gate.gateway.pipeline.snapshot.routes.find
    assert {name for name in servers if found(b"/mcp/" + name.encode()) is not routes[name]} == {"s7", "s9"}
    assert [dial[1] for dial in gate.reactor.tcpClients[dials:]] == [20_000, 20_001]
    assert json.loads(json.dumps(told(gate, "GET", "/v1/servers/new").json))["status"] == "up"
