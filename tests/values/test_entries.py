"""Checks of whole lists beside the checks of their entries."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from mcpgate.values.entries import COMPLETE, Objection, alongside, distinct, refusal


class Entry(BaseModel):
    """Something with a name that must differ, and a path that follows from it."""

    name: str
    size: int = 0
    path: str = ""


def too_many(entries: Collection[object]) -> Iterator[Objection]:
    """At most two."""
    if len(entries) > 2:
        yield Objection((), "more than two")


class Named(BaseModel):
    """Entries with two fields that must differ."""

    entries: Annotated[
        tuple[Entry, ...], distinct("name"), distinct("path", lambda entry: f"/{entry.get('name')}")
    ] = ()
    loose: Annotated[
        tuple[Entry, ...], distinct("name", fold=str.lower), distinct("path", lambda entry: "/", defaults_too=True)
    ] = ()
    words: Annotated[tuple[str, ...], distinct(None)] = ()
    few: Annotated[tuple[int, ...], alongside(too_many)] = ()


def refused(**values: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """Where and why values are refused."""
    with pytest.raises(ValidationError) as caught:
        Named.model_validate(values)
    return [(line["loc"], line["type"]) for line in caught.value.errors()]


def test_good_lists_pass() -> None:
    """Different names are fine, in written and in ready-made entries."""
    assert len(Named.model_validate({"entries": [{"name": "a"}, {"name": "b"}]}).entries) == 2
    assert len(Named(entries=(Entry(name="a", path="/a"), Entry(name="b", path="/b"))).entries) == 2


def test_a_name_given_twice_is_found_beside_other_faults() -> None:
    """The second of two equal names is told although a third entry is broken too."""
    assert refused(entries=[{"name": "a"}, {"name": "a"}, {"name": "b", "size": "x"}]) == [
        (("entries", 2, "size"), "int_parsing"),
        (("entries", 1, "name"), COMPLETE),
    ]


def test_the_message_names_the_first_of_the_two() -> None:
    """One learns with which entry there is a clash."""
    with pytest.raises(ValidationError, match="the same as in entry 1 of this list"):
        Named.model_validate({"entries": [{"name": "b"}, {"name": "a"}, {"name": "a"}]})


def test_defaults_clash_with_what_is_written() -> None:
    """A path that is written may be the default of another entry."""
    assert refused(entries=[{"name": "a"}, {"name": "b", "path": "/a"}]) == [(("entries", 1, "path"), COMPLETE)]


def test_ready_made_entries_are_compared_too() -> None:
    """Sections made in code get the same check."""
    same = (Entry(name="a", path="/1"), Entry(name="a", path="/2"))
    assert refused(entries=same) == [(("entries", 1, "name"), COMPLETE)]


def test_spellings_of_the_same_are_brought_together() -> None:
    """What differs in a way that does not count is the same."""
    assert refused(loose=[{"name": "A"}, {"name": "a", "path": "/x"}]) == [(("loose", 1, "name"), COMPLETE)]
    assert refused(entries=[{"name": "A"}, {"name": "A"}]) == [(("entries", 1, "name"), COMPLETE)]


def test_defaults_can_clash_with_each_other() -> None:
    """Where nothing else tells the entries apart."""
    assert refused(loose=[{"name": "a"}, {"name": "b"}]) == [(("loose", 1, "path"), COMPLETE)]


def test_entries_can_differ_as_a_whole() -> None:
    """A list of words, each once; the error knows which one was the first."""
    assert refused(words=["a", "b", "b"]) == [(("words", 2), COMPLETE)]
    with pytest.raises(ValidationError) as caught:
        Named.model_validate({"words": ["a", "b", "b"]})
    assert caught.value.errors()[0]["ctx"]["earlier"] == 1


def test_a_check_of_the_whole_list() -> None:
    """An objection to the list itself stands beside those to its entries."""
    assert refused(few=[1, "x", 3]) == [(("few", 1), "int_parsing"), (("few",), COMPLETE)]


def test_what_is_no_list_is_left_to_pydantic() -> None:
    """The check of a list is not asked about other kinds of value."""
    assert refused(entries="text", few={"a": 1, "b": 2, "c": 3}) == [
        (("entries",), "tuple_type"),
        (("few",), "tuple_type"),
    ]


def test_a_refusal_keeps_braces_and_places() -> None:
    """A message reaches its reader as it was written."""
    (line,) = refusal(Objection(("a", 0), "write ${VAR} or {x}")).errors()
    assert (line["loc"], line["msg"]) == (("a", 0), "write ${VAR} or {x}")
