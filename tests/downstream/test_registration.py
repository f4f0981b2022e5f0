"""The registry on the admin listener: what requests become, what answers say, who may, and what is refused how."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ends import Message, answer_at, chunked
from twisted.internet.defer import Deferred, fail, succeed

from mcpgate import errors, refusals
from mcpgate.downstream.registration import add_registration
from mcpgate.downstream.site import site_of, tree
from mcpgate.pipeline import Pipeline
from mcpgate.policy.authn import Grant, TokenTable
from mcpgate.policy.routing import RouteTable
from mcpgate.registry.ports import Receipt
from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Conditions
from mcpgate.snapshot import Route
from mcpgate.testing import Client, GatewayUnderTest, request

REPLICA = "/v1/servers/github-pm/replicas/a"
PLAIN = {"url": "http://127.0.0.1:3010"}
SEED = {"name": "github-pm", "version": "1.0.0", "basePath": "/mcp/github-pm", "host": "127.0.0.1", "port": 3010}
SINCE = "2027-01-15T08:00:00.000Z"
MAX_BODY_BYTES = 1 << 16
PATHS = (b"/register", b"/mcps", b"/refresh", b"/v1/servers", b"/v1/sources")
TOKENS = {
    "every": Grant("every", frozenset({"register"}), frozenset({"*"})),
    "some": Grant("some", frozenset({"register"}), frozenset({"github-pm", "team-*"})),
    "none": Grant("none", frozenset({"register"})),
    "reader": Grant("reader", frozenset({"read"}), frozenset({"*"})),
}


class FakeRegistry:
    """
    A registry in memory that notes what it is asked.

    :ivar answering: gives the result of work that takes its time; a test may keep it waiting, or have it fail.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as at first."""
        self.index = 1000
        self.asked: list[tuple[Any, ...]] = []
        self.entries: dict[tuple[str, str], Receipt] = {}
        self.waiting: list[Deferred[None]] = []
        self.left = 0
        self.shown = 0
        self.outcome: dict[str, object] = {"success": True, "message": "MCP configurations refreshed", "sources": []}
        self.answering: Callable[[Any], Deferred[Any]] = succeed

    def register(
        self, server: str, replica: str, registration: Registration, conditions: Conditions
    ) -> Deferred[Receipt]:
        self.asked.append(("register", server, replica, registration, conditions))
        created = (server, replica) not in self.entries
        entry: dict[str, object] = {"server": server, "id": replica, "state": "starting", "registeredAt": SINCE}
        self.entries[server, replica] = Receipt(entry, '"7"', False)
        self.index += 1
        return self.answering(Receipt(entry, '"7"', created))

    def beat(self, server: str, replica: str, health: str, note: str) -> dict[str, object]:
        self.asked.append(("beat", server, replica, health, note))
        if (server, replica) not in self.entries:
            raise refusals.NotRegistered
        return {"state": health or "passing", "heartbeatSeconds": 10.0}

    def deregister(
        self, server: str, replica: str, drain_s: float | None, conditions: Conditions
    ) -> Deferred[dict[str, object]]:
        self.asked.append(("deregister", server, replica, drain_s, conditions))
        if (server, replica) not in self.entries:
            raise refusals.NotRegistered
        del self.entries[server, replica]
        return self.answering({"server": server, "id": replica, "state": "draining"})

    def entry(self, server: str, replica: str) -> Receipt | None:
        return self.entries.get((server, replica))

    def servers(self) -> list[dict[str, object]]:
        self.shown += 1
        names = dict.fromkeys(server for server, _ in self.entries)
        return [
            {"name": name, "replicas": [each.entry for key, each in self.entries.items() if key[0] == name]}
            for name in names
        ]

    def server(self, name: str) -> dict[str, object] | None:
        found = [each.entry for key, each in self.entries.items() if key[0] == name]
        return {"name": name, "replicas": found} if found else None

    def simple(self) -> list[dict[str, object]]:
        return [{"id": replica, "name": server} for server, replica in self.entries]

    def find_id(self, replica: str) -> tuple[str, str] | None:
        return next((key for key in self.entries if key[1] == replica), None)

    def await_change(self, index: int, wait_s: float) -> Deferred[None]:
        self.asked.append(("await", index, wait_s))
        news: Deferred[None] = Deferred(self._leave)
        self.waiting.append(news)
        return news

    def _leave(self, _: object) -> None:
        self.left += 1

    def refresh(self) -> Deferred[dict[str, object]]:
        return self.answering(self.outcome)

    def sources(self) -> list[dict[str, object]]:
        return [{"name": "list.example.com"}]


@cache
def _gate() -> tuple[GatewayUnderTest, FakeRegistry]:
    """The routes of the registry alone behind an admin listener whose reading is open; 16 ms, so made once."""
    gate, registry, app = GatewayUnderTest(), FakeRegistry(), tree()
    add_registration(app, registry)
    present = gate.gateway.admin_pipeline
    snapshot = replace(
        present.snapshot,
        routes=RouteTable(dict.fromkeys(PATHS, Route(None, MAX_BODY_BYTES, writing="register"))),
        tokens=TokenTable((sha256(name.encode()).hexdigest(), grant) for name, grant in TOKENS.items()),
    )
    parts = replace(present.parts, local=site_of(app, gate.reactor))
    gate.gateway.admin_door.pipeline = Pipeline(snapshot, parts)
    return gate, registry


class Admin:
    """An operator in front of a registry that knows nothing yet."""

    def __init__(self) -> None:
        self.gate, self.registry = _gate()
        self.registry.forget()
        self.gate.failures.clear()
        self.gate.log_lines.clear()

    def send(self, method: str, target: str, body: object = b"", token: str = "every", **fields: str) -> Client:
        """A body that is no bytes is sent as JSON; an underscore in a field's name is a hyphen."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        if token:
            named["Authorization"] = f"Bearer {token}"
        client = self.gate.connect(admin=True)
        client.send(request(method, target, sent, named))
        return client

    def ask(self, method: str, target: str, body: object = b"", token: str = "every", **fields: str) -> Message:
        return answer_at(self.send(method, target, body, token, **fields), method)

    def register(self, target: str = REPLICA) -> Message:
        return self.ask("PUT", target, PLAIN)


