"""One client connection carries many requests: in order, each judged for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from tests.ends import anonymous, answer_at, answers, asked, gateway, request_at, requests
from tests.strategies import THROUGH_THE_GATEWAY, cuts, split

from mcpgate.testing import GatewayUnderTest, answer, request


def test_pipelined_requests_are_answered_in_order() -> None:
    """The second waits for the first, however quick its server is."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(b"".join(request("GET", f"/mcp/x/{number}") for number in range(3)))
    assert len(gate.peers) == 1
    for number in range(3):
        peer = gate.upstream()
        assert request_at(peer).target == b"/%d" % number
        peer.send(answer(b"%d" % number))
    told = answers(client.received, client.closed, ["GET"] * 3)
    assert [each.body for each in told] == [b"0", b"1", b"2"]
    assert client.closed is None


def test_any_split_of_pipelined_requests_gives_the_same_answers() -> None:
    """Segments do not matter; neither do empty lines between requests."""
    gate = GatewayUnderTest()
    sent = (
        request(body=b'{"id":1}')
        + b"\r\n"
        + request("GET", "/nobody")
        + request("POST", headers={"Transfer-Encoding": "chunked"})
        + b"3\r\nabc\r\n0\r\n\r\n"
        + request("HEAD", "/mcp/x/h")
        + request("GET", "/mcp/x/last")
    )

    @THROUGH_THE_GATEWAY
    @given(segments=cuts)
    def holds(segments: list[int]) -> None:
        client = gate.connect()
        for piece in split(sent, segments):
            client.send(piece)
            _answer_all(gate)
        told = answers(client.received, client.closed, ["POST", "GET", "POST", "HEAD", "GET"])
        assert [each.status for each in told] == [200, 404, 200, 200, 200]
        assert [each.body for each in told if each.status == 200] == [b"/mcp", b"/mcp", b"", b"/last"]

    holds()


def _answer_all(gate: GatewayUnderTest) -> None:
    """Answer what is complete at the server, with its target as the body."""
    while gate.peers and gate.upstream().closed is None and gate.upstream().received:
        seen = request_at(gate.upstream())
        if not seen.complete:
            return
        gate.upstream().take()
        gate.upstream().send(answer(seen.target) if seen.method != b"HEAD" else answer(b"")[:-2] + b"\r\n")


def test_a_bad_request_ends_the_connection_after_the_answers_before_it() -> None:
    """What stands behind it is not read."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET") + b"garbage\r\n\r\n" + request("GET", "/mcp/x/behind"))
    peer.send(answer())
    told = answers(client.received, client.closed, ["GET"] * 3)
    assert [each.status for each in told] == [200, 400]
    assert client.closed == "fin"
    assert b"/behind" not in peer.received


def test_what_waits_is_bounded() -> None:
    """Above 64 KiB the gateway stops reading, and reads on when the answer has gone."""
    gate = GatewayUnderTest()
    client, _ = asked(gate, request("GET"))
    many = request("GET", "/mcp/x/" + "a" * 900)
    client.send(*[many] * 100)
    assert not client.transport.reading
    for _ in range(101):
        gate.upstream().send(answer())
    assert client.transport.reading
    assert len(answers(client.received, None, ["GET"] * 101)) == 101


def test_many_refused_requests_in_one_segment() -> None:
    """Answers that are ready at once do not pile up on the stack."""
    client = GatewayUnderTest().connect()
    client.send(request("GET", "/nobody") * 500)
    assert client.received.count(b"HTTP/1.1 404 ") == 500


@pytest.mark.parametrize(
    ("fields", "stays"),
    [
        ({}, True),
        ({"Connection": "keep-alive"}, True),
        ({"Connection": "close"}, False),
        ({"Connection": "Close"}, False),
        ({"Connection": "x-a, close"}, False),
        ({"Connection": "keep-alive, close"}, False),
    ],
)
@pytest.mark.parametrize("target", ["/mcp/x/mcp", "/nobody", "/mcp/discovery"])
def test_the_client_says_whether_the_connection_stays(fields: dict[str, str], stays: bool, target: str) -> None:
    """And the answer repeats it."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("GET", target, headers=fields) + request("GET", "/mcp/x/next"))
    if target.startswith("/mcp/x"):
        gate.upstream().send(answer())
    assert (answer_at(client)["connection"] == b"close") is not stays
    assert (client.closed is None) is stays
    assert any(b"/next" in peer.received for peer in gate.peers) is stays


