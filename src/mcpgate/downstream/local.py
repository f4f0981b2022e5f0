"""
The gateway's own addresses, answered by a Klein tree behind the same pipeline.

A `twisted.web` Request is run on a small channel of ours (as twisted's own HTTP/2 streams do), with the head already
checked and the body bounded by the route. Klein refuses nothing that the pipeline would not have refused before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote_to_bytes

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.server import Request, Site

from mcpgate.errors import BadTarget, GatewayError
from mcpgate.exchange import Answer, Downstream, Ended, Exchange
from mcpgate.wire import headers
from mcpgate.wire.http1 import carries_body

if TYPE_CHECKING:
    from mcpgate.pipeline import Pipeline

#: Not for our own answers: the framing is the door's, and nobody needs to know what we are made of.
_DROPPED = frozenset({b"server", b"content-length", b"connection", b"transfer-encoding"})
#: Of own answers the door must know which go on until somebody leaves: on those it watches for that.
_EVENT_STREAM = b"text/event-stream"
#: What such a stream is called in records: it is none of MCP's.
_TRANSPORT = "other"


class LocalSite:
    """Answers exchanges with a resource tree; see `mcpgate.pipeline.LocalTarget`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def answer(self, exchange: Exchange, port: Downstream, outcome: Pipeline) -> None:
        if not _is_utf8(exchange.head.path):
            raise BadTarget("the path is not UTF-8")
        LocalExchange(exchange, port, outcome, self._site).begin()


def _is_utf8(path: bytes) -> bool:
    """Whether a path stays UTF-8 once decoded; Klein raises on others."""
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class LocalRequest(Request):
    """
    A `twisted.web` request that knows its exchange.

    :ivar refuse: answers with an error of ours, in the form of the listener; the route then returns nothing.
    :ivar on_failure: told of an exception, inside the ``except`` block.
    """

    exchange: Exchange
    refuse: Callable[[GatewayError], None]
    on_failure: Callable[[str], None]

    def processingFailed(self, reason: Failure) -> None:
        """A route raised: our own fault, told in our own form."""
        try:
            reason.raiseException()
        except Exception:
            self.on_failure(f"an own address failed: {self.path!r}")
        self.refuse(GatewayError())


