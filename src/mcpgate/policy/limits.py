"""
What a limit says: whom it counts together, what it charges, and how much that is.

A limit that names no methods charges *calls* and sets what is *light* apart: handshakes, pings, lists, notices. A
client sends five of those before its first call, and one that is refused its ``server/discover`` falls back to an
older protocol. They have a bucket of their own, ten times as large.

Does not live here: what has been used of a limit (``policy/ratelimit.py``).
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mcpgate.policy.addressgate import address_key
from mcpgate.policy.authz import NamePatterns
from mcpgate.policy.buckets import Allowance
from mcpgate.wire.calls import RESPONSE, UNREAD, Call

#: As much more of what is light.
LIGHT_FACTOR: Final = 10
#: Asked once by a client of 2026-07-28 that wants to know what it talks to.
DISCOVER: Final = "server/discover"
#: Requests that are no JSON-RPC messages.
OPEN_STREAM: Final = Call("http/stream")
END_SESSION: Final = Call("http/delete")

_LIGHT = frozenset(
    {"initialize", "ping", "logging/setLevel", DISCOVER, RESPONSE.method, OPEN_STREAM.method, END_SESSION.method}
)
_TOOLS_CALL = "tools/call"
#: Longer keys are kept as their digest: names come from clients.
_MAX_KEY_BYTES = 64


class KeyPart(enum.Enum):
    """What requests must have in common to be counted together."""

    ADDRESS = "address"
    PRINCIPAL = "principal"
    SERVER = "server"
    METHOD = "method"
    TOOL = "tool"

    __hash__ = object.__hash__  # an Enum hashes its name, which takes 0.2 us more


class Weight(enum.Enum):
    """How a limit charges a call."""

    NOTHING = 0
    LIGHT = 1
    WHOLE = 2


def client_parts(address: bytes, principal: str, server: str) -> dict[KeyPart, bytes]:
    """
    The parts of keys that are the same for all requests of a client to a server.

    :param address: as text.
    :param principal: empty if nobody is known: then the address takes its place.
    """
    counted = address_key(address)
    who = b"=" + _encoded(principal) if principal else b"@" + counted
    return {KeyPart.ADDRESS: _part(counted), KeyPart.PRINCIPAL: _part(who), KeyPart.SERVER: _part(_encoded(server))}


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """
    One limit, as configured.

    :ivar key: what is counted together; nothing counts all together.
    :ivar allowance: of messages; ``None`` limits streams only.
    :ivar concurrent_streams: 0 for any number.
    :ivar methods: what is charged, and nothing else; ``None`` charges everything, apart by weight.
    :ivar tools: calls of these tools are charged, and nothing else.
    :ivar servers: requests to these servers are looked at, and no others.
    :ivar wait_s: how long a request may be held instead of being refused.
    """

    name: str
    key: tuple[KeyPart, ...]
    allowance: Allowance | None = None
    concurrent_streams: int = 0
    methods: NamePatterns | None = None
    tools: NamePatterns | None = None
    servers: NamePatterns | None = None
    wait_s: float = 0.0
    _of_client: tuple[KeyPart, ...] = field(init=False, repr=False, compare=False)
    _of_call: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_client = tuple(part for part in self.key if part not in (KeyPart.METHOD, KeyPart.TOOL))
        object.__setattr__(self, "_of_client", of_client)
        object.__setattr__(self, "_of_call", of_client != self.key)

    def concerns(self, server: str) -> bool:
        """Whether requests to a server are looked at."""
        return self.servers is None or self.servers.matches(server)

    def weight(self, call: Call) -> Weight:
        """How a call is charged. What could not be read is charged by every limit."""
        method = call.method
        if method == UNREAD.method:
            return Weight.WHOLE
        if self.methods is not None and not self.methods.matches(method):
            return Weight.NOTHING
        if self.tools is not None and not (method == _TOOLS_CALL and self.tools.matches(call.name)):
            return Weight.NOTHING
        return Weight.LIGHT if self.methods is None and _is_light(method) else Weight.WHOLE

    def client_key(self, parts: Mapping[KeyPart, bytes]) -> bytes:
        """The beginning of the keys of one client, of its `client_parts`."""
        return _bounded(b"".join([parts[part] for part in self._of_client]))

    def key_of(self, client_key: bytes, call: Call) -> bytes:
        """The key of a call; only that of a tool call has the tool in it."""
        if not self._of_call:
            return client_key
        key = client_key
        if KeyPart.METHOD in self.key:
            key += _part(_encoded(call.method))
        if KeyPart.TOOL in self.key:
            key += _part(_encoded(call.name) if call.method == _TOOLS_CALL else b"")
        return _bounded(key)


def _is_light(method: str) -> bool:
    return method in _LIGHT or method.endswith("/list") or method.startswith("notifications/")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _part(text: bytes) -> bytes:
    """With its length in front, so that no two lists of parts make the same key."""
    return b"%d:%b" % (len(text), text)


def _bounded(key: bytes) -> bytes:
    return key if len(key) <= _MAX_KEY_BYTES else b"#" + hashlib.sha256(key).digest()
