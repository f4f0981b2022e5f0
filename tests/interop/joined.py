"""Gateways that others join, and those who join them: each a process, ended with the test that has started it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.callers import Caller, Reply
from tests.interop.install import CHECKOUT
from tests.interop.processes import Command, Running, accepts, free_port, wait_until
from tests.interop.upstreams import HERE, UPSTREAMS, node_env

TWISTD = Path(sys.executable).with_name("twistd")
LOOPBACK = "127.0.0.0/8"
#: A beat is due three times as often; sweeps are half a second apart.
TTL_S = 2.0


@dataclass(slots=True)
class Feed:
    """
    The events of discovery as a client has read them so far.

    :ivar seen: what happened, to which server, and when (monotonic seconds).
    """

    seen: list[tuple[str, str, float]] = field(default_factory=list)

    def follow(self, reply: http.client.HTTPResponse) -> None:
        """Read until somebody ends it."""
        kind = ""
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while line := reply.readline().decode():
                if line.startswith("event:"):
                    kind = line[6:].strip()
                elif line.startswith("data:") and kind in ("added", "removed", "changed", "status"):
                    self.seen.append((kind, json.loads(line[5:])["name"], time.monotonic()))

    def has(self, kind: str, name: str) -> bool:
        """Whether that has happened."""
        return any(each[:2] == (kind, name) for each in self.seen)


class Gateway:
    """
    A gateway in a folder of its own, started and ended as often as a test wants.

    :param settings: what its configuration says beside the listeners.
    """

    def __init__(self, folder: Path, ports: tuple[int, int], settings: Mapping[str, Any]) -> None:
        folder.mkdir()
        self.folder = folder
        self.port, self.admin_port = ports
        self.running: Running | None = None
        listeners = {
            "listen": f"tcp:{self.port}:interface=127.0.0.1",
            "admin": {"listen": f"tcp:{self.admin_port}:interface=127.0.0.1"},
        }
        # JSON is YAML, and what stands there needs no YAML library to write.
        (folder / "gate.yaml").write_text(json.dumps({"servers": [], **listeners, **settings}))

    def start(self) -> Gateway:
        """Start it; returns when it is ready."""
        argv = [str(TWISTD), "-n", "--pidfile=", f"--rundir={self.folder}", "mcpgate", "-c", "gate.yaml"]
        self.running = Running(self.folder.name, Command(argv, self.folder, this_tree()), self.folder / "output")
        self.running.wait_ready(self._is_ready)
        return self

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return accepts(self.admin_port) and self.ask("GET", "/readyz").status == 200
        return False

    def kill(self) -> None:
        """End it with signal 9."""
        assert self.running is not None
        kill(self.running)
        self.running = None

    def stop(self) -> None:
        """
        End it politely.

        :raises AssertionError: if it did not leave cleanly, or printed a traceback in all its time.
        """
        if self.running is not None:
            running, self.running = self.running, None
            status = running.stop()
            printed = running.log.read_text(errors="replace")
            assert "Traceback" not in printed, printed[printed.index("Traceback") :][:4000]
            assert status == 0, f"{running.name} ended with {status}\n{running.tail()}"

    @property
    def token(self) -> str:
        """The token that it has made for its operator."""
        return (self.folder / "var" / "admin.token").read_text().strip()

    @property
    def admin(self) -> str:
        """The URL of its registry."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def public(self) -> str:
        """The URL of everything for clients."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, server: str, endpoint: str = "/mcp") -> str:
        """Where clients find a server."""
        return f"{self.public}/mcp/{server}{endpoint}"

    def ask(self, method: str, target: str, body: object = None) -> Reply:
        """What it answers to its operator."""
        token = self.folder / "var" / "admin.token"
        fields = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
        return Caller(self.admin, fields).send(method, body, target=target)

    def names(self) -> list[str]:
        """Who stands in discovery."""
        told = json.loads(Caller(self.public).send("GET", target="/mcp/discovery").body)
        return [each["name"] for each in told["mcpServers"]]

    def entries(self) -> dict[str, dict[str, Any]]:
        """What has registered or is listed: the first replica of each server, by the server's name."""
        servers = json.loads(self.ask("GET", "/v1/servers").body)["servers"]
        return {each["name"]: each["replicas"][0] for each in servers if each["replicas"]}

    @contextlib.contextmanager
    def feed(self) -> Iterator[Feed]:
        """What discovery tells as it happens, while the block lasts."""
        feed = Feed()
        with Caller(self.public).opened("GET", target="/mcp/discovery/events") as reply:
            assert reply.status == 200
            reading = threading.Thread(target=feed.follow, args=(reply,), daemon=True)
            reading.start()
            yield feed


