"""What is installed works: an ordinary install and a strict editable one are found by twistd, from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.process.stage import ROOT

import mcpgate

#: What a build reads. It writes beside it, so it gets a copy.
_SOURCES = ["src", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
_OFFLINE = ["--no-index", "--no-deps"]
_TWISTD = "from twisted.scripts.twistd import run; run()"


def run(*command: str | Path, folder: Path) -> str:
    """Run a command without the paths of these tests; its output."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads."""
    folder = tmp_path_factory.mktemp("sources")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
    for name in _SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(*_PIP, "wheel", *_OFFLINE, "--no-build-isolation", "--wheel-dir", folder, sources, folder=folder)
    return next(folder.glob("mcpgate-*.whl"))


@dataclass
class Environment:
    """
    A fresh virtual environment that sees the dependencies of this one, but nothing that is installed in it as editable:
    ``.pth`` files count in an environment's own folder only.
    """

    folder: Path

    def __post_init__(self) -> None:
        venv.create(self.folder, with_pip=False)
        ours = next(self.folder.glob("lib/python*/site-packages"))
        theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (ours / "dependencies.pth").write_text("\n".join(theirs) + "\n")

    def install(self, *what: str | Path) -> None:
        """Install something into it."""
        python = self.folder / "bin" / "python"
        run(*_PIP, "--python", python, "install", *_OFFLINE, "--ignore-installed", *what, folder=self.folder)

    def python(self, *arguments: str) -> str:
        """What Python prints, run from a folder that has nothing to do with us."""
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        return run(self.folder / "bin" / "python", *arguments, folder=elsewhere)

    def finds_the_plugin(self) -> bool:
        """Whether ``twistd --help`` lists the gateway."""
        told = self.python("-c", _TWISTD, "--help")
        return any(line.split()[:1] == ["mcpgate"] for line in told.splitlines())


def test_the_wheel_holds_every_module_the_plugin_and_the_marker_for_types(wheel: Path) -> None:
    """And nothing else that is Python: no tests, no benchmarks."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == {*modules, "twisted/plugins/mcpgate_plugin.py"}
    assert "mcpgate/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)


def test_an_ordinary_install_is_found(wheel: Path, tmp_path: Path) -> None:
    """twistd lists the gateway, and the command is there."""
    environment = Environment(tmp_path)
    assert not environment.finds_the_plugin()
    environment.install(wheel)
    assert environment.finds_the_plugin()
    told = run(tmp_path / "bin" / "mcpgate", "--version", folder=tmp_path)
    assert told.split() == ["mcpgate", mcpgate.__version__]
    assert '"$schema"' in environment.python("-m", "mcpgate", "schema")
    assert environment.python("-c", "import mcpgate.demo, mcpgate.testing; print('good')").strip() == "good"


def test_a_strict_editable_install_is_found(sources: Path, tmp_path: Path) -> None:
    """As `make` does it for developers."""
    environment = Environment(tmp_path)
    strict = ["--no-build-isolation", "--config-settings", "editable_mode=strict", "--editable"]
    environment.install(*strict, sources)
    assert environment.finds_the_plugin()
    where = environment.python("-c", "import mcpgate.tap; print(mcpgate.tap.__file__)").strip()
    assert Path(where).resolve() == (sources / "src" / "mcpgate" / "tap.py").resolve()
