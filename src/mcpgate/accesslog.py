"""
One line per exchange: what was asked, what became of it, and how long it took.

Never in a line: query strings, tokens, session ids, cookies, bodies. Everything that a client chose is escaped by the
JSON encoder (the text form uses the same), so no line can be forged. Lines are written in batches: a request costs one
append.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from mcpgate.exchange import Ended, Era, Exchange

#: How long a line may wait for company before the batch is written.
FLUSH_S = 0.2
#: Above this many lines a batch is written at once.
_BATCH_LINES = 500
#: A line names at most this much of a path; the rest is cut, so that a log cannot be blown up by requests.
_PATH_BYTES = 512
_METHOD_BYTES = 32

class Line(msgspec.Struct, omit_defaults=True):
    """The fields of one line. msgspec writes times and enums itself: a fifth of what formatting them here took."""

    time: datetime
    client: str
    server: str
    method: str
    path: str
    status: int
    era: Era
    ms: float
    bytes_in: int
    bytes_out: int
    ended: Ended | None
    principal: str = ""
    reason: str = ""
    request_id: str = ""
    detail: str = ""


Format = Callable[[Line], bytes]
_ENCODER = msgspec.json.Encoder()


def line_of(exchange: Exchange, request_id: str, at_s: float, took_s: float) -> Line:
    """
    What is told of an exchange.

    :param at_s: wall-clock seconds at its end; ``took_s`` how long it was under way.
    """
    head, error = exchange.head, exchange.error
    line = Line(
        datetime.fromtimestamp(at_s, UTC),
        exchange.peer.address.decode("ascii", "replace"),
        exchange.server,
        head.method[:_METHOD_BYTES].decode("ascii", "replace"),
        head.path[:_PATH_BYTES].decode("latin-1"),
        exchange.status,
        exchange.era,
        round(took_s * 1000, 2),
        exchange.bytes_in,
        exchange.bytes_out,
        exchange.ended,
        exchange.principal,
    )
    if error is not None:
        line.reason, line.request_id, line.detail = error.reason, request_id, error.detail
    return line


def json_line(line: Line) -> bytes:
    """One exchange as a JSON object and a line feed."""
    return _ENCODER.encode(line) + b"\n"


def text_line(line: Line) -> bytes:
    """One exchange for a person at a terminal: ``12:00:00 200 POST /mcp/demo/mcp 1.52 ms (session, complete)``."""
    method, path = (_ENCODER.encode(text)[1:-1].decode("utf-8") for text in (line.method, line.path))
    why = line.reason or (line.ended.value if line.ended is not None else "")
    text = f"{line.time:%H:%M:%S} {line.status} {method} {path} {line.ms} ms ({line.era.value}, {why})\n"
    return text.encode("ascii", "backslashreplace")


class AccessLog:
    """
    Collects lines and writes them in batches.

    :param write: takes a batch; may block for as long as the sink does.
    :param call_later: arms the flush; a timer runs only while lines wait.
    :param sample_2xx: the share of successful exchanges that is written, from 0 to 1.
    """

    def __init__(
        self,
        form: Format,
        write: Callable[[bytes], object],
        call_later: Callable[[float, Callable[[], None]], object],
        clocks: tuple[Callable[[], float], Callable[[], float]],
        sample_2xx: float = 1.0,
        random: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._form = form
        self._write = write
        self._call_later = call_later
        self._wall, self._now = clocks
        self._sample = sample_2xx
        self._random = random
        self._waiting: list[bytes] = []

    def record(self, exchange: Exchange, request_id: str) -> None:
        """Note one exchange that is over."""
        if self._sample < 1.0 and 200 <= exchange.status < 300 and self._random() >= self._sample:
            return
        took_s = self._now() - exchange.started_s
        if not self._waiting:
            self._call_later(FLUSH_S, self.flush)
        self._waiting.append(self._form(line_of(exchange, request_id, self._wall(), took_s)))
        if len(self._waiting) >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        lines, self._waiting = self._waiting, []
        if lines:
            self._write(b"".join(lines))