class LocalExchange:
    """One exchange as a `twisted.web` channel on one side, and as the sink of its request on the other."""

    #: What `twisted.web` looks for on a channel.
    factory = None

    def __init__(self, exchange: Exchange, port: Downstream, outcome: Pipeline, site: Site) -> None:
        self.site = site
        self.transport = self
        self._exchange = exchange
        self._port = port
        self._outcome = outcome
        self._producer: IPushProducer | None = None
        self._pulls = False
        self._paused = False
        self._answer: Answer | None = None
        self._early = b""
        self._sent = False
        self._over = False
        self._request = LocalRequest(cast(HTTPChannel, self))
        self._request.exchange = exchange
        self._request.refuse = self._refuse
        self._request.on_failure = outcome.parts.on_failure

    def begin(self) -> None:
        """Hand the head to the request, then the body as it comes."""
        head, request = self._exchange.head, self._request
        for name, value in headers.fields(head.block):
            request.requestHeaders.addRawHeader(name, value)
        for name in (b"host", b"authorization", b"origin"):
            if name in head.noted:
                request.requestHeaders.setRawHeaders(name, [head.noted[name]])
        request.gotLength(len(self._exchange.body))
        self._port.attach(self)
        if self._exchange.body_is_here:
            self._exchange.bytes_in = len(self._exchange.body)
            if self._exchange.body:
                request.handleContentChunk(self._exchange.body)
            self.end_body()
        else:
            self._port.read_body()

    # --- the sink -----------------------------------------------------------------------------------------------

    def take_body(self, data: bytes) -> None:
        self._exchange.bytes_in += len(data)
        self._request.handleContentChunk(data)

    def end_body(self) -> None:
        # HTTP/2 as the version keeps twisted.web from framing the body: that is done by the door.
        self._request.requestReceived(self._exchange.head.method, self._exchange.head.target, b"HTTP/2")

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        if self._over:
            return
        self._over = True
        self._request.connectionLost(Failure(ConnectionLost()))
        if error is not None and self._answer is None:
            self._outcome.refuse(self._exchange, self._port, error)
        else:
            self._outcome.record(self._exchange, ended)

    def pause_answer(self) -> None:
        self._paused = True
        if self._producer is not None and not self._pulls:
            self._producer.pauseProducing()

    def resume_answer(self) -> None:
        self._paused = False
        if self._pulls:
            self._pull()
        elif self._producer is not None:
            self._producer.resumeProducing()

    def take_tunnel(self, data: bytes) -> None:
        """There are no tunnels to our own addresses."""

    # --- the channel, as twisted.web calls it -------------------------------------------------------------------

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, fields: Headers) -> None:
        if self._over:
            return
        block = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, values in fields.getAllRawHeaders()
            if name.lower() not in _DROPPED
            for value in values
        )
        block += self._exchange.cors
        length = fields.getRawHeaders(b"content-length")
        status = int(code)
        self._exchange.status = status
        has_body = carries_body(self._exchange.head.method == b"HEAD", status)
        is_stream = fields.getRawHeaders(b"content-type") == [_EVENT_STREAM]
        self._answer = Answer(status, reason, block, int(length[0]) if length else None, has_body, is_stream)

    def write(self, data: bytes) -> None:
        self.writeSequence([data])

    def writeSequence(self, iovec: list[bytes]) -> None:
        data = b"".join(iovec)
        if self._over or self._answer is None or not data:
            return
        self._exchange.bytes_out += len(data)
        if self._producer is None and self._answer.length is not None:
            self._early += data  # a short answer leaves in one write, with its head
            return
        self._start()
        self._port.write(data)

    def _start(self, ended: bool = False) -> None:
        """Send the head, once, with what has been written so far."""
        if self._answer is not None and not self._sent:
            self._sent = True
            early, self._early = self._early, b""
            if self._answer.is_stream and not ended:
                self._exchange.transport = _TRANSPORT
                self._outcome.open_stream(self._exchange)
            self._port.start(self._answer, early, ended)

    def requestDone(self, request: Request) -> None:
        if self._over:
            return
        self._over = True
        self._outcome.record(self._exchange, Ended.UPSTREAM_END if self._exchange.transport else Ended.COMPLETE)
        if self._sent:
            self._port.finish()
        else:
            self._start(ended=True)

    def _refuse(self, error: GatewayError) -> None:
        if not self._over and not self._sent:
            self._over = True
            self._outcome.refuse(self._exchange, self._port, error)

    def loseConnection(self) -> None:
        """What twisted.web does when it gives up on an answer: cut it."""
        if not self._over:
            self._over = True
            self._port.abort()
            self._outcome.record(self._exchange, Ended.UPSTREAM_LOST)

    abortConnection = loseConnection

    def getPeer(self) -> IAddress:
        return IPv4Address("TCP", self._exchange.peer.address.decode("ascii"), 0)

    def getHost(self) -> IAddress:
        return IPv4Address("TCP", "127.0.0.1", 0)

    def isSecure(self) -> bool:
        return self._exchange.peer.scheme == b"https"

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        self._producer = producer
        self._pulls = not streaming
        self._start()
        self._pull()

    def unregisterProducer(self) -> None:
        self._producer = None

    def _pull(self) -> None:
        """A pull producer writes once each time it is asked: ask while the client takes it, in a loop."""
        while self._pulls and self._producer is not None and not self._paused:
            written = self._exchange.bytes_out
            self._producer.resumeProducing()
            if self._exchange.bytes_out == written:
                return

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.loseConnection()
