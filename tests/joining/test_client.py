"""The line of one replica to a gateway's registry."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.registrar import TOKEN, Registrar, free_port, served

from mcpgate.joining.client import Answer, GatewayAway, JoinRefused, RegistryClient, TokenAway, replica_id, token_source
from mcpgate.values import grammar

KEY = ("weather", "127.0.0.1-3010")


@pytest.fixture
def registrar() -> Iterator[Registrar]:
    """A registry that answers."""
    with served(Registrar()) as registrar:
        yield registrar


def client(gateway: str, token: str = TOKEN, call_s: float = 5.0) -> RegistryClient:
    """A line of one replica."""
    return RegistryClient(gateway, KEY, lambda: token, call_s)


def test_register_beat_and_leave(registrar: Registrar) -> None:
    """Three requests to the address of the replica, each with the token."""
    line = client(f"{registrar.url}/")
    assert line.put({"url": "http://127.0.0.1:3010"}).status == 201
    assert line.beat({"state": "warning", "note": "é"}).told["heartbeatSeconds"] == 0.02
    line.delete(5.0)
    path = "/v1/servers/weather/replicas/127.0.0.1-3010"
    put, beat, gone = (registrar.heard.get_nowait() for _ in range(3))
    assert (put.method, put.path, put.body, put.token) == ("PUT", path, {"url": "http://127.0.0.1:3010"}, TOKEN)
    assert (beat.method, beat.path, beat.body) == ("PUT", f"{path}/heartbeat", {"state": "warning", "note": "é"})
    assert (gone.method, gone.path, gone.body, gone.token) == ("DELETE", path, None, TOKEN)


def test_who_never_registered_does_not_deregister(registrar: Registrar) -> None:
    """Somebody else may stand there."""
    client(registrar.url).delete(5.0)
    assert registrar.left() == []


def test_nobody_registers_behind_a_farewell(registrar: Registrar) -> None:
    """What waited for its turn meanwhile is not sent any more."""
    line = client(registrar.url)
    line.close()
    with pytest.raises(GatewayAway):
        line.put({})
    assert registrar.left() == []


def test_a_farewell_waits_for_the_registration_under_way(registrar: Registrar) -> None:
    """Else the registration could arrive last, and stay."""
    asked, go = threading.Event(), threading.Event()
    registrar.then = lambda heard: heard.method == "PUT" and (asked.set(), go.wait(5))
    line = client(registrar.url)
    registering = threading.Thread(target=line.put, args=({},))
    registering.start()
    assert asked.wait(5)
    with pytest.raises(GatewayAway, match="does not answer"):
        line.delete(0.01)
    go.set()
    line.delete(5.0)
    registering.join()
    assert registrar.left() == ["PUT", "DELETE"]
    assert registrar.entries == {}


def test_a_gateway_that_is_not_there() -> None:
    """One error, whatever the reason, with its text."""
    with pytest.raises(GatewayAway, match="refused"):
        client(f"http://127.0.0.1:{free_port()}").put({})


def test_a_gateway_that_says_nothing() -> None:
    """The time for a call is bounded."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(GatewayAway, match="timed out"),
    ):
        client(f"http://127.0.0.1:{silent.getsockname()[1]}", call_s=0.02).put({})


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "é"])
def test_a_token_that_is_none(registrar: Registrar, token: str) -> None:
    """It is not sent, and not repeated."""
    with pytest.raises(TokenAway, match="the token is empty, or holds") as refused:
        client(registrar.url, token).put({})
    assert registrar.left() == []
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    "gateway", ["127.0.0.1:8701", "ftp://x", "http://", "http://x?y", "http://x#y", "http://me:secret@x", "http://x:y"]
)
def test_a_wrong_gateway(gateway: str) -> None:
    """Said at once, without what it may hold of secrets."""
    with pytest.raises(ValueError) as refused:
        client(gateway).put({})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://x:99999", "http://x:0", "http://x:y", "http://x:-1"])
def test_an_impossible_port(url: str) -> None:
    """It is told where it stands, in our words."""
    with pytest.raises(ValueError, match=r"^gateway: an impossible port, expected 1 to 65535$"):
        client(url)
    with pytest.raises(ValueError, match=r"^url: an impossible port, expected 1 to 65535$"):
        replica_id(url)


