"""``python -m benchmarks [--quick] [--json FILE] [QUESTION ...]``: run, compare, print the ratios."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import benchmarks
from benchmarks.asked import ALONE, ASKED, PEERS, QUESTIONS, Measure
from benchmarks.extent import FULL, QUICK, Extent
from benchmarks.figures import Figure, Reading, report, table
from benchmarks.harness import Cpus, HarnessFault, divide_cpus, raise_descriptor_limit, running
from benchmarks.peers.gateway import Gateway
from benchmarks.peers.ground import Peer, PeerMissing

Samples = dict[Figure, dict[str, list[Reading]]]


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=benchmarks.__doc__)
    add = parser.add_argument
    add("questions", nargs="*", metavar="QUESTION", help=f"{', '.join([*QUESTIONS, *ALONE])}; default: all")
    add("--quick", action="store_true", help="a first look in under 40 s: one round, short windows")
    add("--subjects", default="nginx,mcpgate", help=f"{', '.join(PEERS)} (default: %(default)s)")
    add("--before", type=Path, metavar="CHECKOUT", help="compare with the gateway there, too, under NAME-before")
    add("--rounds", type=int, help="samples per question and subject")
    add("--streams", type=int, help="open streams (sse, memory, fanout)")
    add("--events-per-stream-s", type=float, metavar="RATE", help="events per second on each stream (sse)")
    add("--json", type=Path, metavar="FILE", help="write every sample there")
    chosen = parser.parse_args(arguments)
    for names, known in ((chosen.questions, QUESTIONS | ALONE), (chosen.subjects.split(","), PEERS)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"{unknown[0]!r} is none of {', '.join(known)}")
    return chosen


def chosen_extent(chosen: argparse.Namespace) -> Extent:
    """Return the size of the run: a preset, with what was asked for in its place."""
    wanted = {name: getattr(chosen, name) for name in ("rounds", "streams", "events_per_stream_s")}
    preset = QUICK if chosen.quick else FULL
    return dataclasses.replace(preset, **{name: value for name, value in wanted.items() if value is not None})


def compare(measure: Measure, peers: Sequence[Peer], extent: Extent, cpus: Cpus) -> Samples:
    """Take the samples in turns, A B A B, so that a machine that changes its speed changes it for all."""
    readings: Samples = {}
    for _ in range(extent.rounds):
        for peer in peers:
            with running(peer, cpus) as subject:
                for figure, reading in measure(subject, extent).items():
                    readings.setdefault(figure, {}).setdefault(peer.name, []).append(reading)
    return readings


def repeat(measure: Callable[[], dict[Figure, Reading]], rounds: int) -> Samples:
    """Take the samples of a question about code alone, under the gateway's name."""
    readings: Samples = {}
    for _ in range(rounds):
        for figure, reading in measure().items():
            readings.setdefault(figure, {}).setdefault("mcpgate", []).append(reading)
    return readings


def run(chosen: argparse.Namespace) -> None:
    """Ask every chosen question, print the table, write the JSON."""
    extent = chosen_extent(chosen)
    raise_descriptor_limit(extent.streams)
    cpus = divide_cpus(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus.load)
    peers = [PEERS[name] for name in chosen.subjects.split(",")]
    if chosen.before is not None:
        before = chosen.before.resolve()
        peers += [dataclasses.replace(each, name=f"{each.name}-before", root=before) for each in _gateways(peers)]
    surroundings = machine()
    started_s = time.monotonic()
    readings: Samples = {}
    for name in chosen.questions or [*QUESTIONS, *ALONE]:
        asked = ASKED.get(name, peers)
        subjects = "mcpgate" if name in ALONE else ",".join(peer.name for peer in asked)
        print(f"{name}: {subjects}, rounds: {extent.rounds}", file=sys.stderr, flush=True)
        if name in ALONE:
            readings.update(repeat(ALONE[name], extent.rounds))
        else:
            readings.update(compare(QUESTIONS[name], asked, extent, cpus))
    print(table(readings))
    took_s = time.monotonic() - started_s
    print(f"rounds: {extent.rounds}, in {took_s:.0f} s; load before the run {surroundings['load_before']}")
    if chosen.json:
        found = {"machine": surroundings, "extent": dataclasses.asdict(extent), "figures": report(readings)}
        chosen.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _gateways(peers: Sequence[Peer]) -> list[Gateway]:
    return [peer for peer in peers if isinstance(peer, Gateway)]


def machine() -> dict[str, object]:
    """Return what absolute values depend on; other work on the machine widens the spread of ratios too."""
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "congestion_control": congestion,
        "load_before": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    """Run; faults are one plain text on stderr and exit code 1."""
    # As an exception, so that every subject is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(options(sys.argv[1:]))
    except (HarnessFault, PeerMissing) as fault:
        print(f"benchmarks: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
