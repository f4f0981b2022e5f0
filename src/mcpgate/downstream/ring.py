"""
The newest events, for those who have missed some, and their text as server-sent events (WHATWG HTML).

What may be seen of an event depends on who asks: on their *view*. The text is made once for each view. No I/O here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import islice, takewhile

#: How many events are kept for those who come back: a quarter of a mebibyte.
RING_EVENTS = 1000
#: How much is written to a reader at once: half of what makes Twisted pause it (abstract.FileDescriptor.bufferSize).
PIECE_BYTES = 32 * 1024
#: Texts that are kept for those who catch up: as if four views had asked for the whole ring.
_KEPT_TEXTS = 4 * RING_EVENTS
#: Longest number that can be an index: 2^64 has twenty digits.
_INDEX_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Event:
    """
    Something has changed.

    :ivar index: of the change; grows from event to event, and is the event's id.
    :ivar kind: one word, the name of the event.
    :ivar subject: what its text is made of.
    """

    index: int
    kind: str
    subject: object


Render = Callable[[Event, Hashable], bytes | None]


def word(kind: bytes, index: int) -> bytes:
    """An event that says no more than where somebody stands."""
    return b'id: %d\nevent: %b\ndata: {"index":%d}\n\n' % (index, kind, index)


class Ring:
    """
    The newest events. The *place* of an event is how many were published before it.

    :param index: the present one: ids from before that are not known.
    :param render: the JSON of an event for a view, on one line; ``None`` if that view may not see it.
    :param on_failure: told of an event that ``render`` raises at, inside the ``except`` block; nobody is shown that.
    :ivar end: the place of the next event.
    """

    def __init__(self, index: int, render: Render, on_failure: Callable[[Event], None]) -> None:
        self._events: deque[Event] = deque(maxlen=RING_EVENTS)
        self._gone_index = index  # of the newest that is not here any more
        self._render = render
        self._on_failure = on_failure
        self._texts: dict[tuple[int, Hashable], bytes] = {}
        self.end = 0

    def add(self, event: Event) -> None:
        """Put in the newest; the oldest falls out."""
        if len(self._events) == RING_EVENTS:
            self._gone_index = max(self._gone_index, self._events[0].index)
        self._events.append(event)
        self.end += 1

    def holds(self, place: int) -> bool:
        """Whether everything from a place on is here."""
        return place >= self.end - len(self._events)

    def place_behind(self, last_id: bytes, index: int) -> int:
        """
        Where somebody goes on who has read the event of that id.

        :param last_id: as it came: anything.
        :param index: the present one.
        :returns: a place, or -1 if some events after it are gone, or it cannot be one of ours.
        """
        if not last_id.isdigit() or len(last_id) > _INDEX_DIGITS:
            return -1
        last_index = int(last_id)
        if not self._gone_index <= last_index <= index:
            return -1
        return self.end - sum(1 for _ in takewhile(lambda event: event.index > last_index, reversed(self._events)))

    def piece(self, view: Hashable, place: int, end: int) -> tuple[bytes, int]:
        """
        What a view may see from a place on, up to ``PIECE_BYTES`` or one event, and the place behind it.

        :param place: what `holds` holds.
        """
        texts: list[bytes] = []
        size_bytes = 0
        first_place = self.end - len(self._events)
        for event in islice(self._events, place - first_place, end - first_place):
            text = self._text(place, event, view)
            size_bytes += len(text)
            if size_bytes > PIECE_BYTES and texts:
                break
            texts.append(text)
            place += 1
        return b"".join(texts), place

    def forget(self, index: int) -> None:
        """The rules have changed: what was told under the former ones is told to nobody who comes back later."""
        self._gone_index = index

    def forget_texts(self) -> None:
        """Keep the events alone."""
        self._texts.clear()

    def _text(self, place: int, event: Event, view: Hashable) -> bytes:
        """One event for a view; empty if it may not see it."""
        key = place, view
        text = self._texts.get(key)
        if text is None:
            if len(self._texts) >= _KEPT_TEXTS:
                del self._texts[next(iter(self._texts))]
            text = self._texts[key] = self._made(event, view)
        return text

    def _made(self, event: Event, view: Hashable) -> bytes:
        try:
            told = self._render(event, view)
        except Exception:
            self._on_failure(event)
            return b""
        return b"" if told is None else b"id: %d\nevent: %b\ndata: %b\n\n" % (event.index, event.kind.encode(), told)
