"""What those who tell about a gateway (metrics, the status page) may look at: live state, read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mcpgate.metrics.tallies import Tallies
from mcpgate.recent import Recent
from mcpgate.upstream.ports import OpenExchange
from mcpgate.upstream.server import Server


class LimitCount(NamedTuple):
    """
    One limit of the configuration, and what it has decided.

    :ivar key: what it counts apart, as configured.
    :ivar allowance: as people write it (``20/s, 40 at once`` or ``50 streams``).
    """

    name: str
    key: tuple[str, ...]
    allowance: str
    admitted: int
    waited: int
    refused: int


class Connection(Protocol):
    """One connection of a client."""

    @property
    def state(self) -> str:
        """``idle``, ``exchange``, ``stream``, ``tunnel`` or ``closing``."""

    def unsent_bytes(self) -> int:
        """What was written and not taken yet."""


class ReloadState(NamedTuple):
    """
    How the last reading of the configuration went.

    :ivar success_at_s: when one was last taken over, in seconds since 1970.
    """

    successful: bool
    success_at_s: float


class Holdings(NamedTuple):
    """What waits inside the gateway: exchanges that are held, and bytes of their bodies."""

    exchanges: int
    body_bytes: int


class ListState(NamedTuple):
    """How reading a polled list went: whether the last time was good, and when it last was (since 1970; 0: never)."""

    name: str
    up: bool
    success_at_s: float


class Members(NamedTuple):
    """
    What joins at run time, and who is told of it.

    :ivar entries: by origin (``api``, ``list:NAME``) and state.
    :ivar held: leases that are over and kept, since too many would be over at once.
    :ivar subscribers: of discovery's events; ``cut`` those that did not read, ``events`` what was told.
    """

    entries: Mapping[tuple[str, str], int] = {}
    held: int = 0
    expired: int = 0
    is_writable: bool = True
    lists: tuple[ListState, ...] = ()
    subscribers: int = 0
    cut: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """
    A gateway as it is at the moment; every member is asked anew each time.

    :ivar servers: by name, in the order of the configuration; ``retired`` ones only finish what is open.
    :ivar connections: of clients, by listener (``data``, ``admin``).
    :ivar checks: what readiness depends on.
    :ivar dropped_lines: log lines that were not written, by log (``access``, ``event``) and cause.
    :ivar settle: counts what has gone through an open exchange since it was last settled.
    :ivar wall: seconds since 1970; ``now`` the clock that only goes forward.
    """

    tallies: Tallies
    recent: Recent
    servers: Callable[[], Mapping[str, Server]]
    retired: Callable[[], Collection[Server]]
    members: Callable[[], Members]
    connections: Callable[[], Mapping[str, Collection[Connection]]]
    max_connections: int
    holdings: Callable[[], Holdings]
    limits: Callable[[], list[LimitCount]]
    checks: Callable[[], Mapping[str, bool]]
    reload_state: Callable[[], ReloadState]
    dropped_lines: Callable[[], Mapping[tuple[str, str], int]]
    settle: Callable[[OpenExchange], None]
    wall: Callable[[], float]
    now: Callable[[], float]
    started_at_s: float
    version: str
