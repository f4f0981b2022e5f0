"""Connections to addresses: there at once, later, or not at all."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.net.lines import Listener, turn_until
from twisted.internet.error import ConnectBindError, ConnectionDone, ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import ClientFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from mcpgate.net.dialing import Attempt, DialledClient, dial
from mcpgate.net.reactor import LeanEPollReactor
from mcpgate.net.transports import has_unread


class Wanted(ClientFactory):
    """Wants one connection; notes what it hears."""

    noisy = False

    def __init__(self, takes_it: bool = True) -> None:
        self.takes_it = takes_it
        self.made: list[Listener] = []
        self.failed: list[BaseException] = []

    def buildProtocol(self, addr: Any) -> Listener | None:  # type: ignore[override]
        if not self.takes_it:
            return None
        self.made.append(Listener())
        return self.made[-1]

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:  # type: ignore[override]
        self.failed.append(reason.value)

    @property
    def transport(self) -> DialledClient:
        transport = self.made[0].transport
        assert isinstance(transport, DialledClient)
        return transport


class Slow(socket.socket):
    """A socket to somebody far away: it is asked, and asked again, before there is an answer."""

    asked = 0

    def connect_ex(self, address: Any) -> int:
        self.asked += 1
        return errno.EALREADY if self.asked == 2 else super().connect_ex(address)


@pytest.fixture
def nobody() -> Iterator[tuple[str, int]]:
    """An address that does not answer: its backlog is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(1)
        yield server


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_server_on_this_machine_is_there_at_once(reactor: LeanEPollReactor, server: socket.socket) -> None:
    """A request is on its way before the reactor has turned once."""
    wanted = Wanted()
    assert dial(reactor, *server.getsockname(), wanted, 1.0) is None
    wanted.transport.write(b"request")
    accepted, _ = server.accept()
    with accepted:
        accepted.settimeout(1)
        assert accepted.recv(100) == b"request"
        assert not has_unread(wanted.transport)
        accepted.sendall(b"answer")
        turn_until(reactor, lambda: wanted.made[0].received)
        assert wanted.made[0].received == b"answer"
        assert not accepted.get_inheritable()
    assert not reactor.getDelayedCalls()
    turn_until(reactor, lambda: wanted.made[0].lost)
    assert wanted.made[0].lost is not None
    assert wanted.made[0].lost.check(ConnectionDone)
    assert wanted.failed == []


def test_a_dialled_connection_says_where_it_leads(reactor: LeanEPollReactor, server: socket.socket) -> None:
    """To logs and protocols, as any other; small pieces do not wait to fill segments, and no child inherits it."""
    wanted = Wanted()
    dial(reactor, *server.getsockname(), wanted, 1.0)
    accepted, (host, port) = server.accept()
    accepted.close()
    transport = wanted.transport
    assert (transport.getPeer().host, transport.getPeer().port) == server.getsockname()  # type: ignore[attr-defined]
    assert (transport.getHost().host, transport.getHost().port) == (host, port)  # type: ignore[attr-defined]
    assert transport.getTcpNoDelay()
    assert not transport.getHandle().get_inheritable()
    assert transport.logPrefix() == "Listener,client"
    assert f"port={server.getsockname()[1]}" in repr(transport)


def test_ipv6_is_dialled_too(reactor: LeanEPollReactor) -> None:
    """A literal with colons is an address like any other."""
    wanted = Wanted()
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("::1", 0))
        server.listen()
        assert dial(reactor, "::1", server.getsockname()[1], wanted, 1.0) is None
    assert wanted.transport.getPeer().host == "::1"  # type: ignore[attr-defined]
    assert wanted.transport.getHost().host == "::1"  # type: ignore[attr-defined]


def test_a_refusal_is_heard_of_later(reactor: LeanEPollReactor) -> None:
    """Whoever dials another address then does not do so inside of the first dial."""
    wanted = Wanted()
    assert dial(reactor, "127.0.0.1", closed_port(), wanted, 1.0) is not None
    assert wanted.failed == []
    reactor.iterate(0)
    assert [type(error) for error in wanted.failed] == [ConnectionRefusedError]


def test_who_has_given_up_hears_no_refusal(reactor: LeanEPollReactor) -> None:
    """Neither that one nor, a second time, anything else."""
    wanted = Wanted()
    pending = dial(reactor, "127.0.0.1", closed_port(), wanted, 1.0)
    assert pending is not None
    pending.disconnect()
    pending.disconnect()
    reactor.iterate(0)
    assert wanted.failed == []


