from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet import interfaces, tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.net.reactor import LeanEPollReactor
from mcpgate.net.transports import (
    ACCEPTS_PER_TURN,
    EagerClient,
    EagerPort,
    EagerServer,
    has_unread,
    reset,
    resume_accepting,
    stop_accepting,
    unsent_bytes,
)

FULL = BlockingIOError(errno.EAGAIN, "full")
BROKEN = BrokenPipeError(errno.EPIPE, "broken")


class WatchList(Clock):
    """A reactor that only notes who wants to read and write; the test decides what is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.writers: set[object] = set()
        self.addReader = self.readers.add
        self.addWriter = self.writers.add
        self.removeReader = self.readers.discard
        self.removeWriter = self.writers.discard


class Wire:
    """A socket that takes what its script says: a number of bytes, an error, or (script over) everything."""

    def __init__(self, *script: int | OSError) -> None:
        self.script = list(script)
        self.calls: list[bytes] = []
        self.took = b""
        self.shut: list[int] = []

    def send(self, data: bytes | memoryview) -> int:
        self.calls.append(bytes(data))
        answer = self.script.pop(0) if self.script else len(data)
        if isinstance(answer, OSError):
            raise answer
        self.took += bytes(data[:answer])
        return answer

    def shutdown(self, how: int) -> None:
        self.shut.append(how)

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None: ...

    def setsockopt(self, *option: object) -> None: ...

    def close(self) -> None: ...


class Listener(Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost = reason


class Source:
    """A producer that notes what it is asked."""

    def __init__(self, on_resume: Callable[[], object] = lambda: None) -> None:
        self.asked: list[str] = []
        self.on_resume = on_resume

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")
        self.on_resume()

    def stopProducing(self) -> None:
        self.asked.append("stop")


class Line:
    """An accepted connection over a scripted wire."""

    def __init__(self, *script: int | OSError) -> None:
        self.reactor = WatchList()
        self.wire = Wire(*script)
        self.listener = Listener()
        self.transport = EagerServer(self.wire, self.listener, ("192.0.2.1", 4711), None, 0, self.reactor)
        self.listener.makeConnection(self.transport)

    @property
    def waits_for_room(self) -> bool:
        return self.transport in self.reactor.writers

    def has_room(self) -> None:
        """One turn in which the socket is writable, as the reactor would run it."""
        assert self.waits_for_room
        why = self.transport.doWrite()
        if why:
            self.transport.connectionLost(Failure(why))


def test_a_small_write_leaves_at_once() -> None:
    """An event is on its way when write returns, and the reactor is not asked for anything."""
    line = Line()
    line.transport.write(b"event")
    assert line.wire.took == b"event"
    assert not line.waits_for_room


def test_pieces_leave_in_one_system_call() -> None:
    """A head and a body that are written together travel together."""
    line = Line()
    line.transport.writeSequence([b"head", b"", b"body"])
    assert line.wire.calls == [b"headbody"]


def test_what_the_kernel_does_not_take_follows_in_order() -> None:
    """A write that fits only in part arrives whole."""
    line = Line(2)
    line.transport.write(b"event")
    assert (line.wire.took, line.waits_for_room) == (b"ev", True)
    line.has_room()
    assert (line.wire.took, line.waits_for_room) == (b"event", False)


def test_a_full_socket_queues_the_whole_write() -> None:
    """A client that does not read loses nothing."""
    line = Line(FULL)
    line.transport.write(b"event")
    assert (line.wire.took, line.waits_for_room) == (b"", True)
    line.has_room()
    assert line.wire.took == b"event"


def test_nothing_overtakes_queued_bytes() -> None:
    """While bytes wait, later ones wait behind them."""
    line = Line(2)
    line.transport.write(b"one ")
    line.transport.write(b"two ")
    line.transport.writeSequence([b"three"])
    assert line.wire.calls == [b"one "]
    line.has_room()
    assert line.wire.took == b"one two three"
    line.transport.write(b" four")
    assert line.wire.took == b"one two three four"


def test_a_half_sent_buffer_still_counts_as_queued() -> None:
    """Also between two partial sends nothing overtakes."""
    line = Line(FULL, 1)
    line.transport.write(b"one ")
    line.has_room()
    line.transport.write(b"two")
    assert line.wire.took == b"o"
    line.has_room()
    assert line.wire.took == b"one two"


def test_a_broken_connection_is_not_reported_inside_write() -> None:
    """Code that writes is never told of the loss while it is still writing."""
    line = Line(BROKEN, BROKEN)
    line.transport.write(b"event")
    assert line.listener.lost is None
    line.has_room()
    assert line.listener.lost is not None


def test_an_empty_write_does_nothing() -> None:
    """Writing nothing costs no system call."""
    line = Line()
    line.transport.write(b"")
    line.transport.writeSequence([])
    assert line.wire.calls == []
    assert not line.waits_for_room


@pytest.mark.parametrize("data", ["text", bytearray(b"octets"), memoryview(b"octets"), None])
def test_only_bytes_can_be_written(data: Any) -> None:
    """Whether or not something is queued, the same things are refused."""
    line = Line()
    with pytest.raises(TypeError):
        line.transport.write(data)
    assert line.wire.calls == []


def test_nothing_is_sent_on_a_lost_connection() -> None:
    """Writing after the end is silent, as everywhere in Twisted."""
    line = Line()
    line.transport.connectionLost(Failure(ConnectionDone()))
    line.transport.write(b"event")
    assert line.wire.calls == []


def test_nothing_is_sent_after_an_abort() -> None:
    """An aborted connection carries no further byte, also before the loss is reported."""
    line = Line()
    line.transport.abortConnection()
    line.transport.write(b"event")
    assert line.wire.calls == []
    line.reactor.advance(0)
    assert line.listener.lost is not None


def test_closing_flushes_what_is_queued() -> None:
    """An answer written just before the close arrives whole."""
    line = Line(2)
    line.transport.write(b"event")
    line.transport.loseConnection()
    assert line.listener.lost is None
    line.has_room()
    assert line.wire.took == b"event"
    assert line.listener.lost is not None


def test_nothing_is_sent_at_once_while_closing() -> None:
    """After loseConnection writes are the ordinary path's business."""
    line = Line()
    line.transport.loseConnection()
    line.transport.write(b"late")
    assert line.wire.calls == []


