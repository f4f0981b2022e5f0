"""The first event of a legacy stream, which tells the client where its messages go: written anew for the public."""

from __future__ import annotations

from mcpgate.plan import Plan
from mcpgate.wire.http1 import AnswerHead
from mcpgate.wire.sse import FirstEvent, FirstEventState, rewritten


class Announcement:
    """
    Collects the first event of one stream; at most 64 KiB of it.

    :ivar target: the public address that was announced; empty before, or if the event was another.
    """

    __slots__ = ("_event", "_plan", "target")

    def __init__(self, plan: Plan) -> None:
        self._event = FirstEvent()
        self._plan = plan
        self.target = b""

    @property
    def held(self) -> bytes:
        """Everything that came, as it came."""
        return self._event.held

    def feed(self, data: bytes) -> bytes | None:
        """
        Take the next bytes of the stream.

        :returns: what the client is to get of all that came, once that is known.
        :raises ForeignEndpoint: the server names an address that is not its own.
        """
        event = self._event
        state = event.feed(data)
        if state is FirstEventState.NEEDS_MORE:
            return None
        if state is FirstEventState.TOO_LARGE:
            return event.held
        first = event.raw
        if event.event.name == b"endpoint":
            target = self._plan.placement.paths.endpoint(event.event.data, self._plan.target)
            if self._plan.publication is not None:
                target = self._plan.publication.endpoint(target)
            self.target = target
            first = rewritten(event, target)
        return first + event.rest


def may_announce_endpoint(head: AnswerHead) -> bool:
    """Whether the first event can be read: a stream, and not compressed against our wish."""
    plain = head.noted.get(b"content-encoding", b"identity").lower() == b"identity"
    return head.status == 200 and head.is_event_stream and plain
