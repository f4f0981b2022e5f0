"""
What every tree of the gateway's own addresses is made of, and the addresses of OAuth metadata.

A route only translates; what it tells comes in as callables from ``service.py``. Importing this module imports Klein,
which installs a reactor: so nothing imports it before ``tap.py`` has chosen one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Site
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from mcpgate.downstream.local import LocalRequest, LocalSite
from mcpgate.errors import GatewayError, MethodRefused, RouteNotFound
from mcpgate.exchange import Exchange
from mcpgate.wire.metadata import WELL_KNOWN

Json = dict[str, Any]

_WELL_KNOWN = WELL_KNOWN.decode("ascii")


def add_documents(app: Klein, document: Callable[[Exchange], Deferred[bytes | None]]) -> None:
    """Where clients look for OAuth protected resources (RFC 9728 section 3); ``document`` finds what they ask for."""

    @app.route(_WELL_KNOWN, methods=["GET", "HEAD"])
    @app.route(f"{_WELL_KNOWN}/<path:resource>", methods=["GET", "HEAD"])
    @app.route(f"/<path:resource>{_WELL_KNOWN}", methods=["GET", "HEAD"])
    def found(request: IRequest, resource: str = "") -> Deferred[bytes]:
        assert isinstance(request, LocalRequest)
        return document(request.exchange).addCallback(partial(_document, request))


def _document(request: LocalRequest, found: bytes | None) -> bytes:
    """RFC 9728 section 3.2: it may be kept for a while, and says nothing that is not for everybody."""
    if found is None:
        request.refuse(RouteNotFound("there is no OAuth protected resource at this path"))
        return b""
    return reply(request, b"application/json", found)


def site_of(app: Klein, reactor: IReactorTime) -> LocalSite:
    """A tree as the pipeline's local target."""
    resource: IResource = app.resource()
    return LocalSite(Site(resource, reactor=reactor, parsePOSTFormSubmission=False))


def tree() -> Klein:
    """A tree without addresses; what it does not have is refused in our form."""
    app = Klein()
    # Klein would redirect `//` to `/`: two spellings of one address, of which only one was routed.
    app.url_map.merge_slashes = False

    @app.handle_errors(HTTPException)
    def refuse(request: IRequest, failure: Failure) -> bytes:
        """What Klein refuses (a method, a path below an own address) has the form of our other refusals."""
        assert isinstance(request, LocalRequest)
        error: GatewayError = RouteNotFound()
        if isinstance(failure.value, MethodNotAllowed):
            error = MethodRefused()
            error.allow = ", ".join(sorted(failure.value.valid_methods or ()))
        request.refuse(error)
        return b""

    return app


def reply_json(request: IRequest, told: Json) -> bytes:
    """An answer for programs."""
    return reply(request, b"application/json", msgspec.json.encode(told))


def reply_text(request: IRequest, text: str) -> bytes:
    """An answer for people."""
    return reply(request, b"text/plain; charset=utf-8", text.encode("utf-8"))


def reply(request: IRequest, media_type: bytes, body: bytes) -> bytes:
    """An answer in one piece that nobody keeps: sets its head, gives back the body."""
    request.setHeader(b"content-type", media_type)
    request.setHeader(b"content-length", b"%d" % len(body))
    request.setHeader(b"cache-control", b"no-store")
    return body
