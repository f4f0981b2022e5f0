"""mcpgate.metrics.process: the same numbers under the same names as every other client of Prometheus."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from tests.metrics.gate import Gate, families_of, text_of

from mcpgate.metrics.collection import Scrape
from mcpgate.metrics.process import Process, collections


def test_the_series_are_those_of_the_official_library() -> None:
    """Names, kinds and labels: dashboards for any Python program show ours."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    ours = {family.name: family for family in families_of(text_of(Scrape(Gate().observed())))}
    for theirs in registry.collect():
        family = ours[theirs.name]
        assert family.type == theirs.type
        assert {(sample.name, *sample.labels) for sample in family.samples} == {
            (sample.name, *sorted(sample.labels)) for sample in theirs.samples
        }


def test_the_numbers_are_those_of_the_official_library() -> None:
    """As near as two moments are."""
    process = Process()
    for _ in process.count_descriptors():
        pass
    ours = process.series()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    theirs = {sample.name: sample.value for family in registry.collect() for sample in family.samples}
    assert set(ours) == set(theirs)
    for same in ("process_max_fds", "process_start_time_seconds"):
        assert ours[same] == theirs[same]
    assert abs(ours["process_open_fds"] - theirs["process_open_fds"]) <= 1  # theirs counts the folder that it reads
    assert 0.5 < ours["process_resident_memory_bytes"] / theirs["process_resident_memory_bytes"] < 2
    assert 0.5 < ours["process_virtual_memory_bytes"] / theirs["process_virtual_memory_bytes"] < 2
    assert -0.001 < theirs["process_cpu_seconds_total"] - ours["process_cpu_seconds_total"] < 1


def test_an_older_kernel_is_asked_step_by_step(tmp_path: Path) -> None:
    """Where the size of the folder does not tell how many there are, they are counted, one a step."""
    folder = tmp_path / "self" / "fd"
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / str(number)).touch()
    # A file system whose folders have a size tells something else by it; only 0 means that it tells nothing.
    counted = _Sizeless(tmp_path)
    steps = sum(1 for _ in counted.count_descriptors())
    assert (steps, counted.open_fds) == (30, 29)


class _Folder:
    """A folder whose size is not told."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __truediv__(self, name: str) -> _Folder:
        return _Folder(self._path / name)

    def __fspath__(self) -> str:
        return str(self._path)

    def stat(self) -> os.stat_result:
        return os.stat_result((0,) * 10)


class _Sizeless(Process):
    """A process on a kernel before 6.2."""

    def __init__(self, proc: Path) -> None:
        super().__init__(proc)
        self._self = _Folder(proc / "self")  # type: ignore[assignment]


def test_a_system_without_proc_has_fewer_series(tmp_path: Path) -> None:
    """And no failures."""
    process = Process(tmp_path / "nowhere")
    assert list(process.count_descriptors()) == []
    assert set(process.series()) == {"process_open_fds", "process_max_fds"}


def test_what_the_collector_did_is_told_by_generation() -> None:
    """As ``gc`` counts it."""
    assert [labels for labels, _ in collections("collections")] == [("0",), ("1",), ("2",)]
