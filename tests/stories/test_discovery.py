"""A client that knows only the gateway's address finds out which servers there are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ends import answer_at, asked, gateway

from mcpgate.testing import GatewayUnderTest, request

SERVERS = """\
servers:
  - name: github-pm
    title: GitHub Project Manager
    description: Issues and boards.
    version: 1.4.0
    tags: [git, issues]
    docs_url: https://docs.example/pm
    upstreams: [{url: "http://127.0.0.1:3010/secret-base"}]
    headers: {set: {X-Api-Key: s3cret}}
  - name: old
    path: /mcp/v1/old
    endpoints: {sse: /sse, streamable-http: /mcp}
    upstreams: [{url: "http://internal.example:3011"}]
"""


def _discover(gate: GatewayUnderTest, **fields: str) -> list[dict[str, Any]]:
    client = gate.connect()
    client.send(
        request("GET", "/mcp/discovery", headers={name.replace("_", "-"): value for name, value in fields.items()})
    )
    told = answer_at(client)
    assert (told.status, told["content-type"], told.complete) == (200, b"application/json", True)
    assert list(told.json) == ["mcpServers"]
    servers = told.json["mcpServers"]
    assert isinstance(servers, list)
    return servers


def test_discovery_tells_what_a_client_needs_and_nothing_internal() -> None:
    """Names, public addresses, transports, status: no upstream, no credential."""
    gate = GatewayUnderTest(SERVERS)
    assert _discover(gate, Host="localhost:8700") == [
        {
            "name": "github-pm",
            "path": "/mcp/github-pm",
            "title": "GitHub Project Manager",
            "version": "1.4.0",
            "description": "Issues and boards.",
            "docs_url": "https://docs.example/pm",
            "tags": ["git", "issues"],
            "url": "http://localhost:8700/mcp/github-pm/mcp",
            "transports": [{"type": "streamable-http", "url": "http://localhost:8700/mcp/github-pm/mcp"}],
            "status": "unknown",
        },
        {
            "name": "old",
            "path": "/mcp/v1/old",
            "url": "http://localhost:8700/mcp/v1/old/mcp",
            "transports": [
                {"type": "streamable-http", "url": "http://localhost:8700/mcp/v1/old/mcp"},
                {"type": "sse", "url": "http://localhost:8700/mcp/v1/old/sse"},
            ],
            "status": "unknown",
        },
    ]
    for secret in (b"3010", b"secret", b"s3cret", b"internal", b"127.0.0.1"):
        assert secret not in gate.ask(request("GET", "/mcp/discovery"))


@pytest.mark.parametrize(
    ("top", "fields", "origin"),
    [
        ("", {}, "http://localhost"),
        ("public_url: https://mcp.example.com", {}, "https://mcp.example.com"),
        ("public_url: https://mcp.example.com", {"Host": "mcp.example.com"}, "https://mcp.example.com"),
        ("", {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "evil.example"}, "http://localhost"),
        (
            "trusted_proxies: [127.0.0.1/32]",
            {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "mcp.example.com"},
            "https://mcp.example.com",
        ),
    ],
)
def test_urls_are_those_by_which_the_client_came(top: str, fields: dict[str, str], origin: str) -> None:
    """`public_url` if there is one, else what a trusted proxy says, else the Host."""
    assert _discover(gateway(top=top), **fields)[0]["url"] == f"{origin}/mcp/x/mcp"


def test_the_status_is_that_of_the_last_attempt() -> None:
    """Unknown, up, down: whoever looks sees what the gateway has seen."""
    gate = GatewayUnderTest()
    assert _discover(gate)[0]["status"] == "unknown"
    asked(gate, request("GET"))
    assert _discover(gate)[0]["status"] == "up"
    gate.refusing = {3010}
    gate.ask(request("GET"))
    assert _discover(gate)[0]["status"] == "down"


def test_without_servers_the_list_is_empty() -> None:
    """A gateway that waits for its first server answers all the same."""
    assert _discover(GatewayUnderTest("servers: []")) == []


@pytest.mark.parametrize("query", ["", "?", "?x=y&z"])
def test_a_query_does_not_matter(query: str) -> None:
    """There is one document."""
    client = GatewayUnderTest().connect()
    client.send(request("GET", "/mcp/discovery" + query))
    assert answer_at(client).status == 200


def test_discovery_answers_head() -> None:
    """With the length that a GET would have."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("HEAD", "/mcp/discovery"))
    told = answer_at(client, "HEAD")
    assert (told.status, told.body) == (200, b"")
    assert int(told["content-length"]) == len(gate.ask(request("GET", "/mcp/discovery")).partition(b"\r\n\r\n")[2])


