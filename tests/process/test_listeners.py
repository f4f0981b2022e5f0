"""Where clients reach the gateway, and where the gateway reaches servers: IPv4, IPv6, Unix sockets, names."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.process.peers import PATIENCE_S, Line, call, upstream
from tests.process.stage import Gate, Running, free_port, server

from mcpgate.testing import request

#: A name server of our own: Python imports this file in the child before anything else. ``both.test`` is on IPv6
#: first, as localhost is on many machines; ``silent.test`` gets no answer for longer than any test lasts.
NAMES = """\
import socket, time
real = socket.getaddrinfo
def getaddrinfo(host, *rest, **named):
    if host == "silent.test":
        time.sleep(30)
    if host != "both.test":
        return real(host, *rest, **named)
    return real("::1", *rest, **named) + real("127.0.0.1", *rest, **named)
socket.getaddrinfo = getaddrinfo
"""


@dataclass
class Stage:
    """A gateway that listens on three kinds of addresses."""

    gate: Gate
    running: Running
    socket_path: Path

    def call(self, kind: str) -> Line:
        """Connect by IPv4, IPv6 or Unix socket."""
        if kind == "unix":
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(PATIENCE_S)
            line.connect(str(self.socket_path))
            return Line(line)
        return call(self.gate.port, {"ipv4": "127.0.0.1", "ipv6": "::1"}[kind])

    def ask(self, path: str, kind: str = "ipv4") -> tuple[int, dict[str, object]]:
        """Status and JSON of an answer."""
        with self.call(kind) as line:
            line.send(request("GET", path))
            status, _, body = line.read_answer()
            return status, json.loads(body)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One gateway for all tests of this file."""
    folder = tmp_path_factory.mktemp("listeners")
    (folder / "sitecustomize.py").write_text(NAMES)
    # A path of a Unix socket may have 107 bytes, and the test's folder is long already: it is relative to it.
    gate, path = Gate(folder), folder / "gate.sock"
    with ExitStack() as stack:
        six = stack.enter_context(upstream(listener=socket.create_server(("::1", 0), family=socket.AF_INET6)))
        four = stack.enter_context(upstream())
        kinds = [f"tcp:{gate.port}:interface=127.0.0.1", rf"tcp:{gate.port}:interface=\:\:1", "unix:gate.sock"]
        gate.write(
            server("six", f"http://[::1]:{six.port}"),
            server("both", f"http://both.test:{four.port}"),
            server("silent", "http://silent.test:80", ", timeouts: {connect: 1s}"),
            server("nowhere", "http://nowhere.invalid:80"),
            server("down", free_port()),
            listen=json.dumps(kinds),
            rest="logging: {format: text}",
        )
        running = stack.enter_context(gate.running())
        yield Stage(gate, running, path)


@pytest.mark.parametrize("kind", ["ipv4", "ipv6", "unix"])
def test_clients_come_in_on_every_kind_of_address(stage: Stage, kind: str) -> None:
    """Several listen addresses are one gateway."""
    assert stage.ask("/mcp/six/x", kind) == (200, {"target": "/x"})


def test_a_name_with_several_addresses_is_tried_through(stage: Stage) -> None:
    """localhost is often on IPv6 first; a server that listens on IPv4 alone is reached all the same."""
    assert stage.ask("/mcp/both/x") == (200, {"target": "/x"})


@pytest.mark.parametrize("name", ["nowhere", "down"])
def test_a_server_that_is_not_there_is_told_at_once(stage: Stage, name: str) -> None:
    """No such name, or nobody listening: 502."""
    status, body = stage.ask(f"/mcp/{name}/x")
    assert (status, body["error"]["data"]["reason"]) == (502, "connect_failed")  # type: ignore[index]


def test_a_silent_name_server_stops_nobody_else(stage: Stage) -> None:
    """Its own server costs the connect timeout; meanwhile the others answer as ever."""
    with ExitStack() as stack:
        waiting = [stack.enter_context(stage.call("ipv4")) for _ in range(20)]
        began_s = time.monotonic()
        for line in waiting:
            line.send(request("GET", "/mcp/silent/x"))
        assert stage.ask("/mcp/six/x")[0] == 200
        assert stage.ask("/mcp/both/x")[0] == 200
        assert time.monotonic() - began_s < 0.5
        assert [line.read_answer()[0] for line in waiting] == [504] * len(waiting)
        assert 0.9 < time.monotonic() - began_s < 3


def test_first_lines_name_every_address_and_every_state(stage: Stage) -> None:
    """Which servers are up, which are not."""
    lines = {line.split()[0]: line for line in stage.running.said.splitlines() if "  ->  " in line}
    assert lines["/mcp/six"].endswith("  up")
    assert lines["/mcp/both"].endswith("  up")
    assert "DOWN" in lines["/mcp/down"]
    assert "DOWN" in lines["/mcp/nowhere"]
    assert "waiting" in lines["/mcp/silent"]
    assert "unix:gate.sock" in stage.running.said
    assert "Traceback" not in stage.running.said


def test_a_gateway_that_leaves_waits_for_no_name_server(stage: Stage) -> None:
    """With a look-up still under way it is gone as soon as its clients are served."""
    with stage.call("ipv4") as line:
        line.send(request("GET", "/mcp/silent/x"))
        assert stage.ask("/mcp/six/x")[0] == 200  # so the request before it has been read
        stage.running.signal(signal.SIGTERM)
        assert line.read_answer()[0] == 504
    assert stage.running.exit_code(5) == 0
