"""The kit itself: it behaves as Twisted's transports do, and nothing happens in it behind a test's back."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

import doctest
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.ends import anonymous, gateway
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

import mcpgate.testing
from mcpgate.net.memory import MemoryTransport
from mcpgate.net.transports import has_unread, lose_write, reset, unsent_bytes
from mcpgate.testing import Client, GatewayUnderTest, answer, request


def test_the_example_in_its_documentation_works() -> None:
    """What a reader copies."""
    assert doctest.testmod(mcpgate.testing).failed == 0


# --- bytes to send ------------------------------------------------------------------------------------------------


def test_a_request_is_what_a_plain_client_writes() -> None:
    """Given headers add to the usual ones or replace them, and bodies are framed."""
    assert request("GET", "/a", headers={"Accept": "x", "B": "\xe9"}) == (
        b"GET /a HTTP/1.1\r\nHost: localhost\r\nAccept: x\r\nB: \xe9\r\n\r\n"
    )
    assert request(body=b"{}") == (
        b"POST /mcp/x/mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_an_answer_has_a_length() -> None:
    """Likewise."""
    assert answer(b"ab", "404 Not Found", {"Content-Type": "text/plain", "A": "1"}) == (
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nA: 1\r\n\r\nab"
    )


# --- the two ends -------------------------------------------------------------------------------------------------


def test_everything_happens_inside_the_call_that_causes_it() -> None:
    """No turn has to be waited for."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(request("GET"))
    assert gate.upstream().received.startswith(b"GET /mcp HTTP/1.1\r\n")
    gate.upstream().send(answer(b"ab"))
    assert anonymous(client.received) == answer(b"ab")
    assert anonymous(client.take()) == answer(b"ab")
    assert client.received == client.take() == b""


def test_ask_is_a_whole_visit() -> None:
    """On a connection of its own, at either listener."""
    gate = GatewayUnderTest()
    assert gate.ask(request("GET", "/nobody")).startswith(b"HTTP/1.1 404 ")
    assert gate.ask(request("GET", "/livez"), admin=True).startswith(b"HTTP/1.1 200 ")


def test_pieces_arrive_one_by_one() -> None:
    """What is between them happens."""
    gate = GatewayUnderTest()
    client = gate.connect()
    client.send(b"GET /nobody HTTP/1.1\r\n", b"Host: localhost\r\n\r\n")
    assert b" 404 " in client.received


def test_connections_to_upstreams_are_kept_in_order() -> None:
    """The newest is the one that a test usually means."""
    gate = GatewayUnderTest()
    for number in range(2):
        gate.connect().send(request("GET", f"/mcp/x/{number}"))
    assert gate.upstream() is gate.upstream(1)
    assert gate.upstream(0).received.startswith(b"GET /0 ")


def test_names_are_looked_up_in_the_test() -> None:
    """No resolver of the machine is asked."""
    gate = gateway(url="http://mcp.example:3010")
    assert b" 502 " in gate.ask(request("GET"))
    gate.names["mcp.example"] = ["192.0.2.7"]
    gate.ask(request("GET"))
    assert gate.reactor.tcpClients[-1][:2] == ("192.0.2.7", 3010)


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.1, 1, 7.3])
def test_time_passes_only_when_told(seconds: float) -> None:
    """And exactly that much, in steps that no deadline notices."""
    gate = GatewayUnderTest()
    gate.ask(request("GET"))
    began_s = gate.reactor.seconds()
    gate.advance(seconds)
    assert gate.reactor.seconds() - began_s == pytest.approx(seconds)


def test_no_time_is_one_turn() -> None:
    """What a turn leaves to the next one waits for it."""
    gate, turns = GatewayUnderTest(), []

    def turn() -> None:
        turns.append(gate.reactor.seconds())
        gate.reactor.callLater(0.001, turn)

    gate.reactor.callLater(0, turn)
    gate.settle()
    assert turns == []
    gate.advance(0)
    assert turns == [gate.reactor.seconds()]


def test_a_silent_upstream_times_out_when_its_time_has_come() -> None:
    """As a connection attempt does that nobody answers."""
    gate = gateway("timeouts: {connect: 2s}")
    gate.silent = {3010}
    client = gate.connect()
    client.send(request("GET"))
    gate.advance(1.5)
    assert client.received == b""
    gate.advance(1)
    assert b" 504 " in client.received


# --- what it keeps ------------------------------------------------------------------------------------------------


def test_ended_exchanges_are_kept_in_order() -> None:
    """With everything that the log would say."""
    gate = GatewayUnderTest()
    for path in ("/a", "/b"):
        gate.ask(request("GET", path))
    assert [(each.head.path, each.status) for each in gate.records] == [(b"/a", 404), (b"/b", 404)]
    assert gate.log_lines == []
    gate.advance(1)
    assert b"".join(gate.log_lines).count(b"\n") == 2


def test_failures_of_the_gateway_itself_are_kept() -> None:
    """So that a test of something built on it can say: there were none."""
    gate = GatewayUnderTest()
    gate.ask(request("GET", "/a"))
    assert gate.failures == []
    gate.gateway.pipeline.snapshot = replace(gate.gateway.pipeline.snapshot, routes=cast(Any, None))
    gate.ask(request("GET", "/a"))
    assert len(gate.failures) == 1
    assert "AttributeError" in gate.failures[0]


