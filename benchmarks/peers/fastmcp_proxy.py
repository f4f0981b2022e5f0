"""
fastmcp's proxy: `fastmcp_proxy_program.py`, which is what its users write.

It ends MCP on both sides, in the era of the client, and opens a session of its own at the server for each request, as
it does unless told otherwise: so clients do not share what a server keeps for a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.mcp_load import is_answering
from benchmarks.peers.ground import PATH, Endpoint, Ground
from benchmarks.peers.mcp_ground import START_TIMEOUT_S, SURROUNDINGS, UPSTREAM_MODULE, program_in, versions_in

_PROGRAM = Path(__file__).parent / "fastmcp_proxy_program.py"


class FastmcpProxy:
    """One process with one loop, without access log."""

    name = "fastmcp"
    upstream_module = UPSTREAM_MODULE
    start_timeout_s = START_TIMEOUT_S

    def command(self, ground: Ground) -> list[str]:
        """
        Leave the program where it can be read beside the other configurations.

        :raises PeerMissing: if there is no fastmcp.
        """
        python = program_in("fastmcp", "python")
        program = ground.folder / "proxy.py"
        program.write_text(_PROGRAM.read_text())
        url = f"http://127.0.0.1:{ground.upstream_port}/mcp"
        return [python, f"{program}", f"{ground.port}", f"{PATH}/mcp", url]

    def environment(self) -> Mapping[str, str]:
        """Return what keeps it from asking the package index for news."""
        return {"FASTMCP_CHECK_FOR_UPDATES": "off", **SURROUNDINGS}

    def client_fields(self, ground: Ground) -> bytes:
        """Return nothing: anybody may call."""
        return b""

    def endpoint(self, ground: Ground) -> Endpoint:
        """Return where it was told to serve."""
        return Endpoint(ground.port, f"{PATH}/mcp", stateless=True)

    def is_ready(self, ground: Ground) -> bool:
        """Ask it a whole conversation."""
        return is_answering(self.endpoint(ground))

    def version(self) -> str:
        """
        Ask the package.

        :raises PeerMissing: if there is no fastmcp.
        """
        return versions_in("fastmcp", "fastmcp", "mcp", "uvicorn")
