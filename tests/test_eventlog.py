"""The event log: flat JSON or text that nobody can forge, levels that may change, and no flood."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mcpgate.eventlog import EventLog, Format, Levels, json_line, text_line
from mcpgate.settings.observability import LoggingSettings

#: 2026-07-28, 12:00:00.25 UTC.
NOON_S = 1785240000.25


class _Paper:
    """An event log; what it has written, line by line."""

    def __init__(self, form: Format = json_line, levels: Levels | None = None) -> None:
        self.now_s = 100.0
        self.written: list[bytes] = []
        self.reminders = 0
        self.log = EventLog(form, self.written.append, levels or Levels(), (lambda: NOON_S, lambda: self.now_s))
        self.log.remind = self._note_reminder

    def _note_reminder(self) -> None:
        self.reminders += 1

    def logger(self, name: str = "mcpgate.service.Gateway") -> Logger:
        return Logger(name, observer=self.log)

    def told(self) -> list[Any]:
        return [json.loads(line) for line in self.written]

    def text(self) -> str:
        return b"".join(self.written).decode("utf-8")


def _failure(text: str = "no") -> Failure:
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


# --- what a line says ---------------------------------------------------------------------------------------------


def test_an_event_is_a_flat_object() -> None:
    """When, how important, from which module, what; and what it holds that is simple."""
    paper = _Paper()
    paper.log({
        "log_time": NOON_S, "log_level": LogLevel.info, "log_namespace": "mcpgate.service.Gateway",
        "log_format": "reloaded: {count} of {what}", "count": 3, "what": "servers", "names": ["a", "b"], "it": object(),
    })  # fmt: skip
    assert list(paper.told()[0].items()) == [
        ("time", "2026-07-28T12:00:00.250Z"),
        ("level", "info"),
        ("logger", "mcpgate.service"),
        ("message", "reloaded: 3 of servers"),
        ("count", 3),
        ("what", "servers"),
        ("names", ["a", "b"]),
    ]
    verifyObject(ILogObserver, paper.log)


def test_an_event_cannot_say_that_it_is_another() -> None:
    """Its own fields do not replace ours."""
    paper = _Paper()
    lies = {"level": "info", "time": "yesterday", "logger": "x", "message": "bye", "traceback": "none"}
    paper.log({"log_format": "hello", "log_level": LogLevel.warn, "log_namespace": "mcpgate.service", **lies})
    (told,) = paper.told()
    assert (told["level"], told["logger"], told["message"]) == ("warn", "mcpgate.service", "hello")
    assert told["time"][:2] == "20"
    assert "traceback" not in told


def test_a_failure_has_its_traceback_in_one_field() -> None:
    """One event stays one line."""
    paper = _Paper()
    paper.logger().failure("unexpected failure: {what}", failure=_failure(), what="x")
    (told,) = paper.told()
    assert told["level"] == "critical"
    assert told["message"] == "unexpected failure: x"
    assert told["traceback"].rstrip().endswith("ValueError: no")


@pytest.mark.parametrize(
    ("form", "fields", "expected"),
    [
        ("{who.__class__.__name__}", {"who": 1}, "int"),
        ("{call()}", {"call": lambda: "made"}, "made"),
        ("{number:03d}", {"number": 7}, "007"),
        ("100 {{percent}}", {}, "100 {percent}"),
        ("é {x!r}", {"x": "y"}, "é 'y'"),
    ],
)
def test_messages_are_put_together_as_twisted_does(form: str, fields: dict[str, Any], expected: str) -> None:
    """Whatever its own code or another's logs."""
    paper = _Paper()
    paper.logger().info(form, **fields)
    assert paper.told()[0]["message"] == expected


def test_a_line_for_a_person() -> None:
    """Time, level, module, message."""
    paper = _Paper(text_line)
    paper.log({
        "log_time": NOON_S, "log_level": LogLevel.info, "log_namespace": "mcpgate.service", "log_format": "reloaded",
    })  # fmt: skip
    assert paper.text() == "12:00:00 info  service: reloaded\n"


