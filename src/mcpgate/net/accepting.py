"""Listening: connections that write at once, accepted with few calls, a bounded number of them per turn."""

from __future__ import annotations

import socket
from functools import cached_property
from typing import Any, TypeGuard

from twisted.internet import tcp
from twisted.internet.address import IPv6Address
from twisted.internet.interfaces import IListeningPort, IProtocol
from twisted.python import log

from mcpgate.net.eager import EagerConnection, protocol_for

# Twisted starts at 100 and adds 20 after every full turn, so a burst of 5,000 clients makes turns of several
# hundred accepts in which no stream moves. HAProxy's tune.maxaccept lies between 4 and 64.
ACCEPTS_PER_TURN = 32


class EagerServer(EagerConnection, tcp.Server):
    """
    An accepted connection that writes at once.

    :param sock: does not block, and does not wait to fill segments (see `EagerPort`).
    :param place: the port, ``None`` for a connection that was accepted elsewhere; its number there; the reactor.
    """

    def __init__(self, sock: socket.socket, protocol: IProtocol, client: tuple[Any, ...], *place: Any) -> None:
        self.server, self.sessionno, reactor = place
        self.client = client
        if len(client) != 2:
            self._addressType = IPv6Address
        if sock.gettimeout() != 0:  # adopted, or accepted on the inherited way
            sock.setblocking(False)
        self.take_up(sock, protocol, reactor)
        if self.server is None:
            self._shouldShutdown = True  # whoever has accepted it may have it open, too
            self.setTcpNoDelay(True)

    @property
    def hostname(self) -> Any:  # type: ignore[override]
        """The peer's address."""
        return self.client[0]

    @cached_property
    def logstr(self) -> str:  # type: ignore[override]
        """Made when somebody logs, which is seldom: 2 us less for each connection."""
        return f"{self._getLogPrefix(getattr(self, 'protocol', None))},{self.sessionno},{self.hostname}"

    @cached_property
    def repstr(self) -> str:  # type: ignore[override]
        """As for `logstr`."""
        port = None if self.server is None else self.server._realPortNumber
        return f"<{type(getattr(self, 'protocol', None)).__name__} #{self.sessionno} on {port}>"


class EagerPort(tcp.Port):
    """A listening port whose connections write at once, accepting a bounded number of them per turn."""

    transport = EagerServer  # type: ignore[assignment]
    _accepts_per_turn = ACCEPTS_PER_TURN
    _is_accepting = False

    @property
    def numberAccepts(self) -> int:
        """How many connections the next turn may accept: Twisted adapts it, we bound it."""
        return self._accepts_per_turn

    @numberAccepts.setter
    def numberAccepts(self, count: int) -> None:
        self._accepts_per_turn = min(count, ACCEPTS_PER_TURN)

    def startListening(self) -> None:
        """As inherited; accepted sockets inherit from this one that they do not wait to fill segments (Linux)."""
        super().startListening()
        # What belongs together was joined before it came here. With Nagle's algorithm the second of two small
        # events would wait for the client's delayed acknowledgement, 40 ms on Linux (RFC 9293 section 3.7.4).
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._kind = int(self.socket.family), int(self.socket.type), self.socket.proto

    def startReading(self) -> None:
        self._is_accepting = True
        super().startReading()

    def stopReading(self) -> None:
        """As inherited, and within a turn, too: a bound that some more may pass is none for descriptors."""
        self._is_accepting = False
        super().stopReading()

    def doRead(self) -> None:
        """Accept who waits. An error that is not "nobody" is met again, and treated, on the inherited way."""
        accepted, most = 0, self._accepts_per_turn
        while accepted < most and self._is_accepting:
            try:
                # What socket.accept does, less two look-ups of enums: 6.7 us instead of 9.9, most of it the kernel's.
                descriptor, client = self.socket._accept()  # type: ignore[union-attr]
            except BlockingIOError:
                break
            except OSError:
                super().doRead()
                return
            accepted += 1
            try:
                self._serve(socket.socket(*self._kind, descriptor), client)
            except BaseException:
                log.deferr()
        self.numberAccepts = most + 20 if accepted == most else max(1, accepted)

    def _serve(self, sock: socket.socket, client: tuple[Any, ...]) -> None:
        sock.setblocking(False)
        if len(client) == 4 and client[3]:
            client = tcp._getrealname(client)  # names the interface
        protocol = protocol_for(sock, self._buildAddr(client), self.factory)  # type: ignore[arg-type]
        if protocol is None:
            return
        number = self.sessionno
        self.sessionno = number + 1
        protocol.makeConnection(self.transport(sock, protocol, client, self, number, self.reactor))


def stop_accepting(port: IListeningPort) -> None:
    """
    Leave new connections in the kernel's backlog until :func:`resume_accepting`; open ones are not touched.

    Called from a new connection it takes effect at once; on a stock port after this turn, as many come in as it accepts
    in one.
    """
    if _is_listening(port):
        port.stopReading()


def resume_accepting(port: IListeningPort) -> None:
    """Accept again after :func:`stop_accepting`; a port that was closed meanwhile stays closed."""
    if _is_listening(port):
        port.startReading()


def _is_listening(port: object) -> TypeGuard[tcp.Port]:
    return isinstance(port, tcp.Port) and bool(port.connected) and not port.disconnecting
