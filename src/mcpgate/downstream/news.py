"""What changes of the servers, told to clients as it happens: ``/mcp/discovery/events``."""

from __future__ import annotations

from functools import partial
from typing import cast

import msgspec

from mcpgate.catalog.listing import describe
from mcpgate.downstream.broadcast import Broadcast, Timing
from mcpgate.downstream.desk import Reader, reader_of
from mcpgate.downstream.discovery import Entry, Told
from mcpgate.downstream.ring import Event

EVENTS = b"/mcp/discovery/events"


def discovery_events(told: Told) -> Broadcast:
    """The feed: ``added``, ``removed``, ``changed`` and ``status``, each with the server as the list shows it."""
    return Broadcast(
        partial(reader_of, told),
        lambda event, view: _text(event, cast(Reader, view)),
        Timing(told.call_later, told.now),
        index=told.index,
        keep_alive_s=lambda: told.settings().keep_alive,
        max_subscribers=lambda: told.settings().max_subscribers,
    )


def _text(event: Event, reader: Reader) -> bytes | None:
    entry = cast(Entry, event.subject)
    if not reader.may_see(entry):
        return None
    return msgspec.json.encode(describe(entry.settings, entry.status, reader.origin))
