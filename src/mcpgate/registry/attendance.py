"""
Who is there: the leases of all entries, what time does to them, and the probes of those of whom nothing else tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mcpgate.registry import leases
from mcpgate.registry.leases import Lease, State
from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Key
from mcpgate.upstream.pool import Replica

#: How often leases are looked at: one of 1 s, the shortest, is late by a half at most. 10,000 take some milliseconds.
SWEEP_S: Final = 0.5
#: Leases whose end is told in one turn of the reactor: some 4 ms.
HANDFUL: Final = 16
#: Connections that are tried at once: after a restart thousands are unverified, and each takes a descriptor.
MAX_PROBES: Final = 64


@dataclass(frozen=True, slots=True)
class Times:
    """Clocks, as the process lends them."""

    clock: IReactorTime
    now: Callable[[], float]
    wall: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Notices:
    """
    Who is told.

    :ivar on_state: the lease of this entry has another state: before and after.
    :ivar on_gone: they are over for good.
    :ivar replica_of: whom to probe.
    """

    on_state: Callable[[Key, Lease, Lease], None]
    on_gone: Callable[[list[Key]], None]
    replica_of: Callable[[Key], Replica | None]


class Attendance:
    """
    :ivar usual_ttl_s: of those who say nothing of it; also how often those without a lease are probed.
    :ivar held: how many leases are over and kept, because too many would be over at once.
    :ivar expired_count: how many were over for good.
    """

    log = Logger()

    def __init__(self, times: Times, notices: Notices) -> None:
        self.usual_ttl_s = 30.0
        self.held = 0
        self.expired_count = 0
        self._times = times
        self._notices = notices
        self._leases: dict[Key, Lease] = {}
        self._probed_s: dict[Key, float] = {}
        self._to_probe: dict[Key, None] = {}  # for its order
        self._probing_count = 0
        self._sweep: IDelayedCall | None = None
        self._is_running = False

    def start(self) -> None:
        """The reactor runs: look at the leases from now on, as long as there are any."""
        self._is_running = True
        self._await_look()

    def stop(self) -> None:
        """Look no more."""
        self._is_running = False
        self._to_probe.clear()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _await_look(self) -> None:
        if self._is_running and self._sweep is None and self._leases:
            self._sweep = self._times.clock.callLater(SWEEP_S, self._look)

    def get(self, key: Key) -> Lease | None:
        """The lease of an entry; one of a list has none."""
        return self._leases.get(key)

    def may_work(self, key: Key) -> bool:
        """Whether a replica may get new work, as far as its lease says."""
        lease = self._leases.get(key)
        return lease is None or lease.state.serves

    def grant(self, key: Key, registration: Registration, *, restored: bool = False) -> None:
        """A lease from now on. Who registers again, and was known to be there, is there."""
        now_s, former = self._times.now(), self._leases.get(key)
        ttl_s = self.usual_ttl_s if registration.ttl is None else registration.ttl
        lease = leases.granted(ttl_s, registration.deregister_critical_after, now_s, restored=restored)
        if former is not None and former.state in (State.PASSING, State.WARNING):
            lease = leases.beaten(lease, now_s, None, "")
        self._leases[key] = lease
        self._await_look()
        if former is not None and former.state.serves != lease.state.serves:
            self._notices.on_state(key, former, lease)

    def beat(self, key: Key, reported: State | None, note: str) -> None:
        """It is there, and says how it is."""
        self._take(key, leases.beaten(self._leases[key], self._times.now(), reported, note))

    def note_probe(self, key: Key, answered: bool) -> None:
        """It could be dialled, or could not. Of whom nothing is known yet, only a refusal says that nobody is there."""
        lease = self._leases.get(key)
        if lease is None or (not answered and lease.state is State.UNVERIFIED and not self._refuses(key)):
            return
        self._take(key, leases.probed(lease, self._times.now(), answered))

    def part(self, key: Key) -> Lease | None:
        """It is taken out: the last that is told of its lease."""
        self._probed_s.pop(key, None)
        self._to_probe.pop(key, None)
        lease = self._leases.pop(key, None)
        return None if lease is None else leases.drained(lease, self._times.now())

    def _take(self, key: Key, lease: Lease) -> None:
        before = self._leases[key]
        self._leases[key] = lease
        if before.state is not lease.state:
            self._notices.on_state(key, before, lease)

    # --- what time does -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Age all leases. What follows from it is done in handfuls, one in each turn of the reactor."""
        now_s = self._times.now()
        refused = {key for key, lease in self._leases.items() if lease.is_held and self._refuses(key)}
        sweep = leases.swept(self._leases, now_s, refused)
        if sweep.held > self.held:
            self.log.warn(
                "{held} of {count} leases are over at once: kept until they refuse connections, beat again, or most of "
                "the others beat; is the way to this registry broken?",
                held=sweep.held,
                count=len(self._leases),
            )
        self.held = sweep.held
        self._queue_probes(now_s)
        self._follow([(key, self._leases[key], lease) for key, lease in sweep.changed.items()])

    def _follow(self, changed: list[tuple[Key, Lease, Lease]]) -> None:
        handful, rest = changed[:HANDFUL], changed[HANDFUL:]
        gone = []
        for key, before, after in handful:
            if self._leases.get(key) is not before:
                continue  # it has beaten meanwhile, or is taken out
            if after.state is State.GONE:
                gone.append(key)
            else:
                self._take(key, after)
        if gone:
            self.expired_count += len(gone)
            self._notices.on_gone(gone)
        self._sweep = None
        if rest and self._is_running:
            self._sweep = self._times.clock.callLater(0, self._follow, rest)
        else:
            self._await_look()

    def _refuses(self, key: Key) -> bool:
        replica = self._notices.replica_of(key)
        return replica is not None and replica.is_refusing

    # --- probes -------------------------------------------------------------------------------------------------

    def probe(self, key: Key) -> None:
        """Connect to a replica once, when it is its turn."""
        self._to_probe[key] = None
        self._probe_next()

    def _queue_probes(self, now_s: float) -> None:
        """Ask those of whom nothing else tells: without a lease, restored, or held."""
        for key, lease in self._leases.items():
            if lease.ttl_s > 0 and not lease.is_held and lease.state is not State.UNVERIFIED:
                continue
            is_calm = lease.ttl_s == 0 and lease.state.serves
            wait_s = self.usual_ttl_s if is_calm else min(self.usual_ttl_s, lease.ttl_s or math.inf) / 3
            if now_s >= self._probed_s.get(key, 0.0) + wait_s:
                self._probed_s[key] = now_s
                self._to_probe[key] = None
        self._probe_next()

    def _probe_next(self) -> None:
        while self._to_probe and self._probing_count < MAX_PROBES:
            key = next(iter(self._to_probe))
            del self._to_probe[key]
            replica = self._notices.replica_of(key)
            if replica is not None:
                self._probing_count += 1
                replica.probe(partial(self._probed, key), keeps_connection=False)

    def _probed(self, key: Key, answered: bool) -> None:
        self._probing_count -= 1
        self.note_probe(key, answered)
        if self._to_probe:
            self._times.clock.callLater(0, self._probe_next)
