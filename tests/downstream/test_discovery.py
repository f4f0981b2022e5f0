"""The addresses of discovery: who is told what, in which form, and what caches may make of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.catalog.shapes import AI_CATALOG, CARD, FAULT, RESPONSE, SERVER_LIST, faults
from tests.ends import Message, answer_at, behind
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from mcpgate.config import parse
from mcpgate.downstream.discovery import Entry, Told, data_tree
from mcpgate.downstream.site import site_of
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.authn import Grant
from mcpgate.settings.registry import DiscoverySettings
from mcpgate.testing import GatewayUnderTest, request

CONFIG = """\
servers:
  - {name: x, title: X, card: true, upstreams: [{url: "http://127.0.0.1:3010"}]}
  - {name: pm-1, path: /mcp/v1/pm, upstreams: [{url: "http://127.0.0.1:3011"}]}
  - {name: pm-2, path: /mcp/v2/pm, upstreams: [{url: "http://127.0.0.1:3012"}]}
"""
OPEN = [Entry(settings, "up", Terms(), 1_700_000_000.0) for settings in parse(CONFIG, "gate.yaml", {}).servers]
CLOSED = [replace(entry, terms=Terms(Auth.REQUIRED)) for entry in OPEN]
ADDRESSES = ["/mcp/discovery", "/v0.1/servers", "/.well-known/ai-catalog.json", "/mcp/x/mcp/server-card"]


@dataclass
class Place:
    """A tree behind a listener, and what it tells."""

    entries: list[Entry] = field(default_factory=lambda: list(OPEN))
    index: int = 7
    public_url: str | None = "https://mcp.example.com"
    settings: DiscoverySettings = field(default_factory=DiscoverySettings)
    grant: Grant | None = None
    asked: int = 0

    def __post_init__(self) -> None:
        self.gate = GatewayUnderTest()
        self.clock = Clock()
        self.told = Told(
            gateway="0123456789abcdef",
            catalog=self._catalog,
            index=lambda: self.index,
            public_url=lambda: self.public_url,
            settings=lambda: self.settings,
            document=lambda exchange: succeed(None),
            call_later=self.clock.callLater,
            now=lambda: 0.0,
        )
        self._site = site_of(data_tree(self.told), self.gate.reactor)
        behind(self.gate, self, b"/mcp", b"/v0.1", b"/.well-known", on_failure=pytest.fail)

    def _catalog(self) -> list[Entry]:
        self.asked += 1
        return self.entries

    def answer(self, exchange: Any, port: Any, outcome: Any) -> None:
        """In place of the pipeline's authentication: whoever asks has this grant."""
        exchange.grant = self.grant
        self._site.answer(exchange, port, outcome)

    def ask(self, target: str, method: str = "GET", **fields: str) -> Message:
        client = self.gate.connect()
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        client.send(request(method, target, headers=headers))
        return answer_at(client, method)


def _names(told: Message) -> list[str]:
    return [server["name"] for server in told.json["mcpServers"]]


def test_discovery_is_made_of_what_it_is_told() -> None:
    """In the order of names, with the number of the last change."""
    told = Place().ask("/mcp/discovery")
    assert (told.status, told["content-type"], told["x-mcpgate-index"]) == (200, b"application/json", b"7")
    assert _names(told) == ["pm-1", "pm-2", "x"]
    assert told.json["mcpServers"][2]["url"] == "https://mcp.example.com/mcp/x/mcp"
    assert told.complete
    assert int(told["content-length"]) == len(told.body)


def test_discovery_has_pages_for_who_wants_them() -> None:
    """The last one has no cursor; what cannot be a page is 400."""
    place = Place()
    first = place.ask("/mcp/discovery?limit=2").json
    rest = place.ask(f"/mcp/discovery?limit=2&cursor={first['nextCursor']}").json
    assert [server["name"] for server in first["mcpServers"] + rest["mcpServers"]] == ["pm-1", "pm-2", "x"]
    assert "nextCursor" not in rest
    for query in ("limit=0", "limit=many", "cursor=no", "a=%ff"):
        refused = place.ask(f"/mcp/discovery?{query}")
        assert (refused.status, refused.json["error"]["data"]["reason"]) == (400, "bad_request")


