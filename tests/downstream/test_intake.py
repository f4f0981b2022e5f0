"""What a client has sent and nobody has read yet."""

from __future__ import annotations

import pytest
from hypothesis import given
from tests.strategies import cuts, split

from mcpgate.downstream.intake import Intake
from mcpgate.errors import BadRequest
from mcpgate.wire.http1 import HeadLimits

LIMITS = HeadLimits(1000, 10)
HEAD = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@given(places=cuts)
def test_heads_are_cut_off_the_front_however_they_come(places: list[int]) -> None:
    """Empty lines before one mean nothing; what is behind the last one stays."""
    intake = Intake()
    targets = []
    for piece in split(b"\r\n\r\n" + HEAD + b"\r\n" + HEAD.replace(b"/a", b"/b") + b"GET /c", places):
        intake.add(piece)
        while (head := intake.cut_head(LIMITS)) is not None:
            targets.append(head.target)
    assert targets == [b"/a", b"/b"]
    assert intake.data == b"GET /c"


def test_the_same_head_again_is_recognised() -> None:
    """Until it is forgotten."""
    intake = Intake()
    intake.add(HEAD * 3)
    first, second = intake.cut_head(LIMITS), intake.cut_head(LIMITS)
    assert first is second
    intake.forget_head()
    assert intake.cut_head(LIMITS) is not first
    assert len(intake) == 0


def test_bytes_are_taken_off_the_front() -> None:
    """A body that is here, or everything."""
    intake = Intake()
    intake.add(b"abc")
    intake.add(b"def")
    assert (intake.take(2), intake.take_all(), len(intake)) == (b"ab", b"cdef", 0)


def test_what_can_never_become_a_head_is_refused() -> None:
    """At once, and not when its end comes."""
    intake = Intake()
    intake.add(b"GET / HTTP/1.1\nHost: x\n")
    with pytest.raises(BadRequest):
        intake.cut_head(LIMITS)
