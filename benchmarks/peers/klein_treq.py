"""The reverse proxy that one would write first with Klein and treq: `klein_treq_proxy.py`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.ground import PATH, Bare, Ground

_PROGRAM = Path(__file__).parent / "klein_treq_proxy.py"


class KleinTreq(Bare):
    """One process of this Python, with the packages that the gateway has too."""

    name = "klein-treq"

    def command(self, ground: Ground) -> list[str]:
        """Leave the program where it can be read beside the other configurations."""
        program = ground.folder / _PROGRAM.name
        program.write_text(_PROGRAM.read_text())
        return [sys.executable, f"{program}", f"{ground.port}", PATH, f"http://127.0.0.1:{ground.upstream_port}"]

    def version(self) -> str:
        """Ask the packages of this Python."""
        return ", ".join(f"{name} {version(name)}" for name in ("klein", "treq", "Twisted"))
