"""
The ``mcpgate`` command: what one does with a gateway's configuration beside running it.

Every command gets its surroundings as arguments and returns an exit status: 0, 1 when the answer is no, 2 for
a wrong call. What goes to stdout can be piped or pasted; everything said to people goes to stderr.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import difflib
import hashlib
import http.client
import json
import os
import secrets
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, TextIO

from mcpgate import __version__
from mcpgate.cli_register import add_register
from mcpgate.clients import CLIENTS, Offer, import_servers
from mcpgate.config import check, load
from mcpgate.faults import ConfigFaults
from mcpgate.settings import ServerSettings, Settings, TransportName, schema
from mcpgate.values import addresses, credentials, grammar

_AddParser = Callable[..., argparse.ArgumentParser]

_DEFAULT_FILE: Final = "etc/gate.yaml"
#: Readiness is answered from memory; a gateway that needs longer is not ready. Orchestrators wait 1 to 30 s.
_HEALTH_TIMEOUT_S: Final = 5.0
#: What a client's own configuration file may hold; they are a few KiB.
_MAX_IMPORT_BYTES: Final = 4 << 20
#: Beyond guessing for good, so that a fast hash is enough to keep it.
_TOKEN_BYTES: Final = 32
#: By it people and scanners of repositories know what they have found.
_TOKEN_PREFIX: Final = "mcpg_"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a command may read and write besides the files that are named on its command line."""

    environ: Mapping[str, str]
    stdout: TextIO
    stderr: TextIO
    random_bytes: Callable[[int], bytes]

    def say(self, text: str) -> int:
        """The result, on stdout; success."""
        print(text, file=self.stdout)
        return 0

    def complain(self, text: str) -> int:
        """Why there is no result, on stderr; failure."""
        print(text, file=self.stderr)
        return 1


def console() -> NoReturn:
    """Run as the program of this process."""
    try:
        status = main(sys.argv[1:], Surroundings(os.environ, sys.stdout, sys.stderr, secrets.token_bytes))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left, as `| head` does; without this the interpreter complains about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def main(argv: Sequence[str], around: Surroundings) -> int:
    """
    Run one command.

    :param argv: without the name of the program.
    :returns: the exit status.
    """
    try:
        # argparse prints and exits by itself; inside these borders it does so as a function would.
        with contextlib.redirect_stdout(around.stdout), contextlib.redirect_stderr(around.stderr):
            options = _parser().parse_args(argv)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 2
    try:
        return int(options.run(options, around))
    except ConfigFaults as refused:
        return around.complain(str(refused))


def _parser() -> argparse.ArgumentParser:
    about = "Check and use the configuration of an MCP gateway. To run one: twistd -n mcpgate -c FILE."
    parser = argparse.ArgumentParser(prog="mcpgate", description=about)
    parser.add_argument("--version", action="version", version=f"mcpgate {__version__}")
    add = parser.add_subparsers(metavar="COMMAND", required=True).add_parser
    configuration = (_add_check, _add_token, _add_schema, _add_client_config, _add_import)
    for add_command in (*configuration, _add_healthcheck, add_register):
        add_command(add)
    return parser


def _add_check(add: _AddParser) -> None:
    command = add("check", help="say whether a configuration file is good, or all its faults")
    command.add_argument("file", metavar="FILE")
    _add_rundir(command)
    command.set_defaults(run=_check)


def _add_token(add: _AddParser) -> None:
    commands = add("token", help="make a token for somebody").add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser("new", help="print a new token, and the entry with its hash for auth.tokens")
    command.add_argument("name", metavar="NAME", type=_checked(grammar.name), help="whose it is, for logs")
    command.add_argument("--admin", action="store_true", help="for the admin listener: --scope read, register, write")
    servers, scopes = _checked(credentials.registrable_server), _checked(credentials.scope)
    about = "that it may use, or register (NAME or PREFIX*); default: all"
    command.add_argument("--server", metavar="S", action="append", type=servers, help=about)
    command.add_argument("--scope", metavar="S", action="append", type=scopes, help="that it holds; default: none")
    expires = _checked(lambda text: grammar.moment_text(grammar.moment_s(text)))
    command.add_argument("--expires", metavar="DATE", type=expires, help="such as 2027-01-31; default: never")
    command.set_defaults(run=_new_token)


def _checked(read: Callable[[str], str]) -> Callable[[str], str]:
    """A value as the configuration takes it; argparse prints what is wrong."""

    def check_argument(text: str) -> str:
        try:
            return read(text)
        except ValueError as objection:
            raise argparse.ArgumentTypeError(str(objection))

    return check_argument


def _add_schema(add: _AddParser) -> None:
    command = add("schema", help="print the JSON Schema of the configuration, for editors")
    command.set_defaults(run=_schema)


def _add_client_config(add: _AddParser) -> None:
    command = add("client-config", help="print what to paste into an MCP client")
    command.add_argument("name", metavar="NAME", help="name of a server in the configuration")
    command.add_argument("--client", choices=CLIENTS, default="generic", help="default: generic")
    _add_file(command)
    command.set_defaults(run=_client_config)


def _add_import(add: _AddParser) -> None:
    command = add("import", help="turn a client's mcpServers JSON into YAML")
    command.add_argument("file", metavar="FILE")
    command.set_defaults(run=_import)


def _add_healthcheck(add: _AddParser) -> None:
    command = add("healthcheck", help="ask the running gateway whether it is ready")
    _add_file(command)
    command.set_defaults(run=_healthcheck)


