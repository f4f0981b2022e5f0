"""Reload, drain, stop and reopening of logs, by the signals that operators send."""

from __future__ import annotations

import signal
import time

from tests.process.peers import Line, Talk, ask, call, events, good, talking, upstream
from tests.process.stage import Gate, server, wait_until

from mcpgate.testing import request

EVENTS = {"Accept": "text/event-stream", "Mcp-Session-Id": "s"}
SECOND = b"9\r\ndata: 2\n\n\r\n"
SLOW_S = 1.0


def slow(line: Line, head: bytes) -> None:
    """A good answer, late."""
    time.sleep(SLOW_S)
    good(line, head)


def streaming() -> Talk:
    """What the servers of these tests answer."""
    return talking(slow=slow, events=events)


def open_stream(gate: Gate, name: str) -> Line:
    """An event stream through the gateway that has begun."""
    line = call(gate.port)
    line.send(request("GET", f"/mcp/{name}/events", headers=EVENTS))
    line.read_until(b"data: 1\n\n")
    return line


def test_a_reload_touches_only_what_has_changed(gate: Gate) -> None:
    """
    SIGHUP: streams of a server that stayed go on, those of a removed one end within ``drain.timeout``, a new one
    answers; a bad file changes nothing, and the log says why.
    """
    with upstream(streaming()) as kept, upstream(streaming()) as removed, upstream() as added:
        rest = "drain: {timeout: 1s}"
        gate.write(server("kept", kept.port), server("removed", removed.port), rest=rest)
        with gate.running() as running, open_stream(gate, "kept") as stays, open_stream(gate, "removed") as goes:
            gate.config.write_text("servers: [{name: X")
            running.signal(signal.SIGHUP)
            running.wait_said("the old configuration stays")
            assert "gate.yaml:" in running.said
            assert ask(gate.port, request("GET", "/mcp/removed/x"))[0] == 200

            gate.write(server("kept", kept.port), server("added", added.port), rest=rest)
            running.signal(signal.SIGHUP)
            running.wait_said("reloaded: ")
            began_s = time.monotonic()
            assert ask(gate.port, request("GET", "/mcp/added/x"))[2] == b'{"target":"/x"}'
            assert ask(gate.port, request("GET", "/mcp/removed/x"))[0] == 404
            assert not goes.read_to_end().endswith(b"0\r\n\r\n")
            assert 0.5 < time.monotonic() - began_s < 3
            kept.streams[0].send(SECOND)
            stays.read_until(b"data: 2\n\n")
            assert running.process.poll() is None


def test_a_terminated_gateway_drains(gate: Gate) -> None:
    """
    SIGTERM: readiness says no, nobody new is let in, the request under way gets its answer, then exit code 0; open
    streams are cut at the deadline.
    """
    with upstream(streaming()) as peer:
        gate.write(server("a", peer.port), rest="drain: {delay: 500ms, timeout: 2s}")
        with gate.running() as running, open_stream(gate, "a") as stream, call(gate.port) as waiting:
            waiting.send(request("GET", "/mcp/a/slow"))
            running.signal(signal.SIGTERM)
            began_s = time.monotonic()
            wait_until(lambda: ask(gate.admin_port, request("GET", "/readyz"))[0] == 503, "readiness 503", 1)
            assert ask(gate.port, request("GET", "/mcp/a/x"))[0] == 200, "still served before the delay is over"
            assert waiting.read_answer()[0] == 200
            wait_until(lambda: is_refused(gate.port), "no new connections", 2)
            assert not stream.read_to_end().endswith(b"0\r\n\r\n")
            assert running.exit_code(5) == 0
            assert 2 < time.monotonic() - began_s < 4.5
            assert "Traceback" not in running.said


def is_refused(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        call(port).close()
    except OSError:
        return True
    return False


def test_an_interrupted_gateway_exits_at_once(gate: Gate) -> None:
    """SIGINT waits for nobody, and leaves no traceback."""
    with upstream(streaming()) as peer:
        gate.write(server("a", peer.port))
        with gate.running() as running, open_stream(gate, "a") as stream:
            running.signal(signal.SIGINT)
            began_s = time.monotonic()
            running.exit_code(5)
            assert time.monotonic() - began_s < 2
            stream.read_to_end()
            assert "Traceback" not in running.said


def test_logs_that_were_moved_away_are_opened_anew(gate: Gate) -> None:
    """SIGUSR1: access lines and events (-l FILE) go on in new files of the old names."""
    access, log = gate.folder / "access.log", gate.folder / "twistd.log"
    moved = gate.folder / "access.log.1"
    unix = gate.folder / "gate.sock"
    listen = f'["tcp:{gate.port}:interface=127.0.0.1", "unix:gate.sock"]'
    gate.write(listen=listen, rest="logging: {access: 'file:access.log'}")
    with gate.running("-l", "twistd.log") as running:
        ask(gate.port, request("GET", "/before"))
        wait_until(lambda: b"/before" in access.read_bytes(), "the first line")
        access.rename(moved)
        log.rename(gate.folder / "twistd.log.1")
        running.signal(signal.SIGUSR1)
        wait_until(access.exists, "the new file")
        ask(gate.port, request("GET", "/after"))
        wait_until(lambda: b"/after" in access.read_bytes(), "the second line")
        assert b"/after" not in moved.read_bytes()
        wait_until(log.exists, "the new event log")
        assert unix.exists()
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        assert "Traceback" not in log.read_text()
        assert not unix.exists(), "the file of the Unix socket is gone with the gateway"
