"""A connection without a network, for the test kit: bytes move when the far end wants them to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.net.transports import InMemory

#: Above this Twisted pauses a producer (abstract.FileDescriptor.bufferSize).
_FULL_BYTES = 64 * 1024


@implementer(ITCPTransport, IPushProducer, IConsumer)
class MemoryTransport(InMemory):
    """
    The gateway's end of a connection, with a socket buffer that the far end may leave full.

    :ivar delivered: what the far end has read.
    :ivar closed: ``None``, ``"fin"`` (orderly) or ``"reset"``, as the far end sees it.
    """

    def __init__(self, protocol: IProtocol, port: int) -> None:
        self.protocol = protocol
        self.delivered = b""
        self.closed: str | None = None
        self.reading = True
        self.taking = True
        self._port = port
        self._pending = b""
        self._incoming: list[Callable[[], None]] = []
        self._producer: IPushProducer | None = None
        self._full = False
        self._closing = False
        self._write_closing = False
        self._lost = False
        self.disconnecting = False
        self.connected = True

    # --- what the gateway calls ---------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._closing or self._lost or self._write_closing:
            return
        self._pending += data
        self._flush()
        if len(self._pending) > _FULL_BYTES and self._producer is not None and not self._full:
            self._full = True
            self._producer.pauseProducing()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        self._closing = self.disconnecting = True
        self._flush()

    def loseWriteConnection(self) -> None:
        self._write_closing = True
        self._flush()

    def abortConnection(self) -> None:
        if not self._lost:
            self._pending = b""
            self._closing = True
            self._lose("reset", ConnectionLost())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self._port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8700)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to delay."""

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to keep alive."""

    def getTcpKeepAlive(self) -> bool:
        return False

    def unsent_bytes(self) -> int:
        return len(self._pending)

    # --- what the far end does ----------------------------------------------------------------------------------

    def arrive(self, what: Callable[[], None]) -> None:
        """Something reaches this end: now, or when it reads again."""
        self._incoming.append(what)

    def deliver(self) -> bool:
        """Hand over what has arrived; whether anything happened."""
        happened = False
        while self._incoming and self.reading and not self._lost:
            happened = True
            self._incoming.pop(0)()
        if self._pending and self.taking:
            happened = True
            self._flush()
        return happened

    def take_data(self, data: bytes) -> None:
        """Bytes reach the protocol."""
        if not self._lost and not self._closing:
            self.protocol.dataReceived(data)

    def take_end(self) -> None:
        """The far end has closed, or half closed."""
        if IHalfCloseableProtocol.providedBy(self.protocol) and not self._closing:
            self.protocol.readConnectionLost()
        else:
            self._lose("fin", ConnectionDone())

    def take_reset(self) -> None:
        """The far end has cut the connection."""
        self._lose("reset", ConnectionLost())

    def _flush(self) -> None:
        if not self.taking:
            return
        data, self._pending = self._pending, b""
        self.delivered += data
        if self._full and self._producer is not None:
            self._full = False
            self._producer.resumeProducing()
        if self._closing:
            self._lose("fin", ConnectionDone())
        elif self._write_closing and self.closed is None:
            self.closed = "fin"

    def _lose(self, how: str, reason: Exception) -> None:
        if self._lost:
            return
        self._lost = True
        self.connected = False
        if self.closed is None:
            self.closed = how
        # As in Twisted, the protocol hears of it on a later turn, never inside the call that closed.
        self._incoming = [lambda: self.protocol.connectionLost(Failure(reason))]
        self.reading = True

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen here any more."""
        return self._lost and not self._incoming

    def deliver_loss(self) -> bool:
        """Tell the protocol that the connection is gone."""
        if not self._lost or not self._incoming:
            return False
        self._incoming.pop(0)()
        return True
