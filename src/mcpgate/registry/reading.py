"""
How JSON from the network is read and checked against what a section of settings allows.

Lives here: the one strict reading of JSON, and faults in words. What two readers could read differently is a fault; a
fault names the key, what is wrong and what was expected, as those of configuration files do, and never repeats a value.
How large a body may be is for its reader to bound.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from mcpgate.refusals import RegistrationRefused
from mcpgate.settings.sections import Section
from mcpgate.values import grammar
from mcpgate.values.entries import COMPLETE
from mcpgate.values.quantities import kind_of

Form = TypeVar("Form", bound=Section)

#: More digits than any number here; ``int`` and ``float`` fail in their own ways on thousands of them.
_MAX_DIGITS = 20


def read_json(body: bytes) -> object:
    """
    Read what every reader reads alike (RFC 8259, and RFC 7493 for what it leaves open).

    :raises ValueError: not JSON in UTF-8; half a character (a lone surrogate); a key twice in one object; NaN or a
        number without bounds; nested too deeply. The message repeats nothing of the body.
    """
    try:
        found = _decode(body.decode("utf-8"))
        if b"\\ud" in body.lower():
            json.dumps(found, ensure_ascii=False).encode("utf-8")
        return found
    except UnicodeError:
        raise ValueError("not Unicode throughout, expected JSON in UTF-8 without halves of characters") from None
    except json.JSONDecodeError as wrong:
        raise ValueError(f"not JSON from line {wrong.lineno}, column {wrong.colno} on") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice in one object, expected each once")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number that is too long")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number that is too large")
    return number


def _constant(name: str) -> object:
    raise ValueError("NaN or Infinity, expected a number")


_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=_finite, parse_constant=_constant
).decode


def read_object(body: bytes) -> dict[str, object]:
    """
    Read one JSON object.

    :raises RegistrationRefused: it is something else; with a single fault that has no key.
    """
    try:
        found = read_json(body)
    except ValueError as wrong:
        raise RegistrationRefused.for_faults([("", str(wrong))]) from None
    if not isinstance(found, dict):
        raise RegistrationRefused.for_faults([("", f"{kind_of(found)}, expected an object")])
    return found


# --- faults ---------------------------------------------------------------------------------------------------------

#: Keys that a fault may repeat. Others could be anything, such as a whole header line with its secret.
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def checked(form: type[Form], content: Mapping[str, object]) -> Form:
    """
    What was read, as this kind of section (hints for unknown keys are those of its own keys, not of parts below it).

    :raises RegistrationRefused: with all faults at once, without the values.
    """
    try:
        return form.model_validate(content)
    except ValidationError as refused:
        faults = list(_faults(form, refused))
    # Outside of the clause, so that nothing hangs on the error that holds what was sent.
    raise RegistrationRefused.for_faults(faults)


def _faults(form: type[Section], refused: ValidationError) -> Iterator[tuple[str, str]]:
    for line in refused.errors(include_url=False):
        parts = [str(part) for part in line["loc"] if part != "[key]"]
        where = ".".join(part if _PLAIN_KEY.fullmatch(part) else "?" for part in parts)
        if line["type"] == "extra_forbidden":
            yield where, _unknown_key(form, parts[-1])
        elif line["type"] == "missing":
            yield where, f"missing, expected: {_fields(form).get(parts[-1], 'a value')}"
        else:
            yield where, _sentence(line)


def _fields(form: type[Section]) -> dict[str, str]:
    return {about.alias or name: about.description or "" for name, about in form.model_fields.items()}


def _unknown_key(form: type[Section], key: str) -> str:
    folded = key.replace("_", "").replace("-", "").lower()
    remedy = form.REMEDIES.get(folded)
    if remedy is not None:
        return f"unknown key: {remedy}"
    known = {name.replace("_", "").lower(): name for name in _fields(form)}
    near = difflib.get_close_matches(folded[: grammar.MAX_NAME_LENGTH], known, 1)
    hint = f"did you mean {known[near[0]]}?" if near else f"expected one of: {' '.join(_fields(form))}"
    return f"unknown key, {hint}"


def _sentence(line: Mapping[str, Any]) -> str:
    write = _SENTENCES.get(line["type"])
    # pydantic's own message could repeat the value, so a type that is not in the table is only named.
    return write(line) if write else f"not valid here ({line['type']})"


def _wrong_kind(expected: str) -> Callable[[Mapping[str, Any]], str]:
    def write(line: Mapping[str, Any]) -> str:
        return f"{kind_of(line['input'])}, expected {expected}"

    return write


def _too_long(line: Mapping[str, Any]) -> str:
    what, unit = ("too long", "characters") if isinstance(line["input"], str) else ("too many", "entries")
    return f"{what}, expected at most {line['ctx']['max_length']} {unit}"


_SENTENCES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    COMPLETE: lambda line: str(line["msg"]),
    "value_error": lambda line: str(line["ctx"]["error"]),
    "literal_error": lambda line: f"an unknown word, expected {line['ctx']['expected']}",
    "string_type": _wrong_kind("text"),
    "string_pattern_mismatch": lambda line: "not the date of a version, expected one such as 2026-07-28",
    "too_short": lambda line: "empty, expected at least one entry",
    "too_long": _too_long,
    "tuple_type": _wrong_kind("a list"),
    "dict_type": _wrong_kind("an object"),
}
