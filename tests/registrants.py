"""Who registers at a gateway in memory, and who looks what has come of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.ends import SSE, STREAM_HEAD, Message, answer_at, chunked
from twisted.internet.defer import Deferred

from mcpgate.registry.store import Key, MemoryStore, Row
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

#: The operator that a gateway of the kit knows.
OPERATOR = "admin-token"
NETWORKS = "registry: {allow_networks: [127.0.0.0/8, 10.0.0.0/8]}\n"
#: A server of the configuration, on port 3010.
X = '  - {name: x, upstreams: [{url: "http://127.0.0.1:3010"}]}\n'
CONFIG = f"{NETWORKS}drain: {{timeout: 10s}}\nservers:\n{X}"
_EVENT = chunked(b"data: 1\n\n")


class SlowStore(MemoryStore):
    """A store whose disk takes its time: everything waits, in order, for `work`."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[Deferred[None], Any]] = []

    def put(self, rows: Sequence[Row]) -> Deferred[None]:
        return self._await(lambda: super(SlowStore, self).put(rows))

    def delete(self, keys: Sequence[Key]) -> Deferred[None]:
        return self._await(lambda: super(SlowStore, self).delete(keys))

    def _await(self, write: Any) -> Deferred[None]:
        self._waiting.append((Deferred(), write))
        return self._waiting[-1][0]

    def work(self, count: int = 1_000) -> None:
        """Do the oldest writes."""
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        for waiting, write in done:
            write().chainDeferred(waiting)


def gateway(config: str = CONFIG, **parts: Any) -> GatewayUnderTest:
    """A gateway that servers may join."""
    return GatewayUnderTest(config, **parts)


def where(server: str, replica: str = "a") -> str:
    """The address of a registration."""
    return f"/v1/servers/{server}/replicas/{replica}"


def at(port: int, **more: object) -> dict[str, object]:
    """A registration of what listens on a port."""
    return {"url": f"http://127.0.0.1:{port}", **more}


def sent(
    gate: GatewayUnderTest, method: str, target: str, body: object = None, token: str = OPERATOR, **fields: str
) -> Client:
    """A request at the admin listener; its answer may come later. An underscore in a field stands for a hyphen."""
    client = gate.connect(admin=True)
    payload = b"" if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} | {name.replace("_", "-"): value for name, value in fields.items()}
    client.send(request(method, target, payload, headers))
    return client


def told(gate: GatewayUnderTest, method: str, target: str, body: object = None, **fields: str) -> Message:
    """A request at the admin listener, and its answer."""
    return answer_at(sent(gate, method, target, body, **fields), method)


def join(gate: GatewayUnderTest, server: str, port: int, replica: str = "a", **more: object) -> Message:
    """Register, and be taken; and the turn after, in which the replica is probed."""
    got = told(gate, "PUT", where(server, replica), at(port, **more))
    gate.advance(0)
    assert got.status in (200, 201), got
    return got


def beat(gate: GatewayUnderTest, server: str, replica: str = "a", **said: str) -> Message:
    """Say that a replica is there."""
    return told(gate, "PUT", f"{where(server, replica)}/heartbeat", said or None)


def state(gate: GatewayUnderTest, server: str, replica: str = "a") -> str:
    """The state of a registration; empty if there is none."""
    got = told(gate, "GET", where(server, replica))
    return "" if got.status == 404 else str(got.json["state"])


def refusal(got: Message) -> tuple[int, str]:
    """How, and why, something was refused."""
    return got.status, got["mcpgate-error"].decode()


def shown(gate: GatewayUnderTest, **fields: str) -> dict[str, Any]:
    """What discovery shows, by name."""
    client = gate.connect()
    client.send(request("GET", "/mcp/discovery", headers=fields))
    return {each["name"]: each for each in answer_at(client).json["mcpServers"]}


def called(gate: GatewayUnderTest, path: str, **fields: str) -> tuple[int, int]:
    """Call below a path: the status of the answer, and the port at which the call arrived (0: at none)."""
    for peer in gate.peers:
        peer.take()
    client = gate.connect()
    client.send(request(target=path, body=b"{}", headers={name.replace("_", "-"): it for name, it in fields.items()}))
    reached = [peer for peer in gate.peers if peer.closed is None and peer.received]
    for peer in reached:
        peer.send(answer())
    return answer_at(client).status, reached[0].transport.getPeer().port if reached else 0


def stream(gate: GatewayUnderTest, server: str) -> tuple[Client, UpstreamPeer]:
    """Open a stream, on which something has come already."""
    for peer in gate.peers:
        peer.take()
    client = gate.connect()
    client.send(request("GET", f"/mcp/{server}/mcp", headers=SSE))
    (peer,) = [peer for peer in gate.peers if peer.closed is None and peer.received]
    peer.send(STREAM_HEAD + _EVENT)
    assert client.closed is None
    return client, peer


def goes_on(ends: tuple[Client, UpstreamPeer]) -> bool:
    """Whether what the server says still arrives."""
    client, peer = ends
    client.take()
    if peer.closed is None:
        peer.send(_EVENT)
    return client.closed is None and client.received == _EVENT


def events(client: Client) -> list[tuple[str, Any]]:
    """What a feed has told since the last look: the kind of each event, and its content."""
    found, kind = [], ""
    for line in client.take().decode().splitlines():
        if line.startswith("event:"):
            kind = line[6:].strip()
        if line.startswith("data:"):
            found.append((kind, json.loads(line[5:])))
    return found


def following(gate: GatewayUnderTest, **fields: str) -> Client:
    """Somebody who reads the events of discovery, from now on."""
    client = gate.connect()
    headers = SSE | {name.replace("_", "-"): value for name, value in fields.items()}
    client.send(request("GET", "/mcp/discovery/events", headers=headers))
    return client


def news(gate: GatewayUnderTest, client: Client) -> list[tuple[str, str]]:
    """What a follower of discovery has been told since the last look: kinds of events and names of servers."""
    gate.advance(0.01)
    return [(kind, content.get("name", "")) for kind, content in events(client)]


def metric(gate: GatewayUnderTest, name: str) -> float:
    """The value of a series; all its labels added up."""
    lines = told(gate, "GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)
