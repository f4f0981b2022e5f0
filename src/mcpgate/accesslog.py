"""
One line per exchange: what was asked, what became of it, and how long it took.

Never in a line: query strings, tokens, session ids, cookies, bodies, addresses of resources. Everything that a client
chose is escaped by the JSON encoder (the text form has its own letters for it), so no line can be forged. Lines are
written in batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from mcpgate.exchange import Ended, Era, Exchange
from mcpgate.loglines import Flood, Stamps, escaped, shown, word

#: How long a line may wait for company before the batch is written.
FLUSH_S: Final = 0.2
#: Above this many lines a batch is written at once.
_BATCH_LINES = 500
#: A line names at most this much of what a client or a server chose, so that requests cannot blow up a log.
_PATH_BYTES = 512
_METHOD_BYTES = 32
_MCP_METHOD_LETTERS = 64
_NAME_LETTERS = 128
_DETAIL_LETTERS = 500
#: Refusals of what could not even be read or routed: whoever makes floods of them shall not fill a disk.
_FLOOD_STATUSES: Final = frozenset({400, 404, 405, 408, 414, 421, 431})
#: Enough to see what they are; of all clients together a few times as many, so that one does not hide the others.
_FLOOD_PER_S = 20
_FLOOD_OF_ALL_PER_S = 40

#: The default of a field that is always written: no value is this one.
_ALWAYS: Any = None


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """
    The fields of one line, in their order; what has its default is left out.

    :ivar hop: who spoke or failed: ``gateway``, or ``upstream`` if it only passed on what came from there.
    :ivar ttfb_ms: from the request's head to the first byte of its answer; ``first_event_ms`` to the first event.
    """

    time: str = _ALWAYS
    request_id: str = _ALWAYS
    client: str = _ALWAYS
    principal: str = ""
    server: str = _ALWAYS
    upstream: str = ""
    era: Era = _ALWAYS
    transport: str = ""
    method: str = _ALWAYS
    path: str = _ALWAYS
    mcp_method: str = ""
    name: str = ""
    status: int = _ALWAYS
    rpc_code: int = 0
    reason: str = ""
    ended: Ended | None = None
    hop: str = _ALWAYS
    bytes_in: int = _ALWAYS
    bytes_out: int = _ALWAYS
    ms: float = _ALWAYS
    ttfb_ms: float | None = None
    first_event_ms: float | None = None
    trace_id: str = ""
    detail: str = ""


class LeftOut(msgspec.Struct):
    """Stands for the lines of one second that a flood made too many."""

    time: str
    reason: str
    left_out: int


#: The line of nearly every exchange, as it waits to be written: its opening up to the id, the id, what it shares with
#: others of its client up to ``bytes_in``, both counts of bytes, and when it began, was answered and ended, in seconds.
#: A plain tuple takes 0.1 us to make; as a `Line`, and encoded, it would take 1.5 more.
UsualLine = tuple[bytes, bytes, bytes, int, int, float, float, float]
Format = Callable[[Sequence[Line | LeftOut | UsualLine]], bytes]
_ENCODER, _DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(Line)


class _Digits(dict[int, bytes]):
    """Numbers as text: looking up one that is here takes a third of formatting it."""

    def __missing__(self, number: int) -> bytes:
        return b"%d" % number


_DIGITS: Final = _Digits((number, b"%d" % number) for number in range(1000))
#: Hundredths as the encoder writes them.
_HUNDREDTHS: Final = tuple((b".%02d" % number).rstrip(b"0") if number else b".0" for number in range(100))


def line_of(exchange: Exchange, time: str, now_s: float) -> Line:
    """
    What is told of an exchange.

    :param time: of its end, as it is to be written; ``now_s`` the same on the clock of the exchange.
    """
    head, operation, result = exchange.head, exchange.operation, exchange.result
    began_s, first_byte_s = exchange.started_s, exchange.first_byte_s
    mcp_method = name = ""
    if operation is not None:
        mcp_method, name = operation.method[:_MCP_METHOD_LETTERS], operation.name[:_NAME_LETTERS]
    line = Line(
        time,
        exchange.request_id.decode("latin-1"),
        exchange.client.decode("latin-1"),
        exchange.principal,
        exchange.server,
        exchange.replica,
        exchange.era,
        exchange.transport,
        head.method[:_METHOD_BYTES].decode("latin-1"),
        head.path[:_PATH_BYTES].decode("latin-1"),
        mcp_method,
        name,
        exchange.status,
        0 if result is None else result.rpc_code,
        "",
        exchange.ended,
        "upstream" if exchange.server and exchange.ended is not Ended.REFUSED else "gateway",
        exchange.bytes_in,
        exchange.bytes_out,
        # round() takes three times as long.
        int((now_s - began_s) * 100_000 + 0.5) / 100,
        int((first_byte_s - began_s) * 100_000 + 0.5) / 100 if first_byte_s else None,
    )
    if exchange.first_event_s or exchange.trace is not None or exchange.error is not None:
        _add_rare(line, exchange)
    return line


def _add_rare(line: Line, exchange: Exchange) -> None:
    """What few lines have."""
    if exchange.first_event_s:
        line.first_event_ms = int((exchange.first_event_s - exchange.started_s) * 100_000 + 0.5) / 100
    if exchange.trace is not None:
        line.trace_id = exchange.trace.trace_id.decode("latin-1")
    if exchange.error is not None:
        line.reason, line.detail = exchange.error.reason, exchange.error.detail[:_DETAIL_LETTERS]


def _is_usual(exchange: Exchange) -> bool:
    """Whether nothing is told of it but what a `UsualLine` line says."""
    if exchange.error is not None or exchange.trace is not None or exchange.first_event_s or not exchange.first_byte_s:
        return False
    return exchange.result is None or not exchange.result.rpc_code


def _shared(exchange: Exchange) -> bytes:
    """
    What the line of a usual exchange says from ``client`` to the key of ``bytes_in``: cut out of a whole line, and kept
    with the head for others that say the same.

    :returns: empty for the first one: many a head comes once, and cutting takes as long as a whole line.
    """
    operation, head = exchange.operation, exchange.head
    method, name = ("", "") if operation is None else (operation.method, operation.name)
    told = (
        exchange.client, exchange.principal, exchange.server, exchange.replica, exchange.era, exchange.transport,
        method, name, exchange.status, exchange.ended,
    )  # fmt: skip
    kept = head.shown
    if kept is None or kept[0] != told:
        head.shown = (told, b"")
        return b""
    if not kept[1]:
        whole = json_lines([line_of(exchange, "", exchange.started_s)])
        # An id has no letters that are escaped; whatever a client chose stands before the counts, and is escaped.
        start, end = whole.index(b'","client":'), whole.rindex(b'"bytes_in":') + len(b'"bytes_in":')
        kept = head.shown = (kept[0], whole[start:end])
    return kept[1]


def json_lines(lines: Sequence[Line | LeftOut | UsualLine]) -> bytes:
    """Each as a JSON object and a line feed."""
    pieces: list[bytes] = []
    for line in lines:
        if type(line) is not tuple:
            pieces += (escaped(_ENCODER.encode(line)), b"\n")
            continue
        opening, request_id, shared, bytes_in, bytes_out, began_s, first_byte_s, ended_s = line
        took, until_first = int((ended_s - began_s) * 100_000 + 0.5), int((first_byte_s - began_s) * 100_000 + 0.5)
        pieces += (
            opening, request_id, shared, _DIGITS[bytes_in], b',"bytes_out":', _DIGITS[bytes_out],
            b',"ms":', _DIGITS[took // 100], _HUNDREDTHS[took % 100],
            b',"ttfb_ms":', _DIGITS[until_first // 100], _HUNDREDTHS[until_first % 100], b"}\n",
        )  # fmt: skip
    return b"".join(pieces)


def text_lines(lines: Sequence[Line | LeftOut | UsualLine]) -> bytes:
    """Each for a person at a terminal, in UTC; all letters are ASCII."""
    text = "".join(_left_out_text(line) if isinstance(line, LeftOut) else _text(line) for line in lines)
    return text.encode("ascii", "backslashreplace")


def _text(line: Line | UsualLine) -> str:
    """``20:15:03.123 200 tools/call echo  demo alice 12.3 ms (first byte 11.0)  POST /mcp/demo/mcp  4f-1``."""
    if isinstance(line, tuple):
        line = _DECODER.decode(json_lines([line]))
    asked = f"{word(line.mcp_method)} {word(line.name)}".strip() or "-"
    where = " ".join(word(each) for each in (line.server, line.principal) if each) or "-"
    address = f"{word(line.method)} {word(line.path)}".strip() or "-"
    return (
        f"{_clock(line.time)} {line.status or '---':<3} {asked:<24}  {where:<16} {line.ms:.1f} ms"
        f"{_in_brackets(line)}  {address}  {word(line.request_id)}\n"
    )


def _in_brackets(line: Line) -> str:
    """What is not as usual, and how soon it began."""
    told = [line.reason]
    if line.ended not in (None, Ended.COMPLETE, Ended.REFUSED):
        told.append(line.ended.value.replace("_", " "))
    if line.rpc_code:
        told.append(f"error {line.rpc_code}")
    if line.first_event_ms is not None:
        told.append(f"first event {line.first_event_ms:.1f}")
    elif line.ttfb_ms is not None:
        told.append(f"first byte {line.ttfb_ms:.1f}")
    told.append(shown(line.detail))
    text = ", ".join(filter(None, told))
    return f" ({text})" if text else ""


def _left_out_text(line: LeftOut) -> str:
    return f"{_clock(line.time)} --- {line.left_out} more refusals left out: {line.reason}\n"


def _clock(time: str) -> str:
    """The time of day of an RFC 3339 time."""
    return time[11:-1]


class AccessLog:
    """
    Collects lines and writes them in batches; 0.5 us a line, and 0.8 when it is written.

    :param write: takes a batch of whole lines, and does not block.
    :param call_later: arms the flush; a timer runs only while lines wait.
    :param clocks: seconds since 1970, and the clock of the exchanges.
    :param sample_2xx: the share of successful exchanges that is written, from 0 to 1.
    :ivar left_out: lines that a flood of refusals made too many; the log says how many, once a second.
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
        self.left_out = 0
        self._form = form
        self._write = write
        self._call_later = call_later
        self._wall, self._now = clocks
        self._sample = sample_2xx
        self._random = random
        self._stamps = Stamps()
        self._time, self._time_until_s = "", float("-inf")
        self._opening = b""
        self._floods: Flood[tuple[str, bytes]] = Flood(_FLOOD_PER_S)
        self._flood: Flood[str] = Flood(_FLOOD_OF_ALL_PER_S)
        self._waiting: list[Line | LeftOut | UsualLine] = []
        self._is_armed = False

    def record(self, exchange: Exchange) -> None:
        """Note one exchange that is over."""
        now = self._now
        now_s = now()
        if self._sample < 1.0 and 200 <= exchange.status < 300 and self._random() >= self._sample:
            return
        if not self._is_armed:
            self._is_armed = True
            self._call_later(FLUSH_S, self._flush_in_time)
        if exchange.error is not None and self._is_flood(exchange, now_s):
            self.left_out += 1
            return
        if now_s >= self._time_until_s:
            # Lines of one millisecond share their stamp.
            self._time, self._time_until_s = self._stamps.at(self._wall()), now_s + 0.001
            self._opening = b'{"time":"%b","request_id":"' % self._time.encode("ascii")
        shared = _shared(exchange) if _is_usual(exchange) else b""
        if shared:
            self._waiting.append((
                self._opening, exchange.request_id, shared, exchange.bytes_in, exchange.bytes_out,
                exchange.started_s, exchange.first_byte_s, now_s,
            ))  # fmt: skip
        else:
            self._waiting.append(line_of(exchange, self._time, now_s))
        if len(self._waiting) >= _BATCH_LINES:
            self._write_waiting()

    def _is_flood(self, exchange: Exchange, now_s: float) -> bool:
        error = exchange.error
        if error is None or exchange.server or error.status not in _FLOOD_STATUSES:
            return False
        own, of_all = (error.reason, exchange.client), error.reason
        return not (self._floods.admits(own, now_s) and self._flood.admits(of_all, now_s))

    def flush(self) -> None:
        """Write what waits, at the end or before the file changes."""
        self._tell_left_out(None)
        self._write_waiting()

    def _flush_in_time(self) -> None:
        self._is_armed = False
        self._tell_left_out(self._now())
        self._write_waiting()
        if self._flood.is_counting or self._floods.is_counting:
            self._is_armed = True
            self._call_later(FLUSH_S, self._flush_in_time)

    def _tell_left_out(self, now_s: float | None) -> None:
        counts = Counter(dict(self._flood.left_out(now_s)))
        for (reason, _), count in self._floods.left_out(now_s):
            counts[reason] += count
        for reason, count in counts.items():
            self._waiting.append(LeftOut(self._stamps.at(self._wall()), reason, count))

    def _write_waiting(self) -> None:
        lines, self._waiting = self._waiting, []
        if lines:
            self._write(self._form(lines))