def _add_file(command: argparse.ArgumentParser) -> None:
    default = f"default: {_DEFAULT_FILE}"
    command.add_argument("-c", "--config", metavar="FILE", default=_DEFAULT_FILE, help=default)
    _add_rundir(command)


def _add_rundir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--rundir", metavar="DIR", default=".", help="where relative paths in it start")


def _check(options: argparse.Namespace, around: Surroundings) -> int:
    status, text = check(options.file, around.environ, options.rundir)
    return around.complain(text) if status else around.say(text)


def _new_token(options: argparse.Namespace, around: Surroundings) -> int:
    wrong = _wrong_for_admin(options) if options.admin else _wrong_for_clients(options)
    if wrong:
        return around.complain(f"mcpgate: {wrong}")
    place = "admin.tokens" if options.admin else "auth.tokens, or to the file that auth.tokens_file names"
    secret = base64.urlsafe_b64encode(around.random_bytes(_TOKEN_BYTES)).rstrip(b"=").decode("ascii")
    token = _TOKEN_PREFIX + secret
    digest = hashlib.sha256(token.encode("ascii")).hexdigest()
    given = {"servers": options.server, "scopes": options.scope, "expires": options.expires}
    entry = {"id": options.name, "sha256": digest, **{key: value for key, value in given.items() if value}}
    print(f"The token, for {options.name} alone; it is not kept anywhere:", file=around.stderr)
    around.say(token)
    print(f"What to add to {place}:", file=around.stderr)
    return around.say(_yaml_entry(entry))


def _wrong_for_admin(options: argparse.Namespace) -> str:
    unknown = sorted({*(options.scope or ())} - {"read", "register", "write"})
    if unknown or not options.scope:
        return "a token for the admin listener needs --scope, one or more of: read register write"
    return "a token for the admin listener has no --expires; take its entry out instead" if options.expires else ""


def _wrong_for_clients(options: argparse.Namespace) -> str:
    patterns = [each for each in options.server or () if each != credentials.EVERYTHING and "*" in each]
    return f"{patterns[0]}: only tokens with --admin are good for prefixes of names" if patterns else ""


def _yaml_entry(entry: Mapping[str, str | list[str]]) -> str:
    """An entry of a list in one line, which can be pasted at any depth: JSON is YAML, but for the dollar sign."""
    return "- {" + ", ".join(f"{key}: {json.dumps(value)}" for key, value in entry.items()).replace("$", "$$") + "}"


def _schema(options: argparse.Namespace, around: Surroundings) -> int:
    return around.say(json.dumps(schema(), indent=2))


def _client_config(options: argparse.Namespace, around: Surroundings) -> int:
    settings = load(options.config, around.environ, rundir=options.rundir)
    server = next((each for each in settings.servers if each.name == options.name), None)
    if server is None:
        return around.complain(_unknown_server(options.name, settings))
    if settings.origin is None:
        return around.complain("mcpgate: a unix or systemd listener has no URL of its own; set public_url")
    snippet = CLIENTS[options.client](_offer(settings.origin, server, settings.asks_for_token(server)))
    print(f"Paste into {snippet.place}:", file=around.stderr)
    return around.say(snippet.text)


def _unknown_server(name: str, settings: Settings) -> str:
    known = [server.name for server in settings.servers]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known: {' '.join(known) or 'none'}"
    return f"mcpgate: no server has this name; {hint}"


def _offer(origin: str, server: ServerSettings, wants_token: bool) -> Offer:
    # A client that can choose is better off with the newer transport.
    transport: TransportName = "streamable-http" if "streamable-http" in server.endpoints else "sse"
    return Offer(server.name, f"{origin}{server.path}{server.endpoints[transport]}", transport, wants_token)


def _import(options: argparse.Namespace, around: Surroundings) -> int:
    try:
        with open(options.file, "rb") as file:
            text = file.read(_MAX_IMPORT_BYTES).decode("utf-8-sig")
        around.stdout.write(import_servers(text))
    except OSError as refused:
        return around.complain(f"mcpgate: {options.file}: cannot be read: {refused.strerror}")
    except ValueError as objection:
        why = "not UTF-8" if isinstance(objection, UnicodeDecodeError) else objection
        return around.complain(f"mcpgate: {options.file}: {why}")
    return 0


def _healthcheck(options: argparse.Namespace, around: Surroundings) -> int:
    settings = load(options.config, around.environ, rundir=options.rundir)
    address = addresses.listen_address(settings.admin.listen[0])
    if address.kind == "systemd":
        return around.complain("mcpgate: where a systemd listener is cannot be read from the configuration")
    connection = _connection_to(address, options.rundir)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as refused:
        return around.complain(f"not ready: the admin listener does not answer: {refused!r}")
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        return around.complain(f"not ready: {answer.status} {answer.reason}")
    return around.say("ready")


def _connection_to(address: addresses.ListenAddress, rundir: str) -> http.client.HTTPConnection:
    if address.kind == "unix":
        return _UnixConnection(os.path.join(rundir, address.path))
    host, port = address.local_host, address.port
    if address.kind == "tcp":
        return http.client.HTTPConnection(host, port, timeout=_HEALTH_TIMEOUT_S)
    # The certificate names the public host, not this address; nothing secret is sent, only "ready?" is asked.
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_HEALTH_TIMEOUT_S, context=unverified)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, which the standard library does not offer."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_HEALTH_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
