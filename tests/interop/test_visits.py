"""The comparison all interop tests rest on."""

from __future__ import annotations

import pytest
from tests.interop.visits import differences

SEEN = {"tools": [{"name": "add"}, {"name": "echo"}], "logs": [["info", "x"]], "version": "2025-11-25"}


def test_same_visits_have_no_differences() -> None:
    """Two visits that saw the same are told to be the same."""
    assert differences(SEEN, {**SEEN}) == []


@pytest.mark.parametrize(
    ("other", "place"),
    [
        ({**SEEN, "version": "2026-07-28"}, ".version:"),
        ({**SEEN, "tools": [{"name": "add"}, {"name": "ECHO"}]}, ".tools[1].name:"),
        ({**SEEN, "tools": [{"name": "add"}]}, ".tools:"),
        ({**SEEN, "logs": [["info", "x", None]]}, ".logs[0]:"),
        ({**SEEN, "more": 1}, "all:"),
        (None, "all:"),
    ],
)
def test_difference_is_found_where_it_is(other: object, place: str) -> None:
    """A changed, missing or additional value is reported once, with the way to it."""
    found = differences(SEEN, other)
    assert [line.split(" ")[0] for line in found] == [place]
