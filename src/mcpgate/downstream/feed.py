"""
The live status as server-sent events, for all who watch: made and encoded once in two seconds, while somebody does.

A reader that does not take bytes misses events and gets the next one when it reads again: each tells everything, so
nothing is kept for anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from mcpgate.pipeline import Cancellable

#: As often as a person looks; status and encoding of 200 servers take some milliseconds.
TICK_S = 2.0
#: Screens on walls and open tabs; whoever wants numbers scrapes.
MAX_READERS = 32


@implementer(IPushProducer)
class _Reader:
    """One who watches, as the producer of the answer."""

    def __init__(self, request: Request, done: Deferred[bytes]) -> None:
        self.request = request
        self.done = done
        self.is_full = False

    def pauseProducing(self) -> None:
        self.is_full = True

    def resumeProducing(self) -> None:
        self.is_full = False

    def stopProducing(self) -> None:
        """The request's own end tells, too."""


class Feed:
    """
    Tells its readers the status, at once and every two seconds.

    :param status: the JSON twin of the status page.
    :param call_later: as the reactor's.
    """

    log = Logger()

    def __init__(self, status: Callable[[], dict[str, Any]], call_later: Callable[..., Cancellable]) -> None:
        self._status = status
        self._call_later = call_later
        self._readers: list[_Reader] = []
        self._newest = b""
        self._tick: Cancellable | None = None
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._readers)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more."""
        return len(self._readers) >= MAX_READERS

    def tell(self, request: Request) -> Deferred[bytes]:
        """
        Send events to a request from now on, whose head has been set.

        :returns: fires when the feed is closed, and never if the reader leaves before.
        """
        event = self._newest if self._readers else self._event()
        reader = _Reader(request, Deferred())
        self._readers.append(reader)
        # Before anything is written: a client that has closed its side is found to have left just then.
        request.notifyFinish().addErrback(lambda _: self._forget(reader))
        request.registerProducer(reader, True)
        request.write(event)
        if self._readers and self._tick is None:
            self._tick = self._call_later(TICK_S, self._tell_all)
        return reader.done

    def close(self) -> None:
        """End all answers, each with its proper end; nobody is told anything any more."""
        self.is_closed = True
        readers, self._readers = self._readers, []
        self._stop()
        for reader in readers:
            reader.request.unregisterProducer()
            reader.done.callback(b"")

    def _event(self) -> bytes:
        self._newest = b"event: status\ndata: %b\n\n" % msgspec.json.encode(self._status())
        return self._newest

    def _tell_all(self) -> None:
        self._tick = self._call_later(TICK_S, self._tell_all)
        try:
            event = self._event()
        except Exception:
            self.log.failure("the status could not be told")  # the next may go well
            return
        for reader in list(self._readers):
            if not reader.is_full:
                reader.request.write(event)

    def _forget(self, reader: _Reader) -> None:
        if reader in self._readers:
            self._readers.remove(reader)
        if not self._readers:
            self._stop()

    def _stop(self) -> None:
        self._newest = b""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
