"""The questions about transports, ours and others."""

from __future__ import annotations

import errno
import socket

from tests.net.lines import Line, Listener, Pair, WatchList, Wire, tls_client, turn_until, was_reset
from twisted.internet import interfaces, tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.net.transports import has_unread, pass_no_more, pass_on, reset, unsent_bytes

FULL = BlockingIOError(errno.EAGAIN, "full")
BROKEN = BrokenPipeError(errno.EPIPE, "broken")


def test_unsent_bytes_are_counted_over_both_buffers() -> None:
    """What waits is what was written less what the kernel took, whichever buffer it is in."""
    line = Line(2, 1)
    line.transport.write(b"event")
    assert unsent_bytes(line.transport) == 3
    line.has_room()
    assert unsent_bytes(line.transport) == 2
    line.transport.write(b"12345")
    assert unsent_bytes(line.transport) == 7


def test_unsent_bytes_of_a_stock_transport() -> None:
    """With any other reactor the figure is there as well."""
    transport = tcp.Server(Wire(), Listener(), ("192.0.2.1", 1), None, 0, WatchList())
    transport.write(b"event")
    assert unsent_bytes(transport) == 5


def test_unsent_bytes_under_tls() -> None:
    """Before the handshake is over nothing can be encrypted; both kinds of waiting bytes count."""
    line = Line(FULL)
    clear = Listener()
    layer = tls_client(line.reactor, clear).buildProtocol(None)
    assert layer is not None
    layer.makeConnection(line.transport)
    hello_bytes = unsent_bytes(line.transport)
    assert hello_bytes > 100
    assert clear.transport is not None
    clear.transport.write(b"later")
    assert unsent_bytes(clear.transport) == hello_bytes + 5
    line.reactor.advance(0)
    assert unsent_bytes(clear.transport) == hello_bytes + 5
    line.has_room()
    assert unsent_bytes(clear.transport) == 5


def test_unsent_bytes_after_start_tls() -> None:
    """A connection that turned to TLS on the way counts what it holds for the handshake."""
    line = Line()
    line.transport.startTLS(CertificateOptions(), normal=False)
    line.has_room()
    line.transport.write(b"later")
    line.reactor.advance(0)
    assert unsent_bytes(line.transport) == 5


def test_an_unknown_transport_has_nothing_unsent_and_nothing_unread() -> None:
    """In-memory transports of tests can be asked the same questions."""
    transport = StringTransport()
    transport.write(b"event")
    assert unsent_bytes(transport) == 0
    assert not has_unread(transport)


class Passage:
    """Lets pass what begins with yes."""

    def __init__(self) -> None:
        self.passed: list[bytes] = []

    def follow(self, data: bytes) -> bool:
        return data.startswith(b"yes")

    def write(self, data: bytes) -> None:
        self.passed.append(data)


def test_what_is_passed_on_does_not_reach_the_protocol(pair: Pair) -> None:
    """From there it goes straight to where it belongs; what may not pass, and what comes later, is the protocol's."""
    passage = Passage()
    passed = passage.passed
    pass_on(pair.transport, passage, passage)
    pair.peer.sendall(b"yes 1")
    turn_until(pair.reactor, lambda: passed)
    pair.peer.sendall(b"no")
    turn_until(pair.reactor, lambda: pair.listener.received)
    pair.peer.sendall(b"yes 2")
    turn_until(pair.reactor, lambda: len(passed) == 2)
    pass_no_more(pair.transport)
    pair.peer.sendall(b" yes 3")
    turn_until(pair.reactor, lambda: len(pair.listener.received) > 2)
    assert passed == [b"yes 1", b"yes 2"]
    assert pair.listener.received == b"no yes 3"


def test_the_end_of_what_is_passed_on_is_told(pair: Pair) -> None:
    """An orderly end reaches the protocol, and nothing refers to the one it passed on to any more."""
    pass_on(pair.transport, Passage(), Passage())
    pair.peer.close()
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert pair.listener.lost is not None
    assert pair.listener.lost.check(ConnectionDone)
    assert pair.transport._follower is None


