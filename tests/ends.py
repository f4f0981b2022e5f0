"""
The two ends of a gateway, read by somebody else's parser: h11 says what was sent, and whether it was finished.

It refuses what is not valid HTTP, so every test that reads here also checks that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import h11

from mcpgate.pipeline import Pipeline
from mcpgate.policy.origin import AllowedOrigins
from mcpgate.policy.routing import RouteTable
from mcpgate.snapshot import Route
from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer

SSE = {"Accept": "text/event-stream"}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Message:
    """
    A request or an answer as it arrived.

    :ivar fields: names in lower case, values as they came, in order.
    :ivar complete: whether its end was seen, by its own framing.
    """

    fields: list[tuple[bytes, bytes]]
    method: bytes = b""
    target: bytes = b""
    status: int = 0
    phrase: bytes = b""
    version: bytes = b""
    body: bytes = b""
    complete: bool = False
    interim: list[int] = field(default_factory=list)

    def __getitem__(self, name: str) -> bytes:
        """All values of one field, joined as RFC 9110 section 5.3 says; ``b""`` if there is none."""
        return b", ".join(value for known, value in self.fields if known == name.lower().encode())

    def __contains__(self, name: str) -> bool:
        return any(known == name.lower().encode() for known, _ in self.fields)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answers(received: bytes, closed: str | None = None, methods: Iterable[str] = ("GET",)) -> list[Message]:
    """
    What a client made of the bytes it received.

    :param closed: how the connection ended, as in `Client.closed`.
    :param methods: of its requests, in order; only these many answers are read.
    """
    connection = h11.Connection(our_role=h11.CLIENT)
    if received:  # for h11 an empty piece is the end
        connection.receive_data(received)
    if closed == "fin":
        connection.receive_data(b"")
    found: list[Message] = []
    for method in methods:
        if found:
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                break
            connection.start_next_cycle()
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        message = _read(connection)
        if message is None:
            break
        found.append(message)
    return found


def answer_at(client: Client, method: str = "GET") -> Message:
    """The one answer that a client has received so far; there must be one."""
    found = answers(client.received, client.closed, [method])
    assert found, f"no answer in {client.received!r}"
    return found[0]


def requests(received: bytes) -> list[Message]:
    """The requests that an upstream has received on one connection."""
    connection = h11.Connection(our_role=h11.SERVER)
    if received:
        connection.receive_data(received)
    found: list[Message] = []
    while (message := _read(connection)) is not None:
        found.append(message)
        if str(connection.their_state) not in ("DONE", "MIGHT_SWITCH_PROTOCOL"):
            break
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()
    return found


def request_at(peer: UpstreamPeer) -> Message:
    """The newest request that an upstream has received; there must be one."""
    found = requests(peer.received)
    assert found, f"no request in {peer.received!r}"
    return found[-1]


def _read(connection: h11.Connection) -> Message | None:
    message: Message | None = None
    interim: list[int] = []
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            if "peer" in str(error) and "closed" in str(error):
                return message
            raise
        if isinstance(event, h11.InformationalResponse):
            interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            message = Message(
                list(event.headers), status=event.status_code, phrase=event.reason, version=event.http_version
            )
            message.interim = interim
        elif isinstance(event, h11.Request):
            message = Message(list(event.headers), method=event.method, target=event.target, version=event.http_version)
        elif isinstance(event, h11.Data) and message is not None:
            message.body += event.data
        elif isinstance(event, h11.EndOfMessage) and message is not None:
            message.complete = True
            return message
        else:  # NEED_DATA, PAUSED or ConnectionClosed
            return message


def chunked(*payloads: bytes) -> bytes:
    """Payloads as chunks, one each."""
    return b"".join(b"%x\r\n%b\r\n" % (len(payload), payload) for payload in payloads)


def server(more: str = "", url: str = "http://127.0.0.1:3010", name: str = "x") -> str:
    """A configuration with one server; ``more`` are further lines of its entry, without indentation."""
    lines = "".join(f"    {line}\n" for line in more.splitlines())
    return f'servers:\n  - name: {name}\n    upstreams: [{{url: "{url}"}}]\n{lines}'


def gateway(more: str = "", top: str = "", url: str = "http://127.0.0.1:3010") -> GatewayUnderTest:
    """A gateway with one server ``x``; ``top`` are further lines of the configuration itself."""
    return GatewayUnderTest(f"{top}\n{server(more, url)}")


def asked(gate: GatewayUnderTest, request: bytes) -> tuple[Client, UpstreamPeer]:
    """Send a request on a new connection; the two ends of its exchange."""
    client = gate.connect()
    client.send(request)
    return client, gate.upstream()


def refused(gate: GatewayUnderTest, request: bytes) -> Message:
    """Send a request that must not reach any upstream; the answer, which has to be whole."""
    before = len(gate.peers)
    client = gate.connect()
    client.send(request)
    answer = answer_at(client, "HEAD" if request.startswith(b"HEAD ") else "GET")
    assert answer.complete
    assert len(gate.peers) == before
    return answer


def behind(gate: GatewayUnderTest, local: Any, *paths: bytes, **parts: Any) -> None:
    """Put an own tree behind these paths of the data listener, and nothing else."""
    present = gate.gateway.pipeline
    routes = RouteTable({path: Route(None, 200_000) for path in paths})
    snapshot = replace(present.snapshot, routes=routes, origins=AllowedOrigins(["localhost"]))
    gate.gateway.door.pipeline = Pipeline(snapshot, replace(present.parts, local=local, **parts))


def timers(gate: GatewayUnderTest) -> list[Any]:
    """What waits for its time, but for the one timer that measures how late timers are."""
    return [call for call in gate.reactor.getDelayedCalls() if "ReactorLag" not in repr(call)]


def anonymous(data: bytes) -> bytes:
    """What was sent, less the ids of requests, which are never the same."""
    return re.sub(rb"X-Request-Id: [^\r]*\r\n", b"", data)