def problem(told: Message, status: int, reason: str) -> Any:
    """The body of a refusal, which has the form and the words it must have."""
    assert (told.status, told["mcpgate-error"].decode(), told["content-type"]) == (
        *(status, reason),
        b"application/problem+json",
    )
    assert (told.json["status"], told.json["reason"]) == (status, reason)
    return told.json


# --- the simple form ------------------------------------------------------------------------------------------------


def test_a_server_registers_in_the_simple_form() -> None:
    """With the five keys of the simple form alone; the answer repeats them, and says where the full form is."""
    admin = Admin()
    told = admin.ask("POST", "/register", SEED)
    server, replica, registration, conditions = admin.registry.asked[0][1:]
    assert (told.status, told["location"].decode()) == (201, f"/v1/servers/{server}/replicas/{replica}")
    expected = {"id": f"{server}~{replica}", "name": "github-pm", "version": "1.0.0", "basePath": "/mcp/github-pm"}
    assert told.json == told.json | expected | {"endpoint": "127.0.0.1:3010", "registeredAt": SINCE}
    assert (server, registration.url, conditions) == ("github-pm", "http://127.0.0.1:3010", Conditions())


def test_registering_again_in_the_simple_form_is_no_other_replica() -> None:
    """A server that restarts is answered as before."""
    admin = Admin()
    first, again = admin.ask("POST", "/register", SEED), admin.ask("POST", "/register", SEED)
    assert (again.status, again.json["id"], len(admin.registry.entries)) == (201, first.json["id"], 1)


def test_the_list_of_the_simple_form_is_an_array() -> None:
    """As the programs that read one expect it."""
    admin = Admin()
    assert admin.ask("GET", "/mcps").json == []
    admin.register()
    assert admin.ask("GET", "/mcps").json == [{"id": "a", "name": "github-pm"}]


def test_a_replica_is_taken_out_by_its_id_alone() -> None:
    """And is gone then."""
    admin = Admin()
    admin.register()
    told = admin.ask("DELETE", "/mcps/a?drain=1s")
    assert (told.status, told.json) == (200, {"success": True})
    assert admin.registry.asked[-1] == ("deregister", "github-pm", "a", 1.0, Conditions())
    problem(admin.ask("DELETE", "/mcps/a"), 404, "not_registered")


@pytest.mark.parametrize("success", [True, False])
def test_a_refresh_tells_how_it_went(success: bool) -> None:
    """What could be read was, so a list that failed is told in the body."""
    admin = Admin()
    admin.registry.outcome = {"success": success, "message": "m", "sources": [{"name": "x"}]}
    told = admin.ask("POST", "/refresh")
    assert (told.status, told.json) == (200, admin.registry.outcome)


