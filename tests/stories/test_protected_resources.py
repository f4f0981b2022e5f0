"""A client without a token finds its way to one: challenges, and the documents that they lead to (RFC 9728)."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from tests.ends import Message, answer_at, asked, refused, request_at, requests
from tests.policy.signers import document as key_set
from tests.policy.signers import signer

from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

KEY = signer("ES256", "protected")
WELL_KNOWN = "/.well-known/oauth-protected-resource"
JWT = 'jwt: [{id: acme, issuer: "https://as.example", audience: "https://gate.example", algorithms: [ES256], jwks_file: KEYS}]'
X = '  - {name: x, title: The X, upstreams: [{url: "http://127.0.0.1:1001"}]}\n'
SCOPED = """\
  - name: x
    scopes: [use]
    tool_scopes: {rm: [delete, admin], "read_*": [read]}
    upstreams: [{url: "http://127.0.0.1:1001"}]
"""
OPEN = '  - {name: open, auth: none, upstreams: [{url: "http://127.0.0.1:1003"}]}\n'
OWN = '  - {name: own, auth: upstream, upstreams: [{url: "http://127.0.0.1:1004"}]}\n'
DIGEST = sha256(b"alice-token").hexdigest()
TOKENS = f"tokens: [{{id: alice, sha256: {DIGEST}, scopes: [use]}}]"
PROXY = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "mcp.example.com", "X-Forwarded-For": "192.0.2.7"}


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """The keys of the issuer, in a file: so nothing is fetched here but documents."""
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(KEY.jwk()))
    return str(file)


def _gate(keys: str, *servers: str, auth: str = f"{{{JWT}}}", top: str = "") -> GatewayUnderTest:
    auth = auth.replace("KEYS", keys)
    return GatewayUnderTest(f"{top}\nauth: {auth}\nservers:\n{''.join(servers) or X}")


def _bearer(token: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.decode()}"}


def _get(gate: GatewayUnderTest, target: str, fields: dict[str, str] | None = None, method: str = "GET") -> Message:
    return refused(gate, request(method, target, headers=fields or {}))


def _call(tool: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"%b"}}' % tool.encode()


# --- challenges ---------------------------------------------------------------------------------------------------

ABOUT_X = f'resource_metadata="http://localhost{WELL_KNOWN}/mcp/x"'


def test_without_a_token_the_challenge_says_where_to_go(keys: str) -> None:
    """No error code, since nothing was wrong (RFC 6750 section 3.1); one challenge, and Bearer first."""
    told = _get(_gate(keys), "/mcp/x/mcp")
    assert (told.status, told["mcpgate-error"]) == (401, b"no_token")
    assert told["www-authenticate"] == f"Bearer {ABOUT_X}".encode()


def test_the_challenge_names_the_scopes_that_are_needed(keys: str) -> None:
    """So that a client asks for the right token at once (MCP 2025-11-25, "Scope Selection Strategy")."""
    assert _get(_gate(keys, SCOPED), "/mcp/x/mcp")["www-authenticate"] == f'Bearer scope="use", {ABOUT_X}'.encode()


def test_a_bad_token_is_told_as_one(keys: str) -> None:
    """RFC 6750 section 3.1; the client gets another token and comes again."""
    gate = _gate(keys)
    for token, description in (
        (b"wrong", "this token is not valid here"),
        (KEY.token({"aud": "https://other.example"}), "this token is not valid here"),
        (KEY.token({"exp": 1_700_000_000}), "this token has expired"),
    ):
        told = _get(gate, "/mcp/x/mcp", _bearer(token))
        assert told.status == 401
        assert told["www-authenticate"] == f'Bearer error="invalid_token", error_description="{description}", {ABOUT_X}'.encode()


def test_a_token_with_too_few_scopes_is_told_all_that_it_needs(keys: str) -> None:
    """403, for the server at first; a client asks for these scopes and comes again (RFC 6750 section 3.1)."""
    told = _get(_gate(keys, SCOPED), "/mcp/x/mcp", _bearer(KEY.token({"scope": "read"})))
    assert (told.status, told["mcpgate-error"]) == (403, b"insufficient_scope")
    assert told["www-authenticate"] == (
        'Bearer error="insufficient_scope", error_description="this needs a token with the scopes: use", '
        f'scope="use", {ABOUT_X}'
    ).encode()


@pytest.mark.parametrize(
    ("tool", "scope", "needed"),
    [
        ("rm", "use", "admin delete use"),
        ("rm", "use delete", "admin delete use"),
        ("rm", "use delete admin", ""),
        ("read_file", "use", "read use"),
        ("read_file", "use read", ""),
        ("ls", "use", ""),
    ],
)
def test_a_tool_may_need_more(keys: str, tool: str, scope: str, needed: str) -> None:
    """Scope step-up: everything that this call needs is named at once, what is there included."""
    gate = _gate(keys, SCOPED)
    client = gate.connect()
    client.send(request(body=_call(tool), headers=_bearer(KEY.token({"scope": scope}))))
    if not needed:
        assert request_at(gate.upstream()).body == _call(tool)
        return
    told = answer_at(client, "POST")
    assert (told.status, gate.peers, told.json["id"]) == (403, [], 7)
    assert f'scope="{needed}", {ABOUT_X}'.encode() in told["www-authenticate"]
    assert told["www-authenticate"].startswith(b'Bearer error="insufficient_scope", ')
    assert told.json["error"]["data"]["scopes"] == needed.split()


def test_after_the_step_up_the_same_call_passes(keys: str) -> None:
    """On the same connection, with the better token."""
    gate = _gate(keys, SCOPED)
    client = gate.connect()
    client.send(request(body=_call("rm"), headers=_bearer(KEY.token({"scope": "use"}))))
    assert answer_at(client, "POST").status == 403
    client.take()
    client.send(request(body=_call("rm"), headers=_bearer(KEY.token({"scope": "use delete admin"}))))
    gate.upstream().send(answer(b"done"))
    assert answer_at(client, "POST").body == b"done"


def test_a_token_for_other_servers_gets_no_challenge(keys: str) -> None:
    """No scope would help, so no client is sent round in circles for one."""
    gate = _gate(keys, X, auth=f"{{{JWT.replace('jwks_file', 'servers: [], jwks_file')}}}")
    told = _get(gate, "/mcp/x/mcp", _bearer(KEY.token()))
    assert (told.status, told["mcpgate-error"]) == (403, b"server_not_granted")
    assert "www-authenticate" not in told


def test_where_tokens_come_from_nowhere_else_nobody_is_sent_anywhere(keys: str) -> None:
    """With tokens of the gateway alone there is no authorization server, and so no document; the challenge is not bare."""
    gate = _gate(keys, auth=f"{{{TOKENS}}}")
    assert _get(gate, "/mcp/x/mcp")["www-authenticate"] == b'Bearer realm="mcpgate"'
    wrong = _get(gate, "/mcp/x/mcp", _bearer(b"wrong"))["www-authenticate"]
    assert wrong == b'Bearer error="invalid_token", error_description="this token is not valid here"'
    for target in (WELL_KNOWN, f"{WELL_KNOWN}/mcp/x", f"{WELL_KNOWN}/mcp/x/mcp"):
        assert _get(gate, target).status == 404


def test_http10_without_a_host_gets_a_challenge_without_an_address(keys: str) -> None:
    """Nobody knows by which name the client came, and half an address leads nowhere."""
    told = refused(_gate(keys), b"GET /mcp/x/mcp HTTP/1.0\r\n\r\n")
    assert told.status == 401
    assert b"http:///" not in told["www-authenticate"]
    known = refused(_gate(keys, top="public_url: https://mcp.example.com"), b"GET /mcp/x/mcp HTTP/1.0\r\n\r\n")
    assert f'"https://mcp.example.com{WELL_KNOWN}/mcp/x"'.encode() in known["www-authenticate"]


# --- documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        f"{WELL_KNOWN}/mcp/x",
        f"{WELL_KNOWN}/mcp/x/",
        f"{WELL_KNOWN}/mcp/x/mcp",
        f"{WELL_KNOWN}/mcp/x/some/other",
        f"/mcp/x{WELL_KNOWN}",
        f"{WELL_KNOWN}/mcp/x?a=b",
    ],
)
def test_the_document_of_a_server(keys: str, target: str) -> None:
    """The same at each place: the resource is the server's path, a prefix of every URL that clients use there."""
    told = _get(_gate(keys), target)
    assert (told.status, told["content-type"]) == (200, b"application/json")
    assert told.json == {
        "resource": "http://localhost/mcp/x",
        "authorization_servers": ["https://as.example"],
        "bearer_methods_supported": ["header"],
        "resource_name": "The X",
    }
    assert "mcpgate-error" not in told


