"""The mcpgate command."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from mcpgate import __version__
from mcpgate.cli import Surroundings, main
from mcpgate.config import parse

CONFIG = """\
servers:
  - name: github-pm
    upstreams: [{url: "http://127.0.0.1:3010"}]
  - name: old
    endpoints: {sse: /sse}
    upstreams: [{url: "http://127.0.0.1:3011"}]
"""


def run(*argv: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command: exit status, stdout, stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    status = main(argv, Surroundings(environ or {}, stdout, stderr, lambda count: bytes(range(count))))
    return status, stdout.getvalue(), stderr.getvalue()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration file with two servers."""
    path = tmp_path / "gate.yaml"
    path.write_text(CONFIG)
    return path


def test_version_and_help() -> None:
    """Both go to stdout and are a success."""
    assert run("--version") == (0, f"mcpgate {__version__}\n", "")
    status, text, _ = run("--help")
    assert status == 0
    assert all(word in text for word in ("check", "token", "schema", "client-config", "import", "healthcheck", "twistd"))


@pytest.mark.parametrize("argv", [(), ("nonsense",), ("check",), ("client-config", "x", "--client", "netscape")])
def test_a_wrong_call(argv: tuple[str, ...]) -> None:
    """The exit status is 2, with the usage on stderr."""
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert "usage: mcpgate" in err


def test_checking_a_good_file(config: Path) -> None:
    """One line, on stdout."""
    assert run("check", str(config)) == (0, "OK: 2 servers, 2 replicas\n", "")


def test_checking_a_bad_file(config: Path) -> None:
    """All faults and their number on stderr, and exit status 1."""
    config.write_text("lisen: x\npublic_url: 5\n")
    assert run("check", str(config)) == (
        1,
        "",
        f"{config}:1:1: lisen: unknown key, did you mean listen?\n"
        f"{config}:2:13: public_url: a number, expected text; put it in quotes\n"
        f"mcpgate: 2 faults in {config}\n",
    )


def test_checking_uses_the_given_surroundings(config: Path, tmp_path: Path) -> None:
    """Variables come from the environment, files from the run directory."""
    (tmp_path / "key").write_text("k")
    config.write_text("listen: ${L}\n" + CONFIG + "    headers: {set_file: {X-Key: key}}\n")
    assert run("check", str(config), "--rundir", str(tmp_path), environ={"L": "tcp:1"})[0] == 0
    status, _, err = run("check", str(config))
    assert status == 1
    assert "${L} without a value" in err
    assert "set_file.X-Key" in err


def test_the_schema_is_json() -> None:
    """It can be piped into a file and used by an editor."""
    status, out, err = run("schema")
    assert (status, err) == (0, "")
    assert json.loads(out)["properties"]["servers"]


def test_client_config_prints_only_the_snippet_on_stdout(config: Path) -> None:
    """What to paste can be piped; where it goes is said on stderr."""
    status, out, err = run("client-config", "github-pm", "--client", "cursor", "-c", str(config))
    assert status == 0
    assert json.loads(out) == {"mcpServers": {"github-pm": {"url": "http://127.0.0.1:8700/mcp/github-pm/mcp"}}}
    assert "~/.cursor/mcp.json" in err


def test_client_config_takes_the_public_url_and_the_right_transport(config: Path) -> None:
    """A legacy server is announced as such, under the public origin."""
    config.write_text("public_url: https://mcp.example.com\n" + CONFIG)
    _, out, _ = run("client-config", "old", "--client", "claude-code", "-c", str(config))
    assert out == "claude mcp add --transport sse old https://mcp.example.com/mcp/old/sse\n"


def test_client_config_for_an_unknown_server(config: Path) -> None:
    """A misspelt name is answered with the nearest, another with all."""
    assert run("client-config", "github", "-c", str(config))[2].endswith("did you mean github-pm?\n")
    status, out, err = run("client-config", "zzz", "-c", str(config))
    assert (status, out) == (1, "")
    assert err.endswith("known: github-pm old\n")


def test_client_config_without_any_url(config: Path) -> None:
    """A gateway on a unix socket has no URL unless one is configured."""
    config.write_text("listen: unix:/run/gate\n" + CONFIG)
    assert "set public_url" in run("client-config", "old", "-c", str(config))[2]


def test_faults_of_the_file_end_every_command(config: Path) -> None:
    """A broken file is told in the same way by each command that reads it."""
    config.write_text("lisen: x\n")
    for command in (("client-config", "x"), ("healthcheck",)):
        status, out, err = run(*command, "-c", str(config))
        assert (status, out) == (1, "")
        assert "did you mean listen?" in err


def test_importing(tmp_path: Path) -> None:
    """A client's file becomes a configuration on stdout."""
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"a": {"url": "http://h/sse"}, "b": {"command": "x"}}}')
    status, out, err = run("import", str(path))
    assert (status, err) == (0, "")
    assert [each.name for each in parse(out, "imported", {}).servers] == ["a"]


def test_importing_what_is_no_client_file(tmp_path: Path) -> None:
    """One line on stderr that names the file."""
    path = tmp_path / "mcp.json"
    assert run("import", str(path)) == (1, "", f"mcpgate: {path}: cannot be read: No such file or directory\n")
    path.write_bytes(b"\xff\xff")
    assert run("import", str(path)) == (1, "", f"mcpgate: {path}: not UTF-8\n")
    path.write_text("{}")
    assert run("import", str(path))[2].startswith(f"mcpgate: {path}: no mcpServers")


