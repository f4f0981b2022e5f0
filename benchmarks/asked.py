"""Which questions there are, and who can be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from benchmarks.asking import Measure
from benchmarks.figures import Figure, Reading
from benchmarks.peers.contextforge import ContextForge
from benchmarks.peers.envoy import Envoy
from benchmarks.peers.express import Express
from benchmarks.peers.fastmcp_proxy import FastmcpProxy
from benchmarks.peers.gateway import FULL as FULL_GATEWAY
from benchmarks.peers.gateway import GUARDED, OPEN
from benchmarks.peers.ground import Peer
from benchmarks.peers.haproxy import Haproxy
from benchmarks.peers.klein_treq import KleinTreq
from benchmarks.peers.mcp_proxy import McpProxy
from benchmarks.peers.nginx import Nginx
from benchmarks.peers.passing_mcp import Passing
from benchmarks.questions import (
    bodies,
    fanout,
    features,
    first_event,
    held,
    idle,
    latency,
    mcp,
    memory,
    mixed,
    opening,
    overload,
    passing,
    registering,
    requests,
    routes,
    scrape,
    sse,
    telling,
)
from benchmarks.questions.registrar import OpenGateway

QUESTIONS: dict[str, Measure] = {
    "requests": requests.measure,
    "sse": sse.measure,
    "memory": memory.measure,
    "bodies": bodies.measure,
    "fanout": fanout.measure,
    "registering": registering.measure,
    "held": held.measure,
    "idle": idle.measure,
    "latency": latency.measure,
    "first_event": first_event.measure,
    "opening": opening.measure,
    "mixed": mixed.measure,
    "overload": overload.measure,
    "routes": routes.measure,
    "features": features.measure,
    "mcp": mcp.measure,
}
#: Questions about code alone: nothing is started and nobody compared.
ALONE: dict[str, Callable[[], dict[Figure, Reading]]] = {
    "passing": passing.measure,
    "scrape": scrape.measure,
    "telling": telling.measure,
}
WITHOUT_LOG = dataclasses.replace(FULL_GATEWAY, name="mcpgate-nolog", access="off")
_OTHERS = (Nginx(), Haproxy(), Envoy(), Express(), KleinTreq())
PEERS: dict[str, Peer] = {peer.name: peer for peer in (*_OTHERS, FULL_GATEWAY, OPEN, GUARDED, WITHOUT_LOG)}
#: Questions that not every subject can answer: who is asked instead, whatever is chosen.
ASKED: dict[str, tuple[Peer, ...]] = {
    "fanout": (Nginx(), OpenGateway()),
    "registering": (OpenGateway(),),
    "routes": (Nginx(), FULL_GATEWAY),
    "features": (FULL_GATEWAY,),
    "mcp": (Passing(Nginx()), Passing(FULL_GATEWAY), FastmcpProxy(), McpProxy(), ContextForge()),
}

#: Who is asked if nobody is named; and who is for a report, as far as they are installed.
USUAL = ("nginx", "mcpgate")
REPORTED = ("nginx", "haproxy", "envoy", "http-proxy-middleware", "klein-treq", "mcpgate")
#: For a first look.
QUICK_QUESTIONS = ("requests", "sse", "memory", "bodies")
#: Peers that are slow are asked what their users feel first, and hold fewer streams: a report must end in time.
ASKED_OF: dict[str, tuple[str, ...]] = dict.fromkeys(("http-proxy-middleware", "klein-treq"), QUICK_QUESTIONS)
STREAMS_AT_MOST = {"http-proxy-middleware": 1000, "klein-treq": 1000}
