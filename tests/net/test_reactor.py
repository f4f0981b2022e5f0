from __future__ import annotations

import datetime
import errno
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.net.lines import turn_until
from twisted.internet import tcp, unix
from twisted.internet.endpoints import clientFromString, serverFromString, wrapClientTLS, wrapServerTLS
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IReactorFDSet,
    IReactorSSL,
    IReactorTCP,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate, optionsForClientTLS
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from mcpgate.net.accepting import EagerPort, EagerServer
from mcpgate.net.dialing import EagerClient
from mcpgate.net.reactor import LeanEPollReactor


class Talker(Protocol):
    """Notes what it hears; what a test wants to happen on arrival it passes in."""

    def __init__(self, on_data: Callable[[Talker, bytes], object] = lambda talker, data: None) -> None:
        self.on_data = on_data
        self.received = bytearray()
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.on_data(self, data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost = reason


def echo(talker: Talker, data: bytes) -> None:
    assert talker.transport is not None
    talker.transport.write(data)


class Descriptor:
    """Something the reactor watches by number, without a socket behind it."""

    def __init__(self, number: int, on_read: Callable[[], object] = lambda: None) -> None:
        self.number = number
        self.on_read = on_read
        self.calls: list[str] = []
        self.lost: list[type[BaseException]] = []

    def fileno(self) -> int:
        return self.number

    def logPrefix(self) -> str:
        return "descriptor"

    def doRead(self) -> object:
        self.calls.append("read")
        return self.on_read()

    def doWrite(self) -> None:
        self.calls.append("write")

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason.type)


class Poller:
    """An epoll object that reports what the test says."""

    def __init__(self, *batches: list[tuple[int, int]] | OSError) -> None:
        self.batches = list(batches)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        batch = self.batches.pop(0)
        if isinstance(batch, OSError):
            raise batch
        return batch

    def register(self, number: int, flags: int) -> None: ...

    def modify(self, number: int, flags: int) -> None: ...

    def unregister(self, number: int) -> None: ...


@pytest.fixture
def logged() -> Iterator[list[Failure]]:
    """The failures that were logged."""
    failures: list[Failure] = []

    def observe(event: LogEvent) -> None:
        failure = event.get("failure") if event.get("isError") else event.get("log_failure")
        if failure is not None:
            failures.append(failure)

    globalLogPublisher.addObserver(observe)
    yield failures
    globalLogPublisher.removeObserver(observe)


def factory_of(*talkers: Protocol) -> Factory:
    waiting = list(talkers)
    factory = Factory.forProtocol(lambda: waiting.pop(0))
    factory.noisy = False
    return factory


def result_of(reactor: LeanEPollReactor, deferred: Any) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    turn_until(reactor, lambda: results)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def watch(reactor: LeanEPollReactor, *descriptors: Descriptor) -> None:
    for descriptor in descriptors:
        reactor.addReader(descriptor)


def test_busy_connections_hold_up_neither_timers_nor_threads(reactor: LeanEPollReactor) -> None:
    """Turns that only read are short; what is due, and what a thread asks for, is done in between all the same."""
    one, other = socket.socketpair()
    other.send(b"x")
    done: list[str] = []

    def finish() -> None:
        done.append("thread")
        reactor.stop()

    def ask_from_thread() -> None:
        done.append("timer")
        reactor.callInThread(reactor.callFromThread, finish)

    busy = Descriptor(one.fileno(), lambda: reactor.stop() if len(busy.calls) == 200_000 else None)
    reactor.addReader(busy)
    reactor.callLater(0.01, ask_from_thread)
    reactor.callLater(86_400 * 60, finish)  # so far away that epoll cannot count it
    reactor.run(installSignalHandlers=False)
    assert done == ["timer", "thread"]
    assert len(busy.calls) > 2
    one.close()
    other.close()


def test_a_failing_turn_is_logged_and_the_next_one_comes(reactor: LeanEPollReactor, logged: list[Failure]) -> None:
    """The loop goes on until it is told to stop."""
    poller = reactor._poller
    reactor._poller = Poller(OSError(errno.EBADF, "bad"), OSError(errno.EBADF, "bad"), [])

    def stop() -> None:
        reactor._poller = poller
        reactor.stop()

    reactor.callWhenRunning(reactor.callLater, 0, reactor.callLater, 0, stop)
    reactor.run(installSignalHandlers=False)
    assert [failure.type for failure in logged] == [OSError]