def test_the_document_at_the_root_is_about_all(keys: str) -> None:
    """Where clients look when there is none for the path."""
    told = _get(_gate(keys), WELL_KNOWN)
    assert told.json == {
        "resource": "http://localhost",
        "authorization_servers": ["https://as.example"],
        "bearer_methods_supported": ["header"],
    }


def test_the_document_lists_every_scope_that_may_be_needed(keys: str) -> None:
    """Those of the server and those of its tools."""
    told = _get(_gate(keys, SCOPED), f"{WELL_KNOWN}/mcp/x").json
    assert told["scopes_supported"] == ["admin", "delete", "read", "use"]


def test_each_issuer_is_named_once(keys: str) -> None:
    """Also where one issuer has two audiences here; in the order of the configuration."""
    one = JWT.removeprefix("jwt: [").removesuffix("]")
    two = one.replace("id: acme", "id: robots").replace("gate.example", "robots.example")
    three = one.replace("id: acme", "id: other").replace("as.example", "other.example")
    gate = _gate(keys, auth=f"{{jwt: [{one}, {two}, {three}]}}")
    assert _get(gate, WELL_KNOWN).json["authorization_servers"] == ["https://as.example", "https://other.example"]


@pytest.mark.parametrize(
    ("top", "fields", "origin"),
    [
        ("", {}, "http://localhost"),
        ("", {"Host": "localhost:8700"}, "http://localhost:8700"),
        ("", PROXY, "http://localhost"),
        ("trusted_proxies: [10.0.0.0/8]", PROXY, "http://localhost"),
        ("trusted_proxies: [127.0.0.0/8]", PROXY, "https://mcp.example.com"),
        ("trusted_proxies: [127.0.0.0/8]", {"X-Forwarded-Proto": "HTTPS"}, "https://localhost"),
        ("trusted_proxies: [127.0.0.0/8]", {"X-Forwarded-Proto": "gopher"}, "http://localhost"),
        ("trusted_proxies: [127.0.0.0/8]", {"Forwarded": 'for=192.0.2.7;proto=https;host="a.example:8443"'}, "https://a.example:8443"),
        ("trusted_proxies: [127.0.0.0/8]", {}, "http://localhost"),
        ("public_url: https://mcp.example.com", {"Host": "mcp.example.com"}, "https://mcp.example.com"),
        ("public_url: https://mcp.example.com", {}, "https://mcp.example.com"),
        ("public_url: https://mcp.example.com\ntrusted_proxies: [127.0.0.0/8]", PROXY | {"X-Forwarded-Host": "b.example"}, "https://mcp.example.com"),
    ],
)
def test_the_address_is_the_one_that_clients_use(keys: str, top: str, fields: dict[str, str], origin: str) -> None:
    """Scheme and host as a trusted proxy tells them, or as configured; never as anybody likes. The challenge says the same."""
    gate = _gate(keys, top=top)
    assert _get(gate, f"{WELL_KNOWN}/mcp/x/mcp", fields).json["resource"] == f"{origin}/mcp/x"
    assert _get(gate, WELL_KNOWN, fields).json["resource"] == origin
    told = _get(gate, "/mcp/x/mcp", fields)
    assert told["www-authenticate"] == f'Bearer resource_metadata="{origin}{WELL_KNOWN}/mcp/x"'.encode()


