"""
The real gateway and both its sides in one thread, stepped by hand, so that every run does the same.

Nothing runs by itself: a peer does its socket work, then the reactor turns so often as that step needs, then the other
peer finds its bytes. How many turns that is, the first units find out. Time goes on by hand, too, so that a run under
valgrind, fifty times as slow, has the same timers fire after the same units.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks import answers
from benchmarks.peers.gateway import FULL
from benchmarks.peers.ground import PATH, Ground
from mcpgate.accesslog import AccessLog, json_lines
from mcpgate.config import load
from mcpgate.embed import lend
from mcpgate.service import Gateway
from mcpgate.settings import Settings

Found = TypeVar("Found")

#: More turns than any step needs; then the bytes do not come at all.
MOST_TURNS = 50
_READ_BYTES = 65536
_BACKLOG = 1024


class Clock:
    """
    A clock that stands still within a unit.

    :ivar now: monotonic seconds, at the price of ``time.monotonic``: no frame of Python's; ``wall`` since 1970.
    """

    def __init__(self) -> None:
        self._times_s = [1e6, 1.8e9]
        self.now: Callable[[], float] = partial(itemgetter(0), self._times_s)
        self.wall: Callable[[], float] = partial(itemgetter(1), self._times_s)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._times_s[0] += seconds
        self._times_s[1] += seconds


class Middle(Protocol):
    """What stands between client and upstream, or nothing."""

    @property
    def port(self) -> int:
        """Where clients knock."""

    @property
    def path(self) -> str:
        """What stands before the upstream's own paths."""

    @property
    def fields(self) -> bytes:
        """The header lines by which a client says who it is."""

    def advance(self, seconds: float) -> None:
        """Let time pass."""

    def turn(self) -> None:
        """Do what is ready, wait for nothing."""

    def turn_or_wait(self) -> None:
        """Do what is ready; if nothing is, it may wait for it a little."""

    def stop(self) -> None:
        """Close everything."""


@dataclass(frozen=True)
class Nothing:
    """The client speaks to the upstream directly: what the peers themselves cost."""

    port: int
    path: str = ""
    fields: bytes = b""

    def advance(self, seconds: float) -> None:
        """There is nobody with a clock."""

    def turn(self) -> None:
        """There is nobody who would do anything."""

    def turn_or_wait(self) -> None:
        """Nobody."""

    def stop(self) -> None:
        """There is nothing."""


class GatewayInside:
    """
    The gateway of this process on this reactor, with the configuration and the doors of the peer ``mcpgate``.

    Its access log is written as ever, up to the sink, which drops it.

    :param reactor: a ``LeanEPollReactor`` that does not run.
    """

    path = PATH

    def __init__(self, reactor: Any, folder: Path, upstream_port: int) -> None:
        self._reactor = reactor
        clock = Clock()
        self.advance = clock.advance
        reactor.seconds = clock.now
        # As its main loop would have it.
        reactor.running, reactor._justStopped = True, False
        ground = Ground(folder, 0, 0, upstream_port, 0)
        FULL.command(ground)
        self.fields = FULL.client_fields(ground)

        def read() -> Settings:
            return load(str(folder / "gate.yaml"), os.environ, rundir=str(folder))

        sink: deque[bytes] = deque(maxlen=0)
        log = AccessLog(json_lines, sink.append, reactor.callLater, (clock.wall, clock.now))
        chance = random.Random(6)
        lent = replace(
            lend(reactor, read, str(folder), access_log=log),
            now=clock.now,
            wall=clock.wall,
            random=chance.random,
            random_bits=chance.getrandbits,
        )
        self.gateway = Gateway(read(), lent)
        self._listening = reactor.listenTCP(0, self.gateway.door, _BACKLOG, "127.0.0.1")
        self.port: int = self._listening.getHost().port
        self.gateway.start()
        self._is_plain_turn: Callable[[], bool] = getattr(reactor, "_is_plain_turn", _is_never)

    def turn_or_wait(self) -> None:
        """
        As the reactor's main loop turns.

        Where nothing is ready it waits; not for long, since the gateway looks for its own lag twice a second.
        """
        if not self._is_plain_turn():
            reactor = self._reactor
            reactor.runUntilCurrent()
            reactor.timeout()
            reactor.doPoll(0)

    def turn(self) -> None:
        """The same without waiting, which a plain turn does."""
        self._reactor.runUntilCurrent()
        self._reactor.doPoll(0)

    def stop(self) -> None:
        """Close every connection and the listener."""
        self._listening.stopListening()
        self.gateway.cut_all()
        self.gateway.stop()
        for _ in range(MOST_TURNS):
            self.turn()
        self._reactor.running = False
        del self._reactor.seconds


def _is_never() -> bool:
    """A reactor that knows no plain turns."""
    return False


class Stand:
    """
    Client and upstream of a course, and what is between them.

    :param between: makes it, given the upstream's port.
    :ivar late: how often bytes came later than while that was found out.
    """

    def __init__(self, between: Callable[[int], Middle]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        # A client and an upstream are open at once, no more.
        self._sockets: deque[socket.socket] = deque(maxlen=2)
        self.middle = between(self._listener.getsockname()[1])
        self._turns: dict[str, int] = {}
        self._learns = True
        self.late = 0

    def close(self) -> None:
        """Leave nothing open, wherever a course has ended."""
        for sock in (*self._sockets, self._listener):
            sock.close()
        self.middle.stop()

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """Find out anew how many turns each step needs; afterwards these are taken as known."""
        self._turns.clear()
        yield
        self._learns, self.late = False, 0

    def connect(self) -> socket.socket:
        """A new client; nobody has accepted it yet."""
        sock = socket.socket()
        sock.connect(("127.0.0.1", self.middle.port))
        return self._made_ready(sock)

    def accept(self) -> socket.socket:
        """Turn until somebody dials the upstream."""
        return self._made_ready(self.reach("accept", self._listener.accept)[0])

    def receive(self, step: str, sock: socket.socket) -> bytes:
        """Turn until there are bytes; none are the end, orderly or not."""
        return self.reach(step, partial(_received, sock))

    def reach(self, step: str, attempt: Callable[[], Found]) -> Found:
        """
        Turn as often as this step needs, then try it.

        :param step: its name; steps of one name need the same number of turns.
        :param attempt: raises ``BlockingIOError`` if it is too early.
        :raises answers.BrokenAnswer: it never happens.
        """
        for _ in range(0 if self._learns else self._turns.get(step, 0)):
            self.middle.turn_or_wait()
        for more in range(MOST_TURNS):
            try:
                found = attempt()
            except BlockingIOError:
                self.middle.turn()
                continue
            self._note(step, more)
            return found
        raise answers.BrokenAnswer(f"{step}: nothing after {MOST_TURNS} turns")

    def _made_ready(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.append(sock)
        return sock

    def _note(self, step: str, more: int) -> None:
        if self._learns:
            # The least: the kernel may be late in some units, but never early.
            self._turns[step] = min(more, self._turns.get(step, more))
        elif more and step in self._turns:
            self.late += 1


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_READ_BYTES)
    except ConnectionResetError:
        return b""


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Collections come when so many objects were made, which moves with everything: none during a course."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