def test_a_transport_that_passes_nothing_on_asks_its_protocol(pair: Pair) -> None:
    """Stock transports, TLS and those of tests stay as they are."""
    transport = StringTransport()
    pass_on(transport, Passage(), transport)
    pass_no_more(transport)
    assert transport.value() == b""


def test_has_unread_tells_quiet_from_bytes_and_from_the_end(pair: Pair) -> None:
    """A pooled connection is known to be stale before a request is put on it."""
    assert not has_unread(pair.transport)
    pair.peer.sendall(b"unasked")
    assert has_unread(pair.transport)
    turn_until(pair.reactor, lambda: pair.listener.received)
    assert pair.listener.received == b"unasked"
    assert not has_unread(pair.transport)
    pair.peer.shutdown(socket.SHUT_WR)
    assert has_unread(pair.transport)


def test_has_unread_sees_a_reset(pair: Pair) -> None:
    """A connection the peer has reset is not quiet."""
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.peer.close()
    assert has_unread(pair.transport)


def test_has_unread_on_a_lost_connection(pair: Pair) -> None:
    """A connection that is gone is not quiet either."""
    pair.peer.close()
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert has_unread(pair.transport)


def test_has_unread_looks_below_wrappers_and_tls(pair: Pair) -> None:
    """Bytes that wait undecrypted count as well."""
    wrapper = ProtocolWrapper(WrappingFactory(Factory()), Listener())
    wrapper.makeConnection(pair.transport)
    layer = tls_client(pair.reactor, Listener()).buildProtocol(None)
    assert layer is not None
    layer.makeConnection(wrapper)
    assert not has_unread(layer)
    pair.peer.sendall(b"\x16")
    assert has_unread(layer)


def test_reset_is_seen_as_a_reset(pair: Pair) -> None:
    """A client that is cut cannot mistake it for an orderly end."""
    reset(pair.transport)
    assert pair.listener.lost is None
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert was_reset(pair.peer)


def test_reset_drops_what_is_queued(pair: Pair) -> None:
    """Cutting a client that does not read does not wait for it."""
    pair.transport.write(bytes(16 << 20))
    assert unsent_bytes(pair.transport) > 0
    reset(pair.transport)
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert was_reset(pair.peer)


def test_reset_holds_when_the_connection_ends_differently(pair: Pair) -> None:
    """A stream that is cut never looks complete, also when an error comes before the abort takes effect."""
    reset(pair.transport)
    pair.transport.connectionLost(Failure(ConnectionDone()))
    assert was_reset(pair.peer)


def test_reset_under_tls(pair: Pair) -> None:
    """A TLS connection is reset as well, and a second time does no harm."""
    clear = Listener()
    layer = tls_client(pair.reactor, clear).buildProtocol(None)
    assert layer is not None
    pair.transport.protocol = layer
    layer.makeConnection(pair.transport)
    assert interfaces.ITransport.providedBy(clear.transport)
    reset(clear.transport)
    turn_until(pair.reactor, lambda: clear.lost)
    assert was_reset(pair.peer)
    reset(clear.transport)


def test_reset_of_a_lost_connection_does_nothing(pair: Pair) -> None:
    """Whoever is late may still ask for the reset."""
    pair.peer.close()
    turn_until(pair.reactor, lambda: pair.listener.lost)
    reset(pair.transport)


def test_reset_of_other_transports() -> None:
    """What can abort is aborted, what cannot is closed."""

    @implementer(interfaces.ITransport)
    class Plain:
        closed = False

        def loseConnection(self) -> None:
            self.closed = True

    memory, plain = StringTransport(), Plain()
    reset(memory)
    reset(plain)
    assert memory.disconnected
    assert plain.closed