def test_half_an_address() -> None:
    """As any other text that is no URL."""
    with pytest.raises(ValueError, match=r"^gateway: expected the URL of its admin listener"):
        client("http://[::1")
    with pytest.raises(ValueError, match=r"^url: expected one such as"):
        replica_id("http://[::1")


def test_a_file_without_a_token(registrar: Registrar, tmp_path: Path) -> None:
    """Which one it is, and why; it is read again the next time."""
    file = tmp_path / "token"
    line = RegistryClient(registrar.url, KEY, token_source(None, file, {}), 5.0)
    with pytest.raises(TokenAway) as away:
        line.put({})
    assert str(away.value) == f"{file}: No such file or directory"
    file.write_text("\n")
    with pytest.raises(TokenAway) as away:
        line.put({})
    assert str(away.value) == f"{file}: the token is empty, or holds what no token can"
    assert registrar.left() == []
    file.write_text(TOKEN)
    assert line.put({}).status == 201


def test_an_address_without_a_port() -> None:
    """The last part of ``::1`` is not read as one; nobody listens there."""
    with pytest.raises(GatewayAway, match=r"refused|unreachable|assign|not supported"):
        client("http://[::1]").put({})


def test_names_stay_in_their_place(registrar: Registrar) -> None:
    """A slash in a name leads nowhere else."""
    RegistryClient(registrar.url, ("../admin", "a/b?c"), lambda: TOKEN, 5.0).put({})
    assert registrar.take("PUT").path == "/v1/servers/..%2Fadmin/replicas/a%2Fb%3Fc"


def test_what_a_refusal_tells() -> None:
    """All faults, each with its place."""
    told = {"detail": "long", "faults": [{"where": "url", "problem": "no port"}, "odd", {"where": "", "problem": "x"}]}
    refusal = Answer(422, told, 0).refusal()
    assert isinstance(refusal, JoinRefused)
    assert refusal.faults == (("url", "no port"), ("", "odd"), ("", "x"))
    assert str(refusal) == "the gateway refuses the registration (422): see below\n  url: no port\n  odd\n  x"
    assert str(Answer(409, {"detail": "taken"}, 0).refusal()).endswith("(409): taken")
    assert str(Answer(404, {}, 0).refusal()).endswith(
        "(404): what answers there is not the admin listener of a gateway"
    )


@pytest.mark.parametrize(
    ("status", "later"), [(200, False), (404, False), (409, False), (408, True), (429, True), (503, True)]
)
def test_not_now_is_not_no(status: int, later: bool) -> None:
    """Who is refused for a moment tries again."""
    assert Answer(status, {}, 0).is_later is later


def test_where_the_token_comes_from(tmp_path: Path) -> None:
    """Given, else a file that is read each time, else the environment."""
    file = tmp_path / "token"
    file.write_text("first\n")
    read = token_source(None, file, {"MCPGATE_TOKEN": "x"})
    assert read() == "first"
    file.write_text("second\n")
    assert read() == "second"
    assert token_source("given", file, {})() == "given"
    assert token_source(None, None, {"MCPGATE_TOKEN": "x"})() == "x"
    with pytest.raises(ValueError, match="MCPGATE_TOKEN"):
        token_source(None, None, {"MCPGATE_TOKEN": ""})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:3010", "127.0.0.1-3010"),
        ("https://Tools.internal/base", "tools.internal-443"),
        ("http://weather", "weather-80"),
        ("http://[::1]:3010", "1-3010"),
        ("http://my_host:1", "my_host-1"),
    ],
)
def test_a_replica_is_known_by_its_address(url: str, expected: str) -> None:
    """The same each time it starts."""
    assert replica_id(url) == expected


@pytest.mark.parametrize("url", ["", "weather", "http://", "http://:80", "http://x:99999", "http://_:80", "ws://x"])
def test_an_address_that_is_none(url: str) -> None:
    """Said at once."""
    with pytest.raises(ValueError):
        replica_id(url)


@given(st.text("abcz09-._éÄ", min_size=1, max_size=100), st.integers(0, 65535))
def test_every_id_is_one_that_a_gateway_takes(host: str, port: int) -> None:
    """Whatever the host is called."""
    try:
        made = replica_id(f"http://{host}:{port}")
    except ValueError:
        return
    assert grammar.name(made) == made