def test_one_connection_of_a_proxy_carries_several_hosts(keys: str) -> None:
    """What was worked out for one is not told to the other."""
    gate = _gate(keys, top="trusted_proxies: [127.0.0.0/8]")
    client = gate.connect()
    for host in ("a.example", "b.example"):
        client.take()
        client.send(request("GET", headers={"X-Forwarded-Host": host}))
        assert f'"http://{host}/.well'.encode() in answer_at(client)["www-authenticate"]


@pytest.mark.parametrize("fields", [{}, _bearer(b"wrong"), {"Authorization": "Basic eA=="}])
def test_documents_need_no_token(keys: str, fields: dict[str, str]) -> None:
    """They are what a client without one asks for; a bad one is not looked at."""
    gate = _gate(keys)
    for target in (WELL_KNOWN, f"{WELL_KNOWN}/mcp/x", f"/mcp/x{WELL_KNOWN}"):
        assert _get(gate, target, fields).status == 200


def test_documents_are_outside_the_limits(keys: str) -> None:
    """Whoever is over its limit can still find out where tokens come from; and an address that has tried bad tokens, too."""
    gate = _gate(
        keys,
        top="limits: [{name: all, key: [address], rate: 1/m, burst: 1}]\ngate: {unauthenticated: {rate: 1/m, burst: 1}}",
    )
    asked(gate, request(body=_call("ls"), headers=_bearer(KEY.token())))
    assert _get(gate, "/mcp/x/mcp").status == 401
    assert _get(gate, "/mcp/x/mcp").status == 429
    for _ in range(5):
        for target in (WELL_KNOWN, f"{WELL_KNOWN}/mcp/x", f"/mcp/x{WELL_KNOWN}"):
            assert _get(gate, target).status == 200


