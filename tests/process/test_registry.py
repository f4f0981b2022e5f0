"""Registration at run time with real processes, sockets and disks: who may, what is kept, who is told."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.process.operators import OPEN, Operator, Told
from tests.process.peers import PATIENCE_S, Line, ask, call, events, talking, upstream
from tests.process.stage import TWISTD, Gate, environ, server, wait_until

from mcpgate.testing import request

#: A folder is looked at once a second, and read when it has looked the same twice.
FOLDER_S = 6.0
EVENTS = {"Accept": "text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
SECOND = b"9\r\ndata: 2\n\n\r\n"
#: As long as operators and clients may notice that names hang: nine in ten, since machines are shared. If they waited
#: for a name it would be seconds for all.
HUNG_P90_S = 0.05
#: Look-ups of names below ``.hang`` take longer than any test.
HANGING_NAMES = """\
import socket, time
known = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if str(host).endswith(".hang"):
        time.sleep(30)
    return known(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


def status(gate: Gate, server: str) -> int:
    """The status of a call through the gateway."""
    return ask(gate.port, request("GET", f"/mcp/{server}/x"))[0]


def open_stream(gate: Gate, name: str) -> Line:
    """An event stream through the gateway that has begun."""
    line = call(gate.port)
    line.send(request("GET", f"/mcp/{name}/events", headers=EVENTS))
    line.read_until(b"data: 1\n\n")
    return line


def with_tokens(gate: Gate, **tokens: str) -> None:
    """Put tokens for operators into the configuration; each is its own name, with what else its entry says."""
    entries = [f"{{id: {name}, sha256: {sha256(name.encode()).hexdigest()}, {more}}}" for name, more in tokens.items()]
    admin = f"admin: {{listen: 'tcp:{gate.admin_port}:interface=127.0.0.1'"
    gate.config.write_text(gate.config.read_text().replace(admin, f"{admin}, tokens: [{', '.join(entries)}]"))


# --- who may --------------------------------------------------------------------------------------------------------


def test_a_token_registers_only_what_it_is_good_for(gate: Gate) -> None:
    """Scope and names decide, in both forms, from this machine too; reading is open here."""
    gate.write(rest=OPEN)
    with_tokens(
        gate,
        reader="scopes: [read]",
        team="scopes: [register], servers: ['team-*', github-pm]",
        ops="scopes: [read, register, write], servers: ['*']",
    )
    simple = {"name": "GitHub PM", "version": "1", "basePath": "/mcp/github-pm", "host": "127.0.0.1"}
    with upstream() as peer, gate.running():
        reader, team, ops, nobody = (Operator(gate, token) for token in ("reader", "team", "ops", "nobody"))
        assert [who.put("team-a", peer.port).status for who in (nobody, reader, team)] == [401, 403, 201]
        assert team.put("elsewhere", peer.port).body["reason"] == "server_not_registrable"
        assert team.ask("POST", "/register", {**simple, "port": peer.port}).status == 201
        assert team.ask("POST", "/register", {**simple, "name": "Other", "port": peer.port}).status == 403
        assert ops.put("elsewhere", peer.port).status == 201
        assert team.ask("DELETE", "/v1/servers/elsewhere/replicas/a").status == 403
        assert team.ask("PUT", "/v1/servers/elsewhere/replicas/a/heartbeat").status == 403
        assert team.ask("POST", "/admin/reload").status == 403
        assert sorted(reader.names()) == ["elsewhere", "github-pm", "team-a"]
        assert ask(gate.admin_port, request("GET", "/v1/servers"))[0] == 200
        assert [status(gate, name) for name in ("team-a", "github-pm", "elsewhere")] == [200, 200, 200]
        assert ask(gate.port, request("PUT", "/v1/servers/x/replicas/a", b"{}"))[0] == 404


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_a_registration_survives_a_restart_and_is_reachable_at_once(gate: Gate) -> None:
    """What is there after SIGTERM, and after SIGKILL, is what was acknowledged; nobody needs to register again."""
    gate.write(rest=OPEN)
    with upstream() as peer:
        with gate.running() as running:
            assert Operator(gate).put("kept", peer.port, title="Kept", headers={"X-Key": "k"}).status == 201
            running.signal(signal.SIGTERM)
            assert running.exit_code() == 0
        with gate.running() as running:
            assert status(gate, "kept") == 200
            entry = Operator(gate).ask("GET", "/v1/servers/kept/replicas/a").body
            assert (entry["title"], entry["headers"]) == ("Kept", ["X-Key"])
            assert entry["state"] in ("unverified", "passing")
            assert Operator(gate).put("second", peer.port).status == 201
            running.signal(signal.SIGKILL)
        with gate.running() as running:
            assert [status(gate, name) for name in ("kept", "second")] == [200, 200]
            assert Operator(gate).ask("DELETE", "/v1/servers/kept/replicas/a").status == 200
        with gate.running() as running:
            assert Operator(gate).names() == ["second"]
            assert "Traceback" not in running.said


def test_a_store_that_is_locked_stops_registrations_alone(gate: Gate) -> None:
    """While another process holds it, writes are 503, beats and calls go on; then it is used again."""
    with upstream() as peer:
        gate.write(server("own", peer.port), rest=OPEN)
        with gate.running() as running:
            operator = Operator(gate)
            assert operator.put("early", peer.port).status == 201
            with closing(sqlite3.connect(gate.folder / "var" / "registry.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                refusing = threading.Thread(target=lambda: refused.append(Operator(gate).put("late", peer.port)))
                refused: list[Told] = []
                refusing.start()
                began_s = time.monotonic()
                while refusing.is_alive():
                    assert [status(gate, name) for name in ("own", "early")] == [200, 200]
                    assert operator.ask("PUT", "/v1/servers/early/replicas/a/heartbeat").status == 200
                    assert time.monotonic() - began_s < PATIENCE_S
                refusing.join()
                assert [(told.status, told.body["reason"]) for told in refused] == [(503, "store")]
                assert b"mcpgate_registry_writable 0" in operator.ask("GET", "/metrics").body
                assert status(gate, "late") == 404
                other.execute("ROLLBACK")
            assert operator.put("late", peer.port).status == 201
            assert status(gate, "late") == 200
            assert b"mcpgate_registry_writable 1" in operator.ask("GET", "/metrics").body
            assert "Traceback" not in running.said


def test_a_store_that_is_full_stops_registrations_alone(gate: Gate) -> None:
    """When the file may not grow, writes are 503; what was acknowledged is there, also after a restart."""
    with upstream() as peer:
        gate.write(server("own", peer.port), rest=f"{OPEN}\nlogging: {{access: off}}")
        large = {f"k{number}": "v" * 500 for number in range(30)}
        with gate.running(before=["prlimit", "--fsize=262144"]) as running:
            operator = Operator(gate)
            told = [operator.put(f"s{number}", 1, meta=large).status for number in range(40)]
            assert set(told) == {201, 503}
            assert status(gate, "own") == 200
            assert "Traceback" not in running.said
            kept = {f"s{number}" for number, each in enumerate(told) if each == 201}
            assert set(operator.names()) == {"own", *kept}
        with gate.running():
            assert set(Operator(gate).names()) == {"own", *kept}
            assert Operator(gate).put("more", peer.port).status == 201


def test_a_store_that_is_no_store_is_left_alone(gate: Gate) -> None:
    """With a damaged file, or a folder in its place, the gateway starts, serves what is configured and says it loudly."""
    path = gate.folder / "var" / "registry.db"
    path.parent.mkdir()
    path.write_bytes(b"This is no database. " * 500)
    with upstream() as peer:
        gate.write(server("own", peer.port), rest=OPEN)
        with gate.running() as running:
            assert status(gate, "own") == 200
            refused = Operator(gate).put("new", peer.port)
            assert (refused.status, refused.body["reason"]) == (503, "store")
            assert b"mcpgate_registry_writable 0" in Operator(gate).ask("GET", "/metrics").body
            assert "registry.db" in running.said
            assert "Traceback" not in running.said
        assert path.read_bytes().startswith(b"This is no database.")
        path.unlink()
        path.mkdir()
        with gate.running():
            assert status(gate, "own") == 200
            assert Operator(gate).put("new", peer.port).status == 503


def test_a_daemon_has_a_store(gate: Gate) -> None:
    """twistd forks before it serves: what writes the store must belong to the process that is left."""
    gate.write(rest=OPEN)
    pidfile = gate.folder / "twistd.pid"
    command = [str(TWISTD), f"--pidfile={pidfile}", "-l", "log", "mcpgate", "-c", str(gate.config)]
    with upstream() as peer:
        subprocess.run(command, cwd=gate.folder, env=environ(), stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=True)
        try:
            wait_until(lambda: (gate.folder / "log").exists() and accepts(gate), "the daemon serves")
            assert Operator(gate).put("x", peer.port).status == 201
            assert status(gate, "x") == 200
        finally:
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
        wait_until(lambda: not pidfile.exists(), "the daemon has left")
        with gate.running():
            assert status(gate, "x") == 200


def accepts(gate: Gate) -> bool:
    """Whether the gateway is ready."""
    try:
        return ask(gate.admin_port, request("GET", "/readyz"))[0] == 200
    except OSError:
        return False


# --- where else servers come from -----------------------------------------------------------------------------------


def test_files_of_servers_are_followed_without_a_signal(gate: Gate) -> None:
    """A file that is put there, changed, broken, mended and taken away; a broken one leaves what was there."""
    folder = gate.folder / "servers.d"
    folder.mkdir()
    snippet = folder / "team.yaml"
    with upstream() as one, upstream() as other:
        gate.write(server("own", one.port), rest="registry: {files: servers.d}")
        with gate.running() as running:
            snippet.write_text(f"- {server('dropped', one.port)}\n")
            wait_until(lambda: status(gate, "dropped") == 200, "the server of a new file", FOLDER_S)
            assert len(other.lines) == 0
            snippet.write_text(f"- {server('dropped', other.port)}\n- {server('second', one.port)}\n")
            wait_until(lambda: status(gate, "second") == 200, "the second server", FOLDER_S)
            wait_until(lambda: status(gate, "dropped") == 200 and len(other.lines) > 0, "the other address", FOLDER_S)
            snippet.write_text("- {name: dropped, upstreams: [{url: nowhere}]}\n")
            wait_until(lambda: "team.yaml:1" in running.said, "the fault is told", FOLDER_S)
            assert [status(gate, name) for name in ("own", "dropped", "second")] == [200, 200, 200]
            snippet.write_text(f"- {server('second', one.port)}\n")
            wait_until(lambda: status(gate, "dropped") == 404, "the server is gone", FOLDER_S)
            snippet.unlink()
            wait_until(lambda: status(gate, "second") == 404, "the file is gone", FOLDER_S)
            assert status(gate, "own") == 200
            assert "Traceback" not in running.said


def test_a_reload_leaves_registrations_and_their_streams_alone(gate: Gate) -> None:
    """SIGHUP with another configuration: what has registered goes on; a name it takes for itself is its own then."""
    with upstream(talking(events=events)) as peer, upstream() as added:
        gate.write(rest=OPEN)
        with gate.running() as running:
            operator = Operator(gate)
            assert operator.put("joined", peer.port).status == 201
            assert operator.put("wanted", peer.port).status == 201
            with open_stream(gate, "joined") as stream:
                gate.write(server("own", added.port), server("wanted", added.port), rest=f"{OPEN}\ndrain: {{timeout: 1s}}")
                running.signal(signal.SIGHUP)
                running.wait_said("reloaded: ")
                assert [status(gate, name) for name in ("own", "joined")] == [200, 200]
                wait_until(lambda: status(gate, "wanted") == 200 and len(added.lines) > 1, "the configured one", 5)
                entry = operator.ask("GET", "/v1/servers/wanted/replicas/a").body
                assert entry["state"] == "conflict"
                peer.streams[0].send(SECOND)
                stream.read_until(b"data: 2\n\n")


# --- who is told ----------------------------------------------------------------------------------------------------


def test_changes_are_told_to_who_waits_and_to_who_listens(gate: Gate) -> None:
    """A long poll answers when something changes, the stream tells what, and goes on where it was cut."""
    gate.write(rest=OPEN)
    with upstream() as peer, gate.running(), ThreadPoolExecutor() as pool:
        operator, waiting = Operator(gate), Operator(gate)
        index = operator.ask("GET", "/v1/servers").index
        assert waiting.ask("GET", f"/v1/servers?index={index}&wait=100ms").index == index
        with operator.opened("GET", "/v1/events") as feed:
            poll = pool.submit(waiting.ask, "GET", f"/v1/servers?index={index}&wait=20s")
            began_s = time.monotonic()
            operator.put("x", peer.port)
            told = poll.result(PATIENCE_S)
            assert time.monotonic() - began_s < 2
            assert (told.index > index, [each["name"] for each in told.body["servers"]]) == (True, ["x"])
            first = next_event(feed, "registered")
            assert (first["data"]["server"], first["data"]["id"]) == ("x", "a")
        operator.ask("PUT", "/v1/servers/x/replicas/a/heartbeat", {"state": "critical", "note": "no disk"})
        operator.ask("DELETE", "/v1/servers/x/replicas/a")
        with operator.opened("GET", "/v1/events", Last_Event_ID=first["id"]) as feed:
            while (entry := next_event(feed, "state")["data"])["state"] != "critical":
                pass
            assert entry["note"] == "no disk"
            assert next_event(feed, "deregistered")["data"]["id"] == "a"


def next_event(feed: http.client.HTTPResponse, kind: str) -> dict[str, Any]:
    """The next event of a kind, with its id and its data."""
    found: dict[str, Any] = {}
    while line := feed.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if name:
            found[name] = json.loads(value) if name == "data" else value
        elif found.get("event") == kind:
            return found
        else:
            found = {}
    raise AssertionError(f"the feed ended before an event {kind}")


# --- name servers ---------------------------------------------------------------------------------------------------


def test_names_that_hang_starve_nobody(gate: Gate) -> None:
    """RG-DNS-HANG: while fifty look-ups hang, calls and operators are as quick as ever, names of the file as well."""
    Path(gate.folder / "sitecustomize.py").write_text(HANGING_NAMES)
    with upstream() as peer, ThreadPoolExecutor(50) as pool:
        gate.write(server("own", peer.port), server("named", f"http://localhost:{peer.port}"), rest=OPEN)
        with gate.running():
            assert status(gate, "own") == 200
            hung = [pool.submit(register_hanging, gate, number) for number in range(50)]
            operator = Operator(gate)
            took_s: list[float] = []
            assert status(gate, "named") == 200
            while not all(each.done() for each in hung) and len(took_s) < 400:
                began_s = time.monotonic()
                assert status(gate, "own") == 200
                assert operator.ask("GET", "/v1/servers").status == 200
                took_s.append((time.monotonic() - began_s) / 2)
                time.sleep(0.01)
            assert sorted(took_s)[len(took_s) * 90 // 100] < HUNG_P90_S
            assert {each.result(PATIENCE_S) for each in hung} == {422}


def register_hanging(gate: Gate, number: int) -> int:
    """Register what no name server tells of; the status."""
    target = f"/v1/servers/s{number}/replicas/a"
    return Operator(gate).ask("PUT", target, {"url": f"http://ns{number}.hang"}).status
