"""``python -m benchmarks.report RESULTS.json FOLDER [--readme FILE]``: tables and plots anew from a run's JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from benchmarks import report
from benchmarks.report import results
from benchmarks.report.written import drawing, write_pages


def main() -> int:
    """Write; 1 if the file is not what a run has written."""
    parser = argparse.ArgumentParser("python -m benchmarks.report", description=report.__doc__)
    parser.add_argument("results", type=Path, metavar="RESULTS.json")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the short table between the marks there")
    chosen = parser.parse_args()
    try:
        found = results.read(chosen.results)
    except (OSError, msgspec.DecodeError) as fault:
        print(f"benchmarks: {chosen.results}: {fault}", file=sys.stderr)
        return 1
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for line in write_pages(found, chosen.folder, chosen.readme, drawing()):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
