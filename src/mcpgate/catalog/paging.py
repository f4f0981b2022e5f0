"""Cursors and numbers in queries: what a client sends back to read on. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

#: A query has a handful of parameters; what has hundreds is not meant for us.
_MAX_FIELDS = 64
_NUMBER = re.compile(r"[0-9]{1,9}")


def fields_of(query: bytes) -> dict[str, str]:
    """
    The parameters of a query; of one that stands there twice, the last.

    :raises ValueError: more of them than anybody needs, or not UTF-8; the text is for the client.
    """
    if query.count(b"&") >= _MAX_FIELDS:
        raise ValueError(f"the query has more than {_MAX_FIELDS} parameters")
    try:
        return dict(parse_qsl(query.decode("latin-1"), True, encoding="utf-8", errors="strict"))
    except UnicodeDecodeError:
        raise ValueError("the query is not UTF-8") from None


def limit_of(fields: Mapping[str, str], usual: int, most: int) -> int:
    """
    How many somebody wants.

    :raises ValueError: no number from 1 to ``most``; the text is for the client.
    """
    text = fields.get("limit")
    if text is None:
        return usual
    if _NUMBER.fullmatch(text) is None or not 1 <= int(text) <= most:
        raise ValueError(f"limit is not a number from 1 to {most}")
    return int(text)


def cursor_of(*words: str) -> str:
    """Where to read on: opaque, and safe in a URL, since VS Code puts it there as it is."""
    return base64.urlsafe_b64encode(msgspec.json.encode(words)).decode("ascii").rstrip("=")


def words_of(cursor: str, count: int) -> list[str]:
    """
    What a cursor was made of.

    :raises ValueError: it is none of ours; the text is for the client.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        words = msgspec.json.decode(raw, type=list[str])
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        words = []
    if len(words) != count:
        raise ValueError("the cursor is not one that this list gave")
    return words
