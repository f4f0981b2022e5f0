"""Connections for the tests of this room: over a scripted socket, and over a real one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from mcpgate.net.accepting import EagerServer
from mcpgate.net.reactor import LeanEPollReactor
from mcpgate.net.turns import Turns


@contextlib.contextmanager
def real_reactor() -> Iterator[LeanEPollReactor]:
    """A reactor of the test's own; the test may give it another poller. What it watches at the end is lost."""
    reactor = LeanEPollReactor()
    poller = reactor._poller
    yield reactor
    watched = reactor.removeAll()
    reactor._poller = poller
    for descriptor in watched:
        descriptor.connectionLost(Failure(ConnectionDone()))
    reactor.iterate(0)
    reactor.waker.connectionLost(None)
    poller.close()


class WatchList(Turns, Clock):
    """A reactor that only notes who wants to read and write; the test decides what is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.writers: set[object] = set()
        self.addReader = self.readers.add
        self.addWriter = self.writers.add
        self.removeReader = self.readers.discard
        self.removeWriter = self.writers.discard

    def release(self, descriptor: object) -> None:
        self.readers.discard(descriptor)
        self.writers.discard(descriptor)

    def advance(self, amount: float) -> None:
        super().advance(amount)
        self.end_turn()


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

    def gettimeout(self) -> float:
        return 0.0

    def setblocking(self, flag: bool) -> None: ...

    def setsockopt(self, *option: object) -> None: ...

    def detach(self) -> int:
        return -1

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
