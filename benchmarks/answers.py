"""
Check what a subject delivered, byte for byte. Pure: bytes in, counts or a complaint out.
"""

from __future__ import annotations

from benchmarks import messages

_HEAD_LIMIT_BYTES = 16 * 1024


class BrokenAnswer(Exception):
    """What arrived is not what was sent: the figure would be worth nothing, so there is none."""


def split_head(received: bytes) -> tuple[bytes, bytes] | None:
    """
    Cut a response into its lower-cased head and what follows; None while the head is not complete.

    :raises BrokenAnswer: if the status is not 200 or the head does not end.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > _HEAD_LIMIT_BYTES:
            raise BrokenAnswer(f"a head without an end: {received[:80]!r}")
        return None
    if not received.startswith(b"HTTP/1.1 200 "):
        raise BrokenAnswer(f"expected 200, got {received[:400]!r}")
    return received[: end + 2].lower(), received[end + 4 :]


def is_whole_answer(received: bytes, number: int) -> bool:
    """
    Tell whether the answer to this call is complete.

    :raises BrokenAnswer: if it is not the answer to this call.
    """
    if received.endswith(messages.answer(number)) and received.startswith(b"HTTP/1.1 200 "):
        return True
    parts = split_head(received)
    if parts is not None and len(parts[1]) >= messages.ANSWER_BYTES:
        raise BrokenAnswer(f"call {number} was answered with {parts[1][:200]!r}")
    return False


class EventReader:
    """
    Follow one chunked event stream and insist on every number in its turn.

    The chunks may be cut anew on the way, the events may not.
    """

    __slots__ = ("_framed", "_in_body", "_text", "expected")

    def __init__(self) -> None:
        self.expected = 0
        self._in_body = False
        self._framed = b""
        self._text = b""

    def feed(self, received: bytes) -> int:
        """
        Take bytes of the response; return how many events became complete.

        :raises BrokenAnswer: if an event was lost, repeated, overtaken or changed, or the stream ended.
        """
        # The usual case, one event just as it was sent, must be cheap: the load generator shares its CPU.
        if received == messages.event_frame(self.expected) and not self._framed and not self._text:
            self.expected += 1
            return 1
        self._framed += received
        if not self._in_body:
            self._read_head()
        if self._in_body:
            self._unchunk()
        return self._count()

    def _read_head(self) -> None:
        parts = split_head(self._framed)
        if parts is None:
            return
        if b"\r\ntransfer-encoding: chunked\r\n" not in parts[0]:
            raise BrokenAnswer(f"a stream must come in chunks: {parts[0]!r}")
        self._in_body, self._framed = True, parts[1]

    def _unchunk(self) -> None:
        while (line_end := self._framed.find(b"\r\n")) > 0:
            size_bytes = int(self._framed[:line_end], 16)
            end = line_end + 2 + size_bytes
            if size_bytes == 0:
                raise BrokenAnswer(f"the stream ended before event {self.expected}")
            if len(self._framed) < end + 2:
                return
            self._text += self._framed[line_end + 2 : end]
            self._framed = self._framed[end + 2 :]

    def _count(self) -> int:
        count = 0
        while len(self._text) >= messages.EVENT_BYTES:
            self._check(self._text[: messages.EVENT_BYTES])
            self._text = self._text[messages.EVENT_BYTES :]
            self.expected += 1
            count += 1
        return count

    def _check(self, got: bytes) -> None:
        if got == messages.event(self.expected):
            return
        number = messages.event_number(got)
        if number is None or number == self.expected:
            raise BrokenAnswer(f"event {self.expected} was changed on the way: {got!r}")
        if number > self.expected:
            raise BrokenAnswer(f"event {self.expected} was lost or overtaken by {number}")
        raise BrokenAnswer(f"event {number} came again or too late, {self.expected} was due")
