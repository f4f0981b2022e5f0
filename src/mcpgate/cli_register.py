"""
``mcpgate register``: a server that knows nothing of the gateway joins it, from beside it.

Either it stays and beats for a server that runs elsewhere, or it runs the server itself (behind ``--``), and
deregisters it when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TextIO

from mcpgate.joining.client import (
    TOKEN_VARIABLE,
    GatewayAway,
    JoinRefused,
    RegistryClient,
    replica_id,
    token_source,
    upstream_address,
)
from mcpgate.joining.member import Membership, Pace

_AddParser = Callable[..., argparse.ArgumentParser]

_DEFAULT_GATEWAY: Final = "http://127.0.0.1:8701"
#: Where a gateway that is started in the same folder leaves the token that it made for itself.
_DEFAULT_TOKEN_FILE: Final = "var/admin.token"
#: How long a server that is started here may take until its port answers; after it, it is registered anyway.
_START_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.1
#: What shells answer for a command that is not there, and add to the number of a signal.
_NOT_FOUND, _BY_SIGNAL = 127, 128
#: Keys of the registration whose options have the same name.
_PLAIN: Final = ("title", "description", "version", "docs_url", "path", "weight", "ttl", "deregister_critical_after")


class Surroundings(Protocol):
    """What the command may read and write; `mcpgate.cli.Surroundings` is one."""

    @property
    def environ(self) -> Mapping[str, str]:
        """Of the process."""

    @property
    def stdout(self) -> TextIO:
        """For the result."""

    @property
    def stderr(self) -> TextIO:
        """For warnings."""

    def say(self, text: str) -> int:
        """Print a result; success."""

    def complain(self, text: str) -> int:
        """Print why there is none; failure."""


class _WrongCall(Exception):
    """What is wrong with the command line, for who has typed it."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """
    Who is registered, and with what.

    :ivar address: host and port of the server, as we reach it.
    """

    client: RegistryClient
    registration: Mapping[str, Any]
    address: tuple[str, int]

    @property
    def name(self) -> str:
        return self.client.key[0]

    @property
    def url(self) -> str:
        return str(self.registration["url"])

    def told(self, entry: Mapping[str, Any]) -> str:
        """The line that says it is done."""
        return f"registered {self.name}: {entry.get('path', '')} -> {self.url}"


def add_register(add: _AddParser) -> None:
    """Add the command and its options."""
    about = "Register an MCP server with a running gateway, and keep it registered until this ends."
    behind = "Behind -- a command: it is run, registered when its port answers, deregistered when it ends."
    command = add("register", help="let a server join a running gateway", description=about, epilog=behind)
    command.add_argument("--name", metavar="N", required=True, help="of the server")
    command.add_argument("--url", metavar="U", required=True, help="where the gateway reaches it")
    command.add_argument("--gateway", metavar="URL", default=_DEFAULT_GATEWAY, help=f"default: {_DEFAULT_GATEWAY}")
    token = f"default: ${TOKEN_VARIABLE}, else {_DEFAULT_TOKEN_FILE}"
    command.add_argument("--token-file", metavar="FILE", help=token)
    command.add_argument("--id", metavar="ID", help="of this replica; default: host and port of the URL")
    command.add_argument("--once", action="store_true", help="register without a lease, and leave; nobody must beat")
    _add_particulars(command)
    command.add_argument("command", metavar="COMMAND", nargs="*", help="that runs the server, behind --")
    command.set_defaults(run=register)


def _add_particulars(command: argparse.ArgumentParser) -> None:
    command.add_argument("--path", metavar="PATH", help="at the gateway; default: /mcp/NAME")
    command.add_argument("--title", metavar="TEXT")
    command.add_argument("--description", metavar="TEXT")
    command.add_argument("--version", metavar="TEXT")
    command.add_argument("--docs-url", metavar="URL")
    command.add_argument("--tag", metavar="TAG", action="append", dest="tags", help="can be repeated")
    for option, key, help_text in (
        ("--endpoint", "endpoints", "such as sse=/sse; default: streamable-http=/mcp; can be repeated"),
        ("--meta", "meta", "shown to operators; can be repeated"),
    ):
        command.add_argument(option, metavar="KEY=VALUE", action="append", type=_pair, dest=key, help=help_text)
    command.add_argument("--keep-prefix", action="store_true", help="the server itself serves below the path")
    command.add_argument("--weight", metavar="N", type=int)
    command.add_argument("--ttl", metavar="TIME", help="how long the registration holds without a beat, such as 30s")
    command.add_argument("--deregister-critical-after", metavar="TIME")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError("expected KEY=VALUE")
    return key, value


def register(options: argparse.Namespace, around: Surroundings) -> int:
    """Do what the command line asks for; gives back the exit status."""
    if options.once and options.command:
        return around.complain("mcpgate: --once leaves at once, and a command stays; choose one")
    try:
        plan = _plan(options, around.environ)
        plan.client.token()  # one that is not there yet is waited for later; who types a wrong name is told now
        if options.once:
            return _register_once(plan, around)
        with _warnings_on(around.stderr):
            return asyncio.run(_run(plan, options.command, around) if options.command else _stay(plan, around))
    except _WrongCall as objection:
        return around.complain(f"mcpgate: {objection}")
    except JoinRefused as refused:
        return around.complain(f"mcpgate: {refused}")
    except GatewayAway as away:
        return around.complain(f"mcpgate: {away.what}: {away}")


def _plan(options: argparse.Namespace, environ: Mapping[str, str]) -> _Plan:
    file = options.token_file
    if file is None and not environ.get(TOKEN_VARIABLE) and os.path.exists(_DEFAULT_TOKEN_FILE):
        file = _DEFAULT_TOKEN_FILE
    try:
        token = token_source(None, file, environ)
    except ValueError:
        raise _WrongCall(f"no token: give --token-file, or set {TOKEN_VARIABLE}") from None
    try:
        address = upstream_address(options.url)
        key = options.name, options.id or replica_id(options.url)
        client = RegistryClient(options.gateway, key, token, Pace().call_s)
    except ValueError as objection:
        raise _WrongCall(f"--{objection}") from None
    return _Plan(client, _registration(options), address)


def _registration(options: argparse.Namespace) -> dict[str, Any]:
    given = vars(options)
    registration = {"url": options.url, **{key: given[key] for key in _PLAIN if given[key] is not None}}
    if options.tags:
        registration["tags"] = options.tags
    registration |= {key: dict(given[key]) for key in ("endpoints", "meta") if given[key]}
    if options.keep_prefix:
        registration["strip_prefix"] = False
    if options.once:
        registration["ttl"] = 0
    return registration


def _register_once(plan: _Plan, around: Surroundings) -> int:
    answer = plan.client.put(plan.registration)
    if answer.is_later:
        raise GatewayAway(f"{answer.status} {json.dumps(answer.told.get('detail', ''))}")
    if not answer.is_good or "path" not in answer.told:
        raise answer.refusal()
    return around.say(plan.told(answer.told))


@contextlib.contextmanager
def _warnings_on(stream: TextIO) -> Iterator[None]:
    """What happens between us and the gateway, for whoever watches the terminal."""
    lines, log = logging.StreamHandler(stream), logging.getLogger("mcpgate.joining")
    lines.setLevel(logging.WARNING)
    lines.setFormatter(logging.Formatter("mcpgate: %(message)s"))
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)


async def _stay(plan: _Plan, around: Surroundings) -> int:
    """Beat until a signal comes."""
    member = asyncio.create_task(_be_member(plan, around))
    with _signals(lambda _: member.cancel()):
        await asyncio.wait({member})
    if not member.cancelled():
        member.result()
    return 0


async def _run(plan: _Plan, command: Sequence[str], around: Surroundings) -> int:
    """Run the server and keep it registered; gives back its exit status, as a shell tells it."""
    environ = {key: value for key, value in around.environ.items() if key != TOKEN_VARIABLE}
    try:
        server = await asyncio.create_subprocess_exec(*command, env=environ)
    except OSError as failed:
        around.complain(f"mcpgate: {command[0]}: {failed.strerror}")
        return _NOT_FOUND
    ended = asyncio.create_task(server.wait())
    member = asyncio.create_task(_be_member_when_up(plan, around))
    asked = [signal.SIGTERM]

    def stop(number: signal.Signals) -> None:
        asked.append(number)
        if not member.cancel():  # it has left already, and the server takes its time
            _send(server, number)

    with _signals(stop):
        await asyncio.wait({ended, member}, return_when=asyncio.FIRST_COMPLETED)
        member.cancel()
        await asyncio.wait({member})
        _send(server, asked[-1])
        status = await ended
    if not member.cancelled():
        member.result()
    return status if status >= 0 else _BY_SIGNAL - status


def _send(server: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(number)


async def _be_member_when_up(plan: _Plan, around: Surroundings) -> None:
    try:
        async with asyncio.timeout(_START_S):
            await _answers(*plan.address)
    except TimeoutError:
        around.complain(f"mcpgate: nothing answers at {plan.url} after {_START_S:.0f} s; registering it anyway")
    await _be_member(plan, around)


async def _answers(host: str, port: int) -> None:
    """Wait until a port takes connections; the gateway would send clients to it at once."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            return writer.close()
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _be_member(plan: _Plan, around: Surroundings) -> None:
    """
    Register and beat until cancelled.

    :raises JoinRefused: if the gateway says no.
    """
    async with Membership(plan.client, plan.registration, None, Pace()) as membership:
        around.say(plan.told(membership.entry))
        around.stdout.flush()  # who reads this through a pipe waits for it
        await asyncio.Event().wait()


@contextlib.contextmanager
def _signals(act: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Do something at SIGINT, SIGTERM and SIGHUP instead of what they do."""
    loop, taken = asyncio.get_running_loop(), [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it to outlive its terminal
        taken.append(signal.SIGHUP)
    for number in taken:
        loop.add_signal_handler(number, act, number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
