"""Logs of a real process: nobody waits for them, nothing is lost in a rotation, and nobody can forge or flood them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.process.peers import Line, ask, call, upstream
from tests.process.stage import TWISTD, Gate, environ, server, wait_until

from mcpgate.accesslog import FLUSH_S
from mcpgate.testing import request

#: A path whose line takes more than a kilobyte.
LONG = "/mcp/closed/" + '"' * 480
TOKEN = "auth: {tokens: [{id: alice, sha256: '%s'}]}" % ("0" * 64)
OPEN = ", auth: none"


def _told(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, each of which must be JSON."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _admin(gate: Gate) -> dict[str, str]:
    """What an administrator of this machine sends."""
    return {"Authorization": f"Bearer {(gate.folder / 'var' / 'admin.token').read_text().strip()}"}


def _metric(gate: Gate, series: str) -> float:
    text = ask(gate.admin_port, request("GET", "/metrics"))[2].decode()
    (value,) = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.M)
    return float(value)


# --- a sink that takes nothing --------------------------------------------------------------------------------------


class _Pipe:
    """A gateway that writes into a pipe; nobody reads until somebody wants to."""

    def __init__(self, gate: Gate) -> None:
        self.process = subprocess.Popen(
            [TWISTD, "-n", "--pidfile=", "mcpgate", "-c", "gate.yaml"],
            cwd=gate.folder,
            env=environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.taken = b""
        assert self.process.stdout is not None
        self._output = self.process.stdout.fileno()

    def read_until(self, mark: bytes) -> None:
        while mark not in self.taken:
            data = os.read(self._output, 1 << 20)
            assert data, self.taken[-500:]
            self.taken += data

    def read_to_end(self) -> None:
        while data := os.read(self._output, 1 << 20):
            self.taken += data

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def _piped(gate: Gate) -> Iterator[_Pipe]:
    pipe = _Pipe(gate)
    try:
        pipe.read_until(b"config OK")
        yield pipe
    finally:
        pipe.end()


def _took_s(port: int, times: int) -> list[float]:
    """How long a request to the open server takes, again and again on one connection."""
    took = []
    with call(port) as line:
        for _ in range(times):
            began_s = time.monotonic()
            line.send(request("GET", "/mcp/open/x"))
            assert line.read_answer()[0] == 200
            took.append(time.monotonic() - began_s)
    return took


def _refused(line: Line, path: str, times: int) -> None:
    """As many refusals, many at a time."""
    ask_once = request("GET", path)
    for _ in range(times // 50):
        line.send(ask_once * 50)
        for _ in range(50):
            assert 400 <= line.read_answer()[0] < 500


def _at_rest(gate: Gate, series: str) -> tuple[int, int]:
    """A count, once it stays the same for so long that all lines have been handed on; and how often it was asked."""
    counts = [_metric(gate, series)]

    def is_at_rest() -> bool:
        time.sleep(2 * FLUSH_S)
        counts.append(_metric(gate, series))
        return counts[-1] == counts[-2]

    wait_until(is_at_rest, f"an end of {series}")
    return int(counts[-1]), len(counts)


def test_a_reader_that_stops_delays_no_request(gate: Gate) -> None:
    """Its lines wait within a bound, then they are dropped and counted; when it reads on, everything is as before."""
    dropped = 'mcpgate_log_dropped_lines_total{log="access",cause="sink"}'
    many = 9000
    with upstream() as peer:
        gate.write(server("open", peer.port, OPEN), server("closed", 1, ", auth: required"), rest=TOKEN)
        with _piped(gate) as pipe:
            before = _took_s(gate.port, 100)
            with call(gate.port) as line:
                _refused(line, LONG, many)
            during = _took_s(gate.port, 100)
            assert statistics.median(during) < 3 * statistics.median(before) + 0.002
            assert max(during) < 0.5
            lost, asked = _at_rest(gate, dropped)
            assert lost > 0
            assert ask(gate.admin_port, request("GET", "/readyz"))[0] == 200
            reader = threading.Thread(target=pipe.read_to_end)
            reader.start()
            kept = many + 200 + asked + 1 - lost
            wait_until(lambda: pipe.taken.count(b'"path":') == kept, "the lines that waited")
            _took_s(gate.port, 10)
            pipe.process.send_signal(signal.SIGTERM)
            assert pipe.process.wait(10) == 0
            reader.join(10)
        lines = [json.loads(line) for line in pipe.taken.splitlines()]
        assert sum("path" in line for line in lines) == kept + 10
        assert lines[-1]["message"] == "Server Shut Down."


def test_a_reader_that_never_reads_does_not_hold_up_the_end(gate: Gate) -> None:
    """The process leaves after a moment."""
    gate.write(server("closed", 1, ", auth: required"), rest=TOKEN + "\ndrain: {timeout: 1s}")
    with _piped(gate) as pipe:
        with call(gate.port) as line:
            _refused(line, LONG, 200)
        began_s = time.monotonic()
        pipe.process.send_signal(signal.SIGTERM)
        assert pipe.process.wait(10) == 0
        assert time.monotonic() - began_s < 5


def test_a_reader_that_is_gone_stops_nobody(gate: Gate) -> None:
    """A broken pipe is no failure of the gateway."""
    gate.write(server("closed", 1, ", auth: required"), rest=TOKEN + "\ndrain: {timeout: 1s}")
    with _piped(gate) as pipe:
        assert pipe.process.stdout is not None
        pipe.process.stdout.close()
        with call(gate.port) as line:
            _refused(line, LONG, 100)
        dropped = 'mcpgate_log_dropped_lines_total{log="access",cause="sink"}'
        wait_until(lambda: _metric(gate, dropped) >= 100, "100 lost lines")
        assert ask(gate.admin_port, request("GET", "/readyz"))[0] == 200


# --- rotation -------------------------------------------------------------------------------------------------------


def test_no_line_is_lost_when_logs_are_rotated_under_load(gate: Gate) -> None:
    """Both files, again and again: each line is in one of them, whole and in order."""
    access, events = gate.folder / "access.log", gate.folder / "events.log"
    gate.write(server("closed", 1, ", auth: required"), rest=TOKEN + "\nlogging: {access: 'file:access.log'}")
    with gate.running("-l", "events.log") as running:
        with call(gate.port) as line:
            for turn in range(5):
                for number in range(turn * 100, turn * 100 + 100):
                    line.send(request("GET", f"/mcp/closed/{number}"))
                    line.read_answer()
                    if number % 100 == 50:
                        access.rename(gate.folder / f"access.log.{turn}")
                        events.rename(gate.folder / f"events.log.{turn}")
                        running.signal(signal.SIGUSR1)
                running.signal(signal.SIGHUP)
                wait_until(access.exists, "the new access log")
                wait_until(events.exists, "the new event log")
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
    written = [*(gate.folder / f"access.log.{turn}" for turn in range(5)), access]
    assert [told["path"] for path in written for told in _told(path)] == [f"/mcp/closed/{n}" for n in range(500)]
    told = [line for path in [*(gate.folder / f"events.log.{n}" for n in range(5)), events] for line in _told(path)]
    assert sum(line["message"].startswith("reloaded") for line in told) == 5
    assert told[-1]["message"] == "Server Shut Down."


def test_a_daemon_writes_both_logs(gate: Gate) -> None:
    """From the first event before it became one, through a rotation, to the last word."""
    gate.write(rest="logging: {access: 'file:access.log'}\ndrain: {timeout: 1s}")
    access, events = gate.folder / "access.log", gate.folder / "twistd.log"
    started = subprocess.run([TWISTD, "mcpgate", "-c", "gate.yaml"], cwd=gate.folder, env=environ(), timeout=30)
    assert started.returncode == 0
    pid = int((gate.folder / "twistd.pid").read_text())
    try:
        wait_until(lambda: "config OK" in events.read_text(), "the first event")
        ask(gate.port, request("GET", "/before"))
        wait_until(lambda: "/before" in access.read_text(), "the access line")
        events.rename(gate.folder / "old.log")
        os.kill(pid, signal.SIGUSR1)
        wait_until(events.exists, "the new event log")
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert any("starting up" in line["message"] for line in _told(gate.folder / "old.log"))
    assert _told(events)[-1]["message"] == "Server Shut Down."


# --- what somebody else has a say in --------------------------------------------------------------------------------


def test_nobody_forges_a_line(gate: Gate) -> None:
    """Whatever stands in a path, a method, a field or a body: one line for each exchange, and nothing that moves."""
    forged = '"}\\n{"time":"x","status":200}\x1b[2J'
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": forged, "params": {"name": "\n\u2028" + forged}})
    rest = "logging: {access: 'file:access.log'}"
    with upstream() as peer:
        gate.write(server("open", peer.port), rest=rest)
        with gate.running("-l", "access.log") as running:
            for sent in (
                request("GET", '/mcp/open/"}{"status":200}'),
                request("GET", "/mcp/open/x", headers={"User-Agent": '"}\t{"status":200}', "X-Request-Id": '"}{'}),
                request(target="/mcp/open/mcp", body=body.encode()),
                b"GE\x1b[2JT /mcp/open/x HTTP/1.1\r\nHost: x\r\n\r\n",
                b'{"status":200}\n{"status":200}\n\r\n\r\n',
            ):
                ask(gate.port, sent)
            running.signal(signal.SIGTERM)
            assert running.exit_code() == 0
    written = (gate.folder / "access.log").read_bytes()
    assert b"\x1b" not in written
    lines = [line for line in _told(gate.folder / "access.log") if "level" not in line]
    assert [line["status"] for line in lines] == [200, 200, 200, 400, 400]
    assert all(line["client"] == "127.0.0.1" for line in lines)


def test_a_flood_of_nonsense_fills_no_disk(gate: Gate) -> None:
    """A few lines a second, and how many there were besides; every one is accounted for."""
    gate.write(rest="logging: {access: 'file:access.log'}")
    with gate.running() as running:
        began_s = time.monotonic()
        for _ in range(600):
            ask(gate.port, b"\x16\x03\x01 " + b"A" * 900 + b"\r\n\r\n")
        lasted_s = time.monotonic() - began_s
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
    lines = _told(gate.folder / "access.log")
    left_out = sum(line.get("left_out", 0) for line in lines)
    whole = [line for line in lines if "left_out" not in line]
    assert len(whole) + left_out == 600
    assert len(whole) <= 20 * (lasted_s + 2)
    assert left_out > 0


# --- levels, forms, and twistd's own options ------------------------------------------------------------------------


def test_levels_are_read_again_on_reload_and_set_by_the_administrator(gate: Gate) -> None:
    """What is too unimportant is not written any more, and is again."""
    gate.write()
    with gate.running() as running:
        running.signal(signal.SIGHUP)
        running.wait_said("reloaded: ")
        gate.write(rest="logging: {level: error}")
        running.signal(signal.SIGHUP)
        wait_until(lambda: _levels(gate)["level"] == "error", "the new level")
        put = request("PUT", "/admin/log-levels", b'{"levels":{"mcpgate.service":"info"}}', headers=_admin(gate))
        assert ask(gate.admin_port, put)[0] == 200
        assert _levels(gate) == {"level": "error", "levels": {"mcpgate.service": "info"}}
        running.signal(signal.SIGHUP)  # its file says nothing of that module
        wait_until(lambda: _levels(gate)["levels"] == {}, "the levels of the file")
        gate.write()
        running.signal(signal.SIGHUP)
        running.wait_said("reloaded: ", 2)
        assert _levels(gate)["level"] == "info"
        assert running.said.count("reloaded: ") == 2, "the two in between were not important enough"


def _levels(gate: Gate) -> Any:
    return json.loads(ask(gate.admin_port, request("GET", "/admin/log-levels"))[2])


def test_a_person_at_a_terminal_reads_text(gate: Gate) -> None:
    """The first lines as they are in the manual, then one line for each exchange and event."""
    master, slave = os.openpty()
    gate.write(server("x", 1), rest="drain: {timeout: 1s}")
    command = [str(TWISTD), "-n", "--pidfile=", "mcpgate", "-c", "gate.yaml"]
    process = subprocess.Popen(command, cwd=gate.folder, env=environ(), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = bytearray()

    def read_until(mark: bytes) -> None:
        while mark not in shown:
            shown.extend(os.read(master, 65536))

    try:
        read_until(b"claude mcp add")
        assert b"\n  config OK: 1 server\r\n" in shown
        assert ask(gate.port, request("GET", "/nobody"))[0] == 404
        read_until(b"GET /nobody")
        process.send_signal(signal.SIGTERM)
        read_until(b"Server Shut Down")
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    text = shown.decode()
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} 404 .* \(no_route\)  GET /nobody  \S+\r$", text, re.M)
    assert re.search(r"^\d\d:\d\d:\d\d info  process: draining\r$", text, re.M)
    assert '{"' not in text


def test_a_logger_of_somebodys_own_is_left_alone(gate: Gate) -> None:
    """``--logger`` gets the events, and nothing of ours stands between."""
    (gate.folder / "ownlog.py").write_text(
        "from twisted.logger import textFileLogObserver\ndef make():\n    return textFileLogObserver(open('own', 'w'))\n"
    )
    gate.write(rest="logging: {access: 'off'}\ndrain: {timeout: 1s}")
    with gate.running("--logger", "ownlog.make") as running:
        running.signal(signal.SIGUSR1)
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        assert '"level"' not in running.said
    assert "Server Shut Down" in (gate.folder / "own").read_text()


@pytest.mark.parametrize("options", [["-n"], []], ids=["-n", "daemon"])
def test_an_event_log_that_cannot_be_written_is_one_line(gate: Gate, options: list[str]) -> None:
    """Which file, and why; exit code 1, nothing left running."""
    gate.write()
    command = [str(TWISTD), *options, "-l", "missing/events.log", "mcpgate", "-c", "gate.yaml"]
    done = subprocess.run(
        command, cwd=gate.folder, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30
    )
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert "missing/events.log: No such file" in done.stdout
