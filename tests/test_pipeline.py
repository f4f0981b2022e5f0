"""The order of phases, and the one place where an error becomes an answer."""

from __future__ import annotations

from dataclasses import replace
from random import getrandbits
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.ends import asked, gateway, request_at

from mcpgate import errors
from mcpgate.downstream.replies import refusal
from mcpgate.errors import GatewayError
from mcpgate.exchange import Answer, Ended, Exchange, Peer
from mcpgate.forwarding import public_origin
from mcpgate.pipeline import Parts, Pipeline
from mcpgate.policy.addressgate import AddressGate
from mcpgate.policy.authn import Grant, TokenTable
from mcpgate.policy.origin import AllowedOrigins
from mcpgate.policy.routing import RouteTable
from mcpgate.settings import TracingSettings
from mcpgate.snapshot import Decision, Route, Snapshot
from mcpgate.testing import GatewayUnderTest, answer, request
from mcpgate.tracing import Tracing
from mcpgate.wire.http1 import HeadLimits, parse_request

DIGEST = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"


class Port:
    """Notes what the client would be told."""

    def __init__(self) -> None:
        self.answers: list[tuple[Answer, bytes, bool]] = []

    def start(self, answer: Answer, body: bytes = b"", ended: bool = False) -> None:
        self.answers.append((answer, body, ended))


class Local:
    """The gateway's own addresses: notes what reaches them, or fails."""

    def __init__(self, fails_with: Exception | None = None) -> None:
        self.seen: list[Exchange] = []
        self._fails_with = fails_with

    def answer(self, exchange: Exchange, port: Port, outcome: Pipeline) -> None:
        self.seen.append(exchange)
        if self._fails_with is not None:
            raise self._fails_with
        exchange.status = 200
        outcome.record(exchange, Ended.COMPLETE)


class Stage:
    """A pipeline with one own address, ``/own``, and one that needs the scope ``write``."""

    def __init__(self, local: Local | None = None, *, admin: bool = False) -> None:
        self.local = local or Local()
        self.records: list[Exchange] = []
        self.failures: list[str] = []
        self.port = Port()
        self.admin = admin
        routes = RouteTable({b"/own": Route(None, 100), b"/guarded": Route(None, 100, "write")})
        tokens = TokenTable([(DIGEST, Grant("ops", frozenset({"write"})))])
        self.pipeline = Pipeline(
            Snapshot(routes, AllowedOrigins(["localhost"]), tokens, AddressGate(None, None, 0)),
            Parts(
                cast(Any, self.local),
                refusal,
                cast(Any, SimpleNamespace(end=self.records.append)),
                lambda: 0.0,
                lambda: 1_800_000_000.0,
                cast(Any, None),
                lambda: b"id-%d" % (len(self.records) + 1),
                self.failures.append,
                cast(Any, None),
                Tracing(TracingSettings(), getrandbits, False),
            ),
        )

    def run(self, sent: bytes) -> Exchange:
        head = parse_request(sent.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", HeadLimits(10_000, 100))
        exchange = Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0, self.admin)
        self.pipeline.run(exchange, cast(Any, self.port))
        return exchange


# --- the order ----------------------------------------------------------------------------------------------------

EVIL = {
    "Host": "evil.example",
    "Origin": "http://evil.example",
    "Via": ", ".join(["1.1 mcpgate"] * 4),
    "Content-Length": "999",
}


@pytest.mark.parametrize(
    ("method", "target", "fields", "reason"),
    [
        ("TRACE", "/nobody/..", EVIL, "method"),
        ("GET", "/nobody/..", EVIL, "host"),
        ("GET", "/nobody/..", EVIL | {"Host": "localhost"}, "origin"),
        ("GET", "/nobody/..", {"Via": EVIL["Via"], "Content-Length": "999"}, "loop"),
        ("GET", "/nobody/..", {"Content-Length": "999"}, "bad_target"),
        ("GET", "/nobody", {"Content-Length": "999"}, "no_route"),
        ("GET", "/guarded", {"Content-Length": "999"}, "no_token"),
        ("GET", "/guarded", {"Content-Length": "999", "Authorization": "Bearer secret"}, "body_too_large"),
        ("POST", "/own", {"Content-Length": "99", "Origin": "http://localhost", "Content-Type": "a/b"}, "media_type"),
    ],
)
def test_of_several_faults_the_first_phase_tells(method: str, target: str, fields: dict[str, str], reason: str) -> None:
    """Gate, route, rights, admission: what needs less is asked first, and nothing behind it happens."""
    stage = Stage()
    exchange = stage.run(request(method, target, headers=fields))
    assert exchange.error is not None
    assert exchange.error.reason == reason
    assert stage.local.seen == []


def test_draining_comes_before_everything() -> None:
    """Whoever leaves does not discuss."""
    stage = Stage()
    stage.pipeline.draining = True
    assert isinstance(stage.run(request("TRACE", "/..", headers=EVIL)).error, errors.Draining)


def test_what_passes_all_phases_reaches_its_target() -> None:
    """With its limit set before a byte of the body is read."""
    stage = Stage()
    exchange = stage.run(request("GET", "/own/below?x"))
    assert stage.local.seen == [exchange]
    assert (exchange.max_body_bytes, exchange.server, exchange.error) == (100, "", None)


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ({}, "no_token"),
        ({"Authorization": "Bearer"}, "invalid_token"),
        ({"Authorization": "Basic c2VjcmV0"}, "invalid_token"),
        ({"Authorization": "Bearer wrong"}, "invalid_token"),
        ({"Authorization": "Bearer secret extra"}, "invalid_token"),
        ({"Authorization": "bearer secret"}, None),
        ({"Authorization": "Bearer  secret"}, None),
    ],
)
def test_a_guarded_address_wants_a_known_token(authorization: dict[str, str], reason: str | None) -> None:
    """In the grammar of RFC 6750."""
    exchange = Stage().run(request("GET", "/guarded", headers=authorization))
    assert (exchange.error.reason if exchange.error else None) == reason


