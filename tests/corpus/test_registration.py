"""The cases of registration that are a course of events rather than bytes; the docstrings name them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import pytest
from tests.ends import SSE, Message, answer_at
from twisted.internet.defer import Deferred, fail

from mcpgate.refusals import StoreUnavailable
from mcpgate.registry.registration import Registration
from mcpgate.registry.store import MemoryStore, Row
from mcpgate.testing import Client, GatewayUnderTest, answer, request

ADMIN = {"Authorization": "Bearer admin-token"}
REPLICA = "/v1/servers/x/replicas/r1"
PLAIN = {"url": "http://10.0.0.5:3010"}
SECRET = "upstream-secret-1"
METADATA = "169.254.169.254"
#: What RG-MANY registers, and what it leaves.
MANY, LEFT = 10_000, 10
LOOKUP_S = 20e-6


class Hanging(dict[str, list[str]]):
    """Names of which those below ``.hang`` get no answer."""

    def __contains__(self, name: object) -> bool:
        return str(name).endswith(".hang") or super().__contains__(name)

    def __missing__(self, name: str) -> Any:
        return Deferred()


class Rebinding(dict[str, list[str]]):
    """Names that mean a good address at first, and another one at every further look."""

    def __init__(self, *then: str) -> None:
        super().__init__()
        self._answers = cycle([["10.0.0.5"], list(then)])

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> list[str]:
        return next(self._answers)


class SlowStore(MemoryStore):
    """A store that has every write wait for `settle`."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[Deferred[None], Sequence[Row]]] = []

    def put(self, rows: Sequence[Row]) -> Deferred[None]:
        self._waiting.append((Deferred(), rows))
        return self._waiting[-1][0]

    def settle(self, count: int) -> None:
        """Do the oldest writes."""
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        for waiting, rows in done:
            super().put(rows).chainDeferred(waiting)


class FullStore(MemoryStore):
    """A store on a disk that may be full."""

    is_full = True

    def put(self, rows: Sequence[Row]) -> Deferred[None]:
        return fail(StoreUnavailable(detail="no space left on device")) if self.is_full else super().put(rows)


def gateway(more: str = "", **parts: Any) -> GatewayUnderTest:
    """A gateway with a server ``a`` of its own, which takes registrations in two networks."""
    return GatewayUnderTest(
        'registry: {allow_networks: [127.0.0.0/8, 10.0.0.0/8]}\n'
        'servers:\n  - {name: a, upstreams: [{url: "http://127.0.0.1:3011"}]}\n' + more,
        **parts,
    )


def sent(gate: GatewayUnderTest, method: str, target: str, body: object = None, **fields: str) -> Client:
    """A request of an operator; its answer may come later."""
    client = gate.connect(admin=True)
    payload = b"" if body is None else json.dumps(body).encode()
    client.send(request(method, target, payload, ADMIN | {key.replace("_", "-"): fields[key] for key in fields}))
    return client


def asked(gate: GatewayUnderTest, method: str, target: str, body: object = None, **fields: str) -> Message:
    """A request of an operator, and its answer."""
    return answer_at(sent(gate, method, target, body, **fields), method)


def called(gate: GatewayUnderTest, server: str) -> int:
    """The status of a call on a server, of which the upstream thinks well."""
    client = gate.connect()
    client.send(request(target=f"/mcp/{server}/mcp", body=b"{}"))
    for peer in gate.peers:
        if peer.closed is None and peer.take():
            peer.send(answer())
    return answer_at(client).status


def dialled(gate: GatewayUnderTest) -> set[str]:
    """To which addresses anything was ever connected."""
    return {host for host, *_ in gate.reactor.tcpClients}


# --- where it may point ---------------------------------------------------------------------------------------------


def test_a_name_that_changes_its_mind_leads_nowhere_else() -> None:
    """RG-DNS-REBIND: the address is checked at every connect, and what is dialled is what was checked."""
    gate = gateway()
    gate.names = Rebinding(METADATA)
    assert asked(gate, "PUT", REPLICA, {"url": "http://rebind.test/"}).status == 201
    for _ in range(12):
        gate.ask(request(target="/mcp/x/mcp", body=b"{}"))
        gate.advance(7)  # whatever may be remembered of a look-up
    assert METADATA not in dialled(gate)
    assert "10.0.0.5" in dialled(gate), "it was used as long as it was good"


def test_a_name_with_one_bad_address_is_not_used_at_all() -> None:
    """RG-DNS-REBIND: neither is the good one of two addresses dialled, nor the bad one."""
    gate = gateway()
    gate.names = Rebinding("10.0.0.6", METADATA)
    assert asked(gate, "PUT", REPLICA, {"url": "http://rebind.test/"}).status == 201
    for _ in range(12):
        gate.ask(request(target="/mcp/x/mcp", body=b"{}"))
        gate.advance(7)
    assert {METADATA, "10.0.0.6"}.isdisjoint(dialled(gate))


