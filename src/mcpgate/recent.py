"""The last refusals and failures, for whoever looks at the gateway because something is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

#: What fits on a page; older ones are in the log.
_KEPT = 50
_DETAIL_LETTERS = 300


class Trouble(NamedTuple):
    """
    One exchange that went wrong; ``at_s`` in seconds since 1970.

    :ivar text: what the client was told; ``detail`` what only the operator is.
    """

    at_s: float
    request_id: str
    server: str
    client: str
    principal: str
    status: int
    reason: str
    ended: str
    text: str
    detail: str


class Recent:
    """The last fifty, the newest first."""

    def __init__(self) -> None:
        self._kept: deque[Trouble] = deque(maxlen=_KEPT)

    def note(self, trouble: Trouble) -> None:
        """Keep one; long texts are cut, since clients and servers have a say in them."""
        text, detail = trouble.text[:_DETAIL_LETTERS], trouble.detail[:_DETAIL_LETTERS]
        self._kept.appendleft(trouble._replace(text=text, detail=detail))

    def __iter__(self) -> Iterator[Trouble]:
        return iter(self._kept)
