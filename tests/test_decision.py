"""What follows from a head alone, worked out once: what is asked for, where it leads, and what it may not say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.ends import requests
from tests.stories.test_websocket import OFFER

from mcpgate import errors
from mcpgate.decision import decide, way_of
from mcpgate.exchange import Era, Exchange, Peer
from mcpgate.policy.sessions import Bond, replica_tag
from mcpgate.snapshot import Decision, Moment, Snapshot
from mcpgate.testing import GatewayUnderTest, request
from mcpgate.wire.http1 import HeadLimits, parse_request

ONE, TWO = "http://127.0.0.1:1001", "http://127.0.0.1:1002"
STREAM = {"Accept": "text/event-stream"}
CONFIG = f"""\
servers:
  - {{name: x, upstreams: [{{url: "{ONE}"}}]}}
  - {{name: two, upstreams: [{{url: "{ONE}"}}, {{url: "{TWO}"}}]}}
  - {{name: denies, tools: {{deny: [rm]}}, upstreams: [{{url: "{ONE}"}}]}}
"""
NOW = Moment(0.0, 1_800_000_000.0)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """The rules of a gateway without tokens and limits."""
    return GatewayUnderTest(CONFIG).gateway.pipeline.snapshot


def _exchange(method: str, target: str, fields: dict[str, str] | None = None, body: bytes = b"") -> Exchange:
    sent = request(method, target, body, fields)
    return Exchange(parse_request(sent[: len(sent) - len(body)], HeadLimits(20_000, 100)), Peer(b"127.0.0.1", b"http", False), 0.0)


def _decide(snapshot: Snapshot, method: str, target: str, fields: dict[str, str] | None = None, body: bytes = b"") -> Decision:
    return decide(_exchange(method, target, fields, body), snapshot, NOW)


# --- what is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "fields", "word", "opens"),
    [
        ("GET", STREAM, "http/stream", True),
        ("GET", {"Accept": "*/*"}, "http/other", True),  # many a server opens a stream all the same
        ("GET", OFFER, "?", True),
        ("HEAD", STREAM, "http/other", False),
        ("DELETE", {}, "http/delete", False),
        ("POST", STREAM, "http/other", False),
        ("OPTIONS", {}, "http/other", False),
    ],
)
def test_a_request_without_a_message_has_a_word_for_limits(
    snapshot: Snapshot, method: str, fields: dict[str, str], word: str, opens: bool
) -> None:
    """Streams and ended sessions have their own; a WebSocket is a stream of what nobody can read."""
    decision = _decide(snapshot, method, "/mcp/x/mcp", fields)
    assert ([call.method for call in decision.head_calls], decision.opens_stream) == ([word], opens)


def test_nobody_looks_into_a_body_on_which_nothing_depends(snapshot: Snapshot) -> None:
    """Without limits and rights to tools it passes as it comes."""
    plain, denies = (_decide(snapshot, "POST", f"/mcp/{name}/mcp", body=b"{}") for name in ("x", "denies"))
    assert (plain.needs_calls, plain.decides_on_tools, plain.toll) == (False, False, None)
    assert (denies.needs_calls, denies.decides_on_tools, denies.toll) == (True, True, None)


@pytest.mark.parametrize(
    ("limit", "needs"),
    [
        ("key: [address], rate: 5/s", True),
        ("key: [address], concurrent_streams: 5", True),
        ("key: [address], rate: 5/s, match: {servers: [t*]}", False),
    ],
)
def test_where_a_limit_applies_the_body_says_what_is_asked_for(limit: str, needs: bool) -> None:
    """Handshakes are counted apart from calls, and one kind of call opens a stream; limits of other servers ask nothing."""
    rules = GatewayUnderTest(f"limits: [{{name: a, {limit}}}]\n{CONFIG}").gateway.pipeline.snapshot
    decision = _decide(rules, "POST", "/mcp/x/mcp", body=b"{}")
    assert (decision.toll is not None, decision.needs_calls) == (needs, needs)


def test_what_is_known_by_then_stands_in_the_exchange(snapshot: Snapshot) -> None:
    """So that the log names the server of a refused request."""
    exchange = _exchange("GET", "/mcp/two/mcp", {"Mcp-Session-Id": "not-sealed"})
    with pytest.raises(errors.SessionLost):
        decide(exchange, snapshot, NOW)
    assert exchange.server == "two"


def test_the_era_is_told(snapshot: Snapshot) -> None:
    """For the log, and for what only newer clients send."""
    assert _decide(snapshot, "POST", "/mcp/x/mcp", {"MCP-Protocol-Version": "2026-07-28"}).era is Era.STATELESS
    assert _decide(snapshot, "GET", "/mcp/x/sse", STREAM).era is Era.SSE


@pytest.mark.parametrize(
    ("fields", "ready"),
    [
        ({"Origin": "http://localhost", "Access-Control-Request-Method": "POST"}, True),
        ({"Origin": "http://localhost"}, False),
        ({"Access-Control-Request-Method": "POST"}, False),
    ],
)
def test_a_preflight_is_decided_at_once(snapshot: Snapshot, fields: dict[str, str], ready: bool) -> None:
    """Nothing is asked of it, and no way is looked for."""
    decision = _decide(snapshot, "OPTIONS", "/mcp/denies/mcp", fields)
    assert (decision.ready is not None) is ready
    assert (decision.ways == []) is ready


# --- where it leads -----------------------------------------------------------------------------------------------


def test_the_way_is_worked_out_once_for_each_replica(snapshot: Snapshot) -> None:
    """A connection that repeats its head goes round among them, with heads that are ready."""
    exchange = _exchange("POST", "/mcp/two/mcp", body=b"{}")
    decision = decide(exchange, snapshot, NOW)
    ways = [way_of(exchange, decision) for _ in range(4)]
    assert [plan.placement.authority for plan, _ in ways] == [b"Host: 127.0.0.1:1001\r\n", b"Host: 127.0.0.1:1002\r\n"] * 2
    assert ways[0] is ways[2]
    assert ways[1] is ways[3]


@pytest.mark.parametrize(
    ("target", "fields", "changes"),
    [("/mcp/x/mcp", {}, False), ("/mcp/x/mcp", {"Origin": "http://localhost"}, True), ("/mcp/two/mcp", {}, True)],
)
def test_an_answer_is_written_anew_only_where_it_must_be(
    snapshot: Snapshot, target: str, fields: dict[str, str], changes: bool
) -> None:
    """For browsers, and where sessions are bound; every other one passes."""
    exchange = _exchange("GET", target, fields)
    plan, _ = way_of(exchange, decide(exchange, snapshot, NOW))
    assert (plan.publication is not None) is changes


def test_the_first_event_is_held_for_a_legacy_client_alone(snapshot: Snapshot) -> None:
    """Which then asks for it uncompressed."""
    for fields, holds in ((STREAM, True), (STREAM | {"MCP-Protocol-Version": "2025-11-25"}, False)):
        exchange = _exchange("GET", "/mcp/x/sse", fields | {"Accept-Encoding": "gzip"})
        plan, stem = way_of(exchange, decide(exchange, snapshot, NOW))
        assert plan.holds_first_event is holds
        assert requests(stem + b"\r\n")[0]["accept-encoding"] == (b"identity" if holds else b"gzip")


# --- sessions -----------------------------------------------------------------------------------------------------


def _bond(url: str, server: bytes = b"two", principal: bytes = b"") -> Bond:
    return Bond(server, replica_tag(url), principal)


def test_a_sealed_session_leads_to_its_replica(snapshot: Snapshot) -> None:
    """With the id, and the target, that the server itself has written; every time."""
    seal = snapshot.access.seal
    assert seal is not None
    named = {"Mcp-Session-Id": seal.seal_id(b"its-own", _bond(TWO)).decode()}
    target = seal.seal_target(b"/mcp/two/messages?session_id=1", _bond(TWO)).decode()
    for fields, asked in ((named, "/mcp/two/mcp"), ({}, target), (named, target)):
        exchange = _exchange("POST", asked, fields, b"{}")
        decision = decide(exchange, snapshot, NOW)
        for _ in range(2):
            plan, stem = way_of(exchange, decision)
            told = requests(stem + b"\r\n")[0]
            assert told["host"] == b"127.0.0.1:1002"
            assert told["mcp-session-id"] == (b"its-own" if fields else b"")
            assert told.target == plan.target == (b"/messages?session_id=1" if asked is target else b"/mcp")


@pytest.mark.parametrize(
    "case",
    ["plain id", "other server", "other principal", "unknown replica", "plain query", "two replicas", "changed target", "id in the target"],
)
def test_a_session_that_is_not_from_here_is_lost(snapshot: Snapshot, case: str) -> None:
    """One answer for all of them: initialize again."""
    seal = snapshot.access.seal
    assert seal is not None
    target, fields = "/mcp/two/mcp", {}
    sealed = seal.seal_target(b"/mcp/two/messages?session_id=1", _bond(ONE)).decode()
    match case:
        case "plain id":
            fields = {"Mcp-Session-Id": "its-own"}
        case "other server":
            fields = {"Mcp-Session-Id": seal.seal_id(b"s", _bond(ONE, b"x")).decode()}
        case "other principal":
            fields = {"Mcp-Session-Id": seal.seal_id(b"s", _bond(ONE, principal=b"alice")).decode()}
        case "unknown replica":
            fields = {"Mcp-Session-Id": seal.seal_id(b"s", _bond("http://127.0.0.1:1003")).decode()}
        case "plain query":
            target = "/mcp/two/messages?session_id=1"
        case "two replicas":
            target, fields = sealed, {"Mcp-Session-Id": seal.seal_id(b"s", _bond(TWO)).decode()}
        case "changed target":
            target = sealed.replace("session_id=1", "session_id=2")
        case _:
            target = "/mcp/two/messages?mcpgate=" + seal.seal_id(b"", _bond(ONE)).decode()[1:]
    with pytest.raises(errors.SessionLost):
        _decide(snapshot, "POST", target, fields, b"{}")


@pytest.mark.parametrize("target", ["/mcp/x/messages?session_id=1", "/mcp/x/mcp?mcpgate=a"])
def test_where_nothing_is_sealed_sessions_pass(snapshot: Snapshot, target: str) -> None:
    """Nobody is known and there is one replica: its ids are its own, though another server's are sealed."""
    decision = _decide(snapshot, "POST", target, {"Mcp-Session-Id": "its-own"}, b"{}")
    assert decision.pinned is None


