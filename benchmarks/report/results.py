"""All that a run has found: what results.json holds. Pure, but for reading and writing that file."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.figures import Figure, Judgement, Reading, Verdict, judge, judged_among


@dataclass(frozen=True)
class PeerNotes:
    """
    How a subject was set up.

    :ivar command: as started, without this machine's paths.
    :ivar files: what it was given to read, by name.
    """

    version: str = ""
    command: str = ""
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One figure of one question, and what each subject needed."""

    question: str
    figure: Figure
    readings: dict[str, list[Reading]]


@dataclass(frozen=True)
class Results:
    """
    A run.

    :ivar failed: by question and subject, why there are no figures.
    :ivar missing: subjects that are not installed, and what to install.
    """

    machine: dict[str, str | float]
    extent: dict[str, float | list[float]]
    took_s: float
    answers: list[Answer] = field(default_factory=list)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    peers: dict[str, PeerNotes] = field(default_factory=dict)

    def questions(self) -> dict[str, list[Answer]]:
        """Return the figures of each question, sizes of one family beside each other."""
        found: dict[str, list[Answer]] = {name: [] for name in self.failed}
        for answer in self.answers:
            found.setdefault(answer.question, []).append(answer)
        return {name: _by_family(found[name]) for name in self._order() if name in found}

    def subjects_of(self, question: str) -> list[str]:
        """Return who was asked, in the order in which all were started."""
        asked = set(self.failed.get(question, ()))
        for answer in self.answers:
            if answer.question == question:
                asked |= set(answer.readings)
        order = list(self.peers)
        return sorted(asked, key=lambda name: order.index(name) if name in order else len(order))

    def judgements(self, answer: Answer) -> list[Judgement]:
        """Return how the goals of this figure came out; a gateway that has failed holds none."""
        subjects = [*answer.readings, *self.failed.get(answer.question, ())]
        judged = judged_among(subjects)
        found = judge(answer.figure, answer.readings, judged)
        if judged in self.failed.get(answer.question, ()):
            return [dataclasses.replace(each, verdict=Verdict.MISSED) for each in found]
        return found

    def tally(self) -> Counter[Verdict]:
        """Count the verdicts over all goals."""
        return Counter(each.verdict for answer in self.answers for each in self.judgements(answer))

    def _order(self) -> list[str]:
        return list(dict.fromkeys([*(answer.question for answer in self.answers), *self.failed]))


def _by_family(answers: Sequence[Answer]) -> list[Answer]:
    """In the order in which families came, each from its smallest size on."""
    names = list(dict.fromkeys(answer.figure.name for answer in answers))
    return sorted(answers, key=lambda answer: (names.index(answer.figure.name), answer.figure.at or 0))


def write(results: Results, path: Path) -> None:
    """Write all as JSON that people can read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def read(path: Path) -> Results:
    """
    Read what `write` has written.

    :raises msgspec.ValidationError: if it is something else; with the place in it.
    """
    return msgspec.json.decode(path.read_bytes(), type=Results)
