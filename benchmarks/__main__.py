"""``python -m benchmarks [--quick] [--report FOLDER] [QUESTION ...]``: run, compare, tell."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.asked import (
    ALONE,
    ASKED,
    ASKED_OF,
    PEERS,
    QUESTIONS,
    QUICK_QUESTIONS,
    REPORTED,
    STREAMS_AT_MOST,
    USUAL,
)
from benchmarks.asking import Asking, Found, Question
from benchmarks.extent import FULL, QUICK, REPORT, Extent
from benchmarks.harness import SPARE_DESCRIPTORS, HarnessFault, divide_cpus, raise_descriptor_limit
from benchmarks.machine import machine, one_line
from benchmarks.peers.gateway import Gateway
from benchmarks.peers.ground import Peer, PeerMissing
from benchmarks.remains import adopt_orphans
from benchmarks.report import results as results_file
from benchmarks.report.notes import notes_of
from benchmarks.report.results import Answer, PeerNotes, Results
from benchmarks.report.terminal import summary, table
from benchmarks.report.written import write_report


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=benchmarks.__doc__)
    add = parser.add_argument
    add("questions", nargs="*", metavar="QUESTION", help=f"{', '.join([*QUESTIONS, *ALONE])}; default: all")
    add("--quick", action="store_true", help=f"a first look in under a minute: {', '.join(QUICK_QUESTIONS)}, one round")
    add("--report", type=Path, metavar="FOLDER", help="ask all that are installed; write JSON, tables and plots there")
    add("--readme", type=Path, metavar="FILE", help="with --report: put the short table between the marks there")
    add("--subjects", help=f"{', '.join(PEERS)}; default: {','.join(USUAL)}")
    add("--before", type=Path, metavar="CHECKOUT", help="compare with the gateway there, too, under NAME-before")
    add("--rounds", type=int, help="samples per question and subject")
    add("--streams", type=int, help="open streams (sse, memory, fanout)")
    add("--events-per-stream-s", type=float, metavar="RATE", help="events per second on each stream (sse)")
    add("--json", type=Path, metavar="FILE", help="write every sample there")
    chosen = parser.parse_args(arguments)
    usual = REPORTED if chosen.report else USUAL
    chosen.subjects = chosen.subjects.split(",") if chosen.subjects else list(usual)
    chosen.questions = chosen.questions or list(QUICK_QUESTIONS if chosen.quick else QUESTIONS | ALONE)
    for names, known in ((chosen.questions, QUESTIONS | ALONE), (chosen.subjects, PEERS)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"{unknown[0]!r} is none of {', '.join(known)}")
    return chosen


def chosen_extent(chosen: argparse.Namespace, hard: int) -> Extent:
    """
    Return the size of the run: a preset, with what was asked for in its place, and no size that does not fit.

    :param hard: descriptors that a process may have.
    """
    extent = QUICK if chosen.quick else REPORT if chosen.report else FULL
    wanted = {name: getattr(chosen, name) for name in ("rounds", "streams", "events_per_stream_s")}
    extent = dataclasses.replace(extent, **{name: value for name, value in wanted.items() if value is not None})
    most = (hard - SPARE_DESCRIPTORS) // 2
    asked = extent.more_streams if chosen.streams is None else ()
    if any(count > most for count in asked):
        print(f"left out: more than {most} streams, as a process may have {hard} descriptors only", file=sys.stderr)
    return dataclasses.replace(extent, more_streams=tuple(count for count in asked if count <= most))


def plan(chosen: argparse.Namespace) -> list[Question]:
    """Return who is asked what."""
    peers: list[Peer] = [PEERS[name] for name in chosen.subjects]
    if chosen.before is not None:
        before = chosen.before.resolve()
        ours = [peer for peer in peers if isinstance(peer, Gateway)]
        peers += [dataclasses.replace(each, name=f"{each.name}-before", root=before) for each in ours]
    return [
        Question(name, QUESTIONS[name], ASKED.get(name) or [peer for peer in peers if _is_asked(name, peer)])
        for name in chosen.questions
        if name in QUESTIONS
    ]


def _is_asked(question: str, peer: Peer) -> bool:
    return question in ASKED_OF.get(peer.name, QUESTIONS)


def look_at(questions: Sequence[Question], found: Found) -> dict[str, PeerNotes]:
    """Return how each subject is set up; say which are not there."""
    notes: dict[str, PeerNotes] = {}
    everybody: dict[str, Peer] = {}
    for peer in (peer for question in questions for peer in question.peers):
        everybody.setdefault(peer.name, peer)
    for name, peer in everybody.items():
        try:
            notes[name] = notes_of(peer)
        except PeerMissing as missing:
            found.missing[name] = str(missing)
            print(f"left out: {name}: {missing}", file=sys.stderr)
    return notes


def run(chosen: argparse.Namespace) -> Results:
    """
    Ask every chosen question.

    :raises HarnessFault: if this machine cannot be measured on.
    """
    started_s = time.monotonic()
    surroundings = machine()
    extent = chosen_extent(chosen, raise_descriptor_limit(chosen.streams or FULL.streams))
    cpus = divide_cpus(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus.load)
    adopt_orphans()
    found = Found()
    questions = plan(chosen)
    peers = look_at(questions, found)
    asking = Asking(extent, cpus, STREAMS_AT_MOST, only_goals=chosen.report is not None)
    asking.ask_all(questions, found)
    asking.repeat_all({name: ALONE[name] for name in chosen.questions if name in ALONE}, found)
    took_s = round(time.monotonic() - started_s)
    return Results(surroundings, dataclasses.asdict(extent), took_s, *_told(found), peers)


def _told(found: Found) -> tuple[list[Answer], dict[str, dict[str, str]], dict[str, str]]:
    """What may be written: no reason holds what only this machine knows."""
    answers = [
        Answer(question, figure, by_subject)
        for question, by_figure in found.readings.items()
        for figure, by_subject in by_figure.items()
        if by_subject
    ]
    failed = {
        question: {subject: one_line(reason, subject) for subject, reason in reasons.items()}
        for question, reasons in found.failed.items()
    }
    return answers, failed, {subject: one_line(reason) for subject, reason in found.missing.items()}


def main() -> int:
    """Run and tell; faults are one plain text on stderr and exit code 1. Goals that are missed are no fault."""
    # As an exception, so that every subject is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = options(sys.argv[1:])
    try:
        results = run(chosen)
    except (HarnessFault, PeerMissing) as fault:
        print(f"benchmarks: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    tell(chosen, results)
    return 0 if results.answers else 1


def tell(chosen: argparse.Namespace, results: Results) -> None:
    """Print the table, write what is to be written, end with the goals."""
    print(table(results))
    if chosen.json:
        results_file.write(results, chosen.json)
    if chosen.report:
        for line in write_report(results, chosen.report, chosen.readme):
            print(line)
    load = results.machine["load_before"]
    print(f"rounds: {results.extent['rounds']}, in {results.took_s:.0f} s; load before the run {load}")
    print(summary(results))


if __name__ == "__main__":
    sys.exit(main())
