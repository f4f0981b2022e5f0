"""
Exchanges that cannot go on yet: the body must be here first, or somebody's turn must come.

A held exchange starts its phases over when what it waited for is there; until then it is the only one who hears of its
client. What it has been charged, or has learned, is noted in the exchange, so starting over repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from mcpgate.errors import BodyTooLargeToCheck, GatewayError, Overloaded
from mcpgate.exchange import Downstream, Ended, Exchange, Outcome

GoOn = Callable[[Exchange, Downstream], None]

#: One holder may have an eighth of what all may: who opens many bodies slows itself down before others.
_SHARES = 8


class Waiters:
    """
    All exchanges that wait, and how much of their bodies is held back.

    Each body is bounded, but a client can open many: a slow one with its body unfinished must not cost a megabyte.

    :param bound_bytes: of all bodies together.
    """

    def __init__(self, bound_bytes: int) -> None:
        self.held: set[Held] = set()
        self._left_bytes = bound_bytes
        self._share_bytes = bound_bytes // _SHARES
        self._bodies: dict[Exchange, tuple[str | bytes, int]] = {}
        self._by_holder: dict[str | bytes, int] = {}

    @property
    def held_bytes(self) -> int:
        """Of all bodies that are held."""
        return sum(count for _, count in self._bodies.values())

    def take(self, exchange: Exchange, count: int) -> bool:
        """Whether so many bytes more of its body may be held; if so they are noted, until they are given back."""
        holder, held = self._bodies.get(exchange) or (exchange.principal or exchange.peer.address, 0)
        share = self._by_holder.get(holder, 0) + count
        if count > self._left_bytes or share > self._share_bytes:
            return False
        self._left_bytes -= count
        self._by_holder[holder] = share
        self._bodies[exchange] = holder, held + count
        return True

    def give_back(self, exchange: Exchange) -> None:
        """Its body has been let go, or it is over."""
        holder, count = self._bodies.pop(exchange, (b"", 0))
        if count:
            self._left_bytes += count
            self._by_holder[holder] -= count
            if not self._by_holder[holder]:
                del self._by_holder[holder]


class Held:
    """An exchange that waits; subclasses say for what. The client's leaving ends it."""

    def __init__(self, exchange: Exchange, port: Downstream, outcome: Outcome, waiters: Waiters) -> None:
        self._exchange = exchange
        self._port = port
        self._outcome = outcome
        self._waiters = waiters
        self._over = False

    def _attach(self) -> None:
        self._exchange.was_held = True
        self._waiters.held.add(self)
        self._port.attach(self)

    def take_body(self, data: bytes) -> None:
        """Nobody reads the body yet."""

    def end_body(self) -> None:
        """Likewise."""

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        if not self._end():
            return
        if error is not None:
            self._outcome.refuse(self._exchange, self._port, error)
        else:
            self._outcome.record(self._exchange, ended)

    def pause_answer(self) -> None:
        """There is none yet."""

    def resume_answer(self) -> None:
        """Likewise."""

    def take_tunnel(self, data: bytes) -> None:
        """Likewise."""

    def _end(self) -> bool:
        """It waits no more; false if that is so already."""
        was_over, self._over = self._over, True
        self._waiters.held.discard(self)
        return not was_over


class Collecting(Held):
    """Takes a whole body in, since what may be done with it depends on what is inside."""

    def begin(self, bound_bytes: int, go_on: GoOn) -> None:
        """Read it, from now on, and then go on; at most ``bound_bytes``."""
        self._left_bytes = bound_bytes
        self._go_on = go_on
        self._pieces: list[bytes] = []
        self._attach()
        self._port.read_body()

    def take_body(self, data: bytes) -> None:
        if self._over:
            return
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self.lose_client(Ended.REFUSED, BodyTooLargeToCheck())
        elif not self._waiters.take(self._exchange, len(data)):
            self.lose_client(Ended.REFUSED, Overloaded())
        else:
            self._pieces.append(data)

    def end_body(self) -> None:
        exchange = self._exchange
        if self._end():
            exchange.body = b"".join(self._pieces)
            exchange.body_is_here = True
            exchange.head = exchange.head.with_length(len(exchange.body))
            self._go_on(exchange, self._port)


class Waiting(Held):
    """Waits for its turn, or for somebody else's answer."""

    def begin(self, arm: Callable[[Callable[[], None]], Callable[[], None]], go_on: GoOn) -> None:
        """
        Wait, and then go on.

        :param arm: told what to call when it goes on; gives back what takes that away again.
        """
        self._cancel: Callable[[], None] = _nothing
        self._go_on = go_on
        self._attach()
        cancel = arm(self._resume)
        if not self._over:
            self._cancel = cancel

    def _resume(self) -> None:
        if self._end():
            self._go_on(self._exchange, self._port)

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        self._cancel()
        super().lose_client(ended, error)


def _nothing() -> None:
    """There is nothing to take back."""
