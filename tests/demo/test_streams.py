"""Playing an answer: each message at its time, and an end that is told once."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.task import Clock

from mcpgate.demo.messages import Stream
from mcpgate.demo.streams import Playback
from mcpgate.demo.tools import Json


class Played:
    """A playback and what it did: messages, and ``over`` when it said so."""

    def __init__(self, steps: Iterable[tuple[Json | None, float]], parting: Json | None = None) -> None:
        self.clock = Clock()
        self.said: list[Json | str] = []
        stream = Stream(iter(steps), parting)
        self.playback = Playback(self.clock, stream, self.said.append, lambda: self.said.append("over"))


def test_messages_keep_their_pauses() -> None:
    """The first message is said at once, each other when the pause before it is over."""
    played = Played([({"n": 1}, 2.0), (None, 3.0), ({"n": 2}, 0.0)])
    assert played.said == [{"n": 1}]
    played.clock.pump([2, 2.5])
    assert played.said == [{"n": 1}]
    played.clock.advance(0.5)
    assert played.said == [{"n": 1}, {"n": 2}, "over"]


def test_stop() -> None:
    """Stopped, it says nothing more and that it is over, once."""
    played = Played([({"n": 1}, 1.0), ({"n": 2}, 1.0)])
    played.playback.stop()
    played.playback.stop()
    played.clock.advance(5)
    assert played.said == [{"n": 1}, "over"]
    assert played.clock.getDelayedCalls() == []


def test_open_stream_parts() -> None:
    """A stream with a parting stays open behind its last step, until it is told to part."""
    played = Played([({"n": 1}, 0.0)], parting={"bye": 1})
    played.clock.advance(60)
    assert played.said == [{"n": 1}]
    played.playback.part()
    assert played.said == [{"n": 1}, {"bye": 1}, "over"]


def test_ordinary_stream_does_not_part() -> None:
    """An answer under way owes no parting: it goes on."""
    played = Played([({"n": 1}, 1.0), ({"n": 2}, 1.0)])
    played.playback.part()
    played.clock.advance(1)
    assert played.said == [{"n": 1}, {"n": 2}]
