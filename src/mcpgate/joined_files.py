"""
The files that a configuration names: those whose content belongs to it are read and put where it would stand.

``headers.set_file`` is joined to ``headers.set``, ``auth.tokens_file`` to ``auth.tokens`` and ``sessions.keys_file`` to
``sessions.keys``, so that what they hold is checked like what is written in the configuration itself. Of other files it
is only seen whether they can be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

from mcpgate.faults import ConfigFaults, Fault, Mark, Path, Places

#: Header values travel in one head, which upstreams bound at 8 to 64 KiB.
MAX_HEADER_FILE_BYTES: Final = 16 << 10
#: Sixty keys of the longest kind; two or three are in use while one replaces another.
MAX_KEYS_FILE_BYTES: Final = 64 << 10

#: Reads the YAML list in a file: its entries, or None if it is broken; their places, and faults of its syntax.
Compose = Callable[[str], tuple[list[Any] | None, Places, list[Fault]]]


def join_files(tree: dict[str, Any], places: Places, rundir: str, compose: Compose) -> Iterator[Fault]:
    """
    Join the content of the files that the values of a configuration name.

    :param tree: the values, which are changed.
    :param places: where they stand; gets the places of what is joined.
    :param rundir: the folder that relative paths start from.
    :param compose: may raise `ConfigFaults` for a file that is no text.
    """
    for path in list(places.values):
        if places.is_refused(path):
            continue
        match path:
            case ("servers", int(), "upstreams", int(), "tls", "ca_file" | "cert_file" | "key_file"):
                objection = _unreadable(_at(tree, path), rundir)
            case ("auth", "jwt", int(), "jwks_file"):
                objection = _unreadable(_at(tree, path), rundir)
            case ("servers", int(), "headers", "set_file", str()):
                objection = _join_header(tree, path, places, rundir)
            case ("servers", int(), "upstream_credentials", str(), "set_file", str()):
                objection = _join_header(tree, path, places, rundir)
            case ("tracing", "otlp_headers_file", str()):
                objection = _join_header(tree, path, places, rundir)
            case ("sessions", "keys_file"):
                objection = _join_keys(tree["sessions"], places, rundir)
            case ("auth", "tokens_file"):
                objection = _unreadable(tree["auth"]["tokens_file"], rundir)
                if not objection:
                    yield from _join_tokens(tree["auth"], places, rundir, compose)
            case _:
                continue
        if objection:
            places.refused.add(path)
            yield places.fault(path, objection)


def why_unreadable(refused: Exception) -> str:
    """Why a file cannot be opened or read."""
    return (refused.strerror or "unknown error") if isinstance(refused, OSError) else "not a possible path"


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _place(name: str, rundir: str) -> str:
    return name if rundir == "." else os.path.join(rundir, name)


def _unreadable(name: object, rundir: str) -> str:
    """Why a file cannot be read; empty if it can, or if the value is no text, which is a fault of its own."""
    return _take(name, rundir, 0)[1] if isinstance(name, str) else ""


def _take(name: str, rundir: str, most_bytes: int) -> tuple[bytes, str]:
    """The content of a file, with one byte more than the most if there is more; or why it cannot be read."""
    try:
        with open(_place(name, rundir), "rb") as file:
            return file.read(most_bytes + 1), ""
    except (OSError, ValueError) as refused:
        why = why_unreadable(refused)
    return b"", f"a file that cannot be read: {why}; relative paths start at the run directory"


def _join_header(tree: dict[str, Any], path: Path, places: Places, rundir: str) -> str:
    """Why a header's file cannot be used; empty if its content was joined, or there is a fault of its own."""
    name, file_name, headers = path[-1], _at(tree, path), _at(tree, path[:-2])
    key = str(path[-2]).removesuffix("_file")
    if headers.get(key) is None:
        headers[key] = {}
    values = headers[key]
    if not isinstance(file_name, str) or not isinstance(values, dict):
        return _unreadable(file_name, rundir)
    if any(str(name).lower() == given.lower() for given in values):
        return f"a header that is given already, expected it once in {key} and {key}_file together"
    content, objection = _take(file_name, rundir, MAX_HEADER_FILE_BYTES)
    if objection:
        return objection
    if not content.strip() or len(content) > MAX_HEADER_FILE_BYTES:
        return f"an empty or too large file, expected a header value of at most {MAX_HEADER_FILE_BYTES} bytes"
    joined = (*path[:-2], key, name)
    values[name] = content.decode("latin-1").removesuffix("\n").removesuffix("\r")
    places.values[joined], places.keys[joined] = places.values[path], places.keys[path]
    return ""


def _join_keys(sessions: dict[str, Any], places: Places, rundir: str) -> str:
    """Why a file of keys cannot be used; empty if its lines were joined, or there is a fault of its own."""
    name, keys = sessions["keys_file"], sessions.setdefault("keys", [])
    if not isinstance(name, str) or not isinstance(keys, list):
        return _unreadable(name, rundir)
    content, objection = _take(name, rundir, MAX_KEYS_FILE_BYTES)
    if objection:
        return objection
    lines = {number: line.strip() for number, line in enumerate(content.decode("latin-1").split("\n"), 1)}
    found = {number: line for number, line in lines.items() if line}
    if not found or len(content) > MAX_KEYS_FILE_BYTES:
        return f"an empty or too large file, expected a key in each line and at most {MAX_KEYS_FILE_BYTES} bytes"
    theirs = Places(_place(name, rundir), {(index,): Mark(number, 1) for index, number in enumerate(found)})
    places.join(("sessions", "keys"), len(keys), theirs)
    keys.extend(found.values())
    return ""


def _join_tokens(auth: dict[str, Any], places: Places, rundir: str, compose: Compose) -> Iterator[Fault]:
    name, tokens = auth["tokens_file"], auth.setdefault("tokens", [])
    if not isinstance(name, str) or not isinstance(tokens, list):
        return
    try:
        found, theirs, faults = compose(_place(name, rundir))
    except ConfigFaults as refused:
        yield from refused.faults
        return
    if found is not None:
        places.join(("auth", "tokens"), len(tokens), theirs)
        tokens.extend(found)
    yield from faults
