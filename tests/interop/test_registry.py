"""Servers that join at run time, with real parts: SDK servers and clients, registries, other gateways, signal 9."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.interop.callers import Caller
from tests.interop.joined import TTL_S, Company, Gateway, kill
from tests.interop.processes import Command, wait_until
from tests.interop.upstreams import node_env
from tests.interop.visits import CLIENTS, Plan, Visitor

#: How late anything may be on a loaded machine.
SOON_S = 5.0
REGISTRANTS = 200
ROUNDS = 4
FORECAST = Plan((("forecast", {"city": "Ulm"}),))
ADD = Plan((("add", {"a": 2, "b": 40}),))


@pytest.fixture
def company(home: Path, tmp_path: Path) -> Iterator[Company]:
    """Whatever a test starts."""
    company = Company(home, tmp_path)
    yield company
    company.close()


# --- the story ------------------------------------------------------------------------------------------------------


def test_servers_join_are_found_and_leave(company: Company, visitor: Visitor) -> None:
    """Three servers register themselves and are used at once; one dies, one leaves, the others notice nothing."""
    gateway = company.open_gateway("gateway")
    with gateway.feed() as feed, ExitStack() as stack:
        first = company.python_server("v1", gateway, "first")
        seen = visitor.visit("python-1.30-http", gateway.url("first"), FORECAST)
        assert seen["calls"][0]["result"]["content"][0]["text"] == "Ulm: sun, 21 °C"
        second = company.python_server("v2", gateway, "second")
        seen = visitor.visit("typescript-2.4-auto", gateway.url("second"), FORECAST)
        assert [tool["name"] for tool in seen["tools"]] == ["forecast"]
        assert seen["calls"][0]["result"]["content"][0]["text"] == "Ulm: sun, 21 °C"
        third = company.typescript_server(gateway, "third")
        seen = visitor.visit("python-2.3-auto", gateway.url("third"), Plan((("who", {}),)))
        assert seen["calls"][0]["result"]["content"][0]["text"] == "third"

        assert gateway.names() == ["first", "second", "third"]
        wait_until(lambda: all(feed.has("added", name) for name in ("first", "second", "third")), "the events", SOON_S)
        streams = [stack.enter_context(stream_of(gateway, name)) for name in ("first", "second")]

        kill(third)
        died_s = time.monotonic()
        wait_until(lambda: "third" not in gateway.names(), "the dead one is gone", TTL_S + SOON_S)
        wait_until(lambda: feed.has("removed", "third"), "the event of it", SOON_S)
        assert time.monotonic() - died_s > TTL_S / 2, "a beat that is merely late is no death"
        assert Caller(gateway.url("third")).call("tools/list").status in (404, 503)
        assert [entry["state"] for entry in gateway.entries().values()] == ["passing", "passing", "critical"]
        assert visitor.visit("python-1.30-http", gateway.url("first"), FORECAST)["calls"][0]["result"]

        assert second.stop() == 0
        assert gateway.names() == ["first"], "who leaves is gone when it has left"
        wait_until(lambda: feed.has("removed", "second"), "the event of it", SOON_S)
        assert not feed.has("removed", "first")
        assert is_open(streams[0])
        assert first.alive
        assert visitor.visit("typescript-1.32-http", gateway.url("first"), FORECAST)["calls"][0]["result"]


@contextlib.contextmanager
def stream_of(gateway: Gateway, server: str) -> Iterator[http.client.HTTPResponse]:
    """A session's stream for what the server has to say."""
    caller = Caller(gateway.url(server))
    with caller.opened("GET", headers={**caller.initialize(), "Accept": "text/event-stream"}) as reply:
        assert reply.status == 200
        yield reply


def is_open(stream: http.client.HTTPResponse) -> bool:
    """Whether a stream on which nothing was said still waits."""
    raw: Any = stream.fp
    raw.raw._sock.settimeout(0.2)
    try:
        return bool(stream.read(1))
    except TimeoutError:
        return True


# --- signal 9 -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Registrants:
    """
    Many who register at once, each again and again under new names, until the gateway is gone.

    :ivar told: the weight that was acknowledged last, by server.
    """

    gateway: Gateway
    url: str
    told: dict[str, int] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)

    def register(self, number: int, round_: int) -> None:
        """One of them: a server of its own, and one that is changed in every round."""
        fields = {"Authorization": f"Bearer {self.gateway.token}", "Content-Type": "application/json"}
        line = http.client.HTTPConnection("127.0.0.1", self.gateway.admin_port, timeout=20)
        with closing(line), contextlib.suppress(OSError, http.client.HTTPException):
            weight = round_ * 100
            while not self.is_over.is_set():
                weight = min(weight + 1, round_ * 100 + 99)
                for name in (f"again-{number}", f"round-{round_}-{number}"):
                    body = json.dumps({"url": self.url, "weight": weight, "ttl": 0})
                    line.request("PUT", f"/v1/servers/{name}/replicas/a", body, fields)
                    reply = line.getresponse()
                    content = reply.read()
                    assert reply.status in (200, 201), content
                    self.told[name] = weight


