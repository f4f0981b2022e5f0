"""
The servers as discovery arranges them: by name, versions of one server together, each with what it is told as. Pure.

Whatever is told is made of pieces of JSON, one for each server. A piece is kept for as long as nothing about its
server changes, so that a change costs what it changes. Two things in a piece depend on who asks, our own origin and
the publisher derived from it: marks stand for them, which no text of a configuration can hold, and `filled` puts them
in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from mcpgate.catalog.names import Publisher
from mcpgate.catalog.versions import Place, Rank, label_of, place_of, rank_of, version_of
from mcpgate.settings import ServerSettings

Json = dict[str, Any]

#: DEL is no printable character, so no text of a configuration or registration holds it; in JSON it stands as it is.
ORIGIN, PUBLISHER, DOMAIN, GATEWAY = "\x7fO", "\x7fP", "\x7fD", "\x7fG"
#: So many servers are looked at between two steps: some 50 µs.
_STEP = 32


class Listed(Protocol):
    """One server as discovery may show it; the time of its last change is wall-clock seconds."""

    @property
    def settings(self) -> ServerSettings:
        """What it is."""

    @property
    def status(self) -> str:
        """How it is."""

    @property
    def changed_at_s(self) -> float:
        """When that was different."""


E = TypeVar("E", bound=Listed)


class Item(NamedTuple, Generic[E]):
    """
    One server, and its place among the others.

    :ivar label: what registries call it, behind the publisher: its name, or that of its family.
    :ivar version: unique among those of its family.
    :ivar family: the label again if it is one of several versions, or on a versioned path; else empty.
    :ivar pieces: what was told of it, by form and by whether it was the newest.
    """

    entry: E
    place: Place
    rank: Rank
    label: str
    version: str
    family: str
    pieces: dict[tuple[Form, bool], bytes]

    @property
    def key(self) -> tuple[str, str]:
        """By what it is sorted in registries."""
        return self.label, self.entry.settings.name

    def piece(self, form: Form, is_latest: bool) -> bytes:
        """What is told of it in a form: JSON with marks."""
        found = self.pieces.get((form, is_latest))
        if found is None:
            found = self.pieces[form, is_latest] = msgspec.json.encode(form(self, is_latest))
        return found


#: How one server is told; the second argument says whether it is the newest that the reader may see.
Form = Callable[["Item[Any]", bool], Json]
Admits = Callable[[E], bool]


class Arrangement(Generic[E]):
    """All servers at one moment; made by `arranged`, in the order of their names, and not changed afterwards."""

    def __init__(self, items: Sequence[Item[E]]) -> None:
        self.by_name = items
        self._families: dict[str, list[Item[E]]] = {}
        for item in items:
            if item.family:
                self._families.setdefault(item.family, []).append(item)
        # What has the same label stays in the order of names.
        self.by_label = sorted(items, key=attrgetter("label")) if self._families else items

    @cached_property
    def _by_path(self) -> dict[str, Item[E]]:
        return {item.entry.settings.path: item for item in self.by_name}

    def around(self, path: str) -> Iterator[Item[E]]:
        """Servers that a path lies below, whole segments only; the work is bounded by the path."""
        place = path.find("/", 1)
        while place > 0:
            item = self._by_path.get(path[:place])
            if item is not None:
                yield item
            place = path.find("/", place + 1)

    def after(self, key: tuple[str, str]) -> Iterator[Item[E]]:
        """By label, those behind a key."""
        start = bisect_right(self.by_label, key, key=attrgetter("key"))
        return (self.by_label[index] for index in range(start, len(self.by_label)))

    def versions(self, label: str, admits: Admits[E]) -> list[Item[E]]:
        """What somebody may see of the servers with a label, newest first."""
        found = takewhile(lambda item: item.label == label, self.after((label, "")))
        return sorted((item for item in found if admits(item.entry)), key=attrgetter("rank"), reverse=True)

    def is_latest(self, item: Item[E], admits: Admits[E]) -> bool:
        """Whether none of its family that somebody may see is newer."""
        return not any(other.rank > item.rank and admits(other.entry) for other in self._families.get(item.family, ()))


class _Row(NamedTuple, Generic[E]):
    """
    A server that is being arranged.

    :ivar known: what it was in the arrangement before, if it has the same settings still.
    """

    entry: E
    name: str
    place: Place
    rank: Rank
    known: Item[E] | None


def arranged(entries: Iterable[E], before: Arrangement[E] | None = None) -> Generator[bytes, None, Arrangement[E]]:
    """
    Arrange servers, in steps, so that whoever runs it can do something else in between.

    :param before: the last arrangement, of which is kept what still holds.
    :returns: after the last step; the steps themselves are empty.
    """
    known = {item.rank.name: item for item in before.by_name} if before is not None else {}
    yield b""
    in_order = sorted(entries, key=attrgetter("settings.name"))
    yield b""
    rows: list[_Row[E]] = []
    for entry in in_order:
        rows.append(_row(entry, known.get(entry.settings.name)))
        if len(rows) % _STEP == 0:
            yield b""
    labels = _labels(rows)
    yield b""
    versions = _distinct(rows, labels)
    yield b""
    items: list[Item[E]] = []
    for row in rows:
        items.append(_item(row, labels.get(row.place.family, ""), versions.get(row.name)))
        if len(items) % _STEP == 0:
            yield b""
    yield b""
    return Arrangement(items)


def _row(entry: E, known: Item[E] | None) -> _Row[E]:
    settings = entry.settings
    if known is not None and known.entry.settings is settings:
        return _Row(entry, settings.name, known.place, known.rank, known)
    place = place_of(settings.path)
    return _Row(entry, settings.name, place, rank_of(settings.name, settings.version, place), None)


def _labels(rows: Sequence[_Row[E]]) -> dict[str, str]:
    """
    What families with versioned paths are called, by their path.

    A server's own name is the stronger right: a family that would be called like a server outside it is none, and its
    members go by their own names.
    """
    versioned = sorted({row.place.family for row in rows if row.place.version})
    owners = {row.name: row.place.family for row in rows} if versioned else {}
    labels: dict[str, str] = {}
    taken: set[str] = set()
    for family in versioned:
        label = label_of(family)
        if label not in taken and owners.get(label, family) == family:
            labels[family] = label
            taken.add(label)
    return labels


def _distinct(rows: Sequence[_Row[E]], labels: dict[str, str]) -> dict[str, str]:
    """By server, versions that differ within their families: the older one of two gets its name behind it."""
    members = [row for row in rows if row.place.family in labels] if labels else []
    versions: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for row in sorted(members, key=attrgetter("rank"), reverse=True):
        version = version_of(row.entry.settings.version, row.place)
        if (row.place.family, version) in taken:
            version = f"{version}+{row.name}"
        taken.add((row.place.family, version))
        versions[row.name] = version
    return versions


def _item(row: _Row[E], family: str, version: str | None) -> Item[E]:
    """What it was, if nothing that is told of it has changed."""
    known, entry = row.known, row.entry
    if known is not None and known.family == family and (version is None or known.version == version):
        if known.entry is entry:
            return known
        if known.entry.status == entry.status and known.entry.changed_at_s == entry.changed_at_s:
            return known._replace(entry=entry)
    version = version or version_of(entry.settings.version, row.place)
    return Item(entry, row.place, row.rank, family or row.name, version, family, {})


def filled(template: bytes, origin: str, publisher: Publisher, gateway: str) -> bytes:
    """What a client gets: the marks are exchanged for what they stand for, as JSON writes it."""
    for mark, text in (
        (ORIGIN, origin), (PUBLISHER, publisher.name), (DOMAIN, publisher.domain), (GATEWAY, gateway),
    ):  # fmt: skip
        template = template.replace(mark.encode("ascii"), msgspec.json.encode(text)[1:-1])
    return template
