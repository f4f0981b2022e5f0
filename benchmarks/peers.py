"""
The subjects and how each is set up: nginx bare, with what an MCP server needs (no buffering, HTTP/1.1, a
keep-alive pool towards the upstream) and nothing else; the gateway as users run it, access log and all.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from benchmarks import messages
from mcpgate.entitlement import seal_keys
from mcpgate.policy.sessions import Bond, Seal, replica_tag

PATH = "/mcp/bench"
ROOT = Path(__file__).resolve().parent.parent


_SESSION = b"Mcp-Session-Id: %s\r\n" % messages.SESSION
_TOKEN, _SECRET = b"mcpg_a-token-of-the-benchmark", "the-secret-of-the-sessions-of-the-benchmark"
#: One limit for all calls of a principal, one for each tool, one for streams; high enough that nobody is refused.
_RULES = f"""
auth: {{tokens: [{{id: bench, sha256: "{sha256(_TOKEN).hexdigest()}"}}]}}
sessions: {{keys: ["{_SECRET}"]}}
limits:
  - {{name: everybody, key: [principal], rate: 1000000/s, burst: 1000000}}
  - {{name: tools, key: [principal, server, tool], match: {{methods: [tools/call]}}, rate: 1000000/s, burst: 1000000}}
  - {{name: addresses, key: [address], rate: 1000000/s, burst: 1000000}}
  - {{name: streams, key: [principal], concurrent_streams: 1000000}}
"""


class PeerMissing(Exception):
    """A subject cannot be measured because it is not installed here; the text says what to do."""


@dataclass(frozen=True)
class Ground:
    """Where one subject runs: its own folder, its ports, the upstream's port, and descriptors per process."""

    folder: Path
    port: int
    admin_port: int
    upstream_port: int
    descriptors: int


class Peer(Protocol):
    """Something that passes ``/mcp/bench/…`` on to the upstream's ``/…``."""

    @property
    def name(self) -> str:
        """The column it stands in."""

    def command(self, ground: Ground) -> list[str]:
        """Write the configuration and return the command that serves on ``ground.port`` in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Return what the command needs beyond the runner's own environment."""

    def client_fields(self, ground: Ground) -> bytes:
        """Return the header lines by which its clients say who they are and which session is theirs."""


_NGINX = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {descriptors}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_timeout 1h; keepalive_requests 1000000000;
    upstream mcp {{
        server 127.0.0.1:{upstream_port};
        keepalive 64; keepalive_timeout 1h; keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location {path}/ {{
            proxy_pass http://mcp/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off; proxy_request_buffering off;
            proxy_read_timeout 1h; proxy_send_timeout 1h;
        }}
    }}
}}
"""


class Nginx:
    """nginx from the search path: one worker, no access log."""

    name = "nginx"

    def command(self, ground: Ground) -> list[str]:
        """
        Write nginx.conf.

        :raises PeerMissing: if there is no nginx.
        """
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise PeerMissing("nginx is not on the search path: apt-get install nginx-light")
        # A worker started by root becomes `nobody`, who may not write into the folder of this run.
        user = "user root;" if os.geteuid() == 0 else ""
        config = ground.folder / "nginx.conf"
        config.write_text(_NGINX.format(**vars(ground), user=user, path=PATH))
        return [program, "-p", f"{ground.folder}", "-e", f"{ground.folder}/error.log", "-c", f"{config}"]

    def environment(self) -> Mapping[str, str]:
        """Return nothing."""
        return {}

    def client_fields(self, ground: Ground) -> bytes:
        """Return the plain session."""
        return _SESSION


_GATEWAY = """
listen: tcp:{port}:interface=127.0.0.1
admin: {{listen: "tcp:{admin_port}:interface=127.0.0.1"}}
http: {{max_body_bytes: 1024MiB}}
servers:
  - name: bench
    path: {path}
    upstreams: [{{url: "http://127.0.0.1:{upstream_port}"}}]
logging: {{access: "{access}"}}
drain: {{timeout: 1s}}
"""


@dataclass(frozen=True)
class Gateway:
    """The gateway of this checkout, started as users start it."""

    name: str = "mcpgate"
    access: str = "file:access.log"
    rules: str = ""

    def command(self, ground: Ground) -> list[str]:
        """
        Write gate.yaml.

        :raises PeerMissing: if there is no twistd, or no gateway yet.
        """
        if not (ROOT / "src" / "mcpgate" / "tap.py").exists():
            raise PeerMissing(f"there is no gateway in {ROOT}/src/mcpgate")
        beside = Path(sys.executable).parent / "twistd"
        program = str(beside) if beside.exists() else shutil.which("twistd")
        if program is None:
            raise PeerMissing("there is no twistd beside this Python: run with the project's .venv")
        config = ground.folder / "gate.yaml"
        config.write_text(_GATEWAY.format(**vars(ground), path=PATH, access=self.access) + self.rules)
        return [program, "-n", "--pidfile=", "mcpgate", "-c", f"{config}"]

    def environment(self) -> Mapping[str, str]:
        """Return the import path: this checkout and its plugin, whatever is installed."""
        return {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}

    def client_fields(self, ground: Ground) -> bytes:
        """Return the plain session."""
        return _SESSION


class GuardedGateway(Gateway):
    """The same with everything on that stands between a client and a server: a token, three limits, sealed sessions."""

    def client_fields(self, ground: Ground) -> bytes:
        """Return the token, and the session as the gateway has sealed it."""
        bond = Bond(b"bench", replica_tag(f"http://127.0.0.1:{ground.upstream_port}"), b"bench")
        sealed = Seal(seal_keys([_SECRET])).seal_id(messages.SESSION, bond)
        return b"Authorization: Bearer %s\r\nMcp-Session-Id: %s\r\n" % (_TOKEN, sealed)


GUARDED = GuardedGateway("mcpgate-guarded", rules=_RULES)
