"""Whether a request may pass now, by all limits that look at it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mcpgate.policy.authz import NamePatterns
from mcpgate.policy.buckets import Allowance
from mcpgate.policy.limits import OPEN_STREAM, KeyPart, LimitPolicy, Weight
from mcpgate.policy.ratelimit import Limiter, StreamSlot, Toll, Verdict
from mcpgate.wire.calls import UNREAD, Call

HOME = b"203.0.113.7"
SEARCH, DELETE = Call("tools/call", "search"), Call("tools/call", "delete")
PING, DISCOVER = Call("ping"), Call("server/discover")

PER_PRINCIPAL = LimitPolicy("per-principal", (KeyPart.PRINCIPAL,), Allowance(2, 1, 3))
PER_TOOL = LimitPolicy(
    "per-tool", (KeyPart.PRINCIPAL, KeyPart.TOOL), Allowance(1, 10, 2), methods=NamePatterns(["tools/call"])
)
PATIENT = dataclasses.replace(PER_PRINCIPAL, name="patient", wait_s=1.0)
STREAMS = LimitPolicy("streams", (KeyPart.PRINCIPAL,), concurrent_streams=2)


def _toll(*policies: LimitPolicy, principal: str = "alice") -> Toll:
    return Limiter(policies).bind(HOME, principal, "github")


def _admitted(toll: Toll, call: Call, now_s: float) -> int:
    """How many of a message pass at once."""
    for count in range(10_000):
        if toll.admit((call,), False, now_s).refusal is not None:
            return count
    raise AssertionError("there is no limit")


def _refused_by(verdict: Verdict) -> str:
    return "" if verdict.refusal is None else verdict.refusal.policy


# --- buckets ------------------------------------------------------------------------------------------------------


def test_a_burst_passes_and_then_the_rate() -> None:
    """Three calls at once, then two in a second."""
    toll = _toll(PER_PRINCIPAL)
    assert _admitted(toll, SEARCH, 100.0) == 3
    assert _admitted(toll, SEARCH, 101.0) == 2
    assert _admitted(toll, SEARCH, 101.4) == 0
    assert _admitted(toll, SEARCH, 101.5) == 1


def test_ten_clients_get_exactly_what_was_promised() -> None:
    """A hundred a second and 200 at once, for 60 s, tried at odd moments: each gets 200 + 6000, not one more or less."""
    limiter = Limiter([LimitPolicy("rate", (KeyPart.PRINCIPAL,), Allowance(100, 1, 200))])
    tolls = [limiter.bind(HOME, f"client-{number}", "github") for number in range(10)]
    moments_s = [*(number * 0.7310585 for number in range(83)), 60.0]
    rounds = [[_admitted(toll, SEARCH, 5000 + moment_s) for toll in tolls] for moment_s in moments_s]
    assert [sum(admitted) for admitted in zip(*rounds, strict=True)] == [200 + 100 * 60] * 10


def test_a_handshake_is_not_charged_like_a_call() -> None:
    """Who has used up all calls can still connect, list and ping; ten times as often, and not without end."""
    toll = _toll(PER_PRINCIPAL)
    assert _admitted(toll, SEARCH, 0.0) == 3
    assert toll.admit((Call("initialize"),), False, 0.0) == Verdict()
    assert _admitted(toll, Call("tools/list"), 0.0) == 29
    assert _admitted(toll, Call("notifications/initialized"), 1.0) == 20


def test_every_limit_must_admit_or_none_is_charged() -> None:
    """A tool that is used up leaves the rest of the allowance for others."""
    toll = _toll(PER_PRINCIPAL, PER_TOOL)
    assert _admitted(toll, SEARCH, 0.0) == 2
    assert _refused_by(toll.admit((SEARCH,), False, 0.0)) == "per-tool"
    assert _admitted(toll, DELETE, 0.0) == 1
    assert _refused_by(toll.admit((DELETE,), False, 0.0)) == "per-principal"


def test_a_batch_passes_whole_or_not_at_all() -> None:
    """Four calls where three are left: nothing is taken for them."""
    toll = _toll(dataclasses.replace(PER_PRINCIPAL, allowance=Allowance(1, 1, 5)))
    assert toll.admit((SEARCH, DELETE), False, 0.0) == Verdict()
    assert _refused_by(toll.admit((SEARCH, PING, SEARCH, DELETE, SEARCH), False, 0.0)) == "per-principal"
    assert _admitted(toll, SEARCH, 0.0) == 3


def test_a_batch_larger_than_the_burst_passes_when_it_is_paid_for() -> None:
    """It needs a full bucket, and the client waits for the debt afterwards."""
    toll = _toll(PER_PRINCIPAL)
    assert toll.admit((SEARCH,) * 9, False, 0.0) == Verdict()
    assert [_admitted(toll, SEARCH, now_s) for now_s in (0.0, 3.4, 3.5)] == [0, 0, 1]


def test_a_body_that_nobody_can_read_is_charged_by_every_limit() -> None:
    """It cannot slip past a limit of a method or a tool."""
    toll = _toll(PER_TOOL)
    assert _admitted(toll, UNREAD, 0.0) == 2


def test_clients_do_not_share_unless_the_key_says_so() -> None:
    """By principal, by tool, by address behind which somebody is unknown; or all together."""
    limiter = Limiter([PER_TOOL])
    alice, bob = limiter.bind(HOME, "alice", "github"), limiter.bind(HOME, "bob", "github")
    assert [_admitted(toll, call, 0.0) for toll in (alice, bob) for call in (SEARCH, DELETE)] == [2, 2, 2, 2]
    both = Limiter([dataclasses.replace(PER_PRINCIPAL, key=())])
    assert _admitted(both.bind(HOME, "alice", "github"), SEARCH, 0.0) == 3
    assert _admitted(both.bind(b"198.51.100.1", "bob", "jira"), SEARCH, 0.0) == 0
    unknown = Limiter([PER_PRINCIPAL])
    assert _admitted(unknown.bind(b"2001:db8::1", "", "github"), SEARCH, 0.0) == 3
    assert _admitted(unknown.bind(b"2001:db8::2", "", "jira"), SEARCH, 0.0) == 0


def test_a_limit_of_other_servers_is_not_asked() -> None:
    """And without any limit everything passes, unread."""
    toll = _toll(dataclasses.replace(PER_PRINCIPAL, servers=NamePatterns(["jira"])))
    assert toll.admit((SEARCH,), True, 0.0) == Verdict()
    assert toll.is_free
    assert not _toll(PER_PRINCIPAL).is_free
    assert not _toll(STREAMS).is_free  # whether a stream is opened may stand in the body


def test_many_different_calls_are_still_counted() -> None:
    """More tools than are remembered for a client, with names of any length; those that are not, cost no memory."""
    toll = _toll(PER_TOOL)
    calls = [Call("tools/call", "x" * number) for number in range(0, 400, 4)]
    assert {_admitted(toll, call, 0.0) for call in calls} == {2}
    assert {_admitted(toll, call, 0.0) for call in calls} == {0}
    assert 0 < len(toll._plans) <= 16
    assert all(len(call.name) <= 128 for calls in toll._plans for call in calls)


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_refusal_tells_what_a_client_must_know() -> None:
    """Which limit, how long to wait, and how the limit stands, also as header lines."""
    toll = _toll(PER_TOOL)
    _admitted(toll, SEARCH, 0.0)
    refusal = toll.admit((SEARCH,), False, 2.5).refusal
    assert refusal is not None
    assert (refusal.policy, refusal.wait_s, refusal.retry_after_s) == ("per-tool", 7.5, 8)
    assert (refusal.burst, refusal.window_s, refusal.remaining, refusal.is_of_streams) == (2, 20, 0, False)
    assert refusal.header_lines() == (b'RateLimit-Policy: "per-tool";q=2;w=20\r\nRateLimit: "per-tool";r=0;t=8\r\n')


def test_of_several_limits_the_one_is_named_that_takes_longest() -> None:
    """Waiting for the other would be in vain."""
    slow = dataclasses.replace(PER_PRINCIPAL, name="slow", allowance=Allowance(1, 60, 3))
    for policies in ([PER_PRINCIPAL, slow], [slow, PER_PRINCIPAL]):
        toll = _toll(*policies)
        _admitted(toll, SEARCH, 0.0)
        assert _refused_by(toll.admit((SEARCH,), False, 0.0)) == "slow"


@pytest.mark.parametrize("now_s", [0.0, 1.0, 86_400.5, 123_456.789])
@pytest.mark.parametrize("count", [1, 3, 7, 600])
def test_waiting_as_long_as_told_is_enough(now_s: float, count: int) -> None:
    """Also on a clock of floats, and at rates that no number of nanoseconds divides."""
    toll = _toll(dataclasses.replace(PER_PRINCIPAL, allowance=Allowance(count, 60, 1)))
    for _ in range(5):
        assert toll.admit((SEARCH,), False, now_s) == Verdict()
        refusal = toll.admit((SEARCH,), False, now_s).refusal
        assert refusal is not None
        assert refusal.retry_after_s == math.ceil(refusal.wait_s)
        now_s += refusal.wait_s


# --- waiting ------------------------------------------------------------------------------------------------------


def test_a_patient_limit_holds_a_request_instead_of_refusing_it() -> None:
    """First come, first served; who would have to wait too long is refused, and keeps nobody else waiting."""
    toll = _toll(PATIENT)
    waits = [toll.admit((SEARCH,), False, 0.0).wait_s for _ in range(5)]
    assert waits == [0, 0, 0, 0.5, 1.0]
    assert [_refused_by(toll.admit((SEARCH,), False, 0.0)) for _ in range(3)] == ["patient"] * 3
    assert toll.admit((SEARCH,), False, 0.5) == Verdict(wait_s=1.0)


def test_a_request_is_held_for_the_longest_of_all_waits() -> None:
    """And not at all if one limit refuses: then none is charged."""
    longer = dataclasses.replace(PATIENT, name="longer", allowance=Allowance(1, 1, 3))
    toll = _toll(PATIENT, longer)
    assert [toll.admit((SEARCH,), False, 0.0).wait_s for _ in range(4)] == [0, 0, 0, 1.0]
    assert _refused_by(toll.admit((SEARCH,), False, 0.0)) == "longer"
    assert toll.admit((SEARCH,), False, 1.0) == Verdict(wait_s=1.0)


def test_discovery_waits_its_turn_and_is_never_refused() -> None:
    """At most two seconds; a client would take a refusal for an old server and fall back to an older protocol."""
    toll = _toll(dataclasses.replace(PER_PRINCIPAL, allowance=Allowance(1, 10, 1)))
    assert _admitted(toll, PING, 0.0) == 10
    assert toll.admit((DISCOVER,), False, 0.0) == Verdict(wait_s=1.0)
    assert [toll.admit((DISCOVER,), False, 0.0) for _ in range(50)] == [Verdict(wait_s=2.0)] * 50
    assert toll.admit((PING,), False, 4.0).refusal is None


def test_discovery_is_not_refused_by_a_limit_of_all_methods_either() -> None:
    """Even if somebody limits it by name."""
    toll = _toll(
        dataclasses.replace(PER_TOOL, methods=NamePatterns(["*"])), dataclasses.replace(STREAMS, concurrent_streams=1)
    )
    toll.admit((OPEN_STREAM,), True, 0.0)
    verdicts = [toll.admit((DISCOVER,), True, 0.0) for _ in range(5)]
    assert [verdict.wait_s for verdict in verdicts] == [0, 2.0, 2.0, 2.0, 2.0]
    assert {verdict.refusal for verdict in verdicts} == {None}


# --- streams ------------------------------------------------------------------------------------------------------


def test_so_many_streams_may_be_open() -> None:
    """One more when one has ended; what is no stream needs no slot."""
    toll = _toll(STREAMS)
    first, _ = (toll.admit((OPEN_STREAM,), True, 0.0) for _ in range(2))
    refusal = toll.admit((OPEN_STREAM,), True, 0.0).refusal
    assert refusal is not None
    assert (refusal.policy, refusal.is_of_streams, refusal.retry_after_s) == ("streams", True, 5)
    assert refusal.header_lines() == (
        b'RateLimit-Policy: "streams";q=2;qu="concurrent-requests"\r\nRateLimit: "streams";r=0;t=5\r\n'
    )
    assert toll.admit((SEARCH,), False, 0.0) == Verdict()
    _release(first.slots)
    assert [_refused_by(toll.admit((OPEN_STREAM,), True, 0.0)) for _ in range(2)] == ["", "streams"]


def _release(slots: Iterable[StreamSlot]) -> None:
    for slot in slots:
        slot.release()


def test_a_slot_is_given_back_once() -> None:
    """However often its stream is said to have ended."""
    toll = _toll(STREAMS)
    first, _ = (toll.admit((OPEN_STREAM,), True, 0.0) for _ in range(2))
    for _ in range(3):
        _release(first.slots)
    assert [_refused_by(toll.admit((OPEN_STREAM,), True, 0.0)) for _ in range(2)] == ["", "streams"]


def test_a_slot_is_taken_only_if_everything_else_admits() -> None:
    """And nothing is charged for a stream that finds no slot."""
    toll = _toll(STREAMS, dataclasses.replace(PER_PRINCIPAL, methods=NamePatterns(["http/stream"])))
    assert [_refused_by(toll.admit((OPEN_STREAM,), True, 0.0)) for _ in range(5)] == ["", "", *["streams"] * 3]
    assert toll.admit((OPEN_STREAM,), False, 0.0).refusal is None
    later = _toll(STREAMS, dataclasses.replace(PER_PRINCIPAL, methods=NamePatterns(["http/stream"])))
    assert _admitted(later, OPEN_STREAM, 0.0) == 3
    assert [_refused_by(later.admit((OPEN_STREAM,), True, 0.0)) for _ in range(5)] == ["per-principal"] * 5
    assert [_refused_by(later.admit((OPEN_STREAM,), True, now_s)) for now_s in (1.0, 2.0, 3.0)] == ["", "", "streams"]


def test_a_limit_of_some_methods_counts_their_streams_only() -> None:
    """A subscription has a slot, an open GET has none."""
    listen = Call("subscriptions/listen")
    toll = _toll(LimitPolicy("listen", (), concurrent_streams=1, methods=NamePatterns([listen.method])))
    assert [_refused_by(toll.admit((call,), True, 0.0)) for call in (OPEN_STREAM, listen, OPEN_STREAM, listen)] == [
        *("", "", "", "listen")
    ]


# --- reload -------------------------------------------------------------------------------------------------------


def test_a_limit_that_has_not_changed_goes_on_where_it_was() -> None:
    """Others may come and go, in another order; what was bound before still shares it."""
    before = Limiter([PER_PRINCIPAL, PER_TOOL])
    old = before.bind(HOME, "alice", "github")
    assert old.admit((SEARCH,), False, 0.0) == Verdict()
    equal = dataclasses.replace(PER_PRINCIPAL, servers=None)
    new = before.revised([PATIENT, equal]).bind(HOME, "alice", "github")
    assert new.admit((SEARCH,), False, 0.0) == Verdict()
    assert old.admit((DELETE,), False, 0.0) == Verdict()
    assert _refused_by(new.admit((SEARCH,), False, 0.0)) == "per-principal"


@pytest.mark.parametrize(
    "changes",
    [
        {"allowance": Allowance(2, 1, 4)},
        {"key": (KeyPart.ADDRESS,)},
        {"methods": NamePatterns(["tools/call"])},
        {"tools": NamePatterns(["*"])},
        {"name": "other"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_limit_that_counts_something_else_begins_anew(changes: dict[str, object]) -> None:
    """With full buckets: nobody is refused for what was never counted."""
    before = Limiter([PER_PRINCIPAL])
    assert _admitted(before.bind(HOME, "alice", "github"), SEARCH, 0.0) == 3
    changed = dataclasses.replace(PER_PRINCIPAL, **changes)  # type: ignore[arg-type]
    burst = changed.allowance.burst if changed.allowance else 0
    assert _admitted(before.revised([changed]).bind(HOME, "alice", "github"), SEARCH, 0.0) == burst


def test_how_long_is_waited_may_change_alone() -> None:
    """It is no reason to fill the buckets."""
    before = Limiter([PER_PRINCIPAL])
    _admitted(before.bind(HOME, "alice", "github"), SEARCH, 0.0)
    revised = before.revised([dataclasses.replace(PER_PRINCIPAL, wait_s=1.0)])
    assert revised.bind(HOME, "alice", "github").admit((SEARCH,), False, 0.0) == Verdict(wait_s=0.5)


def test_open_streams_stay_counted_when_only_their_number_changes() -> None:
    """They are still open, and end under either limiter."""
    before = Limiter([STREAMS])
    slots = [before.bind(HOME, "alice", "github").admit((OPEN_STREAM,), True, 0.0).slots for _ in range(2)]
    revised = before.revised([dataclasses.replace(STREAMS, concurrent_streams=3)]).bind(HOME, "alice", "github")
    assert [_refused_by(revised.admit((OPEN_STREAM,), True, 0.0)) for _ in range(2)] == ["", "streams"]
    _release(slots[0])
    assert [_refused_by(revised.admit((OPEN_STREAM,), True, 0.0)) for _ in range(2)] == ["", "streams"]


def test_two_limits_of_one_name_do_not_share() -> None:
    """A mistake in a configuration does not charge everything twice after a reload."""
    before = Limiter([PER_PRINCIPAL])
    toll = before.revised([PER_PRINCIPAL, PER_PRINCIPAL]).bind(HOME, "alice", "github")
    assert _admitted(toll, SEARCH, 0.0) == 3


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_clock_that_goes_back_fills_nothing_twice() -> None:
    """Nor does it raise; after a reload neither."""
    limiter = Limiter([PER_PRINCIPAL])
    toll = limiter.bind(HOME, "alice", "github")
    assert [_admitted(toll, SEARCH, now_s) for now_s in (100.0, 101.0, 50.0, 0.0, -3.0, 101.0)] == [3, 2, 0, 0, 0, 0]
    revised = limiter.revised([PER_PRINCIPAL, PATIENT]).bind(HOME, "bob", "github")
    assert [_admitted(revised, SEARCH, now_s) for now_s in (100.0, 101.0)] == [3, 0]


def test_a_clock_that_leaps_fills_no_bucket_above_its_burst() -> None:
    """A machine that slept for a year."""
    toll = _toll(PER_PRINCIPAL)
    assert [_admitted(toll, SEARCH, now_s) for now_s in (0.0, 3e7)] == [3, 3]


# --- against a model ----------------------------------------------------------------------------------------------

_POLICIES = [
    LimitPolicy("odd", (KeyPart.PRINCIPAL,), Allowance(7, 3, 4)),
    LimitPolicy("all", (), Allowance(3, 1, 6), wait_s=1.0),
    LimitPolicy("tools", (KeyPart.PRINCIPAL, KeyPart.TOOL), Allowance(1, 2, 2), 2, NamePatterns(["tools/*", "http/*"])),
    LimitPolicy("streams", (KeyPart.PRINCIPAL,), concurrent_streams=2),
]
_CALLS = st.sampled_from([SEARCH, SEARCH, DELETE, PING, DISCOVER, Call("resources/read", "x"), UNREAD, OPEN_STREAM])
_WHO = st.sampled_from(["alice", "bob", ""])


#: Limit, which of its buckets, principal, tool.
_Place = tuple[str, Weight, str, str]


class _Model:
    """The same in the obvious way: a fraction of tokens for each key, filled up when the time comes."""

    def __init__(self) -> None:
        self.tokens: dict[_Place, Fraction] = {}
        self.open: Counter[tuple[str, str, str]] = Counter()

    def key(self, policy: LimitPolicy, who: str, call: Call) -> tuple[str, str]:
        tool = call.name if KeyPart.TOOL in policy.key and call.method == "tools/call" else ""
        return who if policy.key else "", tool

    def pass_time(self, passed_s: Fraction) -> None:
        for place in self.tokens:
            count, period_s, burst = self.numbers(place)
            self.tokens[place] = min(Fraction(burst), self.tokens[place] + passed_s * count / period_s)

    def numbers(self, place: _Place) -> tuple[int, int, int]:
        allowance = next(policy.allowance for policy in _POLICIES if policy.name == place[0])
        assert allowance is not None
        factor = 10 if place[1] is Weight.LIGHT else 1
        return allowance.count * factor, allowance.period_s, allowance.burst * factor

    def costs(self, who: str, calls: Sequence[Call]) -> Counter[_Place]:
        costs: Counter[_Place] = Counter()
        for policy in _POLICIES:
            for call in calls:
                weight = policy.weight(call)
                if policy.allowance is not None and weight is not Weight.NOTHING:
                    costs[(policy.name, weight, *self.key(policy, who, call))] += 1
        return costs

    def waits_s(self, costs: Counter[_Place]) -> dict[_Place, Fraction]:
        waits = {}
        for place, cost in costs.items():
            count, period_s, burst = self.numbers(place)
            short = min(cost, burst) - self.tokens.setdefault(place, Fraction(burst))
            waits[place] = max(short, Fraction(0)) * period_s / count
        return waits

    def slots(self, who: str, calls: Sequence[Call]) -> list[tuple[str, str, str]]:
        found = []
        for policy in _POLICIES:
            charged = [call for call in calls if policy.weight(call) is not Weight.NOTHING]
            if policy.concurrent_streams and charged:
                found.append((policy.name, *self.key(policy, who, charged[0])))
        return found


class Traffic(RuleBasedStateMachine):
    """Requests, batches and streams of several clients, pauses, a clock that stumbles, reloads."""

    def __init__(self) -> None:
        super().__init__()
        self.limiter = Limiter(_POLICIES)
        self.tolls: dict[str, Toll] = {}
        self.model = _Model()
        self.now_ms = 1_000_000
        self.seen_ms = 0
        self.open: list[tuple[tuple[StreamSlot, ...], list[tuple[str, str, str]]]] = []

    @rule(
        who=_WHO,
        calls=st.lists(_CALLS, min_size=1, max_size=5),
        opens_stream=st.booleans(),
        early_ms=st.sampled_from([0, 0, 700]),
    )
    def ask(self, who: str, calls: list[Call], opens_stream: bool, early_ms: int) -> None:
        self.pass_time(self.now_ms - early_ms)
        toll = self.tolls.get(who) or self.tolls.setdefault(who, self.limiter.bind(HOME, who, "github"))
        verdict = toll.admit(tuple(calls), opens_stream, (self.now_ms - early_ms) / 1000)
        costs = self.model.costs(who, calls)
        waits_s, is_discover = self.model.waits_s(costs), set(calls) == {DISCOVER}
        slots = self.model.slots(who, calls) if opens_stream and not is_discover else []
        longest_s = {place: Fraction(2) if is_discover else Fraction(place[0] == "all") for place in costs}
        refused = {place: wait_s for place, wait_s in waits_s.items() if wait_s > longest_s[place]}
        if is_discover:
            costs = Counter({place: cost for place, cost in costs.items() if place not in refused})
            refused = {}
        full = {slot[0] for slot in slots if self.model.open[slot] >= 2}
        if refused or full:
            self.must_refuse(verdict, refused, full)
            return
        assert verdict.refusal is None
        assert len(verdict.slots) == len(slots)
        held_s = max((min(waits_s[place], longest_s[place]) for place in waits_s), default=Fraction(0))
        assert verdict.wait_s == pytest.approx(float(held_s), abs=2e-9)
        self.model.tokens = {place: left - costs[place] for place, left in self.model.tokens.items()}
        if slots:
            self.model.open.update(slots)
            self.open.append((verdict.slots, slots))

    def must_refuse(self, verdict: Verdict, refused: dict[_Place, Fraction], full: set[str]) -> None:
        assert verdict.refusal is not None
        longest_s = max([*refused.values(), *[Fraction(5)] * bool(full)])
        assert verdict.refusal.policy in {place[0] for place, wait_s in refused.items() if wait_s == longest_s} | full
        assert verdict.refusal.wait_s == pytest.approx(float(longest_s), abs=2e-9)
        assert verdict.slots == ()

    @rule(passed_ms=st.integers(1, 4000) | st.integers(1, 50))
    def wait(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    def pass_time(self, until_ms: int) -> None:
        passed_ms = max(until_ms - self.seen_ms, 0)
        self.model.pass_time(Fraction(passed_ms, 1000))
        self.seen_ms += passed_ms

    @rule(which=st.integers(0, 10), times=st.integers(1, 2))
    def end_stream(self, which: int, times: int) -> None:
        if not self.open:
            return
        slots, places = self.open.pop(which % len(self.open))
        for _ in range(times):
            _release(slots)
        self.model.open.subtract(places)

    @rule()
    def reload(self) -> None:
        self.limiter = self.limiter.revised(list(reversed(_POLICIES)))
        self.limiter = self.limiter.revised(_POLICIES)
        self.tolls.clear()

    @invariant()
    def nothing_is_left_of_streams_that_ended(self) -> None:
        counted = {limit.policy.name: sum(limit.streams.values()) for limit in self.limiter._limits}
        assert counted == {
            policy.name: sum(n for slot, n in self.model.open.items() if slot[0] == policy.name) for policy in _POLICIES
        }
        assert all(n > 0 for limit in self.limiter._limits for n in limit.streams.values())


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


# --- one client on several connections ------------------------------------------------------------------------------


def test_the_connections_of_a_client_share_its_toll() -> None:
    """And nobody else's: another address, principal or server is another client."""
    limiter = Limiter([PER_PRINCIPAL])
    toll = limiter.bind(HOME, "alice", "github")
    assert limiter.bind(HOME, "alice", "github") is toll
    others = [limiter.bind(b"203.0.113.8", "alice", "github"), limiter.bind(HOME, "bob", "github"), limiter.bind(HOME, "alice", "x")]
    assert all(other is not toll for other in others)
    assert limiter.revised([PER_PRINCIPAL]).bind(HOME, "alice", "github") is not toll


def test_a_client_that_was_forgotten_is_counted_on() -> None:
    """However many there have been since: what is remembered is what to do, not how often it was done."""
    limiter = Limiter([PER_PRINCIPAL])
    toll = limiter.bind(HOME, "alice", "github")
    assert _admitted(toll, SEARCH, 100.0) == 3
    for number in range(600):
        limiter.bind(HOME, f"client-{number}", "github")
    again = limiter.bind(HOME, "alice", "github")
    assert again is not toll
    assert _admitted(again, SEARCH, 100.0) == 0
