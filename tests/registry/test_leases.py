"""How long a registration holds, and that the gateway is not emptied by lost beats."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.registry.leases import (
    MAY_MOVE,
    Lease,
    State,
    aged,
    beaten,
    drained,
    granted,
    heartbeat_s,
    probed,
    swept,
)

TTL_S = 30.0


def _in_state(state: State, now_s: float = 0.0) -> Lease:
    """A lease of 30 s that has come to a state at a time in a way that exists."""
    fresh = granted(TTL_S, None, now_s)
    ways = {
        State.STARTING: fresh,
        State.PASSING: beaten(fresh, now_s, None, ""),
        State.WARNING: beaten(fresh, now_s, State.WARNING, "slow"),
        State.CRITICAL: beaten(fresh, now_s, State.CRITICAL, "disk full"),
        State.UNVERIFIED: granted(TTL_S, None, now_s, restored=True),
        State.DRAINING: drained(fresh, now_s),
        State.GONE: aged(beaten(granted(TTL_S, 1.0, now_s - 1), now_s - 1, State.CRITICAL, ""), now_s),
    }
    return ways[state]


def _states(leases: Mapping[str, Lease]) -> list[str]:
    return [lease.state.value for lease in leases.values()]


# --- one lease ----------------------------------------------------------------------------------------------------


def test_a_replica_that_stops_beating_is_warned_about_then_critical_then_gone() -> None:
    """Each step in its time: two thirds of the ttl, the ttl, and three ttl behind that."""
    lease = beaten(granted(TTL_S, None, 0.0), 0.0, None, "")
    assert aged(lease, 19.9) is lease
    late = aged(lease, 20.0)
    assert (late.state, late.since_s) == (State.WARNING, 20.0)
    assert aged(late, 29.9) is late
    critical = aged(late, 30.0)
    assert (critical.state, critical.since_s, critical.state.serves) == (State.CRITICAL, 30.0, False)
    assert aged(critical, 119.9) is critical
    assert aged(critical, 120.0).state is State.GONE


def test_a_beat_brings_a_critical_replica_back() -> None:
    """Whoever was cut off and is there again gets work again."""
    critical = aged(aged(granted(TTL_S, None, 0.0), 20.0), 31.0)
    assert critical.state is State.CRITICAL
    back = beaten(critical, 40.0, None, "")
    assert (back.state, back.since_s, back.acts_s) == (State.PASSING, 40.0, 60.0)


def test_a_beat_tells_how_the_replica_is() -> None:
    """State and note stand until the next beat, which says that all is well if it says nothing."""
    lease = beaten(granted(TTL_S, None, 0.0), 1.0, State.WARNING, "queue long")
    assert (lease.state, lease.reported, lease.note) == (State.WARNING, State.WARNING, "queue long")
    well = beaten(lease, 2.0, None, "")
    assert (well.state, well.reported, well.note) == (State.PASSING, None, "")


def test_critical_beats_do_not_put_off_the_end() -> None:
    """A replica that is ill for as long as it allowed is taken out, even if it says so every few seconds."""
    lease = granted(TTL_S, 25.0, 0.0)
    for now_s in (0.0, 10.0, 20.0):
        lease = beaten(lease, now_s, State.CRITICAL, "")
    assert lease.since_s == 0.0
    assert aged(lease, 25.0).state is State.GONE


@pytest.mark.parametrize("state", [State.STARTING, State.DRAINING, State.GONE, State.UNVERIFIED])
def test_a_beat_cannot_tell_every_state(state: State) -> None:
    """A replica says how it is, not what the gateway thinks of it."""
    with pytest.raises(ValueError, match="expected passing, warning or critical"):
        beaten(_in_state(State.PASSING), 1.0, state, "")


@pytest.mark.parametrize("state", [State.DRAINING, State.GONE])
def test_what_was_deleted_stays_deleted(state: State) -> None:
    """Neither beats nor probes nor time bring it back."""
    lease = _in_state(state)
    assert beaten(lease, 1.0, State.PASSING, "") is lease
    assert probed(lease, 1.0, True) is lease
    assert probed(lease, 1.0, False) is lease
    assert aged(lease, 1e9) is lease


def test_deleting_twice_is_deleting_once() -> None:
    """The first time counts; what is gone cannot be deleted."""
    lease = _in_state(State.DRAINING, 1.0)
    assert drained(lease, 5.0) is lease
    with pytest.raises(ValueError, match="gone cannot become draining"):
        drained(_in_state(State.GONE), 5.0)


@pytest.mark.parametrize(
    ("ttl_s", "given_s", "expected_s"),
    [(30.0, None, 90.0), (5.0, None, 60.0), (30.0, 7.0, 7.0), (0.0, None, math.inf), (0.0, 7.0, 7.0)],
)
def test_how_long_a_critical_replica_stays(ttl_s: float, given_s: float | None, expected_s: float) -> None:
    """Three ttl, at least a minute; without a ttl for ever; or as long as it was said."""
    assert granted(ttl_s, given_s, 0.0).deregister_s == expected_s


def test_how_often_to_beat() -> None:
    """A third of the ttl, so two beats may be lost; never where no beats are expected."""
    assert heartbeat_s(granted(30.0, None, 0.0)) == 10.0
    assert heartbeat_s(granted(0.0, None, 0.0)) == 0.0


def test_after_a_restart_a_beat_or_a_probe_decides() -> None:
    """What was restored serves until somebody refuses, or nobody beats for a ttl."""
    lease = _in_state(State.UNVERIFIED)
    assert lease.state.serves
    assert probed(lease, 1.0, True).state is State.PASSING
    assert probed(lease, 1.0, False).state is State.CRITICAL
    assert beaten(lease, 1.0, None, "").state is State.PASSING
    assert aged(lease, 29.9) is lease
    assert aged(lease, 30.0).state is State.CRITICAL


def test_an_answered_probe_is_no_beat() -> None:
    """Who promised beats must send them, even if the port is open."""
    lease = probed(granted(TTL_S, None, 0.0), 15.0, True)
    assert (lease.state, lease.beaten_s) == (State.PASSING, 0.0)
    assert aged(lease, 30.0).state is State.CRITICAL


@pytest.mark.parametrize("state", [State.STARTING, State.PASSING, State.WARNING, State.CRITICAL])
def test_a_refused_probe_does_not_overrule_beats(state: State) -> None:
    """Who has just registered need not listen yet; who beats is believed."""
    lease = _in_state(state)
    assert probed(lease, 1.0, False) is lease


def test_without_a_ttl_probes_decide_and_time_does_nothing() -> None:
    """Who sends no beats is never gone by itself."""
    lease = granted(0.0, None, 0.0)
    assert aged(lease, 1e9) is lease
    critical = probed(lease, 1.0, False)
    assert critical.state is State.CRITICAL
    assert aged(critical, 1e9) is critical
    assert probed(critical, 2.0, True).state is State.PASSING
    assert aged(probed(granted(0.0, 5.0, 0.0), 1.0, False), 6.0).state is State.GONE


def test_an_open_port_does_not_overrule_what_the_replica_says() -> None:
    """Who reported to be ill is ill until it reports otherwise."""
    lease = beaten(granted(0.0, None, 0.0), 1.0, State.CRITICAL, "no database")
    assert probed(lease, 2.0, True).state is State.CRITICAL
    warned = beaten(lease, 3.0, State.WARNING, "")
    assert probed(probed(warned, 4.0, False), 5.0, True).state is State.WARNING


def test_whoever_slept_takes_the_steps_one_by_one() -> None:
    """A machine that was suspended for a day does not forget everybody in the turn in which it wakes."""
    lease = aged(granted(TTL_S, None, 0.0), 86400.0)
    assert (lease.state, lease.since_s) == (State.CRITICAL, 86400.0)
    assert aged(lease, 86400.0) is lease


# --- any course of events -----------------------------------------------------------------------------------------

_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["beat", "warning", "critical", "answered", "refused", "delete", "time", "sweep"]),
        st.floats(0, 50),
    ),
    max_size=25,
)


def _after(lease: Lease, event: str, now_s: float) -> Lease:
    if event in ("answered", "refused"):
        return probed(lease, now_s, event == "answered")
    if event == "delete":
        return lease if lease.state is State.GONE else drained(lease, now_s)
    if event == "time":
        return aged(lease, now_s)
    if event == "sweep":
        return swept({"a": lease}, now_s).changed.get("a", lease)
    return beaten(lease, now_s, None if event == "beat" else State(event), "")


@PURE
@given(st.sampled_from([0.0, 1.0, TTL_S]), st.booleans(), _EVENTS)
def test_nothing_ever_makes_a_move_that_is_not_in_the_table(
    ttl_s: float, restored: bool, events: list[tuple[str, float]]
) -> None:
    """Whatever happens in whatever order; and since when is told anew exactly when the state is another."""
    lease, now_s = granted(ttl_s, None, 0.0, restored=restored), 0.0
    for event, wait_s in events:
        now_s += wait_s
        after = _after(lease, event, now_s)
        if after.state is lease.state:
            assert after.since_s == lease.since_s
        else:
            assert after.state in MAY_MOVE[lease.state]
            assert after.since_s == now_s
        assert after.state.serves or not after.is_held
        lease = after


def test_every_move_of_the_table_can_happen() -> None:
    """The table promises nothing that no event brings."""
    seen = set()
    for state in State:
        for event in ("beat", "warning", "critical", "answered", "refused", "delete", "time"):
            for now_s in (1.0, 21.0, 31.0, 200.0):
                seen.add((state, _after(_in_state(state), event, now_s).state))
    moves = {(here, there) for here, allowed in MAY_MOVE.items() for there in allowed}
    assert {(here, there) for here, there in seen if here is not there} == moves


@PURE
@given(st.lists(st.floats(0.01, 29.9), min_size=1, max_size=20))
def test_who_beats_in_time_never_expires(waits_s: list[float]) -> None:
    """However irregular, as long as it is within the ttl."""
    lease, now_s = granted(TTL_S, None, 0.0), 0.0
    for wait_s in waits_s:
        now_s += wait_s
        lease = aged(lease, now_s)
        assert lease.state.serves
        lease = beaten(lease, now_s, None, "")
    assert lease.state is State.PASSING


@PURE
@given(st.sampled_from(State), st.floats(0, 500))
def test_time_that_stands_still_changes_nothing(state: State, now_s: float) -> None:
    """To look twice is to look once, unless the first look moved it: then for one more step at most."""
    once = aged(_in_state(state), now_s)
    assert aged(once, now_s) == once
    assert aged(once, now_s - 1000.0) is once


# --- all of them --------------------------------------------------------------------------------------------------


def _beating(count: int, at_s: float = 0.0) -> dict[str, Lease]:
    return {f"s{index}": beaten(granted(TTL_S, None, at_s), at_s, None, "") for index in range(count)}


def test_some_that_stop_beating_go() -> None:
    """Up to half of all is what servers do."""
    leases = _beating(2) | {"x": beaten(granted(TTL_S, None, 5.0), 5.0, None, "")} | {"y": granted(TTL_S, None, 5.0)}
    sweep = swept(leases, 31.0)
    assert {key: lease.state for key, lease in sweep.changed.items() if key in ("s0", "s1")} == {
        "s0": State.CRITICAL,
        "s1": State.CRITICAL,
    }
    assert (sweep.newly_held, sweep.held) == ((), 0)


def test_more_than_half_that_stop_beating_stay() -> None:
    """The gateway is not emptied because beats do not reach it; what stays is marked."""
    leases = _beating(3) | {"x": granted(TTL_S, None, 20.0)}
    sweep = swept(leases, 31.0)
    assert (set(sweep.newly_held), sweep.held) == ({"s0", "s1", "s2"}, 3)
    assert {lease.state for lease in sweep.changed.values()} == {State.PASSING}
    assert all(lease.is_held for lease in sweep.changed.values())
    again = swept(leases | sweep.changed, 32.0)
    assert (again.changed, again.newly_held, again.held) == ({}, (), 3)


def test_a_held_replica_that_refuses_connections_goes() -> None:
    """Somebody is there and says that nobody is: so the last server of all, if its process is dead, goes too."""
    leases = _beating(1)
    leases |= swept(leases, 31.0).changed
    assert leases["s0"].is_held
    sweep = swept(leases, 32.0, {"s0"})
    assert (_states(sweep.changed), sweep.changed["s0"].is_held, sweep.held) == (["critical"], False, 0)


def test_refusing_is_no_reason_to_go_for_who_beats() -> None:
    """Only of those whose beats stopped."""
    assert swept(_beating(3), 1.0, {"s0", "s1", "s2"}).changed == {}


def test_a_beat_frees_a_held_replica_and_the_others_go_when_most_are_back() -> None:
    """The guard decides anew each time."""
    leases = _beating(4)
    leases |= swept(leases, 31.0).changed
    for key in ("s0", "s1"):
        leases[key] = beaten(leases[key], 32.0, None, "")
        assert not leases[key].is_held
    sweep = swept(leases, 33.0)
    assert {key: lease.state for key, lease in sweep.changed.items()} == {"s2": State.CRITICAL, "s3": State.CRITICAL}
    assert sweep.held == 0


def test_beats_that_stop_one_after_the_other_are_held_as_well() -> None:
    """Beats are spread over the ttl, so a broken way to the registry shows within one ttl, not at one moment."""
    leases = {f"s{index}": granted(TTL_S, None, float(index)) for index in range(20)}
    for now_s in range(20, 60):
        leases |= swept(leases, float(now_s)).changed
    assert sum(lease.state.serves for lease in leases.values()) == 10
    assert sum(lease.is_held for lease in leases.values()) == 10


def test_reports_of_illness_are_believed_however_many() -> None:
    """The guard is against silence."""
    leases = {key: beaten(lease, 1.0, State.CRITICAL, "") for key, lease in _beating(3).items()}
    assert not any(lease.state.serves for lease in leases.values())
    assert swept(leases, 2.0).held == 0


def test_who_sends_no_beats_counts_neither_way() -> None:
    """A hundred servers without a lease do not make it safe to lose all that have one."""
    leases = _beating(2) | {f"p{index}": granted(0.0, None, 0.0) for index in range(100)}
    assert swept(leases, 31.0).held == 2


def test_after_a_restart_without_beats_nobody_is_dropped_in_silence() -> None:
    """If none of the restored ones beats, the fault is more likely ours."""
    leases = {f"s{index}": granted(TTL_S, None, 0.0, restored=True) for index in range(3)}
    sweep = swept(leases, 30.0)
    assert (sweep.held, _states(sweep.changed)) == (3, ["unverified"] * 3)


_AGES = st.lists(st.floats(0, 70), min_size=1, max_size=12)


@PURE
@given(_AGES, st.lists(st.floats(0.1, 15), min_size=1, max_size=10), st.sets(st.integers(0, 11)))
def test_beats_that_stop_never_take_more_than_half_within_a_ttl(
    ages_s: list[float], waits_s: list[float], refused: set[int]
) -> None:
    """Unless they refuse connections; sweep by sweep, whatever the times."""
    leases = {index: granted(TTL_S, 1e9, 70.0 - age_s) for index, age_s in enumerate(ages_s)}
    now_s, went_s = 70.0, dict[int, float]()
    for wait_s in waits_s:
        now_s += wait_s
        serving = [index for index, lease in leases.items() if lease.state.serves]
        lately = [index for index, at_s in went_s.items() if at_s > now_s - TTL_S]
        sweep = swept(leases, now_s, refused)
        gone = {index for index in serving if index in sweep.changed and not sweep.changed[index].state.serves}
        leases |= sweep.changed
        went_s |= dict.fromkeys(gone, now_s)
        willing = gone - refused
        assert not willing or 2 * (len(willing) + len(lately)) <= len(serving) + len(lately)
        assert sweep.held == sum(lease.is_held for lease in leases.values())
