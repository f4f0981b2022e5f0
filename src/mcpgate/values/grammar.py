"""
How single configuration values are written: durations, sizes, rates, moments, header fields, names, ``${VAR}``.

Pure functions from text to values. Each raises :class:`ValueError` whose message reads on after "this value
is": what is wrong, then what is expected. No message repeats the value, which may be a secret. Addresses and
paths have a module of their own, ``addresses.py``, and so have tokens and rights, ``credentials.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

#: Also the pattern in the JSON Schema, so that an editor and the gateway agree.
DURATION_PATTERN = r"[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h)"
SIZE_PATTERN = r"(0|[1-9][0-9]{0,14})(KiB|MiB|GiB)?"
RATE_PATTERN = r"(0|[1-9][0-9]{0,9})/[smhd]"
# RFC 3339 section 5.6; the time, its seconds and the zone may be left out.
_TIME_PATTERN = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
MOMENT_PATTERN = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({_TIME_PATTERN})?"

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h)")
# Milliseconds, so that every duration that can be written is one division away from the nearest float.
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_SIZE = re.compile(r"([0-9]{1,15}) ?([A-Za-z]*)")
_UNIT_BYTES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_RATE = re.compile(r"(0|[1-9][0-9]{0,9})/([smhd])")
_PERIODS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Other ways to write a rate, to say what was meant: 5/min, 5 per second, 0.5/s.
_LOOSE_RATE = re.compile(r"[0-9]{1,10}(\.[0-9]+)? ?(?:/|per) ?([A-Za-z]{1,8})")
_PERIOD_WORDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
}
_MOMENT = re.compile(MOMENT_PATTERN)
# 18 digits always fit a signed 64-bit integer; int() itself refuses more than 4300 with another message.
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_FRACTION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
#: As long as a DNS label (RFC 1035 section 2.3.4), so that a name can become one.
MAX_NAME_LENGTH = 63

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"[!-~](?:[\t -~]*[!-~])?")  # RFC 9110 section 5.5, without obs-text
# The gateway writes or removes these itself: framing and routing (RFC 9110 sections 7.2 and 8.6), hop-by-hop
# (section 7.6.1), the 100-continue handshake, and where a request came from. One set here would contradict
# it.
_OWN_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "expect"),
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
        *("te", "trailer", "upgrade", "http2-settings"),
        *("via", "forwarded"),
    }
)
_OWN_HEADER_PREFIXES = ("x-forwarded-", "mcpgate-", "sec-websocket-")

_SUBSTITUTION = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)([^{}]*))?\}|\{)")
_HOW_TO_SUBSTITUTE = "expected ${VAR}, ${VAR:-default} or ${VAR:?message}; a dollar sign itself is $$"


def duration_s(text: str) -> float:
    """Seconds of a duration such as ``250ms``, ``30s``, ``1.5m`` or ``1h``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        reason = "a number without a unit" if _FRACTION.fullmatch(text) else "not a duration"
        raise ValueError(f"{reason}, expected one such as 250ms, 30s, 5m or 1h")
    return float(match[1]) * _UNIT_MS[match[2]] / 1000


def duration_text(seconds: float) -> str:
    """The way to write a duration of whole milliseconds; :func:`duration_s` reads it back."""
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"


def size_bytes(text: str) -> int:
    """Bytes of a size such as ``64KiB``, ``8MiB`` or ``4096``."""
    match = _SIZE.fullmatch(text)
    expected = "expected one such as 64KiB or 8MiB, or plain bytes"
    if match is None:
        raise ValueError(f"not a size, {expected}")
    number, unit = match.groups()
    if unit not in _UNIT_BYTES:
        meant = f"{unit[0].upper()}iB"
        hint = f", did you mean {meant}?" if meant in _UNIT_BYTES else ""
        raise ValueError(f"a size with an unknown unit, {expected}{hint}")
    if " " in text or (number != "0" and number.startswith("0")):
        raise ValueError(f"not a size, {expected}, without blanks and leading zeros")
    return int(number) * _UNIT_BYTES[unit]


