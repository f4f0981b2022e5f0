"""A gateway's registry for those who join: real HTTP on loopback, in threads, with scripted answers."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 10.0
TOKEN = "mcpg_secret"
Said = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Heard:
    """One request."""

    method: str
    path: str
    body: Any
    token: str


@dataclass
class Registrar:
    """
    What stands in for a gateway.

    :ivar beat_s: the interval it asks for; ``None``: it names none.
    :ivar answers: what it says to the next requests instead of what a gateway would.
    :ivar then: called with each request before it is answered.
    """

    port: int = 0
    beat_s: float | None = 0.02
    answers: list[Said] = field(default_factory=list)
    then: Callable[[Heard], object] = lambda _: None
    heard: queue.SimpleQueue[Heard] = field(default_factory=queue.SimpleQueue)
    entries: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """As given to those who join."""
        return f"http://127.0.0.1:{self.port}"

    def take(self, kind: str) -> Heard:
        """The next request of a kind: ``PUT``, ``beat`` or ``DELETE``; others before it are dropped."""
        while True:
            heard = self.heard.get(timeout=PATIENCE_S)
            if kind == ("beat" if heard.path.endswith("/heartbeat") else heard.method):
                return heard

    def left(self) -> list[str]:
        """The methods of all that was heard and not taken."""
        methods = []
        while not self.heard.empty():
            methods.append(self.heard.get().method)
        return methods

    def answer(self, heard: Heard) -> Said:
        """What a gateway would say, unless something else is scripted."""
        self.heard.put(heard)
        self.then(heard)
        return self.answers.pop(0) if self.answers else self._usual(heard)

    def _usual(self, heard: Heard) -> Said:
        path = heard.path.removesuffix("/heartbeat")
        is_new = path not in self.entries
        if is_new and (heard.path != path or heard.method == "DELETE"):
            return 404, {"title": "Not Found", "detail": "no such registration; register again"}
        if heard.method == "DELETE":
            del self.entries[path]
            return 200, {"state": "draining"}
        if heard.path == path:
            self.entries[path] = heard.body
        told: dict[str, Any] = {"state": "passing", "path": f"/mcp/{path.split('/')[3]}"}
        return (201 if is_new else 200), told | ({"heartbeatSeconds": self.beat_s} if self.beat_s else {})


@contextmanager
def served(registrar: Registrar) -> Iterator[Registrar]:
    """Serve it, on its port if it has one."""

    class Door(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, told = registrar.answer(Heard(self.command, self.path, json.loads(raw) if raw else None, token))
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if "retry" in told:
                self.send_header("Retry-After", told["retry"])
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_DELETE = _serve

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", registrar.port), Door)
    server.daemon_threads = True
    registrar.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield registrar
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """A port where nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
