"""
The state of a gateway as text for a terminal: ASCII in aligned columns, a hundred wide.

Whatever a client could have chosen is escaped, so that it can neither forge a line nor move the cursor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import gmtime, strftime
from typing import Any

Json = Mapping[str, Any]

WIDTH = 100
_LISTED = 20
_MIN_NAME = 12
#: Seconds, largest first, and how they are called.
_SPANS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def status_text(status: Json) -> str:
    """
    The text twin of the status page.

    :param status: as `mcpgate.status.status` gives it.
    """
    parts = (_gateway, _servers, _streams, _limits, _recent)
    blocks = ("\n".join(line.rstrip()[:WIDTH] for line in part(status)) for part in parts)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _gateway(status: Json) -> Iterator[str]:
    gateway = status["gateway"]
    yield f"mcpgate {gateway['version']}: {gateway['state']}, up {span(gateway['uptime_s'])}"
    yield _fact("checks", ", ".join(f"{name} {'ok' if good else 'FAILED'}" for name, good in gateway["checks"].items()))
    reload, connections = gateway["reload"], gateway["connections"]
    since = span(gateway["time_s"] - reload["success_at_s"])
    outcome = f"read {since} ago" if reload["successful"] else f"last reload REFUSED, in force is that of {since} ago"
    yield _fact("configuration", outcome)
    states = ", ".join(f"{count} {state}" for state, count in connections["states"].items())
    yield _fact("connections", f"{connections['open']} of {connections['max']}{': ' if states else ''}{states}")
    held = gateway["held"]
    yield _fact("held", f"{held['exchanges']} requests, {size(held['body_bytes'])}")
    troubles = {"unexpected failures": "unexpected_failures", "log lines dropped": "dropped_log_lines"}
    yield from (_fact(name, f"{gateway[key]}") for name, key in troubles.items() if gateway[key])


def _fact(name: str, value: str) -> str:
    return f"  {name:<14} {value}"


def _servers(status: Json) -> Iterator[str]:
    heads = ("SERVER", "STATUS", "REQUESTS", "ERRORS", "OPEN", "STREAMS", "IN", "OUT", "P50", "P99", "FIRST")
    rows = [row for server in status["servers"] for row in _server_rows(server)]
    return _table(heads, rows, "llrrrrrrrrr", 24)


def _server_rows(server: Json) -> Iterator[Sequence[str]]:
    times = (server["duration_s"]["p50"], server["duration_s"]["p99"], server["first_event_s"]["p50"])
    counts = (server["requests"], server["errors"], server["open_requests"], sum(server["open_streams"].values()))
    yield (
        plain(server["name"]),
        server["status"],
        *(str(count) for count in counts),
        size(server["bytes_in"]),
        size(server["bytes_out"]),
        *(seconds(time_s) for time_s in times),
    )
    for replica in server["replicas"]:
        open_count, idle = replica["open"], replica["idle"]
        yield f"  {plain(replica['address'])}", replica["status"], f"{open_count} open", f"{idle} idle"


def _streams(status: Json) -> Iterator[str]:
    heads = ("OPEN STREAM OF", "TRANSPORT", "CLIENT", "PRINCIPAL", "AGE", "OUT", "REPLICA")
    rows = [
        (
            plain(stream["server"]),
            stream["transport"],
            plain(stream["client"]),
            plain(stream["principal"]) or "-",
            span(stream["age_s"]),
            size(stream["bytes_out"]),
            plain(stream["replica"]),
        )
        for stream in status["streams"][:_LISTED]
    ]
    return _table(heads, rows, "llllrrl", 22)


def _limits(status: Json) -> Iterator[str]:
    heads = ("LIMIT", "FOR EACH", "ALLOWANCE", "ADMITTED", "WAITED", "REFUSED")
    rows = [
        (
            plain(limit["name"]),
            ", ".join(limit["key"]),
            limit["allowance"],
            *(str(limit[outcome]) for outcome in ("admitted", "waited", "refused")),
        )
        for limit in status["limits"]
    ]
    return _table(heads, rows, "lllrrr", 26)


def _recent(status: Json) -> Iterator[str]:
    """Errors that differ in nothing but their time and their request are told once."""
    alike: dict[tuple[object, ...], list[Json]] = {}
    for trouble in status["recent"]:
        key = tuple(value for name, value in trouble.items() if name not in ("at_s", "request_id"))
        alike.setdefault(key, []).append(trouble)
    groups = list(alike.values())[:_LISTED]
    heads = ("ERRORS, UTC", "TIMES", "SERVER", "STATUS", "REASON", "CLIENT", "REQUEST")
    rows = [_recent_row(group, status["gateway"]["time_s"]) for group in groups]
    table = _table(heads, rows, "lrlrlll", 22)
    yield from (next(table) for _ in rows[:1])
    for group, line in zip(groups, table, strict=True):
        newest = group[0]
        yield line
        who = f"{newest['principal']}: " if newest["principal"] else ""
        detail = f" ({newest['detail']})" if newest["detail"] else ""
        yield f"  {_cut(plain(who + newest['text'] + detail), WIDTH - 2)}"


def _recent_row(group: Sequence[Json], now_s: float) -> Sequence[str]:
    newest = group[0]
    is_old = now_s - newest["at_s"] >= 86400
    return (
        strftime("%m-%d %H:%M" if is_old else "%H:%M:%S", gmtime(newest["at_s"])),
        str(len(group)),
        plain(newest["server"]) or "-",
        str(newest["status"] or "-"),
        newest["reason"],
        plain(newest["client"]),
        plain(newest["request_id"]),
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], align: str, widest: int) -> Iterator[str]:
    """
    Columns as wide as what is in them, at most ``widest``; short rows just end. Nothing, if there are no rows.

    What is too wide in all is taken from the first column.
    """
    if not rows:
        return
    columns = [[heads[index], *(row[index] for row in rows if index < len(row))] for index in range(len(heads))]
    widths = [min(widest, max(map(len, column))) for column in columns]
    excess = sum(widths) + 2 * (len(widths) - 1) - WIDTH
    widths[0] -= max(0, min(excess, widths[0] - _MIN_NAME))
    for row in (heads, *rows):
        yield "  ".join(_cells(row, widths, align))


def _cells(row: Iterable[str], widths: Sequence[int], align: str) -> Iterator[str]:
    for cell, width, side in zip(row, widths, align, strict=False):
        text = _cut(cell, width)
        yield text.rjust(width) if side == "r" else text.ljust(width)


# --- single values --------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text as visible ASCII; everything else is escaped."""
    return text.encode("unicode_escape").decode("ascii")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def span(time_s: float) -> str:
    """A time in its two largest units: ``3h 12m``."""
    left = max(0, int(time_s))
    found: list[str] = []
    for unit_s, name in _SPANS:
        count, left = divmod(left, unit_s)
        if count or found:
            found.append(f"{count}{name}")
    return " ".join(found[:2]) or "0s"


def size(count_bytes: float) -> str:
    """Bytes in a fitting unit: ``1.2 MB``."""
    if count_bytes < 1000:
        return f"{count_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count_bytes /= 1000
        if count_bytes < 999.5:
            return f"{_digits(count_bytes)} {unit}"
    return f"{_digits(count_bytes / 1000)} TB"


def seconds(time_s: float | None) -> str:
    """A short time in a fitting unit: ``4.2 ms``; ``-`` if there is none."""
    if time_s is None:
        return "-"
    return f"{_digits(time_s)} s" if time_s >= 0.9995 else f"{_digits(time_s * 1000)} ms"


def _digits(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"
