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

from mcpgate.exchange import Exchange

#: How long a line may wait for company before the batch is written.
FLUSH_S = 0.2
#: Above this many lines a batch is written at once.
_BATCH_LINES = 500
#: A line names at most this much of a path; the rest is cut, so that a log cannot be blown up by requests.
_PATH_BYTES = 512

Format = Callable[[Exchange, str, float, float], bytes]


def _fields(exchange: Exchange, request_id: str, at_s: float, took_s: float) -> dict[str, object]:
    head = exchange.head
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds"),
        "client": exchange.peer.address.decode("ascii", "replace"),
        "server": exchange.server,
        "method": head.method.decode("ascii", "replace"),
        "path": exchange.path[:_PATH_BYTES].decode("latin-1"),
        "status": exchange.status,
        "era": exchange.era.value,
        "ms": round(took_s * 1000, 2),
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "ended": exchange.ended.value if exchange.ended is not None else "",
    }
    if exchange.error is not None:
        fields["reason"] = exchange.error.reason
        fields["request_id"] = request_id
        if exchange.error.detail:
            fields["detail"] = exchange.error.detail
    return fields


def json_line(exchange: Exchange, request_id: str, at_s: float, took_s: float) -> bytes:
    """One exchange as a JSON object and a line feed."""
    return msgspec.json.encode(_fields(exchange, request_id, at_s, took_s)) + b"\n"


def text_line(exchange: Exchange, request_id: str, at_s: float, took_s: float) -> bytes:
    """One exchange for a person at a terminal: ``12:00:00 200 POST /mcp/demo/mcp 1.52 ms (session, complete)``."""
    fields = _fields(exchange, request_id, at_s, took_s)
    path = msgspec.json.encode(fields["path"])[1:-1].decode("ascii", "backslashreplace")
    line = (
        f"{str(fields['time'])[11:19]} {fields['status']} {fields['method']} {path} {fields['ms']} ms"
        f" ({fields['era']}, {fields.get('reason') or fields['ended']})\n"
    )
    return line.encode("ascii", "backslashreplace")


class AccessLog:
    """
    Collects lines and writes them in batches.

    :param write: takes a batch; may block for as long as the sink does.
    :param call_later: arms the flush; a timer runs only while lines wait.
    :param sample_2xx: the share of successful exchanges that is written, from 0 to 1.
    """

    def __init__(
        self,
        line: Format,
        write: Callable[[bytes], object],
        call_later: Callable[[float, Callable[[], None]], object],
        clocks: tuple[Callable[[], float], Callable[[], float]],
        sample_2xx: float = 1.0,
        random: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._line = line
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
        self._waiting.append(self._line(exchange, request_id, self._wall(), took_s))
        if len(self._waiting) >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        lines, self._waiting = self._waiting, []
        if lines:
            self._write(b"".join(lines))
