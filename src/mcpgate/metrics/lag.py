"""What holds everything up: a reactor that is late, a garbage collector that stops the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from mcpgate.metrics.tallies import Histogram

#: Often enough to see what a client feels, and a thousandth of a per cent of a CPU.
_TICK_S: Final = 0.5
#: A young generation takes some 10 us; 25 ms is felt.
_PAUSE_BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
_GENERATIONS: Final = 3


class Timer(Protocol):
    """A call that will be made."""

    def cancel(self) -> object:
        """It will not be made."""


class ReactorLag:
    """
    Observes twice a second how much later than due the reactor comes.

    :param call_later: as ``IReactorTime.callLater``.
    """

    def __init__(
        self, call_later: Callable[[float, Callable[[], None]], Timer], now: Callable[[], float], histogram: Histogram
    ) -> None:
        self._call_later = call_later
        self._now = now
        self._histogram = histogram
        self._timer: Timer | None = None
        self._due_s = 0.0

    def start(self) -> None:
        """Begin; once more does nothing."""
        if self._timer is None:
            self._wait()

    def stop(self) -> None:
        """End; nothing is left in the reactor."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _wait(self) -> None:
        self._due_s = self._now() + _TICK_S
        self._timer = self._call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._histogram.observe(max(0.0, self._now() - self._due_s))
        self._wait()


class GcPauses:
    """
    Observes the pauses of the garbage collector: a callback of ``gc``.

    :param now: seconds, of a clock that is fine enough for microseconds.
    :param pauses: is given a histogram for each generation now, since nothing may be added while a collection runs.
    """

    def __init__(self, now: Callable[[], float], pauses: dict[int, Histogram]) -> None:
        self._now = now
        self._pauses = pauses
        self._began_s = 0.0
        for generation in range(_GENERATIONS):
            pauses.setdefault(generation, Histogram(_PAUSE_BOUNDS))

    def __call__(self, phase: str, details: dict[str, Any]) -> None:
        """As ``gc.callbacks`` calls it, before and after each collection."""
        if phase == "start":
            self._began_s = self._now()
        elif self._began_s:
            self._pauses[details["generation"]].observe(self._now() - self._began_s)

    def install(self, callbacks: list[Any]) -> None:
        """
        Listen.

        :param callbacks: ``gc.callbacks``.
        """
        if self not in callbacks:
            callbacks.append(self)

    def remove(self, callbacks: list[Any]) -> None:
        """Listen no more; nothing happens if it did not."""
        if self in callbacks:
            callbacks.remove(self)
