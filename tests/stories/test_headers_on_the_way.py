"""What happens to header fields in both directions: nothing, but for the list in the contract."""

from __future__ import annotations

import pytest
from tests.ends import LAST_CHUNK, anonymous, answer_at, asked, gateway, refused, request_at

from mcpgate.testing import GatewayUnderTest, answer, request

PROXIED = "trusted_proxies: [127.0.0.1/32]"
ODD = "Mcp-Odd: \xe9 \t!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~"


def test_unknown_fields_pass_byte_for_byte_both_ways() -> None:
    """Names in their spelling, values in their bytes, repeated ones repeated, in their order."""
    lines = ODD.encode("latin-1") + b"\r\nX-A: 1\r\nX-a: 2\r\nX-A: 1\r\nCookie: a=b; c=d\r\nAccept-Language: de\r\n"
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET")[:-2] + lines + b"\r\n")
    for line in lines.split(b"\r\n")[:-1]:
        assert peer.received.count(b"\r\n" + line + b"\r\n") == lines.count(line)
    assert peer.received.index(b"X-A: 1") < peer.received.index(b"X-a: 2")
    peer.send(answer()[: -len(b"\r\n{}")] + lines + b"\r\n{}")
    for line in lines.split(b"\r\n")[:-1]:
        assert client.received.count(b"\r\n" + line + b"\r\n") == lines.count(line)


# --- toward the upstream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer client-secret",
        "Origin: http://localhost",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic YTpi",
        "TE: trailers",
        "Trailer: X-Sum",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "Expect: 100-continue",
        "X_Real: underscore",
        "Content_Length: 5",
        "Mcpgate-Principal: root",
        "mcpgate-anything: x",
        "X-Mcpgate-Thing: x",
        "Forwarded: for=1.2.3.4",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-Port: 1",
        "X-Forwarded-User: root",
        "X-Forwarded-Client-Cert: x",
        "X-Real-IP: 1.2.3.4",
    ],
)
@pytest.mark.parametrize("top", ["", PROXIED])
def test_fields_that_end_at_the_gateway(line: str, top: str) -> None:
    """Hop-by-hop fields, the client's credentials, what only we may say, and what servers take for something else."""
    name, _, value = line.partition(": ")
    client, peer = asked(gateway(top=top), request("GET", headers={name: value}))
    assert client.received == b""
    assert name not in request_at(peer)
    assert name.replace("_", "-") not in request_at(peer)


