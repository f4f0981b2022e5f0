"""A real browser before the status page, and a stage that gives it something to see."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.interop.install import CHECKOUT, COMMAND
from tests.interop.processes import POLL_S, STOP_TIMEOUT_S, Command
from tests.interop.stage import TWISTD, Stage
from tests.interop.upstreams import UPSTREAMS, node_env

SCRIPT = Path(__file__).resolve().parent / "clients" / "browser.mjs"
#: Chromium is up in a second here; the page is told something every two.
PATIENCE_S = 20.0
#: Where a person finds what the browser saw; `.interop` is not in git.
SHOTS = CHECKOUT / ".interop" / "screenshots"
TOKEN = "interop-look-" + "t" * 40
#: What would run, or be drawn, if it ever became markup.
HOSTILE = "<img src=x onerror=\"document.title='forged'\"><b>bold</b>"

Seen = dict[str, Any]

#: Binds a loopback port and hands it to twistd as systemd would: of such a socket the gateway does not know who can
#: reach it, so that it asks for a token as on a public address.
_ACTIVATE = """\
import os, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "admin"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class ShownStage(Stage):
    """
    As `Stage`: a real server under a hostile title, and one that is not there.

    :param guarded: whether the admin listener asks for a token.
    """

    def __init__(self, home: Path, folder: Path, guarded: bool = False) -> None:
        super().__init__(home, folder, {"everything": UPSTREAMS["everything"]})
        self._guarded = guarded

    @property
    def page(self) -> str:
        """The address of the status page."""
        return f"http://127.0.0.1:{self._ports['admin']}/"

    def restart(self) -> None:
        """End the gateway; the next who asks for an address of it starts another one."""
        self.running.pop("gateway").stop()

    def settings(self) -> dict[str, Any]:
        """Return what the configuration says beside the listeners."""
        shown = {"title": HOSTILE, "tools": {"deny": ["*<*"]}, "auth": "none"}
        settings: dict[str, Any] = {
            "servers": [
                {"name": "everything", "upstreams": [self.replica("everything")], **shown},
                {"name": "gone", "upstreams": [{"url": "http://127.0.0.1:1"}]},
            ],
            "limits": [{"name": "calls", "key": ["principal"], "rate": "100/s", "burst": 200}],
        }
        return settings

    def write_config(self) -> Path:
        """Write the gateway's configuration, and return where."""
        config = super().write_config()
        if self._guarded:
            digest = hashlib.sha256(TOKEN.encode()).hexdigest()
            tokens = [{"id": "look", "sha256": digest, "scopes": ["read"]}]
            admin = {"listen": "systemd:domain=INET:index=0", "tokens": tokens}
            config.write_text(json.dumps({**json.loads(config.read_text()), "admin": admin}))
        return config

    def _gateway_command(self) -> Command:
        command = super()._gateway_command()
        if not self._guarded:
            return command
        argv = [sys.executable, "-c", _ACTIVATE, str(self._ports["admin"]), str(TWISTD), *command.argv[1:]]
        return Command(argv, command.folder, command.env)


class Browser:
    """
    One browser, driven from outside.

    :param folder: an empty one; it becomes the browser's home.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        if shutil.which("chromium") is None:
            pytest.fail(f"chromium is not installed; run: {COMMAND}", pytrace=False)
        self._errors = (folder / "errors.log").open("wb")
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), str(folder / "profile")],
            cwd=home / "browser",
            env=os.environ | node_env(home) | {"HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._folder = folder

    def tell(self, do: str, **more: object) -> Seen:
        """
        Have it do something and return what is on the page then.

        :raises AssertionError: with what it printed, if it does not answer in time.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        self._process.stdin.flush()
        return dict(json.loads(self._answer()))

    def open(self, url: str, **more: object) -> Seen:
        """Load a page."""
        return self.tell("open", url=url, **more)

    def until(self, holds: Callable[[Seen], object], what: str) -> Seen:
        """
        Look until something is on the page, without loading it anew; return all that is there then.

        :raises AssertionError: naming ``what``, with what is there instead.
        """
        end = time.monotonic() + PATIENCE_S
        while not holds(seen := self.tell("read")):
            assert time.monotonic() < end, f"{what}: not after {PATIENCE_S} s\n{json.dumps(seen, indent=1)}"
            time.sleep(POLL_S)
        return seen

    def shoot(self, name: str) -> None:
        """Leave a picture of the page for people."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.tell("shot", path=str(SHOTS / f"{name}.png"))

    def close(self) -> None:
        """End it, and all that it has started."""
        with self._errors, self._process as process:  # closes its input and output, too
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                process.communicate(b'{"do": "close"}\n', STOP_TIMEOUT_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        output = self._process.stdout
        line, end = b"", time.monotonic() + PATIENCE_S
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                ready = selector.select(max(0.0, end - time.monotonic()))
                piece = os.read(output.fileno(), 1 << 16) if ready else b""
                assert piece, f"the browser does not answer\n{(self._folder / 'errors.log').read_text()[-2000:]}"
                line += piece
        return line


def fact(seen: Mapping[str, Any], name: str) -> str:
    """The large number under a name at the top of the page."""
    return str(seen["facts"].get(name, ["?"])[0])
