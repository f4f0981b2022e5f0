"""The two logs of a process: where they go, in which form, and what they share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger

from mcpgate.errors import BadRequest
from mcpgate.exchange import Ended, Exchange, Peer
from mcpgate.logs import Lent, ProcessLogs, event_path
from mcpgate.settings.observability import LoggingSettings
from mcpgate.wire.http1 import RequestHead


class _Reactor(Clock):
    """A clock that may be called from threads."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        self.callLater(0, call, *arguments)


@contextmanager
def _logs(folder: Path, event_target: str | None = None, **settings: Any) -> Iterator[tuple[ProcessLogs, _Reactor]]:
    reactor = _Reactor()
    lent = Lent(reactor, lambda: 1785240000.25, reactor.seconds, lambda: 0.0)
    logs = ProcessLogs(LoggingSettings(**settings), str(folder), event_target, lent)
    try:
        yield logs, reactor
    finally:
        logs.close()


def _exchange(path: bytes = b"/mcp/x") -> Exchange:
    exchange = Exchange(RequestHead(b"GET", path, True, b"", {}, path=path), Peer(b"192.0.2.1", b"http", False), 0.0)
    exchange.status, exchange.ended = 200, Ended.COMPLETE
    return exchange


def _told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


TWISTD = {"logger": None, "syslog": False, "logfile": None, "nodaemon": True, "debug": False}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ""),
        ({"logfile": "-"}, ""),
        ({"logfile": "-", "nodaemon": False}, None),
        ({"nodaemon": False}, "twistd.log"),
        ({"nodaemon": False, "debug": True}, ""),
        ({"logfile": "a/b.log"}, "a/b.log"),
        ({"logfile": "/a/b.log", "nodaemon": False}, "/a/b.log"),
        ({"syslog": True}, None),
        ({"logger": object}, None),
    ],
    ids=str,
)
def test_events_go_where_twistd_is_told(options: dict[str, Any], expected: str | None) -> None:
    """A daemon writes twistd.log, and whoever wants another logger than ours gets it."""
    if expected and not expected.startswith("/"):
        expected = str(Path.cwd() / expected)
    assert event_path(TWISTD | options) == expected


def test_events_go_to_standard_output_without_a_twistd() -> None:
    """As in a container."""
    assert event_path(None) == ""


def test_both_logs_are_written(tmp_path: Path) -> None:
    """Each to its file, the access log's as seen from the run directory."""
    with _logs(tmp_path, str(tmp_path / "events"), access="file:access") as (logs, _):
        assert logs.access is not None
        logs.start()
        logs.access.record(_exchange())
        Logger("mcpgate.x", observer=logs.events).info("hello")
    assert [line["path"] for line in _told(tmp_path / "access")] == ["/mcp/x"]
    assert [line["message"] for line in _told(tmp_path / "events")] == ["hello"]


def test_logs_of_one_file_share_it(tmp_path: Path) -> None:
    """Line by line, told apart by their level."""
    with _logs(tmp_path, str(tmp_path / "log"), access="file:log") as (logs, _):
        assert logs.access is not None
        Logger("mcpgate.x", observer=logs.events).info("hello")
        logs.access.record(_exchange())
    assert ["level" in line for line in _told(tmp_path / "log")] == [True, False]


def test_logs_that_are_off_make_no_file(tmp_path: Path) -> None:
    """And are not there to be written to."""
    with _logs(tmp_path, None, access="off") as (logs, _):
        assert logs.access is None
        assert logs.events is None
        assert logs.dropped_lines() == {}
    assert list(tmp_path.iterdir()) == []


def test_text_is_written_to_files_if_it_is_asked_for(tmp_path: Path) -> None:
    """Both logs follow one setting."""
    with _logs(tmp_path, str(tmp_path / "log"), access="file:log", format="text") as (logs, _):
        assert logs.access is not None
        logs.access.record(_exchange())
        logs.access.flush()
        Logger("mcpgate.x", observer=logs.events).info("hello")
    first, second = (tmp_path / "log").read_text().splitlines()
    assert "GET /mcp/x" in first
    assert second.endswith(" info  x: hello")


