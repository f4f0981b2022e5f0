"""Guests of a gateway: with which token and from where they come, what they ask for, and whether it got through."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, NamedTuple

from tests.ends import Message, answer_at, request_at
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocol

from mcpgate.net.memory import MemoryTransport
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

#: A WebSocket handshake, without who asks.
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
#: The answer to it.
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def token(guest: str) -> str:
    """The token of a guest."""
    return f"{guest}-0123456789abcdef"


def known(**guests: str) -> str:
    """The ``auth`` section of a configuration that knows these guests; values are further keys of their entries."""
    return f"auth:\n{entries(**guests)}"


def entries(**guests: str) -> str:
    """Only ``auth.tokens``."""
    lines = [
        f"    - {{id: {guest}, sha256: {sha256(token(guest).encode()).hexdigest()}{', ' * bool(more)}{more}}}\n"
        for guest, more in guests.items()
    ]
    return f"  tokens:\n{''.join(lines)}"


def bearer(guest: str, **more: str) -> dict[str, str]:
    """The header fields of a guest; an underscore in further names stands for a hyphen."""
    fields = {"Authorization": f"Bearer {token(guest)}"} if guest else {}
    return fields | {name.replace("_", "-"): value for name, value in more.items()}


def message(method: str, id_: int | str | float | None = 1, **params: object) -> bytes:
    """A JSON-RPC message; a notification if the id is ``None``."""
    told: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(told if id_ is None else {"id": id_, **told}).encode()


def call(tool: str, id_: int | str | float | None = 1) -> bytes:
    """The call of a tool."""
    return message("tools/call", id_, name=tool, arguments={})


def post(body: bytes, guest: str = "", target: str = "/mcp/x/mcp", **fields: str) -> bytes:
    """A message as a guest sends it; an underscore in the name of a field stands for a hyphen."""
    return request("POST", target, body, bearer(guest, **fields))


class Visit(NamedTuple):
    """
    One request, and what became of it.

    :ivar arrived: the request as the upstream got it; ``None`` if it got none.
    """

    answer: Message
    arrived: Message | None

    @property
    def status(self) -> int:
        """Of the answer."""
        return self.answer.status

    @property
    def reason(self) -> str:
        """Why the gateway refused it; empty if it did not."""
        return self.answer["mcpgate-error"].decode()


def visit(gate: GatewayUnderTest, sent: bytes, said: bytes | None = None, address: str = "127.0.0.1") -> Visit:
    """Send a request on a connection of its own; the upstream that gets it, if any does, says something (200)."""
    client = connect_from(gate, address)
    peer = served(gate, client, sent, said)
    told = answer_at(client, sent.split(b" ", 1)[0].decode())
    client.close()
    return Visit(told, request_at(peer) if peer is not None else None)


def served(gate: GatewayUnderTest, client: Client, sent: bytes, said: bytes | None = None) -> UpstreamPeer | None:
    """Send a request on a connection; the upstream's end that got it has answered then."""
    before = [len(peer.received) for peer in gate.peers]
    client.send(sent)
    got = [peer for peer, length in zip(gate.peers, before, strict=False) if len(peer.received) > length]
    reached = [*got, *gate.peers[len(before) :]]
    assert len(reached) <= 1
    for peer in reached:
        peer.send(answer() if said is None else said)
    return reached[0] if reached else None


def statuses(gate: GatewayUnderTest, sent: bytes, times: int, address: str = "127.0.0.1") -> list[int]:
    """The same request several times."""
    return [visit(gate, sent, address=address).status for _ in range(times)]


def connect_from(gate: GatewayUnderTest, address: str, admin: bool = False) -> Client:
    """A connection from some address, through all that looks at addresses; to the admin listener, if that is wanted."""
    kind: Any = IPv6Address if ":" in address else IPv4Address
    peer = kind("TCP", address, 40_000)
    door = gate.gateway.admin_door if admin else gate.gateway.door
    protocol = door.buildProtocol(peer)
    transport = _Distant(protocol, peer)
    gate._transports.append(transport)
    protocol.makeConnection(transport)
    client = Client(gate, transport)
    gate.settle()
    return client


class _Distant(MemoryTransport):
    """A connection from an address of its own."""

    def __init__(self, protocol: IProtocol, peer: Any) -> None:
        super().__init__(protocol, 40_000)
        self._peer = peer

    def getPeer(self) -> Any:
        return self._peer


def reload(gate: GatewayUnderTest, config: str) -> None:
    """Let the gateway follow another configuration, which must be a good one."""
    gate.config = config
    told = gate.gateway.reload()
    assert told["success"], told
    gate.settle()
