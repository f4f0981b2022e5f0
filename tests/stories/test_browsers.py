"""A page in a browser talks to a server through the gateway: it asks first, without a token, and reads what it may."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from tests.ends import STREAM_HEAD, Message, answer_at, asked, chunked, gateway, refused, request_at
from tests.policy.signers import document, signer

from mcpgate.testing import GatewayUnderTest, answer, request

APP = "https://app.example"
TOP = f"http: {{allowed_origins: ['{APP}']}}"
TOKEN = {"Authorization": "Bearer alice-token"}
AUTH = f"auth: {{tokens: [{{id: alice, sha256: {sha256(b'alice-token').hexdigest()}, servers: [x]}}]}}"
ASKED = {"Origin": APP, "Access-Control-Request-Method": "POST"}
#: What a page may read of every answer (MCP transports and authorization name the first three).
EXPOSED = {"mcp-session-id", "mcp-protocol-version", "www-authenticate", "retry-after", "ratelimit", "ratelimit-policy", "mcpgate-error", "x-request-id"}
OWN_CORS = {
    "Access-Control-Allow-Origin": "*",
    "access-control-allow-credentials": "true",
    "Access-Control-Expose-Headers": "X-Its-Own",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "1",
}
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"rm","arguments":{}}}'


def _gate(more: str = "", top: str = TOP, auth: str = AUTH) -> GatewayUnderTest:
    return gateway(more, f"{top}\n{auth}")


def _names(value: bytes) -> set[str]:
    return {each.strip().lower() for each in value.decode().split(",")}


def _check_readable(told: Message, origin: str = APP) -> None:
    """A page of this origin may read the answer; no other may, and nobody sends cookies for it."""
    values = [value for name, value in told.fields if name == b"access-control-allow-origin"]
    assert values == [origin.encode()]
    assert _names(told["access-control-expose-headers"]) == EXPOSED
    assert "origin" in _names(told["vary"])
    assert "access-control-allow-credentials" not in told


# --- asking first -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize("target", ["/mcp/x/mcp", "/mcp/x", "/mcp/discovery", "/.well-known/oauth-protected-resource"])
def test_a_preflight_is_answered_without_a_token(method: str, target: str) -> None:
    """Browsers send none with it; the server is not asked, whose answer could be anything."""
    told = refused(_gate(), request("OPTIONS", target, headers={"Origin": APP, "Access-Control-Request-Method": method}))
    assert (told.status, told.body, told["access-control-allow-origin"]) == (204, b"", APP.encode())
    assert _names(told["access-control-allow-methods"]) == {"get", "post", "delete", "options"}
    assert _names(told["vary"]) >= {"origin", "access-control-request-method", "access-control-request-headers"}
    assert told["access-control-max-age"] == b"7200"
    assert "access-control-allow-credentials" not in told
    assert "content-length" not in told


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ("authorization,content-type,mcp-protocol-version", True),
        ("Authorization, Mcp-Session-Id, Last-Event-ID, Mcp-Method, Mcp-Name", True),
        ("mcp-param-region, mcp-param-table_2", True),
        ("x-anything", True),
        ("a b", False),
        ("a\tb", False),
        (", ".join(["mcp-param-x"] * 400), False),
        ("", False),
    ],
)
def test_the_fields_that_a_page_wants_to_send_are_allowed(wanted: str, allowed: bool) -> None:
    """Parameters of tools become fields (MCP 2026-07-28, `Mcp-Param-*`), so no list of ours could name them all."""
    fields = ASKED | ({"Access-Control-Request-Headers": wanted} if wanted else {})
    told = refused(_gate(), request("OPTIONS", headers=fields))
    assert told.status == 204
    assert told["access-control-allow-headers"].decode() == (wanted if allowed else "")


def test_after_the_preflight_the_same_connection_carries_the_call() -> None:
    """And the parameter reaches the server under its name."""
    gate = _gate()
    client = gate.connect()
    client.send(request("OPTIONS", headers=ASKED | {"Access-Control-Request-Headers": "authorization, mcp-param-region"}))
    assert answer_at(client).status == 204
    client.take()
    client.send(request(body=CALL, headers={"Origin": APP, "Mcp-Param-Region": "eu"} | TOKEN))
    told = request_at(gate.upstream())
    assert (told["mcp-param-region"], told.body) == (b"eu", CALL)
    assert "origin" not in told
    gate.upstream().send(answer(b"fine"))
    found = answer_at(client, "POST")
    assert (found.status, found.body) == (200, b"fine")
    _check_readable(found)


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": APP},
        {"Access-Control-Request-Method": "POST"},
        {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "a"},
    ],
)
def test_what_is_no_preflight_is_a_request_like_any_other(fields: dict[str, str]) -> None:
    """It needs a token, and with one the server answers."""
    gate = _gate()
    assert refused(gate, request("OPTIONS", headers=fields)).status == 401
    _, peer = asked(gate, request("OPTIONS", headers=fields | TOKEN))
    assert request_at(peer).method == b"OPTIONS"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_only_options_is_a_preflight(method: str) -> None:
    """Its fields on another method open nothing."""
    assert refused(_gate(), request(method, headers=ASKED)).status == 401


def test_preflights_are_not_limited() -> None:
    """They are the browser's and not the page's; to refuse one is to refuse the call after it for no reason it can read."""
    gate = _gate(top=f"{TOP}\nlimits: [{{name: all, key: [address], rate: 1/m, burst: 1}}]")
    for _ in range(20):
        assert refused(gate, request("OPTIONS", headers=ASKED)).status == 204


# --- whose pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null", f"{APP}, https://evil.example"])
@pytest.mark.parametrize("fields", [{}, TOKEN, {"Access-Control-Request-Method": "POST"}])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_page_gets_nothing(method: str, fields: dict[str, str], origin: str) -> None:
    """Refused with or without a token, and told nothing that its browser would let it read."""
    told = refused(_gate(), request(method, headers={"Origin": origin} | fields))
    assert (told.status, told["mcpgate-error"]) == (403, b"origin")
    assert not [name for name, _ in told.fields if name.startswith(b"access-control-")]


def test_pages_of_two_origins_on_one_connection() -> None:
    """A proxy mixes them: each answer names its own origin."""
    gate = gateway(top=f"http: {{allowed_origins: ['{APP}', 'https://b.example']}}")
    client = gate.connect()
    for origin in (APP, "https://b.example", "", APP):
        client.send(request("GET", headers={"Origin": origin} if origin else {}))
        gate.upstream().send(answer())
        told = answer_at(client)
        if origin:
            _check_readable(told, origin)
        else:
            assert "access-control-allow-origin" not in told
        client.take()


def test_an_origin_that_is_taken_out_by_a_reload_reads_nothing_more() -> None:
    """Also on a connection that has carried its requests."""
    gate = _gate()
    client, peer = asked(gate, sent := request("GET", headers={"Origin": APP} | TOKEN))
    peer.send(answer())
    gate.config = gate.config.replace(APP, "https://b.example")
    assert gate.gateway.reload()["success"]
    client.take()
    client.send(sent)
    told = answer_at(client)
    assert told.status == 403
    assert "access-control-allow-origin" not in told


# --- what a page reads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "401 Unauthorized", "404 Not Found", "500 Oops", "304 Not Modified"])
def test_a_page_may_read_what_a_server_answers(status: str) -> None:
    """Whatever the server says of other origins itself is replaced: two such fields make browsers refuse both."""
    gate = _gate()
    client, peer = asked(gate, request("GET", headers={"Origin": APP} | TOKEN))
    peer.send(answer(b"x", status, OWN_CORS | {"Vary": "Accept", "X-More": "stays"}))
    told = answer_at(client)
    _check_readable(told)
    assert (told.status, told["x-more"]) == (int(status[:3]), b"stays")
    assert _names(told["vary"]) == {"accept", "origin"}
    assert "access-control-max-age" not in told
    assert "access-control-allow-headers" not in told


def test_without_an_origin_a_servers_own_fields_pass() -> None:
    """Nobody's browser is asking, and what a server says passes as it is."""
    client, peer = asked(_gate(), request("GET", headers=TOKEN))
    peer.send(answer(b"x", headers=OWN_CORS))
    told = answer_at(client)
    assert told["access-control-allow-origin"] == b"*"
    assert "vary" not in told


