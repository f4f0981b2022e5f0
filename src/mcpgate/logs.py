"""
The two logs of a process: opened, reopened and closed together, on one sink if they go to the same place.

Access lines go where the configuration says, events where twistd's options say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from mcpgate import accesslog, eventlog
from mcpgate.accesslog import AccessLog
from mcpgate.eventlog import EventLog, Levels
from mcpgate.logsink import Inlet, LogSink
from mcpgate.settings.observability import LoggingSettings

#: How long after a flood began its count is told.
_REMIND_S = 1.0
_STDOUT = ""


@dataclass(frozen=True, slots=True)
class Lent:
    """What the process lends to its logs; ``wall`` and ``now`` as everywhere, ``random`` from 0 to 1."""

    reactor: Any  # IReactorTime and IReactorFromThreads
    wall: Callable[[], float]
    now: Callable[[], float]
    random: Callable[[], float]


def event_path(options: Mapping[str, Any] | None) -> str | None:
    """
    Where events go, as twistd's own options say.

    :param options: of ``twistd``, not of the plugin; ``None`` without a twistd.
    :returns: an absolute path, or an empty one for standard output; ``None`` if twistd is asked to log in its own way.
    """
    if options is None:
        return _STDOUT
    if options["logger"] or options.get("syslog"):
        return None
    is_daemon = not (options.get("nodaemon", True) or options["debug"])
    path = options["logfile"] or ("twistd.log" if is_daemon else "-")
    if path != "-":
        return os.path.abspath(path)
    return None if is_daemon else _STDOUT  # twistd refuses it


class ProcessLogs:
    """
    Access log and event log of one process; the latter as a gateway knows it, too (`mcpgate.surroundings.Logs`).

    Both may be used at once, and write from `start` on.

    :param event_target: as `event_path` gives it.
    :raises SystemExit: a file cannot be opened.
    :ivar access: ``None`` if it is off; ``events`` if twistd logs in its own way.
    """

    log = Logger()

    def __init__(self, settings: LoggingSettings, rundir: str, event_target: str | None, lent: Lent) -> None:
        self._lent = lent
        self._sinks: dict[str, LogSink] = {}
        self._inlets: dict[str, Inlet] = {}
        self._levels = Levels()
        self.follow(settings)
        self.events = self._event_log(settings, event_target) if event_target is not None else None
        self.access = self._access_log(settings, rundir) if settings.access != "off" else None
        stdout = self._sinks.get(_STDOUT)
        #: What tells a person something must go elsewhere than standard output, if programs read that.
        self.stdout_is_json = stdout is not None and not _is_text(settings, stdout)
        self._events_on_stdout = event_target == _STDOUT

    def _event_log(self, settings: LoggingSettings, path: str) -> EventLog:
        sink = self._sink(path, "-l")
        inlet = self._inlets["event"] = sink.inlet()
        form = eventlog.text_line if _is_text(settings, sink) else eventlog.json_line
        log = EventLog(form, inlet.write, self._levels, (self._lent.wall, self._lent.now))
        reactor = self._lent.reactor
        log.remind = lambda: reactor.callFromThread(reactor.callLater, _REMIND_S, log.tell_left_out)
        return log

    def _access_log(self, settings: LoggingSettings, rundir: str) -> AccessLog:
        target, lent = settings.access, self._lent
        path = _STDOUT
        if target.startswith("file:"):
            path = os.path.abspath(os.path.join(rundir, target.removeprefix("file:")))
        sink = self._sink(path, "logging.access")
        inlet = self._inlets["access"] = sink.inlet()
        form = accesslog.text_lines if _is_text(settings, sink) else accesslog.json_lines
        call_later = lent.reactor.callLater
        return AccessLog(form, inlet.write, call_later, (lent.wall, lent.now), settings.sample_2xx, lent.random)

    def _sink(self, path: str, option: str) -> LogSink:
        if path not in self._sinks:
            try:
                self._sinks[path] = LogSink(path, self._tell)
            except OSError as error:
                raise SystemExit(f"mcpgate: {option}: {path}: {error.strerror}")
        return self._sinks[path]

    def _tell(self, text: str) -> None:
        self.log.error("{text}", text=text)

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to write: the process has become a daemon by now, if it wants to be one."""
        for sink in self._sinks.values():
            sink.start()

    def reopen(self) -> None:
        """Go on in new files; what has happened before is in the old ones."""
        if self.access is not None:
            self.access.flush()
        for sink in self._sinks.values():
            sink.reopen()

    def close(self) -> None:
        """Write out what waits; a sink that takes nothing is waited for two seconds."""
        if self.access is not None:
            self.access.flush()
        if self.events is not None:
            self.events.tell_left_out(at_last=True)
        for sink in self._sinks.values():
            sink.close()

    def say(self, text: str) -> bool:
        """
        Tell a person at standard output something, in line with what the logs write there.

        :returns: whether the event log should tell it as well, since that goes elsewhere or is read by a program.
        """
        if not self.stdout_is_json:
            sink = self._sink(_STDOUT, "")
            sink.start()
            sink.inlet().write(text.encode("utf-8", "backslashreplace") + b"\n")
        return self.stdout_is_json or not self._events_on_stdout

    # --- what a gateway knows of it -----------------------------------------------------------------------------

    def dropped_lines(self) -> dict[tuple[str, str], int]:
        """Lines that were not written, by log (``access``, ``event``) and cause (``sink``, ``flood``)."""
        dropped = {(log, "sink"): inlet.dropped for log, inlet in self._inlets.items()}
        if self.access is not None:
            dropped["access", "flood"] = self.access.left_out
        if self.events is not None:
            dropped["event", "flood"] = self.events.left_out
        return dropped

    def levels(self) -> dict[str, Any]:
        """``level``, and ``levels`` by module; empty if twistd logs in its own way."""
        return self._levels.levels() if self.events is not None else {}

    def set_levels(self, wanted: dict[str, Any]) -> list[str]:
        """See `Levels.set_levels`."""
        if self.events is None:
            return ["twistd was told to log in another way, which has no levels"]
        return self._levels.set_levels(wanted)

    def follow(self, settings: LoggingSettings) -> None:
        """Take the levels of the configuration, whatever was set since."""
        self._levels.follow(settings)


def _is_text(settings: LoggingSettings, sink: LogSink) -> bool:
    return settings.format == "text" or (settings.format == "auto" and sink.is_terminal)
