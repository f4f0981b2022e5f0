"""
What the gateway itself has to say, as flat JSON or as text: an observer for ``twisted.logger``.

Nothing in an event can begin a line of its own: control characters are escaped, and tracebacks are one field, or
indented. Events have a ``level``, which access lines do not. Whatever is wrong with an event, the log never raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from twisted.logger import ILogObserver, LogEvent, LogLevel, LogLevelFilterPredicate, PredicateResult, formatEvent
from zope.interface import implementer

from mcpgate.loglines import Flood, Stamps, escaped, shown
from mcpgate.settings.observability import LoggingSettings

#: Bounds of what an event may say: faults and addresses in it may come from elsewhere.
_MESSAGE_LETTERS = 2000
_FIELD_LETTERS = 500
_ITEMS = 200
#: The end of a traceback tells most.
_TRACEBACK_LETTERS = 16_000
#: Of one kind; the others of a second are counted.
_FLOOD_PER_S = 10
#: More combinations of level and namespace than a program has.
_MOST_ANSWERS = 2000
#: How many namespaces may have a level of their own.
_MOST_LEVELS = 100
_NAMESPACE: Final = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_NAMESPACE_LETTERS = 200
#: What Twisted's older log puts beside a message, and what is told under another name.
_NOT_FIELDS: Final = frozenset(
    {"time", "level", "logger", "message", "traceback", "system", "format", "isError", "failure", "why", "printed"}
)

_encode = msgspec.json.Encoder().encode


class Levels:
    """
    From which level on events are written: in general, and for parts of the gateway by the name of the module.

    It may be changed while others log.
    """

    def __init__(self, level: str = "info", levels: Mapping[str, str] | None = None) -> None:
        self._change(level, dict(levels or {}))

    def admits(self, event: LogEvent) -> bool:
        """Whether an event is important enough. Twisted's predicate takes 2 us, so its answers are kept."""
        key = event.get("log_level"), event.get("log_namespace")
        answer = self._answers.get(key)
        if answer is None:
            answer = self._predicate(event) is not PredicateResult.no
            if len(self._answers) < _MOST_ANSWERS:
                self._answers[key] = answer
        return answer

    def follow(self, settings: LoggingSettings) -> None:
        """What the configuration says holds from now on, whatever was set before."""
        self._change(settings.level, dict(settings.levels))

    def levels(self) -> dict[str, Any]:
        """``{"level": "info", "levels": {"mcpgate.upstream": "debug"}}``."""
        return {"level": self._level, "levels": dict(self._levels)}

    def set_levels(self, wanted: object) -> list[str]:
        """
        Change some of them.

        :param wanted: as `levels` gives them; what is missing stays, a part whose level is ``None`` follows the others.
        :returns: what is wrong with it; then nothing has changed.
        """
        faults = _faults(wanted)
        if faults or not isinstance(wanted, dict):
            return faults
        changed = {**self._levels, **(wanted.get("levels") or {})}
        levels = {name: level for name, level in changed.items() if level is not None}
        if len(levels) > _MOST_LEVELS:
            return [f"levels: more than {_MOST_LEVELS}"]
        self._change(wanted.get("level") or self._level, levels)
        return []

    def _change(self, level: str, levels: dict[str, str]) -> None:
        self._level, self._levels = level, levels
        self._predicate = LogLevelFilterPredicate(LogLevel.levelWithName(level))
        for name, each in levels.items():
            self._predicate.setLogLevelForNamespace(name, LogLevel.levelWithName(each))
        # A fresh table: somebody else may be filling the old one.
        self._answers: dict[tuple[object, object], bool] = {}


def _faults(wanted: object) -> list[str]:
    if not isinstance(wanted, dict):
        return ["an object with level or levels is expected"]
    unknown = wanted.keys() - {"level", "levels"}
    faults = [f"{shown(str(key))[:50]}: unknown; level and levels are known" for key in unknown]
    if "level" in wanted and not _is_level(wanted["level"]):
        faults.append(f"level: one of {_LEVEL_NAMES} is expected")
    levels = wanted.get("levels", {})
    if not isinstance(levels, dict):
        return [*faults, "levels: an object is expected"]
    for name, level in levels.items():
        if not isinstance(name, str) or len(name) > _NAMESPACE_LETTERS or not _NAMESPACE.fullmatch(name):
            faults.append(f"levels.{shown(str(name))[:50]}: the name of a module is expected, as mcpgate.upstream")
        elif level is not None and not _is_level(level):
            faults.append(f"levels.{name}: one of {_LEVEL_NAMES} is expected, or null")
    return faults


_LEVEL_NAMES = ", ".join(level.name for level in LogLevel.iterconstants())


def _is_level(level: object) -> bool:
    return isinstance(level, str) and level in {known.name for known in LogLevel.iterconstants()}


class Event(msgspec.Struct):
    """
    One event as it is written.

    :ivar fields: what else it told, if it is simple.
    """

    time: str
    level: str
    logger: str
    message: str
    fields: dict[str, Any]
    traceback: str = ""


Format = Callable[[Event], bytes]


