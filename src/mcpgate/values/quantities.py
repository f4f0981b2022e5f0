"""
Types for the numbers of the configuration, with their bounds: how pydantic reads them and what the JSON
Schema says.

Each takes the Python value, or text as ``grammar.py`` understands it: so a number can come from ``${VAR}``,
which is always text. Used as ``Annotated[float, Duration(0.01, 3600)]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from mcpgate.values import grammar

#: Given as validation context when values were read from a file: there a duration needs its unit, because
#: "30" means seconds to some and milliseconds to others. In Python code durations are seconds.
WRITTEN: Final[Mapping[str, bool]] = {"written": True}

_HOLDS_VARIABLE = r"\$\{"
_DURATION_TEXT: Final = {"type": "string", "pattern": f"^{grammar.DURATION_PATTERN}$|{_HOLDS_VARIABLE}"}
_RATE_TEXT: Final = {"type": "string", "pattern": f"^{grammar.RATE_PATTERN}$|{_HOLDS_VARIABLE}"}
_MOMENT_TEXT: Final = {"type": "string", "pattern": f"^{grammar.MOMENT_PATTERN}$|{_HOLDS_VARIABLE}"}
_SIZE_TEXT: Final = {"type": "string", "pattern": f"^{grammar.SIZE_PATTERN}$|{_HOLDS_VARIABLE}"}

# The last day that can be written.
_LAST_MOMENT_S = grammar.moment_s("9999-12-31")
#: Above this nothing is limited: a machine answers some ten thousand requests in a second.
MOST_AT_ONCE: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something may happen: ``count`` times in every ``period_s`` seconds."""

    count: int
    period_s: int

    @property
    def at_once(self) -> int:
        """What one second brings, rounded up: how much may come at once where nothing else is said."""
        return -(-self.count // self.period_s)


class Quantity:
    """What the types below have in common: a reader for pydantic and a JSON Schema of their own."""

    def read(self, value: object, written: bool) -> object:
        """
        The value to keep.

        :param written: whether it was read from a file, where units are required.
        :raises ValueError: with a message that does not repeat the value.
        """
        raise NotImplementedError

    def write(self, value: Any) -> object:
        """How a value is shown where settings are shown as JSON."""
        return value

    def json_schema(self) -> dict[str, Any]:
        """What an editor should accept."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def validate(value: object, about: core_schema.ValidationInfo) -> object:
            return self.read(value, bool(about.context and about.context.get("written")))

        return core_schema.with_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self.write, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return self.json_schema()


@dataclass(frozen=True, slots=True)
class Duration(Quantity):
    """Seconds as a float, written with a unit; where ``unlimited``, 0 is allowed too and means no limit."""

    least_s: float
    most_s: float
    unlimited: bool = False

    def read(self, value: object, written: bool) -> float:
        if is_number(value):
            if written:
                raise ValueError("a number without a unit, expected one such as 250ms, 30s, 5m or 1h")
            seconds = float(value)  # type: ignore[arg-type]  # is_number() has looked
        else:
            seconds = grammar.duration_s(as_text(value, "a duration such as 30s"))
        if not (self.unlimited and seconds == 0):
            within(seconds, self.least_s, self.most_s, grammar.duration_text)
        return seconds

    def json_schema(self) -> dict[str, Any]:
        return dict(_DURATION_TEXT)


@dataclass(frozen=True, slots=True)
class Size(Quantity):
    """Bytes as an int, written with a binary unit or plainly."""

    least_bytes: int
    most_bytes: int

    def read(self, value: object, written: bool) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        count = value if whole else grammar.size_bytes(as_text(value, "a size such as 64KiB"))
        assert isinstance(count, int)
        within(count, self.least_bytes, self.most_bytes, grammar.size_text)
        return count

    def json_schema(self) -> dict[str, Any]:
        bounds = {"type": "integer", "minimum": self.least_bytes, "maximum": self.most_bytes}
        return {"anyOf": [dict(_SIZE_TEXT), bounds]}


@dataclass(frozen=True, slots=True)
class Count(Quantity):
    """A whole number."""

    least: int
    most: int

    def read(self, value: object, written: bool) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        count = value if whole else grammar.whole_number(as_text(value, "a whole number"))
        assert isinstance(count, int)
        within(count, self.least, self.most, str)
        return count

    def json_schema(self) -> dict[str, Any]:
        return _or_variable({"type": "integer", "minimum": self.least, "maximum": self.most})


@dataclass(frozen=True, slots=True)
class Frequency(Quantity):
    """A :class:`Rate`, written as a count and a period: ``20/s``, ``600/m``, ``5/h``, ``100/d``."""

    def read(self, value: object, written: bool) -> Rate:
        expected = "a rate such as 20/s or 600/m"
        if is_number(value):
            raise ValueError(f"a number without a period, expected {expected}")
        found = value if isinstance(value, Rate) else Rate(*grammar.rate(as_text(value, expected)))
        within(found.count, 1, MOST_AT_ONCE, lambda bound: grammar.rate_text(bound, found.period_s))
        return found

    def write(self, value: Rate) -> str:
        return grammar.rate_text(value.count, value.period_s)

    def json_schema(self) -> dict[str, Any]:
        return dict(_RATE_TEXT)


@dataclass(frozen=True, slots=True)
class Moment(Quantity):
    """Seconds since 1970 as a float, written as a date or a time of a day; UTC where no zone is given."""

    def read(self, value: object, written: bool) -> float:
        expected = "a date or time such as 2027-01-31 or 2027-01-31T18:00:00Z"
        if is_number(value) and not written:
            seconds = float(value)  # type: ignore[arg-type]  # is_number() has looked
        else:
            seconds = grammar.moment_s(as_text(value, expected))
        within(seconds, 0.0, _LAST_MOMENT_S, grammar.moment_text)
        return seconds

    def write(self, value: float) -> str:
        return grammar.moment_text(value)

    def json_schema(self) -> dict[str, Any]:
        return dict(_MOMENT_TEXT)


@dataclass(frozen=True, slots=True)
class Share(Quantity):
    """A part of a whole, from 0 to 1."""

    def read(self, value: object, written: bool) -> float:
        if is_number(value):
            part = float(value)  # type: ignore[arg-type]  # is_number() has looked
        else:
            part = grammar.fraction(as_text(value, "a number from 0 to 1"))
        within(part, 0.0, 1.0, "{:g}".format)
        return part

    def json_schema(self) -> dict[str, Any]:
        return _or_variable({"type": "number", "minimum": 0, "maximum": 1})


@dataclass(frozen=True, slots=True)
class Switch(Quantity):
    """True or false; ``yes`` and ``on`` are text, as in YAML 1.2."""

    def read(self, value: object, written: bool) -> bool:
        if isinstance(value, bool):
            return value
        text = as_text(value, "true or false")
        if text not in {"true", "false"}:
            raise ValueError("text, expected true or false")
        return text == "true"

    def json_schema(self) -> dict[str, Any]:
        return _or_variable({"type": "boolean"})


def is_number(value: object) -> bool:
    """Whether this is an int or a float; a bool, which Python counts among the ints, is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_text(value: object, expected: str) -> str:
    """
    The value if it is text.

    :raises ValueError: naming the kind of what came instead.
    """
    if not isinstance(value, str):
        raise ValueError(f"{kind_of(value)}, expected {expected}")
    return value


def within(value: float, least: float, most: float, write: Callable[[Any], str]) -> None:
    """
    Check bounds; ``write`` puts a bound into the words of the configuration.

    :raises ValueError: naming the bound that was passed. Not a number is outside any bounds.
    """
    if value < least:
        raise ValueError(f"too small, expected at least {write(least)}")
    if not value <= most:
        raise ValueError(f"too large, expected at most {write(most)}")


def kind_of(value: object) -> str:
    """What a person would call this kind of YAML value."""
    if value is None:
        return "nothing"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "text"),
        ((list, tuple), "a list"),
        (dict, "keys and values"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "something else")


def write_default(schema: Mapping[str, Any], default: Any) -> Any:
    """The default of a quantity in the words of the configuration, so that an editor can offer it."""
    if schema.get("pattern") == _DURATION_TEXT["pattern"]:
        return grammar.duration_text(default)
    if _SIZE_TEXT in schema.get("anyOf", ()):
        return grammar.size_text(default)
    return default


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "string", "pattern": _HOLDS_VARIABLE}]}
