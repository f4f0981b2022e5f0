"""
Every case of the corpus, in memory: the same verdict however the bytes are cut, nothing of the gateway's own fails,
the next client is served, and nothing stays behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from tests.corpus.cases import ADMIN_TOKEN, CUTS, READ_BYTES, TOKEN, Case, expand, load, pieces
from tests.corpus.peers import Answers, Upstreams, read_answers

from mcpgate.testing import Client, GatewayUnderTest, request

#: All servers but one ask nobody for a token. The keys of the issuer cannot be had.
CONFIG = f"""\
http: {{max_body_bytes: 256KiB, header_timeout: 2s, body_timeout: 3s, keepalive_timeout: 5s, send_timeout: 5s}}
auth:
  tokens:
    - {{id: guest, sha256: {sha256(TOKEN.encode()).hexdigest()}}}
    - {{id: former, sha256: {sha256(b"tok-expired-0123456789").hexdigest()}, expires: 2020-01-01}}
    - {{id: neighbour, sha256: {sha256(b"tok-neighbour-01234567").hexdigest()}, servers: [a]}}
  jwt: [{{issuer: "https://as.example", audience: "https://gate.example", jwks_url: "https://as.example/keys"}}]
servers:
  - {{name: a, auth: none, upstreams: [{{url: "http://127.0.0.1:3010"}}]}}
  - {{name: b, auth: none, upstreams: [{{url: "http://127.0.0.1:3011"}}]}}
  - {{name: down, auth: none, upstreams: [{{url: "http://127.0.0.1:3012"}}]}}
  - {{name: silent, auth: none, upstreams: [{{url: "http://127.0.0.1:3013"}}]}}
  - {{name: guarded, upstreams: [{{url: "http://127.0.0.1:3014"}}]}}