# How events are dispatched, with a scripted epoll object.


def test_readable_descriptors_are_read(reactor: LeanEPollReactor) -> None:
    """Bytes that arrive are read."""
    reactor._poller = Poller([(901, select.EPOLLIN), (902, select.EPOLLIN)])
    one, two = Descriptor(901), Descriptor(902)
    watch(reactor, one, two)
    reactor.iterate(0)
    assert (one.calls, two.calls) == (["read"], ["read"])
    assert one.lost == two.lost == []


def test_what_epoll_does_not_take_is_read_all_the_same(reactor: LeanEPollReactor, tmp_path: Path) -> None:
    """A file is always readable; Twisted polls it by itself."""
    with (tmp_path / "file").open("wb") as file:
        reader = Descriptor(file.fileno())
        reactor.addReader(reader)
        turn_until(reactor, lambda: reader.calls)
        reactor.removeReader(reader)
    assert reader not in reactor.getReaders()


def test_who_is_watched_twice_is_read_once(reactor: LeanEPollReactor) -> None:
    """And whoever waits for room is read, too."""
    near, far = socket.socketpair()
    with near, far:
        reader = Descriptor(near.fileno())
        reactor.addWriter(reader)
        reactor.addReader(reader)
        reactor.addReader(reader)
        reactor.removeWriter(reader)
        far.send(b"x")
        turn_until(reactor, lambda: reader.calls)
        assert reactor.getReaders().count(reader) == 1
        reactor.removeReader(reader)


def test_what_an_earlier_event_removed_is_skipped(reactor: LeanEPollReactor, logged: list[Failure]) -> None:
    """A connection that was closed by another one in the same turn hears nothing more."""
    reactor._poller = Poller([(901, select.EPOLLIN), (902, select.EPOLLIN)])
    two = Descriptor(902)
    one = Descriptor(901, lambda: reactor.removeReader(two))
    watch(reactor, one, two)
    reactor.iterate(0)
    assert (one.calls, two.calls) == (["read"], [])
    assert logged == []