def test_what_belongs_to_a_line_is_indented() -> None:
    """So that no line of a traceback or of a longer text can pass for another event."""
    paper = _Paper(text_line)
    paper.logger().failure("two\nlines", failure=_failure("20:00:00 info  service: forged\n20:00:01 info  x: y"))
    first, *others = paper.text().splitlines()
    assert first.endswith("critical service: two")
    assert len(others) >= 4
    assert all(line.startswith("    ") for line in others)


# --- what a line never is -----------------------------------------------------------------------------------------


@PURE
@given(text=st.text(), name=st.text(min_size=1))
def test_no_event_can_forge_a_line(text: str, name: str) -> None:
    """Whatever it says: one line of JSON, or of text with what belongs to it."""
    for form in (json_line, text_line):
        paper = _Paper(form)
        paper.logger("mcpgate." + name).error("{what}", what=text)
        (line,) = paper.written
        assert line.endswith(b"\n")
        if form is json_line:
            assert len(line.decode("utf-8").splitlines()) == 1
            json.loads(line)
        for each in line.decode("utf-8").split("\n")[1:-1] if form is text_line else ():
            assert each.startswith("    ")
        assert form is json_line or all(letter.isprintable() or letter == "\n" for letter in line.decode("utf-8"))


class _Hostile:
    """Cannot be written."""

    def __str__(self) -> str:
        raise ValueError("never")

    __repr__ = __format__ = __str__  # type: ignore[assignment]


@pytest.mark.parametrize(
    "event",
    [
        {"log_format": "{missing}"},
        {"log_format": "{it}", "it": _Hostile()},
        {"log_format": "{it()}", "it": _Hostile()},
        {"log_format": "{unclosed"},
        {"log_format": 7},
        {"log_format": None},
        {"log_format": "x", "number": 10**400},
        {"log_format": "x", "not": float("nan")},
        {"log_format": "x", "log_failure": "none"},
        {"log_format": "x", "half": "\ud800"},
        {"log_format": "x", "log_time": "yesterday"},
        {},
    ],
    ids=lambda event: " ".join(event),
)
@pytest.mark.parametrize("form", [json_line, text_line])
def test_a_broken_event_breaks_nothing(event: dict[str, Any], form: Format) -> None:
    """Something is written, and nothing raised."""
    paper = _Paper(form)
    paper.log({"log_level": LogLevel.info, "log_namespace": "x", "log_time": NOON_S} | event)
    assert len(paper.written) == 1
    assert paper.written[0].endswith(b"\n")


def test_an_event_has_a_bound() -> None:
    """Faults and addresses in it may come from elsewhere."""
    paper = _Paper()
    long = "x" * 100_000
    paper.logger().failure("{what}", failure=_failure(long), what=long, names=[long] * 3, many=["a"] * 10_000)
    assert len(paper.written[0]) < 25_000


# --- levels -------------------------------------------------------------------------------------------------------


def test_less_important_events_are_not_written() -> None:
    """In general, and by module."""
    levels = Levels("warn", {"mcpgate.upstream": "debug", "mcpgate.upstream.pool": "error"})
    paper = _Paper(levels=levels)
    for name in ("mcpgate.service", "mcpgate.upstream", "mcpgate.upstream.fetch", "mcpgate.upstream.pool"):
        for level in LogLevel.iterconstants():
            paper.logger(name).emit(level, "x")
    assert [(line["logger"], line["level"]) for line in paper.told()] == [
        *[("mcpgate.service", level) for level in ("warn", "error", "critical")],
        *[("mcpgate.upstream", level) for level in ("debug", "info", "warn", "error", "critical")],
        *[("mcpgate.upstream.fetch", level) for level in ("debug", "info", "warn", "error", "critical")],
        *[("mcpgate.upstream.pool", level) for level in ("error", "critical")],
    ]


