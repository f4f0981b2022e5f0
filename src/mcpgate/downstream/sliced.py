"""Work that takes longer than others should wait: done in slices, with a turn of the reactor after each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mcpgate.pipeline import Cancellable

#: A tenth of what a person notices, times a tenth: a request that comes in between waits no longer than that.
SLICE_S = 0.002


class _Job:
    """Pieces that are being collected for somebody."""

    def __init__(self, pieces: Iterator[bytes], done: Deferred[bytes]) -> None:
        self.pieces = pieces
        self.collected: list[bytes] = []
        self.done = done


class Slices:
    """
    Collects pieces that take time to make; one job after another, so that several together block no longer than one.

    :param call_later: as the reactor's.
    :param now: the clock that only goes forward.
    """

    def __init__(self, call_later: Callable[..., Cancellable], now: Callable[[], float]) -> None:
        self._call_later = call_later
        self._now = now
        self._jobs: deque[_Job] = deque()
        self._turn: Cancellable | None = None

    def collect(self, pieces: Iterator[bytes]) -> Deferred[bytes]:
        """
        All the pieces as one. The first slice is worked at once, if nobody else is at work.

        :returns: fires with the whole, or with what the iterator raised; cancelling it stops the work.
        """
        job = _Job(pieces, Deferred(lambda _: self._drop(job)))
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._work()
        return job.done

    def _work(self) -> None:
        self._turn = None
        job = self._jobs[0]
        failure = None
        try:
            finished = self._slice(job)
        except Exception:
            finished, failure = True, Failure()
        if finished:
            self._jobs.popleft()
        if self._jobs:
            self._turn = self._call_later(0, self._work)
        if failure is not None:
            job.done.errback(failure)
        elif finished:
            job.done.callback(b"".join(job.collected))

    def _slice(self, job: _Job) -> bool:
        """Whether that was the last of it."""
        until_s = self._now() + SLICE_S
        for piece in job.pieces:
            job.collected.append(piece)
            if self._now() >= until_s:
                return False
        return True

    def _drop(self, job: _Job) -> None:
        self._jobs.remove(job)
        if not self._jobs and self._turn is not None:
            self._turn.cancel()
            self._turn = None