def test_the_configuration_can_be_changed_and_reloaded() -> None:
    """As by SIGHUP; `${VAR}` is what the test says."""
    gate = GatewayUnderTest("servers: [{name: x, upstreams: [{url: '${URL}'}]}]", {"URL": "http://127.0.0.1:1"})
    gate.config = "servers: [{name: y, upstreams: [{url: '${URL}'}]}]"
    assert gate.gateway.reload()["added"] == ["y"]


# --- transports ---------------------------------------------------------------------------------------------------


class Ears(Protocol):
    """A protocol that notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data.decode())

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - Twisted's signature
        self.heard.append(reason.type.__name__ if reason.type else "lost")

    def pauseProducing(self) -> None:
        self.heard.append("pause")

    def resumeProducing(self) -> None:
        self.heard.append("resume")

    def stopProducing(self) -> None:
        self.heard.append("stop")


@implementer(IHalfCloseableProtocol)
class PatientEars(Ears):
    """One that goes on when the far end has said all."""

    def readConnectionLost(self) -> None:
        self.heard.append("end of input")

    def writeConnectionLost(self) -> None:
        """Our own half close."""


def _transport(ears: Ears | None = None) -> tuple[Ears, MemoryTransport]:
    ears = ears or Ears()
    transport = MemoryTransport(ears, 1)
    ears.makeConnection(cast(Any, transport))
    return ears, transport


def _settle(transport: MemoryTransport) -> None:
    while transport.deliver_loss() or transport.deliver():
        pass


@pytest.mark.parametrize(
    ("close", "closed", "reason"),
    [
        (MemoryTransport.loseConnection, "fin", ConnectionDone),
        (MemoryTransport.abortConnection, "reset", ConnectionLost),
        (reset, "reset", ConnectionLost),
    ],
)
def test_a_protocol_hears_of_its_own_closing_on_a_later_turn(close: Any, closed: str, reason: type[Exception]) -> None:
    """Never inside the call, exactly once, and nothing is heard after it."""
    ears, transport = _transport()
    close(transport)
    assert (ears.heard, transport.closed) == ([], closed)
    _settle(transport)
    transport.take_data(b"late")
    transport.write(b"late")
    close(transport)
    _settle(transport)
    assert (ears.heard, transport.delivered) == ([reason.__name__], b"")


def test_lose_connection_sends_what_is_queued_first() -> None:
    """As Twisted's does, however long the far end takes."""
    _, transport = _transport()
    transport.taking = False
    transport.write(b"abc")
    transport.loseConnection()
    _settle(transport)
    assert (transport.closed, unsent_bytes(transport)) == (None, 3)
    transport.taking = True
    _settle(transport)
    assert (transport.delivered, transport.closed) == (b"abc", "fin")


def test_abort_drops_what_is_queued() -> None:
    """And the far end sees a reset."""
    _, transport = _transport()
    transport.taking = False
    transport.write(b"abc")
    transport.abortConnection()
    transport.taking = True
    _settle(transport)
    assert (transport.delivered, transport.closed) == (b"", "reset")


def test_a_producer_is_paused_above_the_buffer_and_resumed_when_it_is_empty() -> None:
    """Once each."""
    ears, transport = _transport()
    transport.registerProducer(cast(Any, ears), True)
    transport.taking = False
    transport.write(b"x" * 65_536)
    assert ears.heard == []
    transport.write(b"x")
    transport.write(b"x")
    assert ears.heard == ["pause"]
    transport.taking = True
    _settle(transport)
    assert ears.heard == ["pause", "resume"]


def test_a_paused_transport_delivers_when_it_is_resumed() -> None:
    """Data and ends wait in order."""
    ears, transport = _transport()
    transport.pauseProducing()
    for what in (lambda: transport.take_data(b"a"), transport.take_end):
        transport.arrive(what)
    _settle(transport)
    assert ears.heard == []
    transport.resumeProducing()
    _settle(transport)
    assert ears.heard == ["a", "ConnectionDone"]


@pytest.mark.parametrize("half_closed_first", [False, True])
def test_a_patient_protocol_keeps_its_transport_until_it_lets_go(half_closed_first: bool) -> None:
    """Twisted closes nothing by itself, not even when both directions have ended."""
    ears, transport = _transport(PatientEars())
    if half_closed_first:
        assert lose_write(transport)
        assert transport.closed == "fin"
    transport.arrive(transport.take_end)
    _settle(transport)
    assert ears.heard == ["end of input"]
    transport.loseConnection()
    _settle(transport)
    assert ears.heard == ["end of input", "ConnectionDone"]


def test_after_a_half_close_the_far_end_can_still_speak() -> None:
    """And nothing more is sent to it."""
    ears, transport = _transport(PatientEars())
    lose_write(transport)
    transport.write(b"late")
    transport.take_data(b"still here")
    assert (ears.heard, transport.delivered) == (["still here"], b"")


def test_it_answers_the_questions_of_the_net_room() -> None:
    """As far as there is something to answer without a socket."""
    _, transport = _transport()
    assert not has_unread(transport)
    assert unsent_bytes(transport) == 0
    assert transport.getPeer().host == "127.0.0.1"


def test_a_far_end_can_leave_in_both_ways() -> None:
    """FIN and RST."""
    for leave, closed in ((Client.close, "fin"), (Client.reset, "reset")):
        gate = GatewayUnderTest()
        client = gate.connect()
        leave(client)
        assert client.closed == closed
        assert gate.gateway.door.connections == set()