def test_half_close_comes_after_the_bytes_before_it() -> None:
    """What was written before a half close is sent before it."""
    line = Line(2)
    line.transport.write(b"event")
    line.transport.loseWriteConnection()
    assert line.wire.shut == []
    line.has_room()
    assert (line.wire.took, line.wire.shut) == (b"event", [socket.SHUT_WR])
    assert line.listener.lost is None


def test_nothing_is_sent_at_once_around_a_half_close() -> None:
    """Between the request for a half close and the half close, and after it, no byte slips out."""
    line = Line()
    line.transport.loseWriteConnection()
    line.transport.write(b"event")
    assert line.wire.calls == []
    line.has_room()
    assert (line.wire.took, line.wire.shut) == (b"event", [socket.SHUT_WR])
    line.transport.write(b"late")
    assert line.wire.took == b"event"
    assert not line.waits_for_room


def test_nothing_leaves_in_the_clear_after_start_tls() -> None:
    """From startTLS on, the socket sees TLS records only."""
    line = Line()
    line.transport.startTLS(CertificateOptions(), normal=False)
    line.transport.write(b"secret")
    line.transport.writeSequence([b"se", b"cret"])
    line.has_room()
    assert line.wire.took[:1] == b"\x16"
    assert b"secret" not in line.wire.took


def test_a_pull_producer_is_asked_until_it_has_nothing() -> None:
    """A file that is sent piece by piece arrives whole."""
    line = Line()
    pieces = [b"one ", b"two ", b"three"]

    def next_piece() -> None:
        if pieces:
            line.transport.write(pieces.pop(0))
        else:
            line.transport.unregisterProducer()

    source = Source(next_piece)
    line.transport.registerProducer(source, False)
    while line.waits_for_room:
        line.has_room()
    assert line.wire.took == b"one two three"


def test_a_pull_producer_without_anything_yet_is_asked_again() -> None:
    """Registered right after a write, as for a stock transport: the end of the write asks it."""
    line = Line()
    line.transport.write(b"head")
    source = Source()
    line.transport.registerProducer(source, False)
    assert source.asked == ["resume"]
    line.has_room()
    assert source.asked == ["resume", "resume"]


def test_a_push_producer_is_paused_above_64_kib_and_resumed() -> None:
    """A client that does not read stops its upstream, and starts it again when it reads."""
    line = Line(FULL)
    source = Source()
    line.transport.registerProducer(source, True)
    line.transport.write(b"x" * 65536)
    assert source.asked == []
    line.transport.write(b"y")
    assert source.asked == ["pause"]
    line.has_room()
    assert source.asked == ["pause", "resume"]
    line.transport.write(b"z")
    assert line.wire.took == b"x" * 65536 + b"yz"


@pytest.mark.parametrize(("sent", "asked"), [(200_000, []), (100_000, ["pause"]), (1, ["pause"])])
def test_only_unsent_bytes_pause_a_producer(sent: int, asked: list[str]) -> None:
    """A big write that nearly fits does not stop the upstream."""
    line = Line(sent)
    source = Source()
    line.transport.registerProducer(source, True)
    line.transport.write(b"x" * 200_001)
    assert source.asked == asked
    assert unsent_bytes(line.transport) == 200_001 - sent


