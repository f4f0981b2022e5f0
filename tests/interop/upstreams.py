"""The real MCP servers the gateway is put in front of: how each is started, and where it answers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.install import node_folder
from tests.interop.processes import Command

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Upstream:
    """
    One server under test.

    :param endpoints: transport (``http``, ``sse``, ``ws``) to path, below ``base`` at the server itself and
        below the public prefix at the gateway.
    :param base: the path its upstream URL has in the gateway's configuration.
    """

    start: Callable[[Path, int], Command]
    endpoints: Mapping[str, str]
    base: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


def node_env(home: Path) -> dict[str, str]:
    """Put the kit's Node first, for the command and for what it starts."""
    return {"PATH": f"{node_folder(home)}:/usr/local/bin:/usr/bin:/bin"}


def everything(transport: str) -> Callable[[Path, int], Command]:
    """The reference server of the TypeScript SDK."""

    def start(home: Path, port: int) -> Command:
        script = "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
        return Command(["node", script, transport], home / "sdk", {**node_env(home), "PORT": str(port)})

    return start


def python_sdk(kit: str, script: str, *arguments: str) -> Callable[[Path, int], Command]:
    """One of our own small servers on a Python SDK; ``{port}`` in the arguments is filled in."""

    def start(home: Path, port: int) -> Command:
        argv = [str(home / kit / "bin" / "python"), str(HERE / script)]
        return Command([*argv, *(argument.format(port=port) for argument in arguments)], HERE, {})

    return start


def time_server(home: Path) -> str:
    """The stdio server behind the bridges."""
    return str(home / "srv" / "bin" / "mcp-server-time")


def mcp_proxy(home: Path, port: int) -> Command:
    """PyPI's mcp-proxy, which serves every stdio server below a path of its own."""
    argv = [str(home / "pmp" / "bin" / "mcp-proxy"), "--host", "127.0.0.1", "--port", str(port)]
    return Command([*argv, "--pass-environment", "--named-server", "time", time_server(home)], home, {})


def supergateway(transport: str) -> Callable[[Path, int], Command]:
    """supergateway in front of a stdio server."""

    def start(home: Path, port: int) -> Command:
        argv = ["node", "node_modules/supergateway/dist/index.js", "--stdio", shlex.quote(time_server(home))]
        argv += ["--outputTransport", transport, "--port", str(port)]
        return Command(argv, home / "tools", node_env(home))

    return start


UPSTREAMS: Mapping[str, Upstream] = {
    "fixture": Upstream(python_sdk("v2", "fixture_server.py", "--port", "{port}"), {"http": "/mcp"}),
    "fixture-sse": Upstream(
        python_sdk("v2", "fixture_server.py", "--port", "{port}", "--transport", "sse"), {"sse": "/sse"}
    ),
    "lab": Upstream(python_sdk("v1", "servers/lab_v1.py", "streamable-http", "{port}"), {"http": "/mcp"}),
    "lab-sse": Upstream(python_sdk("v1", "servers/lab_v1.py", "sse", "{port}"), {"sse": "/sse"}),
    "everything": Upstream(everything("streamableHttp"), {"http": "/mcp"}),
    "everything-sse": Upstream(everything("sse"), {"sse": "/sse"}),
    "mcp-proxy": Upstream(mcp_proxy, {"http": "/mcp", "sse": "/sse"}, base="/servers/time"),
    "supergateway-sse": Upstream(supergateway("sse"), {"sse": "/sse"}),
    "supergateway-ws": Upstream(supergateway("ws"), {"ws": "/message"}),
}
