"""The stage of an interop run: upstreams, and one gateway before all of them, each started when asked for."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.interop.processes import Command, Running, accepts, free_port
from tests.interop.upstreams import UPSTREAMS, Upstream

TWISTD = Path(sys.executable).with_name("twistd")


class Stage:
    """
    Everything that runs, under names; ports are fixed before anything is started.

    :param home: the folder of the installed kits.
    :param folder: an empty folder for configuration and output.
    :param upstreams: what stands behind the gateway, each as a server of its name.
    """

    def __init__(self, home: Path, folder: Path, upstreams: Mapping[str, Upstream] = UPSTREAMS) -> None:
        self.home = home
        self.running: dict[str, Running] = {}
        self.folder = folder
        self._upstreams = upstreams
        taken: set[int] = set()
        self._ports = {name: free_port(taken) for name in (*upstreams, "gateway", "admin")}

    def direct(self, name: str, transport: str) -> str:
        """Return the URL of an upstream's own endpoint, starting it if need be."""
        upstream = self._upstreams[name]
        port = self._ports[name]
        if name not in self.running:
            self._start(name, upstream.start(self.home, port), lambda: accepts(port))
        return f"{scheme(transport)}://127.0.0.1:{port}{upstream.base}{upstream.endpoints[transport]}"

    def public(self, name: str, transport: str) -> str:
        """Return the URL of the same endpoint at the gateway, starting both if need be."""
        self.direct(name, transport)
        return self.at_gateway(name, transport, self._upstreams[name].endpoints[transport])

    def at_gateway(self, server: str, transport: str, path: str) -> str:
        """Return the public URL of a path of a server, starting the gateway if need be."""
        if "gateway" not in self.running:
            self._start("gateway", self._gateway_command(), self._gateway_ready)
        return f"{scheme(transport)}://127.0.0.1:{self._ports['gateway']}/mcp/{server}{path}"

    def close(self) -> None:
        """
        End everything that was started, the gateway last, so that it also sees its upstreams go.

        :raises AssertionError: if the gateway did not leave cleanly, or printed a traceback in all its time.
        """
        for name in [name for name in self.running if name != "gateway"]:
            self.running.pop(name).stop()
        if gateway := self.running.pop("gateway", None):
            status, printed = gateway.stop(), gateway.log.read_text(errors="replace")
            assert "Traceback" not in printed, printed[printed.index("Traceback") :][:4000]
            assert status == 0, f"the gateway ended with {status}\n{gateway.tail()}"

    def _start(self, name: str, command: Command, ready: Callable[[], bool]) -> None:
        running = Running(name, command, self.folder / f"{name}.log")
        try:
            running.wait_ready(ready)
        except AssertionError:
            running.stop()
            raise
        self.running[name] = running

    def _gateway_command(self) -> Command:
        config = self.write_config()
        argv = [str(TWISTD), "-n", "--pidfile=", f"--rundir={self.folder}", "mcpgate", "-c", str(config)]
        return Command(argv, self.folder, {})

    def write_config(self) -> Path:
        """Write the gateway's configuration, and return where."""
        config = self.folder / "gate.yaml"
        listeners = {
            "listen": f"tcp:{self._ports['gateway']}:interface=127.0.0.1",
            "admin": {"listen": f"tcp:{self._ports['admin']}:interface=127.0.0.1"},
        }
        # JSON is YAML, and what stands there needs no YAML library to write.
        config.write_text(json.dumps({**listeners, **self.settings()}, indent=1))
        return config

    def settings(self) -> dict[str, Any]:
        """Return what the configuration says beside the listeners."""
        names = {"http": "streamable-http", "sse": "sse"}
        servers = []
        for name, upstream in self._upstreams.items():
            server: dict[str, Any] = {"name": name, "upstreams": [self.replica(name)]}
            endpoints = {names[kind]: path for kind, path in upstream.endpoints.items() if kind in names}
            servers.append({**server, "endpoints": endpoints} if endpoints else server)
        return {"servers": servers}

    def replica(self, name: str) -> dict[str, str]:
        """Return an upstream as an entry of the configuration."""
        return {"url": f"http://127.0.0.1:{self._ports[name]}{self._upstreams[name].base}"}

    def _gateway_ready(self) -> bool:
        url = f"http://127.0.0.1:{self._ports['admin']}/readyz"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
        return False


def scheme(transport: str) -> str:
    """Return the URL scheme of a transport."""
    return "ws" if transport == "ws" else "http"
