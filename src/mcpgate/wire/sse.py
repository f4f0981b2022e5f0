"""
The little of server-sent events that a pass-through has to know (WHATWG HTML 9.2, "Server-sent events").

Lives here: collecting the first event of a stream, replacing its data, and telling whether a stream stands
between two events. Does not live here: what the data of an ``endpoint`` event becomes (``wire/mapping.py``)
and how long a stream may be held for its first event (``relay.py``). Behind that event a stream is a pipe.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

__all__ = [
    "FIRST_EVENT_LIMIT_BYTES",
    "KEEPALIVE",
    "Event",
    "FirstEvent",
    "FirstEventState",
    "ends_event",
    "rewritten",
]

FIRST_EVENT_LIMIT_BYTES = 65536  # an endpoint event has about 100 bytes; this is a relay's high watermark

KEEPALIVE = b":\n\n"
"""A comment that no client shows to anybody. Its blank line leaves the stream between two events again."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"[\r\n]")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n)")


class Event(NamedTuple):
    """One event: its name (``message`` if the stream gave none) and its data, several lines joined by LF."""

    name: bytes
    data: bytes


class FirstEventState(Enum):
    """
    How far a :class:`FirstEvent` got.

    ==============  =========================================================  ======================
    state           means                                                      leaves by
    ==============  =========================================================  ======================
    ``NEEDS_MORE``  no event yet; what came so far is held                     ``feed``
    ``COMPLETE``    the first event is here, with its blank line               (final)
    ``TOO_LARGE``   ``limit_bytes`` passed without one                         (final)
    ==============  =========================================================  ======================
    """

    NEEDS_MORE = "needs_more"
    COMPLETE = "complete"
    TOO_LARGE = "too_large"


class FirstEvent:
    """
    Collect the first event of a stream, however its bytes are cut.

    A block of lines counts as an event if it has a ``data`` field, empty or not (the priming event of a
    resumable stream is an ``id`` with empty data and must not be held), or if it is called ``endpoint``.
    Comments, blank lines and blocks of ``id`` and ``retry`` alone dispatch nothing at a client; they are
    collected in front of the event.

    A blank line that ends with CR completes the event at once. Whether an LF follows cannot be known without
    waiting for it, and the server may be silent for minutes; but what follows is sent right behind, so the
    client sees the same bytes either way. That LF therefore always belongs to ``rest``, also when it came
    along: else ``raw`` would depend on how the bytes were cut.

    :param limit_bytes: the event and everything in front of it must fit into this.
    """

    __slots__ = (
        "_after_cr",
        "_block",
        "_block_start",
        "_event",
        "_held",
        "_line_start",
        "_scanned",
        "limit_bytes",
        "state",
    )

    def __init__(self, limit_bytes: int = FIRST_EVENT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.state = FirstEventState.NEEDS_MORE
        self._held = bytearray()
        self._scanned = 0  # no line end before here that was not seen
        self._line_start = 0
        self._after_cr = False
        self._block: list[bytes] = []
        self._block_start = 0
        self._event: Event | None = None

    def feed(self, data: bytes) -> FirstEventState:
        """
        Take the next bytes of the stream.

        :returns: the state. What was fed stays in :attr:`held` in every state, so nothing is lost when a
            stream ends early or its first event is too large.
        :raises RuntimeError: if the state is final already.
        """
        if self.state is not FirstEventState.NEEDS_MORE:
            raise RuntimeError(f"fed after {self.state.value}")
        self._held += data
        while (line := self._next_line()) is not None:
            if line:
                self._block.append(line)
            elif (event := _dispatched(self._block)) is not None:
                self._event = event
                self.state = FirstEventState.COMPLETE
                return self.state
            else:
                self._block = []
        if len(self._held) >= self.limit_bytes:
            self.state = FirstEventState.TOO_LARGE
        return self.state

    @property
    def event(self) -> Event:
        """
        The first event.

        :raises RuntimeError: before ``COMPLETE``.
        """
        if self._event is None:
            raise RuntimeError("there is no first event yet")
        return self._event

    @property
    def raw(self) -> bytes:
        """All bytes up to the end of the event's blank line; before ``COMPLETE``, of all whole lines."""
        return bytes(self._held[: self._line_start])

    @property
    def rest(self) -> bytes:
        """The bytes behind :attr:`raw`."""
        return bytes(self._held[self._line_start :])

    @property
    def held(self) -> bytes:
        """Everything that was fed."""
        return bytes(self._held)

    def block(self) -> tuple[bytes, bytes]:
        """Cut :attr:`raw` where the block of the first event begins."""
        raw = self.raw
        return raw[: self._block_start], raw[self._block_start :]

    def _next_line(self) -> bytes | None:
        """Take one line, its end and a byte order mark left out; ``None`` if none ends within the limit."""
        if self._after_cr and self._line_start < len(self._held):
            self._after_cr = False
            if self._held[self._line_start] == ord("\n"):
                self._line_start += 1
        start = self._line_start
        found = _LINE_END.search(self._held, max(start, self._scanned), self.limit_bytes)
        if found is None:
            self._scanned = len(self._held)
            return None
        if start == 0 and self._held.startswith(_BOM):
            start = len(_BOM)
        if not self._block:
            self._block_start = start
        self._line_start = self._scanned = found.end()
        self._after_cr = found.group() == b"\r"
        return bytes(self._held[start : found.start()])


def rewritten(collector: FirstEvent, new_data: bytes) -> bytes:
    """
    Give ``raw`` of a complete collector with other data in its first event.

    Only the value behind ``data:`` changes; comments, other fields and all line ends keep their bytes. Of
    several data lines the first gets the value and the others become empty comments. An event without a data
    line stays as it is: its data is empty, and an empty reference means the stream's own URL on both sides.

    :raises ValueError: if ``new_data`` is more than one line.
    :raises RuntimeError: if the collector is not complete.
    """
    if _LINE_END.search(new_data):
        raise ValueError("the data of a rewritten event must be one line")
    if collector.state is not FirstEventState.COMPLETE:
        raise RuntimeError("there is no first event yet")
    before, block = collector.block()
    pieces = [before]
    placed = False
    for line, line_end in _LINE.findall(block):
        name, _, value = line.partition(b":")
        if name != b"data":
            pieces.append(line + line_end)
        elif placed:
            # Left out whole, it could bring a CR and an LF together, and two line ends would be one.
            pieces.append(b":" + line_end)
        else:
            # A client takes one space off, so a value that begins with one needs another in front.
            space = b" " if value.startswith(b" ") or new_data.startswith(b" ") else b""
            pieces.append(b"data:" + space + new_data + line_end)
            placed = True
    return b"".join(pieces)


def ends_event(tail: bytes) -> bool:
    """
    Say whether a stream that ends so far with these bytes stands between two events.

    There, and only there, :data:`KEEPALIVE` may be put in: its blank line would cut an event in two. A blank
    line that ends with CR counts at once; if its LF still comes, it is one more blank line and means nothing.

    :param tail: the last four bytes of the stream (fewer only if there are fewer), without chunk framing.
    """
    if not tail:
        return True
    without_last_end = tail[:-2] if tail.endswith(b"\r\n") else tail[:-1]
    return tail.endswith((b"\r", b"\n")) and without_last_end.endswith((b"\r", b"\n"))


def _dispatched(block: list[bytes]) -> Event | None:
    """Read the lines of one block; ``None`` if a client would see no event in it."""
    name = b""
    data: list[bytes] = []
    for line in block:
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    if not data and name != b"endpoint":
        return None
    return Event(name or b"message", b"\n".join(data))
