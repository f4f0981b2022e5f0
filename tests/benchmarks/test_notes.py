"""benchmarks.report.notes and benchmarks.machine: nothing of this machine and no secret goes into a report."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import machine
from benchmarks.peers.gateway import FULL
from benchmarks.peers.ground import ROOT, Ground
from benchmarks.report import notes

SECRET = "s3cret-of-somebody"


class Chatty:
    """A subject that writes its secrets and its places everywhere."""

    name = "chatty"

    def command(self, ground: Ground) -> list[str]:
        """Write three files, one of which is no text."""
        (ground.folder / "sub").mkdir()
        (ground.folder / "sub" / "set.env").write_text(f"JWT_SECRET_KEY={SECRET}\nDB={ground.folder}/db\n")
        (ground.folder / "set.yaml").write_text(f'port: {ground.port}\nkeys: ["{SECRET}"]\nhome: /home/somebody/x\n')
        (ground.folder / "db").write_bytes(b"\xff\xfe\x00")
        return [sys.executable, f"{ground.folder}/set.yaml", "--admin-password", f"password={SECRET}"]

    def environment(self) -> Mapping[str, str]:
        """A token, and the checkout."""
        return {"API_TOKEN": SECRET, "PYTHONPATH": f"{ROOT}/src"}

    def client_fields(self, ground: Ground) -> bytes:
        """Nothing."""
        return b""

    def version(self) -> str:
        """With a place in it."""
        return "1.0 of /tmp/built/here"


def test_a_subject_is_described_without_places_and_secrets() -> None:
    """Its files, its command and its version, as they would be on any machine."""
    told = notes.notes_of(Chatty())
    assert told.version == "1.0 of …"
    assert told.command.startswith("API_TOKEN=******** PYTHONPATH=CHECKOUT/src ")
    assert told.files == {
        "set.yaml": 'port: 8000\nkeys: ["********"]\nhome: …\n',
        "sub/set.env": "JWT_SECRET_KEY=********\nDB=db\n",
    }
    assert SECRET not in f"{told}"


def test_the_gateway_is_described_without_its_secrets() -> None:
    """Neither the key of its sessions nor the digest of its token; but that they are there."""
    text = notes.notes_of(FULL).files["gate.yaml"]
    assert 'sessions: {keys: ["********"]}' in text
    assert 'sha256: "********"' in text
    assert "key: [principal]" in text


@pytest.mark.parametrize(
    "text",
    [
        f"password: {SECRET}",
        f'"api_token": "{SECRET}"',
        f"Authorization: Bearer {SECRET}",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----",
        f"BASIC_AUTH_PASSWORD={SECRET}",
    ],
)
def test_secrets_are_starred(text: str) -> None:
    """However their key is spelled."""
    assert SECRET not in notes.without_secrets(text)


def test_a_subject_that_does_not_say_its_version_has_none() -> None:
    """Nor does one whose program fails when it is asked."""

    class Broken(Chatty):
        def version(self) -> str:
            raise OSError("no such program")

    assert notes.version_of(Broken()) == ""


@given(st.sampled_from(["tmp", "home", "root", "mnt"]), st.lists(st.text("ab1.-_", min_size=1, max_size=6), max_size=4))
def test_no_folder_of_a_machine_is_left(top: str, below: list[str]) -> None:
    """Wherever a checkout, a user or a run may lie."""
    path = "/" + "/".join([top, *below])
    told = machine.without_places(f"open('{path}') failed; see {path}, or ask")
    assert f"/{top}" not in told
    assert told.endswith(", or ask")


def test_paths_of_the_web_and_of_the_system_stay() -> None:
    """They are the same everywhere, and say something."""
    text = "GET /mcp/bench/mcp by /usr/sbin/nginx at http://127.0.0.1/tmp/x"
    assert machine.without_places(text) == text


def test_the_name_of_the_machine_is_left_out() -> None:
    """A log may begin with it."""
    name = socket.gethostname()
    assert name not in machine.without_places(f"at {name}: failed").split() or name == "localhost"
    assert name not in f"{machine.machine()}"


def test_a_reason_fits_into_a_cell() -> None:
    """One line, not too long, without the subject's name and log and the folder of the run."""
    assert machine.one_line("nginx: an event\nwas lost; it said:\n/tmp/x: no", "nginx") == "an event was lost"
    reason = machine.one_line(f"no answer through ['{Path('/tmp/bench-x/nginx')}'] " + "x" * 500)
    assert reason.startswith("no answer through ['…'] x")
    assert len(reason) <= 160
