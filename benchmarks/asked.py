"""Which questions there are, and who can be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import Subject
from benchmarks.peers.gateway import FULL as FULL_GATEWAY
from benchmarks.peers.gateway import GUARDED, OPEN
from benchmarks.peers.ground import Peer
from benchmarks.peers.nginx import Nginx
from benchmarks.questions import bodies, fanout, memory, passing, registering, requests, scrape, sse, telling
from benchmarks.questions.registrar import OpenGateway

Measure = Callable[[Subject, Extent], dict[Figure, Reading]]

QUESTIONS: dict[str, Measure] = {
    "requests": requests.measure,
    "sse": sse.measure,
    "memory": memory.measure,
    "bodies": bodies.measure,
    "fanout": fanout.measure,
    "registering": registering.measure,
}
#: Questions about code alone: nothing is started and nobody compared.
ALONE: dict[str, Callable[[], dict[Figure, Reading]]] = {
    "passing": passing.measure,
    "scrape": scrape.measure,
    "telling": telling.measure,
}
WITHOUT_LOG = dataclasses.replace(FULL_GATEWAY, name="mcpgate-nolog", access="off")
PEERS: dict[str, Peer] = {peer.name: peer for peer in (Nginx(), FULL_GATEWAY, OPEN, GUARDED, WITHOUT_LOG)}
#: Questions that not every subject can answer: who is asked instead, whatever is chosen.
ASKED: dict[str, tuple[Peer, ...]] = {"fanout": (Nginx(), OpenGateway()), "registering": (OpenGateway(),)}
