"""The Klein door in somebody's own `Site`: what is special about it. That it does the same is `test_two_doors.py`."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

from typing import Any

import pytest
from tests.ends import LAST_CHUNK, STREAM_HEAD, Message, answer_at, chunked, request_at
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from mcpgate.exchange import Ended
from mcpgate.testing import Client, GatewayUnderTest, answer, request

CONFIG = """\
trusted_proxies: ["2001:db8::/32"]
http: {max_body_bytes: 10}
servers: [{name: x, upstreams: [{url: "http://127.0.0.1:3010"}]}]
"""


class Visitor(Request):
    """A request that comes from where a test says."""

    address: Any = None
    secure = False

    def getClientAddress(self) -> Any:
        return self.address or super().getClientAddress()

    def isSecure(self) -> bool:
        return self.secure


class Page(Resource):
    """Somebody's own."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"mine"


def _embedded(config: str = CONFIG, *, at: bytes = b"mcp", visitor: type[Request] = Visitor) -> GatewayUnderTest:
    """A site of somebody's own, with a page, and the gateway below a path."""
    gate = GatewayUnderTest(config)
    root = Resource()
    root.putChild(b"page", Page())
    root.putChild(at, gate.gateway.resource())
    site = Site(root, requestFactory=visitor, reactor=gate.reactor, parsePOSTFormSubmission=False)
    gate.gateway.door = site  # type: ignore[assignment]
    return gate


def _ask(gate: GatewayUnderTest, sent: bytes) -> tuple[Client, Message]:
    client = gate.connect()
    client.send(sent)
    if gate.peers and gate.upstream().received and gate.upstream().closed is None:
        gate.upstream().send(answer(b"ok"))
    return client, answer_at(client)


def test_it_lives_beside_other_resources() -> None:
    """Its paths are whole, wherever it hangs."""
    gate = _embedded()
    assert _ask(gate, request("GET", "/page"))[1].body == b"mine"
    assert _ask(gate, request("GET", "/mcp/x/a"))[1].body == b"ok"
    assert request_at(gate.upstream()).target == b"/a"
    assert _ask(gate, request("GET", "/mcp/nobody"))[1]["mcpgate-error"] == b"no_route"


@pytest.mark.parametrize(
    ("address", "secure", "forwarded"),
    [
        (None, False, (b"127.0.0.1", b"http")),
        (None, True, (b"127.0.0.1", b"https")),
        (IPv6Address("TCP", "2001:db8::1", 1), False, (b"9.9.9.9, 2001:db8::1", b"https")),
        (UNIXAddress(b"/x"), False, (b"unix", b"http")),
    ],
)
def test_the_server_learns_who_asked_and_how(address: Any, secure: bool, forwarded: tuple[bytes, bytes]) -> None:
    """From the site's connection, or from a trusted proxy in front of it."""
    visitor = type("From", (Visitor,), {"address": address, "secure": secure})
    gate = _embedded(visitor=visitor)
    claims = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}
    _ask(gate, request("GET", "/mcp/x/a", headers=claims))
    seen = request_at(gate.upstream())
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == forwarded


@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 413), (100_001, 413)])
def test_a_body_is_bounded_although_it_was_buffered(size: int, status: int) -> None:
    """By the limit of its route, and the route is looked at first."""
    gate = _embedded()
    assert _ask(gate, request("POST", "/mcp/x/a", b"x" * size))[1].status == status
    assert _ask(gate, request("POST", "/mcp/nobody", b"x" * size))[1].status == 404


def test_a_limit_that_a_reload_has_raised_holds_here_too() -> None:
    """And the body arrives whole: half of one would swallow the next request."""
    gate = _embedded()
    gate.config = CONFIG.replace("name: x,", "name: x, max_body_bytes: 1000,")
    assert gate.gateway.reload()["success"]
    _, told = _ask(gate, request("POST", "/mcp/x/a", b"x" * 500))
    assert told.status == 200
    seen = request_at(gate.upstream())
    assert (seen.body, seen.complete) == (b"x" * 500, True)


def test_a_client_that_leaves_closes_the_upstream() -> None:
    """Before the answer and in the middle of it."""
    for said in (b"", STREAM_HEAD + chunked(b"data: 1\n\n")):
        gate = _embedded()
        client = gate.connect()
        client.send(request("GET", "/mcp/x/a"))
        if said:
            gate.upstream().send(said)
        client.reset()
        assert gate.upstream().closed == "reset"
        assert [record.ended for record in gate.records] == [Ended.CLIENT_GONE]


def test_events_arrive_one_by_one() -> None:
    """Nothing is collected on the way."""
    gate = _embedded()
    client = gate.connect()
    client.send(request("POST", "/mcp/x/a", b"{}"))
    gate.upstream().send(STREAM_HEAD)
    assert answer_at(client).status == 200
    for number in range(3):
        gate.upstream().send(chunked(b"data: %d\n\n" % number))
        assert answer_at(client).body.endswith(b"data: %d\n\n" % number)
    gate.upstream().send(LAST_CHUNK)
    assert answer_at(client).complete


def test_an_upgrade_is_an_ordinary_request_here() -> None:
    """twisted.web has taken the connection, so there is nothing to tunnel through."""
    gate = _embedded()
    fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
    assert _ask(gate, request("GET", "/mcp/x/ws", headers=fields))[1].status == 200
    assert "upgrade" not in request_at(gate.upstream())


def test_a_stream_of_a_server_that_is_removed_ends_here_too() -> None:
    """A reload reaches both doors."""
    gate = _embedded(CONFIG + "drain: {timeout: 1s}\n")
    client = gate.connect()
    client.send(request("GET", "/mcp/x/a"))
    gate.upstream().send(STREAM_HEAD)
    gate.config = "servers: []"
    gate.gateway.reload()
    gate.advance(31)
    assert client.closed is not None
    assert not answer_at(client).complete