#: The token that comes of the bytes 0 to 31.
TOKEN = "mcpg_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_a_new_token() -> None:
    """The token is printed once, and then the entry that lets it in; people are told on stderr which is which."""
    status, out, err = run("token", "new", "alice")
    token, entry = out.splitlines()
    assert (status, token) == (0, TOKEN)
    assert entry == f'- {{id: "alice", sha256: "{sha256(TOKEN.encode()).hexdigest()}"}}'
    assert "for alice alone" in err
    assert "auth.tokens" in err
    assert TOKEN not in err


def test_the_entry_of_a_new_token_can_be_pasted() -> None:
    """With servers, scopes and a last day; at any depth, and whatever stands in a scope."""
    rights = ("--server", "github-pm", "--server", "1.0", "--scope", "repo", "--scope", "${X}", "--expires", "2027-01-31")
    _, out, _ = run("token", "new", "alice", *rights)
    for indent in ("    ", ""):
        text = f"auth:\n  tokens:\n{indent}  {out.splitlines()[1]}\n{CONFIG}"
        (token,) = parse(text, "g", {}).auth.tokens
        assert (token.id, token.sha256) == ("alice", sha256(TOKEN.encode()).hexdigest())
        assert (token.servers, token.scopes) == (("github-pm", "1.0"), ("repo", "${X}"))
        assert token.expires == 1_801_353_600.0


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("Alice",), "not a name"),
        (("a", "--server", "g*t"), "not a name"),
        (("a", "--scope", "a b"), "one scope in each entry"),
        (("a", "--expires", "tomorrow"), "not a date or time"),
        ((), "required: NAME"),
    ],
)
def test_a_new_token_that_cannot_be(argv: tuple[str, ...], why: str) -> None:
    """What the configuration would refuse is refused before anybody has the token."""
    status, out, err = run("token", "new", *argv)
    assert (status, out) == (2, "")
    assert why in err


def test_a_new_token_for_the_admin_listener() -> None:
    """It may be good for prefixes of names, and its scopes are those of operators."""
    status, out, err = run("token", "new", "team", "--admin", "--scope", "register", "--server", "team-*")
    assert (status, "admin.tokens" in err) == (0, True)
    (token,) = parse(f"admin:\n  tokens:\n    {out.splitlines()[1]}\nservers: []\n", "g", {}).admin.tokens
    assert (token.id, token.scopes, token.servers) == ("team", frozenset({"register"}), ("team-*",))


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("a", "--server", "team-*"), "only tokens with --admin"),
        (("a", "--admin"), "--scope"),
        (("a", "--admin", "--scope", "repo.read"), "read register write"),
        (("a", "--admin", "--scope", "read", "--expires", "2030-01-01"), "--expires"),
    ],
)
def test_a_new_token_of_the_wrong_kind(argv: tuple[str, ...], why: str) -> None:
    """What the other listener would take is not printed for this one."""
    status, out, err = run("token", "new", *argv)
    assert (status, out, why in err) == (1, "", True)


@contextmanager
def answering(listening: socket.socket, answer: bytes, seen: list[bytes]) -> Iterator[None]:
    """Somebody who answers one request on a listening socket."""

    def answer_once() -> None:
        connection, _ = listening.accept()
        with closing(connection):
            seen.append(connection.recv(65536))
            connection.sendall(answer)

    listening.settimeout(5)
    thread = threading.Thread(target=answer_once)
    thread.start()
    try:
        yield
    finally:
        thread.join(5)


def admin_on(config: Path, listen: str) -> None:
    """Give the configuration an admin listener."""
    config.write_text(f"admin: {{listen: '{listen}'}}\n{CONFIG}")


READY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DRAINING = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (READY, (0, "ready\n", "")),
        (DRAINING, (1, "", "not ready: 503 Service Unavailable\n")),
    ],
)
def test_healthcheck_asks_the_admin_listener(config: Path, answer: bytes, expected: tuple[int, str, str]) -> None:
    """Ready or not is what the gateway itself says."""
    seen: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        admin_on(config, f"tcp:{port}:interface=127.0.0.1")
        with answering(listening, answer, seen):
            assert run("healthcheck", "-c", str(config)) == expected
    assert seen[0].startswith(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


def test_healthcheck_of_an_answer_that_is_no_http(config: Path) -> None:
    """Something else on the port is not a ready gateway."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        admin_on(config, f"tcp:{listening.getsockname()[1]}:interface=127.0.0.1")
        with answering(listening, b"SSH-2.0-x\r\n", []):
            status, out, err = run("healthcheck", "-c", str(config))
    assert (status, out) == (1, "")
    assert err.startswith("not ready: the admin listener does not answer")


def test_healthcheck_over_a_unix_socket(config: Path, tmp_path: Path) -> None:
    """An admin listener on a unix socket, relative to the run directory, is found too."""
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        admin_on(config, "unix:s")
        with answering(listening, READY, []):
            assert run("healthcheck", "-c", str(config), "--rundir", str(tmp_path))[0] == 0


def test_healthcheck_with_nobody_there(config: Path) -> None:
    """A gateway that does not run is not ready."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    admin_on(config, f"tcp:{port}:interface=127.0.0.1")
    status, out, err = run("healthcheck", "-c", str(config))
    assert (status, out) == (1, "")
    assert "does not answer" in err


def test_healthcheck_cannot_find_a_systemd_socket(config: Path) -> None:
    """Where systemd listens is not in this file; that is said."""
    admin_on(config, "systemd:INET:index=0")
    assert "systemd" in run("healthcheck", "-c", str(config))[2]
