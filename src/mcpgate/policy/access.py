"""What one server demands of those who call it, and what it is shown of them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mcpgate.errors import GatewayError, InsufficientScope, ServerForbidden, UncheckedTunnel
from mcpgate.policy.authn import Grant
from mcpgate.policy.authz import EVERY_TOOL, NamePatterns, ToolRights
from mcpgate.wire.headers import without


class Auth(enum.Enum):
    """Whose token a request must carry."""

    NONE = "none"  # nobody's: what comes is not looked at
    WELCOME = "welcome"  # of the gateway's own addresses: a token is not needed, but one that is there must be good
    REQUIRED = "required"
    UPSTREAM = "upstream"  # the server's own, which it checks itself; passed on to it, and to it alone


@dataclass(frozen=True, slots=True)
class Credentials:
    """Header lines that a server is sent, whoever calls, and their lower-case names: they replace the client's."""

    lines: bytes = b""
    names: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Credentials:
        """Credentials as configured: header names and values."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return cls(lines.encode("latin-1"), frozenset(name.lower().encode("ascii") for name in fields))

    def hiding(self, names: Iterable[bytes]) -> Credentials:
        """The same, in place of these fields of the client too: they say who somebody is, also where we say nothing."""
        return Credentials(self.lines, self.names.union(names))

    def over(self, others: Credentials) -> Credentials:
        """These, and the others where these say nothing."""
        return Credentials(without(others.lines, self.names) + self.lines, others.names | self.names)


NO_CREDENTIALS: Final = Credentials()


@dataclass(frozen=True, slots=True)
class Terms:
    """
    The terms on which a server (or an address of the gateway itself) may be used.

    :ivar scopes: a principal must hold all of them.
    :ivar tool_scopes: what calls of some tools need besides.
    :ivar credentials: for everybody; ``personal`` ones are by principal, with those of everybody in them.
    """

    auth: Auth = Auth.NONE
    tools: ToolRights = EVERY_TOOL
    scopes: frozenset[str] = frozenset()
    tool_scopes: tuple[tuple[NamePatterns, frozenset[str]], ...] = ()
    credentials: Credentials = NO_CREDENTIALS
    personal: Mapping[str, Credentials] = field(default_factory=dict)

    def objection(self, grant: Grant | None, server: str, is_tunnel: bool) -> GatewayError | None:
        """Why a principal may not use the server, or not through a tunnel, where nobody can look; else ``None``."""
        if grant is not None:
            if not grant.admits_server(server):
                return ServerForbidden()
            if self.scopes and grant.missing_scopes(self.scopes):
                return InsufficientScope.needing(self.scopes)
        return UncheckedTunnel() if is_tunnel and self.decides_on_tools(grant) else None

    def decides_on_tools(self, grant: Grant | None) -> bool:
        """Whether what this principal may do here depends on the tool it calls."""
        return self.tools.decides or bool(self.tool_scopes) or (grant is not None and grant.tools.decides)

    def admits_tool(self, grant: Grant | None, server: str, tool: str) -> bool:
        """Whether a principal may call a tool of this server."""
        return self.tools.admits(server, tool) and (grant is None or grant.tools.admits(server, tool))

    def scopes_for(self, tools: Iterable[str]) -> frozenset[str]:
        """Every scope that calls of these tools need."""
        called = tuple(tools)
        extra = [needed for names, needed in self.tool_scopes if any(names.matches(tool) for tool in called)]
        return self.scopes.union(*extra)

    def credentials_for(self, principal: str) -> Credentials:
        """What the server is sent for this principal."""
        return self.personal.get(principal, self.credentials)


OPEN_TO_ALL: Final = Terms()
"""Nobody is asked for anything."""