# --- registering ----------------------------------------------------------------------------------------------------


def test_a_replica_is_created_and_then_replaced() -> None:
    """The first answer says where it is, both by which ETag it is named and how it stands."""
    admin = Admin()
    created, replaced = admin.register(), admin.register()
    assert (created.status, created["location"]) == (201, REPLICA.encode())
    assert (replaced.status, "location" in replaced) == (200, False)
    for told in (created, replaced):
        assert (told["etag"], told["content-type"], told["cache-control"]) == (b'"7"', b"application/json", b"no-store")
        assert told.json["state"] == "starting"
    assert replaced["x-mcpgate-index"] == b"1002"


def test_what_is_registered_arrives_as_it_was_said() -> None:
    """With everything that the body may say."""
    admin = Admin()
    said: Any = {
        **PLAIN,
        "weight": 3,
        "ttl": "20s",
        "tags": ["a"],
        "meta": {"zone": "b"},
        "headers": {"X-Api-Key": "k"},
    }
    assert admin.ask("PUT", REPLICA, said).status == 201
    assert admin.registry.asked == [("register", "github-pm", "a", Registration(**said), Conditions())]


@pytest.mark.parametrize(
    ("fields", "conditions"),
    [
        ({"If_Match": '"7"'}, Conditions('"7"')),
        ({"If_Match": '"6", "7"'}, Conditions('"6", "7"')),
        ({"If_Match": 'W/"7"'}, Conditions('W/"7"')),
        ({"If_Match": "*"}, Conditions("*")),
        ({"If_None_Match": "*"}, Conditions(None, True)),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_conditions_are_handed_on(method: str, fields: dict[str, str], conditions: Conditions) -> None:
    """Whether they hold is the registry's to say."""
    admin = Admin()
    admin.register()
    admin.ask(method, REPLICA, PLAIN if method == "PUT" else b"", **fields)
    assert admin.registry.asked[-1][-1] == conditions


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"If_Match": "7"}, "If-Match"),
        ({"If_Match": '"7'}, "If-Match"),
        ({"If_Match": ""}, "If-Match"),
        ({"If_Match": '"7",'}, "If-Match"),
        ({"If_None_Match": '"7"'}, "If-None-Match"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_condition_that_nobody_can_check_changes_nothing(method: str, fields: dict[str, str], where: str) -> None:
    """A condition must not be passed over."""
    admin = Admin()
    told = admin.ask(method, REPLICA, PLAIN if method == "PUT" else b"", **fields)
    assert [fault["where"] for fault in problem(told, 422, "registration")["faults"]] == [where]
    assert admin.registry.asked == []


# --- leaving and beating --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "drain_s"),
    [("", None), ("?drain=0s", 0.0), ("?drain=5s", 5.0), ("?drain=250ms", 0.25), ("?drain=1h", 3600)],
)
def test_a_replica_leaves_with_the_time_that_it_wants(query: str, drain_s: float | None) -> None:
    """Its streams may finish; the answer is how it stands."""
    admin = Admin()
    admin.register()
    told = admin.ask("DELETE", REPLICA + query)
    assert (told.status, told.json["state"]) == (200, "draining")
    assert admin.registry.asked[-1] == ("deregister", "github-pm", "a", drain_s, Conditions())


@pytest.mark.parametrize(
    ("target", "where"),
    [
        (f"{REPLICA}?drain=5", "drain"),
        (f"{REPLICA}?drain=soon", "drain"),
        (f"{REPLICA}?drain=", "drain"),
        (f"{REPLICA}?drain=2h", "drain"),
        (f"{REPLICA}?drain=1s&drain=2s", "drain"),
        (f"{REPLICA}?drian=0s", "query"),
        (f"{REPLICA}?drain=%ff", "drain"),
        ("/mcps/a?drain=x", "drain"),
    ],
)
def test_a_misspelt_query_takes_nothing_out(target: str, where: str) -> None:
    """Since nobody knows what was meant."""
    admin = Admin()
    admin.register()
    faults = problem(admin.ask("DELETE", target), 422, "registration")["faults"]
    assert [fault["where"] for fault in faults] == [where]
    assert len(admin.registry.entries) == 1


