"""How answers end at the fast door."""

from __future__ import annotations

import pytest

from mcpgate.downstream.framing import frame, lines_around_id
from mcpgate.exchange import Answer


@pytest.mark.parametrize(
    ("answer", "is_http11", "closes", "fields", "chunked", "ends"),
    [
        (Answer(200, b"OK", b"", 5), True, False, b"Content-Length: 5\r\n", False, False),
        (Answer(200, b"OK", b"", 5), True, True, b"Content-Length: 5\r\nConnection: close\r\n", False, True),
        (Answer(200, b"OK", b"", 5), False, False, b"Content-Length: 5\r\nConnection: keep-alive\r\n", False, False),
        (Answer(200, b"OK", b"", None), True, False, b"Transfer-Encoding: chunked\r\n", True, False),
        (Answer(200, b"OK", b"", None), False, False, b"Connection: close\r\n", False, True),
        (Answer(204, b"No Content", b"", 0, False), True, False, b"", False, False),
        (Answer(304, b"Not Modified", b"", 9, False), True, False, b"Content-Length: 9\r\n", False, False),
        (Answer(200, b"OK", b"", None, False), True, False, b"", False, False),
    ],
)
def test_framing(answer: Answer, is_http11: bool, closes: bool, fields: bytes, chunked: bool, ends: bool) -> None:
    """A length where it is known, chunks for HTTP/1.1, the close for HTTP/1.0."""
    framed = frame(answer, is_http11, closes, b"id-1")
    assert framed.data == b"HTTP/1.1 %d %b\r\nX-Request-Id: id-1\r\n%b\r\n" % (answer.status, answer.phrase, fields)
    assert (framed.chunked, framed.closes) == (chunked, ends)


def test_the_fields_of_the_answer_come_first() -> None:
    """As they are."""
    assert frame(Answer(200, b"OK", b"A: b\r\n", 0), True, False, b"7").data.endswith(b"\r\nA: b\r\nX-Request-Id: 7\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("answer", [Answer(200, b"OK", b"A: b\r\n", 5), Answer(204, b"No Content", b"", 0, False)])
def test_what_is_kept_of_an_answer_is_its_head_around_the_id(answer: Answer) -> None:
    """So that the next one like it has the same head, with an id of its own."""
    before, behind = lines_around_id(answer)
    assert before + b"id-7" + behind == frame(answer, True, False, b"id-7").data
    assert answer.lines == (before, behind)
