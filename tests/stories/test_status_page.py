"""As an operator I open one address and see what the gateway does, and nobody else can read or write there."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from tests.ends import STREAM_HEAD, answer_at, asked, chunked, gateway, server

from mcpgate.testing import Client, GatewayUnderTest, answer, request

TOKEN = {"Authorization": "Bearer admin-token"}  # the kit's own, with every scope
PUBLIC = "admin: {listen: tcp:8701}"
READER = f"admin: {{tokens: [{{id: reader, sha256: {sha256(b'look').hexdigest()}, scopes: [read]}}]}}"
ADDRESSES = ("/status", "/status.txt", "/status/events", "/metrics", "/admin/config", "/admin/log-levels")


def ask(
    gate: GatewayUnderTest, target: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None
) -> Any:
    client = gate.connect(admin=True)
    client.send(request(method, target, body, headers))
    gate.advance(0.1)
    return answer_at(client, method)


def status(gate: GatewayUnderTest) -> Any:
    return ask(gate, "/status").json


def newest(client: Client) -> Any:
    """The last event that a reader of the feed has got."""
    return json.loads(answer_at(client).body.decode().rsplit("data: ", 1)[1])


def open_stream(gate: GatewayUnderTest) -> Client:
    client = gate.connect()
    client.send(request("GET", "/mcp/x/mcp", headers={"Accept": "text/event-stream", "Mcp-Session-Id": "s"}))
    gate.upstream().send(STREAM_HEAD + chunked(b"data: 1\n\n"))
    return client


def test_a_stream_shows_while_it_is_open() -> None:
    """On the feed, without asking again; its bytes as they are now."""
    gate = gateway()
    reader = gate.connect(admin=True)
    reader.send(request("GET", "/status/events"))
    assert newest(reader)["servers"][0]["open_streams"] == {}
    client = open_stream(gate)
    gate.advance(2)
    told = newest(reader)
    (stream,) = told["streams"]
    assert (stream["server"], stream["transport"], stream["client"]) == ("x", "streamable-http", "127.0.0.1")
    assert stream["bytes_out"] == told["servers"][0]["bytes_out"] == len(b"data: 1\n\n")
    assert told["gateway"]["connections"]["states"] == {"stream": 1}
    client.close()
    gate.advance(2)
    told = newest(reader)
    assert (told["streams"], told["servers"][0]["open_streams"]) == ([], {})
    assert told["servers"][0]["streams_ended"] == {"client_gone": 1}


def test_requests_and_their_times_add_up() -> None:
    """By server; also those that are under way."""
    gate = gateway()
    client = gate.connect()
    client.send(request("GET", "/mcp/x/a"))
    assert status(gate)["servers"][0]["open_requests"] == 1
    gate.advance(0.3)
    gate.upstream().send(answer(b"{}"))
    gate.advance(0.5)
    told = status(gate)["servers"][0]
    assert (told["requests"], told["answers"], told["open_requests"]) == (1, {"2xx": 1}, 0)
    assert told["duration_s"]["mean"] == pytest.approx(0.4, abs=0.05)
    assert 0.25 <= told["duration_s"]["p50"] <= 0.5


def test_what_went_wrong_is_there_to_be_looked_up() -> None:
    """With the id that the client was told, and what only operators are."""
    gate = gateway()
    gate.refusing.add(3010)
    told = answer_at(_ask_data(gate))
    (trouble,) = status(gate)["recent"]
    assert trouble["request_id"] == told.json["error"]["data"]["requestId"]
    assert (trouble["server"], trouble["status"], trouble["reason"]) == ("x", 502, "connect_failed")
    assert status(gate)["servers"][0]["replicas"][0]["status"] == "down"
    text = ask(gate, "/status.txt").body.decode()
    assert "connect_failed" in text
    assert trouble["request_id"] in text


def _ask_data(gate: GatewayUnderTest) -> Client:
    client = gate.connect()
    client.send(request("GET", "/mcp/x/a"))
    return client


def test_a_draining_gateway_says_so() -> None:
    """As long as it answers at all."""
    gate = gateway("", "drain: {delay: 5s}")
    gate.gateway.drain()
    told = status(gate)["gateway"]
    assert (told["state"], told["ready"]) == ("draining", False)


@pytest.mark.parametrize("target", ADDRESSES)
def test_reading_is_open_on_this_machine_only(target: str) -> None:
    """Elsewhere it takes a token; the page itself, which tells nothing, is open."""
    assert ask(gateway(), target).status == 200
    gate = gateway("", PUBLIC)
    assert ask(gate, target).status == 401
    assert ask(gate, target, headers=TOKEN).status == 200
    assert ask(gate, "/").status == 200


@pytest.mark.parametrize("top", ["", PUBLIC], ids=["loopback", "public"])
def test_writing_levels_always_takes_a_token(top: str) -> None:
    """Whoever may look may not therefore change."""
    gate = gateway("", top)
    assert ask(gate, "/admin/log-levels", "PUT", b"{}").status == 401
    told = ask(gate, "/admin/log-levels", "PUT", b"{}", headers=TOKEN)  # the kit lends no event log that could be set
    assert (told.status, told["content-type"]) == (422, b"application/problem+json")


def test_a_token_for_reading_does_not_write() -> None:
    """The scope counts, also on an address that may be read without any."""
    gate = gateway("", READER)
    told = ask(gate, "/admin/log-levels", "PUT", b"{}", headers={"Authorization": "Bearer look"})
    assert (told.status, told.json["reason"]) == (403, "scope")
    assert ask(gate, "/admin/log-levels", headers={"Authorization": "Bearer look"}).status == 200


def test_no_secret_is_on_the_page_or_its_twins() -> None:
    """Neither tokens and their hashes, nor what the gateway shows to servers."""
    digest = "ab" * 32
    gate = GatewayUnderTest(
        f'auth: {{tokens: [{{id: alice, sha256: "{digest}", servers: ["*"]}}]}}\n'
        + server("headers: {set: {X-Api-Key: swordfish}}")
    )
    _ask_data(gate)
    for target in ("/", "/status", "/status.txt", "/status/events", "/metrics"):
        body = ask(gate, target).body
        assert not any(secret in body for secret in (digest.encode(), b"swordfish"))


def test_who_asks_often_gets_the_same_moment() -> None:
    """Making it can take 15 ms: readers in a loop must not hold up others."""
    gate = gateway()
    first = status(gate)["gateway"]["time_s"]
    assert status(gate)["gateway"]["time_s"] == first
    gate.advance(0.5)
    assert status(gate)["gateway"]["time_s"] > first


def test_a_stream_on_a_changed_server_is_listed_once() -> None:
    """After a reload the old object of the server and the new one share what is open."""
    gate = gateway()
    asked(gate, request("GET"))[1].send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    gate.config = gate.config.replace("3010", "3011")
    assert gate.gateway.reload()["success"]
    assert len(status(gate)["streams"]) == 1
