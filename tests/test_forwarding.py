"""The request that a replica gets, and what it and the log are told of the client."""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ends import requests
from tests.stories.test_websocket import OFFER
from tests.strategies import PURE

from mcpgate.exchange import Exchange, Peer
from mcpgate.forwarding import Way, client_address, framing, request_stem
from mcpgate.policy.access import Credentials
from mcpgate.testing import request
from mcpgate.wire.http1 import HeadLimits, parse_request

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
PLACEMENT = cast(Any, SimpleNamespace(authority=b"Host: upstream:1\r\n"))


def _exchange(sent: bytes, address: bytes = b"10.0.0.1", trusted: bool = True) -> Exchange:
    return Exchange(parse_request(sent, HeadLimits(100_000, 100)), Peer(address, b"http", trusted), 0.0)


def _stem(sent: bytes, **way: Any) -> Any:
    found = Way(**{"placement": PLACEMENT, "target": b"/t?q", "credentials": Credentials(), **way})
    return requests(request_stem(_exchange(sent), found) + b"\r\n")[0]


# --- who the client is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "told"),
    [
        ("", b"10.0.0.1"),
        ("192.0.2.7", b"192.0.2.7"),
        ("192.0.2.7, 10.2.3.4", b"192.0.2.7"),
        ("1.1.1.1, 192.0.2.7, 10.2.3.4, 10.0.0.9", b"192.0.2.7"),
        ("192.0.2.7,10.2.3.4", b"192.0.2.7"),
        ("10.2.3.4, 10.0.0.9", b"10.0.0.1"),
        ("192.0.2.7, unknown", b"10.0.0.1"),
        ("192.0.2.7:4711", b"10.0.0.1"),
        ("unknown, 192.0.2.7", b"192.0.2.7"),
        ("2001:DB8:0:0::7", b"2001:db8::7"),
        ("2001:db8::7, fd00::1", b"2001:db8::7"),
        ("192.0.2.7, ::ffff:10.0.0.3", b"192.0.2.7"),
        ("192.0.2.7, ", b"10.0.0.1"),
        (" 192.0.2.7\t", b"192.0.2.7"),
        ("192.0.2.07", b"10.0.0.1"),
    ],
)
def test_the_client_stands_before_the_proxies(chain: str, told: bytes) -> None:
    """What it wrote itself, further left, does not count; nor does what is no address."""
    assert client_address(_exchange(request(headers={"X-Forwarded-For": chain} if chain else {})), TRUSTED) == told


def test_nobody_but_a_trusted_proxy_is_believed() -> None:
    """Else every client could choose whose limit it uses up."""
    sent = request(headers={"X-Forwarded-For": "192.0.2.7"})
    assert client_address(_exchange(sent, b"203.0.113.5", trusted=False), TRUSTED) == b"203.0.113.5"


def test_two_fields_are_one_chain() -> None:
    """In the order in which they came (RFC 9110 section 5.3)."""
    sent = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.8\r\nX-Forwarded-For: 192.0.2.7, 10.0.0.2\r\n\r\n"
    assert client_address(_exchange(sent), TRUSTED) == b"192.0.2.7"


_LETTERS = st.sampled_from([*"0123456789abcdef:.%[]/ \t", "é", "²"])
_MEMBERS = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(network="10.0.0.0/8").map(str),
    st.builds("{}%{}".format, st.ip_addresses(v=6), st.text(_LETTERS, min_size=1, max_size=4)),
    st.text(_LETTERS, max_size=12),
)


@PURE
@given(st.lists(_MEMBERS, max_size=6))
def test_whatever_stands_there_the_answer_is_an_address(members: list[str]) -> None:
    """Of ASCII letters, in its one spelling, and no proxy's of ours unless it is the one that is connected."""
    head = parse_request(request(), HeadLimits(100_000, 100))
    head.noted[b"x-forwarded-for"] = ", ".join(members).encode("latin-1")
    told = client_address(Exchange(head, Peer(b"10.0.0.1", b"http", True), 0.0), TRUSTED)
    known = ipaddress.ip_address(told.decode("ascii"))
    assert str(known).encode() == told
    assert told == b"10.0.0.1" or not any(known in network for network in TRUSTED)


