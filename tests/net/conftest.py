"""A reactor of a test's own, and a connection in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.net.lines import Pair, real_reactor

from mcpgate.net.reactor import LeanEPollReactor


@pytest.fixture
def reactor() -> Iterator[LeanEPollReactor]:
    with real_reactor() as reactor:
        yield reactor


@pytest.fixture
def pair(reactor: LeanEPollReactor) -> Iterator[Pair]:
    pair = Pair(reactor)
    yield pair
    for peer in pair.peers:
        peer.close()
