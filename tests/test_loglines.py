"""What lines of both logs have in common."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.loglines import Flood, Stamps, escaped, shown, word

#: 2026-07-28, 12:00:00 UTC.
NOON_S = 1785240000


@PURE
@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=5))
def test_times_are_written_as_rfc_3339_does(moments: list[float]) -> None:
    """To the millisecond that has begun, whatever was asked before, also after the clock was set back."""
    stamps = Stamps()
    for moment in moments:
        expected = datetime.fromtimestamp(int(moment), UTC)
        text = stamps.at(moment)
        assert text[:19] == expected.strftime("%Y-%m-%dT%H:%M:%S")
        assert text[19:] == f".{int((moment - int(moment)) * 1000):03d}Z"


def test_a_moment_before_a_second_is_not_in_it() -> None:
    """Nothing is rounded up."""
    assert Stamps().at(NOON_S + 0.9999) == "2026-07-28T12:00:00.999Z"


def test_a_flood_is_bounded_second_by_second_and_by_kind() -> None:
    """Each kind has its own bound, and gets it anew with each second."""
    flood: Flood[str] = Flood(2)
    assert [flood.admits("a", 10.0) for _ in range(4)] == [True, True, False, False]
    assert flood.admits("b", 10.9)
    assert [flood.admits("a", 11.0) for _ in range(3)] == [True, True, False]


def test_what_a_flood_left_out_is_told_once_when_its_second_is_over() -> None:
    """Or at the end, whenever that is."""
    flood: Flood[str] = Flood(1)
    for _ in range(4):
        flood.admits("a", 10.0)
    assert flood.is_counting
    assert flood.left_out(10.99) == []
    assert flood.left_out(11.0) == [("a", 3)]
    assert flood.left_out(12.0) == []
    assert not flood.is_counting
    assert [flood.admits("a", 12.0) for _ in range(2)] == [True, False]
    assert flood.left_out(None) == [("a", 1)]


def test_nothing_is_told_of_what_was_no_flood() -> None:
    """Nobody waits for it either."""
    flood: Flood[str] = Flood(1)
    flood.admits("a", 10.0)
    assert not flood.is_counting
    assert flood.left_out(11.0) == []


@PURE
@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\x7f\x85\x9b\u2028\u2029\u202e\u2066"))))
def test_escaped_json_means_the_same_and_is_one_line_for_every_reader(text: str) -> None:
    """Some readers end lines at more than line feeds; terminals obey more than ESC."""
    line = escaped(json.dumps(text, ensure_ascii=False).encode("utf-8"))
    assert json.loads(line) == text
    assert len(line.decode("utf-8").splitlines()) == 1
    assert not any("\x7f" <= letter <= "\x9f" or letter == "\u202e" for letter in line.decode("utf-8"))


@PURE
@given(st.text())
def test_shown_text_moves_no_cursor(text: str) -> None:
    """Whatever it was; what is harmless stays as it is."""
    told = shown(text)
    assert told.isprintable()
    assert told == text or not text.isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zoë", "Zoë"),
        ("a\nb\x1b[2J", "a\\nb\\x1b[2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_letters_are_shown_by_their_number_where_they_do_something(text: str, expected: str) -> None:
    """Control characters, those that turn the direction of writing, and halves of letters."""
    assert shown(text) == expected


@PURE
@given(st.text())
def test_a_word_is_one_column(text: str) -> None:
    """A space in it does not make two of it."""
    told = word(text)
    assert " " not in told or (told[0] == told[-1] == '"' and '"' not in told[1:-1].replace("\\\\", "").replace('\\"', ""))
