"""What may be granted, and to whom: scopes, servers, tools, and the entry of a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from mcpgate.settings.sections import MASKED, Section
from mcpgate.values import credentials, grammar

Name = Annotated[str, AfterValidator(grammar.name)]
Scope = Annotated[str, AfterValidator(credentials.scope)]
RegistrableServer = Annotated[str, AfterValidator(credentials.registrable_server)]
GrantedServer = Annotated[str, AfterValidator(credentials.granted_server)]
Pattern = Annotated[str, AfterValidator(credentials.name_pattern)]
ToolPattern = Annotated[str, AfterValidator(credentials.tool_pattern)]
GrantedTool = Annotated[str, AfterValidator(credentials.granted_tool)]

_SECRET_KEYS = ("token", "secret", "bearer", "key", "value", "password", "access_token", "api_key")
# Whoever writes a text here has most likely written the token.
_NOT_AN_ENTRY = f"text, expected an entry with id and sha256, and never the token itself; {credentials.HOW_TO_HASH}"


class TokenEntry(Section):
    """What the entries of all lists of tokens have in common."""

    REMEDIES: ClassVar[Mapping[str, str]] = dict.fromkeys(_SECRET_KEYS, credentials.CLEAR_TEXT)

    id: Name = Field(
        description="Name of the holder, for logs: lower-case letters, digits, dots, underscores and hyphens."
    )
    sha256: Annotated[str, AfterValidator(credentials.token_digest), MASKED] = Field(
        repr=False, description="SHA-256 of the token in hexadecimal; the token itself is never in this file."
    )

    @model_validator(mode="before")
    @classmethod
    def _not_the_token_itself(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(_NOT_AN_ENTRY)
        return value


class ToolsSettings(Section):
    """Which tools of one server may be called."""

    allow: tuple[ToolPattern, ...] | None = Field(
        default=None, description="Names of tools, * stands for anything; without it every tool not denied."
    )
    deny: tuple[ToolPattern, ...] = Field(
        default=(), description="Names of tools that nobody may call, * stands for anything; wins over allow."
    )


class GrantedToolsSettings(Section):
    """Which tools somebody may call."""

    allow: tuple[GrantedTool, ...] | None = Field(
        default=None, description="TOOL or SERVER:TOOL, * stands for anything; without it every tool not denied."
    )
    deny: tuple[GrantedTool, ...] = Field(
        default=(), description="TOOL or SERVER:TOOL, * stands for anything; wins over allow."
    )