def test_levels_change_while_it_runs() -> None:
    """By parts: what is not named stays, null gives a part back to the others."""
    paper = _Paper()
    log = paper.logger("mcpgate.upstream")
    log.debug("1")
    assert paper.log.levels.set_levels({"levels": {"mcpgate.upstream": "debug"}}) == []
    log.debug("2")
    assert paper.log.levels.levels() == {"level": "info", "levels": {"mcpgate.upstream": "debug"}}
    assert paper.log.levels.set_levels({"level": "error"}) == []
    log.debug("3")
    assert paper.log.levels.set_levels({"levels": {"mcpgate.upstream": None}}) == []
    log.debug("4")
    log.error("5")
    assert [line["message"] for line in paper.told()] == ["2", "3", "5"]
    assert paper.log.levels.levels() == {"level": "error", "levels": {}}


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ([], "object"),
        (None, "object"),
        ({"level": "loud"}, "level: one of debug, info, warn, error, critical"),
        ({"level": None}, "level: one of"),
        ({"level": 3}, "level: one of"),
        ({"levels": []}, "levels: an object"),
        ({"levels": {"mcpgate.x": "loud"}}, "levels.mcpgate.x: one of"),
        ({"levels": {"": "info"}}, "levels.: the name of a module"),
        ({"levels": {"a..b": "info"}}, "levels.a..b: the name of a module"),
        ({"levels": {"a\n": "info"}}, "levels.a\\n: the name"),
        ({"levels": {"a" * 201: "info"}}, "the name of a module"),
        ({"levels": {f"m{number}": "info" for number in range(101)}}, "more than 100"),
        ({"loudness": 1}, "loudness: unknown"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_level_changes_nothing(wanted: object, fault: str) -> None:
    """All of it is refused, and it is said why."""
    levels = Levels("warn", {"mcpgate.upstream": "debug"})
    if isinstance(wanted, dict):
        wanted = {"levels": {"mcpgate.other": "debug"}} | wanted
    faults = levels.set_levels(wanted)
    assert any(fault in each for each in faults), faults
    assert levels.levels() == {"level": "warn", "levels": {"mcpgate.upstream": "debug"}}


def test_a_reload_takes_the_levels_of_the_file() -> None:
    """Whatever was set since."""
    levels = Levels()
    levels.set_levels({"level": "debug", "levels": {"a": "debug"}})
    levels.follow(LoggingSettings(level="error", levels={"b": "warn"}))
    assert levels.levels() == {"level": "error", "levels": {"b": "warn"}}


# --- floods -------------------------------------------------------------------------------------------------------


def test_events_of_a_kind_are_bounded() -> None:
    """Ten a second, and a line that says how many more; others are not concerned."""
    paper = _Paper()
    log = paper.logger()
    for number in range(1000):
        log.error("cannot reach {number}", number=number)
    log.error("something else")
    assert [line["message"] for line in paper.told()][9:] == ["cannot reach 9", "something else"]
    assert paper.log.left_out == 990
    assert paper.reminders == 1
    paper.log.tell_left_out()
    assert paper.reminders == 2, "its second is not over"
    paper.now_s += 1
    paper.log.tell_left_out()
    told = paper.told()[-1]
    assert told["message"] == "990 more like this are left out: cannot reach {number}"
    assert (told["level"], told["logger"], told["left_out"]) == ("error", "mcpgate.service", 990)
    assert paper.reminders == 2
    log.error("cannot reach {number}", number=0)
    assert paper.told()[-1]["message"] == "cannot reach 0"


@pytest.mark.parametrize("form", [json_line, text_line])
def test_a_flood_is_told_at_the_end_too(form: Callable[..., bytes]) -> None:
    """The process may end before its second is over."""
    paper = _Paper(form)
    for _ in range(12):
        paper.logger().error("no")
    paper.log.tell_left_out(at_last=True)
    assert b"2 more like this are left out: no" in paper.written[-1]


def test_another_failure_is_not_hidden_by_a_flood_of_one() -> None:
    """Though both are told in the same words."""
    paper = _Paper()
    log = paper.logger()
    for kind in [*[ValueError] * 50, KeyError]:
        try:
            raise kind("x")
        except Exception:
            log.failure("unexpected failure: {what}", what="x")
    assert ["KeyError" in line["traceback"] for line in paper.told()] == [False] * 10 + [True]
    assert paper.log.left_out == 40
