"""What is told about a gateway, as a whole."""

from __future__ import annotations

import pytest
from tests.ends import gateway

from mcpgate.policy.buckets import Allowance
from mcpgate.policy.limits import KeyPart, LimitPolicy
from mcpgate.policy.ratelimit import LimitTally
from mcpgate.telemetry import limit_counts
from mcpgate.testing import GatewayUnderTest


@pytest.mark.parametrize(
    ("policy", "allowance"),
    [
        (LimitPolicy("l", (KeyPart.PRINCIPAL,), Allowance(20, 1, 40)), "20/s, 40 at once"),
        (LimitPolicy("l", (KeyPart.PRINCIPAL,), Allowance(600, 60, 5)), "600/m, 5 at once"),
        (LimitPolicy("l", (KeyPart.PRINCIPAL,), Allowance(1, 86400, 1)), "1/d, 1 at once"),
        (LimitPolicy("l", (KeyPart.PRINCIPAL,), concurrent_streams=50), "50 streams"),
    ],
)
def test_a_limit_is_told_as_people_write_it(policy: LimitPolicy, allowance: str) -> None:
    """With what it has decided."""
    tally = LimitTally()
    tally.admitted, tally.waited, tally.refused = 3, 2, 1
    (told,) = limit_counts([(policy, tally)])
    assert told == ("l", ("principal",), allowance, 3, 2, 1)


def test_the_collector_of_garbage_is_listened_to_only_while_the_gateway_runs() -> None:
    """Its list belongs to the process."""
    gate = GatewayUnderTest()
    callbacks = gate.gateway.lent.gc_callbacks
    assert len(callbacks) == 1
    gate.gateway.stop()
    assert callbacks == []
    assert gate.reactor.getDelayedCalls() == []


def test_a_reload_changes_how_many_tools_are_told_apart() -> None:
    """Without a restart."""
    gate = gateway()
    assert gate.gateway.telemetry.recorder.tools == 0
    gate.config += "\nmetrics: {tools: 7}\n"
    assert gate.gateway.reload()["success"]
    assert gate.gateway.telemetry.recorder.tools == 7
