"""The newest events: what somebody has missed, or that nobody knows any more."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.downstream.ring import PIECE_BYTES, RING_EVENTS, Event, Ring, word


class Numbered:
    """A ring of events with every third number as index, and how often one was made."""

    def __init__(self, count: int, size_bytes: int = 10, start: int = 1000) -> None:
        self.made: list[tuple[int, Hashable]] = []
        self.failed: list[Event] = []
        self._size_bytes = size_bytes
        self.ring = Ring(start, self._render, self.failed.append)
        self.newest = start
        for _ in range(count):
            self.newest += 3
            self.ring.add(Event(self.newest, "changed", None))

    def _render(self, event: Event, view: Hashable) -> bytes | None:
        self.made.append((event.index, view))
        if view == "broken":
            raise RuntimeError
        return None if view == "blind" else b"x" * self._size_bytes

    def told(self, view: Hashable, place: int) -> list[bytes]:
        """All pieces from a place on."""
        pieces = []
        while place < self.ring.end:
            text, behind = self.ring.piece(view, place, self.ring.end)
            assert behind > place
            pieces.append(text)
            place = behind
        return pieces


def test_an_event_is_text_with_its_index_as_id() -> None:
    """Which a browser gives back when it comes again."""
    assert Numbered(1, 2).told("all", 0) == [b"id: 1003\nevent: changed\ndata: xx\n\n"]


def test_a_word_says_where_one_stands() -> None:
    """With the present index as id and as its text."""
    assert word(b"ready", 7) == b'id: 7\nevent: ready\ndata: {"index":7}\n\n'


@pytest.mark.parametrize(("last_id", "place"), [(b"1000", 0), (b"1002", 0), (b"1003", 1), (b"1030", 10), (b"1031", 10)])
def test_somebody_goes_on_behind_the_id_that_was_read(last_id: bytes, place: int) -> None:
    """Also if the index has grown without an event."""
    assert Numbered(10).ring.place_behind(last_id, 1031) == place


@pytest.mark.parametrize("last_id", [b"999", b"0", b"1032", b"-1", b"1e3", b"abc", b"9" * 40, b"\xd9\xa1", b"1 0"])
def test_an_id_that_is_none_of_ours_leads_nowhere(last_id: bytes) -> None:
    """Of a process before, of the future, or invented."""
    assert Numbered(10).ring.place_behind(last_id, 1031) == -1


def test_what_has_fallen_out_is_not_held() -> None:
    """Whoever has read the last event that is gone has missed nothing; who has not, something."""
    numbered = Numbered(RING_EVENTS + 5)
    gone = 1000 + 3 * 5
    assert numbered.ring.place_behind(b"%d" % gone, numbered.newest) == 5
    assert numbered.ring.place_behind(b"%d" % (gone - 1), numbered.newest) == -1
    assert numbered.ring.holds(5)
    assert not numbered.ring.holds(4)
    assert not numbered.ring.holds(-1)


@given(st.integers(1, RING_EVENTS), st.integers(1, PIECE_BYTES * 2), st.integers(0, RING_EVENTS))
def test_pieces_are_bounded_and_together_everything(count: int, size_bytes: int, place: int) -> None:
    """No piece is larger than a reader can take at once, unless it is a single event."""
    numbered = Numbered(min(count, 40), size_bytes)
    pieces = numbered.told("all", min(place, 40))
    assert b"".join(pieces).count(b"id: ") == max(0, min(count, 40) - min(place, 40))
    assert all(len(piece) <= PIECE_BYTES or piece.count(b"id: ") == 1 for piece in pieces)


def test_a_text_is_made_once_for_each_view() -> None:
    """However many ask, until texts are forgotten."""
    numbered = Numbered(3)
    first, second = numbered.told("all", 0), numbered.told("all", 1)
    assert b"".join(first).endswith(b"".join(second))
    numbered.told("others", 0)
    assert len(numbered.made) == 6
    numbered.ring.forget_texts()
    assert numbered.told("all", 0) == first
    assert len(numbered.made) == 9


def test_many_views_do_not_grow_without_bound() -> None:
    """Made again is what nobody has asked for in a while."""
    numbered = Numbered(10)
    for view in range(1000):
        numbered.told(view, 0)
    assert len(numbered.ring._texts) == 4 * RING_EVENTS


def test_what_a_view_may_not_see_is_passed_over() -> None:
    """It goes on behind it."""
    assert Numbered(3).ring.piece("blind", 0, 3) == (b"", 3)


def test_an_event_that_cannot_be_made_is_told_and_left_out() -> None:
    """The next one may go well."""
    numbered = Numbered(2)
    assert numbered.ring.piece("broken", 0, 2) == (b"", 2)
    assert [event.index for event in numbered.failed] == [1003, 1006]
