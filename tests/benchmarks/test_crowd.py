"""benchmarks.questions: gateways with many servers, or one feature each, are what their names say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.peers.gateway import FULL, Gateway, limited
from benchmarks.peers.ground import Ground
from benchmarks.questions.crowd import CrowdedGateway, crowd_path, with_locations
from benchmarks.questions.featured import BARE, features
from benchmarks.questions.routes import heads_for
from mcpgate.config import load
from mcpgate.settings import Settings
from mcpgate.values.quantities import Rate

NGINX = """http {
        location /mcp/bench/ {
            proxy_pass http://mcp/;
        }
}
"""


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A place to run."""
    return Ground(tmp_path, port=7001, admin_port=7002, upstream_port=7003, descriptors=10_300)


def settings_of(gateway: Gateway, ground: Ground) -> Settings:
    """What the gateway would read."""
    gateway.command(ground)
    return load(str(ground.folder / "gate.yaml"), {}, rundir=str(ground.folder))


def test_a_crowded_gateway_has_so_many_servers(ground: Ground) -> None:
    """Each at a path of its own, and with the features of the one it is compared with."""
    settings = settings_of(CrowdedGateway(servers=12), ground)
    assert {server.path for server in settings.servers} == {crowd_path(number) for number in range(12)}
    assert settings.limits == settings_of(FULL, ground).limits


def test_a_crowded_nginx_has_so_many_locations() -> None:
    """Each passes on to the same upstream; one is what it was."""
    assert with_locations(NGINX, 1) == NGINX
    several = with_locations(NGINX, 3)
    assert several.count("proxy_pass http://mcp/;") == 3
    assert "location /mcp/bench/ {" in several
    assert "location /mcp/bench-00002/ {" in several


@pytest.mark.parametrize("count", [1, 12, 10_000])
def test_no_head_comes_twice_and_all_places_are_asked(count: int) -> None:
    """They differ also where there is one server only, and none names a session."""
    subject = SimpleNamespace(port=7001, fields=b"Authorization: x\r\nMcp-Session-Id: y\r\n")
    heads = heads_for(cast(Any, subject), count)
    assert len(set(heads)) == len(heads)
    assert len({head.split(b" ")[1] for head in heads}) == min(count, len(heads))
    assert not any(b"Mcp-Session-Id" in head for head in heads)
    assert all(b"Authorization: x\r\n" in head for head in heads)


@pytest.mark.parametrize("name", features())
def test_each_feature_is_one_that_can_be_switched_on(name: str, ground: Ground) -> None:
    """The gateway reads its configuration, and it is another one than that of the bare gateway."""
    wanted = features()
    settings, bare = settings_of(wanted[name].gateway, ground), settings_of(wanted[BARE].gateway, ground)
    assert (settings != bare) == (name != BARE)
    assert wanted[name].against in {"", *wanted}


def test_a_limited_gateway_has_the_limit(ground: Ground) -> None:
    """And is otherwise as all others."""
    (limit,) = settings_of(limited(500), ground).limits
    assert (limit.rate, limit.burst) == (Rate(500, 1), 50)
