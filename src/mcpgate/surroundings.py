"""What the process lends to a gateway: its clocks, randomness, files and sockets, so that a test can lend its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcpgate.accesslog import AccessLog
from mcpgate.policy.authn import Grant
from mcpgate.settings import Settings
from mcpgate.upstream.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process lends to a gateway."""

    reactor: Any  # IReactorTCP and IReactorTime; zope has no way to say both
    resolver: Resolver
    now: Callable[[], float]
    new_id: Callable[[], str]
    access_log: AccessLog | None
    rundir: str
    admin_tokens: tuple[tuple[str, Grant], ...]
    max_connections: int
    load: Callable[[], Settings]
    #: Seconds since 1970, for what expires by the calendar.
    wall: Callable[[], float]
    #: The secret that session ids are sealed with if the configuration names none; asked for only if it is needed.
    session_secret: Callable[[], str]
    #: From 0 to 1, to spread what would come at once.
    random: Callable[[], float]
    #: Told, as the log is, of every exception that is our own fault, inside the ``except`` block.
    on_failure: Callable[[object], None] | None = None
