"""Cursors and numbers in queries."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.catalog.paging import cursor_of, fields_of, limit_of, words_of


@PURE
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_a_cursor_says_again_what_it_was_made_of(words: list[str]) -> None:
    """And can stand in a URL as it is."""
    cursor = cursor_of(*words)
    assert words_of(cursor, len(words)) == words
    assert re.fullmatch("[A-Za-z0-9_-]*", cursor)


@PURE
@given(st.text())
def test_any_other_cursor_is_refused(cursor: str) -> None:
    """Never a crash, never somebody's guess."""
    try:
        words = words_of(cursor, 3)
    except ValueError as fault:
        assert "cursor" in str(fault)
    else:
        assert len(words) == 3


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.0", "", "x", "\u0661", "1" * 5000, " 1"])
def test_a_limit_is_a_number_in_its_bounds(text: str) -> None:
    """Nothing else."""
    with pytest.raises(ValueError, match="limit is not a number from 1 to 100"):
        limit_of({"limit": text}, 30, 100)


def test_without_a_limit_the_usual_one_counts() -> None:
    """Whatever else is asked."""
    assert limit_of({"x": "1"}, 30, 100) == 30
    assert limit_of({"limit": "007"}, 30, 100) == 7


def test_a_query_is_read_as_browsers_write_it() -> None:
    """Of two of a name the last counts; what is not UTF-8 is refused, and so is a flood."""
    assert fields_of(b"a=1&a=2&b=x+y%2F&c") == {"a": "2", "b": "x y/", "c": ""}
    assert fields_of(b"&".join([b"a=1"] * 64)) == {"a": "1"}
    for query, text in (
        (b"cursor=%ff", "the query is not UTF-8"),
        (b"a=%c3%28", "the query is not UTF-8"),
        (b"&".join([b"a=1"] * 65), "the query has more than 64 parameters"),
    ):
        with pytest.raises(ValueError) as fault:
            fields_of(query)
        assert str(fault.value) == text
