"""Somebody comes with a token of an issuer: its keys are fetched, its claims say what it opens. The test is the issuer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from tests.ends import STREAM_HEAD, Message, answer_at, asked, chunked, refused, request_at
from tests.policy.signers import CLAIMS, NOW_S, Signer, document, segment, signer

from mcpgate.testing import Client, GatewayUnderTest, UpstreamPeer, answer, request

OLD, NEW, OTHER = signer("ES256", "old"), signer("ES256", "new"), signer("EdDSA", "other")
ISSUER = 'issuer: "https://as.example", audience: "https://gate.example", algorithms: [ES256]'
URL = 'jwks_url: "http://127.0.0.1:3100/keys"'
SERVERS = """\
servers:
  - {name: x, upstreams: [{url: "http://127.0.0.1:1001"}]}
  - {name: y, upstreams: [{url: "http://127.0.0.1:1002"}]}
"""
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"rm","arguments":{}}}'
VERSION = {"MCP-Protocol-Version": "2025-11-25"}


def _config(more: str = "", source: str = URL, servers: str = SERVERS) -> str:
    return f"auth:\n  jwt: [{{id: acme, {ISSUER}, {source}{', ' + more if more else ''}}}]\n{servers}"


def _gate(more: str = "", *signers: Signer, source: str = URL, servers: str = SERVERS) -> GatewayUnderTest:
    """A gateway whose issuer has published the keys of these signers already; of nobody yet if there are none."""
    gate = GatewayUnderTest(_config(more, source, servers))
    if signers:
        _publish(gate, *signers)
    return gate


def _fetches(gate: GatewayUnderTest) -> list[UpstreamPeer]:
    """The connections on which the issuer has been asked for its keys."""
    return [peer for peer in gate.peers if peer.received.startswith(b"GET /keys ")]


def _publish(gate: GatewayUnderTest, *signers: Signer) -> None:
    """Answer the newest question for keys."""
    peer = _fetches(gate)[-1]
    assert peer.closed is None
    peer.send(answer(document(*(each.jwk() for each in signers))))


def _bearer(token: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.decode()}"}


def _sent(token: bytes, target: str = "/mcp/x/mcp", body: bytes = CALL) -> bytes:
    return request("POST", target, body, _bearer(token))


def _ask(gate: GatewayUnderTest, token: bytes, target: str = "/mcp/x/mcp") -> Client:
    client = gate.connect()
    client.send(_sent(token, target))
    return client


def _forwarded(gate: GatewayUnderTest) -> list[UpstreamPeer]:
    """The connections on which a server has got a request."""
    return [peer for peer in gate.peers if peer.received and peer not in _fetches(gate)]


def _reason(told: Message) -> tuple[int, bytes]:
    return told.status, told["mcpgate-error"]


def _reload(gate: GatewayUnderTest, config: str) -> None:
    gate.config = config
    assert gate.gateway.reload()["success"]
    gate.settle()


# --- the keys -----------------------------------------------------------------------------------------------------


def test_who_comes_before_the_keys_waits_for_them() -> None:
    """All for the same fetch, with whatever body; then everybody gets what they asked for."""
    gate = _gate()
    clients = [_ask(gate, OLD.token()), _ask(gate, OLD.token({"sub": "bob"})), _ask(gate, NEW.token())]
    chunky = gate.connect()
    chunky.send(request(headers=_bearer(OLD.token()) | {"Transfer-Encoding": "chunked"}) + chunked(b"a" * 70_000))
    assert len(gate.peers) == 1
    assert request_at(gate.peers[0]).target == b"/keys"
    _publish(gate, OLD)
    assert len(_forwarded(gate)) == 3
    chunky.send(chunked(b"b") + b"0\r\n\r\n")
    assert {request_at(peer).body[-1:] for peer in _forwarded(gate)} == {b"}", b"b"}
    for peer in _forwarded(gate):
        peer.send(answer(b"fine"))
    assert [answer_at(client).status for client in (*clients, chunky)] == [200, 200, 401, 200]
    assert {each.principal for each in gate.records} == {"acme:alice", "acme:bob", ""}


def test_the_issuer_is_asked_politely() -> None:
    """For the address that is configured, and with nothing of any client."""
    gate = _gate()
    _ask(gate, OLD.token())
    told = request_at(gate.peers[0])
    assert (told.method, told["host"], told["accept"]) == (b"GET", b"127.0.0.1:3100", b"application/json")
    assert "authorization" not in told
    assert "cookie" not in told


def test_who_leaves_while_the_keys_are_awaited_is_forgotten() -> None:
    """Nothing is sent to a server for nobody."""
    gate = _gate()
    _ask(gate, OLD.token()).reset()
    _publish(gate, OLD)
    assert _forwarded(gate) == []


#: What an issuer may say in place of its keys.
NO_KEYS = [
    answer(b"{}", "500 Internal Server Error"),
    answer(document(OLD.jwk()), "404 Not Found"),
    answer(b"", "302 Found", {"Location": "http://127.0.0.1:3100/elsewhere"}),
    answer(b"<html>"),
    answer(b'{"keys": []}'),
    answer(b"[]"),
    answer(document({"kty": "oct", "k": "c2VjcmV0", "kid": "old"})),
    answer(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    answer(b" " * (1 << 20) + document(OLD.jwk())),
    b"\0\0\0",
]


@pytest.mark.parametrize("said", NO_KEYS, ids=range(len(NO_KEYS)))
def test_without_any_keys_nobody_is_let_in(said: bytes) -> None:
    """503 and not 401, which would have the client throw a good token away; the next try may succeed."""
    gate = _gate()
    client = _ask(gate, OLD.token())
    _fetches(gate)[-1].send(said)
    if not client.received:
        gate.advance(5)  # this could still become an answer
    told = answer_at(client, "POST")
    assert _reason(told) == (503, b"keys_unavailable")
    assert told["retry-after"] == b"5"
    assert "www-authenticate" not in told
    assert _forwarded(gate) == []
    again = _ask(gate, OLD.token())
    _publish(gate, OLD)
    _forwarded(gate)[0].send(answer())
    assert answer_at(again).status == 200


@pytest.mark.parametrize("how", ["refusing", "silent", "slow"])
def test_an_issuer_that_is_away_makes_nobody_wait_for_long(how: str) -> None:
    """Five seconds for everything, then 503; and the gateway goes on trying."""
    gate = GatewayUnderTest()
    if how != "slow":
        setattr(gate, how, {3100})
    _reload(gate, _config())
    client = _ask(gate, OLD.token())
    gate.advance(5.25)
    assert _reason(answer_at(client, "POST")) == (503, b"keys_unavailable")
    gate.refusing, gate.silent = set(), set()
    while not _fetches(gate) or _fetches(gate)[-1].closed:
        gate.advance(0.5)
        assert gate.reactor.seconds() < 1075
    _publish(gate, OLD)
    asked(gate, _sent(OLD.token()))
    assert len(_forwarded(gate)) == 1


def test_old_keys_stay_in_use_while_the_issuer_is_away() -> None:
    """Whoever has a good token notices nothing; a key that is not there may exist, so its token is not refused for good."""
    gate = _gate("", OLD)
    gate.refusing = {3100}
    gate.advance(700)
    for _ in range(2):
        asked(gate, _sent(OLD.token({"exp": NOW_S + 9000})))
    assert len(_forwarded(gate)) == 2
    gate.advance(60)
    assert _reason(refused(gate, _sent(NEW.token({"exp": NOW_S + 9000})))) == (503, b"keys_unavailable")
    assert _reason(refused(gate, _sent(OLD.token({"aud": "https://other.example"})))) == (401, b"invalid_token")


def test_a_new_key_is_fetched_when_its_first_token_comes() -> None:
    """Issuers rotate their keys, and clients need not wait for the next refresh."""
    gate = _gate("", OLD)
    client = _ask(gate, NEW.token())
    assert client.received == b""
    _publish(gate, OLD, NEW)
    _forwarded(gate)[0].send(answer())
    assert answer_at(client).status == 200
    asked(gate, _sent(OLD.token()))
    assert len(_fetches(gate)) == 2


def test_invented_keys_do_not_make_the_gateway_ask_and_ask() -> None:
    """One fetch in thirty seconds, however many tokens name keys that nobody has; good ones are served all the time."""
    gate = _gate("", OLD)
    first = _ask(gate, NEW.token(kid="invented"))
    _publish(gate, OLD)
    assert _reason(answer_at(first, "POST")) == (401, b"invalid_token")
    for number in range(50):
        told = refused(gate, _sent(NEW.token(kid=f"invented-{number}")))
        assert _reason(told) == (401, b"invalid_token")
    assert len(_fetches(gate)) == 2
    asked(gate, _sent(OLD.token()))
    assert len(_forwarded(gate)) == 1
    gate.advance(30)
    late = _ask(gate, NEW.token())
    assert late.received == b""
    assert len(_fetches(gate)) == 3
    _publish(gate, NEW)
    gate.settle()
    assert len(_forwarded(gate)) == 2


def test_a_withdrawn_key_opens_nothing_any_more() -> None:
    """From the next refresh on; also for tokens that were taken before."""
    gate = _gate("", OLD)
    token = OLD.token({"exp": NOW_S + 9000})
    _ask(gate, token)
    _forwarded(gate)[0].send(answer())
    gate.advance(590)
    assert len(_fetches(gate)) == 1
    gate.advance(11)
    _publish(gate, NEW)
    told = gate.connect()
    told.send(_sent(token))
    _publish(gate, NEW)  # the missing key is asked for once more
    assert _reason(answer_at(told, "POST")) == (401, b"invalid_token")
    asked(gate, _sent(NEW.token({"exp": NOW_S + 9000})))
    assert len(_forwarded(gate)) == 2


def test_a_busy_connection_notices_that_its_key_was_withdrawn() -> None:
    """Within a minute, though it repeats its head and never pauses."""
    gate = _gate("", OLD)
    token = OLD.token({"exp": NOW_S + 9000})
    gate.advance(599)
    client = gate.connect()
    statuses = []
    for _ in range(9):
        client.take()
        client.send(_sent(token))
        if not client.received and gate.upstream() not in _fetches(gate):
            gate.upstream().send(answer())
        gate.advance(10)
        if len(_fetches(gate)) > 1 and _fetches(gate)[-1].closed is None:
            _publish(gate, NEW)
        statuses.append(answer_at(client, "POST").status)
    assert statuses[0] == 200
    assert statuses[-1] == 401


def test_keys_are_refreshed_as_often_as_configured() -> None:
    """`refresh` says how long a withdrawn key may still be good."""
    gate = _gate("refresh: 60s", OLD)
    gate.advance(50)
    assert len(_fetches(gate)) == 1
    gate.advance(12)  # nobody answers the second one; it is given up, and tried again, after five seconds
    assert len(_fetches(gate)) == 2
    slow = _gate("refresh: 1h", OLD)
    slow.advance(700)
    assert len(_fetches(slow)) == 1


# --- the token ----------------------------------------------------------------------------------------------------


def _forged(algorithm: str, secret: bytes = b"") -> bytes:
    claims = json.dumps(CLAIMS).encode()
    header = json.dumps({"typ": "JWT", "alg": algorithm, "kid": "old"}).encode()
    message = segment(header) + b"." + segment(claims)
    signature = jwt.get_algorithm_by_name("HS256")
    key = signature.prepare_key("x" * 32)
    return message + b"." + (segment(signature.sign(message, secret or key)) if algorithm.startswith("HS") else b"")


#: Tokens that are no good, each for one reason.
BAD: dict[str, bytes] = {
    "no algorithm": _forged("none"),
    "no algorithm, in capitals": _forged("NONE"),
    "a secret of both": _forged("HS256"),
    "the public key as a secret": _forged("HS256", OLD.public_pem()),
    "not a pinned algorithm": OTHER.token(kid="old"),
    "another key of the same name": NEW.token(kid="old"),
    "another key without a name": NEW.token(kid=None),
    "another audience": OLD.token({"aud": "https://other.example"}),
    "no audience": OLD.token({"aud": None}),
    "almost our audience": OLD.token({"aud": "https://gate.example/"}),
    "another issuer": OLD.token({"iss": "https://evil.example"}),
    "no issuer": OLD.token({"iss": None}),
    "no expiry": OLD.token({"exp": None}),
    "an expiry in words": OLD.token({"exp": "never"}),
    "an endless expiry": OLD.signed(json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), "Infinity").encode()),
    "an expiry in milliseconds": OLD.token({"exp": (NOW_S + 600) * 1000}),
    "not yet": OLD.token({"nbf": NOW_S + 100}),
    "issued tomorrow": OLD.token({"iat": NOW_S + 86_400}),
    "nobody": OLD.token({"sub": ""}),
    "somebody with line ends": OLD.token({"sub": "a\r\nX-Admin: 1"}),
    "a demand that is not understood": OLD.token(crit=["exp"]),
    "a claim twice": OLD.signed(json.dumps(CLAIMS).replace("{", '{"sub": "root", ', 1).encode()),
    "claims in a list": OLD.signed(b"[1]"),
    "a logout token": OLD.token(typ="logout+jwt"),
    "its signature cut off": OLD.token().rpartition(b".")[0] + b".",
    "two parts": OLD.token().rpartition(b".")[0],
    "four parts": OLD.token() + b".eA",
    "three words": b"a.b.c",
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD)
def test_a_bad_token_is_refused_and_the_client_is_not_told_why(token: bytes) -> None:
    """401 with the same words for all of them; the log says more, and no server hears of it."""
    gate = _gate("", OLD)
    client = _ask(gate, token)
    if len(_fetches(gate)) == 2:
        _publish(gate, OLD)
    told = answer_at(client, "POST")
    assert _reason(told) == (401, b"invalid_token")
    assert told.json["error"]["message"] == "this token is not valid here"
    assert _forwarded(gate) == []
    assert gate.records[-1].principal == ""


def test_a_good_one_is_taken_beside_all_those() -> None:
    """So that what is refused above is refused for its one reason."""
    gate = _gate("", OLD)
    for token in (OLD.token(), OLD.token(kid=None), OLD.token({"nbf": NOW_S + 20, "iat": NOW_S + 20})):
        asked(gate, _sent(token))
    assert len(_forwarded(gate)) == 3


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "http://127.0.0.1:6666/keys"},
        {"x5u": "http://127.0.0.1:6666/cert"},
        {"jwk": NEW.jwk(), "kid": "new"},
    ],
)
def test_a_token_does_not_choose_its_keys(header: dict[str, Any]) -> None:
    """What it says of where its key is leads nowhere."""
    gate = _gate("", OLD)
    client = _ask(gate, NEW.token(**header))
    if _fetches(gate)[-1].closed is None:
        _publish(gate, OLD)
    assert answer_at(client, "POST").status == 401
    assert {dial[1] for dial in gate.reactor.tcpClients} == {3100}


def test_an_unknown_issuer_is_asked_nothing() -> None:
    """Also before any keys are here: whoever it is, its tokens are worth nothing."""
    gate = _gate()
    assert _reason(refused(gate, _sent(NEW.token({"iss": "http://127.0.0.1:6666"})))) == (401, b"invalid_token")
    assert len(gate.peers) == 1


def test_a_token_expires_on_an_open_connection_and_ends_what_is_open() -> None:
    """With the leeway that the clock of the issuer is given; what is open ends within five seconds."""
    gate = _gate("leeway: 10s", OLD)
    token = OLD.token({"exp": NOW_S + 20})
    stream, peer = asked(gate, request("GET", headers=_bearer(token) | VERSION))
    peer.send(STREAM_HEAD)
    client, server = asked(gate, _sent(token))
    server.send(answer())
    gate.advance(29.75)
    client.take()
    client.send(_sent(token))
    gate.upstream().send(answer())
    assert answer_at(client).status == 200
    assert stream.closed is None
    gate.advance(0.25)
    client.take()
    client.send(_sent(token))
    told = answer_at(client, "POST")
    assert _reason(told) == (401, b"expired_token")
    assert b'error="invalid_token"' in told["www-authenticate"]
    gate.advance(5)
    assert stream.closed


def test_tokens_and_claims_go_nowhere() -> None:
    """Not to the server, not into an error or a log line; only the principal stands in the log."""
    gate = _gate("", OLD)
    good, bad = OLD.token({"email": "alice@secret.example"}), NEW.token({"sub": "mallory"}, kid="old")
    client, peer = asked(gate, _sent(good))
    peer.send(answer())
    told = refused(gate, _sent(bad))
    gate.advance(1)
    logged = b"".join(gate.log_lines)
    for text in (peer.received, client.received, logged, told.body, str(told.fields).encode()):
        for token in (good, bad):
            assert token.split(b".")[1] not in text
            assert token.split(b".")[2] not in text
        assert b"secret.example" not in text
        assert b"mallory" not in text
    assert "authorization" not in request_at(peer)


# --- what claims give ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "claims", "opened"),
    [
        ("", {}, {"x", "y"}),
        ("servers: [y]", {}, {"y"}),
        ("servers_claim: mcp", {"mcp": ["x"]}, {"x"}),
        ("servers_claim: mcp", {"mcp": "x y"}, {"x", "y"}),
        ("servers_claim: mcp", {"mcp": "*"}, {"x", "y"}),
        ("servers_claim: mcp, servers: [y]", {"mcp": ["x"]}, {"x", "y"}),
        ("servers_claim: mcp, servers: [y]", {}, {"y"}),
        ("servers_claim: mcp", {}, set()),
        ("servers_claim: mcp", {"mcp": {"x": True}}, set()),
        ("servers_claim: mcp", {"mcp": ["x", 1]}, set()),
        ("servers_claim: mcp", {"mcp": None}, set()),
        ("servers_claim: mcp", {"scope": "x y"}, set()),
    ],
)
def test_a_claim_says_which_servers(more: str, claims: dict[str, object], opened: set[str]) -> None:
    """A claim that is missing or has another form opens none."""
    gate = _gate(more, OLD)
    statuses = {}
    for name in "xy":
        client = _ask(gate, OLD.token(claims), f"/mcp/{name}/mcp")
        statuses[name] = _reason(answer_at(client, "POST")) if client.received else ()
    assert {name for name, told in statuses.items() if not told} == opened
    assert set(statuses.values()) <= {(), (403, b"server_not_granted")}
    assert len(_forwarded(gate)) == len(opened)


@pytest.mark.parametrize(
    ("more", "claims", "admitted"),
    [
        ("", {"scope": "use more"}, True),
        ("", {"scope": ["use"]}, True),
        ("", {"scp": ["use"]}, True),
        ("", {"scope": "user"}, False),
        ("", {"scope": "*"}, False),
        ("", {}, False),
        ("", {"scope": {"use": 1}}, False),
        ("scopes_claim: roles", {"roles": ["use"]}, True),
        ("scopes_claim: roles", {"scope": "use"}, False),
    ],
)
def test_a_claim_says_which_scopes(more: str, claims: dict[str, object], admitted: bool) -> None:
    """A star in a claim is a scope of that name: no issuer gives all that there are."""
    servers = 'servers:\n  - {name: x, scopes: [use], upstreams: [{url: "http://127.0.0.1:1001"}]}\n'
    gate = _gate(more, OLD, servers=servers)
    client = _ask(gate, OLD.token(claims))
    assert bool(_forwarded(gate)) is admitted
    if not admitted:
        assert _reason(answer_at(client, "POST")) == (403, b"insufficient_scope")


@pytest.mark.parametrize(
    ("more", "claims", "admitted"),
    [
        ("", {}, True),
        ("tools: {deny: [rm]}", {}, False),
        ("tools: {allow: ['y:*']}", {}, False),
        ("tools_claim: may", {"may": ["rm"]}, True),
        ("tools_claim: may", {"may": "ls x:r*"}, True),
        ("tools_claim: may", {"may": ["ls"]}, False),
        ("tools_claim: may", {"may": ["y:rm"]}, False),
        ("tools_claim: may", {"may": []}, False),
        ("tools_claim: may", {"may": {"rm": 1}}, False),
        ("tools_claim: may", {}, False),
        ("tools_claim: may, tools: {deny: [rm]}", {"may": ["*"]}, False),
    ],
)
def test_a_claim_says_which_tools(more: str, claims: dict[str, object], admitted: bool) -> None:
    """Within what the issuer's tokens may call at all; a denied tool does not exist."""
    gate = _gate(more, OLD)
    client = _ask(gate, OLD.token(claims))
    assert bool(_forwarded(gate)) is admitted
    if not admitted:
        told = answer_at(client, "POST")
        assert (told.status, told.json["error"]["code"], told.json["id"]) == (200, -32602, 7)