@pytest.mark.parametrize(
    ("listed", "gone"), [("X-Hop", True), ("x-HOP, X-Other", True), ("close, X-Hop", True), ("keep-alive", False)]
)
def test_fields_that_connection_lists_are_dropped(listed: str, gone: bool) -> None:
    """In both directions (RFC 9110 section 7.6.1)."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET", headers={"Connection": listed, "X-Hop": "1"}))
    assert ("x-hop" not in request_at(peer)) is gone
    assert "connection" not in request_at(peer)
    peer.send(answer(headers={"Connection": listed, "X-Hop": "1"}))
    assert ("x-hop" not in answer_at(client)) is gone


@pytest.mark.parametrize(
    "name",
    ["Cookie", "Content-Type", "Mcp-Session-Id", "Mcp-Name", "Accept", "Host", "X-Forwarded-For", "Content-Length"],
)
def test_connection_cannot_take_away_who_asks_and_what(name: str) -> None:
    """An old way around what proxies add and servers check."""
    fields = {"Connection": name, "Cookie": "a", "Mcp-Session-Id": "s", "Mcp-Name": "n"}
    _, peer = asked(GatewayUnderTest(), request(body=b"{}", headers=fields))
    assert name in request_at(peer)


def test_the_server_gets_its_own_host() -> None:
    """A server that checks Host is satisfied; the public one is told beside it."""
    _, peer = asked(gateway(url="http://localhost:3010/base"), request("GET", headers={"Host": "localhost:8700"}))
    assert request_at(peer)["host"] == b"localhost:3010"
    assert request_at(peer)["x-forwarded-host"] == b"localhost:8700"


@pytest.mark.parametrize(
    ("url", "host"),
    [("http://localhost", b"localhost"), ("http://localhost:80/", b"localhost"), ("http://[::1]:3010", b"[::1]:3010")],
)
def test_the_servers_host_is_written_as_http_wants_it(url: str, host: bytes) -> None:
    """Without the default port, IPv6 in brackets."""
    _, peer = asked(gateway(url=url), request("GET"))
    assert request_at(peer)["host"] == host


CLAIMS = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mcp.example.com"}


def test_a_stranger_cannot_say_who_it_is() -> None:
    """Forwarding fields of a peer that is not trusted are replaced by what the gateway sees."""
    _, peer = asked(GatewayUnderTest(), request("GET", headers=CLAIMS))
    seen = request_at(peer)
    assert seen["x-forwarded-for"] == b"127.0.0.1"
    assert seen["x-forwarded-proto"] == b"http"
    assert seen["x-forwarded-host"] == b"localhost"


def test_a_trusted_proxy_may() -> None:
    """Its chain is kept and continued."""
    _, peer = asked(gateway(top=PROXIED), request("GET", headers=CLAIMS))
    seen = request_at(peer)
    assert seen["x-forwarded-for"] == b"9.9.9.9, 127.0.0.1"
    assert seen["x-forwarded-proto"] == b"https"
    assert seen["x-forwarded-host"] == b"mcp.example.com"


def test_via_is_appended_to() -> None:
    """Whoever is before us stays in it."""
    _, peer = asked(GatewayUnderTest(), request("GET", headers={"Via": "1.1 other"}))
    assert request_at(peer)["via"] == b"1.1 other, 1.1 mcpgate"


@pytest.mark.parametrize("top", ["", PROXIED])
@pytest.mark.parametrize(
    ("via", "loops"),
    [
        ("1.1 mcpgate", False),
        ("1.1 mcpgate, 1.1 mcpgate", False),
        ("1.1 mcpgate, 1.1 mcpgate, 1.1 mcpgate", True),
        ("1.1 mcpgate, 1.1 mcpgate, 1.1 mcpgate, 1.1 mcpgate", True),
        ("1.1 mcpgate, 1.0 a, 1.1 mcpgate (x), HTTP/1.1 MCPGATE, 1.1 mcpgate", True),
        ("1.1 mcpgater, 1.1 mcpgater, 1.1 mcpgater, 1.1 mcpgater", False),
    ],
)
def test_a_fourth_pass_would_be_a_loop(via: str, loops: bool, top: str) -> None:
    """Whoever sent it, and also spread over several fields."""
    gate = gateway(top=top)
    several = request("GET")[:-2] + b"".join(b"Via: %b\r\n" % each.encode() for each in via.split(", ")) + b"\r\n"
    for sent in (request("GET", headers={"Via": via}), several):
        if loops:
            assert (told := refused(gate, sent)).status == 508
            assert told["mcpgate-error"] == b"loop"
        else:
            _, peer = asked(gate, sent)
            assert request_at(peer)["via"].endswith(b", 1.1 mcpgate")


def test_credentials_of_the_configuration_replace_the_clients() -> None:
    """In whatever case the client spells them; others stay."""
    gate = GatewayUnderTest(
        'servers: [{name: x, upstreams: [{url: "http://127.0.0.1:3010"}],'
        ' headers: {set: {X-Api-Key: "${KEY}", Authorization: "Bearer ours"}}}]',
        {"KEY": "s3cret"},
    )
    fields = {"x-api-KEY": "theirs", "Authorization": "Bearer theirs", "X-Api-Key-2": "kept"}
    for sent in (request("GET", headers=fields), request("GET", headers=fields | {"Accept": "text/event-stream"})):
        client, peer = asked(gate, sent)
        seen = request_at(peer)
        assert (seen["x-api-key"], seen["authorization"], seen["x-api-key-2"]) == (b"s3cret", b"Bearer ours", b"kept")
        client.reset()


def test_compression_is_the_servers_business_except_for_the_endpoint() -> None:
    """Only a legacy stream, whose first event is rewritten, is asked for without."""
    fields = {"Accept-Encoding": "gzip, br", "Accept": "text/event-stream"}
    _, peer = asked(GatewayUnderTest(), request("GET", "/mcp/x/sse", headers=fields))
    assert request_at(peer)["accept-encoding"] == b"identity"
    _, peer = asked(GatewayUnderTest(), request("POST", headers=fields))
    assert request_at(peer)["accept-encoding"] == b"gzip, br"


# --- toward the client ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "Proxy-Connection: close",
        "Trailer: X-Sum",
        "TE: x",
        "Upgrade: h2c",
        "Clear-Site-Data: *",
        "Mcpgate-Error: x",
    ],
)
def test_fields_of_a_server_that_end_at_the_gateway(line: str) -> None:
    """Hop-by-hop fields, our own namespace, and what would clear the neighbours' data."""
    name, _, value = line.partition(": ")
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(answer(headers={name: value}))
    assert name not in answer_at(client)


