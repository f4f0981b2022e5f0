"""Who may pass, across reloads: what is kept, what is not, and that a bad configuration changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.ends import asked
from tests.policy.signers import NOW_S, document, signer

from mcpgate.admittance import Admittance
from mcpgate.assembly import AssemblyFault
from mcpgate.config import parse
from mcpgate.errors import GatewayError
from mcpgate.exchange import Exchange, Peer
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.authn import Grant
from mcpgate.settings import Settings
from mcpgate.testing import GatewayUnderTest, answer, request
from mcpgate.wire.calls import Call
from mcpgate.wire.http1 import HeadLimits, parse_request

OLD, NEW = signer("ES256", "old"), signer("ES256", "new")
DIGEST = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
SERVER = 'servers: [{name: x, upstreams: [{url: "http://127.0.0.1:1001"}]}]\n'
CALL = (Call("tools/call", "rm"),)


def _settings(text: str) -> Settings:
    return parse(text, "gate.yaml", {})


def _admittance(text: str) -> Admittance:
    return Admittance(_settings(text), GatewayUnderTest().gateway.lent)


def _issuer(name: str, source: str) -> str:
    return f'{{id: {name}, issuer: "https://{name}.example", audience: "https://gate.example", algorithms: [ES256], {source}}}'


FETCHED = f"auth: {{jwt: [{_issuer('acme', 'jwks_url: http://127.0.0.1:3100/keys')}]}}\n{SERVER}"


def _files(folder: Path, **keys: object) -> str:
    """A configuration with an issuer for each file."""
    for name, content in keys.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else document(content))
    issuers = ", ".join(_issuer(name, f"jwks_file: {folder / name}") for name in keys)
    return f"auth: {{jwt: [{issuers}]}}\n{SERVER}"


def _principal(admittance: Admittance, token: bytes) -> str:
    try:
        return admittance.access.authenticator.identify(token, NOW_S, final=True).name
    except GatewayError as refused:
        return refused.reason


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"{", "not JSON"), (b"[]", "not a key set"), (b'{"keys": []}', "no usable key"), (b"\xff", "not JSON")],
)
def test_a_file_without_keys_is_one_clear_fault(tmp_path: Path, content: bytes, fault: str) -> None:
    """With the issuer and the file."""
    text = _files(tmp_path, acme=content)
    with pytest.raises(AssemblyFault) as told:
        _admittance(text)
    assert str(told.value) == f"auth.jwt: jwks_file of acme: {tmp_path / 'acme'}: {fault}"


def test_a_file_that_has_gone_is_one_clear_fault(tmp_path: Path) -> None:
    """Between the check of the configuration and its use."""
    text = _files(tmp_path, acme=OLD.jwk())
    settings = _settings(text)
    (tmp_path / "acme").unlink()
    with pytest.raises(AssemblyFault, match=r"jwks_file of acme: .*No such file"):
        Admittance(settings, GatewayUnderTest().gateway.lent)


def test_a_relative_file_is_found_in_the_run_directory(tmp_path: Path) -> None:
    """As every path of the configuration."""
    settings = _settings(_files(tmp_path, acme=OLD.jwk()).replace(f"{tmp_path}/", f"{tmp_path}/../{tmp_path.name}/"))
    (source,) = settings.auth.jwt
    settings = settings.model_copy(update={"auth": settings.auth.model_copy(update={"jwt": (source.model_copy(update={"jwks_file": "acme"}),)})})
    admittance = Admittance(settings, replace(GatewayUnderTest().gateway.lent, rundir=str(tmp_path)))
    assert _principal(admittance, OLD.token({"iss": "https://acme.example"})) == "acme:alice"


def test_a_file_is_read_anew_at_each_reload(tmp_path: Path) -> None:
    """Also if nothing else has changed."""
    text = _files(tmp_path, acme=OLD.jwk())
    admittance = _admittance(text)
    tokens = [each.token({"iss": "https://acme.example"}) for each in (OLD, NEW)]
    assert [_principal(admittance, token) for token in tokens] == ["acme:alice", "invalid_token"]
    (tmp_path / "acme").write_bytes(document(NEW.jwk()))
    admittance.take(_settings(text))
    assert [_principal(admittance, token) for token in tokens] == ["invalid_token", "acme:alice"]


def test_a_fault_in_one_file_leaves_the_keys_of_the_others(tmp_path: Path) -> None:
    """The configuration is refused as a whole, so no part of it is in use: the old keys stay, and the old tokens good."""
    text = _files(tmp_path, first=OLD.jwk(), second=OLD.jwk())
    admittance = _admittance(text)
    before = admittance.access
    (tmp_path / "first").write_bytes(document(NEW.jwk()))
    (tmp_path / "second").write_bytes(b"{")
    with pytest.raises(AssemblyFault):
        admittance.take(_settings(text))
    assert admittance.access is before
    assert _principal(admittance, OLD.token({"iss": "https://first.example"})) == "first:alice"
    assert _principal(admittance, NEW.token({"iss": "https://first.example"})) == "invalid_token"


def test_a_fault_of_the_session_secret_changes_nothing(tmp_path: Path) -> None:
    """It cannot be read or made: then there is no new configuration, and no new token opens anything."""
    lent = GatewayUnderTest().gateway.lent

    def fail() -> str:
        raise AssemblyFault("no place for the secret")

    admittance = Admittance(_settings(SERVER), replace(lent, session_secret=fail))
    with pytest.raises(AssemblyFault):
        admittance.take(_settings(f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}}}]}}\n{SERVER}"))
    assert _principal(admittance, b"secret") == "invalid_token"


def test_keys_that_were_fetched_stay_as_long_as_their_address() -> None:
    """New terms do not make the gateway ask again; another address, or another issuer of that name, does."""
    text = FETCHED
    gate = GatewayUnderTest(text)
    gate.upstream().send(answer(document(OLD.jwk())))
    token = OLD.token({"iss": "https://acme.example"})
    for changed, principal in (
        (text.replace("[ES256]", "[ES256, EdDSA]"), "acme:alice"),
        (text.replace("3100", "3101"), "keys_unavailable"),
        (text.replace("id: acme", "id: other"), "keys_unavailable"),
    ):
        gate.config = changed
        assert gate.gateway.reload()["success"]
        assert _principal(gate.gateway.admittance, token) == principal


def test_nothing_is_fetched_before_the_start_and_after_the_end() -> None:
    """A gateway that is built, or has stopped, opens no connection; whoever waits then is told at once."""
    text = FETCHED
    gate = GatewayUnderTest()
    admittance = Admittance(_settings(text), gate.gateway.lent)
    told: list[str] = []
    admittance.await_keys("acme", lambda: told.append("not started"))
    assert gate.reactor.tcpClients == []
    admittance.start()
    gate.settle()
    assert len(gate.reactor.tcpClients) == 1
    admittance.await_keys("acme", lambda: told.append("stopped"))
    admittance.await_keys("nobody", lambda: told.append("nobody"))
    assert told == ["not started", "nobody"]
    admittance.stop()
    assert told == ["not started", "nobody", "stopped"]
    admittance.take(_settings(text.replace("3100", "3101")))
    gate.advance(700)
    assert len(gate.reactor.tcpClients) == 1


# --- what is counted ----------------------------------------------------------------------------------------------

LIMIT = "limits: [{name: all, key: [address], rate: 1/m, burst: 1}]\n"


def test_a_reload_gives_nobody_a_new_burst() -> None:
    """Whoever can make a gateway reload could else do without limits."""
    admittance = _admittance(LIMIT + SERVER)

    def refused() -> bool:
        assert admittance.access.limiter is not None
        return admittance.access.limiter.bind(b"a", "", "x").admit(CALL, False, 0.0).refusal is not None

    assert not refused()
    admittance.take(_settings(LIMIT + SERVER.replace("1001", "1002")))
    assert refused()
    admittance.take(_settings(LIMIT.replace("1/m", "2/m") + SERVER))
    assert not refused()


def test_without_limits_there_is_no_limiter() -> None:
    """And no body is held back; what was counted before is not remembered."""
    admittance = _admittance(LIMIT + SERVER)
    admittance.take(_settings(SERVER))
    assert admittance.access.limiter is None


def test_the_gate_stays_unless_it_is_configured_anew() -> None:
    """Who is connected is known in any case."""
    admittance = _admittance(f"gate: {{open_connections: 2}}\n{SERVER}")
    first = admittance.gate
    first.opened(b"a")
    admittance.take(_settings(f"gate: {{open_connections: 2}}\n{SERVER.replace('1001', '1002')}"))
    assert admittance.gate is first
    admittance.take(_settings(f"gate: {{open_connections: 1}}\n{SERVER}"))
    assert admittance.gate is not first
    assert not admittance.gate.admits_connection(b"a", 0.0)
    first.closed(b"a")
    assert admittance.gate.admits_connection(b"a", 0.0)


def test_a_connection_that_outlives_a_reload_is_counted_once() -> None:
    """It came in through one gate and leaves through another."""
    gate = GatewayUnderTest(f"gate: {{open_connections: 1}}\n{SERVER}")
    client, peer = asked(gate, request("GET"))
    peer.send(answer())
    gate.config = f"gate: {{open_connections: 1, unauthenticated: null}}\n{SERVER}"
    assert gate.gateway.reload()["success"]
    assert not gate.gateway.admittance.gate.admits_connection(b"127.0.0.1", 0.0)
    client.reset()
    assert gate.gateway.admittance.gate.admits_connection(b"127.0.0.1", 0.0)


# --- seals --------------------------------------------------------------------------------------------------------


def test_the_secret_is_made_only_where_something_is_sealed() -> None:
    """A gateway without tokens and with single replicas leaves no file behind."""
    made: list[str] = []

    def make() -> str:
        made.append("k" * 32)
        return made[-1]

    lent = replace(GatewayUnderTest().gateway.lent, session_secret=make)
    assert Admittance(_settings(SERVER), lent).access.seal is None
    token = f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}}}]}}\n"
    assert Admittance(_settings(f"{token}sessions: {{keys: [{'k' * 32}]}}\n{SERVER}"), lent).access.seal is not None
    assert made == []
    assert Admittance(_settings(token + SERVER), lent).access.seal is not None
    assert len(made) == 1


# --- what is open -------------------------------------------------------------------------------------------------


def _open(grant: Grant | None) -> Exchange:
    exchange = Exchange(parse_request(request("GET"), HeadLimits(10_000, 100)), Peer(b"a", b"http", False), 0.0)
    exchange.grant = grant
    return exchange


@pytest.mark.parametrize(
    ("entry", "terms", "stays"),
    [
        ("", Terms(Auth.REQUIRED), True),
        ("", Terms(Auth.REQUIRED, scopes=frozenset({"use"})), False),
        ("scopes: [use]", Terms(Auth.REQUIRED, scopes=frozenset({"use"})), True),
        ("servers: [y]", Terms(Auth.REQUIRED), False),
        ("expires: '2027-01-15T08:00:00Z'", Terms(Auth.REQUIRED), False),
        ("expires: '2027-01-15T08:00:01Z'", Terms(Auth.REQUIRED), True),
        ("servers: [y]", Terms(), True),
        ("servers: [y]", Terms(Auth.UPSTREAM), True),
    ],
)
def test_who_would_be_let_in_stays(entry: str, terms: Terms, stays: bool) -> None:
    """By the token as it is now, and the terms as they are now."""
    admittance = _admittance(f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}{', ' + entry if entry else ''}}}]}}\n{SERVER}")
    earlier = _admittance(f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}}}]}}\n{SERVER}")
    exchange = _open(earlier.access.authenticator.identify(b"secret", NOW_S))
    assert admittance.renew(exchange, "x", terms) is stays


def test_who_came_without_a_token_leaves_where_one_is_asked_for_now() -> None:
    """And stays where nobody is asked."""
    admittance = _admittance(SERVER)
    assert not admittance.renew(_open(None), "x", Terms(Auth.REQUIRED))
    assert admittance.renew(_open(None), "x", Terms())


def test_what_stays_is_noted_with_its_new_end() -> None:
    """The token may have been extended, or been given less time."""
    earlier = _admittance(f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}}}]}}\n{SERVER}")
    exchange = _open(earlier.access.authenticator.identify(b"secret", NOW_S))
    later = _admittance(f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}, expires: '2027-01-15T08:10:00Z'}}]}}\n{SERVER}")
    assert later.renew(exchange, "x", Terms(Auth.REQUIRED))
    assert exchange.expires_s == 1600


def test_who_reads_news_with_a_token_needs_a_good_one() -> None:
    """Who has none, may read on; who had one that is not known any more, may not."""
    tokens = f"auth: {{tokens: [{{id: alice, sha256: {DIGEST}}}]}}\n"
    admittance = _admittance(tokens + SERVER)
    grant = admittance.access.authenticator.identify(b"secret", NOW_S)
    assert admittance.still_knows(_open(None))
    assert admittance.still_knows(_open(grant))
    admittance.take(_settings(tokens.replace("}]}", ', expires: "2027-01-15T09:00:00Z"}]}') + SERVER))
    exchange = _open(grant)
    assert admittance.still_knows(exchange)
    assert 0 < exchange.expires_s < float("inf"), "until when, is known from now on"
    admittance.take(_settings(SERVER))
    assert admittance.still_knows(_open(None))
    assert not admittance.still_knows(_open(grant))
