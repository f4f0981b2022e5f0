"""
Small documents of other parties: key sets, lists, metadata. Bounded in every direction, since what comes is hostile.

No redirects (they would lead where the configuration does not), no proxies, no cookies, no compression (a kilobyte that
unpacks to a gigabyte), one deadline for everything, and no more bytes than the bound. Names go to the gateway's own
`Resolver`; what is dialled is the address, what is asked for and verified is the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hyperlink import EncodedURL
from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from treq.client import HTTPClient
from treq.content import content
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from mcpgate.upstream.guarded import GuardedResolver
from mcpgate.upstream.resolver import Resolver

#: A key set of a hundred RSA keys with their certificates has 300 KiB.
MAX_BYTES = 1 << 20
#: Beside the body: head, chunk sizes.
_FRAMING_BYTES = 64 * 1024
#: For name, connection, handshake and the whole answer.
DEADLINE_S = 5.0
#: Errors whose text may be told; those of a parser quote what they were given.
_TOLD: Final = (OSError, ConnectError, ConnectionClosed, TLSError, VerificationError)


#: RFC 9110 section 8.8.3, visible ASCII only; what is longer than a digest with some words is not worth keeping.
_ETAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')
_NO_FIELDS: Final[Mapping[str, str]] = {}

_TlsTo = Callable[[str], IOpenSSLClientConnectionCreator]


class FetchFailed(Exception):
    """There is no document; the text says why, and holds nothing of what was received but its status."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    An answer with any status but 1xx; what of its headers mattered has been checked.

    :ivar etag: by which it can be asked for again; empty if it has none.
    """

    status: int
    body: bytes
    etag: str = ""


class Fetcher:
    """
    Fetches documents, each on a connection of its own.

    :param reactor: ``IReactorTCP`` and ``IReactorTime``.
    :param trust: whose certificates are good (``trustRootFromCertificates``); ``None``: those that the system trusts.
    :param max_bytes: of a body.
    :param deadline_s: from asking to the last byte.
    """

    def __init__(
        self,
        reactor: Any,  # zope has no way to say both interfaces
        resolver: Resolver,
        trust: Any = None,  # IOpenSSLTrustRoot, which Twisted does not export
        *,
        max_bytes: int = MAX_BYTES,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._trust = trust
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s

    def fetch(
        self,
        url: str,
        *,
        accept: bytes = b"application/json",
        tls: IOpenSSLClientConnectionCreator | None = None,
        fields: Mapping[str, str] = _NO_FIELDS,
        etag: str = "",
        resolver: Resolver | GuardedResolver | None = None,
    ) -> Deferred[Fetched]:
        """
        Get a document.

        Fails with ``FetchFailed``, whatever happens. Cancelling closes the connection at once, and fails likewise.

        :param url: ``http`` or ``https``; the latter is verified.
        :param tls: how to speak TLS there, if not as to everybody.
        :param fields: further header fields, such as credentials; they go to this URL only and are told to nobody.
        :param resolver: who looks names up there, if not who does for everybody.
        :param etag: of the document that is here already: if it is still the same, the status is 304, with no body.
        """
        tls_to = self._verified if tls is None else lambda host: tls
        most = self._max_bytes + _FRAMING_BYTES
        line = _Line(self._reactor, resolver or self._resolver, tls_to, most, self._deadline_s)
        client = HTTPClient(_PlainAgent(Agent.usingEndpointFactory(self._reactor, line)))
        got: Deferred[Any] = maybeDeferred(self._ask, client, url, _asked_with(accept, fields, etag))
        got.addCallback(self._read)
        got.addTimeout(self._deadline_s, self._reactor, self._give_up)
        return got.addBoth(line.close).addErrback(self._explain, line)

    def _verified(self, host: str) -> IOpenSSLClientConnectionCreator:
        return optionsForClientTLS(host, trustRoot=self._trust)

    def _ask(self, client: HTTPClient, url: str, headers: Headers) -> Deferred[Any]:
        return client.get(
            _Address.from_text(url), headers=headers, allow_redirects=False, unbuffered=True, reactor=self._reactor
        )

    def _read(self, response: IResponse) -> Deferred[Fetched]:
        return content(response).addCallback(self._bounded, response)

    def _bounded(self, body: bytes, response: IResponse) -> Fetched:
        if len(body) > self._max_bytes:
            raise FetchFailed(self._too_long())
        return Fetched(response.code, body, _etag_of(response))

    def _too_long(self) -> str:
        return f"longer than {self._max_bytes} bytes"

    def _give_up(self, cancelled: object, deadline_s: float) -> Failure:
        return Failure(FetchFailed(f"no answer within {deadline_s:g} s"))

    def _explain(self, failure: Failure, line: _Line) -> Failure:
        """What anybody raised, as a reason."""
        if failure.check(FetchFailed):
            return failure
        return Failure(FetchFailed(self._too_long() if line.is_overrun else _innermost(failure)))


def _asked_with(accept: bytes, fields: Mapping[str, str], etag: str) -> Headers:
    headers = Headers({name: [value] for name, value in fields.items()})
    headers.setRawHeaders(b"Accept", [accept])
    if etag:
        headers.setRawHeaders(b"If-None-Match", [etag.encode("ascii")])
    return headers


def _etag_of(response: IResponse) -> str:
    """Of several, none: they say nothing."""
    written = [each.decode("latin-1") for each in response.headers.getRawHeaders(b"ETag", [])]
    return written[0] if len(written) == 1 and _ETAG.fullmatch(written[0]) else ""


def _innermost(failure: Failure) -> str:
    """The text of a failure, or of the first of those that it wraps (as a ``ResponseFailed`` does)."""
    wrapped: list[Failure] = getattr(failure.value, "reasons", [])
    if wrapped:
        return _innermost(wrapped[0])
    name = type(failure.value).__name__
    return f"{name}: {failure.getErrorMessage()}" if failure.check(*_TOLD) else name


class _Address(EncodedURL):
    """A URL that treq takes, too, if its host is an IPv6 address: hyperlink would encode that like a name, and fail."""

    def to_uri(self) -> EncodedURL:
        return self if ":" in self.host else super().to_uri()


@implementer(IAgent)
class _PlainAgent:
    """Asks for documents as they are: treq would have them compressed, and unpack what comes without a bound."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        asked = headers.copy() if headers is not None else Headers()
        asked.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, asked, bodyProducer).addCallback(self._check)

    def _check(self, response: IResponse) -> IResponse:
        encodings = response.headers.getRawHeaders(b"Content-Encoding", [])
        if any(encoding.strip().lower() != b"identity" for encoding in encodings):
            raise FetchFailed("compressed, though not asked for")
        return response


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Line:
    """
    The way to one document: where it leads, the connection, and how many bytes have come.

    :ivar is_overrun: more came than may come, so that it was cut.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: Resolver | GuardedResolver,
        tls_to: _TlsTo,
        max_bytes: int,
        deadline_s: float,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._tls_to = tls_to
        self._left_bytes = max_bytes
        self._deadline_s = deadline_s
        self._uri: URI | None = None
        self._wire: _Wire | None = None
        self.is_overrun = False

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        if uri.scheme not in (b"http", b"https") or not uri.host or not 0 < uri.port < 1 << 16:
            raise FetchFailed("no address of http or https")
        self._uri = uri
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._dial(_Wires(protocolFactory, self)))

    async def _dial(self, factory: IProtocolFactory) -> IProtocol:
        """The addresses in turn; a silent one must leave time for the next."""
        assert self._uri is not None
        host = self._uri.host.decode("ascii")
        addresses = await self._resolver.resolve(host)
        failed: ConnectError | None = None
        for address, endpoint in zip(addresses, self._endpoints(self._uri, addresses), strict=True):
            self._resolver.ensure_allowed(host, address)
            try:
                return _wrapped(await endpoint.connect(factory))
            except ConnectError as error:
                failed = error
        assert failed is not None  # there was an address
        raise failed

    def _endpoints(self, uri: URI, addresses: list[str]) -> list[IStreamClientEndpoint]:
        share_s = self._deadline_s / len(addresses)
        # In spite of its name it takes addresses of both kinds.
        endpoints = [TCP4ClientEndpoint(self._reactor, address, uri.port, share_s) for address in addresses]
        if uri.scheme == b"http":
            return list(endpoints)
        options = self._tls_to(uri.host.decode("ascii"))
        return [wrapClientTLS(options, endpoint, self._reactor) for endpoint in endpoints]

    def opened(self, wire: _Wire) -> None:
        """The connection is there."""
        self._wire = wire

    def admits(self, count: int) -> bool:
        """Whether so many bytes more may come."""
        self._left_bytes -= count
        self.is_overrun = self._left_bytes < 0
        return not self.is_overrun

    def close(self, result: Any) -> Any:
        """Whatever has happened, nobody listens any more."""
        if self._wire is not None:
            self._wire.abort()
        return result


class _Wire(ProtocolWrapper):
    """Counts what comes, heads and chunk sizes too: Twisted has no bound for the number of header lines."""

    factory: _Wires

    def makeConnection(self, transport: Any) -> None:
        self.factory.line.opened(self)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        if self.factory.line.admits(len(data)):
            super().dataReceived(data)
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection, and wait for nobody."""
        self.abortConnection()


def _wrapped(wire: IProtocol) -> IProtocol:
    """What the agent has made, which is what it expects to get."""
    assert isinstance(wire, _Wire)
    return wire.wrappedProtocol


class _Wires(WrappingFactory[_Wire]):
    protocol = _Wire
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, line: _Line) -> None:
        super().__init__(wrapped)
        self.line = line
