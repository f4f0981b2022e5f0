"""A gateway leaves: nothing new comes in, what runs may finish, and in the end it is gone."""

from __future__ import annotations

import pytest
from tests.ends import LAST_CHUNK, SSE, STREAM_HEAD, answer_at, asked, chunked, gateway

from mcpgate.exchange import Ended
from mcpgate.testing import ONE_SERVER, GatewayUnderTest, answer, request


def _drained(gate: GatewayUnderTest) -> list[None]:
    done: list[None] = []
    gate.gateway.drain().addCallback(done.append)
    gate.advance(0.5)
    return done


def test_a_gateway_with_nothing_to_do_leaves_at_once() -> None:
    """Idle connections are closed."""
    gate = GatewayUnderTest()
    idle = gate.connect()
    used, peer = asked(gate, request("GET"))
    peer.send(answer())
    assert _drained(gate) == [None]
    assert (idle.closed, used.closed) == ("fin", "fin")


def test_what_runs_may_finish() -> None:
    """The answer says that the connection ends with it, and then the gateway is free to go."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b"{}"))
    streaming, stream = asked(gate, request(body=b"{}"))
    stream.send(STREAM_HEAD)
    done = _drained(gate)
    gate.advance(5)
    peer.send(answer(b"late"))
    told = answer_at(client, "POST")
    assert (told.body, told["connection"], client.closed) == (b"late", b"close", "fin")
    stream.send(chunked(b"data: 1\n\n") + LAST_CHUNK)
    assert answer_at(streaming, "POST").complete
    client.close()
    streaming.close()
    assert done == []
    gate.advance(0.25)
    assert done == [None]
    assert {record.ended for record in gate.records} == {Ended.COMPLETE, Ended.UPSTREAM_END}


def test_a_stream_that_ends_while_draining_frees_its_connection() -> None:
    """Although its head, sent before, did not say so."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request(body=b"{}"))
    peer.send(STREAM_HEAD)
    done = _drained(gate)
    peer.send(LAST_CHUNK)
    assert client.closed == "fin"
    gate.advance(3)
    assert done == [None]


def test_what_does_not_finish_is_cut_after_the_timeout() -> None:
    """A stream visibly so; a call that has no answer yet is told to come again."""
    gate = gateway(top="drain: {timeout: 5s}")
    streaming, stream = asked(gate, request(body=b"{}"))
    stream.send(STREAM_HEAD, chunked(b"data: 1\n\n"))
    waiting, call = asked(gate, request(body=b'{"id":3}'))
    held, legacy = asked(gate, request("GET", "/mcp/x/sse", headers=SSE))
    done = _drained(gate)
    gate.advance(4)
    legacy.send(STREAM_HEAD)
    assert done == []
    gate.advance(1.5)
    assert done == [None]
    assert not answer_at(streaming, "POST").complete
    assert streaming.closed is not None
    for client, method in ((waiting, "POST"), (held, "GET")):
        told = answer_at(client, method)
        assert (told.status, told["mcpgate-error"], told["retry-after"]) == (503, b"draining", b"1")
    assert {peer.closed for peer in gate.peers} == {"reset"}
    assert stream.closed == call.closed == "reset"


def test_during_the_delay_everything_goes_on() -> None:
    """A load balancer needs a moment to see that readiness says no."""
    gate = gateway(top="drain: {delay: 5s}")
    client = gate.connect()
    done = _drained(gate)
    assert gate.ask(request("GET", "/readyz"), admin=True).startswith(b"HTTP/1.1 503 ")
    client.send(request("GET"))
    gate.upstream().send(answer())
    assert "connection" not in answer_at(client)
    gate.advance(4)
    assert (client.closed, done) == (None, [])
    gate.advance(1.25)
    assert client.closed == "fin"


def test_a_new_connection_is_refused_in_words() -> None:
    """One that was accepted just before the doors closed; its client tries elsewhere."""
    gate = GatewayUnderTest()
    asked(gate, request("GET"))
    _drained(gate)
    late = gate.connect()
    late.send(request(body=b'{"id":1}'))
    told = answer_at(late, "POST")
    assert (told.status, told["mcpgate-error"], told["connection"], told.json["id"]) == (503, b"draining", b"close", 1)


def test_the_admin_listener_answers_while_draining() -> None:
    """An operator wants to watch."""
    gate = GatewayUnderTest()
    asked(gate, request("GET"))
    _drained(gate)
    assert gate.ask(request("GET", "/livez"), admin=True).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("began", [b"GET /mcp/x/ HTTP/1.1\r\n", b"\r\n"])
def test_a_request_that_never_becomes_whole_does_not_hold_the_gateway(began: bytes) -> None:
    """Its header deadline, or the drain's, ends it."""
    gate = gateway(top="drain: {timeout: 5s}")
    client = gate.connect()
    client.send(began)
    done = _drained(gate)
    gate.advance(6)
    assert done == [None]


WAITING = (
    "limits: [{name: slow, key: [address], rate: 1/s, burst: 1, wait: 30s}]\n"
    "drain: {timeout: 10s}\n"
)
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}'


def test_what_waits_for_its_turn_or_its_body_may_finish() -> None:
    """It was let in before the gateway began to leave."""
    gate = GatewayUnderTest(WAITING + ONE_SERVER)
    _, first = asked(gate, request(body=CALL))
    first.send(answer())
    waiting, collecting = gate.connect(), gate.connect()
    waiting.send(request(body=CALL))
    collecting.send(request(headers={"Content-Length": str(len(CALL))}) + CALL[:10])
    gate.gateway.drain()
    gate.advance(1.5)
    gate.upstream().send(answer())
    assert waiting.received.startswith(b"HTTP/1.1 200 ")
    collecting.send(CALL[10:])
    gate.advance(2)
    gate.upstream().send(answer())
    assert collecting.received.startswith(b"HTTP/1.1 200 ")


def test_what_still_waits_at_the_end_is_told_and_recorded() -> None:
    """A body that never came, and a turn that is not there yet."""
    gate = GatewayUnderTest(WAITING + ONE_SERVER)
    collecting = gate.connect()
    collecting.send(request(headers={"Content-Length": "100"}) + b"{")
    done: list[None] = []
    gate.gateway.drain().addCallback(done.append)
    gate.advance(11)
    assert done == [None]
    assert collecting.received.startswith(b"HTTP/1.1 503 ")
    assert [record.error.reason for record in gate.records if record.error] == ["draining"]
