"""Which replica gets the next session, or the next call of its own."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["RoundRobin"]


class RoundRobin:
    """
    Each in turn, as often as its weight says, and as evenly spread as can be: 5, 1 and 1 make ``a a b a c a a``.

    Every turn all candidates are credited with their weights; who has most is picked and pays what all have got. (That
    is nginx's smooth weighted round robin.) Who is away is credited with nothing, so nobody is flooded on its return.

    :param weights: one for each, at least 1.
    :raises ValueError: if there is none, or a smaller one.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        if not weights or min(weights) < 1:
            raise ValueError("there must be weights of at least 1")
        self._weights = tuple(weights)
        self._credits = [0] * len(weights)

    def __repr__(self) -> str:
        return f"RoundRobin({self._weights}, credits={self._credits})"

    def pick(self, usable: Sequence[bool]) -> int:
        """
        Say whose turn it is.

        :param usable: for each, whether it may be picked; if nobody may, it is as if all might.
        :returns: its index; among equals the first.
        """
        candidates = [index for index, is_usable in enumerate(usable) if is_usable] or range(len(self._weights))
        for index in candidates:
            self._credits[index] += self._weights[index]
        picked = max(candidates, key=self._credits.__getitem__)
        self._credits[picked] -= sum(self._weights[index] for index in candidates)
        return picked
