"""The demo's tools as plain functions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.demo.tools import LARGEST_NUMBER, TOOLS, BadArgument, Call, Headers, Json, Steps

NUMBERS = st.integers(-int(LARGEST_NUMBER), int(LARGEST_NUMBER))


def run(name: str, headers: Headers = (), **arguments: Any) -> Json | Steps:
    return TOOLS[name].run(Call(arguments, headers))


def text(name: str, headers: Headers = (), **arguments: Any) -> str:
    result = run(name, headers, **arguments)
    assert isinstance(result, dict)
    told: str = result["content"][0]["text"]
    return told


@given(st.text())
def test_echo(message: str) -> None:
    """echo says any text again."""
    assert text("echo", message=message) == message


@given(NUMBERS, NUMBERS)
def test_add(a: int, b: int) -> None:
    """add adds whole numbers exactly."""
    assert text("add", a=a, b=b) == str(a + b)


@pytest.mark.parametrize("b", [None, "2", True, float("nan"), float("inf"), 10**400])
def test_add_refuses(b: object) -> None:
    """What is no number, or none that JSON of other languages can hold, is refused by name."""
    with pytest.raises(BadArgument, match="'b' must be a number"):
        run("add", a=1, b=b)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"to": 0}, {"to": 1001}, {"to": 1.5}, {"to": 2, "interval_s": -1}, {"to": 2, "interval_s": 61}],
)
def test_count_refuses_at_once(arguments: Json) -> None:
    """count refuses bad arguments when it is called, not when the first step is due."""
    with pytest.raises(BadArgument):
        run("count", **arguments)


def test_whoami_joins_repeated_headers() -> None:
    """A header that came in two lines is shown as one value, in order (RFC 9110 section 5.3)."""
    headers = (("x-forwarded-for", "192.0.2.1"), ("cookie", "secret"), ("x-forwarded-for", "192.0.2.2"))
    assert json.loads(text("whoami", headers)) == {
        "headers": ["cookie", "x-forwarded-for"],
        "values": {"x-forwarded-for": "192.0.2.1, 192.0.2.2"},
    }


def test_fail() -> None:
    """fail is a result that says it is an error, not a broken call."""
    result = run("fail")
    assert isinstance(result, dict)
    assert result["isError"]


@pytest.mark.parametrize("name", TOOLS)
def test_listing(name: str) -> None:
    """Every tool lists a schema of an object, whose required arguments it describes."""
    listing = TOOLS[name].listing()
    schema = listing["inputSchema"]
    assert (listing["name"], schema["type"]) == (name, "object")
    assert set(schema["required"]) <= set(schema["properties"])
