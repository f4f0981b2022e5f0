"""
What do large bodies cost? CPU per MiB each way, and how far the memory grows while one passes.

The gateway with all features on lets no large body in: its limit charges by what a body asks for, and what is larger
than ``http.max_inspect_bytes`` is refused unread. Here it has everything but that limit, as where files are sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from benchmarks.extent import Extent
from benchmarks.figures import JUDGED, Figure, Goal, Reading
from benchmarks.harness import Subject
from benchmarks.load import fetch_bulk, send_bulk
from benchmarks.messages import MIB
from benchmarks.peers.gateway import UNLIMITED
from benchmarks.questions.beside import beside

BODY_MIB = 8
LARGEST_MIB = 100
_CPU_GOAL = (Goal("nginx", 1.5, 1.0),)
_GROWTH_GOAL_MIB = 8.0

_Transfer = Callable[[Subject, int, int], None]
_WAYS: dict[_Transfer, tuple[Figure, Figure]] = {
    fetch_bulk: (
        Figure("CPU per MiB of an 8 MiB response", "µs", _CPU_GOAL),
        Figure("growth by a 100 MiB response", "MiB", value_goal=_GROWTH_GOAL_MIB),
    ),
    send_bulk: (
        Figure("CPU per MiB of an 8 MiB request", "µs", _CPU_GOAL),
        Figure("growth by a 100 MiB request", "MiB", value_goal=_GROWTH_GOAL_MIB),
    ),
}


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """
    Return for each way CPU time per MiB, of bodies that follow each other over a connection that is kept, and the
    growth of the peak resident size by one that is larger.
    """
    readings: dict[Figure, Reading] = {}
    with _open_to_large_bodies(subject) as open_subject:
        for transfer, (per_mib, growth) in _WAYS.items():
            transfer(open_subject, BODY_MIB, 1)
            before_s = open_subject.tree.cpu_s()
            transfer(open_subject, BODY_MIB, extent.transfers)
            used_s = open_subject.tree.cpu_s() - before_s
            readings[per_mib] = Reading(used_s / (extent.transfers * BODY_MIB) * 1e6)
            readings[growth] = Reading(_growth_mib(open_subject, transfer))
    return readings


def _growth_mib(subject: Subject, transfer: _Transfer) -> float:
    subject.tree.reset_peak()
    before_kib = subject.tree.peak_kib()
    transfer(subject, LARGEST_MIB, 1)
    return (subject.tree.peak_kib() - before_kib) * 1024 / MIB


def _open_to_large_bodies(subject: Subject) -> AbstractContextManager[Subject]:
    return beside(subject, UNLIMITED) if subject.name == JUDGED else contextlib.nullcontext(subject)
