"""Real clients as functions: each runs a client's script or command and returns what it saw as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.processes import TAIL_BYTES, Command, run_to_end
from tests.interop.upstreams import node_env

CLIENTS = Path(__file__).resolve().parent / "clients"
# A visit takes about two seconds; a client whose POST got lost would wait for ever.
VISIT_TIMEOUT_S = 40.0

# Enough to recognise a value; some results are hundreds of kilobytes.
SHOWN_CHARS = 200

Seen = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows at an authorization server: its id and secret, and whose they are."""

    id: str
    secret: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What a visitor does: tools to call and prompts to get with their arguments, resources to read.

    :param headers: sent with every request.
    :param credentials: with them the client gets its own token, once it is told where.
    :param may_fail: a client that is not let in then returns ``failure``, what its SDK says, and exits well.
    """

    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    resources: tuple[str, ...] = ()
    prompts: tuple[tuple[str, Mapping[str, str]], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    credentials: Credentials | None = None
    may_fail: bool = False

    def as_json(self, mode: str, url: str) -> str:
        """Return the one argument the client scripts take."""
        return json.dumps({"mode": mode, "url": url, **asdict(self)})


@dataclass(frozen=True, slots=True)
class Client:
    """A client SDK in one of its modes; ``transport`` says which endpoint of a server it is sent to."""

    script: str
    kit: str
    mode: str
    transport: str

    def command(self, home: Path, plan: Plan, url: str) -> tuple[Command, Path | None]:
        """Return what to run, and the script for its input (Node then finds packages from its folder)."""
        argument = plan.as_json(self.mode, url)
        script = CLIENTS / self.script
        if script.suffix == ".mjs":
            argv = ["node", "--input-type=module", "-", argument]
            return Command(argv, home / self.kit, node_env(home)), script
        python = str(home / self.kit / "bin" / "python")
        return Command([python, str(script), argument], home, {}), None


CLIENT_MODES: Mapping[str, Client] = {
    "python-1.30-sse": Client("python_v1.py", "v1", "sse", "sse"),
    "python-1.30-http": Client("python_v1.py", "v1", "http", "http"),
    "python-1.30-ws": Client("python_v1.py", "v1", "ws", "ws"),
    "python-2.3-auto": Client("python_v2.py", "v2", "auto", "http"),
    "python-2.3-sse": Client("python_v2.py", "v2", "sse", "sse"),
    "python-2.3-leave": Client("python_v2.py", "v2", "leave", "http"),
    "typescript-1.32-sse": Client("typescript_v1.mjs", "sdk", "sse", "sse"),
    "typescript-1.32-http": Client("typescript_v1.mjs", "sdk", "http", "http"),
    "typescript-1.32-ws": Client("typescript_v1.mjs", "sdk", "ws", "ws"),
    "typescript-1.32-leave": Client("typescript_v1.mjs", "sdk", "leave", "http"),
    "typescript-2.4-auto": Client("typescript_v2.mjs", "sdk", "auto", "http"),
    "typescript-2.4-pinned": Client("typescript_v2.mjs", "sdk", "pinned", "http"),
    "typescript-2.4-sse": Client("typescript_v2.mjs", "sdk", "sse", "sse"),
    "typescript-2.4-listen": Client("typescript_v2.mjs", "sdk", "listen", "http"),
    "typescript-2.4-leave": Client("typescript_v2.mjs", "sdk", "leave", "http"),
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Runs clients; ``scratch`` is their home folder, so that none writes into the developer's."""

    home: Path
    scratch: Path

    def visit(self, mode: str, url: str, plan: Plan) -> Seen:
        """
        Send one client to a URL and return what it printed.

        :raises AssertionError: with its output if it failed or did not come back in time.
        """
        command, script = CLIENT_MODES[mode].command(self.home, plan, url)
        return self.printed(command, script)

    def fastmcp(self, *arguments: str) -> Seen:
        """Run the fastmcp command line."""
        argv = [str(self.home / "fm" / "bin" / "fastmcp"), *arguments, "--json"]
        return self.printed(Command(argv, self.scratch, {}), None)

    def inspector(self, url: str, transport: str, *arguments: str) -> Seen:
        """Run the Inspector's command line."""
        launcher = str(self.home / "tools" / "node_modules" / "@modelcontextprotocol" / "inspector")
        argv = ["node", f"{launcher}/clients/launcher/build/index.js", "--cli", url, "--transport", transport]
        command = Command([*argv, *arguments, "--format", "json", "-q"], self.scratch, node_env(self.home))
        return dict(self.printed(command, None)["result"])

    def printed(self, command: Command, script: Path | None) -> Seen:
        """Run a command to its end and return the JSON object it printed; see `visit` for what is raised."""
        settled = Command(command.argv, command.folder, {**command.env, "HOME": str(self.scratch)})
        done = run_to_end(settled, script, VISIT_TIMEOUT_S)
        said = f"{done.stdout[-TAIL_BYTES:]}\n{done.stderr[-TAIL_BYTES:]}"
        assert done.returncode == 0, f"{command.argv[0]} ended with {done.returncode}\n{said}"
        return dict(json.loads(done.stdout))


def side_by_side(visit: Callable[[str], Seen], direct: str, public: str) -> tuple[Seen, Seen]:
    """Make the same visit to two URLs at the same time and return what was seen at each."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        at_server, through_gateway = pool.map(visit, (direct, public))
    return at_server, through_gateway


def differences(direct: Any, public: Any, place: str = "") -> list[str]:
    """Say where two visits saw different things: one line for each place, empty if nowhere."""
    if isinstance(direct, dict) and isinstance(public, dict) and direct.keys() == public.keys():
        pairs = [(f"{place}.{key}", direct[key], public[key]) for key in direct]
    elif isinstance(direct, list) and isinstance(public, list) and len(direct) == len(public):
        pairs = [(f"{place}[{at}]", *both) for at, both in enumerate(zip(direct, public, strict=True))]
    elif direct == public:
        return []
    else:
        shown = [repr(value)[:SHOWN_CHARS] for value in (direct, public)]
        return [f"{place or 'all'}: directly {shown[0]}, through the gateway {shown[1]}"]
    return [line for inner, ours, theirs in pairs for line in differences(ours, theirs, inner)]
