"""The machine a run was made on: what absolute values depend on, and nothing by which it could be found."""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks import kits
from benchmarks.peers.ground import ROOT

# Folders of a machine, where something of a checkout, a user or a run may lie; programs of the system are no secret.
_PLACES = ("/tmp", "/home", "/root", "/srv", "/var/tmp", "/mnt", "/builds")
_OF_THE_SYSTEM = ("/usr", "/opt")
_LONGEST_REASON = 160


def machine() -> dict[str, str | float]:
    """Return what the figures depend on; other work on the machine widens the spread of ratios too."""
    memory_kib = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1].strip() if model else platform.machine(),
        "cpus": os.cpu_count() or 0,
        "memory_gib": round(int(memory_kib[1]) / 2**20, 1) if memory_kib else 0.0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def without_places(text: str, folder: Path | None = None) -> str:
    """
    Take out of a text what only this machine knows: its name, its folders.

    :param folder: where something ran; left out of the paths below it.
    """
    if folder is not None:
        text = text.replace(f"{folder}/", "").replace(f"{folder}", ".")
    ours = ((f"{kits.home()}", "CHECKOUT/.bench"), (f"{ROOT}", "CHECKOUT"))
    known = (*ours, (sys.prefix, "VENV"), (f"{Path.home()}", "HOME"))
    for place, name in known:
        if len(place) > 1:
            text = text.replace(place, name)
    own = f"/{ROOT.parts[1]}"
    places = {*_PLACES, tempfile.gettempdir(), *([] if own in _OF_THE_SYSTEM else [own])}
    beginnings = "|".join(re.escape(place) for place in sorted(places))
    text = re.sub(rf"(?<![\w./-])(?:{beginnings})(?:/[\w.@+~-]+)*", "…", text)
    host = socket.gethostname()
    return re.sub(rf"\b{re.escape(host)}\b", "HOST", text) if host not in ("", "localhost") else text


def one_line(reason: str, subject: str = "") -> str:
    """Return a reason short enough for a cell, without this machine's places and without what the subject said."""
    line = " ".join(without_places(reason).partition("; it said:")[0].split()).removeprefix(f"{subject}: ")
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"