@pytest.mark.parametrize(
    ("body", "health", "note"),
    [
        (b"", "", ""),
        (b"{}", "", ""),
        ({"state": "passing"}, "passing", ""),
        ({"state": "pass"}, "passing", ""),
        ({"state": "warn", "note": "disk at 91 %"}, "warning", "disk at 91 %"),
        ({"state": "warning"}, "warning", ""),
        ({"state": "fail", "note": ""}, "critical", ""),
        ({"state": "critical", "note": "é" * 512}, "critical", "é" * 512),
        ({"state": None, "note": None}, "", ""),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_beat_may_say_how_the_replica_is(method: str, body: object, health: str, note: str) -> None:
    """In our words or in those of Consul; the answer says when the next one is due."""
    admin = Admin()
    admin.register()
    told = admin.ask(method, f"{REPLICA}/heartbeat", body)
    assert (told.status, told.json["heartbeatSeconds"]) == (200, 10.0)
    assert admin.registry.asked[-1] == ("beat", "github-pm", "a", health, note)


def test_a_beat_without_a_body_needs_no_media_type() -> None:
    """curl sends one of its own for an empty body."""
    admin = Admin()
    admin.register()
    fields = {"Content_Type": "application/x-www-form-urlencoded", "Content_Length": "0"}
    assert admin.ask("PUT", f"{REPLICA}/heartbeat", **fields).status == 200


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"state": "fine"}, ["state"]),
        ({"state": ["passing"]}, ["state"]),
        ({"state": 1, "note": 2}, ["state", "note"]),
        ({"note": "x" * 513}, ["note"]),
        ({"note": "two\nlines"}, ["note"]),
        ({"status": "passing", "state": "x"}, ["", "state"]),
        ([], [""]),
        (b"null", [""]),
        (b"{", [""]),
        (b'{"state": "pass", "state": "fail"}', [""]),
        (b"\xff", [""]),
        (b"[" * 5000, [""]),
    ],
)
def test_a_beat_that_says_nothing_clear_is_none(body: object, where: list[str]) -> None:
    """All that is wrong with it is told."""
    admin = Admin()
    admin.register()
    faults = problem(admin.ask("PUT", f"{REPLICA}/heartbeat", body), 422, "registration")["faults"]
    assert [fault["where"] for fault in faults] == where
    assert [asked[0] for asked in admin.registry.asked] == ["register"]


def test_who_is_not_known_any_more_registers_again() -> None:
    """The answer to its beat says so."""
    told = problem(Admin().ask("PUT", f"{REPLICA}/heartbeat"), 404, "not_registered")
    assert "register again" in told["detail"]


# --- reading --------------------------------------------------------------------------------------------------------


def test_reading_is_by_server_and_by_replica() -> None:
    """One table, seen from everywhere; each answer carries the index and can be had as a head alone."""
    admin = Admin()
    admin.register()
    entry = admin.registry.entries["github-pm", "a"].entry
    server = {"name": "github-pm", "replicas": [entry]}
    for target, expected in (
        ("/v1/servers", {"servers": [server]}),
        ("/v1/servers/github-pm", server),
        ("/v1/servers/github-pm/replicas", {"replicas": [entry]}),
        (REPLICA, entry),
        ("/v1/sources", {"sources": [{"name": "list.example.com"}]}),
        ("/mcps", admin.registry.simple()),
    ):
        told, head = admin.ask("GET", target, token=""), admin.ask("HEAD", target, token="")
        assert (told.status, told.json, told["x-mcpgate-index"]) == (200, expected, b"1001"), target
        assert (head.status, head.body, head["content-length"]) == (200, b"", told["content-length"]), target
    assert admin.ask("GET", REPLICA)["etag"] == b'"7"'


@pytest.mark.parametrize("target", ["/v1/servers/x", "/v1/servers/x/replicas", REPLICA])
def test_what_is_not_there_is_not_found(target: str) -> None:
    """Told apart from an address that does not exist."""
    problem(Admin().ask("GET", target), 404, "not_registered")


def test_news_are_awaited() -> None:
    """A request that names the index it knows is answered when there is another."""
    admin = Admin()
    client = admin.send("GET", "/v1/servers?index=1000&wait=20s")
    assert (client.received, admin.registry.asked) == (b"", [("await", 1000, 20.0)])
    admin.register()
    admin.registry.waiting[0].callback(None)
    admin.gate.settle()
    told = answer_at(client)
    assert (told["x-mcpgate-index"], told.json["servers"][0]["name"]) == (b"1001", "github-pm")


