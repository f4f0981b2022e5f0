"""Documents of protected resources: which one a path means, and where a server of its own OAuth is asked for it."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from mcpgate.exchange import Exchange, Peer
from mcpgate.resources import Resources
from mcpgate.testing import GatewayUnderTest, request
from mcpgate.upstream.fetch import Fetched, FetchFailed
from mcpgate.wire.http1 import HeadLimits, parse_request

WELL_KNOWN = "/.well-known/oauth-protected-resource"
ITS = b'{"resource":"http://127.0.0.1:1001/mcp","authorization_servers":["https://its.example"]}'
CONFIG = """\
auth:
  tokens: [{id: alice, sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b}]
servers:
  - {name: own, auth: upstream, upstreams: [{url: "http://127.0.0.1:1001"}]}
  - {name: based, auth: upstream, upstreams: [{url: "https://h.example/a/b"}]}
  - {name: whole, auth: upstream, strip_prefix: false, upstreams: [{url: "http://127.0.0.1:1001"}]}
  - {name: two, auth: upstream, upstreams: [{url: "http://127.0.0.1:1001"}, {url: "http://127.0.0.1:1002"}]}
  - {name: known, upstreams: [{url: "http://127.0.0.1:1003"}]}
  - {name: open, auth: none, upstreams: [{url: "http://127.0.0.1:1004"}]}
"""


class Library:
    """A fetcher that has some documents, by the ends of their addresses, and notes what it was asked for."""

    def __init__(self, documents: dict[str, bytes] | None = None) -> None:
        self.asked: list[str] = []
        self._documents = documents or {}
        self.fails = False
        self.tls: object = None

    def fetch(self, url: str, *, tls: object, resolver: object = None) -> Deferred[Fetched]:
        self.asked.append(url)
        self.tls = tls
        if self.fails:
            return fail(FetchFailed("away"))
        found = next((text for name, text in self._documents.items() if url.endswith(name)), None)
        return succeed(Fetched(404, b"") if found is None else Fetched(200, found))


def _found(library: Library, target: str) -> Any:
    snapshot = GatewayUnderTest(CONFIG).gateway.pipeline.snapshot
    head = parse_request(request("GET", target), HeadLimits(10_000, 100))
    exchange = Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0)
    told: list[bytes | None] = []
    Resources(cast(Any, library), lambda: 0.0).document(exchange, snapshot).addCallback(told.append)
    (document,) = told
    return None if document is None else json.loads(document)


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (f"{WELL_KNOWN}/mcp/own/mcp", ["http://127.0.0.1:1001{}/mcp", "http://127.0.0.1:1001{}/mcp/own/mcp", "http://127.0.0.1:1001{}"]),
        (f"{WELL_KNOWN}/mcp/own", ["http://127.0.0.1:1001{}", "http://127.0.0.1:1001{}/mcp/own"]),
        (f"{WELL_KNOWN}/mcp/whole/mcp", ["http://127.0.0.1:1001{}/mcp/whole/mcp", "http://127.0.0.1:1001{}"]),
        (
            f"{WELL_KNOWN}/mcp/based/mcp",
            [
                "https://h.example{}/a/b/mcp",
                "https://h.example/a/b{}/mcp",
                "https://h.example{}/mcp/based/mcp",
                "https://h.example{}",
            ],
        ),
    ],
)
def test_each_place_is_asked_once_and_the_best_first(target: str, asked: list[str]) -> None:
    """Four at most; under the address of the replica, and nowhere else."""
    library = Library()
    assert _found(library, target) is None
    assert library.asked == [each.format(WELL_KNOWN) for each in asked]


def test_the_first_document_that_is_found_counts() -> None:
    """Nobody is asked for another one then."""
    library = Library({"/mcp/own/mcp": ITS})
    told = _found(library, f"{WELL_KNOWN}/mcp/own/mcp")
    assert told == {"resource": "http://localhost/mcp/own/mcp", "authorization_servers": ["https://its.example"]}
    assert len(library.asked) == 2


@pytest.mark.parametrize("said", [b"", b"[]", b'{"resource": 1}', b"{", ITS + b" " * 70_000])
def test_what_is_no_document_is_passed_over(said: bytes) -> None:
    """Servers answer any path with something; the next place may have the document, or nobody has it."""
    assert _found(Library({"/mcp": said}), f"{WELL_KNOWN}/mcp/own/mcp") is None
    elsewhere = Library({"/mcp": said, WELL_KNOWN: ITS})
    assert _found(elsewhere, f"{WELL_KNOWN}/mcp/own/mcp") == {
        "resource": "http://localhost/mcp/own/mcp",
        "authorization_servers": ["https://its.example"],
    }


def test_a_server_is_verified_as_for_every_request() -> None:
    """Its own authorities count, and its certificate of ours is shown."""
    library, plain = Library(), Library()
    _found(library, f"{WELL_KNOWN}/mcp/based/mcp")
    _found(plain, f"{WELL_KNOWN}/mcp/own/mcp")
    assert library.tls is not None
    assert plain.tls is None


def test_a_server_that_cannot_be_asked_has_no_document() -> None:
    """It never fails, and it is not asked again and again."""
    library = Library()
    library.fails = True
    assert _found(library, f"{WELL_KNOWN}/mcp/own/mcp") is None
    assert len(library.asked) == 1


def test_a_server_of_several_replicas_is_asked_in_turn() -> None:
    """All of one document at the same replica: they may differ."""
    library = Library()
    _found(library, f"{WELL_KNOWN}/mcp/two/mcp")
    assert len({url.partition(WELL_KNOWN)[0] for url in library.asked}) == 1


@pytest.mark.parametrize("target", [WELL_KNOWN, f"{WELL_KNOWN}/", f"{WELL_KNOWN}/mcp/known", f"/mcp/known{WELL_KNOWN}", f"{WELL_KNOWN}/mcp/open", f"{WELL_KNOWN}/mcp/none", f"{WELL_KNOWN}/mcp/discovery"])
def test_there_is_no_document_without_an_issuer(target: str) -> None:
    """Tokens of the gateway come from no authorization server; and no server is asked for it."""
    library = Library({"/mcp": ITS, WELL_KNOWN: ITS})
    assert _found(library, target) is None
    assert library.asked == []


class Slow:
    """A fetcher that answers when a test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Fetched]] = []

    def fetch(self, url: str, *, tls: object, resolver: object = None) -> Deferred[Fetched]:
        asked: Deferred[Fetched] = Deferred()
        self.asked.append(asked)
        return asked


