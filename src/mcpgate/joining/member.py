"""
How an MCP server joins a gateway: `register`, an async context manager for asyncio and for Twisted.

The HTTP is in threads of its own, so that no call holds the server's loop up. The beats are driven by that loop, so
that a server which hangs stops beating. Needs nothing but the standard library.
"""

from __future__ import annotations

import enum
import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Final, Literal, Required, Self, TypedDict, TypeVar, Unpack

from mcpgate.joining.client import Answer, GatewayAway, JoinRefused, RegistryClient, replica_id, token_source
from mcpgate.joining.loops import Bell, World, present_world

__all__ = ["JoinRefused", "Membership", "Pace", "Standing", "register"]

_log: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

Reported = Literal["passing", "warning", "critical"]

#: A registration without a lease needs no beats. One a minute notices a gateway that has forgotten it.
_UNLEASED_BEAT_S: Final = 60.0
#: What the gateway takes; a longer note is cut, not refused.
_MAX_NOTE_CHARS: Final = 512
#: From who stops servers, and from a terminal that is closed; not every system has both.
_ENDING: Final = [number for number in signal.Signals if number.name in ("SIGTERM", "SIGHUP")]


class Particulars(TypedDict, total=False):
    """
    What is said about a server: the keywords of `register`. The gateway checks them and names all faults at once.

    ``replica`` is the id among the server's replicas, by default made of host and port of ``url``, so that a
    server that starts again is the same one. ``wait`` is how many seconds the entry waits for the first success (5
    by default; ``None``: for ever). ``token_file`` is read anew for each request. All others are the registration.
    """

    name: Required[str]
    url: Required[str]
    replica: str
    token_file: str | os.PathLike[str]
    wait: float | None
    title: str
    description: str
    version: str
    docs_url: str
    tags: Sequence[str]
    protocol_versions: Sequence[str]
    path: str
    endpoints: Mapping[str, str]
    strip_prefix: bool
    weight: int
    meta: Mapping[str, str]
    headers: Mapping[str, str]
    ttl: float | str
    deregister_critical_after: float | str


class Standing(enum.Enum):
    """How a membership stands; ``AWAY`` is a gateway that does not answer."""

    NEW = "new"
    JOINING = "joining"
    JOINED = "joined"
    AWAY = "away"
    REFUSED = "refused"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Pace:
    """
    How long things take, in seconds.

    :ivar call_s: for one request; shorter than any sensible lease.
    :ivar leave_s: for the farewell; who stops a server wants it gone.
    :ivar retry_s: until the second attempt; doubled for each further one up to ``longest_retry_s``.
    :ivar chance: at random in [0, 1), so that a hundred servers do not come at once.
    """

    call_s: float = 5.0
    leave_s: float = 2.0
    retry_s: float = 0.5
    longest_retry_s: float = 10.0
    chance: Callable[[], float] = random.random


def register(gateway: str, token: str | None = None, **particulars: Unpack[Particulars]) -> Membership:
    """
    Register an MCP server with a gateway for as long as the block lasts.

    ::

        async with mcpgate.register("http://127.0.0.1:8701", token, name="weather", url="http://127.0.0.1:3010"):
            await server.serve()

    :param gateway: URL of the admin listener; ``https`` is verified.
    :param token: an admin token with the scope ``register``; else ``token_file``, else ``$MCPGATE_TOKEN``.
    :raises ValueError: for a wrong URL, or without a token.
    :raises TypeError: for a keyword that is none.
    :raises JoinRefused: on entry, if the gateway says no. If it is away, the block begins after ``wait`` seconds all
        the same, and the attempts go on.
    """
    unknown = set(particulars) - set(Particulars.__annotations__)
    missing = {"name", "url"} - set(particulars)
    if unknown or missing:
        wrong = f"unknown: {' '.join(sorted(unknown))}" if unknown else f"missing: {' '.join(sorted(missing))}"
        raise TypeError(f"register(): {wrong}")
    said: dict[str, Any] = dict(particulars)
    key = said.pop("name"), said.pop("replica", None) or replica_id(said["url"])
    wait_s, pace = said.pop("wait", 5.0), Pace()
    client = RegistryClient(gateway, key, token_source(token, said.pop("token_file", None), os.environ), pace.call_s)
    return Membership(client, said, wait_s, pace)


