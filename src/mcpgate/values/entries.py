"""
Checks of a list as a whole, made beside the checks of its entries.

pydantic stops at the entries when one of them is wrong, so a name given twice would stay hidden until
everything else is mended. The validators here look at the raw list too and add what they find, so that all
faults are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import InitErrorDetails, PydanticCustomError

#: The type of an error whose message is a complete sentence; ``faults.py`` takes it as it stands.
COMPLETE: Final = "complete"

_LISTS = (list, tuple, set, frozenset)


class Objection(NamedTuple):
    """What is wrong, and where below the checked value."""

    where: tuple[str | int, ...]
    message: str
    #: The index of an earlier entry of the same list that it clashes with.
    earlier: int | None = None


def refusal(*objections: Objection) -> ValidationError:
    """The error to raise from a validator whose objections concern something below its own field."""
    return ValidationError.from_exception_data("refusal", [_details(each) for each in objections])


def alongside(check: Callable[[Collection[object]], Iterable[Objection]]) -> WrapValidator:
    """
    Run a check of the whole raw list as well as the checks of its entries.

    :param check: gets the list as it was given: dicts as they were written, or sections already made.
    """

    def validate(entries: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        found = [_details(each) for each in check(entries)] if isinstance(entries, _LISTS) else []
        try:
            valid = inner(entries)
        except ValidationError as refused:
            found = [_again(line) for line in refused.errors()] + found
        if found:
            raise ValidationError.from_exception_data("list", found)
        return valid

    return WrapValidator(validate)


def distinct(
    field: str | None,
    default: Callable[[dict[str, Any]], str] | None = None,
    *,
    fold: Callable[[str], str] = str,
    defaults_too: bool = False,
) -> WrapValidator:
    """
    Entries must differ in one field, or as a whole.

    :param field: None compares the entries themselves, which are texts.
    :param default: what a written entry without the field gets. Two such entries are not objected to: they
        can only be equal because something else is, and that is a fault of its own.
    :param fold: brings different spellings of the same into one.
    :param defaults_too: object to those as well, because nothing else makes them differ.
    """

    def check(entries: Collection[object]) -> Iterable[Objection]:
        first: dict[str, tuple[int, bool]] = {}
        for index, entry in enumerate(entries):
            given = _given(entry, field)
            value = default(entry) if given is None and default and isinstance(entry, dict) else given
            if not isinstance(value, str):
                continue
            earlier, was_given = first.setdefault(fold(value), (index, given is not None))
            if earlier != index and (was_given or given is not None or defaults_too):
                message = f"the same as in entry {earlier} of this list, expected another one"
                yield Objection((index,) if field is None else (index, field), message, earlier)

    return alongside(check)


def _given(entry: object, field: str | None) -> object:
    if field is None:
        return entry
    return entry.get(field) if isinstance(entry, dict) else getattr(entry, field, None)


def _details(objection: Objection) -> InitErrorDetails:
    about = {"message": objection.message, "earlier": objection.earlier}
    error = PydanticCustomError(COMPLETE, "{message}", about)
    return {"type": error, "loc": objection.where, "input": None}


def _again(line: Any) -> InitErrorDetails:
    # pydantic gives errors out as plain values and takes them back only as error objects.
    error = PydanticCustomError(line["type"], line["msg"], line.get("ctx"))
    return {"type": error, "loc": line["loc"], "input": line["input"]}
