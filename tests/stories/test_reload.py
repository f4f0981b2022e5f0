"""An operator changes the server table while clients are connected."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ends import STREAM_HEAD, answer_at, asked, chunked, refused

from mcpgate.exchange import Ended
from mcpgate.testing import GatewayUnderTest, answer, request

X = '  - {name: x, upstreams: [{url: "http://127.0.0.1:1001"}]}\n'
X_MOVED = '  - {name: x, upstreams: [{url: "http://127.0.0.1:1009"}]}\n'
Y = '  - {name: y, upstreams: [{url: "http://127.0.0.1:1002"}]}\n'
Z = '  - {name: z, upstreams: [{url: "http://127.0.0.1:1003"}]}\n'
TOKEN = {"Authorization": "Bearer admin-token"}


def _gate(*servers: str, top: str = "drain: {timeout: 10s}\n") -> GatewayUnderTest:
    return GatewayUnderTest(f"{top}servers:\n{''.join(servers)}")


def _reload(gate: GatewayUnderTest, *servers: str, top: str = "drain: {timeout: 10s}\n") -> dict[str, Any]:
    gate.config = f"{top}servers:{' []' if not servers else ''}\n{''.join(servers)}"
    return gate.gateway.reload()


def test_a_reload_says_what_has_changed() -> None:
    """Added, changed, removed, by name."""
    told = _reload(_gate(X, Y), X_MOVED, Z)
    assert told == {"success": True, "added": ["z"], "changed": ["x"], "removed": ["y"], "need_restart": []}


def test_new_requests_follow_the_new_table_at_once() -> None:
    """Also on connections that are open, and for requests that were sent before in the very same form."""
    gate = _gate(X, Y)
    client = gate.connect()
    for target in ("/mcp/x/a", "/mcp/y/a"):
        client.send(request("GET", target))
        gate.upstream().send(answer())
    _reload(gate, X_MOVED, Z)
    statuses = []
    for target in ("/mcp/y/a", "/mcp/x/a", "/mcp/z/a"):
        client.take()
        client.send(request("GET", target))
        if not client.received:
            gate.upstream().send(answer())
        statuses.append(answer_at(client).status)
    assert statuses == [404, 200, 200]
    assert [dial[1] for dial in gate.reactor.tcpClients] == [1001, 1002, 1009, 1003]


def test_the_same_request_twice_meets_a_new_table_in_between() -> None:
    """Nothing that was decided before the reload is used after it."""
    gate = _gate(X)
    client, peer = asked(gate, request("GET"))
    peer.send(answer())
    _reload(gate, X_MOVED)
    client.take()
    client.send(request("GET"))
    assert gate.reactor.tcpClients[-1][1] == 1009
    gate.upstream().send(answer())
    _reload(gate, Y)
    client.take()
    client.send(request("GET"))
    assert answer_at(client).status == 404


def test_streams_and_connections_of_servers_that_did_not_change_are_not_touched() -> None:
    """A reload that concerns others is not noticed, however often it happens."""
    gate = _gate(X, Y)
    client, peer = asked(gate, request(body=b"{}"))
    peer.send(STREAM_HEAD)
    idle_client, idle_peer = asked(gate, request(body=b"{}"))
    idle_peer.send(answer())
    for servers in ((X, Z), (X,), (X, Y)):
        _reload(gate, *servers)
        gate.advance(1)
    idle_client.send(request(body=b"{}"))
    assert gate.upstream() is idle_peer
    gate.advance(20)
    peer.send(chunked(b"data: 1\n\n"))
    assert answer_at(client, "POST").body == b"data: 1\n\n"
    assert client.closed is None


@pytest.mark.parametrize("then", [(X_MOVED,), (Y,)])
def test_streams_of_a_server_that_is_gone_end_within_the_drain_timeout(then: tuple[str, ...]) -> None:
    """Until then they go on; a call that has no answer by then is told 503."""
    gate = _gate(X)
    streaming, to_streaming = asked(gate, request(body=b"{}"))
    to_streaming.send(STREAM_HEAD)
    waiting, _ = asked(gate, request(body=b'{"id":5}'))
    _reload(gate, *then)
    gate.advance(9)
    to_streaming.send(chunked(b"data: 1\n\n"))
    assert answer_at(streaming, "POST").body == b"data: 1\n\n"
    gate.advance(1.5)
    assert not answer_at(streaming, "POST").complete
    assert streaming.closed is not None
    told = answer_at(waiting, "POST")
    assert (told.status, told["mcpgate-error"], told.json["id"]) == (503, b"server_removed", 5)
    assert told["retry-after"]
    assert [peer.closed for peer in gate.peers] == ["reset", "reset"]
    assert {record.ended for record in gate.records} == {Ended.DRAIN, Ended.REFUSED}


def test_calls_of_a_removed_server_may_finish() -> None:
    """And its connections are not kept after that."""
    gate = _gate(X)
    _, idle_peer = asked(gate, request("GET"))
    busy, busy_peer = asked(gate, request("GET"))
    idle_peer.send(answer())
    _reload(gate, Y)
    assert idle_peer.closed is not None
    busy_peer.send(answer(b"done"))
    assert answer_at(busy).body == b"done"
    assert busy_peer.closed is not None
    assert refused(gate, request("GET")).status == 404


@pytest.mark.parametrize(
    "bad",
    [
        "servers: [",
        "servers: [{name: x}]",
        "serverz: []",
        "servers: [{name: t, upstreams: [{url: 'https://h', tls: {ca_file: /nowhere/ca.pem}}]}]",
    ],
)
def test_a_bad_file_changes_nothing(bad: str) -> None:
    """The last good configuration stays, and the faults are told."""
    gate = _gate(X)
    gate.config = bad
    told = gate.gateway.reload()
    assert told["success"] is False
    assert told["faults"]
    assert not gate.gateway.reload_state.successful
    _, peer = asked(gate, request("GET"))
    assert peer.received
    assert _reload(gate, X)["success"]
    assert gate.gateway.reload_state.successful


def test_allowed_hosts_and_origins_change_live() -> None:
    """Also for a connection that has been using another name."""
    gate = _gate(X, top="http: {allowed_hosts: [a.example]}\n")
    client, peer = asked(gate, request("GET", headers={"Host": "a.example"}))
    peer.send(answer())
    assert _reload(gate, X, top="http: {allowed_hosts: [b.example]}\n")["need_restart"] == []
    client.take()
    client.send(request("GET", headers={"Host": "a.example"}))
    assert answer_at(client).status == 421
    assert refused(gate, request("GET", headers={"Origin": "http://c.example"})).status == 403
    _, peer = asked(gate, request("GET", headers={"Host": "b.example", "Origin": "https://b.example"}))
    assert peer.received


def test_admin_tokens_change_live() -> None:
    """A token that was taken out opens nothing any more."""
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
    tokens = f"admin: {{tokens: [{{id: ops, sha256: {digest}, scopes: [write]}}]}}\n"
    gate = _gate(X, top=tokens)
    client = gate.connect(admin=True)
    ask = request("POST", "/admin/reload", headers={"Authorization": "Bearer secret"})
    client.send(ask)
    assert answer_at(client, "POST").status == 200
    _reload(gate, X)
    client.take()
    client.send(ask)
    assert answer_at(client, "POST").status == 401


@pytest.mark.parametrize(
    ("top", "key"),
    [
        ("listen: tcp:8800:interface=127.0.0.1\n", "listen"),
        ("admin: {listen: 'tcp:8801:interface=127.0.0.1'}\n", "admin.listen"),
        ("http: {max_headers: 50}\n", "http"),
        ("http: {max_body_bytes: 64}\n", "http"),
        ("trusted_proxies: [10.0.0.0/8]\n", "trusted_proxies"),
    ],
)
def test_what_needs_a_restart_is_said_every_time(top: str, key: str) -> None:
    """As long as the running gateway differs from the file; and it does not apply by halves."""
    gate = _gate(X, top="")
    for _ in range(2):
        assert _reload(gate, X, top=top)["need_restart"] == [key]
    _, peer = asked(gate, request(body=b"x" * 100, headers={f"A{number}": "" for number in range(60)}))
    assert peer.received
    assert _reload(gate, X, top="")["need_restart"] == []


def test_a_reload_over_http_is_told_in_full() -> None:
    """`POST /admin/reload` with a token that may write."""
    gate = _gate(X)
    gate.config = f"servers:\n{Y}"
    client = gate.connect(admin=True)
    client.send(request("POST", "/admin/reload", headers=TOKEN))
    told = answer_at(client, "POST")
    assert (told.status, told.json["success"], told.json["added"]) == (200, True, ["y"])
    gate.config = "servers: {}"
    client.take()
    client.send(request("POST", "/admin/reload", headers=TOKEN))
    told = answer_at(client, "POST")
    assert (told.status, told.json["success"]) == (422, False)
    assert "gate.yaml:1:" in told.json["faults"][0]


@pytest.mark.parametrize("fields", [{}, {"Authorization": "Bearer nobody"}])
def test_a_reload_needs_a_token_also_from_loopback(fields: dict[str, str]) -> None:
    """Any process on the machine can reach loopback."""
    gate = _gate(X)
    gate.config = f"servers:\n{Y}"
    client = gate.connect(admin=True)
    client.send(request("POST", "/admin/reload", headers=fields))
    assert answer_at(client, "POST").status == 401
    assert "x" in gate.gateway.servers
