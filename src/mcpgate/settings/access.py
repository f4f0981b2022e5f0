"""Who may use the servers: tokens of the configuration, and issuers of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from mcpgate.settings.rights import GrantedServer, GrantedToolsSettings, Name, Scope, TokenEntry
from mcpgate.settings.sections import DAY_S, Line, Section, as_list, not_empty
from mcpgate.values import addresses, credentials
from mcpgate.values.credentials import EVERYTHING
from mcpgate.values.entries import alongside, distinct
from mcpgate.values.quantities import Duration, Moment

#: Those that check a signature with a public key (RFC 7518 section 3.1, RFC 8037 section 3.1). One with a shared secret
#: would let the gateway, and whoever reads this file, make tokens.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
ClaimText = Annotated[str, AfterValidator(credentials.claim_text)]


def _default_id(issuer: Mapping[str, Any]) -> str:
    return addresses.issuer_host(str(issuer.get("issuer", "")))


def _default_servers(issuer: Mapping[str, Any]) -> tuple[str, ...]:
    return () if issuer.get("servers_claim") else (EVERYTHING,)


def _with_public_key(value: object) -> object:
    if isinstance(value, str) and value.upper().startswith(("HS", "NONE")):
        raise ValueError("an algorithm without a public key, expected one such as RS256, ES256 or EdDSA")
    return value


class TokenSettings(TokenEntry):
    """Somebody who comes with a token of this gateway."""

    servers: tuple[GrantedServer, ...] = Field(
        default=(EVERYTHING,), description="Names of the servers that the holder may use, or * for every one."
    )
    scopes: tuple[Scope, ...] = Field(
        default=(), description="What the holder may do besides, where servers ask for it; * is every scope."
    )
    tools: GrantedToolsSettings = Field(
        default_factory=GrantedToolsSettings, description="Which tools the holder may call."
    )
    expires: Annotated[float, Moment()] | None = Field(
        default=None, description="Date or time from which on the token is refused, in UTC if no zone is given."
    )


class IssuerSettings(Section):
    """An authorization server whose signed tokens (JWT) are taken."""

    REMEDIES: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("secret", "shared_secret", "client_secret", "key"),
        "a secret, expected none: signatures are checked with public keys, from jwks_url or jwks_file",
    )

    issuer: Annotated[str, AfterValidator(addresses.issuer)] = Field(
        description="What its tokens hold as iss, to the character."
    )
    id: Name = Field(
        default_factory=_default_id,
        validate_default=True,
        description="Its unique name in logs and principals (ID:SUB); by default the host of the issuer.",
    )
    audience: Annotated[
        tuple[ClaimText, ...],
        alongside(not_empty),
        BeforeValidator(as_list, json_schema_input_type=str | tuple[str, ...]),
    ] = Field(description="What its tokens must hold as aud: one text, or several of which one is enough.")
    jwks_url: Annotated[str, AfterValidator(addresses.keys_url)] | None = Field(
        default=None, description="Where its public keys are fetched (JWKS); https, or http on this machine."
    )
    jwks_file: Line | None = Field(
        default=None, validate_default=True, description="File with its public keys (JWKS), instead of jwks_url."
    )
    algorithms: Annotated[tuple[Annotated[Algorithm, BeforeValidator(_with_public_key)], ...], alongside(not_empty)] = (
        Field(default=("RS256", "ES256", "EdDSA"), description="How its tokens may be signed.")
    )
    leeway: Annotated[float, Duration(0.0, 300.0)] = Field(
        default=30.0, description="How far its clock may differ from the clock here."
    )
    servers_claim: ClaimText | None = Field(
        default=None, description="Claim that names the servers its holder may use, besides those in servers."
    )
    servers: tuple[GrantedServer, ...] = Field(
        default_factory=_default_servers,
        description="Servers that each of its tokens may use; by default * for every one, none with servers_claim.",
    )
    scopes_claim: ClaimText = Field(default="scope", description="Claim that holds the scopes.")
    tools_claim: ClaimText | None = Field(
        default=None, description="Claim with patterns of the tools its holder may call; one without it may call none."
    )
    tools: GrantedToolsSettings = Field(
        default_factory=GrantedToolsSettings, description="Which tools its tokens may call."
    )
    refresh: Annotated[float, Duration(10.0, DAY_S)] = Field(
        default=600.0, description="How often its keys are fetched anew from jwks_url."
    )

    @field_validator("jwks_file")
    @classmethod
    def _one_source_of_keys(cls, value: str | None, about: ValidationInfo) -> str | None:
        url = about.data.get("jwks_url", "refused for itself")
        if value is None and url is None:
            raise ValueError("without keys, expected jwks_url or jwks_file")
        if value is not None and url is not None and "jwks_url" in about.data:
            raise ValueError("beside jwks_url, expected one of the two")
        return value


class AuthSettings(Section):
    """Who may use the servers."""

    tokens: Annotated[tuple[TokenSettings, ...], distinct("id"), distinct("sha256", fold=str.lower)] = Field(
        default=(), description="Who comes with a token of this gateway."
    )
    tokens_file: Line | None = Field(
        default=None, description="YAML file with more of them, a list; it is joined to tokens."
    )
    jwt: Annotated[tuple[IssuerSettings, ...], distinct("id", _default_id, defaults_too=True)] = Field(
        default=(), description="Authorization servers whose signed tokens (JWT) are taken."
    )

    @property
    def knows_somebody(self) -> bool:
        """
        Whether anybody is let in by a token. A file of tokens counts, also one with an empty list: to take the last
        token out of it must not open the gateway to everybody.
        """
        return bool(self.tokens or self.jwt) or self.tokens_file is not None

    @property
    def lets_in_for_a_time(self) -> bool:
        """Whether there can be a token that expires while something is open on it."""
        return bool(self.jwt) or any(token.expires is not None for token in self.tokens)
