"""Who asks, and what they may do: in what order it is asked, what it costs an address, and until when it holds."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.policy.signers import NOW_S, issuer, signer
from tests.stories.test_websocket import OFFER

from mcpgate import errors
from mcpgate.admission import authenticate, authorize, authorize_tools, own_origin
from mcpgate.exchange import Exchange, Peer
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.addressgate import AddressGate
from mcpgate.policy.authn import Authenticator, Grant, KeysAwaited, TokenTable
from mcpgate.policy.authz import NamePatterns, ToolRights
from mcpgate.policy.buckets import Allowance
from mcpgate.policy.issuers import Issuers
from mcpgate.policy.origin import AllowedOrigins
from mcpgate.policy.routing import RouteTable
from mcpgate.snapshot import Access, Decision, Moment, Route, Snapshot
from mcpgate.testing import request
from mcpgate.wire.http1 import HeadLimits, parse_request

DIGEST = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
KEY, LOST = signer("ES256", "admission"), signer("ES256", "lost")
NOW = Moment(100.0, NOW_S)
SERVER = cast(Any, SimpleNamespace(name="x", settings=SimpleNamespace(path="/mcp/x")))
REQUIRED = Route(SERVER, 100, "", Terms(Auth.REQUIRED))


class Counted(Authenticator):
    """An authenticator that tells how often it was asked for a token."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked = 0

    def identify(self, token: bytes, wall_s: float, *, final: bool = False) -> Grant:
        self.asked += 1
        return super().identify(token, wall_s, final=final)


def _decision(route: Route = REQUIRED, grant: Grant | None = None, *, keys: bool = True, one: bool = False) -> Decision:
    """
    :param keys: whether the issuer's keys are here.
    :param one: whether one request without a good token is enough for a minute.
    """
    known = Grant("alice", frozenset({"use"}), frozenset({"x"}), expires_s=NOW_S + 600)
    issuers = Issuers([issuer(*([KEY] if keys else []), servers=frozenset({"x"}))])
    snapshot = Snapshot(
        RouteTable({}),
        AllowedOrigins([]),
        TokenTable([(DIGEST, Grant("ops", frozenset({"write"})))]),
        AddressGate(None, Allowance(1, 60, 1) if one else None, 0),
        Access(Counted(TokenTable([(DIGEST, known)]), issuers), issuers=("https://as.example",)),
        (ipaddress.ip_network("10.0.0.0/8"),),
    )
    return Decision(snapshot, route, grant=grant)


def _exchange(
    token: str | bytes | None = None, address: bytes = b"192.0.2.1", fields: dict[str, str] | None = None
) -> Exchange:
    told = token.decode() if isinstance(token, bytes) else token
    sent = request("GET", headers=(fields or {}) | ({} if told is None else {"Authorization": told}))
    return Exchange(parse_request(sent, HeadLimits(20_000, 100)), Peer(address, b"http", address.startswith(b"10.")), 100.0)


def _refused(exchange: Exchange, decision: Decision) -> errors.GatewayError:
    with pytest.raises(errors.GatewayError) as refused:
        authenticate(exchange, decision, NOW)
    return refused.value


# --- who it is ----------------------------------------------------------------------------------------------------


def test_a_known_token_is_somebody_until_it_expires() -> None:
    """By the clock that only goes forward; and whoever it is is asked again within a minute."""
    exchange, decision = _exchange("Bearer secret"), _decision()
    authenticate(exchange, decision, NOW)
    assert (exchange.principal, decision.principal) == ("alice", "alice")
    assert (decision.expires_s, exchange.expires_s, decision.until_s) == (700.0, 700.0, 160.0)


def test_a_token_that_expires_soon_is_asked_for_then() -> None:
    """Not a minute later."""
    decision = _decision()
    authenticate(_exchange(b"Bearer " + KEY.token({"exp": NOW_S - 20})), decision, NOW)
    assert (decision.expires_s, decision.until_s) == (110.0, 110.0)


@pytest.mark.parametrize("auth", [Auth.NONE, Auth.UPSTREAM])
@pytest.mark.parametrize("token", [None, "Bearer secret", "Bearer wrong", "Basic eA=="])
def test_where_nobody_is_asked_no_token_is_looked_at(auth: Auth, token: str | None) -> None:
    """It is somebody else's business, or nobody's."""
    exchange, decision = _exchange(token), _decision(Route(SERVER, 100, "", Terms(auth)))
    authenticate(exchange, decision, NOW)
    assert (exchange.principal, decision.grant, decision.until_s) == ("", None, math.inf)


