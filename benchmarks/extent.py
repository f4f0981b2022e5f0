"""How much is measured: windows, counts and rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Extent:
    """
    The size of a run. Every window is long against the kernel's 10 ms clock tick.

    :ivar rounds: samples per question and subject, taken in turns.
    :ivar warm_s: load before a window opens.
    :ivar streams: open streams; the goals belong to 5,000.
    :ivar more_streams: other numbers of them at which the same is asked, where that is a question.
    :ivar events_per_stream_s: of ``streams``; other numbers of them share as many events.
    :ivar settle_s: quiet before memory is read.
    :ivar transfers: bodies of 8 MiB per sample and way.
    :ivar bystanders: streams that are open and silent while something else is measured.
    :ivar openings: streams opened one at a time.
    :ivar calls: calls made one at a time, each way.
    :ivar idle_s: how long streams are watched that do nothing.
    :ivar held: calls that wait at the same time.
    :ivar storm: clients that come at once.
    :ivar mixed_s: how long everything happens together.
    :ivar overload_s: how long there is twice as much as can be done.
    :ivar route_counts: how many servers are behind one address.
    :ivar sample_s: the longest that a sample may take, beside starting and ending its subject.
    :ivar laps: short windows of ``lap_s``, in turn over what is compared within one sample.
    """

    rounds: int = 5
    warm_s: float = 0.7
    requests_s: float = 3.0
    events_s: float = 4.0
    streams: int = 5000
    more_streams: tuple[int, ...] = (100, 1000, 9000)
    events_per_stream_s: float = 5.0
    settle_s: float = 0.5
    transfers: int = 24
    bystanders: int = 1000
    openings: int = 300
    calls: int = 400
    idle_s: float = 5.0
    held: int = 2000
    storm: int = 2000
    mixed_s: float = 4.0
    overload_s: float = 3.0
    route_counts: tuple[int, ...] = (1, 100, 1000, 10_000)
    laps: int = 4
    lap_s: float = 0.2
    sample_s: float = 60.0

    @property
    def stream_counts(self) -> list[int]:
        """All numbers of streams, in growing order."""
        return sorted({self.streams, *self.more_streams})

    @property
    def events_per_s(self) -> float:
        """Events per second over all streams."""
        return self.streams * self.events_per_stream_s

    def with_streams_at_most(self, most: int) -> Extent:
        """Return the same for a subject that cannot hold more streams: as many events on fewer of them."""
        if self.stream_counts[-1] <= most:
            return self
        streams = min(self.streams, most)
        fewer = tuple(count for count in self.more_streams if count < streams)
        return replace(self, streams=streams, more_streams=fewer, events_per_stream_s=self.events_per_s / streams)


FULL = Extent()
#: For a report of everything: shorter, so that all peers can be asked in ten minutes.
REPORT = Extent(rounds=3, warm_s=0.4, requests_s=1.5, events_s=2.0, settle_s=0.3)
QUICK = Extent(
    rounds=1,
    warm_s=0.5,
    requests_s=2.0,
    events_s=2.5,
    more_streams=(),
    settle_s=0.3,
    transfers=8,
    bystanders=200,
    openings=100,
    calls=100,
    idle_s=2.0,
    held=500,
    storm=500,
    mixed_s=2.0,
    overload_s=1.5,
    route_counts=(1, 100),
    laps=2,
    lap_s=0.15,
)
