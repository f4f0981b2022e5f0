"""The first event of a legacy stream, as its relay collects it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mcpgate.announcement import Announcement, may_announce_endpoint
from mcpgate.plan import Plan
from mcpgate.wire.http1 import AnswerHead
from mcpgate.wire.mapping import ForeignEndpoint, PathMap

PLACEMENT = SimpleNamespace(paths=PathMap(b"/mcp/x", b"http", b"127.0.0.1:3010"))


class Publication:
    """Puts a mark behind what is announced."""

    def endpoint(self, target: bytes) -> bytes:
        return target + b"&seal"


def _announcement(publication: object = None) -> Announcement:
    return Announcement(Plan(cast(Any, None), cast(Any, PLACEMENT), b"/sse", True, cast(Any, publication)))


def test_nothing_is_told_before_the_event_is_whole() -> None:
    """However its bytes are cut."""
    announcement = _announcement()
    event = b"event: endpoint\ndata: /messages?id=7\n\n"
    told = [announcement.feed(event[at : at + 1]) for at in range(len(event))]
    assert told[:-1] == [None] * (len(event) - 1)
    assert told[-1] == b"event: endpoint\ndata: /mcp/x/messages?id=7\n\n"
    assert announcement.target == b"/mcp/x/messages?id=7"


def test_what_is_sealed_is_announced_with_its_seal() -> None:
    """And what came behind the event follows it."""
    announcement = _announcement(Publication())
    told = announcement.feed(b"event: endpoint\ndata: /m?id=7\n\ndata: next\n\n")
    assert told == b"event: endpoint\ndata: /mcp/x/m?id=7&seal\n\ndata: next\n\n"


def test_another_first_event_passes_as_it_is() -> None:
    """A server of a later era on the same path."""
    announcement = _announcement()
    assert announcement.feed(b"data: hello\n\n") == b"data: hello\n\n"
    assert announcement.target == b""


def test_an_event_that_does_not_end_is_let_go() -> None:
    """At 64 KiB; and until then it can be had as it came."""
    announcement = _announcement()
    assert announcement.feed(b"data: " + b"x" * 1000) is None
    assert announcement.held == b"data: " + b"x" * 1000
    told = announcement.feed(b"x" * 70_000)
    assert told == b"data: " + b"x" * 71_000


def test_somebody_elses_address_is_refused() -> None:
    """A client would send its messages there."""
    with pytest.raises(ForeignEndpoint):
        _announcement().feed(b"event: endpoint\ndata: http://evil.example/m\n\n")


@pytest.mark.parametrize(
    ("status", "is_stream", "noted", "may"),
    [
        (200, True, {}, True),
        (200, True, {b"content-encoding": b"Identity"}, True),
        (200, True, {b"content-encoding": b"gzip"}, False),
        (404, True, {}, False),
        (200, False, {}, False),
    ],
)
def test_only_plain_streams_can_be_read(status: int, is_stream: bool, noted: dict[bytes, bytes], may: bool) -> None:
    """An error page is passed on as it is."""
    assert may_announce_endpoint(AnswerHead(status, b"", True, b"", noted, is_event_stream=is_stream)) is may