@pytest.mark.parametrize(("token", "principal"), [(None, ""), ("Bearer secret", "alice"), ("Bearer wrong", None)])
def test_a_token_is_welcome_where_none_is_needed(token: str | None, principal: str | None) -> None:
    """But one that is there must be good."""
    exchange, decision = _exchange(token), _decision(Route(None, 100, "", Terms(Auth.WELCOME)))
    if principal is None:
        assert isinstance(_refused(exchange, decision), errors.InvalidToken)
    else:
        authenticate(exchange, decision, NOW)
        assert exchange.principal == principal


@pytest.mark.parametrize(
    ("scope", "token", "refused"),
    [
        ("write", "Bearer secret", None),
        ("write", None, errors.Unauthenticated),
        ("write", "Bearer wrong", errors.InvalidToken),
        ("write", "Basic secret", errors.InvalidToken),
        ("read", "Bearer secret", errors.Forbidden),
    ],
)
def test_operators_have_tokens_of_their_own(scope: str, token: str | None, refused: type[errors.GatewayError] | None) -> None:
    """The table of operators is asked, and not that of clients: there the same token is somebody else's."""
    exchange, decision = _exchange(token), _decision(Route(None, 100, scope))
    if refused is None:
        authenticate(exchange, decision, NOW)
        assert decision.principal == "ops"
        assert exchange.principal == ""
    else:
        assert type(_refused(exchange, decision)) is refused


def test_keys_that_are_not_here_are_awaited_once() -> None:
    """Then it is decided with those that there are, and the answer is neither yes nor no."""
    exchange, decision = _exchange(b"Bearer " + KEY.token()), _decision(keys=False, one=True)
    with pytest.raises(KeysAwaited):
        authenticate(exchange, decision, NOW)
    exchange.awaited = True
    for _ in range(3):
        assert isinstance(_refused(exchange, decision), errors.KeysUnavailable)


# --- what a failure costs -----------------------------------------------------------------------------------------


def test_who_fails_too_often_is_refused_before_any_cryptography() -> None:
    """The address has to wait, and no signature is checked for it; known tokens of the same address still pass."""
    decision = _decision(one=True)
    authenticator = cast(Counted, decision.snapshot.access.authenticator)
    forged = b"Bearer " + LOST.token(kid="admission")
    assert isinstance(_refused(_exchange(forged), decision), errors.InvalidToken)
    assert authenticator.asked == 1
    limited = _refused(_exchange(forged), decision)
    assert isinstance(limited, errors.AddressLimited)
    assert limited.retry_after_s == 60
    assert isinstance(_refused(_exchange(b"Bearer " + KEY.token()), decision), errors.AddressLimited)
    assert authenticator.asked == 1
    authenticate(_exchange("Bearer secret"), decision, NOW)
    assert decision.principal == "alice"


def test_a_verified_token_passes_from_an_address_that_failed() -> None:
    """It costs no cryptography any more."""
    decision, token = _decision(one=True), b"Bearer " + KEY.token()
    authenticate(_exchange(token), decision, NOW)
    assert isinstance(_refused(_exchange("Bearer wrong"), decision), errors.InvalidToken)
    authenticate(_exchange(token), decision, NOW)
    assert decision.principal == "acme:alice"


@pytest.mark.parametrize("token", [None, "Bearer wrong", "Bearer", "Basic eA==", "Bearer secret2"])
def test_each_request_without_a_good_token_costs_its_address_one(token: str | None) -> None:
    """Missing ones, too; other addresses pay nothing for it."""
    decision = _decision(one=True)
    assert isinstance(_refused(_exchange(token), decision), errors.Unauthenticated)
    assert isinstance(_refused(_exchange(token), decision), errors.AddressLimited)
    assert isinstance(_refused(_exchange(token, b"192.0.2.2"), decision), errors.Unauthenticated)


def test_a_right_that_is_missing_costs_nothing() -> None:
    """Who is known is limited by name."""
    decision = _decision(Route(None, 100, "read"), one=True)
    for _ in range(3):
        assert isinstance(_refused(_exchange("Bearer secret"), decision), errors.Forbidden)


def test_behind_a_proxy_the_client_pays_and_not_the_proxy() -> None:
    """Else one guesser would shut out everybody who comes through it."""
    decision = _decision(one=True)
    for _ in range(2):
        last = _refused(_exchange("Bearer wrong", b"10.0.0.1", {"X-Forwarded-For": "192.0.2.7"}), decision)
    assert isinstance(last, errors.AddressLimited)
    assert isinstance(_refused(_exchange("Bearer wrong", b"10.0.0.1", {"X-Forwarded-For": "192.0.2.8"}), decision), errors.InvalidToken)


