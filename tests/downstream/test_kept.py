"""Documents that are kept, and what HTTP says to one who has them already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.catalog.arranging import last
from twisted.web.http_headers import Headers

from mcpgate.downstream.kept import MOST_KEPT_BYTES, Document, Kept, etag_of, has

ONE = Document(b"one", b'"1"')


def test_a_document_is_kept_until_something_changes() -> None:
    """A document of an earlier index is never given out again."""
    kept = Kept()
    kept.keep(1, "a", ONE)
    assert kept.find(1, "a") is ONE
    assert kept.find(1, "b") is None
    assert kept.find(2, "a") is None
    kept.keep(2, "b", ONE)
    assert kept.find(2, "a") is None
    assert kept.find(1, "a") is None


def test_what_is_kept_has_a_bound() -> None:
    """In number and in bytes; the oldest goes first, and what is too long for all is not kept."""
    kept = Kept()
    for number in range(100):
        kept.keep(1, number, ONE)
    assert [number for number in range(100) if kept.find(1, number)] == list(range(36, 100))
    half = Document(bytes(MOST_KEPT_BYTES // 2 + 1), b"")
    kept.keep(1, "half", half)
    kept.keep(1, "other", half)
    assert kept.find(1, "half") is None
    assert kept.find(1, "other") is half
    kept.keep(1, "all", Document(bytes(MOST_KEPT_BYTES + 1), b""))
    assert kept.find(1, "all") is None
    assert kept.find(1, "other") is half


def test_the_tag_is_that_of_the_bytes() -> None:
    """Strong: another byte, another tag; made in steps for long ones."""
    long = bytes(1 << 20)
    assert last(etag_of(long)) == last(etag_of(bytes(1 << 20)))
    assert len({last(etag_of(body)) for body in (b"", b"a", long, long + b"a")}) == 4
    assert len(list(etag_of(long))) == 4


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([], False),
        ([b'"1"'], True),
        ([b'W/"1"'], True),
        ([b'"0", W/"1" , "2"'], True),
        ([b'"0"', b'"1"'], True),
        ([b"*"], True),
        ([b'"11"'], False),
        ([b"1"], False),
        ([b""], False),
    ],
)
def test_tags_are_compared_weakly(values: list[bytes], known: bool) -> None:
    """All that the client names count."""
    request = SimpleNamespace(requestHeaders=Headers({b"if-none-match": values}))
    assert has(cast(Any, request), b'"1"') is known
