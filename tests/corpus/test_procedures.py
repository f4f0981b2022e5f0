"""The cases of the corpus that are a course of events rather than bytes; the docstrings name them."""

from __future__ import annotations

import json
import random
import tracemalloc

import pytest
from tests.corpus.peers import read_answers

from mcpgate.config import ConfigFaults, parse
from mcpgate.testing import ONE_SERVER, Client, GatewayUnderTest, answer, request

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SESSION = {"Mcp-Session-Id": "s-1"}
MIB = 1 << 20


def statuses(client: Client) -> list[int]:
    """The statuses of all answers on a connection."""
    return [each.status for each in read_answers(client.received, client.closed, b"").final]


def open_stream(gate: GatewayUnderTest) -> Client:
    """A client with an event stream that has begun."""
    client = gate.connect()
    client.send(request("GET", headers=SESSION))
    gate.upstream().send(EVENT_STREAM + b"9\r\ndata: 1\n\n\r\n")
    assert client.received.endswith(b"data: 1\n\n\r\n")
    return client


def chunk(text: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(text), text)


def test_answers_go_to_whoever_asked_though_all_ids_are_the_same(failures: list[str]) -> None:
    """MC-ID-COLLISION: twenty clients, one JSON-RPC id, calls answered in any order: each gets its own answer."""
    gate, dice = GatewayUnderTest(), random.Random(1)
    clients = [gate.connect() for _ in range(20)]
    for round_ in range(25):
        calls = {f"{round_}-{index}": client for index, client in enumerate(clients)}
        for mark, client in calls.items():
            client.take()
            client.send(request(body=json.dumps({"jsonrpc": "2.0", "id": 1, "params": mark}).encode()))
        waiting = [(peer, peer.take()) for peer in gate.peers]
        assert len(waiting) == len(clients)
        dice.shuffle(waiting)
        for peer, asked in waiting:
            peer.send(answer(asked.partition(b"\r\n\r\n")[2]))
        for mark, client in calls.items():
            assert json.loads(client.received.partition(b"\r\n\r\n")[2])["params"] == mark
    assert failures == []


def test_a_second_stream_of_a_session_does_not_end_the_first() -> None:
    """MC-SESSION-SECOND-GET: whether a session may have two streams is the server's decision, not ours."""
    gate = GatewayUnderTest()
    first = open_stream(gate)
    second = gate.connect()
    second.send(request("GET", headers=SESSION))
    gate.upstream().send(answer(status="409 Conflict"))
    gate.upstream(0).send(chunk(b"data: 2\n\n"))
    assert statuses(second) == [409]
    assert first.closed is None
    assert b"data: 2" in first.received


def test_a_few_lines_of_yaml_cannot_stand_for_gigabytes() -> None:
    """CF-YAML-BOMB: anchors and aliases are refused, not followed."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    tracemalloc.start()
    with pytest.raises(ConfigFaults, match="alias"):
        parse("\n".join(lines), "gate.yaml", {})
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 8 * MIB


def test_a_variable_is_filled_in_once() -> None:
    """CF-ENV-EXPAND: what a variable holds is text; a ${...} in it stands for nothing."""
    environ = {"BASE": "${HOME}", "HOME": "/root"}
    config = ONE_SERVER.replace('3010"', '3010/${BASE}"')
    with pytest.raises(ConfigFaults) as refused:
        parse(config, "gate.yaml", environ)
    assert "/root" not in str(refused.value)


def test_a_bad_file_changes_nothing() -> None:
    """CF-RELOAD-BAD: the running configuration stays, and so do the streams and the requests under way."""
    gate = GatewayUnderTest()
    stream, caller = open_stream(gate), gate.connect()
    caller.send(request(body=b"{}"))
    gate.config = "servers: [{name: x"
    told = gate.gateway.reload()
    assert told["success"] is False
    assert told["faults"]
    assert not gate.gateway.reload_state.successful
    gate.upstream().send(answer())
    gate.upstream(0).send(chunk(b"data: 2\n\n"))
    assert statuses(caller) == [200]
    assert b"data: 2" in stream.received
    gate.ask(request(body=b"{}"))
    assert gate.upstream().received.startswith(b"POST /mcp HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "path", ["/metrics", "/livez", "/readyz", "/healthz", "/admin/config", "/admin/reload", "/register", "/mcps"]
)
def test_addresses_for_operators_are_not_on_the_listener_for_clients(path: str) -> None:
    """OB-METRICS-AUTH: they are as unknown there as any other path, with and without an admin token."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("GET", path), request("POST", path, headers={"Authorization": "Bearer admin-token"}))
    assert statuses(client) == [404, 404]