@pytest.mark.parametrize("address", ADDRESSES)
def test_who_has_a_document_already_is_told_so(address: str) -> None:
    """304 with the same tag and no body, until something changes."""
    place = Place()
    told = place.ask(address)
    again = place.ask(address, If_None_Match=told["etag"].decode())
    assert (again.status, again.body, again.complete) == (304, b"", True)
    assert (again["etag"], again["cache-control"]) == (told["etag"], told["cache-control"])
    place.entries, place.index = [replace(OPEN[0], settings=OPEN[0].settings.model_copy(update={"title": "Y"}))], 8
    changed = place.ask(address, If_None_Match=told["etag"].decode())
    assert changed.status == 200
    assert changed["etag"] != told["etag"]


@pytest.mark.parametrize(
    ("address", "open_to_all"), list(zip(ADDRESSES, [b"no-cache"] * 2 + [b"public, max-age=60"] * 2, strict=True))
)
def test_caches_learn_for_whom_a_document_is(address: str, open_to_all: bytes) -> None:
    """What tells how servers are is asked for again; what depends on a token is nobody else's."""
    told = Place().ask(address)
    assert (told["cache-control"], told["vary"]) == (open_to_all, b"")
    told = Place(entries=CLOSED, grant=Grant("a", frozenset(), frozenset({"*"}))).ask(address)
    assert (told.status, told["cache-control"], told["vary"]) == (200, b"private, no-cache", b"Authorization")


def test_everybody_is_shown_what_they_may_use() -> None:
    """By the servers that their token admits, in every form; two with the same rights see the same."""
    place = Place(entries=[OPEN[0], *CLOSED[1:]])
    assert _names(place.ask("/mcp/discovery")) == ["x"]
    place.grant = Grant("a", frozenset(), frozenset({"pm-1"}))
    assert _names(place.ask("/mcp/discovery")) == ["pm-1", "x"]
    assert len(place.ask("/.well-known/ai-catalog.json").json["entries"]) == 2
    assert place.ask("/v0.1/servers/com.example.mcp%2Fpm/versions").json["metadata"]["count"] == 1
    place.grant = Grant("b", frozenset(), frozenset({"pm-2"}))
    assert _names(place.ask("/mcp/discovery")) == ["pm-2", "x"]
    place.grant = Grant("c", frozenset(), frozenset({"pm-1"}))
    assert _names(place.ask("/mcp/discovery")) == ["pm-1", "x"]
    place.grant = None
    assert place.ask("/v0.1/servers/com.example.mcp%2Fpm/versions").status == 404
    assert _names(place.ask("/mcp/discovery")) == ["x"]


def test_the_catalog_is_asked_once_for_each_change() -> None:
    """Whoever asks, and for whatever."""
    place = Place()
    for address in ADDRESSES * 2:
        assert place.ask(address).status == 200
    assert place.asked == 1
    place.index = 8
    place.ask("/mcp/discovery")
    assert place.asked == 2


def test_urls_are_those_by_which_a_client_came() -> None:
    """Without a configured one; who came by another name gets another document."""
    place = Place(public_url=None)
    for host in ("localhost", "localhost:8700"):
        told = place.ask("/mcp/discovery", Host=host)
        assert told.json["mcpServers"][2]["url"] == f"http://{host}/mcp/x/mcp"
    assert place.ask("/v0.1/servers").json["servers"][0]["server"]["name"] == "localhost/pm"
    place.settings = DiscoverySettings(publisher="org.acme")
    assert place.ask("/v0.1/servers").json["servers"][0]["server"]["name"] == "org.acme/pm"


@pytest.mark.parametrize(("address", "status"), list(zip(ADDRESSES, [200, 400, 400, 400], strict=True)))
def test_without_a_host_there_are_no_whole_urls(address: str, status: int) -> None:
    """A client of HTTP/1.0 gets the list with paths, and no registry."""
    place = Place(public_url=None)
    client = place.gate.connect()
    client.send(f"GET {address} HTTP/1.0\r\n\r\n".encode())
    told = answer_at(client)
    assert told.status == status
    if status == 200:
        assert told.json["mcpServers"][2]["url"] == "/mcp/x/mcp"