@pytest.mark.parametrize(("access", "events"), [("file:missing/log", None), ("off", "missing/log")])
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path, access: str, events: str | None) -> None:
    """Which option, which path, and why."""
    target = events and str(tmp_path / events)
    with pytest.raises(SystemExit, match=r"^mcpgate: .*missing/log: No such file"), _logs(tmp_path, target, access=access):
        pass


def test_rotation_keeps_what_happened_before_in_the_old_files(tmp_path: Path) -> None:
    """Lines that still waited for company belong to the time before it."""
    access, events = tmp_path / "access", tmp_path / "events"
    with _logs(tmp_path, str(events), access="file:access") as (logs, _):
        assert logs.access is not None
        logs.start()
        logs.access.record(_exchange(b"/before"))
        Logger("mcpgate.x", observer=logs.events).info("before")
        access.rename(tmp_path / "access.1")
        events.rename(tmp_path / "events.1")
        logs.reopen()
        logs.access.record(_exchange(b"/after"))
        Logger("mcpgate.x", observer=logs.events).info("after")
    assert [line["path"] for line in _told(tmp_path / "access.1")] == ["/before"]
    assert [line["path"] for line in _told(access)] == ["/after"]
    assert [line["message"] for line in _told(tmp_path / "events.1")] == ["before"]
    assert [line["message"] for line in _told(events)] == ["after"]


def test_what_was_dropped_is_told_by_log_and_cause(tmp_path: Path) -> None:
    """All of them from the start on, so that a graph begins at zero."""
    with _logs(tmp_path, str(tmp_path / "events"), access="file:access") as (logs, _):
        assert logs.access is not None
        expected = {("access", "sink"): 0, ("access", "flood"): 0, ("event", "sink"): 0, ("event", "flood"): 0}
        assert logs.dropped_lines() == expected
        log = Logger("mcpgate.x", observer=logs.events)
        for _ in range(25):
            log.info("again")
            exchange = _exchange()
            exchange.error, exchange.status = BadRequest(), 400
            logs.access.record(exchange)
        assert logs.dropped_lines() == expected | {("access", "flood"): 5, ("event", "flood"): 15}


def test_a_flood_of_events_is_told_a_second_later(tmp_path: Path) -> None:
    """Also if nothing else happens then."""
    with _logs(tmp_path, str(tmp_path / "events"), access="off") as (logs, reactor):
        for _ in range(12):
            Logger("mcpgate.x", observer=logs.events).info("again")
        reactor.pump([0.0, 1.0])
    assert _told(tmp_path / "events")[-1]["left_out"] == 2


def test_levels_are_those_of_the_event_log(tmp_path: Path) -> None:
    """As configured, as set, and as configured again."""
    with _logs(tmp_path, str(tmp_path / "events"), access="off", level="warn") as (logs, _):
        log = Logger("mcpgate.x", observer=logs.events)
        log.info("1")
        assert logs.set_levels({"level": "info"}) == []
        log.info("2")
        logs.follow(LoggingSettings(levels={"mcpgate.x": "error"}))
        log.info("3")
        assert logs.levels() == {"level": "info", "levels": {"mcpgate.x": "error"}}
    assert [line["message"] for line in _told(tmp_path / "events")] == ["2"]


def test_a_log_of_twistds_own_has_no_levels(tmp_path: Path) -> None:
    """Who wants to set them is told why it is not possible."""
    with _logs(tmp_path, None, access="off") as (logs, _):
        assert logs.levels() == {}
        assert "twistd" in logs.set_levels({"level": "info"})[0]


@pytest.mark.parametrize(
    ("event_target", "settings", "goes_to_the_log"),
    [
        ("", {"access": "off", "format": "text"}, False),
        ("", {"access": "off", "format": "json"}, True),
        ("file", {"access": "stdout", "format": "json"}, True),
        ("file", {"access": "stdout", "format": "text"}, True),
        (None, {"access": "off"}, True),
    ],
)
def test_a_person_is_told_where_no_program_reads(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], event_target: str | None, settings: Any, goes_to_the_log: bool
) -> None:
    """Plain lines never stand between JSON; what the event log does not tell there, it tells where it goes."""
    target = str(tmp_path / event_target) if event_target else event_target
    with _logs(tmp_path, target, **settings) as (logs, _):
        assert logs.say("hello") is goes_to_the_log
    shown = capfd.readouterr().out
    assert shown == ("" if settings.get("format") == "json" else "hello\n")
