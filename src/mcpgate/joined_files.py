"""
The files that a configuration names: those whose content belongs to it are read and put where it would stand.

``headers.set_file`` is joined to ``headers.set``, ``auth.tokens_file`` to ``auth.tokens``, ``sessions.keys_file`` to
``sessions.keys``, and the files in the folder ``registry.files`` to ``servers``, so that what they hold is checked like
what is written in the configuration itself. Of other files it is only seen whether they can be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from mcpgate.faults import ConfigFaults, Fault, Mark, Path, Places

#: Header values travel in one head, which upstreams bound at 8 to 64 KiB.
MAX_HEADER_FILE_BYTES: Final = 16 << 10
#: Sixty keys of the longest kind; two or three are in use while one replaces another.
MAX_KEYS_FILE_BYTES: Final = 64 << 10

#: Files with servers in one folder: as many as there may be servers at all.
MAX_SNIPPETS: Final = 10_000
_FILES: Final[Path] = ("registry", "files")

#: Reads the YAML in a file: its value, or None if it is broken; the places in it, and faults of its syntax.
Compose = Callable[[str], tuple[Any, Places, list[Fault]]]


class Snippets(NamedTuple):
    """
    What became of the files with servers.

    :ivar origins: the file of each server that stands in one, by the name of the server.
    """

    faults: list[Fault]
    origins: dict[str, str]


def is_snippet(name: str) -> bool:
    """Whether a file of this name in the folder of servers is one with servers: not one that an editor left there."""
    return name.endswith((".yaml", ".yml")) and not name.startswith(".")


def join_snippets(
    tree: dict[str, Any], places: Places, rundir: str, compose: Compose, most: int = MAX_SNIPPETS
) -> Snippets:
    """
    Join the servers that stand in files of their own, in the order of the files' names, behind all others.

    To be done before `join_files`, as these servers may name files, too. The parameters are the same.

    :param most: so many files may be there.
    """
    joined = Snippets([], {})
    registry = tree.get("registry")
    name = registry.get("files") if isinstance(registry, dict) else None
    if not isinstance(name, str) or places.is_refused(_FILES):
        return joined
    servers = tree.setdefault("servers", [])
    # Else there is a fault of its own.
    if isinstance(servers, list):
        paths, objection = _snippets_in(_place(name, rundir), most)
        if objection:
            places.refused.add(_FILES)
            joined.faults.append(places.fault(_FILES, objection))
        for path in paths:
            _join_snippet(path, servers, places, joined, compose)
    return joined


def _snippets_in(folder: str, most: int) -> tuple[list[str], str]:
    """The paths of the files with servers in a folder; or why there are none."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if is_snippet(entry.name) and not entry.is_dir())
    except (OSError, ValueError) as refused:
        return [], f"a folder that cannot be read: {why_unreadable(refused)}; relative paths start at the run directory"
    if len(names) > most:
        return [], f"a folder with {len(names)} files, expected at most {most}"
    return [os.path.join(folder, name) for name in names], ""


def _join_snippet(path: str, servers: list[Any], places: Places, joined: Snippets, compose: Compose) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        # A pipe would never end.
        joined.faults.append(Places(path).fault((), "not a file, expected one with servers"))
        return
    try:
        found, theirs, faults = compose(path)
    except ConfigFaults as refused:
        joined.faults.extend(refused.faults)
        return
    joined.faults.extend(faults)
    at: Path | None = ()
    if isinstance(found, dict):
        at = ("servers",) if "servers" in found else None
        joined.faults.extend(_strangers(found, theirs))
        found = found["servers"] if at else [found]
    if isinstance(found, list):
        places.join(("servers",), len(servers), theirs, at)
        servers.extend(found)
        named = (entry.get("name") for entry in found if isinstance(entry, dict))
        joined.origins.update((name, path) for name in named if isinstance(name, str))


def _strangers(found: dict[str, Any], theirs: Places) -> Iterator[Fault]:
    """What is wrong with a file of the form ``servers: [...]`` apart from what is in the list."""
    if "servers" not in found:
        return
    if not isinstance(found["servers"], list) and not theirs.is_refused(("servers",)):
        yield theirs.fault(("servers",), "not a list, expected a list of servers, which may be []")
    for key in found.keys() - {"servers"}:
        yield theirs.fault((key,), "unknown key beside servers, expected nothing else", theirs.keys[(key,)])


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
            case ("registry", "sources", int(), "headers", "set_file", str()):
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
