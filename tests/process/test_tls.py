"""TLS on both sides: upstreams are verified, always; clients reach an ``ssl:`` listener."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.process.certificates import Authority
from tests.process.peers import PATIENCE_S, Line, Upstream, events, talking, upstream
from tests.process.stage import Gate, Running

from mcpgate.testing import request

NAME = "mcp.test"
BIG_BYTES = 3 << 20


@dataclass
class Stage:
    """A gateway with an ``ssl:`` listener, before upstreams of every kind."""

    gate: Gate
    running: Running
    trust: ssl.SSLContext
    verified: Upstream

    def call(self) -> Line:
        """A client's connection."""
        plain = socket.create_connection(("127.0.0.1", self.gate.port), PATIENCE_S)
        return Line(self.trust.wrap_socket(plain, server_hostname=NAME))

    def ask(self, path: str) -> tuple[int, dict[str, object]]:
        """Status and JSON of an answer."""
        with self.call() as line:
            line.send(request("GET", path))
            status, _, body = line.read_answer()
            return status, json.loads(body)


def serving(certificate: tuple[Path, Path], clients: Path | None = None) -> ssl.SSLContext:
    """How an upstream speaks TLS; ``clients`` is the authority whose certificates it demands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def big(line: Line, head: bytes) -> None:
    """An answer larger than any buffer."""
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG_BYTES + b"x" * BIG_BYTES)


def silent(line: Line) -> None:
    """Take everything and say nothing."""
    line.read_to_end()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One gateway for all tests of this file."""
    folder = tmp_path_factory.mktemp("tls")
    ours, foreign = Authority(folder, "ours"), Authority(folder, "foreign")
    certificate, client = ours.sign("server", NAME, "127.0.0.1"), ours.sign("client", "client.test")
    with ExitStack() as stack:
        verified = stack.enter_context(upstream(talking(big=big, events=events), tls=serving(certificate)))
        demanding = stack.enter_context(upstream(tls=serving(certificate, clients=ours.file)))
        hanging = stack.enter_context(upstream(silent))
        trusting = f"ca_file: {ours.file}, server_name: {NAME}"
        showing = f"{trusting}, cert_file: {client[0]}, key_file: {client[1]}"
        gate = Gate(folder)
        gate.write(
            secure("by-name", verified.port, trusting),
            secure("by-address", verified.port, f"ca_file: {ours.file}"),
            secure("foreign-ca", verified.port, f"ca_file: {foreign.file}, server_name: {NAME}"),
            secure("system-cas", verified.port, f"server_name: {NAME}"),
            secure("other-name", verified.port, f"ca_file: {ours.file}, server_name: other.test"),
            secure("shown", demanding.port, showing),
            secure("not-shown", demanding.port, trusting),
            secure("hanging", hanging.port, trusting),
            listen=f'"ssl:{gate.port}:privateKey={certificate[1]}:certKey={certificate[0]}:interface=127.0.0.1"',
            rest=f"http: {{allowed_hosts: [{NAME}]}}",
        )
        running = stack.enter_context(gate.running())
        yield Stage(gate, running, ssl.create_default_context(cafile=str(ours.file)), verified)


def secure(name: str, port: int, tls: str) -> str:
    """An https server for `Gate.write`."""
    url = f"https://127.0.0.1:{port}"
    return f'{{name: {name}, upstreams: [{{url: "{url}", tls: {{{tls}}}}}], timeouts: {{connect: 700ms}}}}'


@pytest.mark.parametrize("name", ["by-name", "by-address", "shown"])
def test_a_verified_upstream_is_used(stage: Stage, name: str) -> None:
    """The authority is the file's, the name that of the configuration or of the URL; our certificate is shown."""
    assert stage.ask(f"/mcp/{name}/x") == (200, {"target": "/x"})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("foreign-ca", "connect_failed"),
        ("system-cas", "connect_failed"),
        ("other-name", "connect_failed"),
        # With TLS 1.3 the server objects after the handshake, as we see it.
        ("not-shown", "bad_answer"),
    ],
)
def test_an_upstream_that_is_not_verified_gets_nothing(stage: Stage, name: str, reason: str) -> None:
    """A foreign authority, another name, or our certificate missing where one is demanded: 502."""
    status, body = stage.ask(f"/mcp/{name}/x")
    assert (status, body["error"]["data"]["reason"]) == (502, reason)  # type: ignore[index]


def test_a_handshake_that_never_ends_is_a_connect_timeout(stage: Stage) -> None:
    """A port that accepts and then says nothing costs ``timeouts.connect``, not more."""
    began_s = time.monotonic()
    status, body = stage.ask("/mcp/hanging/x")
    assert (status, body["error"]["data"]["reason"]) == (504, "connect_timeout")  # type: ignore[index]
    assert 0.6 < time.monotonic() - began_s < 2


def test_much_passes_through_tls_on_both_sides(stage: Stage) -> None:
    """More than any buffer holds arrives whole."""
    with stage.call() as line:
        line.send(request("GET", "/mcp/by-name/big"))
        status, _, body = line.read_answer()
        assert (status, body) == (200, b"x" * BIG_BYTES)


def test_a_client_that_leaves_a_stream_is_noticed_through_tls(stage: Stage) -> None:
    """Its stream ends upstream, at once."""
    with stage.call() as line:
        line.send(request("GET", "/mcp/by-name/events", headers={"Mcp-Session-Id": "s"}))
        line.read_until(b"data: 1\n\n")
        (theirs,) = stage.verified.streams
    assert theirs.ended.wait(1)


def test_no_failure_of_the_gateway_was_logged(stage: Stage) -> None:
    """After all of the above."""
    assert "Traceback" not in stage.running.said