def test_a_server_far_away_is_waited_for(reactor: LeanEPollReactor, server: socket.socket) -> None:
    """It is told of when it has answered, and no timer stays behind."""
    wanted = Wanted()
    attempt = Attempt(reactor, server.getsockname(), wanted, Slow)
    assert attempt.begin(1.0)
    assert wanted.made == []
    turn_until(reactor, lambda: wanted.made)
    assert not reactor.getDelayedCalls()
    assert reactor.getWriters() == []
    attempt.disconnect()
    wanted.transport.write(b"request")
    accepted, _ = server.accept()
    with accepted:
        assert accepted.recv(100) == b"request"


def test_a_refusal_from_far_away(reactor: LeanEPollReactor) -> None:
    """A hang-up says by itself what it is."""
    wanted = Wanted()
    assert Attempt(reactor, ("127.0.0.1", closed_port()), wanted, Slow).begin(1.0)
    turn_until(reactor, lambda: wanted.failed)
    assert [type(error) for error in wanted.failed] == [ConnectionRefusedError]
    assert (reactor.getWriters(), reactor.getDelayedCalls()) == ([], [])


def test_silence_is_a_failure_in_the_end(reactor: LeanEPollReactor, nobody: tuple[str, int]) -> None:
    """A server that does not answer is not waited for longer than was said."""
    wanted = Wanted()
    assert dial(reactor, *nobody, wanted, 0.01) is not None
    turn_until(reactor, lambda: wanted.failed)
    assert [type(error) for error in wanted.failed] == [TimeoutError]
    assert reactor.getWriters() == []


def test_who_gives_up_leaves_nothing_behind(reactor: LeanEPollReactor, nobody: tuple[str, int]) -> None:
    """Neither a timer nor a descriptor."""
    wanted = Wanted()
    attempt = Attempt(reactor, nobody, wanted)
    attempt.begin(0.01)
    attempt.disconnect()
    assert (reactor.getWriters(), reactor.getDelayedCalls(), attempt.fileno()) == ([], [], -1)
    attempt.doWrite()
    attempt.connectionLost(Failure(ConnectionDone()))
    assert wanted.failed == []


def test_a_reactor_that_stops_ends_what_is_pending(reactor: LeanEPollReactor, nobody: tuple[str, int]) -> None:
    """A dial that is under way is told so, as one that failed."""
    wanted = Wanted()
    attempt = Attempt(reactor, nobody, wanted)
    attempt.begin(5)
    for watched in reactor.removeAll():
        watched.connectionLost(Failure(ConnectionDone()))
    assert len(wanted.failed) == 1
    assert not reactor.getDelayedCalls()


def test_without_a_descriptor_there_is_no_connection(reactor: LeanEPollReactor) -> None:
    """That is a failure like any other, not an exception."""

    def none_left(family: int, kind: int) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    wanted = Wanted()
    assert Attempt(reactor, ("127.0.0.1", 9), wanted, none_left).begin(1.0)
    assert wanted.failed == []
    reactor.iterate(0)
    assert [type(error) for error in wanted.failed] == [ConnectBindError]


def test_a_connection_that_nobody_takes_is_closed(reactor: LeanEPollReactor, server: socket.socket) -> None:
    """A factory may have changed its mind."""
    dial(reactor, *server.getsockname(), Wanted(takes_it=False), 1.0)
    accepted, _ = server.accept()
    with accepted:
        assert accepted.recv(100) == b""


def test_other_reactors_dial_their_own_way(server: socket.socket) -> None:
    """Those of other systems, and those of tests."""
    clock, wanted = MemoryReactorClock(), Wanted()
    assert dial(clock, "192.0.2.1", 80, wanted, 2.0) is not None
    assert clock.tcpClients == [("192.0.2.1", 80, wanted, 2.0, None)]


def test_a_number_is_not_used_again_within_the_turn(reactor: LeanEPollReactor, nobody: tuple[str, int]) -> None:
    """Events of what was given up may still wait, and would reach somebody else."""
    pending = dial(reactor, *nobody, Wanted(), 1)
    assert isinstance(pending, Attempt)
    number = pending.fileno()
    pending.disconnect()
    with socket.socket() as another:
        assert another.fileno() != number
    reactor.iterate(0)
    with socket.socket() as another:
        assert another.fileno() == number


class Broken(Listener):
    """A protocol with a fault of its own."""

    def connectionMade(self) -> None:
        raise ZeroDivisionError


def test_a_fault_of_the_protocol_ends_its_connection(reactor: LeanEPollReactor, server: socket.socket) -> None:
    """It is told so, and nothing stays open."""
    wanted = Wanted()
    broken = Broken()
    wanted.buildProtocol = lambda addr: broken  # type: ignore[method-assign]
    dial(reactor, *server.getsockname(), wanted, 1)
    assert broken.lost is not None
    assert broken.lost.check(ZeroDivisionError)
    assert reactor.getReaders() == [reactor.waker]
    server.accept()[0].close()