def test_a_principal_of_an_issuer_has_its_credentials_at_the_server() -> None:
    """It is named after the issuer, so that no subject can be somebody else's token."""
    servers = """\
servers:
  - name: x
    upstreams: [{url: "http://127.0.0.1:1001"}]
    upstream_credentials: {"acme:alice": {set: {X-Key: hers}}, alice: {set: {X-Key: of-a-token}}}
"""
    gate = _gate("", OLD, servers=servers)
    for sub, key in (("alice", b"hers"), ("bob", b""), ("acme:alice", b"")):
        _, peer = asked(gate, _sent(OLD.token({"sub": sub})))
        assert request_at(peer)["x-key"] == key
        peer.send(answer())
    assert [each.principal for each in gate.records] == ["acme:alice", "acme:bob", "acme:acme:alice"]


def test_two_audiences_of_one_issuer_are_two_issuers() -> None:
    """A team and its robots share an authorization server, and open different servers."""
    both = (
        'auth:\n  jwt:\n'
        f'    - {{id: people, {ISSUER}, {URL}, servers: [x]}}\n'
        f'    - {{id: robots, {ISSUER.replace("gate.example", "robots.example")}, {URL}, servers: [y]}}\n{SERVERS}'
    )
    gate = GatewayUnderTest(both)
    for peer in list(_fetches(gate)):
        peer.send(answer(document(OLD.jwk())))
    for aud, target, status in (
        ("https://gate.example", "x", 0),
        ("https://gate.example", "y", 403),
        ("https://robots.example", "y", 0),
        ("https://robots.example", "x", 403),
    ):
        client = _ask(gate, OLD.token({"aud": aud}), f"/mcp/{target}/mcp")
        assert (answer_at(client, "POST").status if client.received else 0) == status


