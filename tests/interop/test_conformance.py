"""The official conformance suite on our fixture: no check may differ when the gateway stands between."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.processes import Command, run_to_end
from tests.interop.stage import Stage
from tests.interop.upstreams import node_env

# A run takes 3-8 s; every scenario has its own limit of 30 s inside.
RUN_TIMEOUT_S = 300.0
WORST_FIRST = ("FAILURE", "WARNING", "SKIPPED", "SUCCESS")
SCORED = {"2025-11-25": 30, "2026-07-28": 37}
# "server-<scenario>-<time>"; the time is an ISO one with dashes.
RESULT_FOLDER = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d{2}-\d{2}T[\d-]+Z\Z")
NOT_SCORED_LINE = re.compile(r"^  [✓✗] (?P<scenario>[\w-]+) \(", re.MULTILINE)
SUMMARY_LINE = re.compile(r"^(?P<mark>[✓✗]) (?P<scenario>[\w-]+): ", re.MULTILINE)

Worst = dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a requirement set: scored scenarios, those that passed, and each check's worst status."""

    passed: set[str]
    scored: set[str]
    checks: Worst


def worst_statuses(folder: Path) -> Worst:
    """Read every result file; a check that appears several times in a scenario counts with its worst."""
    worst: Worst = {}
    for file in sorted(folder.glob("*/checks.json")):
        found = RESULT_FOLDER.match(file.parent.name)
        assert found, f"unexpected result folder: {file.parent.name}"
        for check in json.loads(file.read_text()):
            key = found["scenario"], check["id"]
            if check["status"] != "INFO":
                worst[key] = min(worst.get(key, "SUCCESS"), check["status"], key=WORST_FIRST.index)
    return worst


def run_suite(url: str, revision: str, folder: Path, home: Path) -> Outcome:
    """Run one requirement set against a URL, with its results in ``folder``."""
    argv = ["node", "node_modules/@modelcontextprotocol/conformance/dist/index.js", "server", "--url", url]
    argv += ["--requirements", revision, "-o", str(folder)]
    done = run_to_end(Command(argv, home / "conformance", node_env(home)), None, RUN_TIMEOUT_S)
    run = {found["scenario"]: found["mark"] == "✓" for found in SUMMARY_LINE.finditer(done.stdout)}
    assert run, f"no summary\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    scored = run.keys() - {found["scenario"] for found in NOT_SCORED_LINE.finditer(done.stdout)}
    return Outcome({name for name in scored if run[name]}, scored, worst_statuses(folder))


@pytest.mark.parametrize("revision", sorted(SCORED))
def test_conformance_is_same_through_gateway(revision: str, stage: Stage, home: Path, tmp_path: Path) -> None:
    """The fixture passes every scored scenario, and no check changes when the gateway stands between."""
    direct = run_suite(stage.direct("fixture", "http"), revision, tmp_path / "direct", home)
    assert len(direct.scored) == SCORED[revision]
    assert direct.passed == direct.scored
    public = run_suite(stage.public("fixture", "http"), revision, tmp_path / "public", home)
    assert public.checks == direct.checks
    assert public.passed == direct.passed
