"""How much is measured: windows, counts and rounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extent:
    """
    The size of a run. Every window is long against the kernel's 10 ms clock tick.

    :ivar rounds: samples per question and subject, taken in turns.
    :ivar warm_s: load before a window opens.
    :ivar settle_s: quiet before memory is read.
    :ivar transfers: bodies of 100 MiB per sample and way.
    """

    rounds: int = 5
    warm_s: float = 0.7
    requests_s: float = 3.0
    events_s: float = 4.0
    streams: int = 5000
    events_per_stream_s: float = 5.0
    settle_s: float = 0.5
    transfers: int = 4


FULL = Extent()
QUICK = Extent(rounds=1, warm_s=0.5, requests_s=2.0, events_s=2.5, settle_s=0.3, transfers=2)