def test_new_rules_make_new_decisions(snapshot: Snapshot) -> None:
    """What was worked out belongs to its snapshot."""
    decision = _decide(snapshot, "GET", "/mcp/x/mcp")
    assert decision.snapshot is snapshot
    assert decision.is_stale(replace(snapshot, trusted=()), 0.0)


def test_where_nobody_takes_new_work_nothing_goes() -> None:
    """A server without a replica, or with critical ones alone; a session of one of those goes on."""
    grows = 'servers: [{name: x, replicas_may_register: true}, {name: y, upstreams: [{url: "http://127.0.0.1:1001"}]}]'
    gate = GatewayUnderTest(grows)
    gate.gateway.servers["y"].replicas[0].is_critical = True
    rules = gate.gateway.pipeline.snapshot
    for name in ("x", "y"):
        exchange = _exchange("POST", f"/mcp/{name}/mcp", body=b"{}")
        with pytest.raises(errors.NoReplica):
            way_of(exchange, decide(exchange, rules, NOW))


@pytest.mark.parametrize(
    ("method", "target", "admitted"),
    [
        ("GET", "/mcp/discovery", True),
        ("HEAD", "/mcp/discovery", True),
        ("OPTIONS", "/v0.1/servers", True),
        ("POST", "/mcp/discovery", False),
        ("GET", "/mcp/x/mcp", False),
        ("GET", "/unknown", False),
    ],
)
def test_every_page_may_read_what_is_public_and_nothing_else(method: str, target: str, admitted: bool) -> None:
    """Where the operator has said so; what it is told then names no single page."""
    rules = GatewayUnderTest(f"discovery: {{any_origin: true}}\n{CONFIG}").gateway.pipeline.snapshot
    page = {"Origin": "https://page.test"}
    if admitted:
        assert b"Access-Control-Allow-Origin: *\r\n" in _decide(rules, method, target, page).cors
    else:
        with pytest.raises(errors.ForeignOrigin):
            _decide(rules, method, target, page)
