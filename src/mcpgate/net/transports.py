"""
TCP transports that write at once, and the questions every room may ask about any transport.

Twisted's ``write`` queues, asks epoll for writability, sends on the next turn and takes the request back.
Here ``send`` is tried inside ``write`` when nothing waits; what the kernel does not take goes the ordinary
way, so buffering, producers, half close, ``loseConnection`` and TLS on top stay Twisted's own. One rule holds
throughout: ``write`` never closes a connection. An error of the early ``send`` is met again, and reported,
on the ordinary path.

The functions at the end take any ``ITransport``: ours, stock ones, TLS around either, and those of tests.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Iterable
from errno import EWOULDBLOCK
from typing import Any, Protocol, TypeGuard

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IListeningPort, IProducer, ITransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

# Twisted starts at 100 and adds 20 after every full turn, so a burst of 5,000 clients makes turns of several
# hundred accepts in which no stream moves. HAProxy's tune.maxaccept lies between 4 and 64.
ACCEPTS_PER_TURN = 32

# struct linger {on, 0 s}: close() drops what is queued and sends RST instead of FIN (socket(7)).
_LINGER_RESET = struct.pack("ii", 1, 0)


class _EagerConnection(tcp.Connection):
    """
    What the accepted and the connected side share.

    ``_eager`` rises once, when the connection is up, and falls once: when anything begins that only the
    ordinary path knows (TLS, closing, half closing, aborting, a pull producer). One flag instead of eight
    attributes more than halves what ``write`` adds to ``send`` (measured 2026-11: to 0.45).
    """

    _eager = False
    _send_failed = False

    def doRead(self) -> Any:
        """As ``tcp.Connection.doRead``, with one call less on the way of every event (0.1 us)."""
        try:
            data = self.socket.recv(self.bufferSize)
        except OSError as failed:
            return None if failed.args[0] == EWOULDBLOCK else CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        """
        Send what the kernel takes now and queue the rest.

        An echo of 150 bytes costs 0.49 of one through the stock ``write`` (measured 2026-11, stock reactor).

        :raises TypeError: if ``data`` is not bytes, as on the ordinary path.
        """
        if not self._eager or self._tempDataLen or self.dataBuffer or type(data) is not bytes or not data:
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

    def readConnectionLost(self, reason: Failure) -> None:
        """
        Report a loss, not an orderly end, after a ``send`` that failed.

        The kernel tells of a reset once. If ``send`` was told, ``recv`` sees an end like any other, and a body
        without length that was cut off would pass as complete.
        """
        if self._send_failed:
            self.connectionLost(Failure(CONNECTION_LOST))
            return
        super().readConnectionLost(reason)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Stay ordinary from here on for a pull producer: only ``doWrite`` asks it for more."""
        if streaming:
            super().registerProducer(producer, streaming)
            return
        self._eager = False
        super().registerProducer(producer, streaming)
        if self.producer is not None:
            # An earlier write would still be queued in a stock transport, and its doWrite would ask.
            self.startWriting()

    def startTLS(self, ctx: object, normal: bool = True) -> None:
        self._eager = False
        super().startTLS(ctx, normal)

    def loseConnection(self) -> None:
        self._eager = False
        super().loseConnection()

    def loseWriteConnection(self) -> None:
        self._eager = False
        super().loseWriteConnection()

    def abortConnection(self) -> None:
        self._eager = False
        super().abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        self._eager = False
        super().connectionLost(reason)


class EagerServer(_EagerConnection, tcp.Server):
    """An accepted connection that writes at once."""

    def __init__(self, *accepted: Any, **by_name: Any) -> None:
        super().__init__(*accepted, **by_name)
        # What belongs together was joined before it came here. With Nagle's algorithm the second of two small
        # events would wait for the client's delayed acknowledgement, 40 ms on Linux (RFC 9293 section 3.7.4).
        self.setTcpNoDelay(True)
        # An instance attribute, because a class default costs every write a second lookup.
        self.dataBuffer = b""
        self._eager = True


class EagerClient(_EagerConnection, tcp.Client):
    """An outgoing connection that writes at once."""

    def _connectDone(self) -> None:
        # As for EagerServer, and before the protocol sees the transport.
        self.setTcpNoDelay(True)
        self.dataBuffer = b""
        self._eager = True
        super()._connectDone()


class EagerPort(tcp.Port):
    """A listening port whose connections write at once, accepting a bounded number of them per turn."""

    transport = EagerServer
    _accepts_per_turn = ACCEPTS_PER_TURN

    @property
    def numberAccepts(self) -> int:
        """How many connections the next turn may accept: Twisted adapts it, we bound it."""
        return self._accepts_per_turn

    @numberAccepts.setter
    def numberAccepts(self, count: int) -> None:
        self._accepts_per_turn = min(count, ACCEPTS_PER_TURN)


class EagerConnector(tcp.Connector):
    """A connector whose connection writes at once."""

    def _makeTransport(self) -> EagerClient:
        return EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)