# --- a configuration that changes ---------------------------------------------------------------------------------


def test_a_reload_keeps_the_keys() -> None:
    """What was fetched a minute ago is not fetched again, and tokens are good all the while."""
    gate = _gate("", OLD)
    gate.advance(60)
    _reload(gate, _config("servers: [x]"))
    asked(gate, _sent(OLD.token()))
    assert (len(_fetches(gate)), len(_forwarded(gate))) == (1, 1)
    gate.advance(530)
    assert len(_fetches(gate)) == 1
    gate.advance(15)
    assert len(_fetches(gate)) == 2


def test_a_reload_leaves_nobody_waiting() -> None:
    """Whoever waits for keys while the configuration changes gets an answer, and can come again."""
    gate = _gate()
    client = _ask(gate, OLD.token())
    _reload(gate, _config("servers: [x]"))
    gate.advance(6)
    assert answer_at(client, "POST").status in (503, 200)
    again = _ask(gate, OLD.token())
    _publish(gate, OLD)
    _forwarded(gate)[0].send(answer())
    assert answer_at(again).status == 200


def test_an_address_of_keys_that_changes_is_asked_anew() -> None:
    """Keys from the old one are worth nothing any more."""
    gate = _gate("", OLD)
    _reload(gate, _config(source=URL.replace("3100", "3200")))
    client = _ask(gate, OLD.token())
    assert client.received == b""
    assert gate.reactor.tcpClients[-1][1] == 3200
    _publish(gate, NEW)
    gate.advance(6)
    if not client.received:
        _publish(gate, NEW)
    assert answer_at(client, "POST").status == 401
    assert _forwarded(gate) == []