# --- the registry ---------------------------------------------------------------------------------------------------


def test_the_requests_of_vs_code_are_answered_in_the_published_shape() -> None:
    """In its order: is there a registry, what is in it, what was that one again."""
    place = Place()
    first = place.ask("/v0.1/servers?limit=1")
    assert (first.status, first["content-type"], faults(first.json, SERVER_LIST)) == (200, b"application/json", [])
    listed = place.ask("/v0.1/servers?limit=50&version=latest").json
    assert faults(listed, SERVER_LIST) == []
    assert [server["server"]["name"] for server in listed["servers"]] == ["com.example.mcp/pm", "com.example.mcp/x"]
    one = place.ask("/v0.1/servers/com.example.mcp%2Fpm/versions/latest").json
    assert (faults(one, RESPONSE), one) == ([], listed["servers"][0])


@pytest.mark.parametrize("name", ["com.example.mcp%2Fpm", "com.example.mcp%2fpm", "com.example.mcp/pm"])
def test_the_slash_of_a_name_may_be_encoded(name: str) -> None:
    """As the OpenAPI wants it, or as people write it."""
    place = Place()
    assert place.ask(f"/v0.1/servers/{name}/versions").json["metadata"] == {"count": 2}
    assert place.ask(f"/v0.1/servers/{name}/versions/1%2E0.0").json["server"]["version"] == "1.0.0"


@pytest.mark.parametrize(
    "path",
    [
        "/v0.1",
        "/v0.1/",
        "/v0.1/servers/",
        "/v0.1/publish",
        "/v0.1/servers/com.example.mcp%2Fpm",
        "/v0.1/servers/versions",
        "/v0.1/servers/com.example.mcp%2Fpm/versions/9.9.9",
        "/v0.1/servers/com.example.mcp%2Fnobody/versions",
        "/v0.1/servers/org.other%2Fpm/versions",
        "/v0.1/servers/com.example.mcp%252Fpm/versions",
        "/v0.1/servers/com.example.mcp%2Fpm/versions/latest/x",
    ],
)
def test_what_the_registry_does_not_have_is_404_in_its_form(path: str) -> None:
    """One member, ``error``."""
    told = Place().ask(path)
    assert told.status == 404
    if path != "/v0.1/":
        assert faults(told.json, FAULT) == []


def test_faults_of_a_query_are_400_in_the_form_of_the_registry() -> None:
    """And other methods 405: servers register elsewhere."""
    place = Place()
    for query in ("limit=101", "cursor=x", "updated_since=now", "a=%ff"):
        told = place.ask(f"/v0.1/servers?{query}")
        assert (told.status, faults(told.json, FAULT)) == (400, [])
    for method in ("POST", "DELETE", "OPTIONS"):
        told = place.ask("/v0.1/servers", method)
        assert (told.status, told["allow"], faults(told.json, FAULT)) == (405, b"GET, HEAD", [])


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_form_answers_head(address: str) -> None:
    """With the length that a GET would have."""
    place = Place()
    told = place.ask(address, "HEAD")
    assert (told.status, told.body, told.complete) == (200, b"", True)
    assert int(told["content-length"]) == len(place.ask(address).body)


# --- cards ----------------------------------------------------------------------------------------------------------


def test_cards_and_their_catalog_are_served() -> None:
    """Under their media types; what the catalog names is there."""
    place = Place()
    catalog = place.ask("/.well-known/ai-catalog.json")
    assert (catalog["content-type"], faults(catalog.json, AI_CATALOG)) == (b"application/ai-catalog+json", [])
    where = catalog.json["entries"][2]["url"].removeprefix("https://mcp.example.com")
    card = place.ask(where)
    assert (card["content-type"], faults(card.json, CARD)) == (b"application/mcp-server-card+json", [])
    assert place.ask("/mcp/v1/pm/mcp/server-card").status == 404
    assert place.ask("/mcp/x/mcp/server%2Dcard").status == 404
