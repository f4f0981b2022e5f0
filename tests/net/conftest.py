"""A reactor of a test's own, and a connection in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.net.lines import Pair
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from mcpgate.net.reactor import LeanEPollReactor


@pytest.fixture
def reactor() -> Iterator[LeanEPollReactor]:
    reactor = LeanEPollReactor()
    yield reactor
    for descriptor in reactor.removeAll():
        descriptor.connectionLost(Failure(ConnectionDone()))
    reactor.iterate(0)
    reactor.waker.connectionLost(None)
    reactor._poller.close()


@pytest.fixture
def pair(reactor: LeanEPollReactor) -> Iterator[Pair]:
    pair = Pair(reactor)
    yield pair
    for peer in pair.peers:
        peer.close()