class Company:
    """
    Everything that one test starts.

    :param home: the folder of the installed kits.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.gateways: list[Gateway] = []
        self.running: list[Running] = []
        self._taken: set[int] = set()

    def port(self) -> int:
        """A port that nobody has."""
        return free_port(self._taken)

    def gateway(self, name: str, **settings: Any) -> Gateway:
        """Start a gateway with these settings beside its listeners."""
        gateway = Gateway(self.folder / name, (self.port(), self.port()), settings)
        self.gateways.append(gateway)
        return gateway.start()

    def open_gateway(self, name: str, registry: Mapping[str, Any] | None = None, **settings: Any) -> Gateway:
        """The same, where servers on this machine may join."""
        allowed = {"allow_networks": [LOOPBACK], "ttl": f"{TTL_S:g}s"}
        return self.gateway(name, registry={**allowed, **(registry or {})}, **settings)

    def upstream(self, name: str) -> int:
        """Start a server that knows nothing of gateways; its port."""
        port = self.port()
        self._start(name, UPSTREAMS[name].start(self.home, port), lambda: accepts(port))
        return port

    def python_server(self, kit: str, gateway: Gateway, name: str) -> Running:
        """Start the example on the Python SDK of a kit; returns when it says that it has registered."""
        argv = [str(self.home / kit / "bin" / "python"), str(CHECKOUT / "examples" / "join_python_sdk.py")]
        env = {"MCPGATE_TOKEN": gateway.token, **this_tree()}
        return self._joining(name, Command([*argv, gateway.admin, name], self.folder, env))

    def typescript_server(self, gateway: Gateway, name: str) -> Running:
        """Start a server on the TypeScript SDK; returns when it says that it has registered."""
        argv = ["node", str(HERE / "servers/joining.mjs"), gateway.admin, name]
        return self._joining(name, Command(argv, self.home / "sdk", {**node_env(self.home), "MCPGATE_TOKEN": gateway.token}))

    def simple_registry(self, port: int) -> Running:
        """Start a registry of the simple kind."""
        argv = ["node", str(HERE / "servers/simple_registry.mjs"), str(port)]
        return self._start("registry", Command(argv, self.home / "sdk", node_env(self.home)), lambda: accepts(port))

    def _joining(self, name: str, command: Command) -> Running:
        log = self.folder / f"{name}.log"
        return self._start(name, command, lambda: f"{name}:" in log.read_text(errors="replace"))

    def _start(self, name: str, command: Command, ready: Any) -> Running:
        running = Running(name, command, self.folder / f"{name}.log")
        self.running.append(running)
        running.wait_ready(ready)
        return running

    def close(self) -> None:
        """
        End everything, gateways last; what was printed is shown with a test that has failed.

        :raises AssertionError: as `Gateway.stop`.
        """
        for running in self.running:
            print(f"--- {running.name}\n{running.tail()}")
            running.stop()
        started = [gateway for gateway in self.gateways if gateway.running is not None]
        for gateway in started:
            assert gateway.running is not None
            print(f"--- {gateway.folder.name}\n{gateway.running.tail()}")
        with contextlib.ExitStack() as stack:
            for gateway in started:
                stack.callback(gateway.stop)


def this_tree() -> dict[str, str]:
    """The environment in which Python finds this checkout, installed or not."""
    paths = [str(CHECKOUT / "src"), str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def kill(running: Running) -> None:
    """End a command and its children with signal 9."""
    os.killpg(running.pid, signal.SIGKILL)
    wait_until(lambda: not running.alive, f"{running.name} is dead", 10)
