"""Where one request goes and how its answer is read: what the phases before the relay tell it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from mcpgate.exchange import Answer, Exchange
from mcpgate.upstream.server import Placement, Server
from mcpgate.wire.http1 import AnswerHead, carries_body


class Publication(Protocol):
    """What of an answer is written anew for this client (`policy/publication.py`)."""

    def block(self, head: AnswerHead, block: bytes) -> bytes:
        """The header lines of an answer."""

    def endpoint(self, target: bytes) -> bytes:
        """The public address that a legacy stream announces."""


class Plan(NamedTuple):
    """What was decided from a head: where it goes, and how the answer is read. Without ``publication`` it passes."""

    server: Server
    placement: Placement
    target: bytes
    holds_first_event: bool
    publication: Publication | None = None


def answer_of(exchange: Exchange, plan: Plan, head: AnswerHead) -> Answer:
    """The head as the client gets it: addresses that point at the upstream point at us instead."""
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
