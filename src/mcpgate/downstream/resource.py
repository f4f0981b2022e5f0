"""
The Klein door: a `twisted.web` resource that streams exchanges through the pipeline.

For HTTP/2 and for embedding the gateway in somebody's own ``Site``. In a foreign ``Site`` the request body is what
twisted.web has buffered, checked against our bound; everything after it is as at the fast door. Upgrades are not
possible here: twisted.web has consumed the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from mcpgate.downstream.listener import peer_at
from mcpgate.errors import GatewayError
from mcpgate.exchange import Answer, Ended, Exchange, Pipe, RequestSink
from mcpgate.pipeline import Pipeline
from mcpgate.wire import headers
from mcpgate.wire.chunks import ChunkReader
from mcpgate.wire.headers import Network
from mcpgate.wire.http1 import RequestHead, request_of


class ProxyResource(Resource):
    """
    Everything below it goes through the pipeline.

    :param pipeline: called for each request; it routes by the whole path, wherever the resource hangs.
    :param largest_body: tells the largest body any route admits, in bytes: more than that is not even looked at.
    """

    isLeaf = True

    def __init__(
        self,
        pipeline: Pipeline,
        trusted_proxies: tuple[Network, ...],
        now: Callable[[], float],
        largest_body: Callable[[], int],
    ) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._trusted = trusted_proxies
        self._now = now
        self._largest_body = largest_body

    def render(self, request: IRequest) -> int:
        """Begin the exchange; its answer is written to the request when it comes."""
        assert isinstance(request, Request)
        port = WebPort(request)
        peer = peer_at(request.getClientAddress(), request.isSecure(), self._trusted)
        try:
            head = _head_of(request)
        except GatewayError as error:
            head = RequestHead(request.method, request.uri, True, b"", {}, keep_alive=False)
            self._pipeline.refuse(port.carry(Exchange(head, peer, self._now())), port, error)
            return NOT_DONE_YET
        exchange = port.carry(Exchange(head, peer, self._now()))
        content = request.content
        assert content is not None
        if (head.content_length or 0) <= self._largest_body():
            exchange.body = content.read()
        exchange.body_is_here = True
        self._pipeline.run(exchange, port)  # what is longer than its route admits, it refuses by its length
        return NOT_DONE_YET


def _head_of(request: Request) -> RequestHead:
    """The request's head, through the same checks; its body is whole, so it gets a length."""
    items = [
        (name, value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        if name.lower() not in (b"transfer-encoding", b"content-length", b"upgrade")
        for value in values
    ]
    head = request_of(request.method, request.uri, request.clientproto != b"HTTP/1.0", items)
    assert request.content is not None
    length = request.content.seek(0, 2)
    request.content.seek(0)
    if length or request.requestHeaders.hasHeader(b"content-length"):
        head.content_length = length
        head.has_body = length > 0
    return head


@implementer(IPushProducer)
class WebPort:
    """`mcpgate.exchange.Downstream` on a `twisted.web` request."""

    forwards_chunks = False

    def __init__(self, request: Request) -> None:
        self._request = request
        self._exchange: Exchange | None = None
        self._sink: RequestSink | None = None
        self._over = False
        request.defaultContentType = None  # an answer without a type stays without one
        request.notifyFinish().addErrback(self._gone)

    def carry(self, exchange: Exchange) -> Exchange:
        """Note which exchange this is."""
        self._exchange = exchange
        return exchange

    def _gone(self, reason: Failure) -> None:
        self._over = True
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.lose_client(Ended.CLIENT_GONE, None)

    def attach(self, sink: RequestSink) -> None:
        self._sink = sink

    def read_body(self) -> None:
        """Never asked for: the body came whole."""

    def pause_body(self) -> None:
        """Likewise."""

    def resume_body(self) -> None:
        """Likewise."""

    def inform(self, answer: Answer) -> None:
        """twisted.web cannot send interim answers."""

    def start(self, answer: Answer, body: bytes = b"", ended: bool = False) -> None:
        request = self._request
        if self._over:
            return
        request.setResponseCode(answer.status)
        request.code_message = answer.phrase
        for name in (b"server", b"date", b"content-type"):
            request.responseHeaders.removeHeader(name)
        for name, value in headers.fields(answer.block):
            request.responseHeaders.addRawHeader(name, value)
        if self._exchange is not None:
            request.setHeader(b"x-request-id", self._exchange.request_id)
        if answer.length is not None and answer.status != 204:
            request.setHeader(b"content-length", b"%d" % answer.length)
        if answer.closes:
            request.setHeader(b"connection", b"close")
        if not ended:
            request.registerProducer(self, True)
        request.write(body)  # an empty write sends the head
        if ended:
            self._finish()

    def write(self, data: bytes) -> None:
        if not self._over:
            self._request.write(data)

    def pipe_from(self, reader: ChunkReader) -> Pipe:
        raise AssertionError("forwards_chunks is false")

    def finish(self) -> None:
        if not self._over:
            self._request.unregisterProducer()
            self._finish()

    def _finish(self) -> None:
        self._over = True
        self._sink = None
        self._request.finish()

    def abort(self) -> None:
        """Cut the connection (or the HTTP/2 stream), so that the answer looks unfinished."""
        self._sink = None
        if not self._over:
            self._over = True
            self._request.unregisterProducer()
            if self._request.clientproto == b"HTTP/1.0":
                cast(ITCPTransport, self._request.channel.transport).abortConnection()  # all that looks unfinished
            else:
                self._request.loseConnection()

    def open_tunnel(self, answer: Answer, first: bytes) -> None:
        raise AssertionError("no upgrade is asked for through this door")

    def pauseProducing(self) -> None:
        if self._sink is not None:
            self._sink.pause_answer()

    def resumeProducing(self) -> None:
        if self._sink is not None:
            self._sink.resume_answer()

    def stopProducing(self) -> None:
        """The errback of `notifyFinish` does the work."""
