"""What the process lends to a gateway: its clocks, randomness, files and sockets, so that a test can lend its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcpgate.policy.authn import Grant
from mcpgate.recorder import AccessLog, SpanSink
from mcpgate.registry.store import Store
from mcpgate.settings import LoggingSettings, Settings
from mcpgate.upstream.resolver import Resolver


class Logs(Protocol):
    """The event log, as far as a gateway has a say in it."""

    def dropped_lines(self) -> Mapping[tuple[str, str], int]:
        """Lines that were not written, by log (``access``, ``event``) and cause (``sink``, ``flood``)."""

    def levels(self) -> dict[str, Any]:
        """``level``, and ``levels`` by module."""

    def set_levels(self, wanted: dict[str, Any]) -> list[str]:
        """Take some of them, ``None`` for the usual one; gives back what is wrong, and then changes nothing."""

    def follow(self, settings: LoggingSettings) -> None:
        """Take the levels of the configuration."""


class NoLogs:
    """Of a gateway inside somebody else's program: that one's log is its own matter."""

    def dropped_lines(self) -> Mapping[tuple[str, str], int]:
        return {}

    def levels(self) -> dict[str, Any]:
        return {}

    def set_levels(self, wanted: dict[str, Any]) -> list[str]:
        return ["this gateway has no event log of its own"]

    def follow(self, settings: LoggingSettings) -> None:
        """There is nothing to set."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process lends to a gateway."""

    reactor: Any  # IReactorTCP and IReactorTime; zope has no way to say both
    resolver: Resolver
    now: Callable[[], float]
    new_id: Callable[[], bytes]
    access_log: AccessLog | None
    rundir: str
    admin_tokens: tuple[tuple[str, Grant], ...]
    max_connections: int
    load: Callable[[], Settings]
    #: Seconds since 1970, for what expires by the calendar.
    wall: Callable[[], float]
    #: The secret that session ids are sealed with if the configuration names none; asked for only if it is needed.
    session_secret: Callable[[], str]
    #: For dialling where registrants are, with threads of its own: a silent name server of theirs holds up nobody of
    #: the configuration.
    strangers: Resolver
    #: For names that are just being registered, with threads of its own again: whoever invents names holds up none that
    #: was taken before.
    newcomers: Resolver
    #: Where registrations are kept, by the setting that says it.
    open_store: Callable[[str], Store]
    #: From 0 to 1, to spread what would come at once.
    random: Callable[[], float]
    #: So many random bits; ids of traces are made of them.
    random_bits: Callable[[int], int]
    #: What is written of events, beside requests.
    logs: Logs
    #: Where spans go; ``None`` if none are exported.
    spans: SpanSink | None = None
    #: The interpreter's list of whom to tell of collections (`gc.callbacks`), or another that nobody reads.
    gc_callbacks: list[Callable[..., object]] = field(default_factory=list)
    #: Told, as the log is, of every exception that is our own fault, inside the ``except`` block.
    on_failure: Callable[[object], None] | None = None