@pytest.mark.parametrize(
    "line",
    [
        "Server: uvicorn",
        "Date: Sun, 22 Nov 2026 10:00:00 GMT",
        "WWW-Authenticate: Bearer",
        "Access-Control-Allow-Origin: *",
        "Content-Encoding: br",
        "X_Under: score",
        "X-Forwarded-For: 1.2.3.4",
        "Via: 1.1 inner",
        "Authorization: x",
    ],
)
def test_fields_of_a_server_that_pass(line: str) -> None:
    """Everything that the contract does not name."""
    name, _, value = line.partition(": ")
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(answer(headers={name: value}))
    assert answer_at(client)[name] == value.encode()


def test_trailers_are_dropped() -> None:
    """They are hop-by-hop in effect: nobody downstream was promised any."""
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    told = answer_at(client)
    assert (told.body, told.complete) == (b"abc", True)
    assert b"X-Sum" not in client.received
    assert b"x=y" not in client.received


@pytest.mark.parametrize(
    ("where", "public"),
    [
        ("http://127.0.0.1:3010/mcp/", "/mcp/x/mcp/"),
        ("//127.0.0.1:3010/a", "/mcp/x/a"),
        ("/a%2Fb?q=%20#f", "/mcp/x/a%2Fb?q=%20#f"),
        ("other", "/mcp/x/sub/other"),
        ("?q", "/mcp/x/sub/here?q"),
        ("../up", "/mcp/x/up"),
        ("https://elsewhere.example/login", "https://elsewhere.example/login"),
        ("http://127.0.0.1:3011/a", "http://127.0.0.1:3011/a"),
        ("/mcp/x/a", "/mcp/x/a"),
    ],
)
@pytest.mark.parametrize("status", ["201 Created", "307 Temporary Redirect"])
def test_locations_at_the_server_become_public(where: str, public: str, status: str) -> None:
    """The client stays at the gateway; other addresses are left alone, and never followed."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("POST", "/mcp/x/sub/here"))
    peer.send(answer(b"", status, {"Location": where}))
    assert answer_at(client, "POST")["location"] == public.encode()
    assert len(gate.peers) == 1


@pytest.mark.parametrize(
    ("cookie", "public"),
    [
        ("a=b; Path=/; HttpOnly", "a=b; Path=/mcp/x; HttpOnly"),
        ("a=b", "a=b; Path=/mcp/x"),
        ("a=b; Path=/sub; Domain=example.com; Secure", "a=b; Path=/mcp/x/sub; Secure"),
        ("__Host-a=b; Path=/; Secure", None),
    ],
)
@pytest.mark.parametrize("name", ["Set-Cookie", "set-cookie", "SET-COOKIE"])
def test_cookies_stay_with_their_server(cookie: str, public: str | None, name: str) -> None:
    """All servers share one origin, so a cookie is confined to its server's path."""
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(answer(headers={name: cookie}))
    told = answer_at(client)
    if public is None:
        assert "set-cookie" not in told
    else:
        assert told["set-cookie"] == public.encode()


def test_several_cookies_stay_several() -> None:
    """They cannot be joined (RFC 9110 section 5.3)."""
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nContent-Length: 0\r\n\r\n")
    cookies = [value for name, value in answer_at(client).fields if name == b"set-cookie"]
    assert cookies == [b"a=1; Path=/mcp/x", b"b=2; Path=/mcp/x"]


def test_the_gateway_adds_nothing_to_an_answer() -> None:
    """No Server, no Date, no Via: what the client gets is what the server said, and an id to ask about it."""
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(b"HTTP/1.1 200 Fine By Me\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST_CHUNK)
    assert anonymous(client.received) == b"HTTP/1.1 200 Fine By Me\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
