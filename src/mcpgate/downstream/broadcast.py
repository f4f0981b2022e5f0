"""
One source of events and all who listen to it, as server-sent events (WHATWG HTML, "Server-sent events").

What was published in one turn of the reactor leaves in one write to each reader, made once for all who may see the
same (their *view*). The rules:

* A *live* reader has been told everything up to the last round. It is cut as soon as it does not take what it is told:
  it comes back with the id of the last event it has read, and nobody waits for it.
* A reader that comes back, or that a burst has left behind, catches up *apart*, in pieces, while it takes them.
* Whoever asks for more than the ring holds is told ``reset``: what it knows is out of date, it reads the listing anew.

A round is cut into slices, so that thousands of readers do not hold the reactor; the next begins when it is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from twisted.logger import Logger

from mcpgate.downstream.ring import Event, Render, Ring, word
from mcpgate.errors import BadRequest, Draining, GatewayError, MethodRefused, Overloaded
from mcpgate.exchange import Answer, Downstream, Ended, Exchange
from mcpgate.wire.chunks import ChunkReader, chunk

if TYPE_CHECKING:
    from mcpgate.pipeline import Cancellable, Pipeline

#: How long the reactor is held, and to how many readers is written between two looks at the clock (0.4 ms).
SLICE_S, HANDFUL = 0.004, 64
_RETRY = b"retry: 2000\n\n"
_KEEP_ALIVE = b": keep-alive\n\n"
#: Without the last of these nginx would collect events.
_BLOCK = b"Content-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n"


class Timing(NamedTuple):
    """``call_later`` as the reactor's; ``now`` the clock that only goes forward, by which tokens expire here."""

    call_later: Callable[..., Cancellable]
    now: Callable[[], float]


def _nothing(text: bytes) -> None:
    """How a reader is told that has left."""


class _Reader:
    """
    One who listens, as the sink of its exchange.

    :ivar place: the first event it has not been told; counts only while it is not live.
    :ivar is_full: whether it does not take what it was told while it caught up.
    :ivar is_greeted: whether it knows where it stands.
    """

    __slots__ = (
        "_seen_bytes", "exchange", "feed", "is_full", "is_greeted", "is_live", "is_over", "outcome", "place", "port",
        "send", "told_bytes", "view",
    )  # fmt: skip

    def __init__(self, feed: Broadcast, exchange: Exchange, port: Downstream, outcome: Pipeline) -> None:
        self.feed = feed
        self.exchange = exchange
        self.port = port
        self.outcome = outcome
        self.view: Hashable = None
        self.send: Callable[[bytes], None] = _nothing
        self.place = self.told_bytes = self._seen_bytes = 0
        self.is_live = self.is_full = self.is_greeted = self.is_over = False

    @property
    def wire_bytes(self) -> int:
        """For the door, which takes the client's pace: told past it since it has set this to zero."""
        return self.told_bytes - self._seen_bytes

    @wire_bytes.setter
    def wire_bytes(self, left_bytes: int) -> None:
        self._seen_bytes = self.told_bytes - left_bytes

    def take_body(self, data: bytes) -> None:
        """Nobody asks for one."""

    def end_body(self) -> None:
        """Likewise."""

    def lose_client(self, ended: Ended, error: GatewayError | None) -> None:
        self.feed._part(self, ended)

    def pause_answer(self) -> None:
        self.is_full = True
        if self.is_live:
            self.feed._cut(self)

    def resume_answer(self) -> None:
        was_full, self.is_full = self.is_full, False
        if was_full:  # twisted.web resumes one that it has not paused, too
            self.feed._catch_up(self)

    def take_tunnel(self, data: bytes) -> None:
        """There are no tunnels here."""


