"""The state as text for a terminal: readable, aligned, and nothing that a client wrote can move the cursor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.statustext import WIDTH, plain, seconds, size, span, status_text

QUIET = {"p50": None, "p99": None}


def a_status(**parts: Any) -> dict[str, Any]:
    """A gateway that is ready, without servers; ``parts`` replace what is said."""
    gateway = {
        "version": "1.2.3",
        "state": "ready",
        "checks": {"config": True, "not draining": True},
        "time_s": 1_800_000_000.0,
        "uptime_s": 3725.0,
        "reload": {"successful": True, "success_at_s": 1_799_999_940.0},
        "connections": {"open": 3, "max": 900, "states": {"idle": 2, "stream": 1}},
        "held": {"exchanges": 0, "body_bytes": 0},
        "unexpected_failures": 0,
        "dropped_log_lines": 0,
    }
    gateway |= parts.pop("gateway", {})
    return {"gateway": gateway, "servers": [], "streams": [], "limits": [], "recent": [], **parts}


def a_server(**parts: Any) -> dict[str, Any]:
    return {
        "name": "demo",
        "status": "up",
        "requests": 1200,
        "errors": 3,
        "open_requests": 1,
        "open_streams": {"sse": 2, "streamable-http": 1},
        "bytes_in": 1234,
        "bytes_out": 5_600_000,
        "duration_s": {"p50": 0.0042, "p99": 1.234},
        "first_event_s": QUIET,
        "replicas": [{"address": "127.0.0.1:3010", "status": "up", "open": 3, "idle": 2}],
        **parts,
    }


def a_trouble(**parts: Any) -> dict[str, Any]:
    return {
        "at_s": 1_800_000_000.0,
        "server": "demo",
        "status": 502,
        "reason": "connect_failed",
        "client": "10.0.0.1",
        "principal": "",
        "request_id": "id-7",
        "text": "the MCP server cannot be reached",
        "detail": "",
        **parts,
    }


def test_a_gateway_is_told_in_a_few_lines() -> None:
    """What stands first is what matters first; what does not exist takes no room."""
    assert status_text(a_status()) == (
        "mcpgate 1.2.3: ready, up 1h 2m\n"
        "  checks         config ok, not draining ok\n"
        "  configuration  read 1m 0s ago\n"
        "  connections    3 of 900: 2 idle, 1 stream\n"
        "  held           0 requests, 0 B\n"
    )


def test_what_is_wrong_stands_out() -> None:
    """A failed check, a refused reload, and what should never happen."""
    told = status_text(
        a_status(
            gateway={
                "state": "not ready",
                "checks": {"config": True, "listeners": False},
                "reload": {"successful": False, "success_at_s": 1_799_999_940.0},
                "unexpected_failures": 2,
                "dropped_log_lines": 5,
            }
        )
    )
    for part in ("not ready", "listeners FAILED", "REFUSED", "unexpected failures 2", "log lines dropped 5"):
        assert part in told


def test_servers_stand_in_aligned_columns_with_their_replicas() -> None:
    """Numbers to the right."""
    told = status_text(a_status(servers=[a_server(), a_server(name="x", requests=7, errors=0, replicas=[])]))
    assert told.split("\n\n")[1].splitlines() == [
        "SERVER            STATUS  REQUESTS  ERRORS  OPEN  STREAMS      IN     OUT     P50    P99  FIRST",
        "demo              up          1200       3     1        3  1.2 kB  5.6 MB  4.2 ms  1.2 s      -",
        "  127.0.0.1:3010  up        3 open  2 idle",
        "x                 up             7       0     1        3  1.2 kB  5.6 MB  4.2 ms  1.2 s      -",
    ]


def test_streams_limits_and_errors_follow() -> None:
    """Each as a table of its own."""
    stream = {
        "server": "demo",
        "transport": "sse",
        "client": "10.0.0.1",
        "principal": "alice",
        "age_s": 61,
        "bytes_out": 10,
        "replica": "127.0.0.1:3010",
    }
    limit = {
        "name": "calls",
        "key": ["principal", "tool"],
        "allowance": "5/s",
        "admitted": 9,
        "waited": 0,
        "refused": 1,
    }
    told = status_text(a_status(streams=[stream], limits=[limit], recent=[a_trouble()])).split("\n\n")[1:]
    assert told[0].splitlines()[1] == "demo            sse        10.0.0.1  alice      1m 1s  10 B  127.0.0.1:3010"
    assert told[1].splitlines()[1] == "calls  principal, tool  5/s               9       0        1"
    assert told[2].splitlines() == [
        "ERRORS, UTC  TIMES  SERVER  STATUS  REASON          CLIENT    REQUEST",
        "08:00:00         1  demo       502  connect_failed  10.0.0.1  id-7",
        "  the MCP server cannot be reached",
    ]


def test_the_same_error_is_told_once() -> None:
    """With how often, and when and where it was last."""
    others = [a_trouble(request_id=f"id-{number}", at_s=1_799_999_999.0 - number) for number in range(3)]
    differs = a_trouble(principal="alice", detail="no route to host", at_s=1_799_000_000.0)
    told = status_text(a_status(recent=[*others, differs])).split("\n\n")[1].splitlines()
    assert [line.split()[:3] for line in told[1::2]] == [["07:59:59", "3", "demo"], ["01-03", "18:13", "1"]]
    assert told[1].endswith("id-0")
    assert told[4] == "  alice: the MCP server cannot be reached (no route to host)"


def test_a_table_that_is_too_wide_takes_it_from_the_names() -> None:
    """The numbers stay whole."""
    server = a_server(name="a-very-long-name-of-a-server", requests=1234567890, errors=1234567890, open_requests=123456)
    told = status_text(a_status(servers=[server])).splitlines()
    assert any(line.startswith("a-very-l") and line.endswith("1.2 s      -") for line in told)


@given(st.text(), st.text(), st.text())
def test_no_text_of_a_client_leaves_its_place(principal: str, detail: str, name: str) -> None:
    """Only printable ASCII, lines that fit, and as many of them as without it."""
    server = a_server(name=name)
    told = status_text(a_status(servers=[server], recent=[a_trouble(principal=principal, detail=detail, client=name)]))
    assert all(line.isascii() and line.isprintable() for line in told.split("\n"))
    assert max(map(len, told.split("\n"))) <= WIDTH
    assert told.count("\n") == status_text(a_status(servers=[a_server()], recent=[a_trouble()])).count("\n")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (plain("a\x1b[2Jb\nc é"), r"a\x1b[2Jb\nc \xe9"),
        (span(0), "0s"),
        (span(59.9), "59s"),
        (span(3600), "1h 0m"),
        (span(200_000), "2d 7h"),
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(999_700), "1.0 MB"),
        (size(12_345), "12 kB"),
        (size(5e15), "5000 TB"),
        (seconds(None), "-"),
        (seconds(0.0001), "0.1 ms"),
        (seconds(0.15), "150 ms"),
        (seconds(0.9999), "1.0 s"),
        (seconds(12.3), "12 s"),
    ],
)
def test_values_are_written_short(written: str, expected: str) -> None:
    """In a fitting unit."""
    assert written == expected
