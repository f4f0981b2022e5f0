"""A client that knows only the gateway's address finds out which servers there are."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from tests.catalog.shapes import AI_CATALOG, CARD, FAULT, RESPONSE, SERVER_LIST, faults
from tests.ends import Message, answer_at, asked, gateway, request_at

from mcpgate.assembly import LOCAL_BODY_BYTES
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


def _ask(gate: GatewayUnderTest, target: str, **fields: str) -> Message:
    client = gate.connect()
    client.send(request("GET", target, headers={name.replace("_", "-"): value for name, value in fields.items()}))
    return answer_at(client)


def _discover(gate: GatewayUnderTest, **fields: str) -> list[dict[str, Any]]:
    told = _ask(gate, "/mcp/discovery", **fields)
    assert (told.status, told["content-type"], told.complete) == (200, b"application/json", True)
    assert list(told.json) == ["mcpServers", "gateway"]
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
            "family": "old",
            "pathVersion": "v1",
            "isLatest": True,
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


def test_caches_ask_again_each_time() -> None:
    """The table changes while the gateway runs; while it does not, nothing is sent twice."""
    gate = GatewayUnderTest()
    told = _ask(gate, "/mcp/discovery")
    assert told["cache-control"] == b"no-cache"
    assert "server" not in told
    again = _ask(gate, "/mcp/discovery", If_None_Match=told["etag"].decode())
    assert (again.status, again.body) == (304, b"")
    asked(gate, request("GET"))
    assert _ask(gate, "/mcp/discovery", If_None_Match=told["etag"].decode()).json["mcpServers"][0]["status"] == "up"


VERSIONS = """\
public_url: https://mcp.example.com
servers:
  - {name: pm-1, path: /mcp/v1/github-pm, upstreams: [{url: "http://127.0.0.1:3010"}]}
  - {name: pm-2, path: /mcp/v2/github-pm, card: true, upstreams: [{url: "http://127.0.0.1:3011"}]}
"""


def test_an_editor_finds_the_servers_in_the_registry() -> None:
    """In the order in which VS Code asks; versioned paths are versions of one server."""
    gate = GatewayUnderTest(VERSIONS)
    assert _ask(gate, "/v0.1/servers?limit=1").json["metadata"]["count"] == 1
    listed = _ask(gate, "/v0.1/servers?limit=50&version=latest").json
    assert faults(listed, SERVER_LIST) == []
    (latest,) = listed["servers"]
    assert (latest["server"]["name"], latest["server"]["version"]) == ("com.example.mcp/github-pm", "2.0.0")
    assert latest["server"]["remotes"][0]["url"] == "https://mcp.example.com/mcp/v2/github-pm/mcp"
    versions = _ask(gate, "/v0.1/servers/com.example.mcp%2Fgithub-pm/versions").json
    assert [each["server"]["version"] for each in versions["servers"]] == ["2.0.0", "1.0.0"]
    one = _ask(gate, "/v0.1/servers/com.example.mcp%2Fgithub-pm/versions/latest").json
    assert (faults(one, RESPONSE), one) == ([], latest)
    missing = _ask(gate, "/v0.1/servers/com.example.mcp%2Fnobody/versions/latest")
    assert (missing.status, faults(missing.json, FAULT)) == (404, [])


def test_a_domain_lists_its_server_cards() -> None:
    """By address where the gateway serves the card, else whole; a server's own card passes through."""
    gate = GatewayUnderTest(VERSIONS)
    told = _ask(gate, "/.well-known/ai-catalog.json")
    assert (told["content-type"], faults(told.json, AI_CATALOG)) == (b"application/ai-catalog+json", [])
    assert ["data" in entry for entry in told.json["entries"]] == [True, False]
    where = told.json["entries"][1]["url"].removeprefix("https://mcp.example.com")
    card = _ask(gate, where)
    assert (card["content-type"], faults(card.json, CARD)) == (b"application/mcp-server-card+json", [])
    assert gate.peers == []
    _, upstream = asked(gate, request("GET", "/mcp/v1/github-pm/mcp/server-card"))
    assert request_at(upstream).target == b"/mcp/server-card"


def test_everybody_is_shown_what_their_token_admits() -> None:
    """In every form; and caches learn that it is theirs alone."""
    gate = GatewayUnderTest(
        VERSIONS
        + "auth:\n  tokens:\n"
        + f"    - {{id: one, sha256: '{sha256(b'token-one').hexdigest()}', servers: [pm-1]}}\n"
        + f"    - {{id: all, sha256: '{sha256(b'token-all').hexdigest()}', servers: ['*']}}\n"
    )
    for token, names in (("one", ["pm-1"]), ("all", ["pm-1", "pm-2"])):
        bearer = {"Authorization": f"Bearer token-{token}"}
        told = _ask(gate, "/mcp/discovery", **bearer)
        assert [server["name"] for server in told.json["mcpServers"]] == names
        assert told["cache-control"] == b"private, no-cache"
        assert b"Authorization" in told["vary"]
        assert len(_ask(gate, "/.well-known/ai-catalog.json", **bearer).json["entries"]) == len(names)
        assert _ask(gate, "/v0.1/servers", **bearer).json["metadata"]["count"] == len(names)
    assert _ask(gate, "/mcp/discovery").json["mcpServers"] == []
    assert _ask(gate, "/v0.1/servers?limit=1").json == {"servers": [], "metadata": {"count": 0}}


@pytest.mark.parametrize("body", [b"x" * 10, b"x" * (LOCAL_BODY_BYTES)])
def test_a_body_for_an_own_address_is_read_and_bounded(body: bytes) -> None:
    """A GET with a body is odd, not harmful."""
    client = GatewayUnderTest().connect()
    client.send(request("GET", "/mcp/discovery", body))
    assert answer_at(client).status == 200
    client.take()
    client.send(request("GET", "/mcp/discovery", headers={"Content-Length": str((LOCAL_BODY_BYTES) + 1)}))
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
