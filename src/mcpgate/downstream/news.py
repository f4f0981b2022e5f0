"""What changes of the servers, told to clients as it happens: ``/mcp/discovery/events``."""

from __future__ import annotations

from typing import NamedTuple, cast

import msgspec

from mcpgate.catalog.listing import describe
from mcpgate.downstream.broadcast import Broadcast, Timing
from mcpgate.downstream.discovery import Entry, Told
from mcpgate.downstream.ring import Event
from mcpgate.exchange import Exchange
from mcpgate.forwarding import public_origin
from mcpgate.policy.access import Auth
from mcpgate.policy.authn import Grant

EVENTS = b"/mcp/discovery/events"


class _View(NamedTuple):
    """By which name a reader came in, and what it may see: the names of servers, or ``None`` without a token."""

    origin: str
    servers: frozenset[str] | None


def discovery_events(told: Told) -> Broadcast:
    """The feed: ``added``, ``removed``, ``changed`` and ``status``, each with the server as the list shows it."""

    def view_of(exchange: Exchange) -> _View:
        scheme, host = public_origin(exchange)
        origin = told.public_url() or (f"{scheme.decode('latin-1')}://{host.decode('latin-1')}" if host else "")
        grant = exchange.grant
        return _View(origin, grant.servers if isinstance(grant, Grant) else None)

    return Broadcast(
        view_of,
        lambda event, view: _text(event, cast(_View, view)),
        Timing(told.call_later, told.now),
        index=told.index,
        keep_alive_s=lambda: told.settings().keep_alive,
        max_subscribers=lambda: told.settings().max_subscribers,
    )


def _text(event: Event, view: _View) -> bytes | None:
    entry = cast(Entry, event.subject)
    if entry.terms.auth is Auth.REQUIRED:
        grant = None if view.servers is None else Grant("", frozenset(), view.servers)
        if not entry.is_for(grant):
            return None
    return msgspec.json.encode(describe(entry.settings, entry.status, view.origin))
