"""``mcpgate register``: with a real registry, real signals and real servers beside it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.registrar import TOKEN, Heard, Registrar, free_port, served

from mcpgate.cli import Surroundings, main

#: A server in whatever language: it serves until somebody sends it a word, and tells with what it was started.
SERVER = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    word = server.accept()[0].recv(9)
    if word:
        sys.exit(len(word) + ("MCPGATE_TOKEN" in os.environ))
"""


@pytest.fixture
def registrar() -> Iterator[Registrar]:
    """A registry that answers."""
    with served(Registrar()) as registrar:
        yield registrar


class Complaints(io.StringIO):
    """What is said to people; the test is told when it is said."""

    def __init__(self, then: Callable[[str], object]) -> None:
        super().__init__()
        self._then = then

    def write(self, text: str) -> int:
        written = super().write(text)
        self._then(text)
        return written


def run(
    registrar: Registrar, *argv: str, token: str = TOKEN, then: Callable[[str], object] = str
) -> tuple[int, str, str]:
    """Run the command: exit status, stdout, stderr."""
    stdout, stderr = io.StringIO(), Complaints(then)
    environ = {**os.environ, "MCPGATE_TOKEN": token}
    given = ("register", "--gateway", registrar.url, "--name", "weather", *argv)
    return main(given, Surroundings(environ, stdout, stderr, os.urandom)), stdout.getvalue(), stderr.getvalue()


def server(port: int) -> tuple[str, ...]:
    """The command line of a server."""
    return ("--", sys.executable, "-I", "-S", "-c", SERVER, str(port))


@pytest.fixture
def survivor() -> Iterator[None]:
    """A signal that nobody takes does not end the tests, but stops what waits."""

    def missed(number: int, frame: object) -> None:
        raise AssertionError(f"nobody takes {signal.Signals(number).name}")

    before = {number: signal.signal(number, missed) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


@pytest.mark.usefixtures("survivor")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stays_until_a_signal(registrar: Registrar, number: signal.Signals) -> None:
    """One line when it is registered; beats; deregistered at the end, which is a success."""
    registrar.then = lambda heard: heard.path.endswith("/heartbeat") and os.kill(os.getpid(), number)
    assert run(registrar, "--url", "http://127.0.0.1:3010") == (
        0,
        "registered weather: /mcp/weather -> http://127.0.0.1:3010\n",
        "",
    )
    assert registrar.entries == {}


def test_all_that_can_be_said(registrar: Registrar) -> None:
    """Every key of the registration has its option."""
    argv = (
        *("--url", "http://127.0.0.1:3010", "--id", "blue", "--path", "/mcp/w", "--title", "W", "--description", "D"),
        *("--version", "1.2", "--docs-url", "https://d", "--tag", "a", "--tag", "b", "--endpoint", "sse=/sse"),
        *("--meta", "zone=a=b", "--keep-prefix", "--weight", "3", "--deregister-critical-after", "5m", "--once"),
    )
    assert run(registrar, *argv)[0] == 0
    put = registrar.take("PUT")
    assert (put.path, put.token) == ("/v1/servers/weather/replicas/blue", TOKEN)
    assert put.body == {
        "url": "http://127.0.0.1:3010",
        "path": "/mcp/w",
        "title": "W",
        "description": "D",
        "version": "1.2",
        "docs_url": "https://d",
        "tags": ["a", "b"],
        "endpoints": {"sse": "/sse"},
        "meta": {"zone": "a=b"},
        "strip_prefix": False,
        "weight": 3,
        "ttl": 0,
        "deregister_critical_after": "5m",
    }


def test_once(registrar: Registrar) -> None:
    """Registered without a lease, and left there."""
    assert run(registrar, "--url", "http://127.0.0.1:3010", "--once") == (
        0,
        "registered weather: /mcp/weather -> http://127.0.0.1:3010\n",
        "",
    )
    assert registrar.left() == ["PUT"]


@pytest.mark.parametrize("how", [("--once",), ()])
def test_refused(registrar: Registrar, how: tuple[str, ...]) -> None:
    """All faults on stderr, exit status 1."""
    faults = [{"where": "url", "problem": "no port"}, {"where": "tags[0]", "problem": "empty"}]
    registrar.answers = [(422, {"detail": "x", "faults": faults})]
    text = "mcpgate: the gateway refuses the registration (422): see below\n  url: no port\n  tags[0]: empty\n"
    assert run(registrar, "--url", "http://127.0.0.1:3010", *how) == (1, "", text)


def test_a_gateway_that_is_away() -> None:
    """Who registers once is told; who stays waits for it, with a warning."""
    away = Registrar(free_port())
    status, out, err = run(away, "--url", "http://127.0.0.1:3010", "--once")
    assert (status, out) == (1, "")
    assert err.startswith("mcpgate: the gateway is away: ")
    busy = Registrar(answers=[(503, {"detail": "not now"})])
    with served(busy):
        assert (
            run(busy, "--url", "http://127.0.0.1:3010", "--once")[2] == 'mcpgate: the gateway is away: 503 "not now"\n'
        )
        busy.answers = [(503, {"detail": "not now"})]
        busy.then = lambda heard: heard.path.endswith("/heartbeat") and os.kill(os.getpid(), signal.SIGINT)
        status, out, err = run(busy, "--url", "http://127.0.0.1:3010")
    assert (status, out) == (0, "registered weather: /mcp/weather -> http://127.0.0.1:3010\n")
    assert err == f"mcpgate: weather/127.0.0.1-3010 at {busy.url}: the gateway is away: 503 not now; trying on\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--url", "weather"), "mcpgate: --url: expected one such as"),
        (("--url", "weather", "--id", "x", "--", "sleep", "1"), "mcpgate: --url: expected one such as"),
        (("--url", "http://x:99999", "--id", "x", "--", "sleep", "1"), "mcpgate: --url: an impossible port"),
        (("--url", "http://x:y"), "mcpgate: --url: an impossible port, expected 1 to 65535\n"),
        (("--url", "http://[::1"), "mcpgate: --url: expected one such as"),
        (("--url", "http://x:1", "--gateway", "x"), "mcpgate: --gateway: expected the URL"),
        (("--url", "http://x:1", "--gateway", "http://x:99999"), "mcpgate: --gateway: an impossible port"),
        (("--url", "http://x:1", "--once", "--", "sleep"), "choose one"),
        (("--url", "http://x:1", "--meta", "zone"), "expected KEY=VALUE"),
        ((), "--url"),
    ],
)
def test_a_wrong_call(registrar: Registrar, argv: tuple[str, ...], text: str) -> None:
    """It says so and sends nothing."""
    status, out, err = run(registrar, *argv)
    assert status > 0
    assert text in err
    assert (out, registrar.left()) == ("", [])


