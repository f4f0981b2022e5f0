"""From settings to who may pass: everything that is configured arrives, and nothing else."""

from __future__ import annotations

import math

import pytest
from tests.ends import server

from mcpgate.config import parse
from mcpgate.entitlement import (
    address_gate,
    grants,
    issuer_terms,
    limit_policies,
    operators,
    seal_keys,
    seals,
    terms_of,
)
from mcpgate.policy.access import Auth
from mcpgate.policy.authn import Grant
from mcpgate.policy.authz import EVERY_TOOL, ToolRights
from mcpgate.policy.buckets import Allowance
from mcpgate.policy.limits import KeyPart
from mcpgate.settings import Settings

DIGEST = "ab" * 32
TOKEN = f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}}}]}}\n"


def _settings(text: str) -> Settings:
    return parse(text, "gate.yaml", {})


def _one(more: str, top: str = TOKEN) -> Settings:
    return _settings(f"{top}{server(more)}")


# --- servers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("top", "more", "auth"),
    [
        ("", "", Auth.NONE),
        (TOKEN, "", Auth.REQUIRED),
        (TOKEN, "auth: none", Auth.NONE),
        (TOKEN, "auth: upstream", Auth.UPSTREAM),
        ("", "auth: upstream", Auth.UPSTREAM),
        ('auth: {jwt: [{issuer: "https://a", audience: a, jwks_url: "https://a/k"}]}\n', "", Auth.REQUIRED),
    ],
)
def test_who_is_asked(top: str, more: str, auth: Auth) -> None:
    """Everybody, as soon as anybody is known; unless a server says otherwise."""
    settings = _one(more, top)
    assert terms_of(settings, settings.servers[0]).auth is auth


def test_the_terms_of_a_server() -> None:
    """Tools, scopes and credentials, the personal ones over those of everybody."""
    settings = _one(
        "tools: {allow: ['read_*', rm], deny: [rm]}\nscopes: [use]\ntool_scopes: {'read_*': [read]}\n"
        "headers: {set: {X-A: a, X-B: b}}\nupstream_credentials: {alice: {set: {x-b: hers}}}"
    )
    terms = terms_of(settings, settings.servers[0])
    assert [terms.tools.admits("x", tool) for tool in ("read_file", "rm", "write")] == [True, False, False]
    assert [sorted(each) for each in (terms.scopes, terms.scopes_for(["read_file"]))] == [["use"], ["read", "use"]]
    assert terms.credentials_for("bob").lines == b"X-A: a\r\nX-B: b\r\n"
    assert terms.credentials_for("alice").lines == b"X-A: a\r\nx-b: hers\r\n"


@pytest.mark.parametrize(
    ("top", "more", "sealed"),
    [
        ("", "", False),
        (TOKEN, "", True),
        (TOKEN, "auth: none", False),
        (TOKEN, "auth: upstream", False),
    ],
)
def test_sessions_are_sealed_where_there_is_somebody_to_bind_them_to(top: str, more: str, sealed: bool) -> None:
    """With one replica and nobody known, the server's own ids pass as they are."""
    settings = _one(more, top)
    assert seals(settings, settings.servers[0]) is sealed


@pytest.mark.parametrize("auth", ["none", "upstream"])
def test_sessions_are_sealed_where_there_are_several_replicas(auth: str) -> None:
    """Whoever asks: they must lead back to the same one."""
    settings = _settings(f'servers: [{{name: x, auth: {auth}, upstreams: [{{url: "http://a"}}, {{url: "http://b"}}]}}]')
    assert seals(settings, settings.servers[0])


# --- tokens and issuers -------------------------------------------------------------------------------------------


def test_what_a_token_gives() -> None:
    """All servers and no scopes if nothing is said, for ever."""
    more = f"{{id: bob, sha256: {'CD' * 32}, servers: [x], scopes: [use], tools: {{deny: ['x:rm']}}, expires: '2027-01-15T08:00:00Z'}}"
    settings = _settings(TOKEN.replace("}]", f"}}, {more}]"))
    (first, alice), (second, bob) = grants(settings.auth.tokens)
    assert (first, second) == (DIGEST, "cd" * 32)
    assert alice == Grant("alice", frozenset(), frozenset({"*"}), EVERY_TOOL, math.inf)
    assert bob == Grant("bob", frozenset({"use"}), frozenset({"x"}), ToolRights(None, ["x:rm"]), 1_800_000_000)
    assert (bob.tools.admits("x", "rm"), bob.tools.admits("y", "rm")) == (False, True)


def test_no_servers_are_no_servers() -> None:
    """An empty list is not the same as none given."""
    ((_, grant),) = grants(_settings(TOKEN.replace("}]", ", servers: []}]")).auth.tokens)
    assert not grant.admits_server("x")


