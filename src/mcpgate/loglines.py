"""What lines of both logs have in common: their time, letters that cannot forge a line, and a guard against floods."""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

#: The end of a time stamp, for each millisecond of a second: a look-up takes a third of formatting it.
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))
#: Letters (in UTF-8) that JSON allows as they are, and that end a line for some readers or mean something to a
#: terminal: DEL, C1 control characters, the separators of Unicode, and what turns the direction of writing.
_ACTIVE = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
_encode = msgspec.json.Encoder().encode

Key = TypeVar("Key", bound=Hashable)


class Stamps:
    """Times as RFC 3339 writes them, in UTC, with milliseconds. Takes 0.4 us, a ``datetime`` 0.9."""

    __slots__ = ("_second",)

    def __init__(self) -> None:
        self._second = (-1, "")

    def at(self, wall_s: float) -> str:
        """
        The time as text.

        :param wall_s: seconds since 1970.
        """
        second, text = self._second
        past_s = wall_s - second
        if not 0.0 <= past_s < 1.0:
            second = int(wall_s // 1)
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = (second, text)  # at once: the event log is written to by several threads
            past_s = wall_s - second
        return text + _MILLISECONDS[int(past_s * 1000)]


class Flood(Generic[Key]):
    """
    Lets so many lines of a kind pass in a second, and counts the others.

    :param most_per_s: how many.
    """

    def __init__(self, most_per_s: int) -> None:
        self._most = most_per_s
        self._second: int | None = 0
        self._counts: dict[Key, int] = {}
        self._over: list[tuple[Key, int]] = []

    def admits(self, key: Key, now_s: float) -> bool:
        """Whether one more may be written; ``now_s`` is monotonic."""
        self._turn(int(now_s))
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return count <= self._most

    def left_out(self, now_s: float | None) -> list[tuple[Key, int]]:
        """What was left out, and not told yet, of the seconds that are over; all of it without a time."""
        self._turn(None if now_s is None else int(now_s))
        over, self._over = self._over, []
        return over

    @property
    def is_counting(self) -> bool:
        """Whether something was left out that has not been told."""
        return bool(self._over) or any(count > self._most for count in self._counts.values())

    def _turn(self, second: int | None) -> None:
        if second == self._second:
            return
        counts, self._counts, self._second = self._counts, {}, second
        self._over += [(key, count - self._most) for key, count in counts.items() if count > self._most]


def escaped(lines: bytes) -> bytes:
    """JSON in which nothing but the line feeds between them does anything. Lines in ASCII cost next to nothing."""
    if lines.isascii() and b"\x7f" not in lines:
        return lines
    return _ACTIVE.sub(lambda found: b"\\u%04x" % ord(found[0].decode("utf-8")), lines)


def shown(text: str) -> str:
    """Text in which nothing moves a cursor, begins a line or turns its direction; everything else as it is."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def word(text: str) -> str:
    """Text that stays one column of a line: in quotation marks, if it holds a space or one of them."""
    text = shown(text)
    return _encode(text).decode("utf-8") if " " in text or '"' in text else text
