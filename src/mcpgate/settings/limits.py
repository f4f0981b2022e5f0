"""How often and how much: token buckets, the gate before authentication, and the keys of sealed sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from mcpgate.settings.rights import Name, Pattern, ToolPattern
from mcpgate.settings.sections import MASKED, Line, Section, not_empty
from mcpgate.values import credentials
from mcpgate.values.entries import alongside, distinct
from mcpgate.values.quantities import MOST_AT_ONCE, Count, Duration, Frequency, Rate

KeyPart = Literal["principal", "address", "server", "method", "tool"]

#: Longer, and a client takes the gateway for dead and comes again.
_LONGEST_WAIT_S = 30.0


def _at_once(limit: Mapping[str, Any]) -> int | None:
    rate = limit.get("rate")
    return rate.at_once if isinstance(rate, Rate) else None


class MatchSettings(Section):
    """What a limit is about; what is not said here does not matter to it."""

    servers: Annotated[tuple[Pattern, ...], alongside(not_empty)] | None = Field(
        default=None, description="Names of servers, * stands for anything; by default every one."
    )
    methods: Annotated[tuple[Pattern, ...], alongside(not_empty)] | None = Field(
        default=None, description="MCP methods such as tools/call, * stands for anything; by default every one."
    )
    tools: Annotated[tuple[ToolPattern, ...], alongside(not_empty)] | None = Field(
        default=None, description="Names of tools, * stands for anything; by default every one."
    )


class LimitSettings(Section):
    """How often something may be called, or how many streams may be open, for each key."""

    name: Name = Field(description="Unique name, for clients, logs and metrics.")
    key: Annotated[tuple[KeyPart, ...], alongside(not_empty), distinct(None)] = Field(
        description="What is counted apart; without a principal the address takes its place."
    )
    match: MatchSettings = Field(default_factory=MatchSettings, description="What it is about.")
    rate: Annotated[Rate, Frequency()] | None = Field(
        default=None, description="Calls in a second (20/s), a minute (m), an hour (h) or a day (d)."
    )
    burst: Annotated[int | None, Count(1, MOST_AT_ONCE)] = Field(
        default_factory=_at_once, description="Calls that may come at once; by default what one second brings."
    )
    concurrent_streams: Annotated[int, Count(1, 10_000_000)] | None = Field(
        default=None, validate_default=True, description="Streams that may be open at once, instead of a rate."
    )
    wait: Annotated[float, Duration(0.0, _LONGEST_WAIT_S)] = Field(
        default=0.0, description="How long a call is held, rather than refused, until there is room for it."
    )

    @field_validator("burst")
    @classmethod
    def _burst_of_a_rate(cls, value: int | None, about: ValidationInfo) -> int | None:
        if about.data.get("rate", "refused for itself") is None:
            raise ValueError("a burst without a rate, expected rate beside it")
        return value

    @field_validator("concurrent_streams")
    @classmethod
    def _one_measure(cls, value: int | None, about: ValidationInfo) -> int | None:
        if "rate" in about.data and (about.data["rate"] is None) == (value is None):
            given = "nothing to limit" if value is None else "beside a rate"
            raise ValueError(f"{given}, expected either rate or concurrent_streams; a second limit may have the other")
        return value

    @field_validator("wait")
    @classmethod
    def _wait_for_a_rate(cls, value: float, about: ValidationInfo) -> float:
        if value and about.data.get("rate", "refused for itself") is None:
            raise ValueError("a wait without a rate, expected none: nobody knows when a stream will end")
        return value


class AllowanceSettings(Section):
    """How often something may happen."""

    rate: Annotated[Rate, Frequency()] = Field(description="How often in a second (50/s), a minute, an hour or a day.")
    burst: Annotated[int, Count(1, MOST_AT_ONCE)] = Field(
        default_factory=lambda given: given["rate"].at_once,
        description="How often at once; by default what one second brings.",
    )


class GateSettings(Section):
    """What one client address may do before anybody knows who it is."""

    connections: AllowanceSettings | None = Field(
        default=AllowanceSettings(rate=Rate(1000, 1), burst=10_000),
        description="New connections of an address; null for any number.",
    )
    unauthenticated: AllowanceSettings | None = Field(
        default=AllowanceSettings(rate=Rate(50, 1), burst=200),
        description="Requests of an address that are refused for want of a good token; null for any number.",
    )
    open_connections: Annotated[int, Count(0, 10_000_000)] = Field(
        default=0, description="Most connections of an address at once; 0 takes 90 % of http.max_connections."
    )


class SessionsSettings(Section):
    """What seals the ids of sessions, so that nobody can use another's."""

    keys: tuple[Annotated[str, AfterValidator(credentials.session_key), MASKED], ...] = Field(
        default=(),
        repr=False,
        description="Secrets of at least 32 characters: the first seals, all open; without any, one is made in var.",
    )
    keys_file: Line | None = Field(
        default=None, description="File with such secrets, one in each line; they are joined to keys."
    )