"""
#: What names stand for; others for nothing.
NAMES = {"good.test": ["93.184.215.14"], "internal-a.test": ["10.0.0.5"], "both.test": ["10.0.0.5", "169.254.169.254"]}
HANDSHAKE = expand("GET /mcp/a HTTP/1.1\r\nHost: localhost\r\n%{websocket}\r\n\r\n")
PROBE = request("GET", "/mcp/a")
#: What a client that never reads may make the gateway hold, with one answer of the upstream in flight.
HELD_BYTES = 512 * 1024
CASES = list(load(Path(__file__).parent))

Want = Any


@dataclass
class Seen:
    """What one run of a case has shown."""

    case: Case
    client: Client
    upstreams: Upstreams
    answers: Answers
    took_s: float
    log: bytes
    flooded_bytes: int
    dialled: list[str]

    @property
    def status(self) -> int | str:
        """The first final status, ``none`` if the connection was closed without one."""
        if self.answers.final:
            return self.answers.final[0].status
        return "none" if self.client.closed else "nothing"


class Run:
    """One case against a gateway of its own."""

    def __init__(self, case: Case, cut: str) -> None:
        self.case = case
        self.gate = GatewayUnderTest(CONFIG + f"registry: {{allow_networks: {json.dumps(case.networks)}}}\n")
        self.gate.refusing, self.gate.silent = {3012}, {3013}
        self.gate.names |= NAMES
        self.upstreams = Upstreams(self.gate, case, cut)
        self.sent = b""
        self.flooded_bytes = 0
        # A scripted answer is what is cut then; the request goes whole.
        self._cut = "whole" if case.answer else cut
        self._ended_s: float | None = None

    def play(self) -> Seen:
        """Do what the case says; give what was seen."""
        case, gate = self.case, self.gate
        if case.answers_at == "reused":
            self._ask()
        self.client = gate.connect(case.admin)
        already = len(gate.reactor.tcpClients)
        began_s = gate.reactor.seconds()
        if case.tunnel:
            self._send(HANDSHAKE)
            assert self.client.take().startswith(b"HTTP/1.1 101 ")
        if "flood" not in (case.then[0] if case.then else ()):
            self._send(case.request, self._cut)
        for step in case.then:
            self._do(step)
        ended_s = self._ended_s if self._ended_s is not None else gate.reactor.seconds()
        answers = read_answers(self.client.received, self.client.closed, self.sent)
        gate.advance(0.5)  # access lines are written in batches
        log = b"".join(gate.log_lines)
        dialled = [host for host, *_ in gate.reactor.tcpClients[already:]]
        return Seen(case, self.client, self.upstreams, answers, ended_s - began_s, log, self.flooded_bytes, dialled)

    def _send(self, data: bytes, cut: str = "whole") -> None:
        self.sent += data
        for piece in pieces(data, cut):
            self.client.send(piece)
            self.upstreams.serve()
        self._note_end()

    def _do(self, step: dict[str, Any]) -> None:
        if "send" in step:
            self._send(expand(step["send"]))
        elif "wait" in step:
            self._pass(step["wait"])
        elif "trickle" in step:
            for _ in range(int(step["for_s"] / step["every_s"])):
                self._pass(step["every_s"])
                if self.client.closed is None:
                    self._send(expand(step["trickle"]))
        elif "flood" in step:
            self._flood()
        elif step["close"] == "fin":
            self.client.close()
        else:
            self.client.reset()
        self.upstreams.serve()
        self._note_end()

    def _pass(self, seconds: float) -> None:
        self.gate.advance(seconds)
        self.upstreams.serve()
        self._note_end()

    def _flood(self) -> None:
        self.client.stop_reading()
        while self.client.transport.reading and self.flooded_bytes < 16 * HELD_BYTES:
            for piece in pieces(self.case.request, "whole"):
                self.flooded_bytes += len(piece) * self.client.transport.reading
                self.client.send(piece)
                self.upstreams.serve()

    def _note_end(self) -> None:
        if self._ended_s is None and self.client.closed:
            self._ended_s = self.gate.reactor.seconds()

    def _ask(self) -> tuple[bytes, str | None]:
        probe = self.gate.connect()
        probe.send(PROBE)
        self.upstreams.serve()
        got = probe.received
        probe.close()
        return got, probe.closed

    def healthy(self) -> bool:
        """Whether the next client gets its answer, and nothing else."""
        answers = read_answers(*self._ask(), PROBE)
        return [answer.status for answer in answers.final] == [200] and b'"clean": true' in answers.final[0].body

    def left_behind(self) -> list[str]:
        """What is still there when everybody has left and what was idle has been let go."""
        self.client.reset()
        self.gate.advance(6)
        gateway = self.gate.gateway
        relays = [repr(relay) for server in gateway.servers.values() for relay in server.relays]
        return [*relays, *map(repr, gateway.door.connections), *([] if gateway.census.open == 0 else ["connections"])]


# --- verdicts: what is wrong, or nothing ---------------------------------------------------------------------------


def _listed(want: Want) -> list[Any]:
    return want if isinstance(want, list) else [want]


def _lacks(name: str, text: Callable[[Seen], bytes]) -> Callable[[Want, Seen], str]:
    def verdict(want: Want, seen: Seen) -> str:
        found = [each for each in _listed(want) if re.search(each.encode("latin-1"), text(seen), re.M)]
        return f"{name} has {found}" if found else ""

    return verdict


def _has(name: str, text: Callable[[Seen], bytes]) -> Callable[[Want, Seen], str]:
    def verdict(want: Want, seen: Seen) -> str:
        missing = [each for each in _listed(want) if not re.search(each.encode("latin-1"), text(seen), re.M)]
        return f"{name} lacks {missing}" if missing else ""

    return verdict


def _client_text(seen: Seen) -> bytes:
    """What the client got, as it came and with the bodies in one piece."""
    return b"\n".join([seen.client.received, *(answer.body for answer in seen.answers.final)])


def _closes(want: Want, seen: Seen) -> str:
    if want == "on 400":
        want = True if seen.status == 400 else seen.client.closed is not None
    return "" if (seen.client.closed is not None) is want else f"closed: {seen.client.closed}"


def _stays_inside(want: Want, seen: Seen) -> str:
    """No segment of an upstream path, decoded once, climbs above the root."""
    for arrived in seen.upstreams.requests:
        depth = 0
        for segment in arrived.target.partition(b"?")[0].split(b"/")[1:]:
            step = unquote_to_bytes(segment)
            depth += -1 if step == b".." else step not in (b"", b".")
            if depth < 0:
                return f"{arrived.target!r} leaves its base"
    return ""


def _in_order(want: Want, seen: Seen) -> str:
    asked = re.findall(rb"GET /mcp/a(\S*) HTTP", seen.case.request)
    paths = [re.search(rb'"path": "(/\w*)', answer.body) for answer in seen.answers.final]
    got = [found and found[1].rstrip(b"/") for found in paths]
    return "" if got == asked else f"answers {got[:5]} for {asked[:5]}"


def _looks_cut(want: Want, seen: Seen) -> str:
    last = seen.answers.final[-1]
    return "" if seen.client.closed and (not last.complete or last.status == 502) else "looks complete"


def _hangs_up(want: Want, seen: Seen) -> str:
    lied = [seat for seat in seen.upstreams.seats if seat.lied]
    return "" if lied and all(seat.peer.closed for seat in lied) else "the upstream connection stays open"


def _count(name: str, count: Callable[[Seen], int], at_most: bool = False) -> Callable[[Want, Seen], str]:
    def verdict(want: Want, seen: Seen) -> str:
        found = count(seen)
        return "" if found == want or (at_most and found < want) else f"{name}: {found}, wanted {want}"

    return verdict


def _reached(seen: Seen) -> int:
    return len(seen.upstreams.requests) - (seen.case.answers_at == "reused")


def _completed(seen: Seen) -> int:
    return sum(each.complete for each in seen.upstreams.requests) - (seen.case.answers_at == "reused")


VERDICTS: dict[str, Callable[[Want, Seen], str]] = {
    "status": lambda want, seen: "" if seen.status in _listed(want) else f"status {seen.status}, wanted {want}",
    "answers": _count("answers", lambda seen: len(seen.answers.final)),
    "closes": _closes,
    "reaches": _count("reached the upstream", _reached),
    "reaches_at_most": _count("reached the upstream", _reached, at_most=True),
    "completes_at_most": _count("completed at the upstream", _completed, at_most=True),
    "upstream_lacks": _lacks("the upstream", lambda seen: seen.upstreams.raw),
    "upstream_has": _has("the upstream", lambda seen: seen.upstreams.raw),
    "upstream_body": lambda want, seen: (
        "" if [expand(want)] == [each.body for each in seen.upstreams.requests] else "another body upstream"
    ),
    "not_server": lambda want, seen: (
        f"reached {want}" if want in {each.server for each in seen.upstreams.requests} else ""
    ),
    "stays_inside": _stays_inside,
    "client_lacks": _lacks("the client", _client_text),
    "client_has": _has("the client", _client_text),
    "log_lacks": _lacks("the log", lambda seen: seen.log),
    "looks_cut": _looks_cut,
    "hangs_up": _hangs_up,
    "in_order": _in_order,
    "interim": lambda want, seen: "" if seen.answers.interim == want else f"interim {seen.answers.interim}",
    "tunnels": lambda want, seen: (
        "" if seen.upstreams.raw.endswith(seen.case.request) is want else "other bytes behind the tunnel"
    ),
    "held_at_most": _count("bytes taken", lambda seen: seen.flooded_bytes, at_most=True),
    "dials": lambda want, seen: "" if seen.dialled == want else f"dialled {seen.dialled}, wanted {want}",
    "within_s": _count("seconds", lambda seen: seen.took_s, at_most=True),  # type: ignore[arg-type, return-value]
}


def _problems(seen: Seen) -> Iterator[str]:
    """Everything that is wrong: what the case wants, and what every case wants."""
    wishes = {"answers": 0 if seen.status == "none" else 1, **seen.case.want}
    for wish, want in wishes.items():
        yield VERDICTS[wish](want, seen)
    yield seen.answers.garbage
    yield "broken framing upstream" if any(each.broken for each in seen.upstreams.requests) else ""
    token = TOKEN.encode()
    yield "the client's token went upstream" if token in seen.upstreams.raw else ""
    yield "the client's token stands in the log" if token in seen.log else ""
    yield "an operator's token stands in the log" if ADMIN_TOKEN.encode() in seen.log else ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_odd_input_gets_its_verdict_however_it_is_cut(case: Case, failures: list[str]) -> None:
    """The case gets what it should, whole, byte by byte and cut after each CR; the next client is served."""
    verdicts = set()
    for cut in CUTS[:1] if case.then or len(case.request) > 16 * READ_BYTES else CUTS:
        run = Run(case, cut)
        seen = run.play()
        assert [problem for problem in _problems(seen) if problem] == [], cut
        assert run.healthy(), cut
        assert run.left_behind() == [], cut
        verdicts.add(seen.status)
    assert failures == []
    assert len(verdicts) == 1