class StreamTransport(Protocol):
    """What a connection of ours uses of its transport; every TCP and TLS transport of Twisted has it."""

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def registerProducer(self, producer: IProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


class InMemory:
    """A transport that answers for itself (those of tests)."""

    def unsent_bytes(self) -> int:
        """As the function of that name."""
        raise NotImplementedError

    def loseWriteConnection(self) -> None:
        """Half close."""
        raise NotImplementedError


def unsent_bytes(transport: ITransport | StreamTransport) -> int:
    """
    Count the bytes that ``write`` accepted and the kernel has not taken yet.

    Under TLS the count holds clear bytes not yet encrypted plus encrypted ones not yet sent.

    :returns: ``0`` also for transports that cannot tell.
    """
    waiting_bytes = 0
    layer: object = transport
    if isinstance(layer, InMemory):
        return layer.unsent_bytes()
    while isinstance(layer, ProtocolWrapper):
        waiting_bytes += _unencrypted_bytes(layer)
        layer = layer.transport
    if isinstance(layer, FileDescriptor):
        waiting_bytes += len(layer.dataBuffer) - layer.offset + layer._tempDataLen
        if getattr(layer, "TLS", False):
            # After startTLS the transport stays the same and its protocol is the TLS layer.
            waiting_bytes += _unencrypted_bytes(getattr(layer, "protocol", None))
    return waiting_bytes


def send_at_once(transport: ITransport | StreamTransport) -> None:
    """Switch Nagle's algorithm off where that has not been done: under a stock reactor, see `EagerServer`."""
    connection = _descriptor_below(transport)
    if isinstance(connection, tcp.Connection) and not isinstance(connection, _EagerConnection):
        with contextlib.suppress(OSError, AttributeError):  # a Unix socket has no such option
            connection.setTcpNoDelay(True)


def is_cut(transport: ITransport | StreamTransport) -> bool:
    """
    Whether the peer has reset the connection, asked of the socket: for one that is not read at the moment.

    A peer that has only sent FIN may still be waiting for its answer, and is not cut.
    """
    connection = _descriptor_below(transport)
    if not isinstance(connection, tcp.Connection) or connection.disconnected:
        return False
    state = select.poll()
    state.register(connection.fileno(), 0)  # errors are reported unasked (poll(2))
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in state.poll(0))


def is_encrypted(transport: ITransport) -> bool:
    """Whether there is TLS between the protocol and the network."""
    return isinstance(transport, TLSMemoryBIOProtocol) or bool(getattr(transport, "TLS", False))


def has_unread(transport: ITransport | StreamTransport) -> bool:
    """
    Tell whether the peer's bytes, its end or an error wait unread in the socket; consumes nothing.

    To be asked before a quiet connection is used again (RFC 9112 section 9.2). Under TLS it looks at the
    encrypted side, where a late session ticket also counts: the caller then merely opens another connection.

    :returns: ``True`` also when the connection is lost already; ``False`` for transports without a socket.
    """
    connection = transport if isinstance(transport, EagerClient) else _descriptor_below(transport)
    if not isinstance(connection, tcp.Connection):
        return False
    if connection.disconnected:
        return True
    # A fresh poll object costs 0.3 of a recv(MSG_PEEK) that finds nothing, as that raises (measured 2026-11;
    # select.select: 0.4). One kept per connection would cost 0.17, and memory while the connection is in use.
    arrivals = select.poll()
    arrivals.register(connection.fileno(), select.POLLIN)
    return bool(arrivals.poll(0))


def reset(transport: ITransport | StreamTransport) -> None:
    """
    Close at once and drop what is queued; the peer's next read fails with "connection reset".

    ``connectionLost`` follows on a later turn, never inside this call. Nothing happens to a lost connection.
    A transport that cannot abort loses its connection in the orderly way.
    """
    connection = _descriptor_below(transport)
    if connection is not None and connection.disconnected:
        return
    if isinstance(connection, tcp.Connection):
        # Twisted does so only if the abort is what closes in the end. If the caller raises before that, the
        # reactor closes in the orderly way, and FIN would say that a body without length is complete.
        connection._shouldShutdown = False
        with contextlib.suppress(OSError):
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    abort = getattr(transport, "abortConnection", transport.loseConnection)
    abort()


def stop_accepting(port: IListeningPort) -> None:
    """
    Leave new connections in the kernel's backlog until :func:`resume_accepting`; open ones are not touched.

    Called from ``buildProtocol`` it takes effect after this turn: up to ``ACCEPTS_PER_TURN`` more come in.
    """
    if _is_listening(port):
        port.stopReading()


def resume_accepting(port: IListeningPort) -> None:
    """Accept again after :func:`stop_accepting`; a port that was closed meanwhile stays closed."""
    if _is_listening(port):
        port.startReading()


def _is_listening(port: object) -> TypeGuard[tcp.Port]:
    return isinstance(port, tcp.Port) and bool(port.connected) and not port.disconnecting


def _descriptor_below(transport: object) -> FileDescriptor | None:
    """Follow TLS and other wrappers down to what the reactor watches; ``None`` if there is no such thing."""
    layer = transport
    while isinstance(layer, ProtocolWrapper):
        layer = layer.transport
    return layer if isinstance(layer, FileDescriptor) else None


def _unencrypted_bytes(layer: object) -> int:
    """Count what a TLS layer holds back: during the handshake, and small writes until the next turn."""
    if not isinstance(layer, TLSMemoryBIOProtocol):
        return 0
    small_writes = getattr(getattr(layer, "_aggregator", None), "_buffer", ())
    return sum(map(len, layer._appSendBuffer)) + sum(map(len, small_writes))


def lose_write(transport: ITransport | StreamTransport) -> bool:
    """
    Send FIN after what is queued, and go on reading (half close).

    :returns: ``False`` if this transport cannot (TLS): nothing has happened then.
    """
    if isinstance(transport, InMemory):
        transport.loseWriteConnection()
        return True
    if isinstance(transport, tcp.Connection) and not getattr(transport, "TLS", False):
        transport.loseWriteConnection()
        return True
    return False