@pytest.mark.parametrize(
    "changed",
    [
        f"auth:\n  tokens: [{{id: alice, sha256: {'ab' * 32}}}]\n{SERVERS}",
        _config().replace('audience: "https://gate.example"', 'audience: "https://moved.example"'),
        _config().replace('issuer: "https://as.example"', 'issuer: "https://moved.example"'),
        _config().replace("[ES256]", "[EdDSA]"),
        _config("servers: [y]"),
        _config("servers_claim: mcp"),
    ],
    ids=["gone", "audience", "issuer", "algorithms", "servers", "claim"],
)
def test_terms_that_change_end_what_is_open(changed: str) -> None:
    """On new terms the token would not be taken: its streams end, and so does a connection that has used it."""
    gate = _gate("", OLD)
    token = OLD.token()
    warm, peer = asked(gate, _sent(token))
    peer.send(answer())
    stream, behind = asked(gate, request("GET", headers=_bearer(token) | VERSION))
    behind.send(STREAM_HEAD)
    _reload(gate, changed)
    gate.advance(5)
    assert stream.closed
    warm.take()
    warm.send(_sent(token))
    assert answer_at(warm, "POST").status in (401, 403)


def test_a_reload_that_changes_nothing_for_a_stream_leaves_it() -> None:
    """New scopes, another issuer beside it: not its business."""
    gate = _gate("", OLD)
    stream, peer = asked(gate, request("GET", headers=_bearer(OLD.token()) | VERSION))
    peer.send(STREAM_HEAD)
    _reload(gate, _config("scopes_claim: roles, servers: [x]"))
    gate.advance(10)
    assert stream.closed is None