# --- what it may --------------------------------------------------------------------------------------------------


def _grant(*scopes: str, servers: tuple[str, ...] = ("x",), tools: ToolRights | None = None) -> Grant:
    return Grant("alice", frozenset(scopes), frozenset(servers), tools or ToolRights())


def _authorized(route: Route, grant: Grant | None, exchange: Exchange | None = None) -> str:
    try:
        authorize(exchange or _exchange(), _decision(route, grant))
    except errors.GatewayError as refused:
        return refused.reason
    return ""


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        (_grant("use"), ""),
        (_grant("use", servers=("*",)), ""),
        (_grant("*"), ""),
        (_grant("use", servers=("y",)), "server_not_granted"),
        (_grant("use", servers=()), "server_not_granted"),
        (_grant(), "insufficient_scope"),
        (_grant(servers=()), "server_not_granted"),
    ],
)
def test_the_server_is_asked_for_before_the_scopes(grant: Grant, reason: str) -> None:
    """Who may not use it at all is not sent to get a scope for it."""
    assert _authorized(Route(SERVER, 100, "", Terms(Auth.REQUIRED, scopes=frozenset({"use"}))), grant) == reason


def test_own_addresses_are_no_server() -> None:
    """A token that opens none may still ask what there is."""
    assert _authorized(Route(None, 100, "", Terms(Auth.WELCOME)), _grant(servers=())) == ""


@pytest.mark.parametrize(
    ("terms", "grant", "reason"),
    [
        (Terms(), None, ""),
        (Terms(tools=ToolRights(deny=["rm"])), None, "tunnel_rights"),
        (Terms(tool_scopes=((NamePatterns(["rm"]), frozenset({"a"})),)), _grant("*"), "tunnel_rights"),
        (Terms(Auth.REQUIRED), _grant(tools=ToolRights(["ls"])), "tunnel_rights"),
        (Terms(Auth.REQUIRED), _grant(), ""),
    ],
)
def test_a_websocket_needs_a_right_to_every_tool(terms: Terms, grant: Grant | None, reason: str) -> None:
    """Nobody looks inside it; other requests are looked at later."""
    route = Route(SERVER, 100, "", terms)
    assert _authorized(route, grant, _exchange(fields=OFFER)) == reason
    assert _authorized(route, grant) == ""


def test_every_tool_of_a_batch_must_be_allowed() -> None:
    """One that is denied is told first, and none of them is called; then all scopes are asked for at once."""
    terms = Terms(
        Auth.REQUIRED,
        ToolRights(deny=["rm"]),
        tool_scopes=((NamePatterns(["write*"]), frozenset({"write"})), (NamePatterns(["*_all"]), frozenset({"all"}))),
    )
    exchange, decision = _exchange(), _decision(Route(SERVER, 100, "", terms), _grant())
    exchange.server = "x"
    authorize_tools(exchange, decision, [])
    authorize_tools(exchange, decision, ["ls", "read"])
    with pytest.raises(errors.ToolDenied) as denied:
        authorize_tools(exchange, decision, ["write_all", "ls", "rm"])
    assert denied.value.text == "Unknown tool: rm"
    with pytest.raises(errors.InsufficientScope) as lacking:
        authorize_tools(exchange, decision, ["ls", "write_all"])
    assert lacking.value.scopes == ("all", "write")
    assert b'scope="all write"' in lacking.value.challenge


def test_rights_to_tools_are_those_of_the_server_that_is_asked() -> None:
    """`SERVER:TOOL` in a token."""
    decision = _decision(Route(SERVER, 100, "", Terms(Auth.REQUIRED)), _grant(tools=ToolRights(["x:rm"])))
    exchange = _exchange()
    exchange.server = "x"
    authorize_tools(exchange, decision, ["rm"])
    exchange.server = "y"
    with pytest.raises(errors.ToolDenied):
        authorize_tools(exchange, decision, ["rm"])


# --- where it came to ---------------------------------------------------------------------------------------------


def test_the_configured_address_goes_before_what_anybody_says() -> None:
    """Also before what a trusted proxy says."""
    exchange = _exchange(None, b"10.0.0.1", {"X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"})
    access = _decision().snapshot.access
    assert own_origin(exchange, access) == b"https://a.example"
    assert own_origin(exchange, replace(access, public_url=b"https://mcp.example.com")) == b"https://mcp.example.com"
    assert own_origin(_exchange(fields={"X-Forwarded-Host": "a.example"}), access) == b"http://localhost"