def test_a_guarded_address_wants_the_right_scope() -> None:
    """A token that may only read does not write: 403."""
    stage = Stage()
    read_only = TokenTable([(DIGEST, Grant("watch", frozenset({"read"})))])
    stage.pipeline.snapshot = replace(stage.pipeline.snapshot, tokens=read_only)
    exchange = stage.run(request("GET", "/guarded", headers={"Authorization": "Bearer secret"}))
    assert isinstance(exchange.error, errors.Forbidden)
    assert stage.port.answers[0][0].status == 403


# --- the end ------------------------------------------------------------------------------------------------------


def test_a_refusal_is_answered_and_recorded_once_with_one_id() -> None:
    """The client's id is the log's."""
    stage = Stage()
    exchange = stage.run(request("GET", "/nobody"))
    ((answer, body, ended),) = stage.port.answers
    assert (answer.status, ended, exchange.status, exchange.bytes_out) == (404, True, 404, len(body))
    assert exchange.ended is Ended.REFUSED
    assert stage.records == [exchange]
    assert exchange.request_id == b"id-1"
    assert b'"requestId":"id-1"' in body
    stage.pipeline.record(exchange, Ended.COMPLETE)
    assert len(stage.records) == 1
    assert exchange.ended is Ended.REFUSED


@pytest.mark.parametrize("admin", [False, True])
def test_a_fault_of_our_own_is_a_500_with_an_id(admin: bool) -> None:
    """The client learns nothing but the id; the operator gets the rest."""
    stage = Stage(Local(fails_with=KeyError("secret detail")), admin=admin)
    exchange = stage.run(request("GET", "/own"))
    ((answer, body, ended),) = stage.port.answers
    assert (answer.status, ended, exchange.ended) == (500, True, Ended.REFUSED)
    assert b"secret detail" not in body
    assert b"id-1" in body
    assert len(stage.failures) == 1
    assert len(stage.records) == 1


def test_an_error_of_a_local_target_is_an_answer() -> None:
    """It speaks the same language."""
    stage = Stage(Local(fails_with=errors.BadTarget()))
    assert stage.run(request("GET", "/own")).status == 400
    assert stage.failures == []


def _all_errors() -> list[type[GatewayError]]:
    found = [GatewayError]
    for known in found:
        found.extend(known.__subclasses__())
    return found


def test_every_error_has_a_reason_of_its_own() -> None:
    """One low-cardinality word each, since it stands in logs and metrics."""
    reasons = [known.reason for known in _all_errors()]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isalpha() and reason.islower() for reason in reasons)


# --- decisions are kept on a head ---------------------------------------------------------------------------------


def test_a_decision_is_kept_until_the_snapshot_changes() -> None:
    """The same head under the same snapshot is not judged twice; under another it is."""
    gate = GatewayUnderTest()
    client, peer = asked(gate, request("GET"))
    first = gate.gateway.pipeline.snapshot
    peer.send(answer())
    client.send(request("GET"))
    decisions = [record.head.decision for record in gate.records]
    gate.upstream().send(answer())
    assert isinstance(decisions[0], Decision)
    assert decisions[0].snapshot is first
    gate.gateway.reload()
    client.send(request("GET"))
    gate.upstream().send(answer())
    later = gate.records[-1].head.decision
    assert isinstance(later, Decision)
    assert later.snapshot is gate.gateway.pipeline.snapshot


# --- what the upstream is told ------------------------------------------------------------------------------------


def test_the_request_of_the_upstream_line_by_line() -> None:
    """Its own Host first, then configured credentials, the client's fields, ours, and the framing."""
    gate = gateway("headers: {set: {X-Key: k}}")
    _, peer = asked(gate, request(body=b"{}", headers={"X-A": "1", "Via": "1.0 a"}))
    assert peer.received.split(b"\r\n") == [
        b"POST /mcp HTTP/1.1",
        b"Host: 127.0.0.1:3010",
        b"X-Key: k",
        b"Accept: application/json, text/event-stream",
        b"Content-Type: application/json",
        b"X-A: 1",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: localhost",
        b"Via: 1.0 a, 1.1 mcpgate",
        b"X-Request-Id: id-1",
        b"Content-Length: 2",
        b"",
        b"{}",
    ]


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, (b"http", b"localhost")),
        ({"X-Forwarded-Proto": "https"}, (b"https", b"localhost")),
        ({"X-Forwarded-Host": "a.example"}, (b"http", b"a.example")),
    ],
)
def test_the_public_origin(trusted: bool, fields: dict[str, str], told: tuple[bytes, bytes]) -> None:
    """What a trusted proxy says, else what the connection and the Host say."""
    head = parse_request(request("GET", headers=fields), HeadLimits(10_000, 100))
    seen = public_origin(Exchange(head, Peer(b"127.0.0.1", b"http", trusted), 0.0))
    assert seen == (told if trusted else (b"http", b"localhost"))


@pytest.mark.parametrize("value", ["javascript", "https, http", "", "HTTPS\t"])
def test_a_scheme_that_a_proxy_gets_wrong_does_not_travel(value: str) -> None:
    """Only http and https are schemes of a request."""
    gate = gateway(top="trusted_proxies: [127.0.0.1/32]")
    _, peer = asked(gate, request("GET", headers={"X-Forwarded-Proto": value}))
    assert request_at(peer)["x-forwarded-proto"] in (b"http", b"https")
