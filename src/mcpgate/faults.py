"""
What is wrong with a configuration file, said so that a person finds the place and the remedy.

A fault names the place and what was expected; it never repeats a value, because any value may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeGuard, Union, get_args, get_origin

from pydantic import ValidationError

from mcpgate.settings import Section, Settings
from mcpgate.values.entries import COMPLETE
from mcpgate.values.quantities import kind_of

Path = tuple[str | int, ...]
#: Longer keys are cut in messages; no key of ours comes near, header names of 40 characters are long.
MAX_SHOWN: Final = 64
#: More files than that are not named once more in the last line.
MAX_SOURCES: Final = 3


class Mark(NamedTuple):
    """A place in the file; lines and columns count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong, as ``file:line:col: dotted.path: what, expected, did you mean``."""

    source: str
    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.text}" if self.path else where + self.text


class ConfigFaults(Exception):
    """
    A configuration that cannot be used, with everything that is wrong with it in the order of the file.

    As text: one fault on each line, then a line with their number.
    """

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        sources = list(dict.fromkeys(fault.source for fault in self.faults))
        where = " and ".join(sources) if len(sources) <= MAX_SOURCES else f"{len(sources)} files"
        return "\n".join([*map(str, self.faults), f"mcpgate: {count} in {where}"])


class _Joined(NamedTuple):
    """
    Entries of a list that come from a file of their own: those from an index on, up to those of the next file.

    :ivar at: where the list stands in that file; None if the file is one entry.
    """

    path: Path
    first: int
    source: str
    at: Path | None


@dataclass(slots=True)
class Places:
    """
    Where each value and each key of one file stands, and which values have a fault already.

    Lists may have entries from other files; what is wrong there is told with that file and the path in it.
    """

    source: str
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    refused: set[Path] = field(default_factory=set)
    joined: list[_Joined] = field(default_factory=list)

    def fault(self, path: Path, text: str, mark: Mark | None = None) -> Fault:
        """A fault of the value at a path, marked where told, else where the nearest known value stands."""
        line, column = mark or self.values.get(self.known(path), Mark(1, 1))
        source, below = self.origin(path)
        return Fault(source, line, column, ".".join(map(_shown, below)), text)

    def join(self, path: Path, first: int, other: Places, at: Path | None = ()) -> None:
        """
        Take the places of another file for the entries from ``first`` on of the list at a path.

        :param at: where in that file they are listed; None if the file itself is the one entry.
        """
        self.joined.append(_Joined(path, first, other.source, at))

        def here(below: Path) -> Path | None:
            if at is None:
                return (*path, first, *below)
            index, *rest = below[len(at) :] or (None,)
            return (*path, first + index, *rest) if isinstance(index, int) and below[: len(at)] == at else None

        self.values.update({found: mark for below, mark in other.values.items() if (found := here(below))})
        self.keys.update({found: mark for below, mark in other.keys.items() if (found := here(below))})
        self.refused.update(found for below in other.refused if (found := here(below)))

    def origin(self, path: Path) -> tuple[str, Path]:
        """The file in which the value at a path is written, and its path there."""
        for joined in reversed(self.joined):
            depth = len(joined.path)
            index = path[depth] if len(path) > depth and path[:depth] == joined.path else None
            if isinstance(index, int) and index >= joined.first:
                at = () if joined.at is None else (*joined.at, index - joined.first)
                return joined.source, (*at, *path[depth + 1 :])
        return self.source, path

    def known(self, path: Path) -> Path:
        """The longest beginning of a path that stands in the file."""
        while path and path not in self.values:
            path = path[:-1]
        return path

    def is_refused(self, path: Path) -> bool:
        """Whether a fault is known already for this value or one that contains it."""
        return any(path[:length] in self.refused for length in range(len(path) + 1))


def _shown(part: str | int) -> str:
    """A part of a path, short and on one line whatever somebody wrote as a key."""
    text = str(part)
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def explain(refused: ValidationError, places: Places) -> Iterator[Fault]:
    """What pydantic refuses, in words and with its place; without consequences of known faults."""
    for line in refused.errors(include_url=False):
        if line["type"] == "default_factory_not_called":
            continue
        path: Path = tuple(part for part in line["loc"] if part != "[key]")
        is_unknown = line["type"] == "extra_forbidden"
        is_about_key = is_unknown or line["loc"][-1:] == ("[key]",)
        text = _unknown_key(path) if is_unknown else _clash(path, line, places) or _sentence(path, line)
        if is_about_key and not places.is_refused(path[:-1]):
            yield places.fault(path, text, places.keys.get(path))
        elif not is_about_key and not places.is_refused(path):
            yield places.fault(path if line["type"] == "missing" else places.known(path), text)


def _clash(path: Path, line: Mapping[str, Any], places: Places) -> str:
    """What is said of an entry that clashes with an earlier one, where one of the two is in another file."""
    earlier = line.get("ctx", {}).get("earlier")
    if earlier is None or not places.joined:
        return ""
    depth = max(index for index, part in enumerate(path) if isinstance(part, int))
    first = (*path[:depth], earlier)
    source, below = places.origin(first)
    if source == places.origin(path)[0]:
        return f"the same as in entry {below[-1]} of this list, expected another one"
    return f"the same as in {source}:{places.values[places.known(first)].line}, expected another one"


def _sentence(path: Path, line: Mapping[str, Any]) -> str:
    write = _SENTENCES.get(line["type"])
    # pydantic's own message could repeat the value, so a type that is not in the table is only named.
    return write(path, line) if write else f"not valid here ({line['type']})"


def _missing(path: Path, line: Mapping[str, Any]) -> str:
    section = _section_at(path[:-1])
    described = section.model_fields[str(path[-1])].description if section else ""
    return f"missing, expected: {described}"


def _unknown_choice(path: Path, line: Mapping[str, Any]) -> str:
    expected = line["ctx"]["expected"]
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    what = "an unknown word" if isinstance(line["input"], str) else kind_of(line["input"])
    return f"{what}, expected {expected}{_hint(str(line['input']), choices)}"


def _wrong_kind(expected: str) -> Callable[[Path, Mapping[str, Any]], str]:
    def write(path: Path, line: Mapping[str, Any]) -> str:
        given = line["input"]
        quotes = "; put it in quotes" if expected == "text" and isinstance(given, (int, float)) else ""
        return f"{kind_of(given)}, expected {expected}{quotes}"

    return write


_SENTENCES: dict[str, Callable[[Path, Mapping[str, Any]], str]] = {
    COMPLETE: lambda path, line: str(line["msg"]),
    "value_error": lambda path, line: str(line["ctx"]["error"]),
    "missing": _missing,
    "literal_error": _unknown_choice,
    "string_type": _wrong_kind("text"),
    "string_too_long": lambda path, line: f"text that is too long, at most {line['ctx']['max_length']}",
    "too_short": lambda path, line: "empty, expected at least one entry",
    "tuple_type": _wrong_kind("a list"),
    "frozen_set_type": _wrong_kind("a list"),
    "dict_type": _wrong_kind("keys and values"),
    "model_type": _wrong_kind("keys and values"),
}


def _unknown_key(path: Path) -> str:
    key, section = str(path[-1]), _section_at(path[:-1])
    remedy = section.REMEDIES.get(key.replace("-", "_").lower()) if section else None
    if remedy is not None:
        return remedy
    known = list(section.model_fields) if section else []
    hint = _hint(key, known) or _elsewhere(key)
    return f"unknown key{hint}" if hint else f"unknown key, expected one of: {' '.join(known)}"


def _hint(word: str, known: list[str]) -> str:
    # Keys are often written as in JSON configurations: maxBodyBytes, max-body-bytes.
    folded = {name.replace("_", "").lower(): name for name in known}
    near = difflib.get_close_matches(word.replace("_", "").replace("-", "").lower(), folded, 1)
    return f", did you mean {folded[near[0]]}?" if near else ""


def _elsewhere(key: str) -> str:
    found = [path for path in _all_keys(Settings) if path[-1] == key]
    return f" here, did you mean {'.'.join(found[0])}?" if len(found) == 1 else ""


def _all_keys(section: type[Section]) -> Iterator[tuple[str, ...]]:
    for name, about in section.model_fields.items():
        yield (name,)
        for below in _sections_in(about.annotation):
            yield from ((name, *path) for path in _all_keys(below))


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if _is_section(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_in(argument)


def _section_at(path: Path) -> type[Section] | None:
    """The section of the settings that describes the value at a path, or None where keys are free."""
    annotation: Any = Settings
    for part in path:
        annotation = _below(annotation, part)
    return next((each for each in _kinds(annotation) if _is_section(each)), None)


def _below(annotation: Any, part: str | int) -> Any:
    """How an entry, or the value of a key, of something with this annotation is annotated; None if unknown."""
    for each in _kinds(annotation):
        if _is_section(each) and part in each.model_fields:
            return each.model_fields[part].annotation
        if get_origin(each) in (tuple, dict):
            return get_args(each)[get_origin(each) is dict]
    return None


def _kinds(annotation: Any) -> Iterator[Any]:
    """What an annotation allows: itself, or each part of a union."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for argument in get_args(annotation):
            yield from _kinds(argument)
    else:
        yield annotation


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)