@pytest.mark.parametrize("target", [WELL_KNOWN, f"{WELL_KNOWN}/mcp/x", f"/mcp/x{WELL_KNOWN}"])
def test_documents_are_for_reading(keys: str, target: str) -> None:
    """HEAD tells the length and sends nothing; every other method is refused, and reaches no server."""
    gate = _gate(keys)
    body = _get(gate, target)
    head = _get(gate, target, method="HEAD")
    assert (head.status, head.body, head["content-length"]) == (200, b"", b"%d" % len(body.body))
    for method in ("POST", "PUT", "DELETE"):
        told = refused(gate, request(method, target, b"{}" if method != "DELETE" else b""))
        assert (told.status, told["mcpgate-error"]) == (405, b"method")
        assert {each.strip() for each in told["allow"].split(b",")} >= {b"GET", b"HEAD"}


@pytest.mark.parametrize(
    "target",
    [
        f"{WELL_KNOWN}/mcp/nobody",
        f"{WELL_KNOWN}/mcp",
        f"{WELL_KNOWN}/mcp/xy",
        f"{WELL_KNOWN}/mcp%2fx",
        f"{WELL_KNOWN}/mcp/open",
        f"{WELL_KNOWN}/mcp/open/mcp",
        f"{WELL_KNOWN}s/mcp/x",
        f"{WELL_KNOWN}{WELL_KNOWN}",
        f"{WELL_KNOWN}//mcp/x",
        f"/mcp/x{WELL_KNOWN}/mcp",
        f"/mcp/nobody{WELL_KNOWN}",
        f"{WELL_KNOWN}/mcp/discovery",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/mcp/x",
        "/.well-known/oauth-authorization-server/mcp/x/mcp",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/mcp/x",
        "/authorize?response_type=code",
        "/token",
        "/register",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_there_is_nothing_else_to_find(keys: str, target: str, method: str) -> None:
    """Plain 404 for what clients of 2025-03-26 probe, without a challenge: else they would look here for a token endpoint."""
    told = _get(_gate(keys, X, OPEN), target, method=method)
    assert told.status in (404, 405 if method == "POST" and WELL_KNOWN in target else 404)
    assert "www-authenticate" not in told
    assert told["mcpgate-error"] in (b"no_route", b"method")


def test_a_document_with_a_dot_segment_is_refused(keys: str) -> None:
    """As everywhere."""
    assert _get(_gate(keys), f"{WELL_KNOWN}/mcp/x/../y").status == 400


def test_documents_follow_a_reload(keys: str) -> None:
    """Servers and issuers that come and go; what was told before is not told again."""
    gate = _gate(keys)
    client = gate.connect()
    client.send(request("GET", f"{WELL_KNOWN}/mcp/x"))
    gate.config = gate.config.replace("as.example", "moved.example").replace("name: x", "name: z")
    assert gate.gateway.reload()["success"]
    client.take()
    client.send(request("GET", f"{WELL_KNOWN}/mcp/x"))
    assert answer_at(client).status == 404
    client.take()
    client.send(request("GET", f"{WELL_KNOWN}/mcp/z"))
    assert answer_at(client).json["authorization_servers"] == ["https://moved.example"]


def test_the_longest_path_names_the_server(keys: str) -> None:
    """A server below another one is a resource of its own."""
    inner = '  - {name: inner, path: /mcp/x/inner, upstreams: [{url: "http://127.0.0.1:1002"}]}\n'
    gate = _gate(keys, X, inner)
    assert _get(gate, f"{WELL_KNOWN}/mcp/x/inner/mcp").json["resource"] == "http://localhost/mcp/x/inner"
    assert _get(gate, f"{WELL_KNOWN}/mcp/x/innermost").json["resource"] == "http://localhost/mcp/x"


# --- a server that does its own OAuth -----------------------------------------------------------------------------

#: What such a server says of itself.
ITS = b'{"resource":"http://127.0.0.1:1004/mcp","authorization_servers":["https://its.example"],"scopes_supported":["a"]}'


def _fetches(gate: GatewayUnderTest) -> list[UpstreamPeer]:
    return [peer for peer in gate.peers if WELL_KNOWN.encode() in peer.received]


def _asking(gate: GatewayUnderTest, target: str, fields: dict[str, str] | None = None) -> tuple[Client, UpstreamPeer]:
    """Ask for a document that the gateway asks the server for."""
    client = gate.connect()
    client.send(request("GET", target, headers=fields or {}))
    assert client.received == b""
    return client, gate.upstream()


@pytest.mark.parametrize("token", [{}, _bearer(b"its-own"), {"Authorization": "Basic eA=="}])
def test_a_server_of_its_own_oauth_gets_the_token_and_decides(keys: str, token: dict[str, str]) -> None:
    """Then, and only then, it passes; the gateway checks nothing."""
    gate = _gate(keys, X, OWN, OPEN)
    for _ in range(2):
        _, peer = asked(gate, request("GET", "/mcp/own/mcp", headers=token))
        assert request_at(peer)["authorization"] == token.get("Authorization", "").encode()
        peer.send(answer(b"fine"))
        assert gate.records[-1].principal == ""


def test_the_token_passes_to_that_server_alone(keys: str) -> None:
    """Not to others, though they are asked on the same connection, and run at the same address."""
    gate = _gate(keys, OWN, OPEN.replace("1003", "1004"))
    client = gate.connect()
    for name, passes in (("own", True), ("open", False), ("own", True)):
        client.send(request("GET", f"/mcp/{name}/mcp", headers=_bearer(b"its-own")))
        peer, told = next((peer, requests(sent)[-1]) for peer in gate.peers if (sent := peer.take()))
        assert ("authorization" in told) is passes
        peer.send(answer())


def test_two_tokens_are_refused_there_too(keys: str) -> None:
    """Which one the server would take, nobody knows."""
    told = refused(
        _gate(keys, OWN), b"GET /mcp/own/mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n"
    )
    assert told.status == 400


def test_a_configured_authorization_goes_before_the_clients(keys: str) -> None:
    """Whoever sets one for the server means it; two would be a bad request there."""
    own = OWN.replace("upstreams", "headers: {set: {Authorization: Bearer configured}}, upstreams")
    _, peer = asked(_gate(keys, own), request("GET", "/mcp/own/mcp", headers=_bearer(b"its-own")))
    assert request_at(peer)["authorization"] == b"Bearer configured"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'Bearer resource_metadata="http://127.0.0.1:1004/.well-known/oauth-protected-resource"',
            f'Bearer resource_metadata="http://localhost{WELL_KNOWN}/mcp/own/mcp"',
        ),
        (
            'Bearer realm="its", error="invalid_token", resource_metadata="https://inside.example/a", scope="a b"',
            f'Bearer realm="its", error="invalid_token", resource_metadata="http://localhost{WELL_KNOWN}/mcp/own/mcp", scope="a b"',
        ),
        ('Bearer realm="its"', 'Bearer realm="its"'),
        ('Basic realm="its"', 'Basic realm="its"'),
    ],
)
def test_its_challenge_leads_to_our_address(keys: str, said: str, told: str) -> None:
    """Where its document is published: its own address is not the clients', and the resource would not fit."""
    gate = _gate(keys, OWN)
    for status in ("401 Unauthorized", "403 Forbidden"):
        client, peer = asked(gate, request("GET", "/mcp/own/mcp"))
        peer.send(answer(b"no", status, {"WWW-Authenticate": said, "X-More": "stays"}))
        found = answer_at(client)
        assert (found.status, found["www-authenticate"], found["x-more"]) == (int(status[:3]), told.encode(), b"stays")
        assert "mcpgate-error" not in found