def test_no_token(registrar: Registrar, tmp_path: Path) -> None:
    """It says where one is looked for; that of a gateway in the same folder is found, and a file beats the environment."""
    with contextlib.chdir(tmp_path):
        status, _, err = run(registrar, "--url", "http://x:1", token="")
    assert (status, err) == (1, "mcpgate: no token: give --token-file, or set MCPGATE_TOKEN\n")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "admin.token").write_text("of-a-file\n")
    with contextlib.chdir(tmp_path):
        run(registrar, "--url", "http://x:1", "--once", token="")
    assert registrar.take("PUT").token == "of-a-file"
    run(registrar, "--url", "http://x:1", "--once", "--token-file", str(tmp_path / "var" / "admin.token"))
    assert registrar.take("PUT").token == "of-a-file"


def test_a_token_file_that_is_not_there(registrar: Registrar, tmp_path: Path) -> None:
    """Said at once with its name, whichever way it joins; nothing is sent and no server is run."""
    file = tmp_path / "token"
    for how in (("--once",), (), ("--", sys.executable, "-c", "1/0")):
        told = run(registrar, "--url", "http://x:1", "--token-file", str(file), *how)
        assert told == (1, "", f"mcpgate: there is no token: {file}: No such file or directory\n")
    assert run(registrar, "--url", "http://x:1", "--token-file", str(tmp_path))[0] == 1
    assert run(registrar, "--url", "http://x:1", token="two words")[0] == 1
    assert registrar.left() == []


def test_a_token_file_that_goes_meanwhile(registrar: Registrar, tmp_path: Path) -> None:
    """It is told, and the beats go on when it is back."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    beats = []

    def act(heard: Heard) -> None:
        if heard.path.endswith("/heartbeat"):
            beats.append(heard)
            if len(beats) == 1:
                file.unlink()
            else:
                os.kill(os.getpid(), signal.SIGINT)

    registrar.then = act
    def bring_back(said: str) -> None:
        if "there is no token" in said:
            file.write_text(TOKEN)

    status, _, err = run(registrar, "--url", "http://127.0.0.1:3010", "--token-file", str(file), then=bring_back)
    assert status == 0
    assert f"there is no token: {file}: No such file or directory; trying on\n" in err
    assert registrar.entries == {}


def test_a_server_is_run(registrar: Registrar) -> None:
    """Registered when its port answers, deregistered when it ends; its exit status is ours, the token not its."""
    port = free_port()

    def end(heard: Heard) -> None:
        if heard.path.endswith("/heartbeat"):
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.sendall(b"seven..")

    registrar.then = end
    status, out, err = run(registrar, "--url", f"http://127.0.0.1:{port}", *server(port))
    assert (status, err) == (7, "")
    assert out == f"registered weather: /mcp/weather -> http://127.0.0.1:{port}\n"
    assert registrar.entries == {}


@pytest.mark.usefixtures("survivor")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_server_too(registrar: Registrar, number: signal.Signals) -> None:
    """First it leaves the gateway, then it gets the signal."""
    port = free_port()
    registrar.then = lambda heard: heard.path.endswith("/heartbeat") and os.kill(os.getpid(), number)
    status, _, err = run(registrar, "--url", f"http://127.0.0.1:{port}", *server(port))
    assert (status, err) == (128 + number, "")
    assert registrar.entries == {}


def test_who_outlives_the_terminal_goes_on(registrar: Registrar) -> None:
    """With nohup, which ignores SIGHUP, it stays until another signal comes."""
    numbers = [signal.SIGHUP, signal.SIGINT]
    registrar.then = lambda heard: heard.path.endswith("/heartbeat") and os.kill(os.getpid(), numbers.pop(0))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(registrar, "--url", "http://127.0.0.1:3010")[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert numbers == []


def test_a_server_that_may_not_join_is_ended(registrar: Registrar) -> None:
    """Nobody would find it."""
    port = free_port()
    registrar.answers = [(409, {"detail": "taken"})]
    status, out, err = run(registrar, "--url", f"http://127.0.0.1:{port}", *server(port))
    assert (status, out, err) == (1, "", "mcpgate: the gateway refuses the registration (409): taken\n")


def test_a_command_that_is_not_there(registrar: Registrar) -> None:
    """As a shell says it."""
    status, _, err = run(registrar, "--url", "http://x:1", "--", "/nowhere/at/all", "--name", "x")
    assert (status, err) == (127, "mcpgate: /nowhere/at/all: No such file or directory\n")
    assert registrar.left() == []
