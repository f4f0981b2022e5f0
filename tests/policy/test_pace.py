"""Whether a request body arrives fast enough, and whether a client takes its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.policy.pace import GRACE_S, MIN_BYTES_PER_S, BodyPace, TakingPace

TIMEOUT_S = 60.0


def test_a_silent_client_is_given_up() -> None:
    """After the timeout, from the last byte on."""
    pace = BodyPace(TIMEOUT_S, 100.0)
    pace.add(1_000_000, 130.0)
    assert not pace.is_too_slow(189.9)
    assert pace.is_too_slow(190.0)


def test_a_trickle_is_given_up_although_it_never_pauses() -> None:
    """A byte now and then would hold a connection for ever."""
    pace = BodyPace(TIMEOUT_S, 0.0)
    verdicts = []
    for second in range(1, 13):
        pace.add(MIN_BYTES_PER_S - 1, float(second))
        verdicts.append(pace.is_too_slow(float(second)))
    assert verdicts == [False] * 10 + [True] * 2


def test_a_slow_line_is_enough() -> None:
    """Twice the least pace, in gulps with pauses between them."""
    pace = BodyPace(TIMEOUT_S, 0.0)
    for second in range(0, 600, 10):
        pace.add(MIN_BYTES_PER_S * 20, float(second))
        assert not pace.is_too_slow(second + 9.9)


def test_a_start_may_be_slow() -> None:
    """Nothing but silence is held against a client in its first seconds."""
    pace = BodyPace(TIMEOUT_S, 0.0)
    assert not pace.is_too_slow(GRACE_S)
    assert pace.is_too_slow(GRACE_S + 0.1)


def test_what_we_did_not_ask_for_does_not_count() -> None:
    """While the server takes nothing, the client cannot send; its time begins anew afterwards."""
    pace = BodyPace(TIMEOUT_S, 0.0)
    pace.add(10, 1.0)
    pace.restart(500.0)
    assert not pace.is_too_slow(510.0)
    assert pace.is_too_slow(510.1)


def test_a_timeout_shorter_than_the_grace_holds() -> None:
    """Silence is looked at from the first second on."""
    pace = BodyPace(2.0, 0.0)
    assert not pace.is_too_slow(1.9)
    assert pace.is_too_slow(2.0)


class _Model:
    """The same in the obvious way: every piece is kept."""

    def __init__(self, timeout_s: float, now_s: float) -> None:
        self.timeout_s = timeout_s
        self.restart(now_s)

    def restart(self, now_s: float) -> None:
        self.start_s = now_s
        self.pieces: list[tuple[float, int]] = []

    def add(self, count: int, now_s: float) -> None:
        self.pieces.append((now_s, count))

    def is_too_slow(self, now_s: float) -> bool:
        last_s = max([self.start_s, *(at_s for at_s, _ in self.pieces)])
        if now_s - last_s >= self.timeout_s:
            return True
        took_s = now_s - self.start_s
        return took_s > GRACE_S and sum(count for _, count in self.pieces) / took_s < MIN_BYTES_PER_S


_steps = st.tuples(st.sampled_from(["add", "add", "restart", "ask"]), st.integers(0, 40), st.integers(0, 20_000))


@PURE
@given(steps=st.lists(_steps, max_size=20), timeout_s=st.sampled_from([1.0, 5.0, 60.0]))
def test_the_pace_agrees_with_keeping_every_piece(steps: list[tuple[str, int, int]], timeout_s: float) -> None:
    """Whatever comes when: the same verdict (times in quarters of a second, which floats hold exactly)."""
    now_s = 1000.0
    pace, model = BodyPace(timeout_s, now_s), _Model(timeout_s, now_s)
    for what, quarters, count in steps:
        now_s += quarters / 4
        if what == "add":
            pace.add(count, now_s)
            model.add(count, now_s)
        elif what == "restart":
            pace.restart(now_s)
            model.restart(now_s)
        assert pace.is_too_slow(now_s) is model.is_too_slow(now_s)


@PURE
@given(steps=st.lists(_steps, max_size=20), timeout_s=st.sampled_from([1.0, 5.0, 60.0]))
def test_whoever_asks_when_told_asks_in_time(steps: list[tuple[str, int, int]], timeout_s: float) -> None:
    """The next look lies ahead, not behind the end of silence, and at most a second behind the end of the grace."""
    now_s = 1000.0
    pace = BodyPace(timeout_s, now_s)
    last_s = start_s = now_s
    for what, quarters, count in steps:
        now_s += quarters / 4
        if what == "add":
            pace.add(count, now_s)
            last_s = now_s
        elif what == "restart":
            pace.restart(now_s)
            last_s = start_s = now_s
        if not pace.is_too_slow(now_s):
            look_s = pace.next_check_s(now_s)
            assert now_s < look_s <= last_s + timeout_s
            assert look_s <= max(start_s + GRACE_S, now_s) + 1


@pytest.mark.parametrize(("sent", "looks"), [(0, 2), (4000, 2), (499 * 30, 20)])
def test_few_looks_find_a_slow_client(sent: int, looks: int) -> None:
    """One at the end of the grace, then one a second; never more than a second late."""
    pace = BodyPace(TIMEOUT_S, 0.0)
    pace.add(sent, 0.0)
    too_slow_s = max(GRACE_S, sent / MIN_BYTES_PER_S)
    now_s, count = 0.0, 0
    while not pace.is_too_slow(now_s):
        now_s = pace.next_check_s(now_s)
        count += 1
    assert now_s <= too_slow_s + 1
    assert count <= looks


# --- taking an answer ---------------------------------------------------------------------------------------------


@PURE
@given(steps=st.lists(st.tuples(st.sampled_from(["write", "take", "begin", "ask"]), st.integers(0, 9)), max_size=30))
def test_a_client_is_stuck_that_takes_no_byte_while_some_wait(steps: list[tuple[str, int]]) -> None:
    """Whatever is written meanwhile: one byte taken since the last look is enough, and so is an empty buffer then."""
    pace, unsent, waited, taken = TakingPace(), 0, False, 0
    for what, count in steps:
        if what == "write":
            pace.written_bytes += count
            unsent += count
        elif what == "take":
            taken += min(count, unsent)
            unsent -= min(count, unsent)
        elif what == "begin":
            pace.begin(unsent)
            waited, taken = unsent > 0, 0
        assert pace.is_stuck(unsent) is (waited and not taken)


def test_bytes_beside_the_count_do_not_cut_a_client() -> None:
    """TLS writes more than it was given: what cannot be compared is no reason."""
    pace = TakingPace()
    pace.written_bytes = 10
    pace.begin(30)
    assert not pace.is_stuck(30)