def test_several_challenges_of_a_server_keep_their_order(keys: str) -> None:
    """In one field or in two; only the address is another."""
    client, peer = asked(_gate(keys, OWN), request("GET", "/mcp/own/mcp"))
    peer.send(
        b"HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm=\"a\"\r\nX-Between: y\r\n"
        b'WWW-Authenticate: Bearer resource_metadata="http://127.0.0.1:1004/x"\r\nContent-Length: 0\r\n\r\n'
    )
    told = answer_at(client)["www-authenticate"]
    assert told == f'Basic realm="a", Bearer resource_metadata="http://localhost{WELL_KNOWN}/mcp/own/mcp?from=/x"'.encode()


def test_challenges_of_other_servers_pass_as_they_are(keys: str) -> None:
    """Errors of a server are its own; whoever calls it has shown a token of ours."""
    client, peer = asked(_gate(keys, X), request("GET", headers=_bearer(KEY.token())))
    peer.send(answer(b"no", "401 x", {"WWW-Authenticate": 'Bearer resource_metadata="http://127.0.0.1:1001/x"'}))
    assert answer_at(client)["www-authenticate"] == b'Bearer resource_metadata="http://127.0.0.1:1001/x"'


@pytest.mark.parametrize(
    ("fields", "top", "origin"),
    [
        ({}, "", "http://localhost"),
        (PROXY, "trusted_proxies: [127.0.0.0/8]", "https://mcp.example.com"),
        ({}, "public_url: https://mcp.example.com", "https://mcp.example.com"),
    ],
)
def test_its_document_is_published_at_our_address(keys: str, fields: dict[str, str], top: str, origin: str) -> None:
    """As it says it, but for the resource, which is the URL that clients use; so their flow goes on at its own server."""
    client, peer = _asking(_gate(keys, OWN, top=top), f"{WELL_KNOWN}/mcp/own/mcp", fields)
    told = request_at(peer)
    assert (told.target, told["host"]) == (f"{WELL_KNOWN}/mcp".encode(), b"127.0.0.1:1004")
    assert "authorization" not in told
    peer.send(answer(ITS))
    found = answer_at(client)
    assert (found.status, found["content-type"]) == (200, b"application/json")
    assert found.json == {
        "resource": f"{origin}/mcp/own/mcp",
        "authorization_servers": ["https://its.example"],
        "scopes_supported": ["a"],
    }


