"""From settings to who may pass: terms of servers, tokens and issuers, limits, seals. Opens nothing but named files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256

from mcpgate.policy.access import Auth, Credentials, Terms
from mcpgate.policy.addressgate import AddressGate
from mcpgate.policy.authn import Grant
from mcpgate.policy.authz import NamePatterns, ToolRights
from mcpgate.policy.buckets import Allowance
from mcpgate.policy.issuers import IssuerTerms
from mcpgate.policy.limits import KeyPart, LimitPolicy
from mcpgate.settings import (
    AllowanceSettings,
    GrantedToolsSettings,
    IssuerSettings,
    LimitSettings,
    RegisteredUpstream,
    ServerSettings,
    Settings,
    TokenSettings,
    ToolsSettings,
)

#: What one address may have of all client connections, if the configuration does not say it: the rest is for others.
_SHARE_OF_ONE_ADDRESS = 0.9


def terms_of(settings: Settings, server: ServerSettings) -> Terms:
    """On which terms a server may be used."""
    own = {who: Credentials.of(fields.set) for who, fields in server.upstream_credentials.items()}
    hidden = frozenset().union(*(credentials.names for credentials in own.values()))
    common = Credentials.of(server.headers.set).hiding(hidden)
    return Terms(
        Auth(settings.auth_of(server)),
        _tool_rights(server.tools),
        frozenset(server.scopes),
        tuple((NamePatterns([tools]), frozenset(scopes)) for tools, scopes in server.tool_scopes.items()),
        common,
        {who: credentials.over(common) for who, credentials in own.items()},
    )


def seals(settings: Settings, server: ServerSettings) -> bool:
    """Whether session ids are bound: where there is somebody, or a replica, to bind them to, or may be later."""
    return settings.auth_of(server) == "required" or len(server.upstreams) > 1 or may_grow(server)


def may_grow(server: ServerSettings) -> bool:
    """Whether replicas may come and go while it runs."""
    return server.replicas_may_register or any(isinstance(each, RegisteredUpstream) for each in server.upstreams)


def operators(settings: Settings) -> list[tuple[str, Grant]]:
    """The tokens of the admin listener."""
    return [
        (token.sha256, Grant(token.id, frozenset(token.scopes), frozenset(token.servers)))
        for token in settings.admin.tokens
    ]


def grants(tokens: Sequence[TokenSettings]) -> list[tuple[str, Grant]]:
    """The tokens of the data listener: digest, and what it gives."""
    return [
        (
            token.sha256,
            Grant(
                token.id,
                frozenset(token.scopes),
                frozenset(token.servers),
                _tool_rights(token.tools),
                math.inf if token.expires is None else token.expires,
            ),
        )
        for token in tokens
    ]


def issuer_terms(issuer: IssuerSettings) -> IssuerTerms:
    """What is asked of the tokens of an issuer, and what they give."""
    return IssuerTerms(
        issuer.id,
        issuer.issuer,
        issuer.audience,
        issuer.algorithms,
        issuer.leeway,
        frozenset(issuer.servers),
        issuer.scopes_claim,
        issuer.servers_claim,
        issuer.tools_claim,
        _tool_rights(issuer.tools),
    )


def limit_policies(limits: Sequence[LimitSettings]) -> list[LimitPolicy]:
    """The limits, in the order of the configuration."""
    return [
        LimitPolicy(
            limit.name,
            tuple(KeyPart(part) for part in limit.key),
            _allowance(limit),
            limit.concurrent_streams or 0,
            _patterns(limit.match.methods),
            _patterns(limit.match.tools),
            _patterns(limit.match.servers),
            limit.wait,
        )
        for limit in limits
    ]


def address_gate(settings: Settings, max_connections: int) -> AddressGate:
    """What one address may do before anybody knows who it is."""
    gate = settings.gate
    bound = gate.open_connections or max(1, int(max_connections * _SHARE_OF_ONE_ADDRESS))
    return AddressGate(_allowance(gate.connections), _allowance(gate.unauthenticated), bound)


def seal_keys(secrets: Sequence[str]) -> tuple[bytes, ...]:
    """Keys of one length from secrets as somebody wrote them."""
    return tuple(sha256(b"mcpgate session " + secret.encode("utf-8")).digest() for secret in secrets)


def _allowance(found: AllowanceSettings | LimitSettings | None) -> Allowance | None:
    if found is None or found.rate is None or found.burst is None:
        return None
    return Allowance(found.rate.count, found.rate.period_s, found.burst)


def _patterns(names: Sequence[str] | None) -> NamePatterns | None:
    return None if names is None else NamePatterns(names)


def _tool_rights(tools: ToolsSettings | GrantedToolsSettings) -> ToolRights:
    return ToolRights(tools.allow, tools.deny)
