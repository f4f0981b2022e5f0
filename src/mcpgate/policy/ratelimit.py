"""
Whether a request may pass now, by all limits that look at it: all of them are charged, or none.

A `Limiter` holds the limits and what has been used of them. For one client and server it makes a `Toll`, which has
worked out beforehand all that does not depend on the single request. There are no timers: see ``policy/buckets.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mcpgate.policy.buckets import NS_PER_S, Buckets, Charge, Ledger, MemoryLedger, SteadyTime, take_from_all
from mcpgate.policy.limits import DISCOVER, LIGHT_FACTOR, LimitPolicy, Weight, client_parts
from mcpgate.wire.calls import Call
from mcpgate.wire.quota import concurrency_lines, rate_lines

#: How long ``server/discover`` waits its turn at most, to go on in any case: clients take a refusal for an old server.
_DISCOVER_WAIT_NS = 2 * NS_PER_S
#: Nobody knows when a stream will end; soon enough for a client that lost one, rare enough for one that has too many.
_STREAM_RETRY_S = 5
#: A client calls a handful of tools; with three limits each takes 0.7 KiB.
_MAX_PLANS = 16
_MAX_PLANNED_LETTERS = 128
#: Clients whose tolls are kept: 0.5 KiB each, and 6 MiB in all if each of them called sixteen tools.
_MAX_TOLLS = 512


class Refusal(NamedTuple):
    """
    Which limit refuses a request: of several, the one that takes longest.

    :ivar wait_s: after exactly that long the same request would be admitted, if nothing else came.
    :ivar retry_after_s: the same in whole seconds, at least 1; of streams a guess.
    :ivar burst: how much fits into a bucket; of streams how many may be open.
    :ivar window_s: in what time an empty bucket fills; 0 of streams.
    :ivar remaining: whole tokens that are there.
    :ivar is_of_streams: too many streams are open, rather than too many messages sent.
    """

    policy: str
    wait_s: float
    retry_after_s: int
    burst: int
    window_s: int
    remaining: int
    is_of_streams: bool

    def header_lines(self) -> bytes:
        """``RateLimit-Policy`` and ``RateLimit`` of the limit that refuses."""
        if self.is_of_streams:
            return concurrency_lines(self.policy, self.burst, self.retry_after_s)
        return rate_lines(self.policy, self.burst, self.window_s, self.remaining, self.retry_after_s)


class StreamSlot:
    """One of the streams that may be open at the same time."""

    __slots__ = ("_counts", "_key")

    def __init__(self, counts: dict[bytes, int], key: bytes) -> None:
        counts[key] = counts.get(key, 0) + 1
        self._counts: dict[bytes, int] | None = counts
        self._key = key

    def release(self) -> None:
        """Give it back; once, however often it is said."""
        counts, self._counts = self._counts, None
        if counts is None:
            return
        counts[self._key] -= 1
        if not counts[self._key]:
            del counts[self._key]


class Verdict(NamedTuple):
    """
    What becomes of a request.

    :ivar wait_s: it is charged already; hold it that long before it goes on.
    :ivar slots: to be released when its stream ends, and also if it never begins.
    :ivar refusal: if there is one nothing was charged and there are no slots.
    """

    wait_s: float = 0.0
    slots: tuple[StreamSlot, ...] = ()
    refusal: Refusal | None = None


ADMITTED: Final = Verdict()


class _Demand(NamedTuple):
    """What a request costs in one bucket."""

    limit: _Limit
    buckets: Buckets
    key: bytes
    cost: int


@dataclass(slots=True)  # whose attributes are found twice as fast as those of a named tuple
class _Plan:
    """
    What requests with the same calls cost, and the same in the form of `take_from_all`; ``tallies`` count them.

    :ivar streams: which slots it takes if it is a stream; it is counted by ``stream_tallies`` then.
    """

    demands: tuple[_Demand, ...]
    charges: tuple[Charge, ...]
    tallies: tuple[LimitTally, ...]
    streams: tuple[tuple[_Limit, bytes], ...]
    stream_tallies: tuple[LimitTally, ...]


class LimitTally:
    """How often a limit has admitted a request, has let one wait, and has refused one."""

    __slots__ = ("admitted", "refused", "waited")

    def __init__(self) -> None:
        self.admitted = self.refused = self.waited = 0


class _Limit:
    """A policy, and what has been used of it."""

    __slots__ = ("_light", "_whole", "policy", "streams", "tally", "wait_ns")

    def __init__(self, policy: LimitPolicy, ledger: Callable[[], Ledger]) -> None:
        self.policy = policy
        self.wait_ns = round(policy.wait_s * NS_PER_S)
        self.streams: dict[bytes, int] = {}
        self.tally = LimitTally()
        self._whole = self._light = None
        if policy.allowance is not None:
            self._whole = Buckets(policy.allowance, ledger())
            self._light = Buckets(policy.allowance.times(LIGHT_FACTOR), ledger())

    def follow(self, former: _Limit) -> None:
        """Go on with what a former limit has counted, as far as it counted the same."""
        mine, other = self.policy, former.policy
        self.tally = former.tally
        if (mine.key, mine.methods, mine.tools) != (other.key, other.methods, other.tools):
            return
        self.streams = former.streams
        if mine.allowance == other.allowance:
            self._whole, self._light = former._whole, former._light

    def buckets(self, call: Call) -> Buckets | None:
        """Out of which a call is paid; ``None`` if it costs nothing."""
        return self.paid_from(self.policy.weight(call))

    def paid_from(self, weight: Weight) -> Buckets | None:
        """Likewise of a call that is charged so."""
        if weight is Weight.NOTHING:
            return None
        return self._light if weight is Weight.LIGHT else self._whole

    def slot_key(self, client_key: bytes, calls: Sequence[Call]) -> bytes | None:
        """Under which key a stream with these calls is counted; ``None`` if it is not."""
        if not self.policy.concurrent_streams:
            return None
        charged = (call for call in calls if self.policy.weight(call) is not Weight.NOTHING)
        call = next(charged, None)
        return None if call is None else self.policy.key_of(client_key, call)

    def has_slot(self, key: bytes) -> bool:
        """Whether one more stream may be opened."""
        return self.streams.get(key, 0) < self.policy.concurrent_streams

    def refuse(self, demand: _Demand, wait_ns: int, now_ns: int) -> Refusal:
        """What is told of a bucket that has too little."""
        buckets = demand.buckets
        return Refusal(
            policy=self.policy.name,
            wait_s=wait_ns / NS_PER_S,
            retry_after_s=-(-wait_ns // NS_PER_S),
            burst=buckets.allowance.burst,
            window_s=buckets.allowance.window_s,
            remaining=buckets.remaining(demand.key, now_ns),
            is_of_streams=False,
        )

    def refuse_stream(self) -> Refusal:
        """What is told of streams that are too many."""
        slots, retry_s = self.policy.concurrent_streams, _STREAM_RETRY_S
        return Refusal(self.policy.name, float(retry_s), retry_s, slots, 0, 0, is_of_streams=True)


class Toll:
    """
    What the requests of one client to one server have to pay. Made by `Limiter.bind`; good until the limits change.

    :ivar is_free: nothing is to be paid, so nobody needs to know what a body asks for.
    """

    __slots__ = ("_limits", "_plans", "_time", "is_free")

    def __init__(self, limits: tuple[tuple[_Limit, bytes], ...], time: SteadyTime) -> None:
        self._limits = limits
        self._time = time
        self._plans: dict[tuple[Call, ...], _Plan] = {}
        self.is_free = not limits

    def admit(self, calls: tuple[Call, ...], opens_stream: bool, now_s: float) -> Verdict:
        """
        Decide on one request, and charge it if it may go on.

        :param calls: all messages of its body, or the word for a request without one; at least one.
        :param opens_stream: whether its answer is a stream that stays open.
        :param now_s: monotonic seconds.
        """
        now_ns = self._time.read_ns(now_s)
        # Worked out once for each tool of a client: 1.2 µs with three limits, against 35 µs.
        plan = self._plans.get(calls) or self._keep(calls, self._plan(calls))
        if opens_stream:
            return self._admit_stream(calls, plan, now_ns)
        if take_from_all(plan.charges, now_ns):
            for tally in plan.tallies:
                tally.admitted += 1
            return ADMITTED
        return self._decide(calls, plan.demands, (), now_ns)

    def _admit_stream(self, calls: tuple[Call, ...], plan: _Plan, now_ns: int) -> Verdict:
        """As `admit` of a stream; one that nothing stands against, as nearly always, in one walk."""
        for limit, key in plan.streams:
            if not limit.has_slot(key):
                break
        else:
            if take_from_all(plan.charges, now_ns):
                for tally in plan.stream_tallies:
                    tally.admitted += 1
                return Verdict(0.0, tuple([StreamSlot(limit.streams, key) for limit, key in plan.streams]))
        return self._decide(calls, plan.demands, plan.streams, now_ns)

    def _plan(self, calls: tuple[Call, ...]) -> _Plan:
        costs = Counter(
            (limit, buckets, limit.policy.key_of(client_key, call))
            for call in calls
            for limit, client_key in self._limits
            if (buckets := limit.buckets(call)) is not None
        )
        demands = tuple(_Demand(*whose, cost) for whose, cost in costs.items())
        charges = tuple(each.buckets.charge(each.key, each.cost) for each in demands)
        slots = () if _is_never_refused(calls) else tuple(self._slots(calls))
        tallies = {each.limit.tally: None for each in demands}
        stream_tallies = {limit.tally: None for limit, _ in slots} | tallies
        return _Plan(demands, charges, tuple(tallies), slots, tuple(stream_tallies))

    def _keep(self, calls: tuple[Call, ...], plan: _Plan) -> _Plan:
        if len(calls) == 1 and len(calls[0].method) + len(calls[0].name) <= _MAX_PLANNED_LETTERS:
            if len(self._plans) >= _MAX_PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[calls] = plan
        return plan

    def _slots(self, calls: tuple[Call, ...]) -> list[tuple[_Limit, bytes]]:
        keys = [(limit, limit.slot_key(client_key, calls)) for limit, client_key in self._limits]
        return [(limit, key) for limit, key in keys if key is not None]

    def _decide(
        self, calls: tuple[Call, ...], demands: Iterable[_Demand], slots: Sequence[tuple[_Limit, bytes]], now_ns: int
    ) -> Verdict:
        """The same as `take_from_all`, with all that is not usual: new keys, waiting, refusals, no slot."""
        never_refused = _is_never_refused(calls)
        granted, refusals, longest_ns = [], [], 0
        waits: dict[_Limit, bool] = {}
        for demand in demands:
            wait_ns = demand.buckets.wait_ns(demand.key, demand.cost, now_ns)
            bound_ns = _DISCOVER_WAIT_NS if never_refused else demand.limit.wait_ns
            longest_ns = max(longest_ns, min(wait_ns, bound_ns))
            waits[demand.limit] = waits.get(demand.limit, False) or wait_ns > 0
            if wait_ns <= bound_ns:
                granted.append(demand)
            elif not never_refused:
                refusals.append((demand.limit, demand.limit.refuse(demand, wait_ns, now_ns)))
        refusals += [(limit, limit.refuse_stream()) for limit, key in slots if not limit.has_slot(key)]
        if refusals:
            return _refused(refusals)
        for demand in granted:
            demand.buckets.take(demand.key, demand.cost, now_ns)
        _count_admitted(waits, slots)
        return Verdict(longest_ns / NS_PER_S, tuple(StreamSlot(limit.streams, key) for limit, key in slots))


def _is_never_refused(calls: tuple[Call, ...]) -> bool:
    return all(call.method == DISCOVER for call in calls)


def _refused(refusals: Sequence[tuple[_Limit, Refusal]]) -> Verdict:
    """Of several refusals the one that takes longest; each limit counts its own."""
    for limit in {limit: None for limit, _ in refusals}:
        limit.tally.refused += 1
    return Verdict(refusal=max((refusal for _, refusal in refusals), key=lambda refusal: refusal.wait_s))


def _count_admitted(waits: Mapping[_Limit, bool], slots: Iterable[tuple[_Limit, bytes]]) -> None:
    for limit, waited in ({limit: False for limit, _ in slots} | dict(waits)).items():
        if waited:
            limit.tally.waited += 1
        else:
            limit.tally.admitted += 1


class Limiter:
    """
    All limits, and what has been used of them.

    :param ledger: makes the place for the levels of one kind of buckets.
    """

    def __init__(self, policies: Sequence[LimitPolicy], ledger: Callable[[], Ledger] = MemoryLedger) -> None:
        self._ledger = ledger
        self._limits = tuple(_Limit(policy, ledger) for policy in policies)
        self._time = SteadyTime()
        self._tolls: dict[tuple[bytes, str, str], Toll] = {}

    def revised(self, policies: Sequence[LimitPolicy]) -> Limiter:
        """
        The limiter after a reload.

        A limit of the same name that counts the same goes on where it was: open streams if its key and what it charges
        are the same, levels if the allowance is, too. What was bound to the former limiter goes on there, and where
        the two have something in common, they share it.
        """
        revised = Limiter(policies, self._ledger)
        revised._time = self._time
        former = {limit.policy.name: limit for limit in self._limits}
        for limit in revised._limits:
            if limit.policy.name in former:
                limit.follow(former.pop(limit.policy.name))
        return revised

    def tallies(self) -> list[tuple[LimitPolicy, LimitTally]]:
        """What each limit has decided so far, in the order of the configuration."""
        return [(limit.policy, limit.tally) for limit in self._limits]

    def bind(self, address: bytes, principal: str, server: str) -> Toll:
        """
        The toll of one client for one server; for all its connections the same one, while it is remembered.

        Clients open several connections: 0.4 us for every further one, against 5.

        :param address: of the client, as text.
        :param principal: empty if nobody is known.
        """
        whose = address, principal, server
        toll = self._tolls.get(whose)
        if toll is None:
            if len(self._tolls) >= _MAX_TOLLS:
                del self._tolls[next(iter(self._tolls))]
            toll = self._tolls[whose] = self._toll(*whose)
        return toll

    def _toll(self, address: bytes, principal: str, server: str) -> Toll:
        concerned = [limit for limit in self._limits if limit.policy.concerns(server)]
        if not concerned:
            return Toll((), self._time)
        parts = client_parts(address, principal, server)
        return Toll(tuple([(limit, limit.policy.client_key(parts)) for limit in concerned]), self._time)