class Broadcast:
    """
    Tells all who listen what is published; a `mcpgate.pipeline.LocalTarget`.

    :param view_of: what decides what somebody may see and how it looks; two with equal views are told the same.
    :param render: the JSON of an event for a view, on one line; ``None`` if that view may not see it.
    :param index: the present one, asked at once, too; the ids of events are not above it.
    :param keep_alive_s: after so many seconds without an event everybody is told that the stream is still there.
    :param max_subscribers: one more is refused.
    :ivar cut_count: readers that were cut because they did not read; ``event_count`` what was published.
    """

    log = Logger()

    def __init__(
        self,
        view_of: Callable[[Exchange], Hashable],
        render: Render,
        timing: Timing,
        *,
        index: Callable[[], int],
        keep_alive_s: Callable[[], float],
        max_subscribers: Callable[[], int],
    ) -> None:
        self._view_of = view_of
        self._call_later, self._now = timing
        self._index = index
        self._keep_alive_s = keep_alive_s
        self._max_subscribers = max_subscribers
        self._ring = Ring(index(), render, self._fail)
        # Dicts for their order. Live ones by view, and by whether their chunks are written past the door.
        self._readers: dict[_Reader, None] = {}
        self._apart: dict[_Reader, None] = {}
        self._live: dict[tuple[Hashable, bool], dict[_Reader, None]] = {}
        self._told_place = 0  # up to where live readers have been told, once the present round is over
        self._round: Iterator[None] | None = None
        self._turn: Cancellable | None = None
        self._silence: Cancellable | None = None
        self._is_silent = False
        self._earliest_expiry_s = math.inf
        self.cut_count = self.event_count = 0
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._readers)

    # --- coming and leaving -------------------------------------------------------------------------------------

    def answer(self, exchange: Exchange, port: Downstream, outcome: Pipeline) -> None:
        """
        Begin an answer that goes on until somebody leaves; a HEAD request gets its head alone.

        With ``Last-Event-ID`` it begins with what was published after that, and ``ready`` follows; or with ``reset``,
        if that is not known any more. The client is told of everything from there on exactly once.

        :raises MethodRefused: for other methods; ``BadRequest`` for a body that is still to come.
        :raises Overloaded: there are enough readers; ``Draining`` after `close`.
        """
        method = exchange.head.method
        if method not in (b"GET", b"HEAD"):
            error = MethodRefused()
            error.allow = "GET, HEAD"
            raise error
        if self.is_closed:
            raise Draining
        if not exchange.body_is_here:
            raise BadRequest("a request for events has no body")
        if method == b"HEAD":
            exchange.status = 200
            outcome.record(exchange, Ended.COMPLETE)
            port.start(Answer(200, b"OK", _BLOCK + exchange.cors, has_body=False), b"", True)
        elif len(self._readers) < self._max_subscribers():
            self._begin(_Reader(self, exchange, port, outcome))
        else:
            raise Overloaded("these events have as many readers as they may have; try again later")

    def recheck(self, admits: Callable[[Exchange], bool]) -> None:
        """
        After the rules have changed: end who may not listen any more; who sees something else now is told ``reset``.
        :param admits: may renew what the exchange knows of its principal.
        """
        for _ in self._round or ():
            pass  # some milliseconds; else an older event would come after the reset
        self._round = None
        self._ring.forget(self._index())
        self._earliest_expiry_s = math.inf
        for reader in list(self._readers):
            if not admits(reader.exchange):
                self._end(reader, Ended.REVOKED)
                continue
            self._earliest_expiry_s = min(self._earliest_expiry_s, reader.exchange.expires_s)
            view = self._view_of(reader.exchange)
            if view != reader.view:
                self._take_out(reader)
                reader.view, reader.place = view, -1
                self._catch_up(reader)

    def close(self) -> None:
        """End all answers, each with its proper end; whoever comes from now on is refused."""
        self.is_closed = True
        for reader in list(self._readers):
            self._end(reader, Ended.DRAIN)

    def _begin(self, reader: _Reader) -> None:
        exchange, port = reader.exchange, reader.port
        last_id = exchange.head.noted.get(b"last-event-id")
        reader.view = self._view_of(exchange)
        reader.place = self._ring.place_behind(last_id, self._index()) if last_id else self._ring.end
        port.attach(reader)
        self._readers[reader] = None
        self._earliest_expiry_s = min(self._earliest_expiry_s, exchange.expires_s)
        exchange.status, exchange.transport, exchange.bytes_in = 200, "sse", len(exchange.body)
        exchange.first_event_s = self._now()
        reader.outcome.open_stream(exchange)
        reader.outcome.first_event(exchange)
        text = _RETRY + self._next(reader, self._ring.end)
        reader.told_bytes = reader._seen_bytes = len(text)
        port.start(Answer(200, b"OK", _BLOCK + exchange.cors, is_stream=True), text)
        if reader.is_over:
            return
        reader.send = port.pipe_from(cast(ChunkReader, reader)).write if port.forwards_chunks else port.write
        self._catch_up(reader)
        if self._silence is None:
            self._await_silence()

    def _cut(self, reader: _Reader) -> None:
        self.cut_count += 1
        self._part(reader, Ended.SEND_TIMEOUT)
        reader.port.abort()

    def _end(self, reader: _Reader, ended: Ended) -> None:
        self._part(reader, ended)
        reader.port.finish()

    def _part(self, reader: _Reader, ended: Ended) -> None:
        """It is told nothing any more, and its exchange is recorded."""
        if reader.is_over:
            return
        reader.is_over, reader.send = True, _nothing
        del self._readers[reader]
        self._take_out(reader)
        if not self._readers:
            self._rest()
        reader.exchange.bytes_out = reader.told_bytes
        reader.outcome.record(reader.exchange, ended)

    def _take_out(self, reader: _Reader) -> None:
        self._apart.pop(reader, None)
        if reader.is_live:
            reader.is_live = False
            key = reader.view, reader.port.forwards_chunks
            del self._live[key][reader]
            if not self._live[key]:
                del self._live[key]

    def _rest(self) -> None:
        """Nobody listens: wake up for nothing, and keep the events alone."""
        for call in filter(None, (self._turn, self._silence)):
            call.cancel()
        self._turn = self._silence = self._round = None
        self._is_silent = False
        self._told_place = self._ring.end
        self._earliest_expiry_s = math.inf
        self._ring.forget_texts()

    def _expire(self) -> None:
        """A walk over 5,000 readers takes half a millisecond, and at least one of them ends."""
        now_s = self._now()
        if now_s < self._earliest_expiry_s:
            return
        for reader in list(self._readers):
            if reader.exchange.expires_s <= now_s:
                self._end(reader, Ended.REVOKED)
        self._earliest_expiry_s = min((reader.exchange.expires_s for reader in self._readers), default=math.inf)

    # --- telling ------------------------------------------------------------------------------------------------

    def publish(self, kind: str, index: int, subject: object) -> None:
        """
        Tell everybody, from the next turn of the reactor on.

        :param index: greater than that of the event before; the present one by then.
        """
        self.event_count += 1
        self._ring.add(Event(index, kind, subject))
        if self._readers:
            self._go_on()
        else:
            self._told_place = self._ring.end

    def _go_on(self) -> None:
        if self._turn is None:
            self._turn = self._call_later(0, self._work)

    def _work(self) -> None:
        """One slice of the present round, or of a new one."""
        self._turn = None
        if self._round is None:
            self._expire()
            if not self._readers:
                return
            self._round = self._new_round()
        until_s = self._now() + SLICE_S
        for _ in self._round:
            if self._now() >= until_s:
                break
        else:
            self._round = None
        if self._readers and (self._round is not None or self._is_silent or self._told_place < self._ring.end):
            self._go_on()

    def _new_round(self) -> Iterator[None]:
        """Tell everybody what is new; after each handful of readers it may be left for a while."""
        place, end = self._told_place, self._ring.end
        was_silent, self._is_silent, self._told_place = self._is_silent, False, end
        shares = [(key, list(readers)) for key, readers in self._live.items()]
        for reader in list(self._apart):
            self._catch_up(reader)
        hears_all = True
        for (view, is_chunked), readers in shares:
            text, behind = self._ring.piece(view, place, end) if self._ring.holds(place) else (b"", place)
            text = text or (_KEEP_ALIVE if was_silent else b"")
            hears_all = hears_all and bool(text)
            if behind < end:
                tell = partial(self._leave_behind, place)
            elif text:
                tell = partial(_tell, text, is_chunked)
            else:
                continue
            for at in range(0, len(readers), HANDFUL):
                tell(readers[at : at + HANDFUL])
                yield
        if hears_all:
            self._await_silence()

    def _leave_behind(self, place: int, readers: Sequence[_Reader]) -> None:
        """There is more than can be written at once: each takes it as fast as it can."""
        for reader in readers:
            if reader.is_live:
                self._take_out(reader)
                reader.place = place
                self._catch_up(reader, self._told_place)

    def _catch_up(self, reader: _Reader, end: int | None = None) -> None:
        """Tell a reader what it has missed, while it takes it; from then on it is live."""
        end = end or self._ring.end
        while reader.place < end and not reader.is_full and not reader.is_over:
            text = self._next(reader, end)
            if text:
                _tell(text, reader.port.forwards_chunks, (reader,))
        if reader.is_over:
            return
        # One that is ahead of the others would be told again what it knows; one that is full would never be paused.
        if reader.place == self._told_place and not reader.is_full:
            reader.is_live = True
            self._apart.pop(reader, None)
            self._live.setdefault((reader.view, reader.port.forwards_chunks), {})[reader] = None
        else:
            self._apart[reader] = None

    def _next(self, reader: _Reader, end: int) -> bytes:
        """The next piece for a reader that is not live; with the word that it knows everything, when it does."""
        if not self._ring.holds(reader.place):
            reader.place, reader.is_greeted = self._ring.end, True
            return word(b"reset", self._index())
        text, reader.place = self._ring.piece(reader.view, reader.place, end)
        if reader.is_greeted or reader.place < end:
            return text
        reader.is_greeted = True
        return text + word(b"ready", self._index())

    def _fail(self, event: Event) -> None:
        self.log.failure("an event could not be told: {event!r}", event=event)  # the next may go well

    # --- silence ------------------------------------------------------------------------------------------------

    def _await_silence(self) -> None:
        """One timer for all."""
        if self._silence is not None:
            self._silence.cancel()
        self._silence = self._call_later(self._keep_alive_s(), self._break_silence) if self._readers else None

    def _break_silence(self) -> None:
        self._silence, self._is_silent = None, True
        self._go_on()


def _tell(text: bytes, is_chunked: bool, readers: Sequence[_Reader]) -> None:
    """Write to each, counted: beside `send` itself a tenth of what that costs (5,000 readers, 230 bytes)."""
    framed = chunk(text) if is_chunked else text
    text_bytes = len(text)
    for reader in readers:
        reader.told_bytes += text_bytes
        reader.send(framed)
