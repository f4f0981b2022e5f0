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


class Held:
    """An exchange that waits; subclasses say for what. The client's leaving ends it."""

    def __init__(self, exchange: Exchange, port: Downstream, outcome: Outcome, go_on: GoOn) -> None:
        self._exchange = exchange
        self._port = port
        self._outcome = outcome
        self._go_on = go_on
        self._over = False

    def take_body(self, data: bytes) -> None:
        """Nobody reads the body yet."""

    def end_body(self) -> None:
        """Likewise."""

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        if self._over:
            return
        self._over = True
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

    def _resume(self) -> None:
        if not self._over:
            self._over = True
            self._go_on(self._exchange, self._port)


class HeldBytes:
    """
    How much of bodies is held back by all exchanges together.

    Each is bounded, but a client can open many: a slow one with its body unfinished must not cost a megabyte.
    """

    def __init__(self, bound_bytes: int) -> None:
        self._left_bytes = bound_bytes

    def take(self, count: int) -> bool:
        """Whether so many more may be held; if so they are, until they are given back."""
        if count > self._left_bytes:
            return False
        self._left_bytes -= count
        return True

    def give_back(self, count: int) -> None:
        """They are gone."""
        self._left_bytes += count


class Collecting(Held):
    """
    Takes a whole body in, since what may be done with it depends on what is inside (at most ``bound_bytes``).

    What is held is noted in the exchange, to be given back when it is over.
    """

    def begin(self, bound_bytes: int, held: HeldBytes) -> None:
        """Read it, from now on."""
        self._bound_bytes = bound_bytes
        self._held = held
        self._pieces: list[bytes] = []
        self._port.attach(self)
        self._port.read_body()

    def take_body(self, data: bytes) -> None:
        if self._over:
            return
        self._bound_bytes -= len(data)
        if self._bound_bytes < 0:
            self.lose_client(Ended.REFUSED, BodyTooLargeToCheck())
        elif not self._held.take(len(data)):
            self.lose_client(Ended.REFUSED, Overloaded())
        else:
            self._exchange.held_bytes += len(data)
            self._pieces.append(data)

    def end_body(self) -> None:
        exchange = self._exchange
        exchange.body = b"".join(self._pieces)
        exchange.body_is_here = True
        exchange.head = exchange.head.with_length(len(exchange.body))
        self._resume()


class Waiting(Held):
    """Waits for its turn, or for somebody else's answer."""

    def begin(self, arm: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """
        Wait.

        :param arm: told what to call when it goes on; gives back what takes that away again.
        """
        self._cancel: Callable[[], None] = _nothing
        self._port.attach(self)
        cancel = arm(self._resume)
        if not self._over:
            self._cancel = cancel

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        self._cancel()
        super().lose_client(ended, error)


def _nothing() -> None:
    """There is nothing to take back."""
