"""Tokens, revocation and sealed sessions with real processes: what an operator does from the first token on."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from tests.process.peers import Line, ask, call, events, length_of, talking, upstream
from tests.process.stage import Gate, Running, environ, server, wait_until

from mcpgate.testing import answer, request

#: What is promised for the end of what is open.
SOON_S = 5.0
EVENTS = {"Accept": "text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
SECOND = b"9\r\ndata: 2\n\n\r\n"


def new_token(folder: Path, *arguments: str) -> tuple[str, str]:
    """What ``mcpgate token new`` prints: the token, and the entry for the configuration."""
    command = [sys.executable, "-m", "mcpgate", "token", "new", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ(), capture_output=True, text=True, timeout=30, check=True)
    token, entry = done.stdout.splitlines()
    assert token not in entry
    return token, entry


def bearer(token: str, **more: str) -> dict[str, str]:
    """The header fields of whoever has a token."""
    return {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in more.items()}}


def told(line: Line, head: bytes) -> None:
    """Begin a session, and answer with the head that came."""
    line.read(length_of(head))
    line.send(answer(json.dumps(head.decode()).encode(), headers={"Mcp-Session-Id": "raw-1"}))


def silence(line: Line, head: bytes) -> None:
    """Take a request and say nothing."""
    line.read_to_end()


def auth(tokens: dict[str, str], more: str = "") -> str:
    """The ``auth`` section with these tokens; ``more`` are further keys of each entry."""
    digests = {who: sha256(token.encode()).hexdigest() for who, token in tokens.items()}
    entries = ", ".join(f"{{id: {who}, sha256: {digest}{more}}}" for who, digest in digests.items())
    return f"auth: {{tokens: [{entries}]}}"


def session_in(head: bytes) -> str:
    """The session id that an answer names."""
    found = re.search(rb"(?i)\r\nmcp-session-id: (\S+)\r\n", head)
    assert found is not None
    return found[1].decode()


def test_a_new_token_opens_what_it_was_made_for(gate: Gate) -> None:
    """The printed entry is pasted as it is; the token works at once, for its server alone, and stands nowhere else."""
    alice, entry = new_token(gate.folder, "alice", "--server", "a")
    bob, other = new_token(gate.folder, "bob")
    with upstream(talking(head=told)) as peer:
        (gate.folder / "tokens.yaml").write_text(f"{other}\n")
        gate.write(
            *(server("a", peer.port), server("b", peer.port), server("open", peer.port, ", auth: none")),
            rest=f"auth:\n  tokens_file: tokens.yaml\n  tokens:\n    {entry}\n",
        )
        with gate.running() as running:
            assert "auth     2 tokens, 0 issuers" in running.said
            assert "!! WITHOUT AUTHENTICATION: everybody may use open !!" in running.said
            assert "AUTHENTICATION IS OFF" not in running.said
            guests = {"alice": bearer(alice), "bob": bearer(bob), "stranger": {}}
            asked = {
                (name, guest): ask(gate.port, request(target=f"/mcp/{name}/head", headers=fields))
                for name in ("a", "b", "open")
                for guest, fields in guests.items()
            }
            statuses = {name: [asked[name, guest][0] for guest in guests] for name in ("a", "b", "open")}
            assert statuses == {"a": [200, 200, 401], "b": [403, 200, 401], "open": [200, 200, 200]}
            assert not any(b"uthorization" in body for status, _, body in asked.values() if status == 200)
            wait_until(lambda: running.said.count('"status":') >= len(asked), "the access lines")
            assert alice not in running.said
            assert bob not in running.said
            assert '"principal":"alice"' in running.said


def test_a_revoked_token_ends_what_is_open_with_it(gate: Gate) -> None:
    """After SIGHUP a stream and a call that waits for its answer end within seconds; those of others go on."""
    tokens = {who: f"{who}-0123456789abcdef" for who in ("alice", "bob")}
    with upstream(talking(events=events, silence=silence)) as peer:
        gate.write(server("a", peer.port), rest=auth(tokens))
        with gate.running() as running, call(gate.port) as hers, call(gate.port) as his, call(gate.port) as waiting:
            for line, who in ((hers, "alice"), (his, "bob")):
                line.send(request("GET", "/mcp/a/events", headers=EVENTS | bearer(tokens[who])))
                line.read_until(b"data: 1\n\n\r\n")
            waiting.send(request(target="/mcp/a/silence", body=b'{"id":7}', headers=bearer(tokens["alice"])))
            wait_until(lambda: len(peer.lines) == 3, "the call is on its way")

            gate.write(server("a", peer.port), rest=auth({"bob": tokens["bob"]}))
            running.signal(signal.SIGHUP)
            began_s = time.monotonic()
            assert not hers.read_to_end().endswith(b"0\r\n\r\n")
            status, head, body = waiting.read_answer()
            assert time.monotonic() - began_s < SOON_S
            assert (status, json.loads(body)["id"]) == (401, 7)
            assert b"Mcpgate-Error: invalid_token" in head
            assert ask(gate.port, request(target="/mcp/a/x", headers=bearer(tokens["alice"])))[0] == 401
            wait_until(lambda: len(peer.streams) == 1, "the server is told")
            peer.streams[0].send(SECOND)
            his.read_until(b"data: 2\n\n")


def test_a_stream_ends_when_its_token_expires(gate: Gate) -> None:
    """By the clock of the machine; the next request is told why."""
    token = "alice-0123456789abcdef"
    with upstream(talking(events=events)) as peer:
        gate.write(server("a", peer.port), rest=auth({"alice": token}))
        with gate.running() as running, call(gate.port) as stream:
            stream.send(request("GET", "/mcp/a/events", headers=EVENTS | bearer(token)))
            stream.read_until(b"data: 1\n\n\r\n")
            at_s = time.time() + 3
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
            gate.write(server("a", peer.port), rest=auth({"alice": token}, f", expires: {at}"))
            running.signal(signal.SIGHUP)
            assert not stream.read_to_end().endswith(b"0\r\n\r\n")
            assert -1 < time.time() - at_s < SOON_S
            status, head, _ = ask(gate.port, request(target="/mcp/a/x", headers=bearer(token)))
            assert status == 401
            assert b"Mcpgate-Error: expired_token" in head


def test_sessions_survive_a_restart_and_their_key_is_the_owners_alone(gate: Gate) -> None:
    """The key is made when something is to be sealed, not before; who takes it away ends all sessions."""
    key = gate.folder / "var" / "session.key"
    (alice, hers), (bob, his) = (new_token(gate.folder, who) for who in ("alice", "bob"))
    with upstream(talking(head=told)) as peer:

        def status_for(token: str, session: str) -> int:
            fields = bearer(token, Mcp_Session_Id=session)
            status, _, body = ask(gate.port, request(target="/mcp/a/head", headers=fields))
            assert status != 200 or "mcp-session-id: raw-1\r\n" in json.loads(body).lower()
            return status

        gate.write(server("a", peer.port))
        with gate.running() as running:
            assert not key.exists()
            gate.write(server("a", peer.port), rest=f"auth:\n  tokens:\n    {hers}\n    {his}")
            running.signal(signal.SIGHUP)
            running.wait_said("reloaded: ")
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
            assert len(key.read_bytes().strip()) >= 32
            session = session_in(ask(gate.port, request(target="/mcp/a/head", headers=bearer(alice)))[1])
            assert session.startswith("raw-1.")
            assert [status_for(token, session) for token in (alice, bob)] == [200, 404]
            secret = key.read_text().strip()
            assert secret not in running.said
        for is_known in (True, False):
            with gate.running() as running:
                assert [status_for(token, session) for token in (alice, bob)] == [200 if is_known else 404, 404]
                assert secret not in running.said
            key.unlink()


def test_a_key_that_cannot_be_read_is_named_at_start(gate: Gate) -> None:
    """One line with the path, and exit code 1; without anything to seal it does not matter."""
    (gate.folder / "var" / "session.key").mkdir(parents=True)
    gate.write(server("a", 1))
    with gate.running() as running:
        assert "config OK" in running.said
    gate.write(server("a", 1), rest=auth({"alice": "alice-0123456789abcdef"}))
    failing = Running(gate.folder, ["-n", "--pidfile=", "mcpgate", "-c", str(gate.config)])
    assert failing.exit_code() == 1
    assert len(failing.said.splitlines()) == 1
    assert "var/session.key" in failing.said


def test_a_key_that_was_not_written_to_its_end_seals_nothing(gate: Gate) -> None:
    """A full disk leaves an empty file; whoever knows that could make every session."""
    (gate.folder / "var").mkdir(exist_ok=True)
    (gate.folder / "var" / "session.key").write_bytes(b"\n")
    gate.write(server("a", 1), rest=auth({"alice": "alice-0123456789abcdef"}))
    failing = Running(gate.folder, ["-n", "--pidfile=", "mcpgate", "-c", str(gate.config)])
    assert failing.exit_code() == 1
    assert "shorter than 32 characters" in failing.said
    assert [path.name for path in (gate.folder / "var").iterdir() if "session" in path.name] == ["session.key"]