class Membership:
    """
    A server's place in a gateway, made by `register`; entered once.

    A beat that is answered with 404 registers again; a gateway that is away is told of once and asked again, with
    growing pauses. Leaving never fails and takes two seconds at most.

    :ivar standing: how it stands now.
    :ivar entry: what the gateway said last about the registration.
    """

    def __init__(
        self,
        client: RegistryClient,
        registration: Mapping[str, object],
        wait_s: float | None,
        pace: Pace,
        world: World | None = None,
    ) -> None:
        self.standing = Standing.NEW
        self.entry: Mapping[str, Any] = {}
        self._client, self._registration = client, registration
        self._wait_s, self._pace, self._world = wait_s, pace, world
        self._is_entered = self._is_registered = False
        self._refusal: JoinRefused | None = None
        self._report: dict[str, str] = {}
        self._beat_s = _UNLEASED_BEAT_S
        self._missed = 0
        self._told = ""
        self._missing = GatewayAway.what
        self._farewell = _FarewellAtSignals()

    def __repr__(self) -> str:
        name, replica = self._client.key
        return f"<Membership {name}/{replica} at {self._client.gateway}: {self.standing.value}>"

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.leave()

    async def join(self) -> None:
        """
        Register and begin to beat; see `register`. If it is cancelled, what was registered is taken back.

        :raises JoinRefused: if the gateway says no.
        """
        if self.standing is not Standing.NEW:
            raise RuntimeError("a membership is entered once; register() makes another")
        self.standing = Standing.JOINING
        self._world = world = self._world or present_world()
        self._wake, self._settled = world.bell(), world.bell()
        self._farewell.set()
        self._stop = world.spawn(self._live())
        try:
            await self._settled.wait(self._wait_s)
        except BaseException:  # cancelled; Twisted's is an Exception, that of asyncio is not
            await self.leave()
            raise
        self._is_entered = True
        if self._refusal is not None:
            self._farewell.reset()
            raise self._refusal
        if self.standing is Standing.JOINING:
            self._tell(logging.WARNING, "not registered yet; trying on", self._missing)

    async def leave(self) -> None:
        """Deregister; never raises but when cancelled, and even then the gateway is told."""
        if self.standing in (Standing.NEW, Standing.LEFT) or self._refusal is not None or self._world is None:
            return
        self.standing = Standing.LEFT
        self._farewell.reset()
        self._client.close()
        self._stop()
        gone = self._world.bell()
        # Before anything is awaited, and not a daemon: whoever cancels us or ends the process, this is sent.
        threading.Thread(target=self._say_farewell, args=(gone,), name="mcpgate-leave").start()
        await gone.wait(self._pace.leave_s)

    def report(self, state: Reported, note: str = "") -> None:
        """
        Say how the server is: now, and with each beat until the next report. May be called in any thread.

        :param state: a ``critical`` server gets no new work.
        :raises ValueError: if ``state`` is none.
        """
        if state not in ("passing", "warning", "critical"):
            raise ValueError("state: expected passing, warning or critical")
        said = "".join(char if char.isprintable() else " " for char in note[:_MAX_NOTE_CHARS]).strip()
        self._report = {"state": state, **({"note": said} if said else {})}
        if self.standing not in (Standing.NEW, Standing.LEFT):
            self._wake.ring()

    async def _live(self) -> None:
        try:
            while True:
                pause_s = await self._step()
                if self._refusal is not None:
                    return
                await self._wake.wait(pause_s)
        finally:
            self._settled.ring()

    async def _step(self) -> float:
        """Register or beat; gives back the seconds until the next time."""
        told, registration = self._report, self._registration
        was_registered = self._is_registered
        try:
            ask = (lambda: self._client.beat(told)) if was_registered else (lambda: self._client.put(registration))
            answer = await self._call(ask)
        except GatewayAway as away:
            return self._miss(away.what, str(away), 0)
        if answer.is_good and (was_registered or "state" in answer.told):
            return self._take(answer)
        if answer.is_later:
            why = f"{answer.status} {answer.told.get('detail', '')}".strip()
            return self._miss(GatewayAway.what, why, answer.retry_after_s)
        if answer.status == 404 and was_registered:
            self._is_registered = False
            self._tell(logging.INFO, "the gateway has forgotten the registration; registering again")
            return 0.0
        return self._refuse(answer.refusal())

    def _take(self, answer: Answer) -> float:
        is_first, self._is_registered = not self._is_registered, True
        self.entry = {**self.entry, **answer.told}
        beat_s = answer.told.get("heartbeatSeconds")
        if isinstance(beat_s, int | float) and beat_s > 0:
            self._beat_s = float(beat_s)
        self._missed = 0
        self.standing = Standing.JOINED
        if is_first:
            self._tell(logging.INFO, f"registered, path {self.entry.get('path', '')}")
            self._settled.ring()
        elif self._told:
            self._tell(logging.INFO, "the gateway is back")
        self._told = ""
        if is_first and self._report:
            # A gateway that registers and forgets by turns must not make a storm of this.
            return min(self._pace.retry_s, self._beat_s)
        return self._beat_s * (1 - 0.1 * self._pace.chance())

    def _miss(self, what: str, why: str, retry_after_s: float) -> float:
        self.standing = Standing.AWAY if self._is_entered else Standing.JOINING
        self._missing = what
        self._tell(logging.WARNING, f"{what}: {why}; trying on", what)
        doubled_s = self._pace.retry_s * 2.0 ** min(self._missed, 10)
        self._missed += 1
        pause_s = min(doubled_s, self._pace.longest_retry_s, self._beat_s)
        return max(pause_s * (1 - 0.3 * self._pace.chance()), retry_after_s)

    def _refuse(self, refusal: JoinRefused) -> float:
        self.standing = Standing.REFUSED
        if not self._is_entered:
            self._refusal = refusal
        else:
            # The server serves on: whoever mends the token or the configuration finds it there.
            self._tell(logging.ERROR, f"{refusal}\n  trying on")
        return self._pace.longest_retry_s

    def _tell(self, level: int, text: str, topic: str = "") -> None:
        """Log, but not the same thing twice in a row; a topic stands for texts that differ in detail only."""
        if (topic or text) != self._told:
            self._told = topic or text
            _log.log(level, "%s/%s at %s: %s", *self._client.key, self._client.gateway, text)

    async def _call(self, ask: Callable[[], _T]) -> _T:
        """Do something in a thread; the thread goes on if this is cancelled."""
        assert self._world is not None
        done, outcome = self._world.bell(), Future[_T]()

        def work() -> None:
            try:
                outcome.set_result(ask())
            except BaseException as error:
                outcome.set_exception(error)
            done.ring()

        # Not in the loop's own pool: there it would queue behind whatever the server does in threads.
        threading.Thread(target=work, name="mcpgate-join", daemon=True).start()
        await done.wait(None)
        return outcome.result()

    def _say_farewell(self, gone: Bell) -> None:
        try:
            self._client.delete(self._pace.leave_s)
        except GatewayAway as away:
            self._tell(logging.INFO, f"not deregistered, the lease will end by itself: {away}")
        gone.ring()


class _FarewellAtSignals:
    """
    SIGTERM and SIGHUP as an ordinary exit while nobody else handles them, so that who stops a server makes it leave.

    Their default kills without any clean-up, also in servers that handle it themselves and raise it again behind
    their own shutdown, as uvicorn does.
    """

    def __init__(self) -> None:
        self._ours: list[signal.Signals] = []

    def set(self) -> None:
        """Only where Python lets one, which is in the main thread; what ``nohup`` has ignored stays so."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._ours = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
        for number in self._ours:
            signal.signal(number, _exit)

    def reset(self) -> None:
        """Back to the default, unless somebody has changed it meanwhile."""
        for number in self._ours:
            if signal.getsignal(number) is _exit:
                signal.signal(number, signal.SIG_DFL)
        self._ours = []


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