def test_it_is_asked_at_each_place_where_it_may_say_it(keys: str) -> None:
    """Servers know their path, or the public one, or have one document for everything; each address is asked once."""
    gate = _gate(keys, OWN)
    client, _ = _asking(gate, f"{WELL_KNOWN}/mcp/own/mcp")
    seen = []
    while not client.received:
        seen.append(request_at(gate.upstream()).target.decode())
        gate.upstream().send(answer(b"", "404 Not Found") if len(seen) < 3 else answer(ITS))
    assert seen == [f"{WELL_KNOWN}/mcp", f"{WELL_KNOWN}/mcp/own/mcp", WELL_KNOWN]
    assert answer_at(client).json["resource"] == "http://localhost/mcp/own/mcp"


def test_a_server_below_a_base_path_is_asked_there(keys: str) -> None:
    """Whether it knows of its base or not; four questions at most."""
    gate = _gate(keys, OWN.replace(":1004", ":1004/base"))
    client, _ = _asking(gate, f"{WELL_KNOWN}/mcp/own/mcp")
    seen = []
    while not client.received:
        seen.append(request_at(gate.upstream()).target.decode())
        gate.upstream().send(answer(b"", "404 Not Found"))
    assert seen[:2] == [f"{WELL_KNOWN}/base/mcp", f"/base{WELL_KNOWN}/mcp"]
    assert len(seen) == len(set(seen)) == 4
    assert answer_at(client).status == 404


