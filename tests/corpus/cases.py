"""
The corpus of odd and hostile inputs as data: one YAML file per category, beside this module.

A case is a request and what must become of it. ``usual`` at the top of a file holds what its cases share; a case
replaces a part of the request by naming it, and adds to ``want`` (``~`` takes a wish away). A request is ``line``,
the standard fields below, ``fields``, ``body``; ``head`` stands for all fields, ``send`` for the whole request. Texts
are bytes: their characters are code points up to 255. In them ``%{x*9}`` repeats, ``%{length}`` is the length of the
body, and the names in ``_WORDS`` stand for longer text.

``answer`` is what upstream a says instead of a good answer, in one text or in steps: text, ``{wait: seconds}``,
``{close: fin | reset}``. ``answers_at`` says when: ``request`` (complete), ``head`` (before the body) or ``reused``
(only on a connection that has served before). ``then`` is what the client does after sending: ``send``, ``wait``,
``close``, ``trickle`` with ``every_s`` and ``for_s``, ``flood`` (send the request again and again without reading).

``admin`` sends it to the listener for operators; ``networks`` are those to which registrations may point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TOKEN = "tok-0123456789abcdef"
#: The one that every gateway under test knows.
ADMIN_TOKEN = "admin-token"
PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
_STANDARD = ["Host: localhost", f"Authorization: Bearer {TOKEN}", "Accept: application/json, text/event-stream"]
_WORDS = {
    "token": TOKEN,
    "admin": ADMIN_TOKEN,
    "ping": PING,
    "ok": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
    "events": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}
_REPEAT = re.compile(r"%\{((?:(?!%\{).)*?)\*(\d+)\}", re.DOTALL)
#: What one read of a socket gives at most.
READ_BYTES = 65536
#: Only the beginning of a long text is cut into bytes: what follows is body, and the same everywhere.
_CUTS = 400
CUTS = ("whole", "bytes", "after CR")
KEYS = {"about", "line", "fields", "head", "body", "send", "answer", "answers_at", "then", "tunnel", "want"}
KEYS |= {"admin", "networks"}

Step = bytes | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One input; ``tunnel`` says that it is sent through an open WebSocket, ``admin`` to the other listener."""

    id: str
    request: bytes
    answer: tuple[Step, ...]
    answers_at: str
    then: tuple[dict[str, Any], ...]
    tunnel: bool
    want: dict[str, Any]
    admin: bool
    networks: tuple[str, ...]


def load(folder: Path) -> Iterator[Case]:
    """Every case of every file, in a stable order."""
    for path in sorted(folder.glob("*.yaml")):
        told = yaml.safe_load(path.read_text("utf-8"))
        for name, given in told["cases"].items():
            assert set(given) <= KEYS, f"{name}: unknown keys {set(given) - KEYS}"
            yield _case(name, told.get("usual", {}), given)


def _case(name: str, usual: dict[str, Any], given: dict[str, Any]) -> Case:
    merged = {**usual, **given}
    wishes = {**usual.get("want", {}), **given.get("want", {})}
    answer = merged.get("answer", [])
    return Case(
        id=name,
        request=expand(merged["send"]) if "send" in given else _request(merged),
        answer=tuple(_step(step) for step in ([answer] if isinstance(answer, str) else answer)),
        answers_at=merged.get("answers_at", "request"),
        then=tuple(merged.get("then", ())),
        tunnel=merged.get("tunnel", False),
        want={wish: value for wish, value in wishes.items() if value is not None},
        admin=merged.get("admin", False),
        networks=tuple(merged.get("networks", ())),
    )


def _request(parts: dict[str, Any]) -> bytes:
    body = expand(parts.get("body", ""))
    fields = parts.get("head", [*_STANDARD, *parts.get("fields", [])])
    head = "\r\n".join([parts["line"], *fields, "", ""]).replace("%{length}", str(len(body)))
    return expand(head) + body


def _step(step: str | dict[str, Any]) -> Step:
    return expand(step) if isinstance(step, str) else step


def expand(text: str) -> bytes:
    """The bytes that a text of the corpus stands for."""
    for word, meaning in _WORDS.items():
        text = text.replace("%{" + word + "}", meaning)
    changed = 1
    while changed:
        text, changed = _REPEAT.subn(lambda found: found[1] * int(found[2]), text)
    return text.encode("latin-1")


def pieces(data: bytes, cut: str) -> Iterator[bytes]:
    """The same bytes in one go (as far as a read goes), byte by byte, or with a new piece after each CR."""
    if cut == "whole":
        ends: Iterator[int] | range = iter(())
    elif cut == "bytes":
        ends = range(1, min(len(data), _CUTS))
    else:
        ends = (found.end() for found in re.finditer(rb"\r", data[: 20 * _CUTS]))
    begin = 0
    for end in ends:
        yield data[begin:end]
        begin = end
    for start in range(begin, len(data), READ_BYTES):
        yield data[start : start + READ_BYTES]
