"""haproxy bare, with what an MCP server needs (long timeouts, connections kept for all) and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import kits
from benchmarks.peers.ground import PATH, Bare, Ground

# Beside two for each client haproxy keeps some tens for itself, and refuses to start if the sum is above the limit.
_SPARE_DESCRIPTORS = 200
# haproxy allocates for each at its start: enough for every question, where the limit may be a million.
_MOST_CLIENTS = 50_000

# Without `http-no-delay` the kernel is told that more will follow, and holds an event back for up to 200 ms. Without
# `abortonclose` nobody notices that a client has left an idle stream.
_HAPROXY = """
global
    nbthread 1
    maxconn {clients}
defaults
    mode http
    option forwardfor
    option http-no-delay
    option abortonclose
    http-reuse always
    timeout connect 10s
    timeout http-request 1h
    timeout http-keep-alive 1h
    timeout client 1h
    timeout server 1h
frontend mcp
    bind 127.0.0.1:{port} backlog 4096
    use_backend bench if {{ path_beg {path}/ }}
backend bench
    http-request replace-path {path}/(.*) /\\1
    server bench 127.0.0.1:{upstream_port}
"""


@dataclass(frozen=True)
class Haproxy(Bare):
    """
    haproxy of this Debian: one thread, no access log.

    :ivar find: tells where a kit is.
    """

    name: str = "haproxy"
    find: Callable[[str], Path] = kits.folder

    def command(self, ground: Ground) -> list[str]:
        """
        Write haproxy.cfg.

        :raises PeerMissing: if there is no haproxy.
        """
        program = self.find("haproxy")
        clients = min((ground.descriptors - _SPARE_DESCRIPTORS) // 2, _MOST_CLIENTS)
        config = ground.folder / "haproxy.cfg"
        config.write_text(_HAPROXY.format(**vars(ground), clients=clients, path=PATH))
        return [f"{program}", "-db", "-f", f"{config}"]

    def version(self) -> str:
        """
        Ask the program.

        :raises PeerMissing: if there is no haproxy.
        """
        told = subprocess.run([f"{self.find('haproxy')}", "-v"], check=True, capture_output=True, text=True)
        return version_told(told.stdout)


def version_told(text: str) -> str:
    """Read what ``haproxy -v`` prints: ``HAProxy version 2.6.12-1 2026/10/17 - …``."""
    return f"haproxy {text.split()[2]}"
