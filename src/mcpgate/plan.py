"""Where one request goes and how its answer is read: what the phases before the relay tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mcpgate.exchange import Answer, Exchange
from mcpgate.upstream.server import Placement, Server
from mcpgate.wire.http1 import AnswerHead, carries_body

#: Fields of an answer that are written anew for some client or other; without them only `Publication.cors` differs.
REWRITTEN = frozenset({b"location", b"set-cookie", b"mcp-session-id", b"www-authenticate"})


class Publication(Protocol):
    """
    What of an answer is written anew for this client (`policy/publication.py`).

    :ivar cors: header lines that it gets besides.
    """

    @property
    def cors(self) -> bytes: ...

    def block(self, head: AnswerHead, block: bytes) -> bytes:
        """The header lines of an answer."""

    def endpoint(self, target: bytes) -> bytes:
        """The public address that a legacy stream announces."""


@dataclass(slots=True)
class Plan:
    """What was decided from a head: where it goes, and how the answer is read. Without ``publication`` it passes."""

    server: Server
    placement: Placement
    target: bytes
    holds_first_event: bool
    publication: Publication | None = None


def answer_of(exchange: Exchange, plan: Plan, head: AnswerHead) -> Answer:
    """
    The head as the client gets it: addresses that point at the upstream point at us instead.

    One that is the same for every client is made once, and kept with the head, since a server repeats its heads: 0.1 us
    against 1.2. Not to be changed, therefore.
    """
    kept, publication = head.answer, plan.publication
    if kept is not None and exchange.head.method != b"HEAD" and (publication is None or not publication.cors):
        assert isinstance(kept, Answer)
        return kept
    answer = _answer_of(exchange, plan, head)
    is_same_for_all = answer.block is head.block and REWRITTEN.isdisjoint(head.noted)
    if is_same_for_all and head.content_length is not None and exchange.head.method != b"HEAD":
        head.answer = answer
    return answer


def _answer_of(exchange: Exchange, plan: Plan, head: AnswerHead) -> Answer:
    block = head.block
    location = head.noted.get(b"location")
    if location is not None or head.cookies:
        block += plan.placement.paths.public_fields(location, head.cookies, plan.target)
    has_body = carries_body(exchange.head.method == b"HEAD", head.status)
    block = published(plan, head, block)
    return Answer(head.status, head.phrase, block, head.content_length, has_body, head.is_event_stream)


def published(plan: Plan, head: AnswerHead, block: bytes) -> bytes:
    """The header lines of an answer, with what is written anew for this client."""
    return block if plan.publication is None else plan.publication.block(head, block)
