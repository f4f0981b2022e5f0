"""Token buckets in whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.policy.buckets import NS_PER_S, Allowance, Buckets, MemoryLedger, SteadyTime, take_from_all

KEY = b"alice"


def _buckets(count: int = 2, period_s: int = 1, burst: int = 3) -> Buckets:
    return Buckets(Allowance(count, period_s, burst), MemoryLedger())


def _takes(buckets: Buckets, cost: int, now_ns: int, key: bytes = KEY) -> bool:
    """Take if it can be had now."""
    if buckets.wait_ns(key, cost, now_ns):
        return False
    buckets.take(key, cost, now_ns)
    return True


def test_a_bucket_is_full_at_first_and_fills_evenly() -> None:
    """Three at once, then one every half second."""
    buckets = _buckets()
    assert [_takes(buckets, 1, 0) for _ in range(4)] == [True, True, True, False]
    assert buckets.wait_ns(KEY, 1, 0) == NS_PER_S // 2
    assert not _takes(buckets, 1, NS_PER_S // 2 - 1)
    assert _takes(buckets, 1, NS_PER_S // 2)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    """A year of silence saves nothing up."""
    buckets = _buckets()
    _takes(buckets, 1, 0)
    year_ns = 365 * 86400 * NS_PER_S
    assert buckets.remaining(KEY, year_ns) == 3
    assert [_takes(buckets, 1, year_ns) for _ in range(4)] == [True, True, True, False]


def test_keys_do_not_share() -> None:
    """What one has used up the other still has."""
    buckets = _buckets()
    buckets.take(KEY, 3, 0)
    assert (buckets.remaining(KEY, 0), buckets.remaining(b"bob", 0)) == (0, 3)


def test_a_fraction_of_a_token_is_not_a_token() -> None:
    """But it counts toward the next one."""
    buckets = _buckets()
    buckets.take(KEY, 3, 0)
    assert buckets.remaining(KEY, NS_PER_S * 9 // 10) == 1
    assert buckets.remaining(KEY, NS_PER_S) == 2


def test_more_than_a_bucket_holds_needs_a_full_one_and_leaves_a_debt() -> None:
    """A batch of ten with room for three: late, and paid for afterwards, but not impossible."""
    buckets = _buckets()
    buckets.take(KEY, 1, 0)
    assert buckets.wait_ns(KEY, 10, 0) == NS_PER_S // 2
    buckets.take(KEY, 10, NS_PER_S // 2)
    assert buckets.remaining(KEY, NS_PER_S // 2) == 0
    assert buckets.wait_ns(KEY, 1, NS_PER_S // 2) == 4 * NS_PER_S


def test_reservations_queue_up() -> None:
    """Who takes before there is anything waits for those that took before."""
    buckets = _buckets()
    buckets.take(KEY, 3, 0)
    waits = []
    for _ in range(3):
        waits.append(buckets.wait_ns(KEY, 1, 0) / NS_PER_S)
        buckets.take(KEY, 1, 0)
    assert waits == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_an_allowance_of_nothing_is_a_fault(numbers: tuple[int, int, int]) -> None:
    """It would be a division by zero, or a door that is never opened."""
    with pytest.raises(ValueError, match="admits nothing"):
        Allowance(*numbers)


@pytest.mark.parametrize(
    ("allowance", "window_s"), [(Allowance(20, 1, 40), 2), (Allowance(7, 1, 40), 6), (Allowance(10, 1, 1), 1)]
)
def test_the_window_is_the_time_in_which_a_bucket_fills(allowance: Allowance, window_s: int) -> None:
    """In whole seconds, as header fields want it."""
    assert allowance.window_s == window_s


# --- exactly ------------------------------------------------------------------------------------------------------

_allowances = st.builds(Allowance, st.integers(1, 1000), st.sampled_from([1, 60, 3600]), st.integers(1, 50))
#: Gaps between tries, up to some tokens long and down to a nanosecond.
_gaps_ns = st.lists(st.integers(0, 3 * NS_PER_S) | st.integers(0, 10), min_size=1, max_size=25)


def _greedy(buckets: Buckets, gaps_ns: list[int]) -> Iterator[tuple[int, int]]:
    """Take all there is after every gap: when, and how many."""
    now_ns = 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        yield now_ns, next(taken for taken in count() if not _takes(buckets, 1, now_ns))


@PURE
@given(_allowances, _gaps_ns)
def test_no_stretch_of_time_admits_more_than_burst_and_rate(allowance: Allowance, gaps_ns: list[int]) -> None:
    """Whenever one looks, from any try to any later one."""
    taken = list(_greedy(Buckets(allowance, MemoryLedger()), gaps_ns))
    rate = Fraction(allowance.count, allowance.period_s * NS_PER_S)
    for first, last in combinations(range(len(taken)), 2):
        admitted = sum(tokens for _, tokens in taken[first : last + 1])
        assert admitted <= allowance.burst + rate * (taken[last][0] - taken[first][0])


@PURE
@given(_allowances.filter(lambda allowance: allowance.burst > 1), st.integers(1, 40))
def test_whoever_never_lets_a_bucket_overflow_gets_every_token(allowance: Allowance, tries: int) -> None:
    """Burst and rate times time, to the token and however long: nothing is lost to rounding."""
    buckets = Buckets(allowance, MemoryLedger())
    step_ns = (allowance.burst - 1) * allowance.period_s * NS_PER_S // allowance.count
    taken = list(_greedy(buckets, [0] + [step_ns] * tries))
    rate = Fraction(allowance.count, allowance.period_s * NS_PER_S)
    assert sum(tokens for _, tokens in taken) == int(allowance.burst + rate * taken[-1][0])


@PURE
@given(_allowances, st.integers(1, 60), st.integers(1, 60), st.integers(0, 5 * NS_PER_S))
def test_waiting_as_long_as_told_is_enough_and_needed(allowance: Allowance, first: int, cost: int, now_ns: int) -> None:
    """To the nanosecond."""
    buckets = Buckets(allowance, MemoryLedger())
    buckets.take(KEY, first, now_ns)
    wait_ns = buckets.wait_ns(KEY, cost, now_ns)
    assert buckets.wait_ns(KEY, cost, now_ns + wait_ns) == 0
    assert wait_ns == 0 or buckets.wait_ns(KEY, cost, now_ns + wait_ns - 1) == 1


# --- several at once ----------------------------------------------------------------------------------------------

@PURE
@given(_allowances, st.lists(st.tuples(st.integers(0, 3 * NS_PER_S), st.integers(1, 5)), max_size=20))
def test_taking_what_is_there_is_asking_and_taking(allowance: Allowance, tries: list[tuple[int, int]]) -> None:
    """In one step; and nothing is taken by whoever would have to wait."""
    asked, at_once = Buckets(allowance, MemoryLedger()), Buckets(allowance, MemoryLedger())
    now_ns = 0
    for gap_ns, cost in tries:
        now_ns += gap_ns
        assert at_once.take_if_there(KEY, cost, now_ns) == _takes(asked, cost, now_ns)
        assert at_once.wait_ns(KEY, cost, now_ns) == asked.wait_ns(KEY, cost, now_ns)
        assert at_once.remaining(KEY, now_ns) == asked.remaining(KEY, now_ns)


_holders = st.lists(st.tuples(_allowances, st.integers(0, 60), st.integers(1, 5)), min_size=1, max_size=5)


@PURE
@given(_holders, st.integers(0, 3 * NS_PER_S))
def test_taking_from_several_is_taking_from_each_or_from_none(
    holders: list[tuple[Allowance, int, int]], now_ns: int
) -> None:
    """The short way agrees with asking every bucket first; 0 taken before is a key that is not there yet."""
    kinds = [Buckets(allowance, MemoryLedger()) for allowance, _, _ in holders]
    for buckets, (_, before, _) in zip(kinds, holders, strict=True):
        if before:
            buckets.take(KEY, before, 0)
    costs = [cost for _, _, cost in holders]
    can = all(not buckets.wait_ns(KEY, cost, now_ns) for buckets, cost in zip(kinds, costs, strict=True))
    known = all(before for _, before, _ in holders)
    left = [buckets.remaining(KEY, now_ns) for buckets in kinds]
    charges = [buckets.charge(KEY, cost) for buckets, cost in zip(kinds, costs, strict=True)]
    assert take_from_all(charges, now_ns) is (can and known)
    taken = costs if can and known else [0] * len(costs)
    expected = [max(had - cost, 0) for had, cost in zip(left, taken, strict=True)]
    assert [buckets.remaining(KEY, now_ns) for buckets in kinds] == expected


def test_nothing_is_taken_if_a_later_bucket_refuses() -> None:
    """Not even from one whose level is the same number as that of the one which refuses."""
    full, empty = _buckets(), _buckets()
    full.take(KEY, 1, 0)
    empty.take(KEY, 3, 0)
    assert not take_from_all([full.charge(KEY, 1), empty.charge(KEY, 1)], 0)
    assert (full.remaining(KEY, 0), empty.remaining(KEY, 0)) == (2, 0)


# --- time ---------------------------------------------------------------------------------------------------------


def test_time_does_not_go_back() -> None:
    """Whatever a clock says: what was filled once is not filled again."""
    time = SteadyTime()
    assert [time.read_ns(now_s) for now_s in (5.0, 3.0, -1.0, 5.5)] == [
        5 * NS_PER_S,
        5 * NS_PER_S,
        5 * NS_PER_S,
        5 * NS_PER_S + NS_PER_S // 2,
    ]


@PURE
@given(st.integers(0, 10**15), st.integers(0, 10**12))
def test_seconds_add_up_to_nanoseconds(start_ns: int, wait_ns: int) -> None:
    """Who waits as long as told, on a clock of floats, is not a nanosecond early; for a start within eleven days."""
    assert SteadyTime().read_ns(start_ns / NS_PER_S + wait_ns / NS_PER_S) == start_ns + wait_ns


# --- the ledger ---------------------------------------------------------------------------------------------------


def test_buckets_that_are_full_again_are_forgotten() -> None:
    """A thousand clients a second, each full again after one: few more are kept than are needed."""
    ledger = MemoryLedger()
    buckets = Buckets(Allowance(1, 1, 1), ledger)
    for number in range(10_000):
        buckets.take(b"%d" % number, 1, number * NS_PER_S // 1000)
    assert 1000 <= len(ledger) <= 2000


def test_a_bucket_that_is_not_full_is_kept_while_there_is_room() -> None:
    """However many others come and go."""
    ledger = MemoryLedger()
    buckets = Buckets(Allowance(1, 3600, 5), ledger)
    passing = Buckets(Allowance(1, 1, 1), ledger)
    buckets.take(KEY, 5, 0)
    for number in range(1000):
        passing.take(b"%d" % number, 1, number)
    assert buckets.remaining(KEY, NS_PER_S) == 0


def test_a_ledger_has_a_bound() -> None:
    """Also if nothing in it is ever full."""
    ledger = MemoryLedger(capacity=160)
    buckets = Buckets(Allowance(1, 3600, 1), ledger)
    for number in range(2000):
        buckets.take(b"%d" % number, 1, number)
    assert 120 <= len(ledger) <= 160


def test_without_room_the_bucket_goes_that_is_nearer_to_full() -> None:
    """Who has used up more is not forgiven for somebody who has used little."""
    ledger = MemoryLedger(capacity=16 * 2)
    buckets = Buckets(Allowance(1, 3600, 9), ledger)
    buckets.take(KEY, 9, 0)
    for number in range(1000):
        buckets.take(b"%d" % number, 1, 0)
    assert buckets.remaining(KEY, 0) == 0


def test_a_key_stays_in_its_part() -> None:
    """So that the part may be kept, and a level in it changed in place."""
    ledger = MemoryLedger()
    levels = ledger.levels(KEY)
    ledger.enter(KEY, 7, 0)
    assert levels is ledger.levels(KEY)
    assert levels == {KEY: 7}
