"""Registrations and the death of the process that has acknowledged them."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.process.stage import PATIENCE_S, environ

from mcpgate.registry.store import SqliteStore

TURNS = 5
REGISTRAR = Path(__file__).with_name("registrar.py")


def acknowledged_until_killed(path: Path, turn: int, after: int) -> dict[str, int]:
    """
    Let a process register until it has acknowledged so many, then kill it with signal 9.

    :returns: the last revision that it acknowledged, by replica.
    """
    command = [sys.executable, str(REGISTRAR), str(path), str(turn)]
    with subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after)]
        process.kill()
        # What it said before its end is still in the pipe; the last line may be half a one.
        rest, _ = process.communicate(timeout=PATIENCE_S)
    whole = [*lines, *rest.splitlines(keepends=True)]
    said = [line.split() for line in whole if line.endswith("\n")]
    assert len(said) >= after, "it ended by itself"
    return {replica: int(revision) for replica, revision in said}


def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """Whenever it happens while 200 register at once: what they were told is there, and the file is whole."""
    path = tmp_path / "registry.db"
    told: dict[str, int] = {}
    for turn in range(TURNS):
        told |= acknowledged_until_killed(path, turn, random.randint(1, 3000))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {row.replica: row for row in SqliteStore(str(path), print).load()}
        assert {replica for replica, revision in told.items() if kept[replica].revision < revision} == set()
        assert all(row.body == b"%d" % row.revision * 50 for row in kept.values())
