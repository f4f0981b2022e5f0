"""
What the gateway tells clients about its servers: the addresses of discovery on the data listener.

The documents themselves are made in ``catalog/``, and given out by the desk (``desk.py``); events are told by
``news.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest

from mcpgate.catalog import cards, listing, subregistry
from mcpgate.catalog.paging import fields_of
from mcpgate.downstream.desk import STEADY, Asked, Desk, View
from mcpgate.downstream.kept import send
from mcpgate.downstream.local import LocalRequest
from mcpgate.downstream.site import add_documents, tree
from mcpgate.errors import BadRequest
from mcpgate.exchange import Exchange
from mcpgate.pipeline import Cancellable
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.authn import Grant
from mcpgate.settings import ServerSettings
from mcpgate.settings.registry import DiscoverySettings

_READING = ("GET", "HEAD")
_REGISTRY = b"/v0.1"


@dataclass(frozen=True, slots=True)
class Entry:
    """One server as discovery tells it: nothing internal, no upstream address."""

    settings: ServerSettings
    status: str
    terms: Terms
    changed_at_s: float = 0.0

    def is_for(self, grant: Grant | None) -> bool:
        """Whether somebody may use it, as far as is known: a server's own tokens are the server's matter."""
        if self.terms.auth is not Auth.REQUIRED:
            return True
        return grant is not None and grant.admits_server(self.settings.name)


@dataclass(frozen=True, slots=True)
class Told:
    """
    What the tree tells, from the service that knows it.

    :ivar gateway: the id of this process; no other has it.
    :ivar catalog: asked once for each value of ``index``.
    :ivar index: grows with whatever changes in the catalog: servers, settings, terms, status.
    :ivar now: monotonic seconds.
    """

    gateway: str
    catalog: Callable[[], Sequence[Entry]]
    index: Callable[[], int]
    public_url: Callable[[], str | None]
    settings: Callable[[], DiscoverySettings]
    document: Callable[[Exchange], Deferred[bytes | None]]
    call_later: Callable[..., Cancellable]
    now: Callable[[], float]


def data_tree(told: Told) -> Klein:
    """What answers on the data listener."""
    app = tree()
    add_discovery(app, told)
    add_documents(app, told.document)
    return app


def add_discovery(app: Klein, told: Told) -> None:
    """Discovery in every form."""
    desk = Desk(told)

    @app.route("/mcp/discovery", methods=_READING)
    def discovery(request: IRequest) -> Deferred[bytes] | bytes:
        assert isinstance(request, LocalRequest)
        return _list(desk, request)

    @app.route("/.well-known/ai-catalog.json", methods=_READING)
    def ai_catalog(request: IRequest) -> Deferred[bytes] | bytes:
        assert isinstance(request, LocalRequest)
        asked = Asked(lambda view: cards.catalog(view.arrangement, view.admits), cards.CATALOG_TYPE, STEADY, "catalog")
        return desk.tell(request, asked) if _has_host(request, desk) else b""

    @app.route(f"/<path:resource>{cards.SUFFIX}", methods=_READING)
    def card(request: IRequest, resource: str) -> Deferred[bytes] | bytes:
        assert isinstance(request, LocalRequest)
        path = request.exchange.head.path.decode("latin-1")
        asked = Asked(lambda view: _one(cards.card_at(view.arrangement, path, view.admits)), cards.CARD_TYPE, STEADY)
        return desk.tell(request, asked) if _has_host(request, desk) else b""

    @app.route("/v0.1")
    @app.route("/v0.1/<path:rest>")
    def registry(request: IRequest, rest: str = "") -> Deferred[bytes] | bytes:
        assert isinstance(request, LocalRequest)
        return _registry(desk, request)


def _list(desk: Desk, request: LocalRequest) -> Deferred[bytes] | bytes:
    try:
        page = listing.Page(_fields(request))
    except ValueError as fault:
        request.refuse(BadRequest(str(fault)))
        return b""
    request.setHeader(b"x-mcpgate-index", b"%d" % desk.told.index())
    make = partial(_page_of, page)
    return desk.tell(request, Asked(make, kept_as="discovery" if page.is_whole else ""))


def _page_of(page: listing.Page, view: View) -> Iterator[bytes]:
    return listing.discovery(view.arrangement, page, view.admits)


def _fields(request: LocalRequest) -> dict[str, str]:
    return fields_of(request.exchange.head.target.partition(b"?")[2])


def _has_host(request: LocalRequest, desk: Desk) -> bool:
    """Registries and cards hold whole URLs: a client of HTTP/1.0 must say by which name it came."""
    if desk.reader(request.exchange).origin:
        return True
    request.refuse(BadRequest("the request has no Host"))
    return False


# --- the registry ---------------------------------------------------------------------------------------------------


def _registry(desk: Desk, request: LocalRequest) -> Deferred[bytes] | bytes:
    if request.method not in (b"GET", b"HEAD"):
        request.setHeader(b"allow", b"GET, HEAD")
        return _fault(request, 405, "this registry is read only; servers register at the gateway's admin listener")
    if not desk.reader(request.exchange).origin:
        return _fault(request, 400, "the request has no Host")
    try:
        make = _wanted(request, desk.reader(request.exchange).publisher.name)
    except ValueError as fault:
        return _fault(request, 400, str(fault))
    if make is None:
        return _fault(request, 404, "there is nothing at this address; try /v0.1/servers")
    return desk.tell(request, Asked(make, miss=_no_such_server))


def _no_such_server(request: LocalRequest) -> bytes:
    return _fault(request, 404, "there is no such server or version here")


def _wanted(request: LocalRequest, publisher: str) -> Callable[[View], Iterator[bytes]] | None:
    """
    What a path of the registry's asks for.

    The name of a server comes with its slash as ``%2F``, or as it is; so the path is split before it is decoded.

    :raises ValueError: a query that cannot be.
    """
    segments = request.exchange.head.path.removeprefix(_REGISTRY).decode("latin-1").split("/")[1:]
    if segments[:1] != ["servers"]:
        return None
    if segments == ["servers"]:
        query = subregistry.Query.read(_fields(request))
        return lambda view: subregistry.page(view.arrangement, query, view.admits)
    if segments[-1] == "versions":
        label = _label(segments[1:-1], publisher)
        return lambda view: _one(subregistry.versions(view.arrangement, label, view.admits))
    if segments[-2] == "versions":
        label, version = _label(segments[1:-2], publisher), unquote(segments[-1])
        return lambda view: _one(subregistry.version(view.arrangement, label, version, view.admits))
    return None


def _label(segments: list[str], publisher: str) -> str:
    """The name behind our own publisher's; empty, which is nobody's, behind another."""
    whose, _, label = unquote("/".join(segments)).partition("/")
    return label if whose == publisher else ""


def _one(document: bytes | None) -> Iterator[bytes]:
    """A document in one piece; nothing at all if there is none."""
    if document is not None:
        yield document


def _fault(request: LocalRequest, status: int, text: str) -> bytes:
    """An error in the form of the registry's OpenAPI."""
    request.setResponseCode(status)
    return send(request, b"application/json", msgspec.json.encode({"error": text}), b"no-store")