def test_operators_have_scopes_and_what_they_may_register() -> None:
    """The names of servers in their tokens are no rights to use these: they are known to the admin listener alone."""
    ((digest, grant),) = operators(_settings(f"admin: {{tokens: [{{id: ops, sha256: {DIGEST}, scopes: [read]}}]}}"))
    assert (digest, grant) == (DIGEST, Grant("ops", frozenset({"read"}), frozenset("*")))
    assert grant.may_register("x")


def test_the_terms_of_an_issuer() -> None:
    """One by one."""
    settings = _settings(
        'auth: {jwt: [{issuer: "https://as.example", id: acme, audience: [a, b], jwks_url: "https://as.example/k", algorithms: [EdDSA],'
        " leeway: 5s, servers: [x], servers_claim: s, scopes_claim: r, tools_claim: t, tools: {deny: [rm]}}]}"
    )
    terms = issuer_terms(settings.auth.jwt[0])
    assert (terms.id, terms.issuer, terms.audiences, terms.algorithms) == ("acme", "https://as.example", ("a", "b"), ("EdDSA",))
    assert (terms.leeway_s, sorted(terms.servers), terms.servers_claim) == (5, ["x"], "s")
    assert (terms.scopes_claim, terms.tools_claim, terms.tools.admits("x", "rm")) == ("r", "t", False)


# --- limits -------------------------------------------------------------------------------------------------------


def test_the_limits_in_their_order() -> None:
    """Key, match, rate, burst, wait; or streams."""
    settings = _settings(
        "limits:\n"
        "  - {name: calls, key: [tool, principal], match: {servers: ['g*'], methods: [tools/call], tools: [rm]}, rate: 90/m, burst: 7, wait: 2s}\n"
        "  - {name: streams, key: [address], concurrent_streams: 3}\n"
        "  - {name: plain, key: [server], rate: 5/s}\n"
    )
    calls, streams, plain = limit_policies(settings.limits)
    assert (calls.name, calls.key, calls.wait_s, calls.concurrent_streams) == ("calls", (KeyPart.TOOL, KeyPart.PRINCIPAL), 2, 0)
    assert calls.allowance is not None
    assert (calls.allowance.count / calls.allowance.period_s, calls.allowance.burst) == (1.5, 7)
    assert (calls.concerns("git"), calls.concerns("x")) == (True, False)
    assert calls.methods is not None
    assert calls.tools is not None
    assert (calls.methods.matches("tools/call"), calls.methods.matches("ping"), calls.tools.matches("rm")) == (True, False, True)
    assert (streams.allowance, streams.concurrent_streams, streams.methods, streams.tools) == (None, 3, None, None)
    assert plain.allowance == Allowance(5, 1, 5)


@pytest.mark.parametrize(
    ("text", "most", "bound"),
    [("{}", 1000, 900), ("{}", 1, 1), ("{open_connections: 5}", 1000, 5), ("{open_connections: 5}", 3, 5)],
)
def test_one_address_leaves_room_for_others(text: str, most: int, bound: int) -> None:
    """Nine tenths of all connections, if the configuration does not say it."""
    gate = address_gate(_settings(f"gate: {text}"), most)
    for _ in range(bound):
        assert gate.admits_connection(b"192.0.2.1", 0.0)
        gate.opened(b"192.0.2.1")
    assert not gate.admits_connection(b"192.0.2.1", 0.0)
    assert gate.admits_connection(b"192.0.2.2", 0.0)


def test_the_gate_counts_what_is_configured() -> None:
    """New connections, and requests without a good token; null lets any number through."""
    gate = address_gate(_settings("gate: {connections: {rate: 1/s, burst: 2}, unauthenticated: {rate: 1/m, burst: 1}}"), 1000)
    assert [gate.admits_connection(b"a", 0.0) for _ in range(3)] == [True, True, False]
    gate.failed(b"a", 0.0)
    assert gate.wait_s(b"a", 0.0) == 60
    none = address_gate(_settings("gate: {connections: null, unauthenticated: null}"), 10**9)
    for _ in range(20_000):
        assert none.admits_connection(b"a", 0.0)
        none.failed(b"a", 0.0)
    assert none.wait_s(b"a", 0.0) == 0


def test_keys_of_seals_have_one_length_and_differ() -> None:
    """Whatever somebody wrote; another secret makes another key."""
    keys = seal_keys(["a" * 32, "b" * 500, "a" * 33])
    assert {len(key) for key in keys} == {32}
    assert len(set(keys)) == 3
    assert seal_keys(["a" * 32]) == keys[:1]
    assert b"a" * 8 not in keys[0]