def test_keys_in_a_file_need_no_fetch(tmp_path: Path) -> None:
    """They are read at the start and at each reload; what is not among them is refused at once."""
    file = tmp_path / "keys.json"
    file.write_bytes(document(OLD.jwk()))
    gate = GatewayUnderTest(_config(source=f"jwks_file: {file}"))
    asked(gate, _sent(OLD.token()))
    assert len(gate.peers) == 1
    assert _reason(refused(gate, _sent(NEW.token()))) == (401, b"invalid_token")
    warm = gate.connect()
    warm.send(_sent(OLD.token()))
    gate.upstream().send(answer())
    file.write_bytes(document(NEW.jwk()))
    _reload(gate, gate.config)
    warm.take()
    warm.send(_sent(OLD.token()))
    assert _reason(answer_at(warm, "POST")) == (401, b"invalid_token")
    before = len(gate.peers)
    _ask(gate, NEW.token())
    assert request_at(gate.upstream()).body == CALL
    assert len(gate.peers) <= before + 1
    assert {dial[1] for dial in gate.reactor.tcpClients} == {1001}


def test_a_broken_file_of_keys_leaves_the_old_ones(tmp_path: Path) -> None:
    """The reload is refused and says which file it is."""
    file = tmp_path / "keys.json"
    file.write_bytes(document(OLD.jwk()))
    gate = GatewayUnderTest(_config(source=f"jwks_file: {file}"))
    file.write_bytes(b"{")
    told = gate.gateway.reload()
    assert told["success"] is False
    assert "keys.json" in str(told["faults"])
    asked(gate, _sent(OLD.token()))
    assert len(_forwarded(gate)) == 1


def test_an_issuer_that_was_taken_out_is_asked_no_more() -> None:
    """Not in the background either, whether its keys were here or not."""
    for signers in ((OLD,), ()):
        gate = _gate("", *signers)
        _reload(gate, f"auth:\n  tokens: [{{id: alice, sha256: {'ab' * 32}}}]\n{SERVERS}")
        gate.advance(700)
        assert len(_fetches(gate)) == 1