@pytest.mark.parametrize("fields", [{"MCP-Protocol-Version": "2025-11-25"}, {"Accept": "text/event-stream"}])
def test_a_page_may_read_a_stream(fields: dict[str, str]) -> None:
    """Of either transport."""
    client, peer = asked(_gate(), request("GET", headers={"Origin": APP} | TOKEN | fields))
    peer.send(STREAM_HEAD + chunked(b"event: endpoint\ndata: /messages?a=1\n\n"))
    told = answer_at(client)
    assert told["content-type"] == b"text/event-stream"
    _check_readable(told)


@pytest.mark.parametrize("target", ["/mcp/discovery", "/.well-known/oauth-protected-resource/mcp/x", "/mcp/x/.well-known/oauth-protected-resource"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_page_may_read_the_gateways_own_addresses(target: str, method: str, tmp_path: Path) -> None:
    """Discovery, and where tokens come from."""
    file = tmp_path / "keys.json"
    file.write_bytes(document(signer().jwk()))
    auth = f'auth: {{jwt: [{{issuer: "https://as.example", audience: a, jwks_file: {file}}}]}}'
    told = refused(_gate(auth=auth), request(method, target, headers={"Origin": APP}))
    assert told.status == 200
    _check_readable(told)


#: What is refused, and how: lines of the server's entry, top of the configuration, the request, status.
REFUSED = {
    "no token": ("", "", request("GET", headers={"Origin": APP}), 401),
    "a bad token": ("", "", request("GET", headers={"Origin": APP, "Authorization": "Bearer wrong"}), 401),
    "not this server": ("name: y", "", request("GET", "/mcp/y/mcp", headers={"Origin": APP} | TOKEN), 403),
    "no scope": ("scopes: [use]", "", request("GET", headers={"Origin": APP} | TOKEN), 403),
    "no such server": ("", "", request("GET", "/mcp/nobody", headers={"Origin": APP} | TOKEN), 404),
    "a lost session": ("", "", request("GET", headers={"Origin": APP, "Mcp-Session-Id": "s"} | TOKEN), 404),
    "a dot segment": ("", "", request("GET", "/mcp/x/../y", headers={"Origin": APP} | TOKEN), 400),
    "a form": ("", "", request(body=b"a=b", headers={"Origin": APP, "Content-Type": "text/plain"} | TOKEN), 415),
    "too much": ("max_body_bytes: 10", "", request(body=CALL, headers={"Origin": APP} | TOKEN), 413),
    "a denied tool": ("tools: {deny: [rm]}", "", request(body=CALL, headers={"Origin": APP} | TOKEN), 200),
    "a doubtful body": ("tools: {deny: [rm]}", "", request(body=b'{"id":1,"id":2}', headers={"Origin": APP} | TOKEN), 400),
    "a wrong method": ("", "", request("DELETE", "/mcp/discovery", headers={"Origin": APP} | TOKEN), 405),
    "nothing below discovery": ("", "", request("GET", "/mcp/discovery/x", headers={"Origin": APP} | TOKEN), 404),
}


@pytest.mark.parametrize(("more", "top", "sent", "status"), REFUSED.values(), ids=REFUSED)
def test_a_page_may_read_why_it_was_refused(more: str, top: str, sent: bytes, status: int) -> None:
    """Without these lines its browser reports a broken network, and the page can neither log in nor tell its user."""
    name = "y" if "name: y" in more else "x"
    gate = GatewayUnderTest(
        f'{TOP}\n{AUTH}\nservers:\n  - name: {name}\n    upstreams: [{{url: "http://127.0.0.1:3010"}}]\n    {more.removeprefix("name: y")}\n'
    )
    told = refused(gate, sent)
    assert told.status == status
    _check_readable(told)


def test_a_page_may_read_that_it_was_too_fast() -> None:
    """With the fields that say how long to wait."""
    gate = _gate(top=f"{TOP}\nlimits: [{{name: all, key: [address], rate: 1/m, burst: 1}}]")
    asked(gate, request(body=CALL, headers={"Origin": APP} | TOKEN))
    client = gate.connect()
    client.send(request(body=CALL, headers={"Origin": APP} | TOKEN))
    told = answer_at(client)
    assert told.status == 429
    _check_readable(told)
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= {name.decode() for name, _ in told.fields}


def test_a_page_may_read_that_its_address_was_too_bold() -> None:
    """Too many bad tokens."""
    gate = _gate(top=f"{TOP}\ngate: {{unauthenticated: {{rate: 1/m, burst: 1}}}}")
    for status in (401, 429):
        told = refused(gate, request("GET", headers={"Origin": APP}))
        assert told.status == status
        _check_readable(told)


@pytest.mark.parametrize(("how", "status"), [("refusing", 502), ("silent", 504)])
def test_a_page_may_read_that_the_server_is_away(how: str, status: int) -> None:
    """Errors on the way, too."""
    gate = _gate("timeouts: {connect: 1s}")
    setattr(gate, how, {3010})
    client = gate.connect()
    client.send(request(body=CALL, headers={"Origin": APP} | TOKEN))
    gate.advance(1.25)
    told = answer_at(client)
    assert told.status == status
    _check_readable(told)


def test_a_page_may_read_that_keys_are_missing() -> None:
    """The issuer is away; it may come again."""
    auth = 'auth: {jwt: [{issuer: "https://as.example", audience: "https://gate.example", jwks_url: "http://127.0.0.1:3100/keys"}]}'
    gate = _gate(auth=auth)
    client = gate.connect()
    client.send(request("GET", headers={"Origin": APP, "Authorization": f"Bearer {signer().token().decode()}"}))
    gate.upstream().close()
    told = answer_at(client)
    assert told.status == 503
    _check_readable(told)


def test_a_page_may_read_that_the_gateway_leaves() -> None:
    """It is to connect again, and learns that."""
    gate = _gate()
    client = gate.connect()
    client.send(request("GET", "/nobody"))
    client.take()
    client.send(b"GET /mcp/x/ HTTP/1.1\r\n")
    gate.gateway.drain()
    gate.advance(0.25)
    client.send(f"Host: localhost\r\nOrigin: {APP}\r\n\r\n".encode())
    told = answer_at(client)
    assert told.status == 503
    _check_readable(told)


def test_a_request_without_an_origin_after_one_with_is_told_nothing_of_it() -> None:
    """What a refusal says belongs to its own request."""
    gate = _gate()
    client = gate.connect()
    client.send(request("GET", headers={"Origin": APP}))
    client.take()
    client.send(request("GET"))
    assert "access-control-allow-origin" not in answer_at(client)


# --- the listener for operators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("fields", [{}, {"Access-Control-Request-Method": "POST"}, {"Authorization": "Bearer admin-token"}])
def test_no_page_of_another_host_gets_at_the_admin_listener(method: str, fields: dict[str, str]) -> None:
    """Also one that may use the servers; a preflight is not answered, and so the browser sends nothing else."""
    gate = _gate()
    for target in ("/livez", "/admin/config", "/admin/reload"):
        client = gate.connect(admin=True)
        client.send(request(method, target, headers={"Origin": APP} | fields))
        told = answer_at(client, method)
        assert told.status == 403
        assert not [name for name, _ in told.fields if name.startswith(b"access-control-")]
    assert gate.gateway.reload_state.successful


def test_a_page_on_this_machine_cannot_write_without_an_operators_token() -> None:
    """Any program may open one; a preflight that is answered is no leave."""
    gate = _gate()
    for fields in ({}, TOKEN):
        client = gate.connect(admin=True)
        client.send(request("POST", "/admin/reload", headers={"Origin": "http://localhost:5173"} | fields))
        assert answer_at(client, "POST").status == 401
