"""A web page in somebody's browser tries to reach the gateway: Host and Origin are checked on every listener."""

from __future__ import annotations

import pytest
from tests.ends import SSE, answer_at, asked, gateway, refused, request_at
from tests.stories.test_websocket import OFFER

from mcpgate.testing import GatewayUnderTest, request

OPEN = "listen: tcp:8700"
PUBLIC = "public_url: https://mcp.example.com"
NAMED = "http: {allowed_hosts: [gate.example, 'other.example:8443'], allowed_origins: ['https://app.example']}"


@pytest.mark.parametrize(
    ("top", "host", "admitted"),
    [
        ("", "localhost", True),
        ("", "localhost:8700", True),
        ("", "LocalHost:1", True),
        ("", "127.0.0.1:8700", True),
        ("", "[::1]:8700", True),
        ("", "evil.example", False),
        ("", "localhost.evil.example", False),
        ("", "127.0.0.2", False),
        ("", "mcp.example.com", False),
        (PUBLIC, "mcp.example.com", True),
        (PUBLIC, "MCP.example.com:443", True),
        (PUBLIC, "localhost", True),
        (PUBLIC, "evil.example", False),
        (OPEN, "anything.example", True),
        (OPEN, "10.0.0.7:8700", True),
        (f"{OPEN}\n{PUBLIC}", "mcp.example.com", True),
        (f"{OPEN}\n{PUBLIC}", "localhost", False),
        (f"{OPEN}\n{PUBLIC}", "evil.example", False),
        (f"{OPEN}\n{NAMED}", "gate.example", True),
        (f"{OPEN}\n{NAMED}", "gate.example:99", True),
        (f"{OPEN}\n{NAMED}", "other.example:8443", True),
        (f"{OPEN}\n{NAMED}", "other.example", False),
        (NAMED, "localhost", True),
    ],
)
def test_a_foreign_host_is_misdirected(top: str, host: str, admitted: bool) -> None:
    """Loopback names on a loopback bind, the public one, and what the configuration names."""
    gate = gateway(top=top)
    if admitted:
        asked(gate, request(headers={"Host": host}))
        assert len(gate.peers) == 1
    else:
        told = refused(gate, request(headers={"Host": host}))
        assert (told.status, told["mcpgate-error"], told.json["error"]["code"]) == (421, b"host", -31421)


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "a@localhost", "localhost:x", "localhost:99999", "[::1", "a,localhost"]
)
@pytest.mark.parametrize("top", ["", OPEN])
def test_what_is_no_host_is_a_bad_request(host: str, top: str) -> None:
    """Also where every name is admitted."""
    told = refused(gateway(top=top), request(headers={"Host": host}))
    assert (told.status, told["mcpgate-error"], told["connection"]) == (400, b"bad_request", b"close")


@pytest.mark.parametrize(
    ("top", "origin", "admitted"),
    [
        ("", "http://localhost", True),
        ("", "http://localhost:5173", True),
        ("", "https://127.0.0.1:8700", True),
        ("", "HTTP://LOCALHOST", True),
        ("", "http://[::1]:6274", True),
        ("", "http://evil.example", False),
        ("", "http://localhost.evil.example", False),
        ("", "http://evil.example/localhost", False),
        ("", "http://localhost@evil.example", False),
        ("", "null", False),
        ("", "", False),
        ("", "file://", False),
        ("", "chrome-extension://abc", False),
        (PUBLIC, "https://mcp.example.com", True),
        (f"{OPEN}\n{PUBLIC}", "http://localhost", False),
        (NAMED, "https://app.example", True),
        (NAMED, "https://APP.example", True),
        (NAMED, "http://app.example", False),
        (NAMED, "https://gate.example", True),
        (OPEN, "https://any.example", False),
    ],
)
def test_a_foreign_origin_is_forbidden(top: str, origin: str, admitted: bool) -> None:
    """Absent is fine: only browsers send one. The server does not see it; its own check would refuse it."""
    gate = gateway(top=top)
    host = "mcp.example.com" if PUBLIC in top else "localhost"
    sent = request(body=b"{}", headers={"Origin": origin, "Host": host})
    if admitted:
        _, peer = asked(gate, sent)
        assert "origin" not in request_at(peer)
    else:
        told = refused(gate, sent)
        assert (told.status, told["mcpgate-error"], told.json["error"]["code"]) == (403, b"origin", -31403)


@pytest.mark.parametrize("field", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        ("POST", "/mcp/x/mcp", {}),
        ("GET", "/mcp/x/sse", SSE),
        ("DELETE", "/mcp/x/mcp", {"Mcp-Session-Id": "s"}),
        ("OPTIONS", "/mcp/x/mcp", {}),
        ("GET", "/mcp/x/ws", OFFER),
        ("GET", "/mcp/discovery", {}),
        ("GET", "/nobody", {}),
    ],
)
def test_the_check_holds_for_every_transport(
    method: str, target: str, fields: dict[str, str], field: dict[str, str]
) -> None:
    """Calls, streams, WebSockets and the gateway's own addresses alike, before anything else is looked at."""
    told = refused(GatewayUnderTest(), request(method, target, headers=fields | field))
    assert told.status == (421 if "Host" in field else 403)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:8701"}, 200),
        ({}, 200),
    ],
)
def test_the_admin_listener_is_checked_too(fields: dict[str, str], status: int) -> None:
    """A page must not read the health of a gateway on somebody's own machine."""
    client = GatewayUnderTest().connect(admin=True)
    client.send(request("GET", "/livez", headers=fields))
    assert answer_at(client).status == status


@pytest.mark.parametrize(
    ("media_type", "admitted"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=application/json", False),
        ("", False),
        ("text/plain; x=application/json", False),
    ],
)
@pytest.mark.parametrize("framing", [{"Content-Length": "2"}, {"Transfer-Encoding": "chunked"}])
def test_a_browser_posts_json_or_nothing(media_type: str, admitted: bool, framing: dict[str, str]) -> None:
    """What a form can send without asking first is refused with 415; without an Origin it is the server's business."""
    gate = GatewayUnderTest()
    sent = request(headers={"Content-Type": media_type} | framing)
    with_origin = request(headers={"Content-Type": media_type, "Origin": "http://localhost"} | framing)
    asked(gate, sent)
    assert len(gate.peers) == 1
    if admitted:
        asked(gate, with_origin)
        assert len(gate.peers) == 2
    else:
        told = refused(gate, with_origin)
        assert (told.status, told["mcpgate-error"]) == (415, b"media_type")


def test_a_browser_may_post_nothing() -> None:
    """Without a body there is no type to check."""
    _, peer = asked(GatewayUnderTest(), request(headers={"Origin": "http://localhost"}))
    assert request_at(peer).method == b"POST"


def test_http10_needs_no_host() -> None:
    """There is none to check then, and the server is told none."""
    _, peer = asked(GatewayUnderTest(), b"GET /mcp/x/ HTTP/1.0\r\n\r\n")
    assert request_at(peer)["host"] == b"127.0.0.1:3010"
    assert "x-forwarded-host" not in request_at(peer)
