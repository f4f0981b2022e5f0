"""
A reverse proxy as one would write it in an afternoon with Klein and treq, following their manuals.

Answers are passed on while they come. Nothing is done about a client that leaves or that reads more slowly than the
upstream sends, and twisted.web reads a request to its end before anybody is asked about it.
``python klein_treq_proxy.py PORT PATH UPSTREAM``
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import treq
from klein import Klein
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http import Request
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IRequest
from twisted.web.server import Site

_HOUR_S = 3600
# Of one connection, not of the message (RFC 9110 section 7.6.1).
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade"})
# What the Agent writes itself.
_OF_THE_AGENT = (b"host", b"content-length")


class Proxy:
    """Passes all below a path on to one upstream."""

    app = Klein()

    def __init__(self, path: str, upstream: str, client: treq.client.HTTPClient) -> None:
        self._path = path
        self._upstream = upstream
        self._client = client

    @app.route("/", branch=True)
    @inlineCallbacks
    def relay(self, request: IRequest) -> Generator[Deferred[Any], Any, None]:
        """Ask the upstream the same, and pass on what it answers."""
        headers = _passed(request.requestHeaders)
        for name in _OF_THE_AGENT:
            headers.removeHeader(name)
        headers.addRawHeader(b"X-Forwarded-For", request.getClientAddress().host.encode())
        method, target = request.method.decode(), request.uri.decode()
        url = self._upstream + target.removeprefix(self._path)
        body = request.content.read() or None
        response = yield self._client.request(method, url, headers=headers, data=body, unbuffered=True)
        request.setResponseCode(response.code)
        for name, values in _passed(response.headers).getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        if response.length != UNKNOWN_LENGTH:
            request.setHeader(b"Content-Length", b"%d" % response.length)
        yield treq.collect(response, request.write)


def _passed(headers: Headers) -> Headers:
    return Headers({name: values for name, values in headers.getAllRawHeaders() if name.lower() not in _HOP_BY_HOP})


class _Site(Site):
    """Without an access log."""

    def log(self, request: Request) -> None:
        """Write nothing."""


def serve(reactor: Any, port: str, path: str, upstream: str) -> Deferred[None]:
    """Serve until the process is ended."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 64
    pool.cachedConnectionTimeout = _HOUR_S
    client = treq.client.HTTPClient(Agent(reactor, pool=pool))
    site = _Site(Proxy(path, upstream, client).app.resource(), timeout=_HOUR_S)
    serverFromString(reactor, f"tcp:{port}:backlog=4096:interface=127.0.0.1").listen(site)
    return Deferred()


if __name__ == "__main__":
    react(serve, sys.argv[1:])
