"""Documents of other parties: fetched whole, or refused with a reason, and never more than asked for."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

import gzip
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from tests.process.certificates import Authority
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, DefaultOpenSSLContextFactory, trustRootFromCertificates
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mcpgate.net.memory import MemoryTransport
from mcpgate.policy.egress import Egress
from mcpgate.upstream.fetch import Fetched, Fetcher, FetchFailed
from mcpgate.upstream.guarded import GuardedResolver
from mcpgate.upstream.resolver import Resolver

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class World:
    """A fetcher, and the network that a test plays."""

    def __init__(self, **options: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.found: Callable[[str], Deferred[list[str]]] = lambda host: succeed(["192.0.2.1", "2001:db8::1"])
        self.asked: list[str] = []
        self.fetcher = Fetcher(self.reactor, Resolver(self._look_up, self.reactor.seconds), **options)
        self.fetches: list[Deferred[Fetched]] = []
        self.transports: list[MemoryTransport] = []
        self.results: list[Any] = []

    def _look_up(self, host: str) -> Deferred[list[str]]:
        self.asked.append(host)
        return self.found(host)

    def fetch(self, url: str = "http://as.example/jwks?x=1", **options: Any) -> None:
        self.fetches.append(self.fetcher.fetch(url, **options))
        self.fetches[-1].addBoth(self.results.append)

    @property
    def dialled(self) -> list[tuple[str, int]]:
        return [(host, port) for host, port, *_ in self.reactor.tcpClients]

    def accept(self) -> MemoryTransport:
        """The newest attempt to connect succeeds."""
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        assert protocol is not None
        transport = MemoryTransport(protocol, 80)
        protocol.makeConnection(transport)
        self.transports.append(transport)
        return transport

    def refuse(self) -> None:
        """It fails."""
        self.reactor.tcpClients[-1][2].clientConnectionFailed(cast(Any, None), Failure(ConnectionRefusedError()))

    @property
    def reason(self) -> str:
        """Why the only fetch has failed."""
        (failure,) = self.results
        assert isinstance(failure, Failure)
        assert failure.check(FetchFailed)
        return str(failure.value)


def _close(transport: MemoryTransport) -> None:
    """The far end closes, if nobody has, and this end is told."""
    transport.take_end()
    transport.deliver_loss()


# --- in memory ----------------------------------------------------------------------------------------------------


def test_a_document_is_asked_for_by_name_at_its_address() -> None:
    """Without cookies, compression or anything else that is not needed."""
    world = World()
    world.fetch("http://as.example:8080/a%2fb;c?x=1&y", accept=b"application/jwk-set+json")
    assert (world.asked, world.dialled) == (["as.example"], [("192.0.2.1", 8080)])
    transport = world.accept()
    line, *fields = transport.delivered.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert line == b"GET /a%2fb;c?x=1&y HTTP/1.1"
    assert sorted(fields) == [
        b"Accept-Encoding: identity",
        b"Accept: application/jwk-set+json",
        b"Connection: close",
        b"Host: as.example:8080",
    ]
    transport.take_data(GOOD)
    assert world.results == [Fetched(200, b"{}")]
    assert transport.closed is not None


def test_further_fields_go_along() -> None:
    """Such as a token; once."""
    world = World()
    world.fetch(fields={"X-Api-Key": "k3y", "Authorization": "Bearer t0ken"})
    asked = world.accept().delivered
    assert asked.count(b"Bearer") == 1
    assert b"Authorization: Bearer t0ken\r\n" in asked
    assert b"X-Api-Key: k3y\r\n" in asked


def test_a_document_that_is_here_already_need_not_come_again() -> None:
    """It is asked for by its tag."""
    world = World()
    world.fetch(etag='W/"7"')
    transport = world.accept()
    assert transport.delivered.count(b'If-None-Match: W/"7"\r\n') == 1
    transport.take_data(b'HTTP/1.1 304 Not Modified\r\nETag: W/"7"\r\n\r\n')
    assert world.results == [Fetched(304, b"", 'W/"7"')]


@pytest.mark.parametrize(
    ("lines", "etag"),
    [
        (b'ETag: "a-b"\r\n', '"a-b"'),
        (b'etag: W/"~!"\r\n', 'W/"~!"'),
        (b"", ""),
        (b"ETag: a\r\n", ""),
        (b'ETag: "a" \x00\r\n', ""),
        (b'ETag: "a b"\r\n', ""),
        (b'ETag: "\xe4"\r\n', ""),
        (b'ETag: w/"a"\r\n', ""),
        (b'ETag: "%b"\r\n' % (b"x" * 300), ""),
        (b'ETag: "a"\r\nETag: "b"\r\n', ""),
    ],
)
def test_the_tag_of_a_document_is_told(lines: bytes, etag: str) -> None:
    """If it is one; another document with a strange tag is a document without."""
    world = World()
    world.fetch()
    assert b"If-None-Match" not in world.accept().delivered
    world.transports[-1].take_data(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\n\r\n{}")
    assert world.results == [Fetched(200, b"{}", etag)]


def test_an_address_in_the_url_needs_no_look_up() -> None:
    """Neither of kind 4 nor 6."""
    world = World()
    world.fetch("http://127.0.0.1/")
    world.fetch("http://[::1]:81/")
    assert (world.asked, world.dialled) == ([], [("127.0.0.1", 80), ("::1", 81)])
    assert b"Host: [::1]:81\r\n" in world.accept().delivered


def test_all_addresses_of_a_name_are_tried() -> None:
    """Each has its share of the time; what the last one says is told."""
    world = World(deadline_s=4.0)
    world.fetch()
    world.refuse()
    assert world.dialled == [("192.0.2.1", 80), ("2001:db8::1", 80)]
    assert [timeout for *_, timeout, _ in world.reactor.tcpClients] == [2.0, 2.0]
    world.refuse()
    assert world.reason.startswith("ConnectionRefusedError: ")


def test_a_name_without_an_address_is_told() -> None:
    """As the system puts it."""
    world = World()
    looking: Deferred[list[str]] = Deferred()
    world.found = lambda host: looking
    world.fetch()
    looking.errback(OSError("no such name"))
    assert world.reason == "OSError: no such name"


def _silent(world: World) -> None:
    world.found = lambda host: Deferred()
    world.fetch()


def _unconnected(world: World) -> None:
    world.fetch()


def _unanswered(world: World) -> None:
    world.fetch()
    world.accept()


def _half_a_head(world: World) -> None:
    world.fetch()
    world.accept().take_data(GOOD[:20])


def _half_a_body(world: World) -> None:
    world.fetch()
    world.accept().take_data(GOOD[:-1])


_STAGES = [_silent, _unconnected, _unanswered, _half_a_head, _half_a_body]


@pytest.mark.parametrize("stage", _STAGES)
def test_one_deadline_counts_for_everything(stage: Callable[[World], None]) -> None:
    """And leaves no timer behind."""
    world = World(deadline_s=5.0)
    stage(world)
    world.reactor.advance(4.9)
    assert world.results == []
    world.reactor.advance(0.2)
    assert world.reason == "no answer within 5 s"
    assert {transport.closed for transport in world.transports} <= {"reset"}
    assert world.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("stage", _STAGES)
def test_a_fetch_that_is_called_off_ends_at_once(stage: Callable[[World], None]) -> None:
    """Its connection too, whatever it was doing."""
    world = World()
    stage(world)
    world.fetches[0].cancel()
    assert world.reason
    assert {transport.closed for transport in world.transports} <= {"reset"}
    assert world.reactor.getDelayedCalls() == []


def test_slow_bytes_do_not_move_the_deadline() -> None:
    """It counts from the beginning."""
    world = World(deadline_s=5.0)
    world.fetch()
    transport = world.accept()
    transport.take_data(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(5):
        world.reactor.advance(1.0)
        transport.take_data(b"x")
    assert world.reason == "no answer within 5 s"
    assert transport.closed == "reset"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n12345678901",
        b"HTTP/1.1 200 OK\r\n\r\n12345678901",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 11\r\n\r\n12345678901",
    ],
)
def test_a_body_has_a_bound(answer: bytes) -> None:
    """However it ends; of any status."""
    world = World(max_bytes=10)
    world.fetch()
    transport = world.accept()
    transport.take_data(answer)
    _close(transport)
    assert world.reason == "longer than 10 bytes"
    world = World(max_bytes=11)
    world.fetch()
    transport = world.accept()
    transport.take_data(answer)
    _close(transport)
    assert world.results[0].body == b"12345678901"


@pytest.mark.parametrize(
    "endless",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-A: b\r\n", b" folded\r\n", b"1;" + b"x" * 60 + b"\r\nx\r\n", b"x" * 64],
)
def test_what_never_ends_is_cut(endless: bytes, failures: list[str]) -> None:
    """Heads, interim answers, chunk extensions: nothing of another party grows here without a bound."""
    world = World(max_bytes=1000)
    world.fetch()
    transport = world.accept()
    if not endless.startswith(b"HTTP"):
        transport.take_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + b"\r\n" * endless.startswith(b"1;"))
    sent = 0
    while transport.closed is None:
        transport.take_data(endless * 64)
        sent += len(endless) * 64
        assert sent < 200_000
    transport.deliver_loss()
    assert world.reason
    assert failures == []


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"GZIP", b"identity, gzip", b"x"])
def test_a_compressed_answer_is_refused(encoding: bytes) -> None:
    """A kilobyte could become a gigabyte."""
    world = World()
    world.fetch()
    body = gzip.compress(b"{}")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
    transport = world.accept()
    transport.take_data(head + body)
    assert world.reason == "compressed, though not asked for"
    assert transport.closed is not None


@pytest.mark.parametrize("status", [204, 301, 302, 303, 304, 307, 308, 400, 401, 404, 429, 500, 503])
def test_every_status_is_told(status: int) -> None:
    """A redirect is not followed, and nobody logs in anywhere."""
    world = World()
    world.fetch()
    head = b"HTTP/1.1 %d X\r\nLocation: http://169.254.169.254/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n" % status
    world.accept().take_data(head)
    assert world.results == [Fetched(status, b"")]
    assert len(world.dialled) == 1
    world.fetch()
    assert b"cookie" not in world.accept().delivered.lower()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", b"secret-of-somebody\r\n\r\n", b"HTTP/1.1 2x0 secret\r\n\r\n", b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n"],
)
def test_a_broken_answer_is_a_failure_that_quotes_nothing(answer: bytes, failures: list[str]) -> None:
    """Reasons are logged."""
    world = World()
    world.fetch()
    transport = world.accept()
    transport.take_data(answer)
    _close(transport)
    assert world.reason
    assert "secret" not in world.reason
    assert failures == []


@pytest.mark.parametrize("url", ["ftp://as.example/", "file:///etc/passwd", "as.example", "", "http://", "http:///a", "http://[::1", "http://a:b/", "http://a:0/", "http://a:99999/", "x://a"])
def test_a_url_that_leads_nowhere_is_a_failure(url: str) -> None:
    """And no exception: it may come from another party's document."""
    world = World()
    world.fetch(url)
    assert world.reason
    assert (world.asked, world.dialled) == ([], [])


