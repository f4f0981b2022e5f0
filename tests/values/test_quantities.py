"""The types of the configuration's numbers."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from mcpgate.values.quantities import (
    WRITTEN,
    Count,
    Duration,
    Frequency,
    Moment,
    Rate,
    Share,
    Size,
    Switch,
    kind_of,
)


class Sample(BaseModel):
    """One field of each type."""

    wait: Annotated[float, Duration(0.25, 3600)] = 10.0
    idle: Annotated[float, Duration(1, 60, unlimited=True)] = 0.0
    room: Annotated[int, Size(256, 1 << 20)] = 1024
    many: Annotated[int, Count(1, 1000)] = 100
    part: Annotated[float, Share()] = 1.0
    on: Annotated[bool, Switch()] = True
    often: Annotated[Rate, Frequency()] = Rate(20, 1)
    until: Annotated[float, Moment()] = 0.0


def read(written: bool = True, **values: Any) -> Sample:
    """Validate as the configuration file does, or as Python code does."""
    return Sample.model_validate(values, context=WRITTEN if written else None)


def objection(**values: Any) -> str:
    """Why a value from a file is refused."""
    with pytest.raises(ValidationError) as refused:
        read(**values)
    (line,) = refused.value.errors()
    return str(line["ctx"]["error"])


def test_text_becomes_numbers() -> None:
    """The written forms give seconds, bytes, numbers and truth."""
    found = read(wait="250ms", room="64KiB", many="7", part="0.5", on="false")
    assert (found.wait, found.room, found.many, found.part, found.on) == (0.25, 65536, 7, 0.5, False)
    found = read(often="600/m", until="2027-01-31")
    assert (found.often, found.until) == (Rate(600, 60), 1_801_353_600.0)


def test_python_values_are_taken_as_they_are() -> None:
    """In code a duration is a number of seconds."""
    found = read(written=False, wait=2, room=300, many=7, part=1, on=False)
    assert (found.wait, found.room, found.many, found.part, found.on) == (2.0, 300, 7, 1.0, False)
    found = read(written=False, often=Rate(5, 3600), until=7)
    assert (found.often, found.until) == (Rate(5, 3600), 7.0)


def test_rates_and_moments_are_shown_as_they_are_written() -> None:
    """Whoever is shown the settings can read them, and compare them with the file."""
    found = read(often="600/m", until="2027-01-31")
    assert found.model_dump(mode="json", include={"often", "until"}) == {
        "often": "600/m",
        "until": "2027-01-31T00:00:00Z",
    }


@pytest.mark.parametrize(("rate", "count"), [(Rate(20, 1), 20), (Rate(90, 60), 2), (Rate(5, 3600), 1)])
def test_what_a_second_brings(rate: Rate, count: int) -> None:
    """Rounded up, so that it is never nothing."""
    assert rate.at_once == count


def test_a_file_must_say_the_unit_of_a_duration() -> None:
    """30 alone could mean seconds or milliseconds."""
    assert "without a unit" in objection(wait=30)
    assert "without a unit" in objection(wait="30")


def test_zero_is_unlimited_only_where_that_is_said() -> None:
    """Zero passes the lower bound where it means no limit, and nowhere else."""
    assert read(idle="0s").idle == 0.0
    assert objection(wait="0s") == "too small, expected at least 250ms"
    assert objection(idle="500ms") == "too small, expected at least 1s"


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("wait", "2h", "too large, expected at most 3600s"),
        ("room", "2MiB", "too large, expected at most 1MiB"),
        ("room", 1, "too small, expected at least 256"),
        ("many", 0, "too small, expected at least 1"),
        ("many", 1001, "too large, expected at most 1000"),
        ("part", 1.5, "too large, expected at most 1"),
        ("part", -0.5, "too small, expected at least 0"),
        ("often", "0/m", "too small, expected at least 1/m"),
        ("often", "1000000001/s", "too large, expected at most 1000000000/s"),
        ("until", "1969-12-31", "too small, expected at least 1970-01-01T00:00:00Z"),
        ("part", float("nan"), "too large, expected at most 1"),
    ],
)
def test_bounds_are_told_in_the_words_of_the_file(field: str, value: object, text: str) -> None:
    """A value out of bounds is told which bound, written as one would write it."""
    assert objection(**{field: value}) == text


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("many", True, "true or false, expected a whole number"),
        ("many", 1.5, "a number, expected a whole number"),
        ("many", None, "nothing, expected a whole number"),
        ("room", True, "true or false, expected a size such as 64KiB"),
        ("room", 1.5, "a number, expected a size such as 64KiB"),
        ("wait", True, "true or false, expected a duration such as 30s"),
        ("wait", [1], "a list, expected a duration such as 30s"),
        ("part", True, "true or false, expected a number from 0 to 1"),
        ("part", {}, "keys and values, expected a number from 0 to 1"),
        ("often", 20, "a number without a period, expected a rate such as 20/s or 600/m"),
        ("often", [20, 1], "a list, expected a rate such as 20/s or 600/m"),
        ("until", 20270131, "a number, expected a date or time such as 2027-01-31 or 2027-01-31T18:00:00Z"),
        ("until", True, "true or false, expected a date or time such as 2027-01-31 or 2027-01-31T18:00:00Z"),
        ("on", 1, "a number, expected true or false"),
        ("on", "yes", "text, expected true or false"),
        ("on", "on", "text, expected true or false"),
        ("on", "True", "text, expected true or false"),
    ],
)
def test_other_kinds_of_value_are_named(field: str, value: object, text: str) -> None:
    """The kind that came and the kind that was expected are said; the value is not."""
    assert objection(**{field: value}) == text


def test_schema_of_each_type() -> None:
    """Editors accept what the gateway accepts, and any value that holds a variable."""
    fields = Sample.model_json_schema()["properties"]
    assert fields["wait"]["type"] == "string"
    assert fields["room"]["anyOf"][1] == {"type": "integer", "minimum": 256, "maximum": 1 << 20}
    assert fields["many"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 1000}
    assert fields["part"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}
    assert fields["on"]["anyOf"][0] == {"type": "boolean"}
    assert all(r"\$\{" in fields[name]["pattern"] for name in ("wait", "often", "until"))


def test_kinds_have_names_for_people() -> None:
    """No Python type name reaches a person."""
    values: tuple[object, ...] = (None, True, 1, 1.5, "x", [], (), {}, object())
    assert [kind_of(value) for value in values] == [
        "nothing",
        "true or false",
        "a number",
        "a number",
        "text",
        "a list",
        "a list",
        "keys and values",
        "something else",
    ]
