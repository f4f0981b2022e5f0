"""
What does each feature cost that can be switched on? CPU per call beside the bare gateway, whose metrics are always on.

Asked twice: of calls whose head is the same as the one before, as that of nearly every call is, and of calls whose head
is another each time, as that of the first call of each connection is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from benchmarks import messages
from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.peers.ground import PATH
from benchmarks.questions.beside import beside
from benchmarks.questions.featured import BARE, Feature, features
from benchmarks.questions.laps import Contestant, costs_us

_HEADS = 64
#: What is asked, and whether heads differ.
_WAYS = {"": False, ", new heads": True}


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """Return CPU time per call of the bare gateway, and what each feature adds; of the cheapest lap each."""
    readings: dict[Figure, Reading] = {}
    wanted = features()
    with contextlib.ExitStack() as stack:
        subjects = {
            name: subject if each.gateway.name == subject.name else stack.enter_context(beside(subject, each.gateway))
            for name, each in wanted.items()
        }
        for way, differ in _WAYS.items():
            contestants = {
                name: Contestant(each, _different_heads(each) if differ else ()) for name, each in subjects.items()
            }
            readings |= _differences(wanted, costs_us(contestants, extent), way)
    return readings


def _differences(wanted: Mapping[str, Feature], found: Mapping[str, float], way: str) -> dict[Figure, Reading]:
    readings = {Figure(f"CPU per request, bare gateway{way}", "µs"): Reading(found[BARE], "metrics on")}
    for name, feature in wanted.items():
        if feature.against:
            figure = Figure(f"added by {name}{way}", "µs")
            readings[figure] = Reading(found[name] - found[feature.against], _beside(feature.against))
    return readings


def _beside(against: str) -> str:
    return "" if against == BARE else f"beside {against}"


def _different_heads(subject: Subject) -> list[bytes]:
    return [
        messages.call_head(f"{PATH}/mcp", subject.port, b"%bX-Turn: %d\r\n" % (subject.fields, turn))
        for turn in range(_HEADS)
    ]
