"""Subjects with many servers behind one address; all of them are the one upstream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.gateway import FULL, Gateway
from benchmarks.peers.ground import PATH, Ground
from benchmarks.peers.nginx import Nginx


def crowd_path(number: int) -> str:
    """Return where one of them is; the first is the one that every subject has."""
    return PATH if number == 0 else f"{PATH}-{number:05}"


def with_servers(config: str, count: int, upstream_port: int) -> str:
    """Return a gate.yaml with so many servers, made of one with one."""
    url = f"http://127.0.0.1:{upstream_port}"
    return _insert_after(
        config,
        "\nservers:\n",
        [
            f'  - {{name: bench-{number:05}, path: {crowd_path(number)}, upstreams: [{{url: "{url}"}}]}}\n'
            for number in range(1, count)
        ],
    )


def with_locations(config: str, count: int) -> str:
    """Return an nginx.conf with so many locations, made of one with one."""
    start = config.index(f"        location {PATH}/ {{")
    end = config.index("        }\n", start) + len("        }\n")
    location = config[start:end]
    more = [location.replace(f"{PATH}/", f"{crowd_path(number)}/") for number in range(1, count)]
    return _insert_after(config, location, more)


def _insert_after(text: str, place: str, pieces: list[str]) -> str:
    assert text.count(place) == 1, f"{place!r} stands {text.count(place)} times in {text[:2000]}"
    return text.replace(place, place + "".join(pieces))


def _rewrite(config: Path, change: Callable[[str], str]) -> None:
    config.write_text(change(config.read_text()))


@dataclass(frozen=True)
class CrowdedGateway(Gateway):
    """The gateway with all features on and so many servers."""

    name: str = "mcpgate-crowded"
    rules: str = field(default=FULL.rules, repr=False)
    servers: int = 1

    def command(self, ground: Ground) -> list[str]:
        """
        Write gate.yaml.

        :raises PeerMissing: as for `Gateway`.
        """
        command = super().command(ground)
        _rewrite(ground.folder / "gate.yaml", lambda text: with_servers(text, self.servers, ground.upstream_port))
        return command


class CrowdedNginx(Nginx):
    """nginx with so many locations."""

    name = "nginx-crowded"

    def __init__(self, servers: int) -> None:
        self._servers = servers

    def command(self, ground: Ground) -> list[str]:
        """
        Write nginx.conf.

        :raises PeerMissing: as for `Nginx`.
        """
        command = super().command(ground)
        _rewrite(ground.folder / "nginx.conf", lambda text: with_locations(text, self._servers))
        return command
