"""Whether a request body arrives fast enough, and whether a client takes its answer."""

from __future__ import annotations

#: A client slower than this, measured from the start of its body, is refused (a phone on a bad line manages 10 times
#: that; an attack that holds a connection per byte does not). nginx and haproxy only look at single gaps.
MIN_BYTES_PER_S = 500
GRACE_S = 10.0
_CHECK_S = 1.0


class BodyPace:
    """
    The clock of one request body. Bytes that we did not ask for yet (`restart` after a pause) do not count.

    :param timeout_s: longest gap without a byte.
    """

    __slots__ = ("_bytes", "_last_s", "_started_s", "_timeout_s")

    def __init__(self, timeout_s: float, now_s: float) -> None:
        self._timeout_s = timeout_s
        self.restart(now_s)

    def restart(self, now_s: float) -> None:
        """Begin anew: until now it was our side that did not read."""
        self._started_s = self._last_s = now_s
        self._bytes = 0

    def add(self, count: int, now_s: float) -> None:
        """Some bytes came."""
        self._bytes += count
        self._last_s = now_s

    def is_too_slow(self, now_s: float) -> bool:
        """Whether to give up on this body now."""
        if now_s >= self._last_s + self._timeout_s:
            return True
        elapsed_s = now_s - self._started_s
        return elapsed_s > GRACE_S and self._bytes < MIN_BYTES_PER_S * elapsed_s

    def next_check_s(self, now_s: float) -> float:
        """When to ask `is_too_slow` again."""
        return min(self._last_s + self._timeout_s, max(self._started_s + GRACE_S, now_s) + _CHECK_S)


class TakingPace:
    """
    Whether a client takes what is written to it.

    Looked at once in the time that it may be still: it is stuck if all that while something waited and no byte went.
    """

    __slots__ = ("_taken_bytes", "written_bytes")

    def __init__(self) -> None:
        self.written_bytes = 0
        self._taken_bytes = -1

    def begin(self, unsent_bytes: int) -> None:
        """From now on count."""
        self._taken_bytes = self.written_bytes - unsent_bytes if unsent_bytes else -1

    def is_stuck(self, unsent_bytes: int) -> bool:
        """Whether nothing of what waited at `begin` has gone out since."""
        return 0 <= self.written_bytes - unsent_bytes <= self._taken_bytes
