"""What peers that end MCP have in common: the server behind them, and Python environments of their own."""

from __future__ import annotations

import subprocess

from benchmarks import kits

UPSTREAM_MODULE = "benchmarks.mcp_upstream"
#: Import paths of this run are not theirs. And how many authorities this machine trusts is to make no difference: httpx
#: prepares for TLS whatever the address, and reads a bundle of them, if there is one, for each client that it makes:
#: 85 ms of CPU where this was written, which made a call through fastmcp four times as dear. A folder is read when it
#: is needed.
SURROUNDINGS = {"PYTHONPATH": "", "SSL_CERT_FILE": "", "SSL_CERT_DIR": "/etc/ssl/certs"}
# From another disk, cold, these packages take a while to be imported.
START_TIMEOUT_S = 60.0

_ASKING = """
import sys
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in sys.argv[1:]))
"""


def program_in(kit: str, name: str) -> str:
    """
    Return the path of a program of a kit.

    :raises PeerMissing: if the kit is not installed.
    """
    return f"{kits.folder(kit) / 'bin' / name}"


def versions_in(kit: str, *packages: str) -> str:
    """
    Ask a kit's environment for the versions of packages.

    :raises PeerMissing: if the kit is not installed.
    """
    command = [program_in(kit, "python"), "-I", "-c", _ASKING, *packages]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
