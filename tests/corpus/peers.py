"""The two ends of the gateway that corpus cases need: upstreams that record and lie, and a reader of answers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from dataclasses import dataclass, field

import h11
from tests.corpus.cases import Case, Step, pieces

from mcpgate.testing import GatewayUnderTest, UpstreamPeer, answer

#: Ports of the servers in the configuration of the corpus.
PORTS = {3010: "a", 3011: "b", 3014: "guarded"}
_CLEAN = {"jsonrpc": "2.0", "id": 1, "result": {"clean": True}}
_HEAD_BYTES = 1 << 20
_SLOW_S = 0.3


@dataclass
class Arrived:
    """One request as an upstream saw it; ``broken`` if its framing was."""

    server: str
    method: bytes
    target: bytes
    fields: dict[bytes, bytes]
    body: bytes = b""
    complete: bool = False
    broken: bool = False


@dataclass
class Seat:
    """One connection at an upstream, with an independent strict reader of it."""

    peer: UpstreamPeer
    server: str
    reader: h11.Connection | None = field(default_factory=lambda: _reader())
    request: Arrived | None = None
    served: int = 0
    lied: bool = False


def _reader() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)


class Upstreams:
    """
    Everything behind the gateway: good servers, of which a says what the case makes it say, once.

    :ivar requests: what arrived, in order; ``raw`` holds all bytes of it.
    """

    def __init__(self, gate: GatewayUnderTest, case: Case | None, cut: str = "whole") -> None:
        self.requests: list[Arrived] = []
        self.raw = b""
        self.seats: list[Seat] = []
        self._gate = gate
        self._case = case
        self._cut = cut

    def serve(self) -> None:
        """Read and answer until nothing more comes."""
        busy = True
        while busy:
            for peer in self._gate.peers[len(self.seats) :]:
                self.seats.append(Seat(peer, PORTS[peer.transport.getPeer().port]))
            busy = False
            for seat in self.seats:
                data = seat.peer.take()
                if data:
                    busy = True
                    self.raw += data
                    self._read(seat, data)

    def _read(self, seat: Seat, data: bytes) -> None:
        if seat.reader is None:
            return  # a tunnel
        try:
            seat.reader.receive_data(data)
            while seat.reader is not None and self._take(seat, seat.reader.next_event()):
                pass
        except h11.RemoteProtocolError:
            seat.reader = None
            if seat.request is not None:
                seat.request.broken = True

    def _take(self, seat: Seat, event: object) -> bool:
        """One event of a request; whether to ask for another."""
        if isinstance(event, h11.Request):
            request = Arrived(seat.server, event.method, event.target, dict(event.headers))
            seat.request = request
            self.requests.append(request)
            self._lie(seat, "head")
        elif isinstance(event, h11.Data) and seat.request is not None:
            seat.request.body += event.data
        elif isinstance(event, h11.EndOfMessage) and seat.request is not None:
            request, seat.request = seat.request, None
            request.complete = True
            self._answer(seat, request)
        else:
            return False
        return True

    def _answer(self, seat: Seat, request: Arrived) -> None:
        seat.served += 1
        behind = seat.reader.trailing_data[0] if seat.reader is not None else b""
        seat.reader = _reader()
        if behind:
            seat.reader.receive_data(behind)
        if self._lie(seat, "reused" if seat.served > 1 else "request"):
            return
        if request.fields.get(b"upgrade") == b"websocket":
            seat.reader = None
            seat.peer.send(_switching(request.fields[b"sec-websocket-key"]))
            return
        if request.target.endswith(b"/slow"):
            self._gate.advance(_SLOW_S)
        body = json.dumps({**_CLEAN, "path": request.target.decode("latin-1")}).encode()
        good = answer(body)
        seat.peer.send(good[: -len(body)] if request.method == b"HEAD" else good)

    def _lie(self, seat: Seat, moment: str) -> bool:
        """Give the case's own answer, if this is its moment."""
        case = self._case
        if case is None or not case.answer or seat.server != "a" or case.answers_at != moment:
            return False
        self._case = None
        seat.lied = True
        for step in case.answer:
            self._say(seat.peer, step)
        return True

    def _say(self, peer: UpstreamPeer, step: Step) -> None:
        if isinstance(step, bytes):
            for piece in pieces(step, self._cut):
                peer.send(piece)
        elif "wait" in step:
            self._gate.advance(step["wait"])
        elif step["close"] == "fin":
            peer.close()
        else:
            peer.reset()


def _switching(key: bytes) -> bytes:
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(digest)
    )


@dataclass
class Answered:
    """One final answer as a strict client reads it."""

    status: int
    body: bytes = b""
    complete: bool = False


@dataclass
class Answers:
    """What came back on one connection: final answers, interim statuses, and whether anything was no HTTP."""

    final: list[Answered] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    garbage: str = ""


def read_answers(received: bytes, closed: str | None, request: bytes) -> Answers:
    """
    Read everything that a client got, with h11.

    :param closed: how the connection was closed; an orderly end completes an answer without a length.
    :param request: what the client had sent.
    """
    found = Answers()
    while received:
        client = _client(request)
        client.receive_data(received)
        try:
            if not _read_one(client, found):
                _end(client, found, closed)
                break
        except h11.RemoteProtocolError as error:
            found.garbage = str(error)
            break
        received = client.trailing_data[0]
        if client.their_state is h11.SWITCHED_PROTOCOL:
            break
    return found


def _client(request: bytes) -> h11.Connection:
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    method = "HEAD" if request.startswith(b"HEAD ") else "GET"
    upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket")] if b"websocket" in request else []
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x"), *upgrade]))
    client.send(h11.EndOfMessage())
    return client


def _read_one(client: h11.Connection, found: Answers) -> bool:
    """Read up to the end of one final answer; false if it is not all there."""
    while True:
        event = client.next_event()
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            found.final.append(Answered(101, b"", True))
            return True
        if isinstance(event, h11.InformationalResponse):
            found.interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            found.final.append(Answered(event.status_code))
        elif isinstance(event, h11.Data):
            found.final[-1].body += event.data
        elif isinstance(event, h11.EndOfMessage):
            found.final[-1].complete = True
            return True
        else:
            return False


def _end(client: h11.Connection, found: Answers, closed: str | None) -> None:
    """The connection's end may be the answer's; if it is not, the answer stays incomplete."""
    if closed == "fin" and client.their_state is h11.SEND_BODY:
        with contextlib.suppress(h11.RemoteProtocolError):
            client.receive_data(b"")
            _read_one(client, found)
