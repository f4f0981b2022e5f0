"""Which rows of a file can be what somebody has written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.registry.rows import LAST_MOMENT_S, MAX_REVISION, Row, is_kept_list, objection
from mcpgate.registry.views import moment_text

SOUND = Row("weather", "10.0.0.1-80", b"{}", 1.8e9, 1_800_000_000_123)


@pytest.mark.parametrize(
    "row", [SOUND, SOUND._replace(registered_at_s=0, revision=0), SOUND._replace(revision=MAX_REVISION)]
)
def test_a_row_that_was_written_is_sound(row: Row) -> None:
    """Nothing is held against it."""
    assert objection(row) == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("server", value) for value in ("", "Weather", "we(ther", "discovery", "w\ufffdather", b"weather", None)),
        *(("replica", value) for value in ("", 'r/../"x', b"\xff\0", 7)),
        *(("registered_at_s", value) for value in (-1.0, 1e300, math.inf, math.nan, LAST_MOMENT_S + 86400, "1", None)),
        *(("revision", value) for value in (-1, MAX_REVISION + 1, 2**62, 1.5, None)),
        *(("body", value) for value in ("{}", None)),
    ],
)
def test_a_row_in_which_bits_have_flipped_is_not(key: str, value: object) -> None:
    """It is told which of its values cannot be."""
    assert objection(SOUND._replace(**{key: value})).startswith(f"{key}: ")  # type: ignore[arg-type]


@given(st.floats())
def test_a_sound_moment_can_be_shown(moment_s: float) -> None:
    """And of any other at least nothing fails."""
    shown = moment_text(moment_s)
    assert shown.endswith("Z")
    if objection(SOUND._replace(registered_at_s=moment_s)) == "":
        assert "1970" <= shown[:4] <= "9999"


@pytest.mark.parametrize(
    ("values", "is_sound"),
    [
        (("seed http://h/", '"1"', b"[]", 1.8e9), True),
        (("seed http://h/", "", b"[]", 0.0), True),
        ((b"seed", "", b"[]", 0.0), False),
        (("seed", b"\xff", b"[]", 0.0), False),
        (("seed", '"\ufffd"', b"[]", 0.0), False),
        (("seed", '"\n"', b"[]", 0.0), False),
        (("seed", "", b"[]", math.inf), False),
        (("seed", "", "[]", 0.0), False),
    ],
)
def test_a_list_with_values_that_cannot_be_is_not_taken(values: tuple[object, ...], is_sound: bool) -> None:
    """Its ETag is sent, and its time is shown."""
    assert is_kept_list(values) is is_sound
