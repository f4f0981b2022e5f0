"""The gateway as users run it, access log and all; and the same with everything on that guards a server."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from benchmarks import messages
from benchmarks.peers.ground import PATH, ROOT, SESSION_FIELD, Ground, PeerMissing
from mcpgate.entitlement import seal_keys
from mcpgate.policy.sessions import Bond, Seal, replica_tag

_TOKEN, _SECRET = b"mcpg_a-token-of-the-benchmark", "the-secret-of-the-sessions-of-the-benchmark"
_TOKEN_FIELD = b"Authorization: Bearer %s\r\n" % _TOKEN
#: A token, with which sessions are sealed; metrics are always on, and so is the access log.
_UNLIMITED = f"""
sessions: {{keys: ["{_SECRET}"]}}
auth: {{tokens: [{{id: bench, sha256: "{sha256(_TOKEN).hexdigest()}"}}]}}
"""
#: All features that the goals count: that, and a limit, high enough that nobody is refused.
_FULL = f"""{_UNLIMITED}
limits:
  - {{name: everybody, key: [principal], rate: 1000000/s, burst: 1000000}}
"""
#: And limits for tools, addresses and streams.
_GUARDED = f"""{_FULL}
  - {{name: tools, key: [principal, server, tool], match: {{methods: [tools/call]}}, rate: 1000000/s, burst: 1000000}}
  - {{name: addresses, key: [address], rate: 1000000/s, burst: 1000000}}
  - {{name: streams, key: [principal], concurrent_streams: 1000000}}
"""

# All clients of a benchmark come from one address, which the gate would soon slow down;
# every stream takes two descriptors.
_GATEWAY = """
listen: tcp:{port}:interface=127.0.0.1
admin: {{listen: "tcp:{admin_port}:interface=127.0.0.1"}}
http: {{max_body_bytes: 1024MiB, max_connections: {connections}}}
servers:
  - name: bench
    path: {path}
    upstreams: [{{url: "http://127.0.0.1:{upstream_port}"}}]
gate: {{connections: {{rate: 1000000/s, burst: 1000000}}, open_connections: {connections}}}
logging: {{access: "{access}"}}
drain: {{timeout: 1s}}
"""


@dataclass(frozen=True)
class Gateway:
    """
    The gateway of a checkout, started as users start it.

    :ivar rules: what stands in its configuration besides.
    :ivar root: the checkout, this one or another to compare with; both run on this Python and its packages.
    """

    name: str = "mcpgate-open"
    access: str = "file:access.log"
    rules: str = ""
    root: Path = ROOT

    def command(self, ground: Ground) -> list[str]:
        """
        Write gate.yaml.

        :raises PeerMissing: if there is no twistd, or no gateway yet.
        """
        if not (self.root / "src" / "mcpgate" / "tap.py").exists():
            raise PeerMissing(f"there is no gateway in {self.root}/src/mcpgate")
        beside = Path(sys.executable).parent / "twistd"
        program = str(beside) if beside.exists() else shutil.which("twistd")
        if program is None:
            raise PeerMissing("there is no twistd beside this Python: run with the project's .venv")
        config = ground.folder / "gate.yaml"
        connections = max(1000, ground.descriptors // 2 - 100)
        form = {**vars(ground), "path": PATH, "access": self.access, "connections": connections}
        config.write_text(_GATEWAY.format(**form) + self.rules)
        return [program, "-n", "--pidfile=", "mcpgate", "-c", f"{config}"]

    def environment(self) -> Mapping[str, str]:
        """Return the import path: this checkout and its plugin, whatever is installed."""
        return {"PYTHONPATH": f"{self.root / 'src'}:{self.root}"}

    def client_fields(self, ground: Ground) -> bytes:
        """Return the plain session; with rules the token, and the session as the gateway has sealed it."""
        if not self.rules:
            return SESSION_FIELD
        bond = Bond(b"bench", replica_tag(f"http://127.0.0.1:{ground.upstream_port}"), b"bench")
        sealed = Seal(seal_keys([_SECRET])).seal_id(messages.SESSION, bond)
        return b"%bMcp-Session-Id: %b\r\n" % (_TOKEN_FIELD, sealed)

    def version(self) -> str:
        """Read it of the checkout's source, and ask the packages that it runs on."""
        found = re.search(r'^__version__ = "(.+)"', (self.root / "src/mcpgate/__init__.py").read_text(), re.MULTILINE)
        mine = f"mcpgate {found[1]}" if found else "mcpgate"
        return f"{mine}, Twisted {version('twisted')}, Python {platform.python_version()}"


def limited(per_s: int) -> Gateway:
    """Return the gateway with a limit that lets so many calls a second through, and a tenth of them at once."""
    limit = f"limits: [{{name: everybody, key: [principal], rate: {per_s}/s, burst: {max(1, per_s // 10)}}}]\n"
    return Gateway("mcpgate-limited", rules=_UNLIMITED + limit)


OPEN = Gateway()
FULL = Gateway("mcpgate", rules=_FULL)
UNLIMITED = Gateway("mcpgate-unlimited", rules=_UNLIMITED)
GUARDED = Gateway("mcpgate-guarded", rules=_GUARDED)
