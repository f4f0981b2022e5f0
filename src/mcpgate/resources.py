"""
What clients are told of the servers as OAuth protected resources (RFC 9728), at each address where they look for it.

For servers whose tokens the gateway checks it is written here; a server that does its own OAuth is asked, and what it
says is published under the gateway's address. Only its replica is asked, whatever address it names itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mcpgate.admission import own_origin
from mcpgate.exchange import Exchange
from mcpgate.policy.access import Auth
from mcpgate.snapshot import Route, Snapshot
from mcpgate.upstream.fetch import Fetched, Fetcher
from mcpgate.upstream.server import Placement, Server
from mcpgate.wire import metadata

_log = Logger()
#: A server that knows its prefix, one that does not, and one document for everything: more forms are not in use.
_MOST_TRIES = 4


def resource_document(exchange: Exchange, snapshot: Snapshot, fetcher: Fetcher) -> Deferred[bytes | None]:
    """The document that a request asks for; ``None`` if there is no such resource. Never fails."""
    path, origin = exchange.head.path, own_origin(exchange, snapshot.access)
    asked = metadata.resource_path(path)
    resource = path.partition(metadata.WELL_KNOWN)[0] if asked is None else asked
    issuers = snapshot.access.issuers
    if not resource.strip(b"/"):
        return succeed(metadata.document(_text(origin), issuers) if issuers else None)
    route = snapshot.routes.find(resource)
    if route is None or route.server is None:
        return succeed(None)
    if route.terms.auth is Auth.UPSTREAM:
        return _ask(fetcher, route.server, (resource, exchange.head.target), _text(origin + resource))
    if route.terms.auth is Auth.REQUIRED and issuers:
        return succeed(_own(route, route.server, origin, issuers))
    return succeed(None)


def _own(route: Route, server: Server, origin: bytes, issuers: Sequence[str]) -> bytes:
    """One resource for all of a server's endpoints: clients want its path to be a prefix of theirs."""
    scopes = route.terms.scopes.union(*(needed for _, needed in route.terms.tool_scopes))
    settings = server.settings
    return metadata.document(_text(origin) + settings.path, issuers, sorted(scopes), settings.title or settings.name)


def _ask(
    fetcher: Fetcher, server: Server, wanted: tuple[bytes, bytes], public: str
) -> Deferred[bytes | None]:
    """
    Ask one replica.

    :param wanted: the public path of the resource, and the target of the request for its document.
    """
    resource, target = wanted
    placement = server.placements[server.next_index()]
    paths = placement.paths
    named = metadata.named_target(target, paths.own_target)
    candidates = named + metadata.upstream_candidates(paths.base, [paths.to_upstream(resource), resource])
    return _first(fetcher, placement, candidates[:_MOST_TRIES], public)


def _first(fetcher: Fetcher, placement: Placement, candidates: list[bytes], public: str) -> Deferred[bytes | None]:
    """The first of these addresses that has a document."""
    if not candidates:
        return succeed(None)
    paths = placement.paths
    url = _text(paths.scheme + b"://" + paths.authority + candidates[0])

    def take(fetched: Fetched) -> bytes | Deferred[bytes | None]:
        try:
            if fetched.status == 200:
                return metadata.republished(fetched.body, public)
        except ValueError as error:
            _log.info("no protected resource metadata at {url}: {why}", url=url, why=error)
        return _first(fetcher, placement, candidates[1:], public)

    def fail(failure: Failure) -> None:
        _log.warn("no protected resource metadata from {url}: {why}", url=url, why=failure.getErrorMessage())

    asked: Deferred[bytes | None] = fetcher.fetch(url, tls=placement.replica.tls).addCallback(take)
    return asked.addErrback(fail)


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")
