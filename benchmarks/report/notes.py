"""How each subject is set up: its version, its command and its configuration, without secrets and without paths."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from benchmarks.machine import without_places
from benchmarks.peers.ground import Ground, Peer
from benchmarks.report.results import PeerNotes

#: The same in every report, so that a configuration only changes when somebody changes it.
_PORT, _ADMIN_PORT, _UPSTREAM_PORT, _DESCRIPTORS = 8000, 8001, 9000, 20_000
# Longer files are programs or data, not what somebody has set.
_LONGEST_CHARS = 20_000

_MASK = "********"
_SECRETS = (
    re.compile(r"()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----()", re.DOTALL),
    # KEY: value, KEY=value, keys: ["value"], of every spelling of a key that says what it is.
    re.compile(r"""(?i)(\b[\w-]*(?:secret|password|passwd|token|sha256|(?<!\w)keys)[\w-]*["']?\s*[:=]\s*\[?\s*["']?)[^\s"'\[\]{},&]+()"""),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]+()"),
    re.compile(r"()\b[0-9a-f]{32,}\b()"),
    re.compile(r"()\beyJ[\w-]+\.[\w-]+\.[\w-]+()"),
)


def without_secrets(text: str) -> str:
    """Put stars for what looks like a secret; too much rather than too little."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\1{_MASK}\2", text)
    return text


def notes_of(peer: Peer) -> PeerNotes:
    """
    Set a subject up in a folder of its own, without starting it, and return what was written there.

    :raises PeerMissing: if it is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-notes-") as name:
        folder = Path(name)
        command = peer.command(Ground(folder, _PORT, _ADMIN_PORT, _UPSTREAM_PORT, _DESCRIPTORS))
        files = {
            str(path.relative_to(folder)): _clean(text, folder)
            for path in sorted(folder.rglob("*"))
            if (text := _text_of(path)) is not None
        }
        settings = [f"{key}={value}" for key, value in peer.environment().items()]
        return PeerNotes(version_of(peer), _clean(shlex.join([*settings, *command]), folder), files)


def version_of(peer: Peer) -> str:
    """Return what the subject says it is; nothing if it does not say."""
    ask = getattr(peer, "version", None)
    if ask is None:
        return ""
    try:
        return without_places(str(ask()))
    except (OSError, subprocess.SubprocessError, LookupError, ValueError):
        return ""


def _clean(text: str, folder: Path) -> str:
    return without_secrets(without_places(text, folder))


def _text_of(path: Path) -> str | None:
    """The text of a file that somebody has written; None of anything else."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LONGEST_CHARS:
        return None
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return None
