"""Fixtures of the interop tests: the installed kits, the stage of servers and gateway, and the clients."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from tests.interop.guarded import GuardedStage
from tests.interop.install import COMMAND, interop_home, missing_kits
from tests.interop.stage import Stage
from tests.interop.visits import Visitor

STAGES = pytest.StashKey[list[Stage]]()


def pytest_configure(config: pytest.Config) -> None:
    """No stage is up yet."""
    config.stash[STAGES] = []


@pytest.fixture(scope="session")
def home() -> Path:
    """The folder of the installed kits; without them the tests fail: skipped ones would prove nothing."""
    folder = interop_home()
    missing = missing_kits(folder)
    if missing:
        pytest.fail(f"not installed in {folder}: {', '.join(missing)}; run: {COMMAND}", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def stage(home: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stage]:
    """Upstreams and gateway, started when a test first asks for them and ended after the last one."""
    stage = Stage(home, tmp_path_factory.mktemp("stage"))
    pytestconfig.stash[STAGES].append(stage)
    yield stage
    stage.close()


@pytest.fixture(scope="session")
def guarded(
    home: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[GuardedStage]:
    """As `stage`, with a gateway that asks who comes."""
    stage = GuardedStage(home, tmp_path_factory.mktemp("guarded"))
    pytestconfig.stash[STAGES].append(stage)
    yield stage
    stage.close()


@pytest.fixture(scope="session")
def visitor(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """The real clients."""
    return Visitor(home, tmp_path_factory.mktemp("visitor"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Show with a failed test only what was printed while it ran."""
    for stage in item.config.stash[STAGES]:
        for running in stage.running.values():
            running.mark()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what every running process printed last."""
    report = yield
    for stage in item.config.stash[STAGES] if report.failed else ():
        for name, running in stage.running.items():
            if tail := running.tail():
                report.sections.append((f"output of {name}", tail))
            if not running.alive:
                report.sections.append((f"{name} has ended", ""))
    return report
