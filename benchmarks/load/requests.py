"""What clients send, how long they wait for an answer, and how much they read at once."""

from __future__ import annotations

import http.client
import json
import socket

from benchmarks import messages
from benchmarks.answers import BrokenAnswer
from benchmarks.harness import START_TIMEOUT_S, Subject
from benchmarks.peers.ground import PATH

READ_BYTES = 65536
# Longer than any subject may take for one answer; a stall is an error, not a slow figure.
SILENCE_S = 15.0

_STREAM_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n"
    "Cache-Control: no-store\r\nUser-Agent: mcp-bench/1\r\nMCP-Protocol-Version: 2025-11-25\r\n"
    "{fields}\r\n"
)


def stream_request(subject: Subject, place: str = "/sse") -> bytes:
    """Return what opens the event stream at this place of the upstream."""
    fields = subject.fields.decode()
    return _STREAM_REQUEST.format(path=PATH + place, port=subject.port, fields=fields).encode()


def call_head(subject: Subject, place: str = "/mcp") -> bytes:
    """Return the head of a call to this place of the upstream."""
    return messages.call_head(PATH + place, subject.port, subject.fields)


def received_from(sock: socket.socket) -> bytes:
    """
    Return what has come, at least a byte.

    :raises BrokenAnswer: if the other end has closed.
    """
    received = sock.recv(READ_BYTES)
    if not received:
        raise BrokenAnswer("the connection was closed before the answer")
    return received


def tell_upstream(subject: Subject, target: str) -> dict[str, int]:
    """Ask something of the upstream itself, past the subject; return its counts."""
    upstream = http.client.HTTPConnection("127.0.0.1", subject.upstream_port, timeout=START_TIMEOUT_S)
    try:
        upstream.request("POST", target)
        counts: dict[str, int] = json.loads(upstream.getresponse().read())
    finally:
        upstream.close()
    return counts
