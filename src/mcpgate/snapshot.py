"""
What a reload swaps at once, and what a decision under it looks like.

A `Snapshot` never changes; whoever holds one sees one consistent set of rules. A `Decision` is kept on the head it was
made for, and is worth nothing under another snapshot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mcpgate.exchange import Answer, Era
from mcpgate.plan import Plan
from mcpgate.policy.access import OPEN_TO_ALL, Terms
from mcpgate.policy.addressgate import AddressGate
from mcpgate.policy.authn import NOBODY_KNOWN, Authenticator, Grant, TokenTable
from mcpgate.policy.origin import AllowedOrigins
from mcpgate.policy.ratelimit import Limiter, Toll
from mcpgate.policy.routing import RouteTable
from mcpgate.policy.sessions import Seal
from mcpgate.upstream.server import Server
from mcpgate.wire.calls import Call
from mcpgate.wire.headers import Network


@dataclass(frozen=True, slots=True)
class Route:
    """
    What a path stands for: a server, or (``server`` is ``None``) an address of the gateway itself.

    ``scope`` is what an operator's token must hold, ``writing`` what it must hold for other methods than GET and HEAD;
    empty if none is needed. ``seals`` says whether the session ids of
    the server are bound to replica and principal. ``any_origin``: pages of every origin may read it.
    """

    server: Server | None
    max_body_bytes: int
    scope: str = ""
    terms: Terms = OPEN_TO_ALL
    seals: bool = False
    writing: str = ""
    any_origin: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """
    Who may pass the data listener.

    :ivar issuers: authorization servers, by the URL that clients know; empty if tokens come from nowhere else.
    :ivar public_url: the origin by which clients come in; ``None`` takes it from each request.
    """

    authenticator: Authenticator = NOBODY_KNOWN
    limiter: Limiter | None = None
    seal: Seal | None = None
    issuers: tuple[str, ...] = ()
    public_url: bytes | None = None
    max_inspect_bytes: int = 1 << 18


NO_RULES: Final = Access()
"""Nobody is known and nothing is limited."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a reload swaps in one assignment."""

    routes: RouteTable[Route]
    origins: AllowedOrigins
    tokens: TokenTable
    gate: AddressGate
    access: Access = NO_RULES
    trusted: tuple[Network, ...] = ()


class Moment(NamedTuple):
    """Now: by the clock that only goes forward, and by the one on the wall."""

    now_s: float
    wall_s: float

    def steady_s(self, wall_s: float) -> float:
        """When it will be that late on the wall, by the clock that only goes forward."""
        return self.now_s + (wall_s - self.wall_s)


class Pinned(NamedTuple):
    """
    Where a session leads: its replica, and the target and session id as the server knows them.

    ``query`` is that of the target, with its mark, if the session was named and sealed there.
    """

    placement: int
    target: bytes
    session: bytes | None
    query: bytes = b""


@dataclass(slots=True)
class Decision:
    """
    What follows from a head under a snapshot; kept on the head, since a connection repeats its head.

    :ivar expires_s: when the token expires, by the clock that only goes forward.
    :ivar until_s: when it must be decided anew, if not before.
    :ivar ready: an answer that is known already.
    :ivar toll: the limits that apply; ``None`` if none do.
    :ivar decides_on_tools: whether what may be done depends on the tool that is called.
    :ivar needs_calls: whether somebody must look into the body before it goes on.
    :ivar is_plain: whether nobody has a reason to read the body as other bytes, or other letters, than we do.
    :ivar head_calls: what is asked for if there is no body to say it.
    """

    snapshot: Snapshot
    route: Route
    era: Era = Era.OTHER
    grant: Grant | None = None
    expires_s: float = math.inf
    until_s: float = math.inf
    cors: bytes = b""
    client: bytes = b""
    ready: Answer | None = None
    toll: Toll | None = None
    decides_on_tools: bool = False
    needs_calls: bool = False
    is_plain: bool = True
    head_calls: tuple[Call, ...] = ()
    opens_stream: bool = False
    pinned: Pinned | None = None
    ways: list[tuple[Plan, bytes] | None] = field(default_factory=list)

    @property
    def principal(self) -> str:
        """Who asks, as rights and logs name them; empty if nobody knows."""
        return self.grant.name if self.grant is not None else ""

    @property
    def seal(self) -> Seal | None:
        """What binds the sessions of this server; ``None`` if its own ids pass."""
        return self.snapshot.access.seal if self.route.seals else None

    def is_stale(self, snapshot: Snapshot, now_s: float) -> bool:
        """Whether the rules have changed since, or its time is over."""
        return self.snapshot is not snapshot or now_s >= self.until_s