def test_a_name_server_that_is_silent_holds_up_only_who_named_it() -> None:
    """RG-DNS-HANG: fifty registrations wait; everything else is answered at once, and they are refused in time."""
    gate = gateway()
    gate.names = Hanging(gate.names)
    waiting = [
        sent(gate, "PUT", f"/v1/servers/s{number}/replicas/r", {"url": f"http://ns{number}.hang/"})
        for number in range(50)
    ]
    assert [client.received for client in waiting] == [b""] * 50
    assert called(gate, "a") == 200
    assert asked(gate, "GET", "/v1/servers").status == 200
    assert asked(gate, "PUT", REPLICA, PLAIN).status == 201
    gate.advance(3.5)
    assert {answer_at(client).status for client in waiting} == {422}
    assert dialled(gate) <= {"127.0.0.1", "10.0.0.5"}
    assert [each["name"] for each in asked(gate, "GET", "/v1/servers").json["servers"]] == ["a", "x"]


def test_redirects_of_a_replica_are_its_clients_matter() -> None:
    """A registered server cannot send the gateway itself elsewhere."""
    gate = gateway()
    asked(gate, "PUT", REPLICA, PLAIN)
    client = gate.connect()
    client.send(request(target="/mcp/x/mcp", body=b"{}"))
    gate.upstream().send(answer(status="307 Temporary Redirect", headers={"Location": f"http://{METADATA}/"}))
    assert answer_at(client).status == 307
    assert METADATA not in dialled(gate)


def test_rules_that_become_stricter_hold_at_once() -> None:
    """A network that is named no longer is dialled no longer, also for what is registered already."""
    gate = gateway()
    asked(gate, "PUT", REPLICA, PLAIN)
    assert called(gate, "x") == 200
    gate.config = gate.config.replace(", 10.0.0.0/8", "")
    assert gate.gateway.reload()["success"]
    before = len(gate.reactor.tcpClients)
    client = gate.connect()
    client.send(request(target="/mcp/x/mcp", body=b"{}"))
    gate.advance(10)
    assert answer_at(client).status in (404, 502, 503)
    assert "10.0.0.5" not in {host for host, *_ in gate.reactor.tcpClients[before:]}


# --- what is told ---------------------------------------------------------------------------------------------------


def test_a_secret_that_was_registered_is_told_to_nobody_but_the_replica(failures: list[str]) -> None:
    """RG-SECRET-ECHO: not in an answer, event, log line, metric, fault, page or list of settings."""
    gate = gateway()
    feed = gate.connect(admin=True)
    feed.send(request("GET", "/v1/events", headers=ADMIN | SSE))
    told = [feed]
    told.append(sent(gate, "PUT", REPLICA, {**PLAIN, "headers": {"X-Api-Key": SECRET}}))
    told.append(sent(gate, "PUT", REPLICA, {**PLAIN, "headers": {"X-Api-Key": SECRET}, "weight": 2}))
    told.append(sent(gate, "PUT", "/v1/servers/x/replicas/r2", {**PLAIN, "headers": {"Host": SECRET, "X": f"{SECRET}\n"}}))
    told.append(sent(gate, "PUT", "/v1/servers/x/replicas/r2", {**PLAIN, "headers": {"X-Api-Key": SECRET}}))
    for target in (REPLICA, "/v1/servers", "/v1/servers/x", "/v1/servers/x/replicas", "/mcps", "/admin/config"):
        told.append(sent(gate, "GET", target))
    for target in ("/metrics", "/status", "/status.txt", "/", "/v1/sources", "/readyz?verbose"):
        told.append(sent(gate, "GET", target))
    told.append(sent(gate, "PUT", f"{REPLICA}/heartbeat", {"state": "warning"}))
    client = gate.connect()
    client.send(request(target="/mcp/x/mcp", body=b"{}"))
    peer = next(peer for peer in gate.peers if b"POST /mcp" in peer.received)
    assert b"X-Api-Key: " + SECRET.encode() in peer.received
    peer.send(b"no HTTP")
    for target in ("/mcp/discovery", "/v0.1/servers", "/.well-known/ai-catalog.json"):
        told.append(gate.connect())
        told[-1].send(request("GET", target))
    told.append(sent(gate, "DELETE", REPLICA))
    gate.advance(2)
    everything = b"".join(each.received for each in [*told, client]) + b"".join(gate.log_lines)
    assert b"x-api-key" in everything.lower(), "its name is no secret"
    assert SECRET.encode() not in everything
    assert SECRET not in "".join(failures)
    assert SECRET not in repr(gate.gateway.fleet.registry.roster.get(("x", "r1")))


