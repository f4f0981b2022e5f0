"""benchmarks.quantiles: the usual and the worst of many times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quantiles import quantile


def test_one_in_a_hundred_is_longer_than_the_99th() -> None:
    """Of the times 1 to 1,000 ms, 990 ms are exceeded by ten."""
    times = [float(number) for number in range(1000, 0, -1)]
    assert (quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1.0)) == (500.0, 990.0, 1000.0)


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0.01, 1.0))
def test_it_is_the_smallest_that_so_many_do_not_exceed(times: list[float], share: float) -> None:
    """It was measured, enough of the others are not longer, and with any shorter one that would not be so."""
    found = quantile(times, share)
    assert found in times
    assert sum(time <= found for time in times) >= share * len(times)
    assert sum(time < found for time in times) < share * len(times)


def test_nothing_has_no_quantile() -> None:
    """A window in which nothing came must not look like a quick one."""
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
