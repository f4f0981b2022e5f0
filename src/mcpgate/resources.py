"""
What clients are told of the servers as OAuth protected resources (RFC 9728), at each address where they look for it.

For servers whose tokens the gateway checks it is written here; a server that does its own OAuth is asked, and what it
says is published under the gateway's address. Only its replica is asked, whatever address it names itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
#: How long a server's document is kept; clients ask for it when they connect, and it changes with the configuration.
_KEPT_S = 10.0
_MOST_KEPT = 256
#: How long it is believed that there is none: the server may only be away.
_MISSED_S = 1.0


class Resources:
    """
    The documents of all resources.

    :param now: monotonic seconds.
    """

    def __init__(self, fetcher: Fetcher, now: Callable[[], float]) -> None:
        self._fetcher = fetcher
        self._now = now
        self._kept: dict[str, _Kept] = {}

    def document(self, exchange: Exchange, snapshot: Snapshot) -> Deferred[bytes | None]:
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
            return self._of_upstream(route.server, resource, exchange.head.target, _text(origin + resource))
        if route.terms.auth is Auth.REQUIRED and issuers:
            return succeed(_own(route, route.server, origin, issuers))
        return succeed(None)

    def _of_upstream(
        self, server: Server, resource: bytes, target: bytes, public: str
    ) -> Deferred[bytes | None]:
        """What a server says, asked once in `_KEPT_S` however many want to know: this needs no token."""
        index = server.next_index()
        if index is None:
            return succeed(None)  # nobody is there who could say it
        placement = server.placements[index]
        paths = placement.paths
        named = metadata.named_target(target, paths.own_target)
        key = f"{public} {named} {placement.tag.hex()}"
        kept = self._kept.get(key)
        if kept is None or self._now() >= kept.until_s:
            kept = self._keep(key)
            candidates = named + metadata.upstream_candidates(paths.base, [paths.to_upstream(resource), resource])
            _first(self._fetcher, placement, candidates[:_MOST_TRIES], public).addCallback(kept.take)
        return kept.wait()

    def _keep(self, key: str) -> _Kept:
        if len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        kept = self._kept[key] = _Kept(self._now() + _KEPT_S)
        return kept


class _Kept:
    """A document that is kept for a while, or will be when it has come; and who waits for it."""

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self._waiting: list[Deferred[bytes | None]] | None = []
        self._found: bytes | None = None

    def wait(self) -> Deferred[bytes | None]:
        if self._waiting is None:
            return succeed(self._found)
        waiting: Deferred[bytes | None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def take(self, found: bytes | None) -> None:
        self._found = found
        if found is None:
            self.until_s -= _KEPT_S - _MISSED_S
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            each.callback(found)


def _own(route: Route, server: Server, origin: bytes, issuers: Sequence[str]) -> bytes:
    """One resource for all of a server's endpoints: clients want its path to be a prefix of theirs."""
    scopes = route.terms.scopes.union(*(needed for _, needed in route.terms.tool_scopes))
    settings = server.settings
    return metadata.document(_text(origin) + settings.path, issuers, sorted(scopes), settings.title or settings.name)


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

    replica = placement.replica
    resolver = replica.environment.resolver_for(replica.port)
    asked: Deferred[bytes | None] = fetcher.fetch(url, tls=replica.tls, resolver=resolver).addCallback(take)
    return asked.addErrback(fail)


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")
