"""
What the demo server remembers of a client between two requests (the stateless era needs none of it).

A :class:`Conversation` knows the answers under way, so that the client can cancel them; HTTP+SSE needs no
more. A :class:`Session` adds streams that survive a lost connection: every event goes into a small ring, and
a client that comes back with ``Last-Event-ID`` gets what it missed. :class:`Sessions` finds them by id.
"""

from __future__ import annotations

import itertools
import re
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from mcpgate.demo.messages import ErrorCode, Notice, Refused, RequestId, Stream, is_request_id
from mcpgate.demo.streams import EventStream, Playback
from mcpgate.demo.tools import Json

#: Events that one session keeps for a client that comes back: some 20 KiB.
RING_EVENTS: Final = 100

#: Clients often forget to say goodbye; the demo must not grow for as long as it runs.
MAX_SESSIONS: Final = 1000

#: The first version whose clients expect an event with an id and no message (2025-11-25, SEP-1699).
PRIMING_SINCE: Final = "2025-11-25"

Ring = deque[tuple[int, int, Json]]


class Conversation:
    """The answers under way for one client that cancels by ``notifications/cancelled``."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._playbacks: dict[RequestId, Playback] = {}

    @property
    def is_idle(self) -> bool:
        return not self._playbacks

    def begin(
        self, request_id: RequestId, answer: Stream, say: Callable[[Json], None], over: Callable[[], None]
    ) -> None:
        """Play an answer; the arguments are those of :class:`Playback`."""
        self._stop(request_id)  # an id is unique in a session: who uses it again has given up the first

        def forget() -> None:
            del self._playbacks[request_id]
            over()

        self._playbacks[request_id] = Playback(self._clock, answer, say, forget)

    def heed(self, notice: Notice) -> None:
        """Stop what the client cancels; no other notification needs anything done."""
        cancelled = notice.params.get("requestId")
        if notice.method == "notifications/cancelled" and is_request_id(cancelled):
            self._stop(cancelled)

    def close(self) -> None:
        for request_id in list(self._playbacks):
            self._stop(request_id)

    def _stop(self, request_id: RequestId) -> None:
        playback = self._playbacks.get(request_id)
        if playback is not None:
            playback.stop()


class ResumableStream:
    """
    The events of one stream of a session: numbered, remembered, and told to whoever listens at the moment.

    An event's id is ``<stream>-<event>``: unique in the session, and it says which stream to go on with, as
    resumption wants it (2025-11-25 ``basic/transports``, "Resumability and Redelivery").
    """

    def __init__(self, number: int, ring: Ring) -> None:
        self._number = number
        self._ring = ring
        self._sent = 0
        self._listener: EventStream | None = None

    @property
    def has_listener(self) -> bool:
        return self._listener is not None and self._listener.is_open

    def listen(self, listener: EventStream) -> None:
        """Send to this response from now on. A message goes to one only: the one before is ended."""
        self.end()
        self._listener = listener

    def send(self, message: Json) -> None:
        self._sent += 1
        self._ring.append((self._number, self._sent, message))
        if self._listener is not None:
            self._listener.send(message, self._event_id(self._sent))

    def prime(self) -> None:
        if self._listener is not None:
            self._listener.prime(self._event_id(self._sent))

    def replay(self, after: int) -> None:
        """Tell the listener what came after that event, as far back as the ring reaches."""
        for number, event, message in self._ring:
            if self._listener is not None and number == self._number and event > after:
                self._listener.send(message, self._event_id(event))

    def end(self) -> None:
        if self._listener is not None:
            self._listener.end()

    def _event_id(self, event: int) -> str:
        return f"{self._number}-{event}"


class Session:
    """One session of the era that has them (2025-03-26 to 2025-11-25)."""

    def __init__(self, clock: IReactorTime, session_id: str, version: str) -> None:
        self.id = session_id
        self.conversation = Conversation(clock)
        self._primes = version >= PRIMING_SINCE
        self._ring: Ring = deque(maxlen=RING_EVENTS)
        self._numbers = itertools.count(1)
        # Stream 0 is the one a GET opens. The demo has nothing to say on it; it shows that one may be open.
        self._standalone = ResumableStream(0, self._ring)
        self._streams = {0: self._standalone}

    @property
    def is_idle(self) -> bool:
        return self.conversation.is_idle and not self._standalone.has_listener

    def tell(self, request_id: RequestId, answer: Stream, listener: EventStream) -> None:
        """Tell an answer on a stream of its own, to the end even if the listener is lost."""
        number = next(self._numbers)
        stream = self._streams[number] = ResumableStream(number, self._ring)

        def over() -> None:
            del self._streams[number]
            stream.end()

        self._open(stream, listener)
        self.conversation.begin(request_id, answer, stream.send, over)

    def listen(self, listener: EventStream) -> None:
        """Open the stream for what belongs to no request."""
        self._open(self._standalone, listener)

    def resume(self, position: tuple[int, int], listener: EventStream) -> None:
        """Go on with a stream behind an event that :func:`read_position` read."""
        number, after = position
        stream = self._streams.get(number)
        if stream is not None:
            stream.listen(listener)
            stream.replay(after)
        else:
            ended = ResumableStream(number, self._ring)
            ended.listen(listener)
            ended.replay(after)
            ended.end()

    def close(self) -> None:
        self.conversation.close()
        self._standalone.end()

    def _open(self, stream: ResumableStream, listener: EventStream) -> None:
        stream.listen(listener)
        if self._primes:
            stream.prime()


_POSITION: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def read_position(last_event_id: str) -> tuple[int, int]:
    """
    Read an event id of ours: the stream and the event.

    :raises Refused: if it cannot be ours.
    """
    position = _POSITION.fullmatch(last_event_id)
    if position is None:
        raise Refused(ErrorCode.INVALID_REQUEST, "Last-Event-ID is not from this server")
    return int(position[1]), int(position[2])


class Sessions:
    """
    All sessions, the longest unused first.

    :param session_ids: makes ids of visible ASCII that nobody can guess.
    """

    def __init__(self, clock: IReactorTime, session_ids: Callable[[], str], limit: int = MAX_SESSIONS) -> None:
        self._clock = clock
        self._session_ids = session_ids
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, version: str) -> Session:
        """Begin a session. At the limit the longest idle one goes; its client gets 404 and begins anew."""
        if len(self._sessions) >= self._limit:
            idle = (session.id for session in self._sessions.values() if session.is_idle)
            self.close(next(idle, next(iter(self._sessions))))
        session = Session(self._clock, self._session_ids(), version)
        self._sessions[session.id] = session
        return session

    def find(self, session_id: str | None) -> Session:
        """:raises Refused: 400 without an id, 404 if there is no such session (any more)."""
        if session_id is None:
            raise Refused(ErrorCode.INVALID_REQUEST, "no Mcp-Session-Id: initialize first", status=400)
        if session_id not in self._sessions:
            raise Refused(ErrorCode.INVALID_REQUEST, "no such session: initialize again", status=404)
        self._sessions.move_to_end(session_id)
        return self._sessions[session_id]

    def close(self, session_id: str) -> None:
        self._sessions.pop(session_id).close()