@pytest.mark.parametrize(
    "said",
    [
        answer(b"{}"),
        answer(b"[]"),
        answer(b'{"resource": 1}'),
        answer(b'{"resource": "x", "authorization_servers": "https://its.example"}'),
        answer(b"<html>"),
        answer(ITS + b" " * 70_000),
        answer(b" " * (1 << 21)),
        answer(ITS, headers={"Content-Encoding": "gzip"}),
        b"\0",
    ],
    ids=["empty", "list", "number", "server", "html", "long", "too long", "gzip", "noise"],
)
def test_what_is_no_document_is_published_by_nobody(keys: str, said: bytes) -> None:
    """404 in our own form, whatever the server says there."""
    gate = _gate(keys, OWN)
    client, peer = _asking(gate, f"{WELL_KNOWN}/mcp/own/mcp")
    peer.send(said)
    gate.advance(6)
    told = answer_at(client)
    assert (told.status, told["mcpgate-error"]) == (404, b"no_route")
    assert b"1004" not in client.received


def test_a_redirect_of_its_document_is_not_followed(keys: str) -> None:
    """It would lead where the configuration does not."""
    gate = _gate(keys, OWN)
    client, _ = _asking(gate, f"{WELL_KNOWN}/mcp/own/mcp")
    while not client.received:
        gate.upstream().send(answer(b"", "302 Found", {"Location": "http://127.0.0.1:6666/"}))
    assert answer_at(client).status == 404
    assert {dial[1] for dial in gate.reactor.tcpClients} == {1004}


@pytest.mark.parametrize(
    "named",
    [
        "/admin",
        "/basement",
        "/base/../admin",
        "/base/%2e%2e/admin",
        "/base/%252e%252e/admin",
        "//evil.example/x",
        "/%2fevil.example/x",
        "@evil.example/x",
        "http://evil.example/x",
        "/base/x%0d%0aX-A:%20b",
        "/base/x%20y",
    ],
)
def test_nobody_can_name_another_address_of_the_server(keys: str, named: str) -> None:
    """No token is needed to ask for a document: below the server's own path that is fair, beside it is other people's."""
    gate = _gate(keys, OWN.replace(":1004", ":1004/base"))
    client, _ = _asking(gate, f"{WELL_KNOWN}/mcp/own/mcp?from={named}")
    seen = []
    while not client.received:
        told = request_at(gate.upstream())
        seen.append(told.target.decode())
        assert told["host"] == b"127.0.0.1:1004"
        gate.upstream().send(answer(b"", "404 Not Found"))
    assert {dial[:2] for dial in gate.reactor.tcpClients} == {("127.0.0.1", 1004)}
    assert [target for target in seen if WELL_KNOWN not in target] == []


