"""Hypothesis strategies for what the tests of the whole gateway share."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st

#: An example through the whole gateway takes about a millisecond; the budget of a test is a tenth of a second.
THROUGH_THE_GATEWAY = settings(max_examples=60, deadline=None)

cuts = st.lists(st.integers(0, 10_000), max_size=8)


def split(whole: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at places (taken modulo their length) into pieces that are not empty."""
    ends = [0, *sorted({place % len(whole) for place in places} - {0}), len(whole)]
    return [whole[start:end] for start, end in pairwise(ends)]