def test_however_many_ask_a_server_is_asked_once() -> None:
    """Nobody needs a token for that, so it must cost the server nothing; after a while it is asked again."""
    snapshot = GatewayUnderTest(CONFIG).gateway.pipeline.snapshot
    head = parse_request(request("GET", f"{WELL_KNOWN}/mcp/own/mcp"), HeadLimits(10_000, 100))
    fetcher, told, clock = Slow(), list[bytes | None](), [0.0]
    resources = Resources(cast(Any, fetcher), lambda: clock[0])
    for _ in range(3):
        exchange = Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0)
        resources.document(exchange, snapshot).addCallback(told.append)
    assert (len(fetcher.asked), told) == (1, [])
    fetcher.asked[0].callback(Fetched(200, ITS))
    assert len(told) == 3
    assert len(set(told)) == 1
    clock[0] = 9.0
    resources.document(exchange, snapshot).addCallback(told.append)
    assert (len(fetcher.asked), len(told)) == (1, 4)
    clock[0] = 11.0
    resources.document(exchange, snapshot)
    assert len(fetcher.asked) == 2


def test_what_is_kept_has_a_bound() -> None:
    """Anybody may ask for any path below a server's."""
    snapshot = GatewayUnderTest(CONFIG).gateway.pipeline.snapshot
    library = Library({"resource": ITS})
    resources = Resources(cast(Any, library), lambda: 0.0)
    for number in [*range(300), 299, 0]:
        head = parse_request(request("GET", f"{WELL_KNOWN}/mcp/own/{number}"), HeadLimits(10_000, 100))
        resources.document(Exchange(head, Peer(b"127.0.0.1", b"http", False), 0.0), snapshot)
    first = sum(url.endswith("/0") for url in library.asked)
    last = sum(url.endswith("/299") for url in library.asked)
    assert first == 2 * last
