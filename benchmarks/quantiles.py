"""The usual and the worst of many times. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """
    Return the smallest value that at least this share of all values does not exceed (nearest rank).

    :param share: above 0, at most 1; 0.5 is the median, 0.99 what one in a hundred exceeds.
    :raises ValueError: if there are no values.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