def test_an_address_of_its_own_choice_below_its_path_is_asked_first(keys: str) -> None:
    """It stood in its challenge, and comes back in the query."""
    gate = _gate(keys, OWN.replace(":1004", ":1004/base"))
    client, peer = asked(gate, request("GET", "/mcp/own/mcp"))
    peer.send(answer(b"no", "401 x", {"WWW-Authenticate": 'Bearer resource_metadata="http://127.0.0.1:1004/base/prm?a=b"'}))
    about = answer_at(client)["www-authenticate"].decode().partition('="')[2].rstrip('"')
    reader, server = _asking(gate, about.removeprefix("http://localhost"))
    assert request_at(server).target == b"/base/prm?a=b"
    server.send(answer(ITS))
    assert answer_at(reader).json["resource"] == "http://localhost/mcp/own/mcp"


def test_signed_metadata_of_a_server_is_left_out(keys: str) -> None:
    """It would rank above the plain members, and names another resource (RFC 9728 section 2.2)."""
    client, peer = _asking(_gate(keys, OWN), f"{WELL_KNOWN}/mcp/own/mcp")
    peer.send(answer(ITS.replace(b"{", b'{"signed_metadata":"e30.e30.","x_more":1,', 1)))
    told = answer_at(client).json
    assert "signed_metadata" not in told
    assert told["x_more"] == 1


@pytest.mark.parametrize("how", ["refusing", "silent"])
def test_a_server_that_is_away_has_no_document(keys: str, how: str) -> None:
    """Told within five seconds, in our form, with nothing of its address."""
    gate = _gate(keys, OWN)
    setattr(gate, how, {1004})
    client = gate.connect()
    client.send(request("GET", f"{WELL_KNOWN}/mcp/own/mcp"))
    gate.advance(5.25)
    told = answer_at(client)
    assert told.status in (404, 502, 504)
    assert "mcpgate-error" in told
    assert b"1004" not in client.received


def test_who_leaves_while_the_document_is_asked_for_breaks_nothing(keys: str) -> None:
    """The question to the server ends with the client."""
    gate = _gate(keys, OWN)
    client, peer = _asking(gate, f"{WELL_KNOWN}/mcp/own/mcp")
    client.reset()
    peer.send(answer(ITS))
    gate.advance(10)
    assert gate.failures == []
    assert [each.ended.value for each in gate.records if each.ended] == ["client_gone"]


def test_its_document_needs_no_token_and_takes_none_along(keys: str) -> None:
    """Whatever a client sends with the question stays here."""
    client, peer = _asking(_gate(keys, OWN), f"{WELL_KNOWN}/mcp/own", _bearer(b"its-own") | {"Cookie": "a=b"})
    told = request_at(peer)
    assert "authorization" not in told
    assert "cookie" not in told
    peer.send(answer(ITS))
    assert answer_at(client).json["resource"] == "http://localhost/mcp/own"


def test_the_root_document_is_ours(keys: str) -> None:
    """A server with its own OAuth has no say there; without issuers of ours there is none."""
    assert _get(_gate(keys, OWN), WELL_KNOWN).json["authorization_servers"] == ["https://as.example"]
    assert _get(_gate(keys, OWN, auth="{}"), WELL_KNOWN).status == 404


def test_what_its_challenge_leads_to_is_the_document(keys: str) -> None:
    """The whole way of a client: refused, sent to the document, whose resource fits the URL that it uses."""
    gate = _gate(keys, OWN, auth="{}", top="public_url: https://mcp.example.com")
    client, peer = asked(gate, request(target="/mcp/own/mcp", body=_call("ls")))
    peer.send(answer(b"", "401 x", {"WWW-Authenticate": 'Bearer resource_metadata="http://127.0.0.1:1004/prm"'}))
    about = answer_at(client)["www-authenticate"].decode().partition('resource_metadata="')[2].rstrip('"')
    assert about == f"https://mcp.example.com{WELL_KNOWN}/mcp/own/mcp?from=/prm"
    reader, server = _asking(gate, about.removeprefix("https://mcp.example.com"))
    assert request_at(server).target == b"/prm"
    server.send(answer(ITS))
    assert answer_at(reader).json["resource"] == "https://mcp.example.com/mcp/own/mcp"
    peer.take()
    client.send(request(target="/mcp/own/mcp", body=_call("ls"), headers=_bearer(b"its-own")))
    assert request_at(peer)["authorization"] == b"Bearer its-own"