def test_an_exception_costs_its_own_connection_only(
    reactor: LeanEPollReactor, logged: list[Failure]
) -> None:
    """One broken protocol is closed and logged; the next one in the same turn is served."""
    reactor._poller = Poller([(901, select.EPOLLIN), (902, select.EPOLLIN)])
    one, two = Descriptor(901, lambda: 1 // 0), Descriptor(902)
    watch(reactor, one, two)
    reactor.iterate(0)
    assert one.lost == [ZeroDivisionError]
    assert [failure.type for failure in logged] == [ZeroDivisionError]
    assert one not in reactor.getReaders()
    assert (two.calls, two.lost) == (["read"], [])


def test_an_exception_on_losing_a_connection_is_logged(
    reactor: LeanEPollReactor, logged: list[Failure]
) -> None:
    """A protocol that fails while it is told of its end does not disturb the others."""

    class Fragile(Descriptor):
        def connectionLost(self, reason: Failure) -> None:
            raise RuntimeError("cannot let go")

    reactor._poller = Poller([(901, select.EPOLLIN), (902, select.EPOLLIN)])
    one, two = Fragile(901, lambda: ConnectionLost()), Descriptor(902)
    watch(reactor, one, two)
    reactor.iterate(0)
    assert [str(failure.value) for failure in logged] == ["cannot let go"]
    assert two.calls == ["read"]


def test_a_half_close_is_told_apart_from_an_exception(
    reactor: LeanEPollReactor, logged: list[Failure]
) -> None:
    """Only the peer's own end counts as a half close; an exception ends the connection, whatever its type."""

    @implementer(IHalfCloseableDescriptor)
    class HalfCloseable(Descriptor):
        def readConnectionLost(self, reason: Failure) -> None:
            self.calls.append("half close")

    def fail() -> None:
        raise ConnectionDone

    reactor._poller = Poller([(901, select.EPOLLIN), (902, select.EPOLLIN)])
    one, two = HalfCloseable(901, ConnectionDone), HalfCloseable(902, fail)
    watch(reactor, one, two)
    reactor.iterate(0)
    assert (one.calls, one.lost) == (["read", "half close"], [])
    assert (two.calls, two.lost) == (["read"], [ConnectionDone])
    assert [failure.type for failure in logged] == [ConnectionDone]


def test_an_interrupted_wait_is_harmless(reactor: LeanEPollReactor) -> None:
    """A signal that interrupts the wait is not an error."""
    reactor._poller = Poller(InterruptedError(errno.EINTR, "signal"))
    reactor.iterate(0)


def test_any_other_failure_to_wait_is_loud(reactor: LeanEPollReactor) -> None:
    """A broken epoll object is not waited on for ever in silence."""
    reactor._poller = Poller(OSError(errno.EBADF, "closed"))
    with pytest.raises(OSError, match="closed"):
        reactor.iterate(0)


@pytest.mark.parametrize(
    ("event", "calls", "lost"),
    [
        (select.EPOLLOUT, ["write"], []),
        (select.EPOLLIN | select.EPOLLOUT, ["read", "write"], []),
        (select.EPOLLIN | select.EPOLLHUP, ["read"], []),
        (select.EPOLLHUP, [], [ConnectionDone]),
        (select.EPOLLERR, [], [ConnectionDone]),
    ],
)
def test_other_events_mean_what_they_always_meant(
    reactor: LeanEPollReactor, event: int, calls: list[str], lost: list[type[BaseException]]
) -> None:
    """Room to write, a hang-up and an error are treated as in the reactor this one is made from."""
    reactor._poller = Poller([(901, event)])
    descriptor = Descriptor(901)
    watch(reactor, descriptor)
    reactor.iterate(0)
    assert (descriptor.calls, descriptor.lost) == (calls, lost)


@pytest.mark.parametrize("why", [ConnectionDone(), ConnectionLost()])
def test_a_read_that_ends_the_connection_tells_why(reactor: LeanEPollReactor, why: Exception) -> None:
    """The protocol learns whether its peer closed or broke the connection."""
    reactor._poller = Poller([(901, select.EPOLLIN)])
    descriptor = Descriptor(901, lambda: why)
    watch(reactor, descriptor)
    reactor.iterate(0)
    assert descriptor.lost == [type(why)]
    assert descriptor not in reactor.getReaders()


# The whole, over loopback.


def test_echo_over_endpoints(reactor: LeanEPollReactor) -> None:
    """Endpoint strings make connections that write at once, and close in order at both ends."""
    server, client = Talker(echo), Talker()
    listening = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
    port = result_of(reactor, listening.listen(factory_of(server)))
    address = f"tcp:127.0.0.1:{port.getHost().port}"
    result_of(reactor, clientFromString(reactor, address).connect(factory_of(client)))
    assert isinstance(client.transport, EagerClient)
    client.transport.write(b"event")
    turn_until(reactor, lambda: client.received == b"event")
    assert isinstance(server.transport, EagerServer)
    client.transport.loseConnection()
    turn_until(reactor, lambda: client.lost and server.lost)
    assert server.lost is not None
    assert server.lost.check(ConnectionDone)


def test_a_peer_that_half_closes_is_still_answered(reactor: LeanEPollReactor) -> None:
    """A client may close its sending side after the request and read the answer to its end."""

    @implementer(IHalfCloseableProtocol)
    class Answerer(Talker):
        def readConnectionLost(self) -> None:
            assert self.transport is not None
            self.transport.write(b"answer to " + bytes(self.received))
            self.transport.loseConnection()

        def writeConnectionLost(self) -> None: ...

    server = Answerer()
    port = reactor.listenTCP(0, factory_of(server), interface="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port.getHost().port), timeout=1) as peer:
        peer.sendall(b"request")
        peer.shutdown(socket.SHUT_WR)
        turn_until(reactor, lambda: server.lost)
        assert peer.recv(100) == b"answer to request"


def test_a_refused_connection_is_reported(reactor: LeanEPollReactor) -> None:
    """A server that is down gives an error, not a hang."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Exception, match="refused"):
            result_of(reactor, clientFromString(reactor, address).connect(factory_of(Talker())))


def test_timers_and_threads_reach_the_reactor(reactor: LeanEPollReactor) -> None:
    """Timed calls run, and a call from a thread wakes the reactor."""
    ran: list[str] = []
    reactor.callLater(0, ran.append, "timer")
    reactor.callFromThread(ran.append, "thread")
    turn_until(reactor, lambda: len(ran) == 2)
    assert sorted(ran) == ["thread", "timer"]


def test_adopted_sockets_write_at_once(reactor: LeanEPollReactor) -> None:
    """A listening socket or a connection handed over by another process is as fast as our own."""
    adopted, accepted = Talker(), Talker()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, factory_of(accepted))
    assert isinstance(port, EagerPort)
    with socket.create_connection(("127.0.0.1", port.getHost().port), timeout=1) as ours:
        ours.setblocking(False)
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_INET, factory_of(adopted))
        turn_until(reactor, lambda: accepted.transport)
    assert isinstance(accepted.transport, EagerServer)
    assert isinstance(adopted.transport, EagerServer)
    adopted.transport.write(b"event")
    turn_until(reactor, lambda: accepted.received == b"event")


def test_unix_sockets_keep_their_own_transport(reactor: LeanEPollReactor, tmp_path: Path) -> None:
    """``unix:`` endpoints work as ever, adopted ones too."""
    with socket.socket(socket.AF_UNIX) as listening:
        address = str(tmp_path / "gate")
        listening.bind(address)
        listening.listen()
        listening.setblocking(False)
        server, client = Talker(echo), Talker()
        port = reactor.adoptStreamPort(listening.fileno(), socket.AF_UNIX, factory_of(server))
        result_of(reactor, clientFromString(reactor, f"unix:{address}").connect(factory_of(client)))
        assert isinstance(port, unix.Port)
        assert client.transport is not None
        client.transport.write(b"event")
        turn_until(reactor, lambda: client.received == b"event")
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            adopted = reactor.adoptStreamConnection(one.fileno(), socket.AF_UNIX, factory_of(Talker(echo)))
            assert isinstance(adopted, unix.Server)


@pytest.fixture(scope="module")
def certificate() -> PrivateCertificate:
    """A certificate for localhost that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return PrivateCertificate.loadPEM(signed.public_bytes(pem) + private)


# pyOpenSSL 26.4 deprecates how Twisted 26.10 hands it certificates and keys; as errors these end connections.
@pytest.mark.filterwarnings("ignore:.*(pyOpenSSL|X509):DeprecationWarning")
def test_tls_over_it(reactor: LeanEPollReactor, certificate: PrivateCertificate) -> None:
    """Verified TLS with a body larger than every buffer passes in both directions and closes in order."""
    server, client = Talker(echo), Talker()
    listening = wrapServerTLS(
        certificate.options(), serverFromString(reactor, "tcp:0:interface=127.0.0.1"), clock=reactor
    )
    port = result_of(reactor, listening.listen(factory_of(server)))
    trusted = optionsForClientTLS("localhost", trustRoot=certificate)
    connecting = wrapClientTLS(
        trusted, clientFromString(reactor, f"tcp:127.0.0.1:{port.getHost().port}"), clock=reactor
    )
    result_of(reactor, connecting.connect(factory_of(client)))
    body = bytes(range(256)) * 2000
    assert client.transport is not None
    client.transport.write(body)
    turn_until(reactor, lambda: len(client.received) >= len(body))
    assert client.received == body
    client.transport.loseConnection()
    turn_until(reactor, lambda: client.lost and server.lost)
    assert client.lost is not None
    assert client.lost.check(ConnectionDone)


def test_it_is_a_full_reactor(reactor: LeanEPollReactor) -> None:
    """What asks a reactor for its abilities finds all of them."""
    assert IReactorFDSet.providedBy(reactor)
    assert IReactorTCP.providedBy(reactor)
    assert IReactorSSL.providedBy(reactor)
    assert issubclass(EagerServer, tcp.Server)


# Installing is once per process, so these have a process of their own.


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_install_makes_it_the_reactor_of_the_process() -> None:
    """It is chosen if nothing else was, and never in place of something else."""
    said = run(
        "import sys\n"
        "from mcpgate.net.reactor import install\n"
        "print('twisted.internet.reactor' in sys.modules)\n"
        "print(install(), install())\n"
        "from twisted.internet import reactor\n"
        "print(type(reactor).__name__)\n"
    )
    assert said.split() == ["False", "True", "False", "LeanEPollReactor"]


def test_without_epoll_the_default_reactor_serves() -> None:
    """On a system without epoll importing and installing are harmless."""
    said = run(
        "import select, sys\n"
        "del select.epoll\n"
        "from mcpgate.net.reactor import install\n"
        "print(install())\n"
        "from twisted.internet import reactor\n"
        "reactor.callLater(0, reactor.stop)\n"
        "reactor.run()\n"
        "print('served')\n"
    )
    assert said.split() == ["False", "served"]