def test_a_name_in_letters_of_its_own_is_looked_up_as_dns_has_it() -> None:
    """And asked for likewise."""
    world = World()
    world.fetch("http://bücher.example/")
    assert world.asked == ["xn--bcher-kva.example"]
    assert b"Host: xn--bcher-kva.example\r\n" in world.accept().delivered


# --- on real sockets ----------------------------------------------------------------------------------------------


class Answering(Protocol):
    """A connection of a `Parrot`."""

    factory: Parrot

    def dataReceived(self, data: bytes) -> None:
        self.factory.requests.append(data)
        for piece in self.factory.pieces:
            self.transport.write(piece)  # type: ignore[union-attr]
        if self.factory.closes:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.lost += 1


def test_a_rule_that_has_changed_holds_for_the_next_address() -> None:
    """Of somebody else's name, while the first one is silent."""
    world = World()
    rules = [Egress([ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")]), Egress([ip_network("192.0.2.0/24")])]
    resolver = GuardedResolver(Resolver(world._look_up, world.reactor.seconds), lambda: rules[0], 80)
    world.fetch(resolver=resolver)
    del rules[0]
    world.refuse()
    assert world.dialled == [("192.0.2.1", 80)]
    assert world.reason == "AddressRefused: 2001:db8::1 is in none of the networks of registry.allow_networks"


class Parrot(Factory[Answering]):
    """A server that sends the same to everybody who asks."""

    protocol = Answering
    noisy = False

    def __init__(self, pieces: tuple[bytes, ...], closes: bool) -> None:
        self.pieces = pieces
        self.closes = closes
        self.requests: list[bytes] = []
        self.lost = 0


class OnSockets(TestCase):
    """The same against a server on the loopback interface, and TLS."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        """For certificates."""
        self._folder = tmp_path

    def _serve(self, *pieces: bytes, closes: bool = True, tls: Any = None) -> int:
        self.server = Parrot(pieces, closes)
        reactor: Any = real_reactor
        if tls is None:
            self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        else:
            self.port = reactor.listenSSL(0, self.server, tls, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        number: int = self.port.getHost().port
        return number

    def _fetch(self, url: str, **options: Any) -> Deferred[Fetched]:
        resolver = Resolver(lambda host: succeed(["127.0.0.1"]), lambda: 0.0)
        return Fetcher(real_reactor, resolver, **options).fetch(url)

    async def _reason(self, url: str, **options: Any) -> str:
        with pytest.raises(FetchFailed) as failed:
            await self._fetch(url, **options)
        return str(failed.value)

    async def test_a_document_arrives(self) -> None:
        """In pieces, with or without a length."""
        for pieces in ([GOOD], [GOOD[:30], GOOD[30:]], [b"HTTP/1.1 200 OK\r\n\r\n{}"]):
            port = self._serve(*pieces)
            assert await self._fetch(f"http://as.example:{port}/jwks") == Fetched(200, b"{}")
            assert b"Host: as.example:%d\r\n" % port in self.server.requests[0]

    async def test_a_redirect_is_not_followed(self) -> None:
        """The status is told, nobody else is asked."""
        port = self._serve(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")
        assert (await self._fetch(f"http://127.0.0.1:{port}/")).status == 302
        assert len(self.server.requests) == 1

    async def test_a_missing_document_is_a_status(self) -> None:
        """With its body, if somebody wants it."""
        port = self._serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx")
        assert await self._fetch(f"http://127.0.0.1:{port}/") == Fetched(404, b"x")

    async def test_too_long_a_document_is_cut(self) -> None:
        """Before it is all here."""
        port = self._serve(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (4 << 20))
        assert await self._reason(f"http://127.0.0.1:{port}/") == f"longer than {1 << 20} bytes"

    async def test_a_slow_server_meets_the_deadline(self) -> None:
        """And its connection is closed."""
        port = self._serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", closes=False)
        assert await self._reason(f"http://127.0.0.1:{port}/", deadline_s=0.1) == "no answer within 0.1 s"
        while not self.server.lost:
            await _turn()

    async def test_a_refused_connection_is_told(self) -> None:
        """As the system puts it."""
        port = self._serve(b"")
        await self.port.stopListening()
        assert (await self._reason(f"http://127.0.0.1:{port}/")).startswith("ConnectionRefusedError")

    async def test_a_compressed_document_is_refused(self) -> None:
        """Even a good one."""
        body = gzip.compress(b"{}")
        port = self._serve(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert await self._reason(f"http://127.0.0.1:{port}/") == "compressed, though not asked for"

    async def test_https_is_verified(self) -> None:
        """By the name in the URL, against the authorities that are given, or those of the system."""
        ours, theirs = Authority(self._folder, "ours"), Authority(self._folder, "theirs")
        certificate, key = ours.sign("as", "as.example")
        options = DefaultOpenSSLContextFactory(str(key), str(certificate))
        port = self._serve(GOOD, tls=options)
        trust, wrong = (
            trustRootFromCertificates([Certificate.loadPEM(each.file.read_bytes())]) for each in (ours, theirs)
        )
        assert await self._fetch(f"https://as.example:{port}/", trust=trust) == Fetched(200, b"{}")
        assert self.server.requests[0].startswith(b"GET / HTTP/1.1\r\n")
        self.server.requests.clear()
        assert "certificate verify failed" in await self._reason(f"https://as.example:{port}/", trust=wrong)
        assert "certificate verify failed" in await self._reason(f"https://as.example:{port}/")
        assert "VerificationError" in await self._reason(f"https://other.example:{port}/", trust=trust)
        assert self.server.requests == []


def _turn() -> Deferred[None]:
    """A turn of the reactor."""
    turned: Deferred[None] = Deferred()
    reactor: Any = real_reactor
    reactor.callLater(0, turned.callback, None)
    return turned