def test_the_servers_wish_to_close_is_between_it_and_the_gateway() -> None:
    """The client's connection stays."""
    client, peer = asked(GatewayUnderTest(), request("GET"))
    peer.send(answer(headers={"Connection": "close", "Keep-Alive": "timeout=5"}))
    told = answer_at(client)
    assert "connection" not in told
    assert "keep-alive" not in told
    assert client.closed is None


def test_an_idle_connection_is_closed_in_the_end() -> None:
    """`keepalive_timeout` counts from the last answer."""
    gate = gateway(top="http: {keepalive_timeout: 20s}")
    client, peer = asked(gate, request("GET"))
    gate.advance(30)
    peer.send(answer())
    gate.advance(19)
    assert client.closed is None
    gate.advance(2)
    assert client.closed == "fin"


def test_after_the_last_answer_the_gateway_reads_on_for_a_moment() -> None:
    """Without that, a reset for late bytes could overtake the answer (RFC 9112 section 9.6)."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(b"garbage\r\n\r\n")
    assert client.closed == "fin"
    client.send(b"more" * 1000)
    assert client.transport.connected
    gate.advance(3)
    assert not client.transport.connected


# --- the same head again ------------------------------------------------------------------------------------------


def test_the_same_request_with_another_length_is_another_request() -> None:
    """A client repeats its head; what differs must count."""
    gate = GatewayUnderTest()
    client = gate.connect()
    for body in (b"{}", b'{"id":1}', b"{}", b"x" * 5000, b"{}"):
        client.take()
        client.send(request(body=body))
        seen = request_at(gate.upstream())
        assert (seen.body, seen["content-length"]) == (body, str(len(body)).encode())
        gate.upstream().take()
        gate.upstream().send(answer(body))
        assert answer_at(client, "POST").body == body


@pytest.mark.parametrize(
    ("length", "status"),
    [("65", 413), ("99999999999999999999", 400), ("5x", 400), ("", 400), ("-1", 400), ("0x1", 400)],
)
def test_a_length_is_checked_also_in_a_head_that_came_before(length: str, status: int) -> None:
    """Knowing the rest of the head does not make its length right."""
    gate = gateway(top="http: {max_body_bytes: 64}")
    client, peer = asked(gate, request(headers={"Content-Length": "2"}) + b"{}")
    peer.send(answer())
    client.take()
    client.send(request(headers={"Content-Length": length}) + b"{}")
    assert answer_at(client, "POST").status == status
    assert len(requests(peer.received)) == 1


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (request("GET", "/mcp/x/a"), request("GET", "/mcp/x/b")),
        (request("GET", "/mcp/x/a"), request("HEAD", "/mcp/x/a")),
        (request(headers={"A": "1"}), request(headers={"A": "2"})),
        (request(headers={"Content-Length": "2"}) + b"ab", request(headers={"content-length": "2"}) + b"ab"),
        (
            request(headers={"Content-Length": "2"}) + b"ab",
            request(headers={"Transfer-Encoding": "chunked"}) + b"0\r\n\r\n",
        ),
        (request(headers={"Content-Length": "2"}) + b"ab", request("GET")),
    ],
)
def test_a_head_that_is_almost_the_same_is_read_anew(first: bytes, then: bytes) -> None:
    """What the server gets on a used connection is what it gets on a fresh one."""
    used, fresh = GatewayUnderTest(), GatewayUnderTest()
    client, peer = asked(used, first)
    peer.send(answer() if not first.startswith(b"HEAD") else answer(b""))
    peer.take()
    client.send(then)
    asked(fresh, then)
    assert anonymous(used.upstream().received) == anonymous(fresh.upstream().received)


def test_an_answers_head_that_comes_again_is_that_of_its_own_request() -> None:
    """A relative Location leads elsewhere for every request, and lengths differ."""
    gate = GatewayUnderTest()
    client = gate.connect()
    for where, length in (("a", 1), ("b", 3), ("c", 1)):
        client.take()
        client.send(request("GET", f"/mcp/x/{where}/here"))
        gate.upstream().send(answer(b"x" * length, "307 Temporary Redirect", {"Location": "there"}))
        told = answer_at(client)
        assert told["location"] == f"/mcp/x/{where}/there".encode()
        assert told.body == b"x" * length
    assert len(gate.peers) == 1