def test_a_drain_leaves_streams_their_time() -> None:
    """SE-DRAIN: nothing new comes in, open streams live up to the deadline and are then cut, all of them."""
    gate = GatewayUnderTest(ONE_SERVER + "drain: {timeout: 30s}\n")
    streams = [open_stream(gate) for _ in range(40)]
    ended: list[object] = []
    gate.gateway.drain().addCallback(ended.append)
    gate.advance(29)
    assert [stream.closed for stream in streams] == [None] * len(streams)
    assert ended == []
    late = gate.connect()
    late.send(request("GET"))
    assert statuses(late) == [503]
    gate.advance(3)
    assert all(stream.closed for stream in streams)
    assert not any(stream.received.endswith(b"0\r\n\r\n") for stream in streams)
    assert len(ended) == 1


def test_a_drain_ends_when_the_last_request_is_answered() -> None:
    """SE-DRAIN: a request under way gets its answer, and nobody waits for the deadline after it."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request(body=b"{}"))
    ended: list[object] = []
    gate.gateway.drain().addCallback(ended.append)
    gate.advance(1)
    assert ended == []
    gate.upstream().send(answer())
    assert statuses(client) == [200]
    client.close()
    gate.advance(1)
    assert len(ended) == 1


def test_writing_for_operators_needs_a_token_from_this_machine_too() -> None:
    """RG-UNAUTH: without a token 401 with a challenge, with a wrong one as well; with the right one it is done."""
    gate = GatewayUnderTest()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
        refused = gate.ask(request("POST", "/admin/reload", headers=headers), admin=True)
        assert refused.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nWWW-Authenticate: Bearer" in refused
    done = gate.ask(request("POST", "/admin/reload", headers={"Authorization": "Bearer admin-token"}), admin=True)
    assert done.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("framing", [{"Content-Length": str(5 * MIB)}, {"Transfer-Encoding": "chunked"}])
def test_what_operators_send_is_bounded_too(framing: dict[str, str]) -> None:
    """RG-BODY-5M: five megabytes are refused, announced or not, before they are all here."""
    gate = GatewayUnderTest()
    client = gate.connect(admin=True)
    client.send(request("POST", "/admin/reload", headers={"Authorization": "Bearer admin-token", **framing}))
    for _ in range(80):
        client.send(chunk(b" " * 65536) if "Transfer-Encoding" in framing else b"")
    assert statuses(client) == [413]
    assert client.closed == "fin"


def test_secrets_of_the_configuration_are_not_told() -> None:
    """RG-SECRET-ECHO: credentials for upstreams and digests of tokens stand in no answer and no log line."""
    secret, digest = "upstream-secret-1", "ab" * 32
    config = (
        ONE_SERVER
        + f"    headers: {{set: {{X-Api-Key: {secret}}}}}\n"
        + f"admin: {{tokens: [{{id: ops, sha256: {digest}, scopes: [read]}}]}}\n"
    )
    gate = GatewayUnderTest(config)
    told = gate.ask(request("GET", "/admin/config"), admin=True)
    told += gate.ask(request("GET", "/mcp/discovery"))
    gate.ask(request(body=b"{}"))
    assert secret.encode() in gate.upstream().received
    gate.upstream().send(b"no HTTP")
    gate.advance(1)
    told += b"".join(gate.log_lines)
    assert b"X-Api-Key" in told
    assert secret.encode() not in told
    assert digest.encode() not in told
