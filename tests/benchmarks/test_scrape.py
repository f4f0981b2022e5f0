"""benchmarks.questions.scrape: the figures are of scrapes in which everything is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.questions import scrape
from mcpgate.metrics.collection import Scrape

ROOT = Path(__file__).parents[2]


def test_a_round_tells_what_each_kind_of_scrape_took() -> None:
    """In a fresh process, as the gateway runs; no step is longer than the whole."""
    command = [sys.executable, "-m", "benchmarks.questions.scrape", "5", "100", "100"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=60).stdout)
    costs = [scrape.Cost(*found.pop(name)) for name in ("first", "busy", "crowded")]
    assert len({cost.line_count for cost in costs}) == 1
    assert all(0 < cost.step_ms <= cost.whole_ms for cost in costs)
    assert set(found) == {"official_ms"}
    assert found["official_ms"] > 0


def test_the_gateway_that_is_measured_is_busy_and_crowded() -> None:
    """Every server has all series, every stream has moved bytes, every connection is counted."""
    observed = scrape.observed(3, 40, 50)
    text = b"".join(Scrape(observed).pieces(b"")[1])
    assert text.count(b'_bucket{server="server-001"') == 12 + 12 + 8 + 9
    assert b'mcpgate_open_connections{listener="data",state="stream"} 50\n' in text
    assert sum(tally.bytes_out for tally in observed.tallies.servers.values()) == 40 * 150
