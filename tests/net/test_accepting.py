"""Who is let in, how many at a time, and how they arrive."""

from __future__ import annotations

import errno
import socket
from typing import Any

from tests.net.lines import Listener, Pair, turn_until
from twisted.internet.address import IPv6Address
from twisted.internet.protocol import Factory

from mcpgate.net.accepting import ACCEPTS_PER_TURN, EagerPort, EagerServer, resume_accepting, stop_accepting
from mcpgate.net.reactor import LeanEPollReactor
from mcpgate.net.transports import unsent_bytes


def test_a_port_can_stop_and_resume_accepting(pair: Pair) -> None:
    """At the connection limit new clients wait in the backlog; they are served when there is room."""
    stop_accepting(pair.port)
    pair.connect()
    pair.reactor.iterate(0.01)
    assert len(pair.accepted) == 1
    pair.peer.sendall(b"still here")
    turn_until(pair.reactor, lambda: pair.listener.received)
    resume_accepting(pair.port)
    turn_until(pair.reactor, lambda: len(pair.accepted) == 2)


def test_a_port_that_is_stopped_from_a_new_connection_takes_no_more(pair: Pair) -> None:
    """Where descriptors are counted, one too many is one that fails."""
    others = [pair.connect() for _ in range(3)]

    def accept(addr: object) -> Listener:
        stop_accepting(pair.port)
        pair.accepted.append(Listener())
        return pair.accepted[-1]

    pair.port.factory.buildProtocol = accept
    pair.port.numberAccepts = ACCEPTS_PER_TURN
    pair.reactor.iterate(0.01)
    assert len(pair.accepted) == 2
    for wanted in range(3, len(others) + 2):
        resume_accepting(pair.port)
        turn_until(pair.reactor, lambda wanted=wanted: len(pair.accepted) == wanted)
    resume_accepting(pair.port)


def test_a_closed_port_does_not_accept_again(pair: Pair) -> None:
    """A draining gateway does not come back because a connection was closed."""
    closing = pair.port.stopListening()
    resume_accepting(pair.port)
    assert pair.port not in pair.reactor.getReaders()
    turn_until(pair.reactor, lambda: closing.called)
    resume_accepting(pair.port)
    stop_accepting(pair.port)
    assert pair.port not in pair.reactor.getReaders()


def test_a_burst_of_clients_is_accepted_in_bounded_turns(pair: Pair) -> None:
    """Many clients at once do not keep the open streams waiting for long."""
    assert isinstance(pair.port, EagerPort)
    pair.port.numberAccepts = 100
    stop_accepting(pair.port)
    for _ in range(ACCEPTS_PER_TURN + 3):
        pair.connect()
    resume_accepting(pair.port)
    pair.reactor.iterate(0.01)
    assert len(pair.accepted) == 1 + ACCEPTS_PER_TURN
    turn_until(pair.reactor, lambda: len(pair.accepted) == 1 + ACCEPTS_PER_TURN + 3)


def test_the_backlog_is_the_callers(reactor: LeanEPollReactor) -> None:
    """How many clients may wait to be accepted is configuration, not a constant in here."""
    pair = Pair(reactor, backlog=7)
    assert isinstance(pair.port, EagerPort)
    assert pair.port.backlog == 7
    pair.peer.close()


def test_what_is_accepted_does_not_wait_to_fill_segments(pair: Pair) -> None:
    """It has that from its port; nor does it block, nor is it inherited by a child process."""
    assert pair.transport.getTcpNoDelay()
    assert not pair.transport.getHandle().getblocking()
    assert not pair.transport.getHandle().get_inheritable()


def test_what_is_accepted_says_whose_it_is(pair: Pair) -> None:
    """To logs and protocols, as any transport of Twisted."""
    host, port = pair.peer.getsockname()
    assert (pair.transport.getPeer().host, pair.transport.getPeer().port) == (host, port)
    assert pair.transport.getHost() == pair.port.getHost()
    assert pair.transport.hostname == "127.0.0.1"
    assert pair.transport.logPrefix() == "Listener,0,127.0.0.1"
    assert repr(pair.transport) == f"<Listener #0 on {pair.port.getHost().port}>"


def test_ipv6_clients_are_accepted(reactor: LeanEPollReactor) -> None:
    """With the address that they have."""
    accepted: list[Listener] = []
    factory = Factory.forProtocol(Listener)
    factory.buildProtocol = lambda addr: accepted.append(Listener()) or accepted[-1]
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="::1")
    with socket.create_connection(("::1", port.getHost().port), timeout=1) as peer:
        turn_until(reactor, lambda: accepted)
        assert isinstance(accepted[0].transport, EagerServer)
        assert accepted[0].transport.getPeer() == IPv6Address("TCP", "::1", peer.getsockname()[1])


class Fussy(Factory):
    """Takes the first client, chokes on the second, sends the third away."""

    noisy = False

    def __init__(self) -> None:
        self.accepted: list[Listener | None] = []

    def buildProtocol(self, addr: object) -> Listener | None:  # type: ignore[override]
        self.accepted.append(Listener() if not self.accepted else None)
        if len(self.accepted) == 2:
            raise RuntimeError("cannot build")
        return self.accepted[-1]


def test_who_is_not_wanted_is_closed_and_costs_the_others_nothing(reactor: LeanEPollReactor) -> None:
    """A factory may refuse, or fail; who came before and after is served."""
    factory = Fussy()
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    peers = [socket.create_connection(("127.0.0.1", port.getHost().port), timeout=1) for _ in range(3)]
    turn_until(reactor, lambda: len(factory.accepted) == 3)
    assert [peer.recv(10) for peer in peers[1:]] == [b"", b""]
    peers[0].sendall(b"x")
    first = factory.accepted[0]
    assert first is not None
    turn_until(reactor, lambda: first.received)
    for peer in peers:
        peer.close()


class Exhausted:
    """A listening socket in a process that has no descriptors left, for one accept."""

    def __init__(self, real: socket.socket) -> None:
        self.real = real
        self.told: list[str] = []

    def _accept(self) -> tuple[int, object]:
        self.told.append("short way")
        raise OSError(errno.EMFILE, "too many open files")

    def accept(self) -> tuple[socket.socket, object]:
        self.told.append("inherited way")
        raise BlockingIOError(errno.EAGAIN, "nobody")


def test_an_error_of_accept_is_treated_as_twisted_does(pair: Pair) -> None:
    """It sheds clients when there are no descriptors left; the port goes on."""
    real = pair.port.socket
    pair.port.socket = exhausted = Exhausted(real)
    pair.port.doRead()
    pair.port.socket = real
    assert exhausted.told == ["short way", "inherited way"]
    pair.connect()
    turn_until(pair.reactor, lambda: len(pair.accepted) == 2)


class Interrupted(socket.socket):
    """A listening socket of which one client had left before it was accepted."""

    failures = 1

    def _accept(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionAbortedError(errno.ECONNABORTED, "gone")
        return super()._accept()  # type: ignore[misc]


def test_a_client_accepted_after_an_error_blocks_nobody(pair: Pair) -> None:
    """Whichever way it came in, writing to it never waits."""
    real = pair.port.socket
    assert real is not None
    pair.port.socket = interrupted = Interrupted(fileno=real.detach())
    interrupted.setblocking(False)
    pair.connect()
    turn_until(pair.reactor, lambda: len(pair.accepted) == 2)
    transport = pair.accepted[1].transport
    assert isinstance(transport, EagerServer)
    assert interrupted.failures == 0
    assert transport.socket.gettimeout() == 0
    transport.write(b"x" * 50_000_000)
    assert unsent_bytes(transport) > 0
