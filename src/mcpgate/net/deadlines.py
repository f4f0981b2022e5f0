"""
All deadlines of all connections in one coarse sweep, instead of a timer for each.

A lazy timing wheel: time is cut into ticks, a bucket holds what may become due within one tick, and one timer
waits for the earliest bucket. Moving a deadline later touches no bucket; the item is filed anew when its old
bucket comes round. So a connection that gets a new deadline with every request is filed once per deadline
length, and what has no deadline (an idle stream) is in no bucket at all and costs nothing.

No Twisted here: the timer, the clock and the place for errors are passed in.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Protocol

# The gateway's deadlines are seconds to minutes (header 10 s, keep-alive 75 s); a quarter of a second late is
# within what they promise, and four wake-ups per second under load are nothing.
TICK_S = 0.25

NEVER_S = math.inf


class Timer(Protocol):
    """What ``call_later`` returns: ``IDelayedCall``, or anything else that can be called off."""

    def cancel(self) -> object:
        """Make the call not happen."""


class Watched:
    """
    Something with one deadline at a time. Hashed by identity.

    Setting ``deadline_s`` to ``NEVER_S`` directly is always right, and the cheapest way to call a deadline
    off; any other value must go through :meth:`Deadlines.watch`.
    """

    __slots__ = ("_bucket_from_s", "deadline_s")

    deadline_s: float
    # The start of the tick this is filed under; NEVER_S while in no bucket.
    _bucket_from_s: float

    def __init__(self) -> None:
        self.deadline_s = NEVER_S
        self._bucket_from_s = NEVER_S

    def deadline_passed(self, now_s: float) -> None:
        """
        Act on the deadline; called once for it, and ``deadline_s`` is ``NEVER_S`` again.

        :param now_s: the time of the sweep, at or after the deadline.
        """
        raise NotImplementedError


class Deadlines:
    """
    Watch over many deadlines with one timer, which exists only while something is filed.

    A deadline is acted on between its time and one tick later, as exactly as ``call_later`` keeps time. One
    that lies in the past already is acted on within a tick, never inside ``watch``.

    :param call_later: as ``IReactorTime.callLater``: seconds and a callable.
    :param now: monotonic seconds, the same clock as ``call_later``'s.
    :param tick_s: how late a deadline may be noticed.
    :param on_error: called in the ``except`` block with what a ``deadline_passed`` raised; must not raise.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Timer],
        now: Callable[[], float],
        tick_s: float = TICK_S,
        *,
        on_error: Callable[[Exception], object],
    ) -> None:
        self._call_later = call_later
        self._now = now
        self._tick_s = tick_s
        self._on_error = on_error
        # Start of a tick -> what is filed there. A dict for its order: equal deadlines are acted on as filed.
        self._buckets: dict[float, dict[Watched, None]] = {}
        self._starts: list[float] = []
        self._filed_count = 0
        self._unswept_from_s = -math.inf
        self._timer: Timer | None = None
        self._timer_at_s = NEVER_S

    def __repr__(self) -> str:
        return f"<Deadlines: {self._filed_count} filed in {len(self._buckets)} buckets>"

    def watch(self, item: Watched, at_s: float) -> None:
        """
        Give ``item`` the deadline ``at_s`` in place of the one it has.

        Costs 65 ns unless the item must move to an earlier bucket: 0.1 of ``IDelayedCall.reset`` and 0.015 of
        ``callLater`` and ``cancel`` (measured 2026-11).

        :param at_s: a time of the clock, or ``NEVER_S`` for none.
        """
        item.deadline_s = at_s
        if at_s < item._bucket_from_s:
            self._file(item)

    def forget(self, item: Watched) -> None:
        """Drop ``item`` and its deadline now; nothing here refers to it any more."""
        item.deadline_s = NEVER_S
        if item._bucket_from_s < NEVER_S:
            self._take_out(item)
        if self._starts and not self._filed_count:
            self._rest()

    def _file(self, item: Watched) -> None:
        tick_s = self._tick_s
        start_s = max((math.ceil(item.deadline_s / tick_s) - 1) * tick_s, self._unswept_from_s)
        if start_s == item._bucket_from_s:
            return
        if item._bucket_from_s < NEVER_S:
            self._take_out(item)
        item._bucket_from_s = start_s
        self._filed_count += 1
        bucket = self._buckets.get(start_s)
        if bucket is None:
            bucket = self._buckets[start_s] = {}
            heapq.heappush(self._starts, start_s)
        bucket[item] = None
        if start_s + tick_s < self._timer_at_s:
            self._set_timer(start_s + tick_s)

    def _take_out(self, item: Watched) -> None:
        # An emptied bucket stays until its tick, so that its start is in the heap once.
        bucket = self._buckets.get(item._bucket_from_s)
        if bucket is not None and item in bucket:
            del bucket[item]
            self._filed_count -= 1
        item._bucket_from_s = NEVER_S

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = self._call_later(max(0.0, at_s - self._now()), self._sweep)

    def _rest(self) -> None:
        """Forget empty buckets and wake up for nothing."""
        self._buckets.clear()
        self._starts.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._timer_at_s = NEVER_S

    def _sweep(self) -> None:
        # A clock may read a rounding error less than the moment it was asked to call at.
        now_s = max(self._now(), self._timer_at_s)
        self._timer = None
        # Filing anew must not set timers one by one.
        self._timer_at_s = -math.inf
        self._unswept_from_s = self._tick_start_s(now_s)
        try:
            while self._starts and self._starts[0] < self._unswept_from_s:
                self._empty(heapq.heappop(self._starts), now_s)
        finally:
            if self._filed_count:
                self._set_timer(self._starts[0] + self._tick_s)
            else:
                self._rest()

    def _tick_start_s(self, now_s: float) -> float:
        tick_number = math.floor(now_s / self._tick_s)
        while tick_number * self._tick_s + self._tick_s <= now_s:
            # The division was rounded down. Without this a sweep could find nothing and come again at once.
            tick_number += 1
        return tick_number * self._tick_s

    def _empty(self, start_s: float, now_s: float) -> None:
        bucket = self._buckets.pop(start_s)
        self._filed_count -= len(bucket)
        for item in bucket:
            if item._bucket_from_s != start_s:
                # Forgotten, or given an earlier deadline, by one that was acted on just before.
                continue
            item._bucket_from_s = NEVER_S
            if item.deadline_s <= now_s:
                self._act(item, now_s)
            elif item.deadline_s < NEVER_S:
                self._file(item)

    def _act(self, item: Watched, now_s: float) -> None:
        item.deadline_s = NEVER_S
        try:
            item.deadline_passed(now_s)
        except Exception as raised:
            self._on_error(raised)