def test_nothing_that_was_acknowledged_is_lost(company: Company) -> None:
    """Signal 9 while 200 register at once: all that was acknowledged is there afterwards, and served at once."""
    port = company.upstream("lab")
    gateway = company.open_gateway("gateway")
    registrants = Registrants(gateway, f"http://127.0.0.1:{port}")
    for round_ in range(1, ROUNDS + 1):
        before = len(registrants.told)
        registrants.is_over.clear()
        with ThreadPoolExecutor(REGISTRANTS) as pool:
            work = [pool.submit(registrants.register, number, round_) for number in range(REGISTRANTS)]
            wait_until(lambda before=before: len(registrants.told) > before, "the first one", 20)  # type: ignore[misc]
            time.sleep(random.uniform(0.0, 1.0))
            gateway.kill()
            registrants.is_over.set()
        for each in work:
            each.result()
        with closing(sqlite3.connect(gateway.folder / "var" / "registry.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        gateway.start()
        entries = gateway.entries()
        missing = {name for name, weight in registrants.told.items() if entries.get(name, {}).get("weight", 0) < weight}
        assert missing == set()
        assert {entries[name]["state"] for name in registrants.told} <= {"unverified", "passing"}
        for name in random.sample(sorted(registrants.told), 5):
            assert Caller(gateway.url(name)).initialize()


# --- lists ----------------------------------------------------------------------------------------------------------


def register_simply(registry: str, name: str, port: int, token: str = "none") -> dict[str, Any]:
    """Register as servers do that know the simple registry alone; a token is of no use there."""
    entry = {"name": name, "version": "1.0.0", "basePath": f"/mcp/{name}", "host": "127.0.0.1", "port": port}
    reply = Caller(registry, {"Authorization": f"Bearer {token}"}).send("POST", entry, target="/register")
    assert reply.status == 201, reply
    return dict(json.loads(reply.body))


def listed_simply(registry: str) -> list[dict[str, Any]]:
    """What the simple registry, or whoever speaks like it, lists."""
    return list(json.loads(Caller(registry).send("GET", target="/mcps").body))


def test_a_simple_registry_is_followed(company: Company, visitor: Visitor) -> None:
    """Who registers there is here soon, or at once if somebody asks; when it is gone, what it said stays."""
    place, port = company.port(), company.upstream("lab-sse")
    registry, running = f"http://127.0.0.1:{place}", company.simple_registry(place)
    source = {"url": f"{registry}/mcps", "name": "old"}
    quick = company.open_gateway("quick", {"sources": [{**source, "interval": "1s"}]})
    slow = company.open_gateway("slow", {"sources": [{**source, "interval": "1h"}]})
    register_simply(registry, "lab", port)
    wait_until(lambda: quick.names() == ["lab"], "it is there after the interval", 1 + SOON_S)
    assert slow.names() == []
    refreshed = slow.ask("POST", "/refresh")
    assert (refreshed.status, json.loads(refreshed.body)["success"]) == (200, True)
    assert isinstance(json.loads(refreshed.body)["message"], str)
    assert slow.names() == ["lab"]
    assert slow.entries()["lab"]["origin"] == "list:old"
    for gateway in (quick, slow):
        seen = visitor.visit("python-1.30-sse", gateway.url("lab", "/sse"), ADD)
        assert seen["calls"][0]["result"]["structuredContent"] == {"result": 42}

    kill(running)
    failed = json.loads(slow.ask("POST", "/refresh").body)
    assert failed["success"] is False
    assert [each["name"] for each in json.loads(slow.ask("GET", "/v1/sources").body)["sources"]] == ["old"]
    slow.stop()
    slow.start()
    assert (quick.names(), slow.names()) == (["lab"], ["lab"])
    assert visitor.visit("python-1.30-sse", slow.url("lab", "/sse"), ADD)["calls"][0]["result"]


def test_the_gateway_is_such_a_registry_itself(company: Company, visitor: Visitor) -> None:
    """The same requests register with it, list it, and, as an old registry cannot, take it out again."""
    place, port = company.port(), company.upstream("lab-sse")
    company.simple_registry(place)
    gateway = company.open_gateway("gateway")
    ours = register_simply(gateway.admin, "lab", port, gateway.token)
    theirs = register_simply(f"http://127.0.0.1:{place}", "lab", port)
    assert theirs.keys() <= ours.keys()
    same = ("name", "version", "basePath", "endpoint")
    assert [ours[key] for key in same] == [theirs[key] for key in same]
    (ours_listed,), (theirs_listed,) = listed_simply(gateway.admin), listed_simply(f"http://127.0.0.1:{place}")
    assert theirs_listed.keys() <= ours_listed.keys()
    assert [ours_listed[key] for key in ("id", *same)] == [ours[key] for key in ("id", *same)]
    assert visitor.visit("python-1.30-sse", gateway.url("lab", "/sse"), ADD)["calls"][0]["result"]
    assert gateway.ask("DELETE", f"/mcps/{ours['id']}").status == 200
    assert (listed_simply(gateway.admin), gateway.names()) == ([], [])


@pytest.mark.parametrize("form", ["/mcp/discovery", "/v0.1/servers"])
def test_another_gateway_is_followed(form: str, company: Company, visitor: Visitor) -> None:
    """What stands behind one gateway is used through another, which has read its list in either form."""
    port = company.upstream("lab")
    more = [{"name": f"s{number:03}", "upstreams": [{"url": "http://127.0.0.1:9"}]} for number in range(120)]
    lab = {"name": "lab", "title": "Lab", "version": "1.2.0", "upstreams": [{"url": f"http://127.0.0.1:{port}"}]}
    inner = company.gateway("inner", servers=[*more, lab])
    outer = company.open_gateway("outer", {"sources": [{"url": f"{inner.public}{form}", "interval": "1s"}]})
    wait_until(lambda: len(outer.names()) == 121, "all of them, of all pages", 1 + SOON_S)
    seen = visitor.visit("typescript-2.4-auto", outer.url("lab"), ADD)
    assert seen["calls"][0]["result"]["structuredContent"] == {"result": 42}
    told = json.loads(Caller(outer.public).send("GET", target="/mcp/discovery").body)["mcpServers"]
    (entry,) = [each for each in told if each["name"] == "lab"]
    assert (entry["title"], entry["version"]) == ("Lab", "1.2.0")
    assert entry["url"] == outer.url("lab")
    assert str(inner.port) not in json.dumps(told)


# --- who reads registries -------------------------------------------------------------------------------------------


def test_vscode_reads_the_registry(company: Company, visitor: Visitor) -> None:
    """What VS Code asks, in its order, is answered as the OpenAPI of registries says, page by page."""
    servers: list[dict[str, Any]] = [
        {"name": "plain", "upstreams": [{"url": "http://127.0.0.1:9"}]},
        {"name": "told", "title": "Told " * 30, "description": "About " * 40, "docs_url": "https://docs.example/told"},
        {"name": "pm-v1", "path": "/mcp/v1/pm", "version": "1.4.0"},
        {"name": "pm-v2", "path": "/mcp/v2/pm", "version": "2.0.0", "endpoints": {"sse": "/sse"}},
        *({"name": f"s{number}"} for number in range(5)),
    ]
    somewhere = {"upstreams": [{"url": "http://127.0.0.1:9"}]}
    gateway = company.gateway("gateway", servers=[{**somewhere, **server} for server in servers])
    schema = json.loads((CLIENTS / "registry.schema.json").read_text())
    plan = {"url": gateway.public, "search": "", "schema": schema, "pageSize": 3}
    seen = visitor.printed(vscode(company.home, plan), CLIENTS / "vscode.mjs")
    assert seen["asked"][0] == ["/v0.1/servers?limit=1", 200]
    assert {status for _, status in seen["asked"]} == {200}
    assert seen["faults"] == []
    assert (seen["shown"], seen["probed"], seen["unknown"]) == (True, 1, 404)
    names = [each["server"]["name"].rpartition("/")[2] for each in seen["servers"]]
    assert sorted(names) == ["plain", "pm", "s0", "s1", "s2", "s3", "s4", "told"]
    assert seen["servers"] == seen["latest"]
    (pm,) = [each["server"] for each in seen["servers"] if each["server"]["name"].endswith("/pm")]
    assert (pm["version"], pm["remotes"]) == ("2.0.0", [{"type": "sse", "url": f"{gateway.public}/mcp/v2/pm/sse"}])
    found = visitor.printed(vscode(company.home, {**plan, "search": "S", "pageSize": 2}), CLIENTS / "vscode.mjs")
    assert found["faults"] == []
    assert [each["server"]["name"].rpartition("/")[2] for each in found["servers"]] == ["s0", "s1", "s2", "s3", "s4"]


def vscode(home: Path, plan: dict[str, Any]) -> Command:
    """The client that asks as VS Code does."""
    return Command(["node", "--input-type=module", "-", json.dumps(plan)], home / "sdk", node_env(home))
