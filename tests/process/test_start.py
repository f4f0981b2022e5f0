"""Starting: what is printed, every fault as one clear line, and nothing left behind by a start that fails."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.peers import ask, upstream
from tests.process.stage import ROOT, TWISTD, Gate, environ, free_port, server, wait_until

from mcpgate import __version__
from mcpgate.testing import request

BAD = """\
listen: tcp:8700:interface=127.0.0.1
lissten: tcp:8700
http: {max_header_bytes: much}
servers:
  - name: x
    upstreams: [{url: "ftp://127.0.0.1:1"}]
"""


def run(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run twistd to its end: exit code, and all lines that it printed."""
    done = subprocess.run(
        [TWISTD, *arguments],
        cwd=folder,
        env=environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout.splitlines()


def shipped_config(gate: Gate) -> str:
    """The file that `make run` uses, on ports that are free here."""
    text = (ROOT / "etc" / "gate.yaml").read_text()
    demo = free_port()
    for shipped, ours in {8700: gate.port, 8701: gate.admin_port, 8710: demo}.items():
        text = text.replace(f"#listen: tcp:{shipped}:", f"listen: tcp:{ours}:").replace(f":{shipped}", f":{ours}")
    return text.replace("  #format: auto", "  format: text")  # as on a terminal


def test_the_shipped_file_runs_as_it_is(gate: Gate) -> None:
    """It prints version, addresses, the state of each server, that nobody is asked for a token, and a line to paste."""
    gate.config.write_text(shipped_config(gate))
    with gate.running() as running:
        said = running.said
        assert f"mcpgate {__version__}" in said
        assert f"http://127.0.0.1:{gate.port}" in said
        assert f"http://127.0.0.1:{gate.admin_port}" in said
        assert next(line for line in said.splitlines() if "/mcp/demo  ->" in line).endswith("  up")
        assert "!! AUTHENTICATION IS OFF" in said
        pasted = next(line for line in said.splitlines() if "claude mcp add" in line)
        url = pasted.split()[-1]
        assert url == f"http://127.0.0.1:{gate.port}/mcp/demo/mcp"
        body = b'{"jsonrpc":"2.0","id":1,"method":"server/discover"}'
        status, head, _ = ask(gate.port, request(target="/mcp/demo/mcp", body=body))
        assert b"Mcpgate-Error" not in head
        assert status < 500


def test_the_made_admin_token_is_for_its_owner_alone_and_does_what_it_says(gate: Gate) -> None:
    """The first start makes var/admin.token, names it, and only with it a reload is done."""
    gate.write()
    with gate.running() as running:
        assert "config OK: 0 servers" in running.said
        token_file = gate.folder / "var" / "admin.token"
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        assert "var/admin.token" in running.said
        bearer = {"Authorization": f"Bearer {token_file.read_text().strip()}"}
        assert ask(gate.admin_port, request("POST", "/admin/reload"))[0] == 401
        status, _, body = ask(gate.admin_port, request("POST", "/admin/reload", headers=bearer))
        assert (status, json.loads(body)["success"]) == (200, True)
        first = token_file.read_bytes()
        gate.config.write_text(BAD)
        status, _, body = ask(gate.admin_port, request("POST", "/admin/reload", headers=bearer))
        assert status == 422
        assert len(json.loads(body)["faults"]) == 3
    gate.write()
    with gate.running():
        assert token_file.read_bytes() == first


def test_a_good_file_is_checked_in_one_line(gate: Gate) -> None:
    """``-t`` counts servers and replicas, opens nothing and exits with 0."""
    gate.write(server("a", 1), server("b", 2))
    with socket.create_server(("127.0.0.1", gate.port)):
        assert run(gate.folder, "-n", "mcpgate", "-c", "gate.yaml", "-t") == (0, ["OK: 2 servers, 2 replicas"])
    assert os.listdir(gate.folder) == ["gate.yaml"]


@pytest.mark.parametrize("arguments", [["mcpgate", "-t"], ["-n", "mcpgate"], ["mcpgate"]], ids=" ".join)
def test_every_fault_of_a_file_is_one_line_and_nothing_starts(gate: Gate, arguments: list[str]) -> None:
    """Each fault stands with line and column and its key, exit code 1, no pid file, no traceback."""
    gate.config.write_text(BAD)
    code, lines = run(gate.folder, *arguments, "-c", "gate.yaml")
    assert code == 1
    faults = [line for line in lines if line.startswith("gate.yaml:")]
    assert [fault.split(": ")[1] for fault in faults] == [
        "lissten",
        "http.max_header_bytes",
        "servers.0.upstreams.0.url",
    ]
    assert [fault.split(":")[1] for fault in faults] == ["2", "3", "6"]
    assert "did you mean listen" in faults[0]
    assert len(lines) == len(faults) + 1, lines
    assert os.listdir(gate.folder) == ["gate.yaml"]


@pytest.mark.parametrize(("options", "taken"), [(["-n"], "port"), ([], "admin_port")], ids=["-n", "daemon"])
def test_a_taken_port_is_one_line(gate: Gate, options: list[str], taken: str) -> None:
    """Which address, and why; exit code 1, no pid file, no traceback, nothing left running."""
    gate.write()
    with socket.create_server(("127.0.0.1", getattr(gate, taken))):
        code, lines = run(gate.folder, *options, "mcpgate", "-c", "gate.yaml")
    assert code == 1
    assert len(lines) == 1, lines
    assert f"{getattr(gate, taken)}" in lines[0]
    assert "something else" in lines[0]
    assert not list(gate.folder.glob("*.pid"))


def test_relative_paths_start_at_the_run_directory(gate: Gate, tmp_path: Path) -> None:
    """Access log, token and files of the configuration are looked for there, whatever the current folder is."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "key").write_text("secret-1\n")
    with upstream() as peer:
        gate.write(
            server("a", peer.port, ", headers: {set_file: {X-Key: key}}"), rest="logging: {access: 'file:access.log'}"
        )
        with gate.running("--rundir", str(elsewhere)):
            ask(gate.port, request("GET", "/mcp/a/path"))
            log = elsewhere / "access.log"
            wait_until(lambda: log.read_bytes(), "the access line")
            assert json.loads(log.read_bytes())["path"] == "/mcp/a/path"
        assert (elsewhere / "var" / "admin.token").exists()
        assert not (gate.folder / "var").exists()


@pytest.mark.parametrize(("options", "in_the_way"), [(["-n"], "var"), ([], "access.log")], ids=["-n", "daemon"])
def test_what_cannot_be_written_is_named_at_start(gate: Gate, in_the_way: str, options: list[str]) -> None:
    """A file where a folder belongs, or the other way round: one line that names the path, and exit code 1."""
    gate.write(rest="logging: {access: 'file:access.log'}")
    if in_the_way == "var":
        (gate.folder / "var").write_text("")
    else:
        (gate.folder / "access.log").mkdir()
    code, lines = run(gate.folder, *options, "mcpgate", "-c", "gate.yaml")
    assert code == 1
    assert len(lines) == 1, lines
    assert in_the_way in lines[0]
    assert not list(gate.folder.glob("*.pid"))


@pytest.mark.parametrize("reactor", ["epoll", "select"])
def test_a_stock_reactor_serves_too(gate: Gate, reactor: str) -> None:
    """Whoever names a reactor gets it, and the gateway runs on it."""
    with upstream() as peer:
        gate.write(server("a", peer.port))
        with gate.running("-r", reactor):
            assert ask(gate.port, request("GET", "/mcp/a/x"))[2] == b'{"target":"/x"}'


@contextlib.contextmanager
def daemon(gate: Gate) -> Iterator[tuple[int, bytes]]:
    """Start without -n: the pid in the pid file, and what the command printed before it let go of stdout."""
    starter = subprocess.Popen(
        [TWISTD, "mcpgate", "-c", "gate.yaml"],
        cwd=gate.folder,
        env=environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    pid = 0
    try:
        assert starter.wait(30) == 0
        wait_until(lambda: is_ready(gate), "readiness")
        pid = int((gate.folder / "twistd.pid").read_text())
        assert starter.stdout is not None
        printed = starter.communicate(timeout=5)[0]
        yield pid, printed
    finally:
        starter.stdout.close()  # type: ignore[union-attr]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or starter.pid, signal.SIGKILL)


def test_a_daemon_serves_and_is_ended_through_its_pid_file(gate: Gate) -> None:
    """
    Without -n the command comes back and holds no terminal or pipe, though access lines go to stdout by default;
    SIGTERM to the pid in the file ends it.
    """
    with upstream() as peer:
        gate.write(server("a", peer.port), rest="drain: {timeout: 1s}")
        with daemon(gate) as (pid, printed):
            assert printed == b""
            assert ask(gate.port, request("GET", "/mcp/a/x"))[2] == b'{"target":"/x"}'
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end")
        assert not (gate.folder / "twistd.pid").exists()
        assert "Traceback" not in (gate.folder / "twistd.log").read_text()


def is_ready(gate: Gate) -> bool:
    """Whether the admin listener says so."""
    try:
        return ask(gate.admin_port, request("GET", "/readyz"))[0] == 200
    except OSError:
        return False