def test_a_large_rest_is_not_copied() -> None:
    """A large body for a slow client is held once."""
    line = Line(1000)
    body = bytes(1 << 20)
    line.transport.write(body)
    assert line.transport.dataBuffer is body
    assert unsent_bytes(line.transport) == len(body) - 1000
    while line.waits_for_room:
        line.has_room()
    assert len(line.wire.took) == len(body)
    assert unsent_bytes(line.transport) == 0


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


# From here on with real sockets.


@pytest.fixture
def reactor() -> Iterator[LeanEPollReactor]:
    reactor = LeanEPollReactor()
    yield reactor
    for descriptor in reactor.removeAll():
        descriptor.connectionLost(Failure(ConnectionDone()))
    reactor.iterate(0)
    reactor.waker.connectionLost(None)
    reactor._poller.close()


def turn_until(reactor: LeanEPollReactor, condition: Callable[[], object]) -> None:
    """Run the reactor until ``condition`` holds, a second at most."""
    for _ in range(200):
        if condition():
            return
        reactor.iterate(0.005)
    raise AssertionError("it did not come to that within a second")


def was_reset(peer: socket.socket) -> bool:
    """Read up to the end and tell which of the two it was."""
    try:
        while peer.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


def tls_client(clock: Any, protocol: Protocol) -> TLSMemoryBIOFactory:
    clear = Factory.forProtocol(lambda: protocol)
    return TLSMemoryBIOFactory(CertificateOptions(), True, clear, clock=clock)


class Pair:
    """A connection accepted by the reactor, and the plain blocking socket of its peer."""

    def __init__(self, reactor: LeanEPollReactor, backlog: int = 50) -> None:
        self.reactor = reactor
        self.accepted: list[Listener] = []
        factory = Factory.forProtocol(self._accept)
        factory.noisy = False
        self.port = reactor.listenTCP(0, factory, backlog, "127.0.0.1")
        self.peers: list[socket.socket] = []
        self.connect()
        turn_until(reactor, lambda: self.accepted)
        self.peer = self.peers[0]
        self.listener = self.accepted[0]
        assert isinstance(self.listener.transport, EagerServer)
        self.transport = self.listener.transport

    def _accept(self) -> Listener:
        self.accepted.append(Listener())
        return self.accepted[-1]

    def connect(self) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", self.port.getHost().port), timeout=1)
        self.peers.append(peer)
        return peer


@pytest.fixture
def pair(reactor: LeanEPollReactor) -> Iterator[Pair]:
    pair = Pair(reactor)
    yield pair
    for peer in pair.peers:
        peer.close()


def test_accepted_and_connected_sockets_do_not_wait_to_fill_segments(pair: Pair) -> None:
    """Small events go out one by one in both directions (TCP_NODELAY)."""
    connected = Listener()
    factory = ClientFactory.forProtocol(lambda: connected)
    factory.noisy = False
    pair.reactor.connectTCP("127.0.0.1", pair.port.getHost().port, factory)
    turn_until(pair.reactor, lambda: connected.transport)
    assert isinstance(connected.transport, EagerClient)
    assert connected.transport.getTcpNoDelay()
    assert pair.transport.getTcpNoDelay()


def test_a_connected_transport_writes_at_once(pair: Pair) -> None:
    """A request is on its way when write returns, and comes back whole when it is large."""
    connected = Listener()
    factory = ClientFactory.forProtocol(lambda: connected)
    factory.noisy = False
    pair.reactor.connectTCP("127.0.0.1", pair.port.getHost().port, factory)
    turn_until(pair.reactor, lambda: connected.transport and len(pair.accepted) == 2)
    assert isinstance(connected.transport, EagerClient)
    connected.transport.write(b"request")
    assert unsent_bytes(connected.transport) == 0
    turn_until(pair.reactor, lambda: pair.accepted[1].received)
    body = bytes(range(256)) * 4096 * 6
    connected.transport.write(body)
    turn_until(pair.reactor, lambda: len(pair.accepted[1].received) >= len(body) + 7)
    assert pair.accepted[1].received == b"request" + body


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


def test_a_reset_that_write_met_first_is_not_taken_for_an_orderly_end(pair: Pair) -> None:
    """An answer without length that was cut off never looks complete, whoever noticed the cut first."""
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.peer.close()
    pair.transport.write(b"more of the request")
    assert pair.listener.lost is None
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert pair.listener.lost is not None
    assert pair.listener.lost.check(ConnectionLost)


def test_what_arrived_before_the_reset_is_still_read(pair: Pair) -> None:
    """An early refusal is delivered although the rest of the request could not be sent any more."""
    pair.peer.sendall(b"413")
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.peer.close()
    pair.transport.write(b"more of the request")
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert pair.listener.received == b"413"
    assert pair.listener.lost is not None
    assert pair.listener.lost.check(ConnectionLost)


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