@pytest.mark.parametrize(
    ("query", "wait_s"), [("", 30.0), ("&wait=250ms", 0.25), ("&wait=5m", 300.0), ("&wait=1h", 300.0)]
)
def test_news_are_awaited_for_a_bounded_time(query: str, wait_s: float) -> None:
    """Half a minute, or what is asked for, up to five minutes."""
    admin = Admin()
    admin.send("GET", "/v1/servers?index=1000" + query)
    assert admin.registry.asked == [("await", 1000, wait_s)]


@pytest.mark.parametrize("query", ["?index=999", "?index=1001", "?index=0", "?wait=20s", "?index=1000&wait=0s"])
def test_who_knows_another_index_is_not_kept_waiting(query: str) -> None:
    """Nor who knows none; a greater one is from another life of the gateway."""
    admin = Admin()
    assert admin.ask("GET", f"/v1/servers{query}").json == {"servers": []}
    assert admin.registry.asked == []


def test_who_leaves_waits_for_no_news() -> None:
    """Nothing is kept for it."""
    admin = Admin()
    admin.send("GET", "/v1/servers?index=1000").reset()
    assert (admin.registry.left, admin.gate.failures) == (1, [])


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("?index=x&wait=y", ["index", "wait"]),
        ("?index=-1", ["index"]),
        ("?index=", ["index"]),
        ("?index=" + "9" * 100, ["index"]),
        ("?index=1&index=2", ["index"]),
        ("?since=1", ["query"]),
        ("?index=1000&wait=30", ["wait"]),
    ],
)
def test_a_misspelt_wait_is_told(query: str, where: list[str]) -> None:
    """Instead of an answer that looks like news."""
    told = problem(Admin().ask("GET", f"/v1/servers{query}"), 422, "registration")
    assert [fault["where"] for fault in told["faults"]] == where


def test_of_many_who_ask_for_all_servers_one_pays() -> None:
    """As long as nothing has changed, and for half a second, since not everything that is shown is a change."""
    admin = Admin()
    admin.gate.advance(1)
    bodies = [admin.ask("GET", "/v1/servers").body for _ in range(3)]
    assert (admin.registry.shown, bodies) == (1, [b'{"servers":[]}'] * 3)
    admin.register()
    assert admin.ask("GET", "/v1/servers").json["servers"][0]["name"] == "github-pm"
    admin.gate.advance(0.5)
    admin.ask("GET", "/v1/servers")
    assert admin.registry.shown == 3


def test_one_server_is_shown_without_the_others() -> None:
    """Nobody makes a list of ten thousand to show one of them."""
    admin = Admin()
    admin.register()
    for target in ("/v1/servers/github-pm", "/v1/servers/github-pm/replicas"):
        assert admin.ask("GET", target).status == 200
    assert admin.registry.shown == 0


def test_more_do_not_wait_for_news_than_may() -> None:
    """They are told what to do instead."""
    admin = Admin()
    client = admin.send("GET", "/v1/servers?index=1000")
    admin.registry.waiting[0].errback(errors.Overloaded("ask again without index"))
    admin.gate.settle()
    assert problem(answer_at(client), 503, "overloaded")["title"]


# --- names and rights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("/v1/servers/GitHub/replicas/A", ["server", "replica"]),
        ("/v1/servers/discovery/replicas/a", ["server"]),
        (f"/v1/servers/{'x' * 64}/replicas/a", ["server"]),
        ("/v1/servers/x%20y/replicas/a", ["server"]),
        ("/v1/servers/x/replicas/a;b", ["replica"]),
        ("/v1/servers/x/replicas/%C3%A9", ["replica"]),
        ("/v1/servers/x/replicas/a%00", ["replica"]),
        ("/v1/servers/x/replicas/a%252fb", ["replica"]),
        ("/v1/servers/x/replicas/-", ["replica"]),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_names_are_names(method: str, target: str, where: list[str]) -> None:
    """All that are none are told; none is repeated."""
    admin = Admin()
    told = problem(admin.ask(method, target, PLAIN if method == "PUT" else b""), 422, "registration")
    assert [fault["where"] for fault in told["faults"]] == where
    assert admin.registry.asked == []