def test_discovery_is_not_kept_by_caches() -> None:
    """The table changes while the gateway runs."""
    client = GatewayUnderTest().connect()
    client.send(request("GET", "/mcp/discovery"))
    assert answer_at(client)["cache-control"] == b"no-store"
    assert "server" not in answer_at(client)


@pytest.mark.parametrize("body", [b"x" * 10, b"x" * (1 << 20)])
def test_a_body_for_an_own_address_is_read_and_bounded(body: bytes) -> None:
    """A GET with a body is odd, not harmful."""
    client = GatewayUnderTest().connect()
    client.send(request("GET", "/mcp/discovery", body))
    assert answer_at(client).status == 200
    client.take()
    client.send(request("GET", "/mcp/discovery", headers={"Content-Length": str((1 << 20) + 1)}))
    assert answer_at(client).status == 413


@pytest.mark.parametrize(
    "target",
    [
        "/mcp/discovery/",
        "/mcp/discovery//",
        "/mcp/discover%79",
        "/mcp/discovery/%ff",
        "/mcp//discovery",
        "/mcp/discovery%00",
    ],
)
def test_one_spelling_only(target: str) -> None:
    """What was not routed as discovery is not answered as discovery."""
    client = GatewayUnderTest().connect()
    client.send(request("GET", target))
    told = answer_at(client)
    assert told.status in (400, 404)
    assert told["content-type"] == b"application/json"


def test_a_client_that_leaves_an_own_address_is_recorded_once() -> None:
    """Also while its body is still to come."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("GET", "/mcp/discovery", headers={"Content-Length": "10"}))
    client.reset()
    assert [record.ended.value for record in gate.records if record.ended] == ["client_gone"]


# --- health -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/readyz?verbose"])
def test_health_needs_no_token(path: str) -> None:
    """Probes of an orchestrator have none."""
    client = GatewayUnderTest("admin: {listen: 'tcp:8701'}\nservers: []").connect(admin=True)
    client.send(request("GET", path, headers={"Host": "10.0.0.7:8701"}))
    assert answer_at(client).status == 200
    assert answer_at(client).body.endswith(b"ok\n")


def test_health_is_not_on_the_data_listener() -> None:
    """Clients have no business with it; and the other way round."""
    gate = GatewayUnderTest()
    for path, admin in (
        ("/livez", False),
        ("/readyz", False),
        ("/admin/config", False),
        ("/mcp/discovery", True),
        ("/mcp/x/", True),
    ):
        assert gate.ask(request("GET", path), admin=admin).startswith(b"HTTP/1.1 404 ")


def test_readiness_says_no_before_the_listeners_are_bound_and_while_draining() -> None:
    """Liveness stays."""
    gate = GatewayUnderTest()
    gate.gateway.bound = False
    assert b"[-] listeners" in gate.ask(request("GET", "/readyz"), admin=True)
    gate.gateway.bound = True
    assert gate.ask(request("GET", "/readyz"), admin=True).startswith(b"HTTP/1.1 200 ")
    gate.gateway.drain()
    told = gate.ask(request("GET", "/readyz"), admin=True)
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"[-] not draining" in told
    assert gate.ask(request("GET", "/livez"), admin=True).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("listen", "status"), [("tcp:8701:interface=127.0.0.1", 200), ("tcp:8701", 401)])
def test_the_configuration_is_shown_masked(listen: str, status: int) -> None:
    """Open on loopback only, and never with a secret in it."""
    gate = GatewayUnderTest(
        SERVERS + f"admin: {{listen: '{listen}', tokens: [{{id: a, sha256: '{'ab' * 32}', scopes: [write]}}]}}\n"
    )
    client = gate.connect(admin=True)
    client.send(request("GET", "/admin/config"))
    assert answer_at(client).status == status
    client.send(request("GET", "/admin/config", headers={"Authorization": "Bearer admin-token"}))
    assert b"/mcp/v1/old" in client.received
    assert b"s3cret" not in client.received
    assert b"abab" not in client.received