def test_no_address_of_a_replica_is_told_to_clients() -> None:
    """Discovery in every form names public addresses only."""
    gate = gateway()
    asked(gate, "PUT", REPLICA, {"url": "http://10.0.0.5:3456/base", "meta": {"rack": "cellar-7"}})
    for target in ("/mcp/discovery", "/v0.1/servers", "/.well-known/ai-catalog.json"):
        got = gate.ask(request("GET", target))
        assert b"/mcp/x" in got, target
        for inside in (b"10.0.0.5", b"3456", b"/base", b"cellar-7"):
            assert inside not in got, target


# --- names and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/mcp/discovery", "/mcp/discovery/events", "/v0.1", "/v0.1/servers", "/.well-known/ai-catalog.json", "/"),
        *("/mcp/%61", "/mcp/a%00", "/mcp/a\0", "/mcp/a\r\nX: 1", "/mcp/a b", "/mcp/ä", "/mcp/x?y", "/mcp/x#y", "mcp/x"),
        *("/mcp/./x", "/mcp/x/..", "/mcp//x", "/mcp/x\\y", "/mcp/x;y", "//evil.test/x", "http://evil.test/x"),
    ],
)
def test_a_path_is_plain_and_free(path: str) -> None:
    """RG-PATH-RESERVED, -ENCODED, -NUL: what is reserved, encoded, or read differently by others is no path."""
    gate = gateway()
    refused = asked(gate, "PUT", REPLICA, {**PLAIN, "path": path})
    assert refused.status in (409, 422)
    assert refused["content-type"].startswith(b"application/problem+json")
    assert asked(gate, "GET", REPLICA).status == 404
    assert gate.ask(request("GET", "/mcp/discovery")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", ["x'); DROP TABLE replicas;--", 'x"', "x\0", "../x", "x/y", "discovery", "X" * 64, ""])
def test_a_name_that_is_no_name_is_refused_in_both_forms(name: str) -> None:
    """RG-SQLI: names are words; nothing is kept of others, and what was there still is."""
    store = MemoryStore()
    gate = gateway(store=store)
    assert asked(gate, "PUT", REPLICA, PLAIN).status == 201
    simple = {"name": name, "version": "1.0.0", "basePath": "/mcp/y", "host": "10.0.0.6", "port": 80}
    # Of a name for people, such as x/y, a plain word is made.
    assert asked(gate, "POST", "/register", simple).status in (201, 409, 422)
    assert asked(gate, "GET", REPLICA).json["url"] == PLAIN["url"]
    assert [row.server for row in store.load() if row.replica == "r1"] == ["x"]
    assert all(row.server.replace("-", "").replace(".", "").isalnum() for row in store.load())


def test_values_that_look_like_sql_are_kept_as_they_are() -> None:
    """RG-SQLI: what people may write freely is data, also over a restart."""
    store = MemoryStore()
    odd = "x'); DROP TABLE replicas;-- ${HOME} {{7*7}}"
    gate = gateway(store=store)
    assert asked(gate, "PUT", REPLICA, {**PLAIN, "title": odd, "meta": {odd[:60]: odd}}).status == 201
    kept = asked(gateway(store=store), "GET", REPLICA).json
    assert (kept["title"], kept["meta"]) == (odd, {odd[:60]: odd})


# --- many, at once, and on a full disk ------------------------------------------------------------------------------


def test_a_large_body_is_refused_before_it_is_here() -> None:
    """RG-BODY-5M: of five megabytes no more than the bound is taken, and within no time."""
    gate = gateway()
    client = gate.connect(admin=True)
    client.send(request("PUT", REPLICA, headers=ADMIN | {"Content-Length": "5000000"}))
    assert answer_at(client).status == 413
    assert client.closed == "fin"


def test_what_was_acknowledged_last_is_what_a_restart_finds() -> None:
    """RG-CONCURRENT-WRITE: 200 at once on one replica: an end in the middle leaves one of the acknowledged states."""
    store = SlowStore()
    gate = gateway(store=store)
    clients = [sent(gate, "PUT", REPLICA, {**PLAIN, "weight": 1 + number}) for number in range(200)]
    assert [client.received for client in clients] == [b""] * 200, "nothing is acknowledged that is not kept"
    store.settle(120)
    gate.settle()
    told = [answer_at(client).json["weight"] for client in clients if client.received]
    assert len(told) == 120
    after = asked(gateway(store=store), "GET", REPLICA).json
    assert after["weight"] == told[-1]
    assert after["state"] in ("unverified", "passing")


def test_of_many_who_saw_the_same_only_one_may_change_it() -> None:
    """RG-CONCURRENT-WRITE: with If-Match, one of 50 writes on the same state is taken."""
    store = SlowStore()
    gate = gateway(store=store)
    first = sent(gate, "PUT", REPLICA, PLAIN)
    store.settle(1)
    gate.settle()
    etag = answer_at(first)["etag"].decode()
    clients = [sent(gate, "PUT", REPLICA, {**PLAIN, "weight": 2 + n}, If_Match=etag) for n in range(50)]
    store.settle(50)
    gate.settle()
    outcome = [answer_at(client).status for client in clients]
    assert sorted(outcome) == [200] + [412] * 49
    assert asked(gate, "GET", REPLICA).json["weight"] == 2 + outcome.index(200)


def test_a_full_disk_stops_registrations_and_nothing_else(failures: list[str]) -> None:
    """RG-DISK-FULL: 503 on writes, beats and calls go on, nothing half-done is visible; then all is well again."""
    store = FullStore()
    store.is_full = False
    gate = gateway(store=store)
    asked(gate, "PUT", REPLICA, PLAIN)
    store.is_full = True
    refused = asked(gate, "PUT", "/v1/servers/y/replicas/r1", {"url": "http://10.0.0.6/"})
    assert (refused.status, refused.json["reason"]) == (503, "store")
    assert "retry-after" in refused
    changed = asked(gate, "PUT", REPLICA, {**PLAIN, "weight": 7})
    assert changed.status == 503
    assert asked(gate, "GET", REPLICA).json["weight"] == 1
    assert asked(gate, "GET", "/v1/servers/y").status == 404
    assert asked(gate, "PUT", f"{REPLICA}/heartbeat").json["state"] == "passing"
    assert (called(gate, "x"), called(gate, "a")) == (200, 200)
    store.is_full = False
    assert asked(gate, "PUT", "/v1/servers/y/replicas/r1", {"url": "http://10.0.0.6/"}).status == 201
    assert failures == []


def test_ten_thousand_servers_leave_nothing_behind(failures: list[str]) -> None:
    """RG-MANY: a look-up stays as fast with 10,000 servers, and when most are gone so are their series."""
    gate = gateway("drain: {timeout: 1s}\n")
    gate.refusing = {3010}
    registry = gate.gateway.fleet.registry
    everybody = {
        (f"s{number}", "r"): Registration(url="http://10.{}.{}.5:3010".format(*divmod(number, 256)))
        for number in range(MANY)
    }
    # From a list: one swap, where 10,000 requests would take the most of a minute.
    registry.take_list("many", everybody)
    gate.advance(1)  # a few at a time, so that others get their turn
    assert len(gate.gateway.servers) == MANY + 1
    routes = gate.gateway.pipeline.snapshot.routes
    paths = [b"/mcp/s%d/mcp/a/b/c" % (number * 37 % MANY) for number in range(1000)]
    assert all(route is not None for route in map(routes.find, paths))
    assert min(spent(routes.find, paths) for _ in range(5)) < LOOKUP_S
    registry.take_list("many", dict(islice(everybody.items(), LEFT)))
    gate.advance(5)
    assert len(gate.gateway.servers) == LEFT + 1
    assert asked(gate, "GET", "/v1/servers/s5000").status == 404
    assert series(gate) < 1000
    assert failures == []


def test_who_comes_and_goes_by_request_leaves_nothing_behind(failures: list[str]) -> None:
    """RG-MANY: 300 servers that register and leave again leave as many series as there were before."""
    gate = gateway("drain: {timeout: 1s}\n")
    before = series(gate)
    for round_ in range(3):
        for number in range(100):
            registration = {"url": f"http://10.0.{round_}.{number}:3010"}
            assert asked(gate, "PUT", f"/v1/servers/s{round_}-{number}/replicas/r", registration).status == 201
        assert called(gate, f"s{round_}-7") == 200
        for number in range(100):
            assert asked(gate, "DELETE", f"/v1/servers/s{round_}-{number}/replicas/r").status == 200
        gate.advance(5)
    assert list(gate.gateway.servers) == ["a"]
    assert series(gate) <= before + 50
    assert failures == []


def series(gate: GatewayUnderTest) -> int:
    """How many series there are in the metrics."""
    lines = asked(gate, "GET", "/metrics").body.decode().splitlines()
    return sum(not line.startswith("#") for line in lines)


def spent(find: Any, paths: list[bytes]) -> float:
    """Seconds that one look-up takes."""
    began_s = time.perf_counter()
    for path in paths:
        find(path)
    return (time.perf_counter() - began_s) / len(paths)