@pytest.mark.parametrize(
    "target",
    [
        "/v1/servers/github-pm%2freplicas%2fa",
        "/v1/servers/github-pm/replicas%2Fa",
        "/v1/servers/github-pm%2Freplicas/a",
        "/v1/servers/github-pm%2f",
        "/v1/servers/github-pm/replicas/a%2f",
        "/v1%2fservers/github-pm",
        "/mcps%2fa",
        "/mcps/x%2fa",
        "/v1/servers/github-pm/replicas/a/",
        "/v1/servers/github-pm//replicas/a",
        "/v1/servers/x/%2e%2e/github-pm/replicas/a",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_other_spelling_leads_to_a_replica(method: str, target: str) -> None:
    """An address has one spelling, so that nobody before us reads another one."""
    admin = Admin()
    admin.register()
    told = admin.ask(method, target, PLAIN if method == "PUT" else b"")
    assert told.status in (400, 404, 405, 422)
    assert len(admin.registry.asked) == 1


WRITES = [
    ("POST", "/register", SEED),
    ("PUT", REPLICA, PLAIN),
    ("PUT", f"{REPLICA}/heartbeat", b""),
    ("POST", f"{REPLICA}/heartbeat", b""),
    ("DELETE", REPLICA, b""),
    ("DELETE", "/mcps/a", b""),
]


@pytest.mark.parametrize(("method", "target", "body"), WRITES)
def test_a_token_registers_the_servers_it_is_for(method: str, target: str, body: object) -> None:
    """And touches no other; it is told which those are."""
    admin = Admin()
    admin.register()
    assert admin.ask(method, target, body, "some").status in (200, 201)
    admin.register()
    before = list(admin.registry.asked)
    told = problem(admin.ask(method, target, body, "none"), 403, "server_not_registrable")
    assert told["detail"].endswith("none")
    assert admin.registry.asked == before


@pytest.mark.parametrize(("name", "status"), [("team-a", 201), ("team-", 422), ("team", 403), ("other", 403)])
def test_a_prefix_stands_for_all_servers_that_begin_so(name: str, status: int) -> None:
    """For those, and for no other."""
    assert Admin().ask("PUT", f"/v1/servers/{name}/replicas/a", PLAIN, "some").status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (None, 201),
        ("/github-pm", 201),
        ("/mcp/v2/team-a", 201),
        ("/mcp/team-a/v2/github-pm", 201),
        ("/mcp/weather/github-pm", 403),
        ("/weather/mcp/team-a", 403),
        ("/mcp/v2x/team-a", 403),
        ("/mcp/github-pm/weather", 403),
        ("/mcp/v2", 403),
        ("/mcp", 403),
    ],
)
def test_a_path_does_not_lie_below_that_of_a_server_of_others(path: str | None, status: int) -> None:
    """Else that one could not be registered any more; the refusal says what a path may be made of."""
    admin = Admin()
    told = admin.ask("PUT", REPLICA, {**PLAIN, "path": path} if path else PLAIN, "some")
    assert told.status == status
    assert len(admin.registry.asked) == (status == 201)
    if status == 403:
        assert b"/mcp/v2/github-pm" in told.body


@pytest.mark.parametrize(("method", "target", "body"), [*WRITES, ("POST", "/refresh", b"")])
@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401), ("reader", 403)])
def test_every_write_needs_the_scope(method: str, target: str, body: object, token: str, status: int) -> None:
    """From loopback, too; whatever the address."""
    admin = Admin()
    told = admin.ask(method, target, body, token)
    assert (told.status, admin.registry.asked) == (status, [])


def test_a_right_is_asked_for_before_the_body_is_read() -> None:
    """Who may not register learns nothing of what would be taken."""
    assert Admin().ask("PUT", REPLICA, b"{", "none").status == 403


def test_a_route_that_lets_everybody_in_registers_nobody() -> None:
    """Without a grant there is no right, however the request came here."""
    admin = Admin()
    admin.register()
    door = admin.gate.gateway.admin_door
    guarded, open_to_all = door.pipeline, RouteTable(dict.fromkeys(PATHS, Route(None, MAX_BODY_BYTES)))
    door.pipeline = Pipeline(replace(guarded.snapshot, routes=open_to_all), guarded.parts)
    told = [admin.ask(*write, token="") for write in WRITES]
    door.pipeline = guarded
    assert [each.status for each in told] == [401] * len(WRITES)
    assert len(admin.registry.asked) == 1


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", "/register", b"POST"),
        ("POST", "/mcps", b"GET, HEAD"),
        ("GET", "/mcps/a", b"DELETE"),
        ("GET", "/refresh", b"POST"),
        ("POST", REPLICA, b"DELETE, GET, HEAD, PUT"),
        ("PATCH", REPLICA, b"DELETE, GET, HEAD, PUT"),
        ("GET", f"{REPLICA}/heartbeat", b"POST, PUT"),
        ("DELETE", "/v1/servers/github-pm", b"GET, HEAD"),
        ("POST", "/v1/servers", b"GET, HEAD"),
        ("POST", "/v1/sources", b"GET, HEAD"),
    ],
)
def test_other_methods_are_refused_with_those_there_are(method: str, target: str, allow: bytes) -> None:
    """In the form of all refusals; a header that names another method changes nothing."""
    admin = Admin()
    admin.register()
    told = admin.ask(method, target, X_HTTP_Method_Override="DELETE", X_Method_Override="PUT")
    problem(told, 405, "method")
    assert told["allow"] == allow
    assert len(admin.registry.asked) == 1


