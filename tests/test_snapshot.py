"""A decision and the rules it was made under."""

from __future__ import annotations

import dataclasses
import math

import pytest

from mcpgate.policy.addressgate import AddressGate
from mcpgate.policy.authn import Grant, TokenTable
from mcpgate.policy.origin import AllowedOrigins
from mcpgate.policy.routing import RouteTable
from mcpgate.snapshot import NO_RULES, Decision, Route, Snapshot


def _snapshot() -> Snapshot:
    return Snapshot(RouteTable({}), AllowedOrigins([]), TokenTable(()), AddressGate(None, None, 0))


def test_a_decision_is_worth_nothing_under_other_rules() -> None:
    """Also under rules that say the same: nobody compares them."""
    rules = _snapshot()
    decision = Decision(rules, Route(None, 0))
    assert not decision.is_stale(rules, 1e12)
    assert decision.is_stale(_snapshot(), 0.0)
    assert decision.is_stale(dataclasses.replace(rules), 0.0)


@pytest.mark.parametrize(("until_s", "now_s", "stale"), [(10.0, 9.99, False), (10.0, 10.0, True), (math.inf, 1e12, False)])
def test_a_decision_ends_with_its_time(until_s: float, now_s: float, stale: bool) -> None:
    """At that moment, not after it."""
    rules = _snapshot()
    assert Decision(rules, Route(None, 0), until_s=until_s).is_stale(rules, now_s) is stale


def test_nobody_is_nobody() -> None:
    """Without a grant the principal is empty, as limits and seals take it."""
    rules = _snapshot()
    assert Decision(rules, Route(None, 0)).principal == ""
    assert Decision(rules, Route(None, 0), grant=Grant("alice", frozenset())).principal == "alice"


def test_rules_never_change() -> None:
    """Whoever holds a snapshot sees one consistent set of them; so do its routes, and what nobody configured."""
    for frozen, name in ((_snapshot(), "tokens"), (Route(None, 0), "server"), (NO_RULES, "limiter")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, name, None)


def test_decisions_share_nothing() -> None:
    """Each has its own ways."""
    rules = _snapshot()
    first, second = Decision(rules, Route(None, 0)), Decision(rules, Route(None, 0))
    first.ways.append(None)
    assert second.ways == []
