"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.policy.balance import RoundRobin


def _picks(weights: list[int], count: int) -> list[int]:
    turns = RoundRobin(weights)
    return [turns.pick([True] * len(weights)) for _ in range(count)]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1], [0, 0, 0]),
        ([1, 1, 1], [0, 1, 2, 0, 1, 2]),
        ([5, 1, 1], [0, 0, 1, 0, 2, 0, 0]),
        ([2, 1], [0, 1, 0, 0, 1, 0]),
    ],
)
def test_each_has_its_turn(weights: list[int], expected: list[int]) -> None:
    """The heavy one more often, but not all at once."""
    assert _picks(weights, len(expected)) == expected


_weights = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@PURE
@given(weights=_weights, start=st.integers(0, 50))
def test_a_round_gives_each_exactly_its_weight(weights: list[int], start: int) -> None:
    """Wherever one begins to count."""
    round_ = _picks(weights, start + sum(weights))[start:]
    assert Counter(round_) == dict(enumerate(weights))


@PURE
@given(weights=_weights, count=st.integers(1, 60))
def test_nobody_is_ahead_by_more_than_a_turn_each(weights: list[int], count: int) -> None:
    """Nobody waits for others to have all of theirs: at no moment is a share missed by as much as there are others."""
    found = Counter(_picks(weights, count))
    for index, weight in enumerate(weights):
        assert abs(found[index] - count * weight / sum(weights)) < max(len(weights) - 1, 1)


@PURE
@given(data=st.data(), weights=_weights)
def test_only_the_usable_are_picked(data: st.DataObject, weights: list[int]) -> None:
    """However often they come and go."""
    turns = RoundRobin(weights)
    for usable in data.draw(st.lists(st.tuples(*[st.booleans()] * len(weights)), max_size=20)):
        assert usable[turns.pick(usable)] or not any(usable)


def test_if_nobody_is_usable_it_is_as_if_all_were() -> None:
    """Somebody has to try, and it is not always the same."""
    turns = RoundRobin([1, 1])
    assert [turns.pick([False, False]) for _ in range(4)] == [0, 1, 0, 1]


def test_who_was_away_is_not_flooded_on_return() -> None:
    """It takes its turn like the others, whatever it missed."""
    turns = RoundRobin([1, 1])
    assert {turns.pick([True, False]) for _ in range(100)} == {0}
    assert Counter(turns.pick([True, True]) for _ in range(10)) == {0: 5, 1: 5}


@pytest.mark.parametrize("weights", [[], [0], [1, -1]])
def test_weights_must_mean_something(weights: list[int]) -> None:
    """There is somebody, and everybody has a turn."""
    with pytest.raises(ValueError, match="weights"):
        RoundRobin(weights)


def test_how_the_turns_stand_can_be_seen() -> None:
    """For a debugger."""
    turns = RoundRobin([2, 1])
    turns.pick([True, True])
    assert repr(turns) == "RoundRobin((2, 1), credits=[-1, 1])"