def json_line(event: Event) -> bytes:
    """An event as a JSON object and a line feed."""
    line: dict[str, Any] = {
        "time": event.time,
        "level": event.level,
        "logger": event.logger,
        "message": event.message,
        **event.fields,
    }
    if event.traceback:
        line["traceback"] = event.traceback
    return escaped(_encode(line)) + b"\n"


def text_line(event: Event) -> bytes:
    """``20:15:03 info  service: reloaded: …``, and below it what belongs to it, indented."""
    module = event.logger.removeprefix("mcpgate.")
    text = f"{event.time[11:19]} {event.level:<5} {shown(module)}: {_indented(event.message)}\n"
    if event.traceback:
        text += f"    {_indented(event.traceback)}\n"
    return text.encode("utf-8", "backslashreplace")


def _indented(text: str) -> str:
    if text.isprintable():
        return text
    return "\n    ".join(shown(line) for line in text.rstrip().splitlines())


@implementer(ILogObserver)
class EventLog:
    """
    Writes events; may be called by any thread. Takes 6 us for an event with a field.

    :param write: takes one line, and does not block.
    :param clocks: seconds since 1970, and monotonic ones.
    :ivar left_out: events of a kind that came too often; the log says how many.
    :ivar remind: asked to have `tell_left_out` called in a second; whoever runs a reactor sets it. Any thread calls it.
    """

    def __init__(
        self,
        form: Format,
        write: Callable[[bytes], object],
        levels: Levels,
        clocks: tuple[Callable[[], float], Callable[[], float]],
    ) -> None:
        self.levels = levels
        self.left_out = 0
        self.remind: Callable[[], object] = lambda: None
        self._is_reminded = False
        self._form = form
        self._write = write
        self._wall, self._now = clocks
        self._stamps = Stamps()
        self._flood: Flood[tuple[Any, Any, Any]] = Flood(_FLOOD_PER_S)

    def __call__(self, event: LogEvent) -> None:
        """Write an event that is important enough, if there were not too many like it."""
        try:
            if self.levels.admits(event) and self._is_admitted(event):
                self._write(self._form(self._event(event)))
        except Exception as error:  # a log that raises ends what it should tell of
            lost = f"an event cannot be written: {type(error).__name__}"
            self._write(self._form(self._note("error", "mcpgate.eventlog", lost)))

    def tell_left_out(self, at_last: bool = False) -> None:
        """Say what was left out in the seconds that are over; ``at_last`` also in this one."""
        self._is_reminded = False
        for (level, logger, form), count in self._flood.left_out(None if at_last else self._now()):
            text = f"{count} more like this are left out: {str(form)[:_FIELD_LETTERS]}"
            note = self._note(_named(level), _module(logger), text)
            note.fields["left_out"] = count
            self._write(self._form(note))
        if self._flood.is_counting:
            self._be_reminded()

    def _be_reminded(self) -> None:
        if not self._is_reminded:
            self._is_reminded = True
            self.remind()

    def _is_admitted(self, event: LogEvent) -> bool:
        kind = event.get("log_level"), event.get("log_namespace"), f"{event.get('log_format')}{_where(event)}"
        if self._flood.admits(kind, self._now()):
            return True
        self.left_out += 1
        self._be_reminded()
        return False

    def _event(self, event: LogEvent) -> Event:
        failure = event.get("log_failure")
        return Event(
            self._stamps.at(event.get("log_time") or self._wall()),
            _named(event.get("log_level")),
            _module(event.get("log_namespace", "")),
            _message(event)[:_MESSAGE_LETTERS],
            _fields(event),
            failure.getTraceback()[-_TRACEBACK_LETTERS:] if failure is not None else "",
        )

    def _note(self, level: str, logger: str, message: str) -> Event:
        return Event(self._stamps.at(self._wall()), level, logger, message[:_MESSAGE_LETTERS], {})


def _named(level: Any) -> str:
    return "info" if level is None else str(level.name)


def _module(namespace: object) -> str:
    """A class names its logger after itself; whoever reads, or sets levels, knows modules."""
    name = str(namespace)
    module, _, last = name.rpartition(".")
    return module if last[:1].isupper() and module else name


def _message(event: LogEvent) -> str:
    """Twisted's own formatting takes twice as long as all the rest, and few events need what it can do."""
    form = event.get("log_format")
    if isinstance(form, str) and "(" not in form:
        try:
            return form.format_map(event)
        except Exception:  # whatever a field does when it becomes text
            return formatEvent(event)
    return formatEvent(event)


def _where(event: LogEvent) -> str:
    """Which failure it is, if it is one: another one is worth its own lines."""
    failure = event.get("log_failure")
    if failure is None:
        return ""
    frame = failure.frames[-1][:3] if failure.frames else ""
    return f" ({failure.type.__name__} {frame})"


def _fields(event: LogEvent) -> dict[str, Any]:
    """What is simple of an event's own."""
    told: dict[str, Any] = {}
    for name, value in event.items():
        if name[:4] == "log_" or name in _NOT_FIELDS:
            continue
        if isinstance(value, str):
            told[name] = value[:_FIELD_LETTERS]
        elif isinstance(value, int | float):
            told[name] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            told[name] = [item[:_FIELD_LETTERS] for item in value[:_ITEMS]]
    return told
