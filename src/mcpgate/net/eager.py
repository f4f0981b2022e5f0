"""
Connections that write at once, and end with the turn in which that was decided.

Twisted's ``write`` queues, asks epoll for writability, sends on the next turn and takes the request back.
Here ``send`` is tried inside ``write`` when nothing waits; what the kernel does not take goes the ordinary
way, so buffering, producers, half close, ``loseConnection`` and TLS on top stay Twisted's own. One rule holds
throughout: ``write`` never closes a connection. An error of the early ``send`` is met again, and reported,
on the ordinary path.

Measured 2026-11 over loopback, with a reactor that has `mcpgate.net.turns.Turns`: to abort or to close one costs 0.3 of
what it costs with stock transports: two system calls instead of five, no timer, no further turn.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterable
from errno import EWOULDBLOCK
from typing import Any, Protocol

from twisted.internet import tcp
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProducer, IProtocol, IProtocolFactory
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python import log
from twisted.python.failure import Failure

# As abstract.FileDescriptor.bufferSize; an attribute of a class far above costs every read a search.
_READ_BYTES = 64 * 1024

# struct linger {on, 0 s}: close() drops what is queued and sends RST instead of FIN (socket(7)).
LINGER_RESET = struct.pack("ii", 1, 0)

# Shared, as Twisted shares those of its reactors: how a connection ended is all they say.
_DONE = Failure(CONNECTION_DONE)
_LOST = Failure(CONNECTION_LOST)
_ABORTED = Failure(ConnectionAborted())


class Follower(Protocol):
    """Looks at what passes."""

    def follow(self, data: bytes) -> bool:
        """Whether it may pass as it is."""


class Onward(Protocol):
    """Where it goes then."""

    def write(self, data: bytes) -> None:
        """Take it."""


def _nothing(*_: object) -> None:
    """Is read or written once a connection is aborted."""


class EagerConnection(tcp.Connection):
    """
    What the accepted and the connected side share.

    ``_eager`` rises once, when the connection is up, and falls once: when anything begins that only the
    ordinary path knows (TLS, closing, half closing, aborting, a pull producer). ``_at_once`` says so, too, and that
    nothing waits to be sent. One flag instead of eight attributes more than halves what ``write`` adds to ``send``
    (measured 2026-11: to 0.45).
    """

    # What an event touches lies in the object itself: with thousands of streams a dict is two cache misses more.
    __slots__ = ("_at_once", "_follower", "_onward", "socket")

    reactor: Any  # with `mcpgate.net.turns.Turns`, and ``release``
    _follower: Follower | None
    _onward: Onward  # set with it
    _at_once: bool
    _eager = False
    _send_failed = False
    _shouldShutdown = False
    _has_ended = False
    #: It ends with a reset, whoever ends it.
    is_cut = False
    _arrivals: select.poll | None = None

    def take_up(self, sock: socket.socket, protocol: IProtocol, reactor: Any) -> None:
        """
        What the constructors of ``tcp.Server`` and ``tcp.Client`` come to for a socket that is connected and does not
        block: without texts for a log that is never written, and without system calls for what is so already.
        """
        self.reactor = reactor
        self.socket, self.fileno = sock, sock.fileno
        self.protocol = protocol
        self._tempDataBuffer = []
        self._tempDataLen = 0
        self.connected = 1
        self.be_eager()
        reactor.addReader(self)

    def be_eager(self) -> None:
        """It is up, and nothing has been written."""
        self._follower = None
        self._eager = self._at_once = True

    def doRead(self) -> Any:
        """
        As ``tcp.Connection.doRead``, with one call less, and two more for what is passed on.

        With thousands of streams each object, and each dict, that an event does not touch is a cache miss less.
        """
        try:
            data = self.socket.recv(_READ_BYTES)
        except OSError as failed:
            return None if failed.args[0] == EWOULDBLOCK else CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        follower = self._follower
        if follower is not None and follower.follow(data):
            self._onward.write(data)
        else:
            self.protocol.dataReceived(data)
        return None

    def pass_on(self, follower: Follower, onward: Onward) -> None:
        """
        Give what is read from now on to ``onward``, past the protocol, as long as ``follower`` says so of each piece.

        The protocol gets the others. Until `pass_no_more`, and at most until the connection is lost.
        """
        self._arrivals = None  # 0.3 KiB, and memory per stream counts
        self._follower, self._onward = follower, onward

    def pass_no_more(self) -> None:
        """What is read goes to the protocol again."""
        if self._follower is not None:
            self._follower = None
            del self._onward

    def write(self, data: bytes) -> None:
        """
        Send what the kernel takes now and queue the rest.

        An echo of 150 bytes costs 0.49 of one through the stock ``write`` (measured 2026-11, stock reactor).

        :raises TypeError: if ``data`` is not bytes, as on the ordinary path.
        """
        if not self._at_once or type(data) is not bytes or not data:
            super().write(data)
            return
        try:
            sent_bytes = self.socket.send(data)
        except BlockingIOError:
            sent_bytes = 0
        except OSError:
            # doWrite reports it, outside of the caller's stack.
            self._send_failed = True
            sent_bytes = 0
        if sent_bytes < len(data):
            self._queue_rest(data, sent_bytes)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Join, then write: one system call for all pieces."""
        self.write(b"".join(iovec))

    def _queue_rest(self, data: bytes, sent_bytes: int) -> None:
        """
        Leave what the kernel did not take to the ordinary path.

        A large rest becomes the send buffer as it is, with an offset: copying it would cost as much as
        sending it. A small one is copied, because a producer's threshold counts the whole buffer, also the
        part that was sent.
        """
        if len(data) - sent_bytes < self.SEND_LIMIT:
            super().write(data[sent_bytes:])
            return
        self.dataBuffer = data
        self.offset = sent_bytes
        self._maybePauseProducer()
        self.startWriting()

    def _maybePauseProducer(self) -> None:
        # Something waits, and who is told of it must not overtake it: writing is started only after this.
        self._at_once = False
        super()._maybePauseProducer()

    def startWriting(self) -> None:
        """As inherited: something waits."""
        self._at_once = False
        super().startWriting()

    def stopWriting(self) -> None:
        """As inherited: nothing waits any more, unless it is given up."""
        super().stopWriting()
        self._at_once = self._eager and not self._tempDataLen and not self.dataBuffer

    def readConnectionLost(self, reason: Failure) -> None:
        """
        Report a loss, not an orderly end, after a ``send`` that failed.

        The kernel tells of a reset once. If ``send`` was told, ``recv`` sees an end like any other, and a body
        without length that was cut off would pass as complete.
        """
        if self._send_failed:
            self.connectionLost(_LOST)
            return
        super().readConnectionLost(reason)

    def end_input(self) -> None:
        """
        The peer sends no more: as the reactor's own way there, which looks at more, and stops reading before it asks.

        A protocol that closes now, as those of streams do, need not be taken off epoll's list twice.
        """
        self._has_ended = True
        if self._send_failed or not IHalfCloseableProtocol.providedBy(self.protocol):
            self.readConnectionLost(_DONE)
            return
        try:
            self.protocol.readConnectionLost()
        except BaseException:
            log.err()
            self.connectionLost(Failure())
        if self.connected and not self.disconnecting:
            self.stopReading()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Stay ordinary from here on for a pull producer: only ``doWrite`` asks it for more."""
        if streaming:
            if self.producer is None and not self.disconnected and not self.TLS:  # six calls less than super()
                self.producer, self.streamingProducer = producer, True
            else:
                super().registerProducer(producer, streaming)
            return
        self._eager = self._at_once = False
        super().registerProducer(producer, streaming)
        if self.producer is not None:
            # An earlier write would still be queued in a stock transport, and its doWrite would ask.
            self.startWriting()

    def startTLS(self, ctx: object, normal: bool = True) -> None:
        self._eager = self._at_once = False
        super().startTLS(ctx, normal)

    @property
    def is_flushed(self) -> bool:
        """Whether writes go out at once, and all have."""
        return self._at_once

    def loseConnection(self) -> None:
        """As inherited; but with nothing left to send the connection ends with this turn."""
        ends_at_once = self._at_once
        self._eager = self._at_once = False
        if not ends_at_once:
            super().loseConnection()
            return
        self.disconnecting = 1
        self.reactor.release(self)
        self.reactor.at_turn_end(self._finish)

    def _finish(self) -> None:
        # What was written after all is sent on the ordinary path, which closes then.
        if self.connected and not self._aborting and not self._tempDataLen and not self.dataBuffer:
            self.connectionLost(_DONE)

    def loseWriteConnection(self) -> None:
        self._eager = self._at_once = False
        super().loseWriteConnection()

    def abortConnection(self) -> None:
        """As inherited; but the connection ends with this turn."""
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self._eager = self._at_once = False
        self.reactor.release(self)
        self.doRead = self.doWrite = _nothing  # type: ignore[method-assign]
        self.reactor.at_turn_end(self._abort)

    def _abort(self) -> None:
        self.connectionLost(_ABORTED)

    def connectionLost(self, reason: Failure) -> None:
        """As inherited, in a quarter of the calls; a second time it does nothing."""
        if not hasattr(self, "socket"):
            return
        self._eager = self._at_once = False
        self.pass_no_more()
        self.disconnected, self.connected = 1, 0
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        self.reactor.release(self)
        self._closeSocket(not isinstance(reason.value, ConnectionAborted))
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        protocol.connectionLost(reason)

    def _closeSocket(self, orderly: bool) -> None:
        try:
            if self.is_cut or not orderly:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            elif self._shouldShutdown or not self._has_ended:
                self.socket.shutdown(socket.SHUT_RDWR)
            # Else nobody else has the descriptor, nothing is unread, and close(2) sends what shutdown(2) would; 0.8 us
            # less. With something unread it would send a reset.
            os.close(self.socket.detach())  # what socket.close() comes to
        except OSError:
            with contextlib.suppress(OSError):
                self.socket.close()

    def has_unread(self) -> bool:
        """As the function of that name. What asks is kept from the first time on: 0.4 of a fresh poll object."""
        if self.disconnected:
            return True
        if self._arrivals is None:
            self._arrivals = arrivals_at(self)
        return bool(self._arrivals.poll(0))


def protocol_for(sock: socket.socket, peer: IAddress, factory: IProtocolFactory) -> IProtocol | None:
    """
    Ask who speaks on a fresh connection. The socket is closed if nobody does, and if the factory fails.

    :raises BaseException: what the factory raises.
    """
    try:
        protocol = factory.buildProtocol(peer)
    except BaseException:
        sock.close()
        raise
    if protocol is None:
        sock.close()
    return protocol


def arrivals_at(connection: tcp.Connection) -> select.poll:
    """
    Make what tells whether something can be read.

    It costs 0.3 of a recv(MSG_PEEK) that finds nothing, as that raises (select.select: 0.4; measured 2026-11).
    """
    arrivals = select.poll()
    arrivals.register(connection.fileno(), select.POLLIN)
    return arrivals