@pytest.mark.parametrize("target", ["/v1/servers/a/b", "/v1/servers/", f"{REPLICA}/x", "/mcps/", "/register/x"])
def test_addresses_that_do_not_exist_are_not_found(target: str) -> None:
    """Klein's own pages are never seen."""
    problem(Admin().ask("GET", target), 404, "no_route")


@pytest.mark.parametrize(
    "fields",
    [
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/jsonp"},
        {"Content_Type": ""},
        {"Content_Encoding": "gzip"},
    ],
)
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [("POST", "/register", SEED), ("PUT", REPLICA, PLAIN), ("PUT", f"{REPLICA}/heartbeat", {"state": "pass"})],
)
def test_a_body_of_another_kind_is_not_read(method: str, target: str, body: object, fields: dict[str, str]) -> None:
    """The answer says how to send it."""
    admin = Admin()
    told = admin.ask(method, target, body, **fields)
    assert (told.status, admin.registry.asked) == (415, [])
    assert next(iter(fields)).replace("_", "-") in told.json["detail"]


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_json_however_it_is_written(media_type: str) -> None:
    """RFC 9110 section 8.3.1."""
    assert Admin().ask("PUT", REPLICA, PLAIN, Content_Type=media_type).status == 201


def test_a_body_needs_no_media_type() -> None:
    """Whoever sends something here means JSON."""
    admin = Admin()
    client = admin.gate.connect(admin=True)
    body = json.dumps(PLAIN).encode()
    head = f"PUT {REPLICA} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer every\r\n"
    client.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert answer_at(client).status == 201


@pytest.mark.parametrize(("method", "target"), [("POST", "/register"), ("PUT", REPLICA)])
@pytest.mark.parametrize(
    ("body", "wheres"),
    [
        (b"", {""}),
        (b"[]", {""}),
        (b'{"url": 1, "url": 2}', {""}),
        (b"\xff\xfe", {""}),
        (b"{" * 60_000, {""}),
        (b"[" * 60_000, {""}),
        (b'{"ttl": NaN}', {""}),
        (b'{"weight": 0, "nothing": 1}', {"weight", "nothing"}),
    ],
)
def test_all_that_is_wrong_is_told_at_once(method: str, target: str, body: bytes, wheres: set[str]) -> None:
    """Each with where it is."""
    admin = Admin()
    told = problem(admin.ask(method, target, body), 422, "registration")
    assert wheres <= {fault["where"] for fault in told["faults"]}
    assert all(set(fault) == {"where", "problem"} and fault["problem"] for fault in told["faults"])
    assert admin.registry.asked == []


def test_no_secret_comes_back_in_a_fault() -> None:
    """Nor into the log of accesses."""
    admin = Admin()
    said = {**PLAIN, "headers": {"X-Api-Key": "hush\n"}, "hush": "hush", "password": "hush", "url": "http://u:hush@h"}
    told = admin.ask("PUT", REPLICA, said)
    assert told.status == 422
    assert b"hush" not in told.body.replace(b'"where":"hush"', b"").replace(b"hush: unknown key", b"")
    assert not any(b"u:hush" in line for line in admin.gate.log_lines)


def test_a_large_body_is_refused_by_its_length() -> None:
    """Before any of it has come."""
    admin = Admin()
    client = admin.gate.connect(admin=True)
    head = f"PUT {REPLICA} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer every\r\n"
    client.send(f"{head}Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
    problem(answer_at(client), 413, "body_too_large")


def test_a_large_body_of_unknown_length_is_refused_when_it_is_too_large() -> None:
    """And no sooner."""
    admin = Admin()
    client = admin.gate.connect(admin=True)
    head = f"PUT {REPLICA} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer every\r\n"
    client.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), chunked(b" " * MAX_BODY_BYTES))
    assert client.received == b""
    client.send(chunked(b" "))
    problem(answer_at(client), 413, "body_too_large")
    assert admin.registry.asked == []


