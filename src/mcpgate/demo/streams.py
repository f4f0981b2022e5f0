# mypy: untyped-calls-exclude=twisted
"""
Two things the demo server streams with: an event stream that is open, and an answer that is being told.

They live apart. An :class:`EventStream` is an HTTP response and dies with its connection. A
:class:`Playback` is an answer under way; whether it dies with the response (stateless era) or goes on without
it (session era, where a lost connection is no cancellation) is decided by whoever started it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.server import Request as HttpRequest

from mcpgate.demo.messages import Stream
from mcpgate.demo.tools import Json

#: What both official SDK servers use. An idle timeout anywhere on the way must be longer.
KEEP_ALIVE_S: Final = 15.0

#: How long a client should wait before it comes back (``retry`` of a priming event).
RETRY_MS: Final = 1000


class EventStream:
    """
    An open response of type ``text/event-stream``.

    Its head is on the wire when the constructor returns. Every 15 s it says a comment, lest somebody on the
    way takes it for dead. What is sent to a stream that has ended is dropped.

    :param left: called once if the client goes before :meth:`end`.
    """

    def __init__(self, request: HttpRequest, clock: IReactorTime, left: Callable[[], None] = lambda: None) -> None:
        self._request = request
        self._left = left
        self.is_open = True
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-cache, no-transform")
        request.setHeader(b"x-accel-buffering", b"no")
        request.write(b"")
        self._keep_alive = LoopingCall(request.write, b": keep-alive\n\n")
        self._keep_alive.clock = clock
        self._keep_alive.start(KEEP_ALIVE_S, now=False)
        request.notifyFinish().addErrback(self._client_left)

    def send(self, message: Json, event_id: str = "") -> None:
        """Send a JSON-RPC message as one ``message`` event."""
        self._write("message", json.dumps(message), event_id)

    def announce(self, address: str) -> None:
        """Send the first event of HTTP+SSE: where to POST (2024-11-05 ``basic/transports``)."""
        self._write("endpoint", address)

    def prime(self, event_id: str) -> None:
        """Send an id without a message, so that the client can come back before there is one (SEP-1699)."""
        self._write("", "", event_id, f"retry: {RETRY_MS}\n")

    def _write(self, event: str, text: str, event_id: str = "", retry: str = "") -> None:
        if self.is_open:
            name = f"event: {event}\n" if event else ""
            number = f"id: {event_id}\n" if event_id else ""
            self._request.write(f"{name}{number}{retry}data: {text}\n\n".encode())

    def end(self) -> None:
        """End the response as it should end. Does nothing if it has ended already."""
        if self.is_open:
            self._close()
            self._request.finish()

    def _client_left(self, reason: Failure) -> None:
        if self.is_open:
            self._close()
            self._left()

    def _close(self) -> None:
        self.is_open = False
        self._keep_alive.stop()


class Playback:
    """
    One streamed answer under way: says each message, the first at once, and keeps the pauses.

    :param say: takes each message.
    :param over: called once, when the last message is out or :meth:`stop` was called.
    """

    def __init__(
        self, clock: IReactorTime, stream: Stream, say: Callable[[Json], None], over: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._stream = stream
        self._say = say
        self._over = over
        self._is_over = False
        self._due: IDelayedCall | None = None
        self._step()

    def _step(self) -> None:
        self._due = None
        try:
            message, pause_s = next(self._stream.steps)
        except StopIteration:
            if self._stream.parting is None:
                self.stop()
            return
        if message is not None:
            self._say(message)
        self._due = self._clock.callLater(pause_s, self._step)

    def stop(self) -> None:
        """Say nothing more: the client has cancelled or left."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if not self._is_over:
            self._is_over = True
            self._over()

    def part(self) -> None:
        """End a stream that would stay open, with the response it owes."""
        if self._stream.parting is not None:
            self._say(self._stream.parting)
            self.stop()
