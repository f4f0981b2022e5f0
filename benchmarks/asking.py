"""
Ask: every question of every subject, in turns, within one run.

The first round is asked of all. Later ones, where a report is made, only of those whom a goal compares, so that the
spread of these ratios is known and the run ends in time. A subject that is not installed is left out; one
that breaks what it delivers, or the machine, fails in that question and is not asked it again; the run goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from benchmarks.answers import BrokenAnswer
from benchmarks.extent import Extent
from benchmarks.figures import JUDGED, Figure, Reading
from benchmarks.harness import Cpus, HarnessFault, Subject, running
from benchmarks.peers.ground import Peer, PeerMissing
from benchmarks.remains import end_remains

Measure = Callable[[Subject, Extent], dict[Figure, Reading]]
#: A question about code alone: nothing is started and nobody compared.
Alone = Callable[[], dict[Figure, Reading]]


@dataclass(frozen=True)
class Question:
    """What is asked, and of whom."""

    name: str
    measure: Measure
    peers: Sequence[Peer]


@dataclass
class Found:
    """
    What has been found so far.

    :ivar readings: by question, figure and subject.
    :ivar failed: by question and subject: why.
    :ivar missing: by subject: what to install.
    """

    readings: dict[str, dict[Figure, dict[str, list[Reading]]]] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, question: str, subject: str, turn: int, taken: Mapping[Figure, Reading]) -> None:
        """Keep the readings of one sample."""
        by_figure = self.readings.setdefault(question, {})
        for figure, reading in taken.items():
            stamped = dataclasses.replace(reading, turn=turn)
            by_figure.setdefault(figure, {}).setdefault(subject, []).append(stamped)

    def fail(self, question: str, subject: str, reason: str) -> None:
        """Keep why there is no figure, and forget what came before: an answer that broke once proves nothing."""
        self.failed.setdefault(question, {})[subject] = reason
        for by_subject in self.readings.get(question, {}).values():
            by_subject.pop(subject, None)

    def can_answer(self, question: str, subject: str) -> bool:
        """Tell whether it makes sense to ask."""
        return subject not in self.missing and subject not in self.failed.get(question, ())

    def compared_by_goals(self, question: str) -> set[str]:
        """Return the subjects whom the goals of this question compare; none if there is no such goal."""
        figures = {figure for figure in self.readings.get(question, ()) if figure.goals}
        peers = {goal.peer for figure in figures for goal in figure.goals}
        ours = {name for figure in figures for name in self.readings[question][figure] if name.startswith(JUDGED)}
        return peers | ours


@dataclass(frozen=True)
class Asking:
    """
    How to ask.

    :ivar streams_at_most: of subjects that cannot hold as many as the others, by name.
    :ivar only_goals: whether the rounds after the first are for what goals compare.
    """

    extent: Extent
    cpus: Cpus
    streams_at_most: Mapping[str, int] = field(default_factory=dict)
    only_goals: bool = False

    def ask_all(self, questions: Sequence[Question], found: Found) -> None:
        """Ask in turns, A B A B, so that a machine that changes its speed changes it for all."""
        for turn in range(self.extent.rounds):
            for question in questions:
                wanted = [peer for peer in question.peers if self._is_wanted(question.name, peer.name, turn, found)]
                if wanted:
                    self._ask(question, wanted, turn, found)

    def repeat_all(self, questions: Mapping[str, Alone], found: Found) -> None:
        """Take the samples of questions about code alone, under the gateway's name."""
        for turn in range(self.extent.rounds):
            for name, measure in questions.items():
                if self._is_wanted(name, JUDGED, turn, found):
                    with _progress(name, turn), _failures(name, JUDGED, found):
                        found.add(name, JUDGED, turn, measure())

    def _ask(self, question: Question, peers: Sequence[Peer], turn: int, found: Found) -> None:
        with _progress(question.name, turn) as note:
            for peer in peers:
                started_s = time.monotonic()
                with _failures(question.name, peer.name, found):
                    with running(peer, self.cpus) as subject, at_most(self.extent.sample_s):
                        taken = question.measure(subject, self._extent_for(peer, turn))
                    found.add(question.name, peer.name, turn, taken)
                note(f"{peer.name} {time.monotonic() - started_s:.1f} s")

    def _is_wanted(self, question: str, subject: str, turn: int, found: Found) -> bool:
        if not found.can_answer(question, subject):
            return False
        return turn == 0 or not self.only_goals or subject in found.compared_by_goals(question)

    def _extent_for(self, peer: Peer, turn: int) -> Extent:
        extent = self.extent
        if turn > 0 and self.only_goals:
            extent = dataclasses.replace(extent, more_streams=())
        most = self.streams_at_most.get(peer.name)
        return extent if most is None else extent.with_streams_at_most(most)


@contextlib.contextmanager
def _failures(question: str, subject: str, found: Found) -> Iterator[None]:
    """Note what goes wrong in one sample, and leave nothing of it running."""
    try:
        yield
    except PeerMissing as missing:
        found.missing[subject] = str(missing)
    except (BrokenAnswer, HarnessFault) as fault:
        found.fail(question, subject, str(fault))
        print(f"\n{question}: {subject} failed: {fault}", file=sys.stderr, flush=True)
    except Exception as fault:
        # A question that stumbles, over whatever, must not cost the ten minutes of all others.
        found.fail(question, subject, f"{type(fault).__name__}: {fault}")
        print(f"\n{question}: {subject} failed:", file=sys.stderr)
        traceback.print_exc()
    finally:
        if ended := end_remains():
            print(f"\n{question}: {subject} left {', '.join(ended)} running; killed", file=sys.stderr, flush=True)


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """
    Bound a block in time; main thread only.

    :raises HarnessFault: out of whatever the block does at that moment.
    """

    def give_up(number: int, frame: FrameType | None) -> None:
        raise HarnessFault(f"no figure within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _progress(question: str, turn: int) -> Iterator[Callable[[str], None]]:
    """Write one line on stderr that grows as the subjects answer."""
    print(f"round {turn + 1}, {question}:", end="", file=sys.stderr, flush=True)
    try:
        yield lambda text: print(f" {text};", end="", file=sys.stderr, flush=True)
    finally:
        print(file=sys.stderr, flush=True)
