"""What a part of the configuration is, and the kinds of text that several parts hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, ClassVar, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from mcpgate.values import addresses, grammar
from mcpgate.values.entries import Objection, alongside

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0


#: Marks a secret: whoever turns settings into plain values, to show them, gets stars.
MASKED: Final = PlainSerializer(lambda secret: "***", return_type=str)


def not_empty(entries: Collection[object]) -> Iterable[Objection]:
    """For :func:`~mcpgate.values.entries.alongside`: a list must have an entry."""
    if not entries:
        yield Objection((), "an empty list, expected at least one entry")


def as_list(value: object) -> object:
    """For a list of which a single text may stand alone."""
    return (value,) if isinstance(value, str) else value


Line = Annotated[str, AfterValidator(grammar.plain_line), Field(max_length=2000)]
Listen = Annotated[str, AfterValidator(addresses.listen_text)]
ListenList = Annotated[
    tuple[Listen, ...],
    alongside(not_empty),
    BeforeValidator(as_list, json_schema_input_type=str | tuple[str, ...]),
]
Host = Annotated[str, AfterValidator(addresses.host)]
Origin = Annotated[str, AfterValidator(addresses.origin)]
WebOrigin = Annotated[str, AfterValidator(addresses.web_origin)]


def _one_value_for_each(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("a header twice, in different case, expected each once")
    return headers


#: Headers that we send, such as credentials: each once, with its value in stars for whoever looks.
SecretHeaders = Annotated[
    dict[
        Annotated[str, AfterValidator(grammar.header_name)],
        Annotated[str, AfterValidator(grammar.header_value), MASKED],
    ],
    AfterValidator(_one_value_for_each),
]


class Section(BaseModel):
    """One part of the configuration: frozen, and nothing in it that is not known."""

    #: Unknown keys that have an answer of their own.
    REMEDIES: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_defaults(cls, value: object) -> object:
        # In YAML a key whose lines below are all comments has no value.
        return {} if value is None else value