# --- what the replica gets ----------------------------------------------------------------------------------------


def test_a_way_without_anything_special_changes_nothing() -> None:
    """Fields travel on in their order and spelling; target and Host are the replica's."""
    sent = request("GET", headers={"X-B": "1", "x-a": "2", "Authorization": "Bearer secret", "Mcp-Session-Id": "s"})
    told = _stem(sent)
    assert (told.method, told.target, told["host"]) == (b"GET", b"/t?q", b"upstream:1")
    assert [name for name, _ in told.fields][1:5] == [b"accept", b"x-b", b"x-a", b"mcp-session-id"]
    assert (told["mcp-session-id"], "authorization" in told) == (b"s", False)


def test_credentials_replace_what_the_client_sent() -> None:
    """Every line of that name, in whatever case."""
    sent = b"GET / HTTP/1.1\r\nHost: a\r\nX-KEY: forged\r\nx-key: again\r\nX-Key2: stays\r\n\r\n"
    told = _stem(sent, credentials=Credentials.of({"X-Key": "ours"}))
    assert (told["x-key"], told["x-key2"]) == (b"ours", b"stays")


@pytest.mark.parametrize(
    ("bearer", "configured", "told"),
    [
        (None, {}, b""),
        (b"Bearer theirs", {}, b"Bearer theirs"),
        (b"Bearer theirs", {"AUTHORIZATION": "Bearer ours"}, b"Bearer ours"),
        (None, {"authorization": "Bearer ours"}, b"Bearer ours"),
    ],
)
def test_one_authorization_at_most(bearer: bytes | None, configured: dict[str, str], told: bytes) -> None:
    """The configured one goes first; the client's goes only if it is told to."""
    sent = request("GET", headers={"Authorization": "Bearer theirs"})
    found = _stem(sent, bearer=bearer, credentials=Credentials.of(configured))
    assert found["authorization"] == told


def test_the_servers_own_session_takes_the_place_of_the_sealed_one() -> None:
    """Once, wherever it stood."""
    told = _stem(request("GET", headers={"mcp-session-id": "sealed"}), session=b"its-own")
    assert told["mcp-session-id"] == b"its-own"


def test_a_first_event_that_must_be_read_is_asked_for_uncompressed() -> None:
    """Whatever the client would take."""
    sent = request("GET", headers={"Accept-Encoding": "gzip, br"})
    assert _stem(sent, plain=True)["accept-encoding"] == b"identity"
    assert _stem(sent)["accept-encoding"] == b"gzip, br"


def test_the_replica_is_told_the_whole_chain() -> None:
    """Of a trusted proxy; of anybody else only who it is."""
    sent = request("GET", headers={"X-Forwarded-For": "192.0.2.7"})
    way = Way(PLACEMENT, b"/", Credentials())
    for trusted, chain in ((True, b"192.0.2.7, 10.0.0.1"), (False, b"10.0.0.1")):
        told = requests(request_stem(_exchange(sent, trusted=trusted), way) + b"\r\n")[0]
        assert told["x-forwarded-for"] == chain


@pytest.mark.parametrize(
    ("sent", "lines"),
    [
        (request("GET"), b""),
        (request(body=b"abc"), b"Content-Length: 3\r\n"),
        (request(headers={"Content-Length": "0"}), b"Content-Length: 0\r\n"),
        (request(headers={"Transfer-Encoding": "chunked"}), b"Transfer-Encoding: chunked\r\n"),
        (request("GET", headers=OFFER), b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        (request("GET", headers={"Connection": "Upgrade", "Upgrade": "h2c"}), b""),
    ],
)
def test_the_framing_is_that_of_the_request(sent: bytes, lines: bytes) -> None:
    """One way to say how the body ends; of upgrades only a WebSocket's."""
    head = parse_request(sent.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", HeadLimits(10_000, 100))
    assert framing(head) == lines
