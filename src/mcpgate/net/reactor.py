"""
An epoll reactor that dispatches reads on a short way, and whose TCP transports write at once.

Where there is no ``select.epoll`` (macOS, Windows), or a reactor is installed already, the gateway runs on
that one unchanged, only slower. Importing this module installs nothing.
"""

# mypy: disable-error-code="no-any-return"
# (Twisted's reactors are hardly annotated.)
from __future__ import annotations

import errno
import select
import socket
import sys
from typing import Any

from twisted.internet.interfaces import IConnector, IListeningPort, IProtocolFactory, ITransport
from twisted.internet.main import CONNECTION_DONE, installReactor
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python import log

from mcpgate.net.accepting import EagerPort, EagerServer
from mcpgate.net.dialing import EagerConnector
from mcpgate.net.eager import EagerConnection
from mcpgate.net.turns import Turns

if hasattr(select, "epoll"):
    from twisted.internet.epollreactor import EPollReactor
else:
    # So that this module can be imported everywhere; install() never makes one of these.
    from twisted.internet.posixbase import PosixReactorBase as EPollReactor  # type: ignore[assignment]

# Bytes, or the peer's orderly end, and nothing else: the kernel reports EPOLLHUP and EPOLLERR unasked
# (epoll_ctl(2)).
_PLAIN_READ = getattr(select, "EPOLLIN", 1)

# Events taken at once, as nginx's epoll_events. Twisted asks for as many as there are descriptors, 120 KB of malloc for
# every poll with 10,000 of them. With 64 an event would take 0.01 less; but each turn accepts, and who has too much to
# do already should not accept so often.
_MOST_EVENTS = 512

# Families whose sockets are TCP; a unix: socket keeps Twisted's own transport.
_TCP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


# Beyond it `timeout` has a word to say: epoll counts milliseconds in 32 bits.
_LONGEST_WAIT_S = 1e6
_top_handler = Logger().failuresHandled("Main Loop")


class LeanEPollReactor(Turns, EPollReactor):
    """
    ``EPollReactor`` with a short way for the event that is nearly all of a gateway's load: bytes to read.

    On the short way the connection's log prefix is not set while ``dataReceived`` runs, and a descriptor that
    calls itself -1 is not looked for. Everything else an event can say goes the inherited way.

    Measured 2026-11, 150 bytes over loopback, against ``EPollReactor`` with stock transports: reading costs
    0.5 and echoing 0.28 of the CPU time; an echo with only this dispatch 0.8, only eager transports 0.5.
    """

    def mainLoop(self) -> None:
        """
        Turn until stopped, as inherited, with less between two polls when no timer is due and no thread calls.

        An exception of a timer or of the poll itself is logged and ends one turn only.
        """
        while self._started:
            with _top_handler:
                self._turn_until_stopped()

    def _turn_until_stopped(self) -> None:
        while self._started:
            if not self._is_plain_turn():
                self.runUntilCurrent()
                self.doPoll(self.timeout() if self.running else 0)

    def _is_plain_turn(self) -> bool:
        """Whether nothing but descriptors wanted a turn; it is over then."""
        if self.threadCallQueue or self._newTimedCalls or self._justStopped or not self.running:
            return False
        wait_s = None
        if self._pendingTimedCalls:
            wait_s = self._pendingTimedCalls[0].time - self.seconds()
            if not 0 < wait_s < _LONGEST_WAIT_S:
                return False
        self.doPoll(wait_s)
        return True

    def doPoll(self, timeout: float | None) -> None:
        """
        Wait for events and dispatch each; an exception costs its own connection only, and is logged.

        :param timeout: seconds at most; ``None`` for no bound.
        """
        if self._at_turn_end:
            # Asked for by a timer or a thread. What this does may want a turn, too.
            self.end_turn()
            timeout = 0
        try:
            ready = self._poller.poll(-1 if timeout is None else timeout, _MOST_EVENTS)
        except OSError as failed:
            if failed.errno == errno.EINTR:
                return
            raise
        watched = self._selectables
        for descriptor, event in ready:
            selectable = watched.get(descriptor)
            if selectable is None:
                # Dropped by an earlier event of this batch.
                continue
            if event != _PLAIN_READ:
                log.callWithLogger(selectable, self._doReadOrWrite, selectable, descriptor, event)
                continue
            try:
                why = selectable.doRead()
            except BaseException as raised:
                log.err()
                self._drop(selectable, raised, False)
            else:
                if why:
                    self._drop(selectable, why, True)
        if self._at_turn_end:
            self.end_turn()

    doIteration = doPoll

    def addReader(self, reader: Any) -> None:
        """As inherited, with one call less for what is not watched yet."""
        descriptor = reader.fileno()
        if descriptor in self._selectables or descriptor < 0:
            super().addReader(reader)
            return
        try:
            self._poller.register(descriptor, _PLAIN_READ)
        except OSError:
            super().addReader(reader)  # a file, perhaps, which epoll does not take
            return
        self._reads.add(descriptor)
        self._selectables[descriptor] = reader

    def release(self, selectable: Any) -> None:
        """Take something off the books whose descriptor is about to be closed, in whatever way it is watched."""
        descriptor = selectable.fileno()
        if self._selectables.pop(descriptor, None) is not None:
            self._reads.discard(descriptor)
            self._writes.discard(descriptor)
            self._poller.unregister(descriptor)

    def _drop(self, selectable: Any, why: BaseException, by_peer: bool) -> None:
        """End one connection; what its ``connectionLost`` raises is logged and stops at this connection."""
        try:
            if why is CONNECTION_DONE and by_peer and isinstance(selectable, EagerConnection):
                selectable.end_input()
            else:
                self._disconnectSelectable(selectable, why, by_peer)
        except KeyboardInterrupt:
            raise
        except BaseException:
            log.err()

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """As ``IReactorTCP.listenTCP``; the accepted connections write at once."""
        listening = EagerPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> IConnector:
        """As ``IReactorTCP.connectTCP``; the connection writes at once."""
        connector = EagerConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: IProtocolFactory
    ) -> IListeningPort:
        """As ``IReactorSocket.adoptStreamPort``; connections accepted over TCP write at once."""
        if addressFamily not in _TCP_FAMILIES:
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        listening = EagerPort._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening

    def adoptStreamConnection(
        self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: IProtocolFactory
    ) -> ITransport:
        """As ``IReactorSocket.adoptStreamConnection``; a TCP connection writes at once."""
        if addressFamily not in _TCP_FAMILIES:
            return super().adoptStreamConnection(fileDescriptor, addressFamily, factory)
        return EagerServer._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)


def install() -> bool:
    """
    Make the lean reactor the reactor of this process, if that can still be chosen.

    :returns: whether it is now ours; ``False`` leaves everything as it was.
    """
    if "twisted.internet.reactor" in sys.modules or not hasattr(select, "epoll"):
        return False
    installReactor(LeanEPollReactor())
    return True
