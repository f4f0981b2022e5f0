"""The official conformance suite's OAuth scenarios for clients, with a gateway between a real client and the suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.interop.guarded import GuardedStage
from tests.interop.processes import Command, run_to_end
from tests.interop.upstreams import node_env
from tests.interop.visits import CLIENTS

# A scenario takes 2 s here.
RUN_TIMEOUT_S = 60.0
REVISION = "2026-07-28"
SCENARIOS = (
    *("metadata-default", "metadata-var1", "metadata-var2", "metadata-var3", "basic-cimd"),
    *("scope-from-www-authenticate", "scope-from-scopes-supported", "scope-step-up", "token-endpoint-auth-basic"),
)
#: It wants the token to be for the address that the suite's server has itself; through a gateway that is the public one.
ABOUT_THE_SUITES_OWN_ADDRESS = "resource-parameter-matches-prm"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_client_passes_oauth_scenario_through_gateway(
    scenario: str, guarded: GuardedStage, home: Path, tmp_path: Path
) -> None:
    """Every check succeeds with a server that does its own OAuth behind the gateway, as it does without one."""
    gateway = guarded.public("ward", "http").removesuffix("/mcp/ward/mcp")
    process = guarded.running["gateway"]
    through = [str(guarded.folder / "gate.yaml"), str(process.pid), gateway]
    client = " ".join(["node", str(CLIENTS / "conformance_oauth.mjs"), *through])
    suite = str(home / "conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js")
    argv = ["node", suite, "client", "--command", client, "--scenario", f"auth/{scenario}", "--spec-version", REVISION]
    # The client finds its packages from the folder in which it is run.
    done = run_to_end(Command([*argv, "-o", str(tmp_path)], home / "sdk", node_env(home)), None, RUN_TIMEOUT_S)
    checks = [check for file in tmp_path.rglob("checks.json") for check in json.loads(file.read_text())]
    failed = {check["id"] for check in checks if check["status"] in ("FAILURE", "WARNING")}
    assert len(checks) > 5, f"{done.stdout}\n{done.stderr}"
    assert failed <= {ABOUT_THE_SUITES_OWN_ADDRESS}, f"{done.stdout}\n{done.stderr}"