def size_text(count: int) -> str:
    """The way to write a number of bytes, in the largest unit that divides it, for :func:`size_bytes`."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _UNIT_BYTES[unit] == 0:
            return f"{count // _UNIT_BYTES[unit]}{unit}"
    return str(count)


def rate(text: str) -> tuple[int, int]:
    """How often: a count, and the seconds of the period it is for, of a rate such as ``20/s`` or ``600/m``."""
    match = _RATE.fullmatch(text)
    if match is not None:
        return int(match[1]), _PERIODS_S[match[2]]
    expected = "expected one such as 20/s, 600/m, 5/h or 100/d"
    if _FRACTION.fullmatch(text):
        raise ValueError(f"a number without a period, {expected}")
    loose = _LOOSE_RATE.fullmatch(text)
    if loose is not None and loose[1]:
        raise ValueError(f"a rate with a fraction, {expected}; half a call in a second is 30/m")
    period = _PERIOD_WORDS.get(loose[2].lower()) if loose else None
    hint = f", did you mean /{period} behind the number?" if period else ""
    raise ValueError(f"not a rate, {expected}{hint}")


def rate_text(count: int, period_s: int) -> str:
    """The way to write a rate; :func:`rate` reads it back."""
    units = {seconds: unit for unit, seconds in _PERIODS_S.items()}
    return f"{count}/{units[period_s]}"


def moment_s(text: str) -> float:
    """
    Seconds since 1970 of a date or a time of a day (RFC 3339 section 5.6).

    A date is its first moment. Without a zone UTC is meant, whatever the zone of the machine.
    """
    expected = "expected one such as 2027-01-31 or 2027-01-31T18:00:00Z"
    if _MOMENT.fullmatch(text) is None:
        raise ValueError(f"not a date or time, {expected}")
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"a date or time that does not exist, {expected}")


def moment_text(seconds: float) -> str:
    """The way to write a moment, in UTC; :func:`moment_s` reads it back, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def whole_number(text: str) -> int:
    """A decimal number without sign and leading zeros; the form in which one arrives from ``${VAR}``."""
    if _WHOLE.fullmatch(text) is None:
        raise ValueError("text, expected a whole number")
    return int(text)


def fraction(text: str) -> float:
    """A decimal number such as ``0.25``; the form in which one arrives from ``${VAR}``."""
    if _FRACTION.fullmatch(text) is None:
        raise ValueError("text, expected a number such as 0.25")
    return float(text)


def name(text: str) -> str:
    """A name for machines, such as that of a token's holder in the log."""
    if len(text) > MAX_NAME_LENGTH:
        raise ValueError(f"too long, expected at most {MAX_NAME_LENGTH} characters")
    if _NAME.fullmatch(text) is None:
        raise ValueError("not a name, expected a-z 0-9 . _ - with a letter or digit at both ends")
    return text


def server_name(text: str) -> str:
    """The name of a server: part of its address, of log lines and of metric labels."""
    if text == "discovery":
        raise ValueError("taken by the gateway's own address /mcp/discovery, expected another name")
    return name(text)


def header_name(text: str) -> str:
    """A header that an operator may set on requests to an upstream (RFC 9110 section 5.1)."""
    if _TOKEN.fullmatch(text) is None:
        raise ValueError("not a header name, expected a token as in RFC 9110 section 5.6.2")
    lowered = text.lower()
    if lowered in _OWN_HEADERS or lowered.startswith(_OWN_HEADER_PREFIXES):
        raise ValueError("a header that the gateway itself writes, expected another one")
    return text


def header_value(text: str) -> str:
    """A header value that is the same bytes for every reader (RFC 9110 section 5.5)."""
    if text and _FIELD_VALUE.fullmatch(text) is None:
        raise ValueError("not a header value, expected visible ASCII without line ends and outer blanks")
    return text


def plain_line(text: str) -> str:
    """Text for people that stays on one line wherever it is shown."""
    if not text.isprintable():
        raise ValueError("text with control characters or line ends, expected one plain line")
    return text


def access_target(text: str) -> str:
    """Where access lines go: ``stdout``, ``off`` or ``file:PATH``."""
    path = text.removeprefix("file:")
    if text in {"stdout", "off"} or (path and path != text and path.isprintable()):
        return text
    raise ValueError("an unknown place, expected stdout, off or file:PATH")


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """
    Fill in ``${VAR}``, ``${VAR:-default}``, ``${VAR:?message}`` and ``$$``, as Compose files do.

    ``:-`` and ``:?`` take an empty variable for one that is not set. What was filled in is not looked at
    again.

    :raises ValueError: for a variable that is not set; the message names it, never a value.
    """
    return _SUBSTITUTION.sub(lambda match: _replacement(match, environ), text)


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    variable, operator, word = match.groups()
    if match[0] == "$$":
        return "$"
    if variable is None:
        raise ValueError(f"an unfinished ${{, {_HOW_TO_SUBSTITUTE}")
    value = environ.get(variable)
    if value or (value is not None and operator is None):
        return value
    if operator == ":-":
        return str(word)
    if operator == ":?":
        raise ValueError(f"${{{variable}}} without a value: {word or 'the environment variable must be set'}")
    raise ValueError(f"${{{variable}}} without a value, expected it to be set, or ${{{variable}:-default}}")
