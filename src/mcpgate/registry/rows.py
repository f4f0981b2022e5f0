"""What is kept of registrations and lists over a restart, and whether what was read back can be it."""

from __future__ import annotations

from typing import Final, NamedTuple

from mcpgate.values import grammar

Key = tuple[str, str]
#: ETag, body, and when it was fetched (seconds since 1970).
KeptList = tuple[str, bytes, float]

#: 9999-12-31; a day later there are no moments any more that RFC 3339 could write.
LAST_MOMENT_S: Final = grammar.moment_s("9999-12-31")
#: Every reader of JSON knows such numbers exactly (RFC 8259 section 6), and one can be sent back as an index.
MAX_REVISION: Final = 2**53 - 1


class Row(NamedTuple):
    """One registration as it is kept; ``registered_at_s`` in seconds since 1970."""

    server: str
    replica: str
    body: bytes
    registered_at_s: float
    revision: int


def objection(row: Row) -> str:
    """
    Why a row cannot be a registration; empty if it can, as far as this can be said without reading its body.

    A file in which a bit has flipped holds rows that nobody has written, and its pages look sound all the same.
    """
    for read, what, value in ((grammar.server_name, "server", row.server), (grammar.name, "replica", row.replica)):
        if not isinstance(value, str):
            return f"{what}: not text"
        try:
            read(value)
        except ValueError as wrong:
            return f"{what}: {wrong}"
    if not isinstance(row.body, bytes):
        return "body: not bytes"
    if not _is_moment(row.registered_at_s):
        return "registered_at_s: not a moment from 1970 to 9999"
    if not isinstance(row.revision, int) or not 0 <= row.revision <= MAX_REVISION:
        return f"revision: not a whole number from 0 to {MAX_REVISION}"
    return ""


def is_kept_list(values: tuple[object, ...]) -> bool:
    """Whether source, ETag, body and time can be those of a list."""
    source, etag, body, fetched_at_s = values
    is_text = isinstance(source, str) and isinstance(etag, str) and etag.isprintable() and etag.isascii()
    return is_text and isinstance(body, bytes) and _is_moment(fetched_at_s)


def _is_moment(value: object) -> bool:
    # Also false for what is no number at all (NaN).
    return isinstance(value, (int, float)) and 0 <= value <= LAST_MOMENT_S
