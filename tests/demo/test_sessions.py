"""Sessions: how many there are, and where a client goes on."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mcpgate.demo.messages import Refused, Stream
from mcpgate.demo.sessions import Conversation, Session, Sessions, read_position

FOREVER = [(None, 60.0)] * 100


def two_sessions() -> tuple[Sessions, Session, Session]:
    """A store that is full with two."""
    numbers = itertools.count(1)
    sessions = Sessions(Clock(), lambda: f"s{next(numbers)}", limit=2)
    return sessions, sessions.open("2025-11-25"), sessions.open("2025-11-25")


def is_known(sessions: Sessions, session: Session) -> bool:
    try:
        return sessions.find(session.id) is session
    except Refused:
        return False


def test_longest_unused_is_dropped() -> None:
    """At the limit a new session takes the place of the one that was used longest ago."""
    sessions, first, second = two_sessions()
    sessions.find(first.id)
    third = sessions.open("2025-11-25")
    assert [is_known(sessions, session) for session in (first, second, third)] == [True, False, True]


def test_busy_session_stays() -> None:
    """A session with a call under way is not idle: the next one goes instead."""
    sessions, first, second = two_sessions()
    first.conversation.begin(1, Stream(iter(FOREVER)), say=lambda message: None, over=lambda: None)
    sessions.open("2025-11-25")
    assert [is_known(sessions, session) for session in (first, second)] == [True, False]


def test_all_busy() -> None:
    """If no session is idle, the longest unused one goes all the same: the bound holds."""
    sessions, first, second = two_sessions()
    for session in (first, second):
        session.conversation.begin(1, Stream(iter(FOREVER)), say=lambda message: None, over=lambda: None)
    sessions.open("2025-11-25")
    assert [is_known(sessions, session) for session in (first, second)] == [False, True]


def test_reused_id_stops_the_first() -> None:
    """A client that uses an id again has given up its first request."""
    clock = Clock()
    conversation = Conversation(clock)
    ended: list[str] = []
    for name in ("first", "second"):
        over = functools.partial(ended.append, name)
        conversation.begin(1, Stream(iter(FOREVER)), say=lambda message: None, over=over)
    assert ended == ["first"]
    conversation.close()
    assert ended == ["first", "second"]
    assert conversation.is_idle
    assert clock.getDelayedCalls() == []


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_position(stream: int, event: int) -> None:
    """An event id says its stream and its number there."""
    assert read_position(f"{stream}-{event}") == (stream, event)


@pytest.mark.parametrize("last_event_id", ["", "1", "1-", "-1", "1-2-3", "1-٣", " 1-2", "9" * 5000 + "-1"])
def test_foreign_position(last_event_id: str) -> None:
    """Anything else is not from here, however long."""
    with pytest.raises(Refused, match="not from this server"):
        read_position(last_event_id)
