"""What is written leaves at once and in order, and a connection ends as its peer may see it."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from tests.net.lines import Line, Listener, Pair, Source, turn_until, was_reset
from twisted.internet import interfaces
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import ClientFactory
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.net.accepting import EagerServer
from mcpgate.net.dialing import EagerClient
from mcpgate.net.reactor import LeanEPollReactor
from mcpgate.net.transports import unsent_bytes

FULL = BlockingIOError(errno.EAGAIN, "full")
BROKEN = BrokenPipeError(errno.EPIPE, "broken")


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


def test_nothing_overtakes_from_within_a_pause() -> None:
    """Whoever is told that it is too much may write all the same, or close: both come after what waits."""
    line = Line(1000)
    told: list[bool] = []

    @implementer(interfaces.IPushProducer)
    class Talkative:
        def pauseProducing(self) -> None:
            told.append(line.transport.is_flushed)
            if len(told) == 1:  # it is told of its own word, too
                line.transport.write(b"end")
                line.transport.loseConnection()

        def resumeProducing(self) -> None:
            """It has said all."""

        def stopProducing(self) -> None:
            """The same."""

    line.transport.registerProducer(Talkative(), True)
    line.transport.write(b"x" * 300_000)
    assert (told, len(line.wire.took), line.listener.lost) == ([False, False], 1000, None)
    line.transport.unregisterProducer()
    while line.waits_for_room:
        line.has_room()
    assert line.wire.took == b"x" * 300_000 + b"end"
    assert line.listener.lost is not None


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


def test_an_abort_ends_with_the_turn(pair: Pair) -> None:
    """Not within the call, as every protocol expects, and not later than what happened along with it."""
    pair.transport.write(b"last words")
    pair.transport.abortConnection()
    pair.transport.abortConnection()
    assert pair.listener.lost is None
    pair.reactor.iterate(0)
    assert pair.listener.lost is not None
    assert pair.listener.lost.check(ConnectionAborted)
    assert was_reset(pair.peer)


def test_an_aborted_connection_hears_nothing_more(pair: Pair) -> None:
    """Also if it asks for it before its end is told."""
    pair.transport.abortConnection()
    pair.transport.pauseProducing()
    pair.transport.resumeProducing()
    pair.peer.sendall(b"late")
    assert pair.transport.doRead() is None
    pair.reactor.iterate(0)
    assert (pair.listener.received, pair.listener.lost is None) == (b"", False)
    assert pair.transport not in pair.reactor.getReaders()


def test_a_close_with_nothing_left_to_send_ends_with_the_turn(pair: Pair) -> None:
    """In order, and its peer sees that all came."""
    pair.transport.write(b"all there is")
    pair.transport.loseConnection()
    assert pair.listener.lost is None
    pair.reactor.iterate(0)
    assert pair.listener.lost is not None
    assert pair.listener.lost.check(ConnectionDone)
    assert pair.peer.recv(100) == b"all there is"
    assert not was_reset(pair.peer)


def test_what_is_written_after_a_close_is_sent_before_it(pair: Pair) -> None:
    """As by any transport of Twisted, while the connection is not lost."""
    pair.transport.loseConnection()
    pair.transport.write(b"one thing more")
    pair.transport.loseConnection()
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert pair.peer.recv(100) == b"one thing more"
    assert not was_reset(pair.peer)


def test_a_cut_after_a_close_is_a_cut(pair: Pair) -> None:
    """Whoever changes its mind within a turn is obeyed."""
    pair.transport.loseConnection()
    pair.transport.abortConnection()
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert was_reset(pair.peer)


def test_a_producer_is_stopped_when_its_connection_ends(pair: Pair) -> None:
    """Once, before the protocol hears of it."""
    source = Source()
    pair.transport.registerProducer(source, True)
    pair.transport.loseConnection()
    pair.reactor.iterate(0)
    pair.transport.connectionLost(Failure(ConnectionDone()))
    assert source.asked == ["stop"]


@implementer(interfaces.IHalfCloseableProtocol)
class Leaver(Listener):
    """Leaves when its peer says no more, and takes another connection along."""

    def __init__(self, other: Pair) -> None:
        super().__init__()
        self.other = other

    def readConnectionLost(self) -> None:
        self.other.transport.abortConnection()
        assert self.transport is not None
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None: ...


def test_both_sides_of_a_stream_end_in_one_turn(pair: Pair) -> None:
    """The client has left: the turn in which that is seen is the last for either connection."""
    leaver = Leaver(pair)
    factory = ClientFactory.forProtocol(lambda: leaver)
    factory.noisy = False
    port = pair.reactor.listenTCP(0, factory, interface="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port.getHost().port), timeout=1) as client:
        turn_until(pair.reactor, lambda: leaver.transport)
        client.shutdown(socket.SHUT_WR)
        pair.reactor.iterate(1)
        assert leaver.lost is not None
        assert pair.listener.lost is not None
        assert not was_reset(client)
    assert was_reset(pair.peer)


@implementer(interfaces.IHalfCloseableProtocol)
class Stayer(Listener):
    """Goes on writing when its peer says no more; or fails then."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails
        self.told = 0

    def readConnectionLost(self) -> None:
        self.told += 1
        if self.fails:
            raise RuntimeError("cannot go on")

    def writeConnectionLost(self) -> None: ...


@pytest.mark.parametrize("fails", [False, True])
def test_a_half_closed_connection_is_told_once(reactor: LeanEPollReactor, fails: bool) -> None:
    """It is read no more, and stays open for what it still has to say, unless it fails."""
    stayer = Stayer(fails)
    factory = ClientFactory.forProtocol(lambda: stayer)
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port.getHost().port), timeout=1) as client:
        client.shutdown(socket.SHUT_WR)
        turn_until(reactor, lambda: stayer.told)
        reactor.iterate(0)
        assert (stayer.told, stayer.lost is None) == (1, not fails)
        assert isinstance(stayer.transport, EagerServer)
        assert stayer.transport not in reactor.getReaders()
        stayer.transport.abortConnection()
        turn_until(reactor, lambda: stayer.lost)


def test_an_adopted_connection_ends_although_somebody_else_has_it_open(reactor: LeanEPollReactor) -> None:
    """Its peer is not left waiting for whoever has accepted it to close it, too."""
    listener = Listener()
    factory = ClientFactory.forProtocol(lambda: listener)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=1) as peer,
        server.accept()[0] as accepted,
    ):
        accepted.setblocking(False)
        reactor.adoptStreamConnection(accepted.fileno(), socket.AF_INET, factory)
        assert listener.transport is not None
        listener.transport.loseConnection()
        turn_until(reactor, lambda: listener.lost)
        assert peer.recv(10) == b""


def test_an_orderly_close_is_orderly_with_something_unread(pair: Pair) -> None:
    """What the peer sent too late is not answered with a reset."""
    pair.peer.sendall(b"late")
    pair.transport.write(b"answer")
    pair.transport.loseConnection()
    turn_until(pair.reactor, lambda: pair.listener.lost)
    assert pair.peer.recv(99) == b"answer"
    assert pair.peer.recv(99) == b""
