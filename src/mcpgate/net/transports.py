"""
The questions every room may ask about a transport, and what can be asked of it.

The functions take any ``ITransport``: ours, stock ones, TLS around either, and those of tests.
"""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Protocol

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IProducer, ITransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol

from mcpgate.net.eager import LINGER_RESET, EagerConnection, Follower, Onward, arrivals_at


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


def pass_on(transport: ITransport | StreamTransport, follower: Follower, onward: Onward) -> None:
    """
    Spare the protocol what ``follower`` says yes to: it goes straight ``onward``; see `pass_no_more`.

    A transport that cannot do that goes on giving everything to its protocol, which must do the same itself.
    """
    if isinstance(transport, EagerConnection):
        transport.pass_on(follower, onward)


def pass_no_more(transport: ITransport | StreamTransport) -> None:
    """End what `pass_on` began, if it did."""
    if isinstance(transport, EagerConnection):
        transport.pass_no_more()


def closes_at_once(transport: ITransport | StreamTransport) -> bool:
    """Whether ``loseConnection`` would end it within this turn, with nothing to send before and nobody to wait for."""
    return isinstance(transport, EagerConnection) and transport.is_flushed


def send_at_once(transport: ITransport | StreamTransport) -> None:
    """Switch Nagle's algorithm off where that has not been done: under a stock reactor, see `EagerServer`."""
    if isinstance(transport, EagerConnection):
        return
    connection = _descriptor_below(transport)
    if isinstance(connection, tcp.Connection) and not isinstance(connection, EagerConnection):
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
    if isinstance(transport, EagerConnection):
        return transport.has_unread()
    connection = _descriptor_below(transport)
    if not isinstance(connection, tcp.Connection):
        return False
    return bool(connection.disconnected) or bool(arrivals_at(connection).poll(0))


def reset(transport: ITransport | StreamTransport) -> None:
    """
    Close at once and drop what is queued; the peer's next read fails with "connection reset".

    ``connectionLost`` follows on a later turn, never inside this call. Nothing happens to a lost connection.
    A transport that cannot abort loses its connection in the orderly way.
    """
    connection = _descriptor_below(transport)
    if connection is not None and connection.disconnected:
        return
    if isinstance(connection, EagerConnection):
        connection.is_cut = True
    elif isinstance(connection, tcp.Connection):
        # Twisted does so only if the abort is what closes in the end. If the caller raises before that, the
        # reactor closes in the orderly way, and FIN would say that a body without length is complete.
        connection._shouldShutdown = False
        with contextlib.suppress(OSError):
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    abort = getattr(transport, "abortConnection", transport.loseConnection)
    abort()


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
