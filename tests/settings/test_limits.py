"""How often and how much: limits, the gate, keys of sessions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.settings.written import refused

from mcpgate.settings import AllowanceSettings, GateSettings, LimitSettings, SessionsSettings
from mcpgate.values.quantities import Rate

LIMIT = {"name": "calls", "key": ["principal", "tool"], "rate": "20/s"}
STREAMS = {"name": "streams", "key": ["principal"], "concurrent_streams": 50}


def test_a_limit_of_calls() -> None:
    """A rate alone is complete: what one second brings may come at once, everything matches, nobody waits."""
    found = LimitSettings.model_validate(LIMIT)
    assert (found.name, found.key, found.rate, found.burst) == ("calls", ("principal", "tool"), Rate(20, 1), 20)
    assert (found.concurrent_streams, found.wait) == (None, 0.0)
    assert (found.match.servers, found.match.methods, found.match.tools) == (None, None, None)


@pytest.mark.parametrize(
    ("rate", "burst"), [("20/s", 20), ("600/m", 10), ("90/m", 2), ("5/h", 1), ("100/d", 1), (Rate(7, 1), 7)]
)
def test_the_usual_burst_is_what_a_second_brings(rate: Any, burst: int) -> None:
    """At least one, or nothing would ever be admitted."""
    assert LimitSettings.model_validate(LIMIT | {"rate": rate}).burst == burst
    assert AllowanceSettings.model_validate({"rate": rate}).burst == burst


def test_a_limit_of_streams() -> None:
    """It counts what is open, so it has no rate."""
    found = LimitSettings.model_validate(STREAMS)
    assert (found.concurrent_streams, found.rate, found.burst) == (50, None, None)


def test_what_a_limit_is_about() -> None:
    """Servers, methods and tools, by name or pattern."""
    match = {"servers": ["git*"], "methods": ["tools/call"], "tools": ["delete_*"]}
    found = LimitSettings.model_validate(LIMIT | {"match": match, "burst": 40, "wait": "2s"})
    assert (found.match.servers, found.match.methods, found.match.tools) == (("git*",), ("tools/call",), ("delete_*",))
    assert (found.burst, found.wait) == (40, 2.0)


@pytest.mark.parametrize(
    ("values", "where", "why"),
    [
        (LIMIT | {"name": "A"}, "name", "not a name"),
        (LIMIT | {"key": []}, "key", "an empty list"),
        (LIMIT | {"key": ["tool", "tool"]}, "key.1", "the same as in entry 0"),
        (LIMIT | {"key": ["user"]}, "key.0", "Input should be"),
        (LIMIT | {"rate": "20"}, "rate", "without a period"),
        (LIMIT | {"rate": "0/s"}, "rate", "too small, expected at least 1/s"),
        (LIMIT | {"burst": 0}, "burst", "too small"),
        (LIMIT | {"burst": 1_000_000_001}, "burst", "too large"),
        (LIMIT | {"burst": None}, "burst", "nothing, expected a whole number"),
        (LIMIT | {"wait": "31s"}, "wait", "too large"),
        (LIMIT | {"concurrent_streams": 5}, "concurrent_streams", "beside a rate"),
        (STREAMS | {"concurrent_streams": None}, "concurrent_streams", "nothing to limit"),
        (STREAMS | {"concurrent_streams": 0}, "concurrent_streams", "too small"),
        (STREAMS | {"burst": 5}, "burst", "a burst without a rate"),
        (STREAMS | {"wait": "1s"}, "wait", "a wait without a rate"),
        (LIMIT | {"match": {"tools": []}}, "match.tools", "an empty list"),
        (LIMIT | {"match": {"tools": ["a:b"]}}, "match.tools.0", "with a colon"),
        (LIMIT | {"match": {"methods": ["tools call"]}}, "match.methods.0", "not a pattern"),
    ],
)
def test_limits_that_cannot_be(values: dict[str, Any], where: str, why: str) -> None:
    """Each is refused where it stands, alone."""
    ((place, text),) = refused(LimitSettings, **values)
    assert place == where
    assert why in text


def test_no_wait_for_a_stream_may_be_written() -> None:
    """The default is allowed everywhere."""
    assert LimitSettings.model_validate(STREAMS | {"wait": "0s"}).wait == 0.0


def test_parts_of_the_gate_can_be_changed_and_taken_away() -> None:
    """A rate that is written has its own burst, not that of the default."""
    found = GateSettings.model_validate({"connections": {"rate": "5/s"}, "unauthenticated": None})
    assert found.connections == AllowanceSettings(rate=Rate(5, 1), burst=5)
    assert found.unauthenticated is None
    assert [where for where, _ in refused(GateSettings, connections={"burst": 5})] == ["connections.rate"]
    assert [where for where, _ in refused(GateSettings, open_connections=-1)] == ["open_connections"]


def test_keys_of_sessions_are_long_and_not_shown() -> None:
    """Neither in a printed object, nor where settings are shown, nor when one is refused."""
    key = "0123456789-s3cret-0123456789-012"
    found = SessionsSettings.model_validate({"keys": [key, "x" * 1024]})
    assert found.keys == (key, "x" * 1024)
    assert "s3cret" not in repr(found)
    assert found.model_dump()["keys"] == ("***", "***")
    for bad in (key[1:], key + " ", key + "é", "x" * 1025):
        ((where, why),) = refused(SessionsSettings, keys=[bad])
        assert where == "keys.0"
        assert "s3cret" not in why