REFUSALS = [
    (refusals.RegistrationRefused.for_faults([("url", "no host")]), 422),
    (refusals.AddressForbidden(), 403),
    (refusals.Taken(), 409),
    (refusals.ChangedMeanwhile(), 412),
    (refusals.NotRegistered(), 404),
    (refusals.StoreUnavailable(), 503),
    (errors.Overloaded(), 503),
]


@pytest.mark.parametrize(("error", "status"), REFUSALS)
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [("POST", "/register", SEED), ("PUT", REPLICA, PLAIN), ("DELETE", REPLICA, b""), ("DELETE", "/mcps/a", b"")],
)
def test_what_the_registry_refuses_is_told(
    error: errors.GatewayError, status: int, method: str, target: str, body: object
) -> None:
    """With its reason, and when to come again if that may help."""
    admin = Admin()
    admin.register()
    admin.registry.answering = lambda _: fail(error)
    told = admin.ask(method, target, body)
    assert problem(told, status, error.reason)["detail"] == error.text
    assert ("retry-after" in told) == (status == 503)
    assert admin.gate.failures == []


@pytest.mark.parametrize("broken", [lambda _: fail(ZeroDivisionError("the disk")), lambda _: 1 / 0])
def test_a_failure_of_ours_is_told_in_the_log_alone(broken: Any) -> None:
    """The client has the id by which it is found there."""
    admin = Admin()
    admin.registry.answering = broken
    told = admin.ask("PUT", REPLICA, PLAIN)
    problem(told, 500, "internal")
    assert b"disk" not in told.body
    assert len(admin.gate.failures) == 1
    assert "ZeroDivisionError" in admin.gate.failures[0]


def test_answers_that_nobody_waits_for_are_still_worked_out() -> None:
    """A replica that is cut off while it registers is registered: what is kept half would be lost."""
    admin = Admin()
    cancelled: list[object] = []
    work: Deferred[Receipt] = Deferred(cancelled.append)
    admin.registry.answering = lambda _: work
    for method, target, body in (("PUT", REPLICA, PLAIN), ("POST", "/register", SEED), ("DELETE", REPLICA, b"")):
        work = Deferred(cancelled.append)
        client = admin.send(method, target, body)
        assert client.received == b""
        client.reset()
        work.callback(Receipt({}, '"1"', True))
    assert (cancelled, admin.gate.failures) == ([], [])


# --- whatever comes -------------------------------------------------------------------------------------------------

_words = st.text("ab/:.é\0", max_size=6)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _words
_values = _scalars | st.lists(_scalars, max_size=2) | st.dictionaries(_words, _scalars, max_size=2)
_keys = st.sampled_from([*Registration.model_fields, "name", "host", "port", "basePath", "state", "note", "x"])
_bodies = st.binary(max_size=32) | st.dictionaries(_keys, _values, max_size=5).map(
    lambda said: json.dumps(said).encode()
)
_targets = [("POST", "/register"), ("PUT", REPLICA), ("PUT", f"{REPLICA}/heartbeat"), ("DELETE", REPLICA)]
_VERBATIM = set(string.ascii_letters + string.digits + "?=&;/-._~")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(_targets), _bodies)
def test_any_body_is_taken_or_refused(where: tuple[str, str], body: bytes) -> None:
    """With an answer in either case, and never because something of ours failed."""
    admin = Admin()
    told = admin.ask(*where, body)
    assert told.complete
    assert told.status in (200, 201, 404, 422)
    assert admin.gate.failures == []


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["GET", "PUT", "DELETE"]), st.text(st.characters(max_codepoint=255), max_size=24))
def test_any_name_and_query_is_taken_or_refused(method: str, text: str) -> None:
    """Whatever the address is made of."""
    raw = "".join(each if each in _VERBATIM else f"%{ord(each):02x}" for each in text)
    admin = Admin()
    told = admin.ask(method, f"/v1/servers/x/replicas/{raw}", PLAIN if method == "PUT" else b"")
    assert told.complete
    assert told.status in (200, 201, 400, 404, 405, 422)
    assert admin.gate.failures == []


# --- the manual -----------------------------------------------------------------------------------------------------


def test_the_manual_knows_every_key_and_every_refusal() -> None:
    """So that nobody has to read the source."""
    manual = (Path(__file__).parents[2] / "docs" / "registry-api.md").read_text("utf-8")
    words = {*Registration.model_fields, *(error.reason for error, _ in REFUSALS), "server_not_registrable"}
    assert {word for word in words if f"`{word}`" not in manual} == set()
