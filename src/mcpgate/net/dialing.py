"""
Outgoing connections that write at once; and a short way to make one, for addresses that need no look-up.

Twisted makes a connector, a client, two Deferreds and two timers, asks epoll for writability, and takes it all back a
turn later. To a server on the same machine a connection is there as soon as it has been asked for; it is used then.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from errno import EALREADY, ECONNABORTED, EINPROGRESS, EISCONN
from functools import cached_property, partial
from typing import Any, Protocol, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectBindError, TimeoutError, getConnectError
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol
from twisted.internet.protocol import ClientFactory
from twisted.python import log
from twisted.python.failure import Failure

from mcpgate.net.eager import EagerConnection, protocol_for
from mcpgate.net.turns import Turns

_PENDING = (EINPROGRESS, EALREADY)
_CONNECTED = (0, EISCONN)


class EagerClient(EagerConnection, tcp.Client):
    """An outgoing connection that writes at once, made by the reactor's ``connectTCP``."""

    _commonConnection = EagerConnection
    connectionLost = tcp.Client.connectionLost

    def __init__(self, *place: Any) -> None:
        self._follower, self._at_once = None, False  # it may be asked, or fail, before it is up
        super().__init__(*place)

    def _connectDone(self) -> None:
        # As for EagerServer, and before the protocol sees the transport.
        self.setTcpNoDelay(True)
        self.be_eager()
        super()._connectDone()


class EagerConnector(tcp.Connector):
    """A connector whose connection writes at once."""

    def _makeTransport(self) -> EagerClient:
        return EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)


class DialledClient(EagerClient):
    """An outgoing connection that was made by :func:`dial`, and has no connector any more."""

    connectionLost = EagerConnection.connectionLost

    def __init__(self, sock: socket.socket, protocol: IProtocol, peer: IAddress, reactor: Any) -> None:
        self._peer = peer
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.take_up(sock, protocol, reactor)

    def getPeer(self) -> IAddress:
        return self._peer

    def getHost(self) -> IAddress:
        return _address(self.socket.getsockname())

    @cached_property
    def logstr(self) -> str:  # type: ignore[override]
        """Made when somebody logs."""
        return f"{self._getLogPrefix(getattr(self, 'protocol', None))},client"

    def __repr__(self) -> str:
        return f"<DialledClient to {self._peer}>"


class Pending(Protocol):
    """A connection that is still to come, or to fail."""

    def disconnect(self) -> None:
        """Give up."""


def dial(reactor: Any, address: str, port: int, factory: ClientFactory[Any], timeout_s: float) -> Pending | None:
    """
    Connect to an IP literal; the connection writes at once.

    The factory is told as by ``connectTCP``, but on our reactor only of what it is made of: ``buildProtocol`` and
    ``clientConnectionFailed``. The connection may be there, and its protocol have been told, before this returns; a
    failure always comes later.

    :param timeout_s: until it counts as failed, with ``TimeoutError``.
    :returns: what to ``disconnect`` to give up; ``None`` if the connection is there already.
    """
    if not isinstance(reactor, Turns) or "%" in address:  # a scope would have to be looked up
        connector: Pending = reactor.connectTCP(address, port, factory, timeout=timeout_s)
        return connector
    attempt = Attempt(reactor, (address, port), factory)
    return attempt if attempt.begin(timeout_s) else None


class Attempt:
    """
    A connection that is being made: what the reactor watches, and what its maker may give up.

    :param make_socket: as ``socket.socket``, given family and type.
    """

    def __init__(
        self,
        reactor: Any,
        target: tuple[str, int],
        factory: ClientFactory[Any],
        make_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._factory = factory
        self._make_socket = make_socket
        self._socket: socket.socket | None = None
        self._timer: IDelayedCall | None = None
        self._over = False

    def begin(self, timeout_s: float) -> bool:
        """Whether it is still to come, or to fail."""
        family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        try:
            sock = self._socket = self._make_socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as failed:
            self._reactor.at_turn_end(partial(self._fail, ConnectBindError(*failed.args)))
            return True
        found = sock.connect_ex(self._target)
        if found == EINPROGRESS:
            # Over loopback it is there by now. That is found out by asking again (connect(2)), for 1.3 us.
            found = sock.connect_ex(self._target)
        if found in _CONNECTED:
            self._hand_over(sock)
            return False
        if found in _PENDING:
            self._timer = self._reactor.callLater(timeout_s, self._fail, TimeoutError())
            self._reactor.addWriter(self)
        else:
            self._reactor.at_turn_end(partial(self._fail, _refusal(found)))
        return True

    def disconnect(self) -> None:
        """Give up; the factory hears no more."""
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._socket is not None:
            self._reactor.release(self)
            # Not before: events of this turn may wait for its number.
            self._reactor.at_turn_end(self._socket.close)
            self._socket = None

    # --- the reactor's side -------------------------------------------------------------------------------------

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "dial"

    def doWrite(self) -> None:
        if self._socket is not None:
            found = self._socket.connect_ex(self._target)
            if found not in _PENDING:
                self._end(found)

    def connectionLost(self, reason: Failure) -> None:
        """A hang-up, which the socket tells more of; or the reactor stops."""
        if self._socket is not None:
            found = self._socket.connect_ex(self._target)
            self._end(ECONNABORTED if found in _PENDING else found)

    def _end(self, found: int) -> None:
        if found not in _CONNECTED:
            self._fail(_refusal(found))
            return
        sock = self._socket
        assert sock is not None
        self._reactor.release(self)
        self._socket = None
        self.disconnect()
        self._hand_over(sock)

    def _hand_over(self, sock: socket.socket) -> None:
        self._socket, self._over = None, True
        peer = _address(self._target)
        protocol = protocol_for(sock, peer, self._factory)
        if protocol is None:
            return
        transport = DialledClient(sock, protocol, peer, self._reactor)
        try:
            protocol.makeConnection(transport)
        except BaseException:
            log.err()
            transport.connectionLost(Failure())

    def _fail(self, error: Exception) -> None:
        if not self._over:
            self.disconnect()
            self._factory.clientConnectionFailed(cast(Any, self), Failure(error))


def _address(name: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    return IPv6Address("TCP", *name) if ":" in name[0] else IPv4Address("TCP", *name)


def _refusal(found: int) -> Exception:
    error: Exception = getConnectError((found, os.strerror(found)))
    return error
