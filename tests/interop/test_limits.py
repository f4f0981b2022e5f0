"""What a limit means to real clients: who is over it is told so and keeps its protocol, and the others go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.interop.callers import Caller
from tests.interop.guarded import PACED_BURST, GuardedStage, bearer
from tests.interop.visits import Plan, Visitor

STATELESS = "2026-07-28"
ADD = ("add", {"a": 2, "b": 40})
#: Handshakes, pings and lists have a bucket of their own, ten times as large.
LIGHT_BURST = 10 * PACED_BURST


@pytest.mark.parametrize(
    ("client", "principal", "said"),
    [("python-2.3-auto", "carol", "rate limit: try again in"), ("typescript-2.4-auto", "dave", '"retryAfterSeconds":')],
)
def test_client_over_its_limit_is_told_and_others_go_on(
    client: str, principal: str, said: str, guarded: GuardedStage, visitor: Visitor
) -> None:
    """The calls of the burst are answered, the next ones refused with the wait; somebody else's are all answered."""
    url = guarded.public("paced", "http")
    greedy = Plan((ADD,) * (PACED_BURST + 2), headers=bearer(principal))
    modest = Plan((ADD,), headers=bearer("bob"))
    with ThreadPoolExecutor(max_workers=2) as pool:
        seen = pool.submit(visitor.visit, client, url, greedy)
        other = pool.submit(visitor.visit, client, guarded.public("ward", "http"), modest)
    calls = seen.result()["calls"]
    assert ["result" in call for call in calls] == [True] * PACED_BURST + [False] * 2
    for refused in calls[PACED_BURST:]:
        assert said in refused["error"]["message"]
    assert ["result" in call for call in other.result()["calls"]] == [True]


@pytest.mark.parametrize("client", ["python-2.3-auto", "typescript-2.4-auto"])
def test_client_over_its_limit_keeps_its_protocol(client: str, guarded: GuardedStage, visitor: Visitor) -> None:
    """No calls left: it still agrees on 2026-07-28 and lists the tools, and only its calls are refused."""
    url = guarded.public("paced", "http")
    spend(Caller(url, bearer("erin")), PACED_BURST)
    seen = visitor.visit(client, url, Plan((ADD,), headers=bearer("erin")))
    assert seen["version"] == STATELESS
    assert seen["tools"]
    assert "error" in seen["calls"][0]


def test_probe_is_answered_when_nothing_else_is(guarded: GuardedStage) -> None:
    """With everything spent a 429 would send clients to an older protocol, so the probe waits its turn instead."""
    frank = Caller(guarded.public("paced", "http"), bearer("frank"))
    listed = 0
    while (refused := frank.call_stateless("tools/list")).status == 200:
        listed += 1
    # One more comes back every six seconds.
    assert LIGHT_BURST <= listed <= LIGHT_BURST + 2
    assert refused.status == 429
    assert refused.error["data"]["reason"] == "rate_limited"
    assert int(refused.headers["retry-after"]) == refused.error["data"]["retryAfterSeconds"] >= 1
    probe = frank.call_stateless("server/discover")
    assert (probe.status, STATELESS in probe.body.decode()) == (200, True)


def spend(caller: Caller, calls: int) -> None:
    """Make calls until there are none left."""
    for _ in range(calls + 1):
        status = caller.call_stateless("tools/call", {"name": "add", "arguments": {"a": 1, "b": 1}}).status
        assert status in (200, 429)
    assert status == 429
