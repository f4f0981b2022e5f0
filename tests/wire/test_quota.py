"""How a limit stands, in header fields."""

from __future__ import annotations

import pytest

from mcpgate.wire.quota import concurrency_lines, rate_lines


def test_a_rate() -> None:
    """The name as a string, numbers as integers."""
    assert rate_lines("per-principal", 40, 2, 0, 3) == (
        b'RateLimit-Policy: "per-principal";q=40;w=2\r\nRateLimit: "per-principal";r=0;t=3\r\n'
    )


def test_what_is_open_at_the_same_time() -> None:
    """Without a window, and with the unit: the default one is the request."""
    assert concurrency_lines("streams", 50, 5) == (
        b'RateLimit-Policy: "streams";q=50;qu="concurrent-requests"\r\nRateLimit: "streams";r=0;t=5\r\n'
    )


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\r\nX: y", "jäh", "\x00", "☃"])
def test_a_name_cannot_break_out(name: str) -> None:
    """Whatever somebody calls a limit: two lines of visible ASCII, with two quotes each."""
    lines = rate_lines(name, 1, 1, 1, 1).split(b"\r\n")
    assert len(lines) == 3
    assert lines[2] == b""
    assert all(line.count(b'"') == 2 and b"\\" not in line and line.isascii() for line in lines[:2])
