"""
What does a tool call cost where MCP is spoken: with a session, and without? And what does a session cost?

Sixteen clients, each of which calls again as soon as it is answered. Peers that end MCP can be asked this only, for
what they pass on is said anew; beside them stand those that pass bytes. A peer that does not speak without sessions has
no figure for that. Windows are of time: a call takes from some microseconds to a tenth of a second.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.extent import Extent
from benchmarks.figures import Figure, Reading
from benchmarks.harness import HarnessFault, Subject
from benchmarks.mcp_load import Client, Crowd
from benchmarks.peers.ground import Endpoint

CLIENTS = 16
IN_SESSION = Figure("CPU per MCP call, session", "µs")
STATELESS = Figure("CPU per MCP call, stateless", "µs")
GREETING = Figure("new MCP session to its first answer", "ms")
PER_SESSION = Figure("memory per open MCP session", "KiB")

#: Clients that come one at a time: as many as can in this time, within these bounds. The median counts, as the first
#: pays for what is loaded late.
_COMING_S, _FEWEST_COME, _MOST_COME = 1.5, 5, 40
#: Sessions opened for their memory, likewise.
_OPENING_S, _FEWEST, _MOST = 3.0, 30, 250


def measure(subject: Subject, extent: Extent) -> dict[Figure, Reading]:
    """
    Return CPU time of all processes per answered call, the median time of a greeting, and memory per session.

    :raises HarnessFault: if the subject is not set up to be asked this.
    """
    endpoint = subject.endpoint
    if endpoint is None:
        raise HarnessFault(f"{subject.name} is not set up for MCP")
    readings: dict[Figure, Reading] = {}
    with ExitStack() as stack:
        readings[GREETING], tool = _greetings(endpoint)
        before_kib = subject.tree.pss_kib()
        sessions = _sessions(endpoint, tool, stack)
        time.sleep(extent.settle_s)
        grown_kib = subject.tree.pss_kib() - before_kib
        readings[PER_SESSION] = Reading(grown_kib / len(sessions), _pace(f"{len(sessions)} sessions", endpoint))
        readings[IN_SESSION] = _calls(subject, endpoint, sessions[:CLIENTS], extent)
        if endpoint.stateless:
            readings[STATELESS] = _calls(subject, endpoint, _without_session(endpoint, stack), extent)
    return readings


def _greetings(endpoint: Endpoint) -> tuple[Reading, str]:
    """Let clients come, ask and call, one at a time; return the median, and the name of the tool."""
    took_s: list[float] = []
    while len(took_s) < _FEWEST_COME or (len(took_s) < _MOST_COME and sum(took_s) < _COMING_S):
        started_s = time.perf_counter()
        with contextlib.closing(Client(endpoint)) as client:
            client.greet()
            tool = client.find_tool()
            client.call()
            took_s.append(time.perf_counter() - started_s)
    return Reading(statistics.median(took_s) * 1e3, f"{len(took_s)} one at a time"), tool


def _sessions(endpoint: Endpoint, tool: str, stack: ExitStack) -> list[Client]:
    """Open sessions, each with one answered call."""
    sessions: list[Client] = []
    deadline = time.monotonic() + _OPENING_S
    while len(sessions) < _FEWEST or (len(sessions) < _MOST and time.monotonic() < deadline):
        client = stack.enter_context(contextlib.closing(Client(endpoint, tool=tool)))
        client.greet()
        client.call()
        sessions.append(client)
    return sessions


def _without_session(endpoint: Endpoint, stack: ExitStack) -> list[Client]:
    """Only the first asks who is there: this era has no beginning that each must make."""
    first = stack.enter_context(contextlib.closing(Client(endpoint, stateless=True)))
    tool = first.find_tool()
    more = [contextlib.closing(Client(endpoint, stateless=True, tool=tool)) for _ in range(CLIENTS - 1)]
    return [first, *(stack.enter_context(each) for each in more)]


def _calls(subject: Subject, endpoint: Endpoint, clients: Sequence[Client], extent: Extent) -> Reading:
    with contextlib.closing(Crowd(clients)) as crowd:
        crowd.run(extent.warm_s)
        before_s, started_s = subject.tree.cpu_s(), time.monotonic()
        answered = crowd.run(extent.requests_s)
        used_s, took_s = subject.tree.cpu_s() - before_s, time.monotonic() - started_s
    pace = f"{answered / took_s:,.0f} calls/s, {len(clients)} clients"
    return Reading(used_s / answered * 1e6, _pace(pace, endpoint))


def _pace(text: str, endpoint: Endpoint) -> str:
    return f"{text}, {endpoint.counted}" if endpoint.counted else text
