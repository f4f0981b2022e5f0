"""benchmarks.questions.passing: what a crowd of clients leaves behind, and that the figures are of requests which do pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import messages
from benchmarks.questions import passing
from mcpgate.wire.calls import read_calls

ROOT = Path(__file__).parents[2]
# Half as many again as a ledger holds: more of them change nothing but the time that this takes.
KEYS = 150_000


def test_a_crowd_is_neither_kept_nor_felt() -> None:
    """In a fresh process, as the gateway runs: entries, memory and the longest operation have bounds."""
    command = [sys.executable, "-m", "benchmarks.questions.passing", str(KEYS), "100"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=60).stdout)
    crowd = passing.Crowd(*found.pop("crowd"))
    assert 90_000 < crowd.kept_count <= 100_000
    assert 10 * 1024 < crowd.grown_kib < 32 * 1024
    # On a machine whose CPUs are somebody else's at times, a stall that is not ours does not come three times.
    assert crowd.stall_ms < 5 or min(passing.crowd(KEYS).stall_ms for _ in range(2)) < 5
    assert set(found) == {"json_us", "known_us", "signed_us", "limits_us", "body_us"}
    assert all(cost_us > 0 for cost_us in found.values())


def test_the_limits_that_are_measured_are_three_and_admit() -> None:
    """One call a second is below all of them; forty-one at once are not."""
    toll = passing.limiter().bind(b"203.0.113.7", "alice", "bench")
    calls = read_calls(messages.call(messages.FIRST_CALL)).calls
    assert all(toll.admit(calls, False, float(now_s)).refusal is None for now_s in range(100))
    assert any(toll.admit(calls, False, 100.0).refusal is not None for _ in range(41))
