"""
Real MCP clients: they greet, ask for the tools, and call one of them again and again. Raw sockets, one epoll.

They speak either era: a session (2025-11-25: ``initialize``, ``notifications/initialized``), or none (2026-07-28:
``server/discover``, and every request says for itself who asks). They take answers as JSON and as event streams, and
check each: its id, and the text that was to be said again, which carries a number of its own.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import BrokenAnswer
from benchmarks.mcp_answers import Reply, read_reply
from benchmarks.mcp_server import META, STATELESS, TOOL
from benchmarks.peers.ground import Endpoint

READ_BYTES = 65536
# Longer than any subject may take for one answer; a stall is an error, not a slow figure. Sixteen calls at once take
# some gateways seconds.
SILENCE_S = 30.0
SESSION = "2025-11-25"

_CLIENT = {"name": "mcp-bench", "version": "1"}
_WHO = {META + "protocolVersion": STATELESS, META + "clientInfo": _CLIENT, META + "clientCapabilities": {}}
_GREETING = {"protocolVersion": SESSION, "capabilities": {}, "clientInfo": _CLIENT}
_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json, text/event-stream\r\n"
    "Accept-Encoding: identity\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n"
    "User-Agent: mcp-bench/1\r\n{fields}"
)
# The client's port and the number of the call: no two calls under way are to say the same.
_TEXT = "%05d %08d " + "x" * 16


@dataclass(frozen=True)
class Pending:
    """A call that is not answered: its id, what is to be said again, and what came so far."""

    number: int
    text: str
    received: bytes = b""


class Client:
    """
    One client on one keep-alive connection.

    :ivar session: the id of its session; None without one.
    :ivar tool: what it calls; whoever knows it from another client need not ask.
    """

    def __init__(self, endpoint: Endpoint, stateless: bool = False, tool: str = "") -> None:
        self._endpoint = endpoint
        self.sock = _connected(endpoint)
        fields = endpoint.fields.decode()
        self._head = _HEAD.format(path=endpoint.path, port=endpoint.port, fields=fields).encode()
        self._mark = self.sock.getsockname()[1]
        self._stateless = stateless
        self.session: bytes | None = None
        self._version = ""
        self.tool = tool
        self._number = 0
        self._pending: Pending | None = None

    def greet(self) -> None:
        """
        Begin a session, if this client has one.

        :raises BrokenAnswer: if an answer is not as it should be.
        :raises OSError: if there is no connection any more, or no answer.
        """
        if self._stateless:
            return
        reply = self._exchange(self._request("initialize", _GREETING))
        agreed = reply.answer_to(self._number)["protocolVersion"]
        if agreed != SESSION:
            raise BrokenAnswer(f"{SESSION} was asked for, {agreed} is spoken")
        self.session, self._version = reply.session, agreed
        told = self._exchange(self._message({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        if told.status != 202:
            raise BrokenAnswer(f"a notification was answered with {told.status} {told.body[:200]!r}")

    def find_tool(self) -> str:
        """
        Ask which tools there are, without a session also who is there; return the name under which ours is offered.

        :raises BrokenAnswer: if it is not, or an answer is not as it should be.
        """
        if self._stateless and STATELESS not in self._ask("server/discover")["supportedVersions"]:
            raise BrokenAnswer(f"{STATELESS} is not spoken")
        names = [tool["name"] for tool in self._ask("tools/list")["tools"]]
        ours = [name for name in names if name.endswith(TOOL)]
        if len(ours) != 1:
            raise BrokenAnswer(f"one tool {TOOL!r} is expected, there are {names}")
        self.tool = str(ours[0])
        return self.tool

    def come_back(self) -> None:
        """Connect anew if the other end has closed in the meantime: it may, after some seconds without a request."""
        readable, _, _ = select.select([self.sock], [], [], 0)
        if readable:
            self.sock.close()
            self.sock = _connected(self._endpoint)

    def call(self) -> None:
        """
        Call the tool and wait for its answer.

        :raises BrokenAnswer: if it is not the answer to this call.
        """
        self.send_call()
        while not self.take(self.receive()):
            pass

    def send_call(self) -> None:
        """Call the tool; the answer is to be given to `take`."""
        text = _TEXT % (self._mark, self._number + 1)
        request = self._request("tools/call", {"name": self.tool, "arguments": {"t": text}})
        self._pending = Pending(self._number, text)
        self.sock.sendall(request)

    def take(self, received: bytes) -> bool:
        """
        Take bytes of the answer; return True when it is complete.

        :raises BrokenAnswer: if it is not the answer to the call.
        """
        pending = self._pending
        if pending is None:
            raise BrokenAnswer(f"nothing was asked, but this came: {received[:200]!r}")
        received = pending.received + received
        reply = read_reply(received)
        if reply is None:
            self._pending = Pending(pending.number, pending.text, received)
            return False
        self._pending = None
        result = reply.answer_to(pending.number)
        if self._stateless and result.get("resultType") != "complete":
            raise BrokenAnswer(f"not an answer of {STATELESS}: {json.dumps(result)[:300]}")
        check_echo(result, pending.text)
        return True

    def close(self) -> None:
        """Leave without a word, as most clients do."""
        self.sock.close()

    def _ask(self, method: str) -> dict[str, Any]:
        return self._exchange(self._request(method, {})).answer_to(self._number)

    def _request(self, method: str, params: dict[str, Any]) -> bytes:
        self._number += 1
        if self._stateless:
            params = {**params, "_meta": _WHO}
        return self._message({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})

    def _message(self, message: dict[str, Any]) -> bytes:
        body = json.dumps(message, separators=(",", ":")).encode()
        return self._head + self._fields(message) + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def _fields(self, message: dict[str, Any]) -> bytes:
        if self._stateless:
            lines = f"MCP-Protocol-Version: {STATELESS}\r\nMcp-Method: {message['method']}\r\n"
            name = message["params"].get("name")
            return (lines + (f"Mcp-Name: {name}\r\n" if name else "")).encode()
        version = f"MCP-Protocol-Version: {self._version}\r\n".encode() if self._version else b""
        return version + (b"Mcp-Session-Id: %b\r\n" % self.session if self.session else b"")

    def _exchange(self, request: bytes) -> Reply:
        self.sock.sendall(request)
        received = b""
        while (reply := read_reply(received)) is None:
            received += self.receive()
        return reply

    def receive(self) -> bytes:
        """Return what has come, at least a byte."""
        received = self.sock.recv(READ_BYTES)
        if not received:
            raise BrokenAnswer("a keep-alive connection was closed")
        return received


def _connected(endpoint: Endpoint) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", endpoint.port), timeout=SILENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def is_answering(endpoint: Endpoint) -> bool:
    """
    Tell whether a whole conversation goes well, up to an answered call.

    :raises BrokenAnswer: if an answer is not as it should be.
    :raises OSError: if nobody listens or answers.
    """
    with contextlib.closing(Client(endpoint)) as client:
        client.greet()
        client.find_tool()
        client.call()
    return True


def check_echo(result: dict[str, Any], text: str) -> None:
    """
    Insist on exactly this text.

    :raises BrokenAnswer: if the result says anything else.
    """
    content = result.get("content", [])
    said = content[0].get("text") if len(content) == 1 else None
    if said != text or result.get("isError"):
        raise BrokenAnswer(f"{text!r} was to be said again, this came: {json.dumps(result)[:300]}")


class Crowd:
    """Clients, greeted already, each of which calls again as soon as it is answered."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients: dict[int, Client] = {}
        self._epoll = select.epoll()
        for client in clients:
            client.come_back()
            self._clients[client.sock.fileno()] = client
            self._epoll.register(client.sock.fileno(), select.EPOLLIN)

    def run(self, seconds: float) -> int:
        """
        Keep calling for so long, and wait for the answers that are then under way; return how many came.

        Before and after nothing is under way: so what was used in between was used for these answers.

        :raises BrokenAnswer: on a wrong answer, a closed connection or silence.
        """
        answered, under_way = 0, len(self._clients)
        deadline = time.monotonic() + seconds
        for client in self._clients.values():
            client.send_call()
        while under_way:
            ready = self._epoll.poll(SILENCE_S)
            if not ready:
                raise BrokenAnswer(f"no answer within {SILENCE_S:.0f} s")
            for descriptor, _ in ready:
                client = self._clients[descriptor]
                if not client.take(client.receive()):
                    continue
                answered += 1
                if time.monotonic() < deadline:
                    client.send_call()
                else:
                    under_way -= 1
        return answered

    def close(self) -> None:
        """Let the clients be; they stay connected."""
        self._epoll.close()
