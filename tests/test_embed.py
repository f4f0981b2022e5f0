"""A gateway inside somebody's own application: the example, in memory, on a reactor that is not the real one."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples.embed import Application
from tests.ends import LAST_CHUNK, STREAM_HEAD, answers, chunked, requests
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.web.server import Site

from mcpgate.embed import fresh_ids, gateway_resource, lend
from mcpgate.faults import ConfigFaults
from mcpgate.net.memory import MemoryTransport
from mcpgate.settings import Settings
from mcpgate.testing import answer, request
from mcpgate.upstream.resolver import TooManyLookups

CONFIG = """\
listen: tcp:1
servers:
  - {name: x, upstreams: [{url: "http://127.0.0.1:3010"}], headers: {set: {X-Path: "${PATH}"}}}
  - {name: named, upstreams: [{url: "http://localhost:3011"}]}
"""


class _Reactor(MemoryReactorClock):
    """Remembers what threads want to have called."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, function: Callable[..., object], *args: object, **named: object) -> None:
        self.from_threads.put(partial(function, *args, **named))


class _Embedded:
    """The application of the example around a gateway, with connections on both sides."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        path = folder / "gate.yaml"
        path.write_text(config, "utf-8")
        self.reactor = _Reactor()
        resource = gateway_resource(self.reactor, str(path), str(folder))
        self.site = Site(Application(resource), reactor=self.reactor, parsePOSTFormSubmission=False)
        self.reactor.run()  # what waits for the start begins

    def ask(self, raw: bytes) -> MemoryTransport:
        client = _joined(self.site.buildProtocol(None))
        client.take_data(raw)
        return client

    def upstream(self) -> MemoryTransport:
        """Take the newest call that the gateway has made."""
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        return _joined(factory.buildProtocol(IPv4Address("TCP", host, port)))


def _joined(protocol: IProtocol | None) -> MemoryTransport:
    assert protocol is not None
    transport = MemoryTransport(protocol, 50_000)
    protocol.makeConnection(transport)
    return transport


@pytest.fixture
def embedded(tmp_path: Path) -> _Embedded:
    return _Embedded(tmp_path)


def _told(client: MemoryTransport) -> Any:
    (found,) = answers(client.delivered, client.closed)
    return found


def test_the_application_keeps_its_own_pages(embedded: _Embedded) -> None:
    """The gateway takes what the application gives it, and nothing else."""
    assert _told(embedded.ask(request("GET", "/hello"))).body == b"hello\n"
    assert not embedded.reactor.tcpClients


def test_a_server_is_reached_through_the_application(embedded: _Embedded) -> None:
    """Under its path, with what the configuration sets, from the environment of the process."""
    client = embedded.ask(request("POST", "/mcp/x/mcp?a=%2f", b'{"id":1}'))
    upstream = embedded.upstream()
    (seen,) = requests(upstream.delivered)
    assert (seen.method, seen.target, seen.body) == (b"POST", b"/mcp?a=%2f", b'{"id":1}')
    assert seen["x-path"] == os.environ["PATH"].encode()
    upstream.take_data(answer(b'{"result":1}'))
    assert _told(client).json == {"result": 1}


def test_a_stream_comes_through_event_by_event(embedded: _Embedded) -> None:
    """Nothing waits for the end in a foreign site either."""
    client = embedded.ask(request("POST", "/mcp/x/mcp", b"{}"))
    upstream = embedded.upstream()
    upstream.take_data(STREAM_HEAD)
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        upstream.take_data(chunked(event))
        told = _told(client)
        assert told.body.endswith(event)
        assert not told.complete
    upstream.take_data(LAST_CHUNK)
    assert _told(client).complete


def test_what_is_nobodys_path_is_refused_in_the_form_of_the_gateway(embedded: _Embedded) -> None:
    """A client that speaks MCP understands it."""
    told = _told(embedded.ask(request("POST", "/nobody", b'{"id":7}')))
    assert (told.status, told["mcpgate-error"], told["content-type"]) == (404, b"no_route", b"application/json")
    assert told.json["id"] == 7
    assert len(told.json["error"]["data"]["requestId"]) == 19


def test_ids_of_refusals_differ(embedded: _Embedded) -> None:
    """Each can be found."""
    asked = [_told(embedded.ask(request("GET", "/nobody"))).json["error"]["data"]["requestId"] for _ in range(5)]
    assert len(set(asked)) == 5


def test_names_are_looked_up_in_threads_of_its_own(embedded: _Embedded) -> None:
    """The application's thread pool is left alone, and its reactor never waits for a name server."""
    client = embedded.ask(request("GET", "/mcp/named/a"))
    assert not embedded.reactor.tcpClients
    embedded.reactor.from_threads.get(timeout=10)()
    host, port, *_ = embedded.reactor.tcpClients[-1]
    assert (host in ("127.0.0.1", "::1"), port) == (True, 3011)
    assert client.delivered == b""


def test_nothing_is_opened_by_itself(embedded: _Embedded) -> None:
    """Neither the listeners of the configuration nor a connection: the application decides."""
    reactor = embedded.reactor
    assert (reactor.tcpServers, reactor.sslServers, reactor.unixServers, reactor.tcpClients) == ([], [], [], [])


def test_a_bad_configuration_tells_every_fault(tmp_path: Path) -> None:
    """As at the start of the gateway itself, and before anything is built."""
    with pytest.raises(ConfigFaults) as caught:
        _Embedded(tmp_path, "servers: [{name: X!, upstreams: []}]\nno_such_key: 1\n")
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) >= 3
    assert all(text.startswith(f"{tmp_path / 'gate.yaml'}:") for text in told)


def test_discovery_is_there_too(embedded: _Embedded) -> None:
    """An address of the gateway itself, which the application passes on like all others."""
    told = json.loads(_told(embedded.ask(request("GET", "/mcp/discovery"))).body)
    assert [server["name"] for server in told["mcpServers"]] == ["named", "x"]


def test_names_that_are_being_registered_hold_up_no_others() -> None:
    """Each kind of name has threads of its own, and only so many may wait whose names somebody else has said."""
    lent = lend(_Reactor(), Settings, ".")  # its threads never start, as if all name servers were silent
    assert lent.newcomers is not None
    for resolver, bounded in ((lent.newcomers, True), (lent.strangers, True), (lent.resolver, False)):
        asked = [resolver.resolve(f"h{number}.example") for number in range(105)]
        waiting = [each for each in asked if not each.called]
        assert len(waiting) == (104 if bounded else 105)
        asked[-1].addErrback(lambda refused: refused.trap(TooManyLookups) and None)


def test_ids_of_requests_are_counted() -> None:
    """They sort as they came, have six digits or more, and another process has others."""
    new_id, other = fresh_ids(), fresh_ids()
    begin = new_id().removesuffix(b"-000001")
    ids = [new_id() for _ in range(70_000)]
    assert ids == [b"%b-%06x" % (begin, number) for number in range(2, 70_002)]
    assert not other().startswith(begin)
