"""Server cards, and the catalog that lists them."""

from __future__ import annotations

from hypothesis import given
from tests.catalog.arranging import SECRET, Shown, arrange, everybody, read, servers, shown
from tests.catalog.shapes import AI_CATALOG, CARD, faults
from tests.strategies import PURE

from mcpgate.catalog.cards import card_at, card_paths, catalog


def test_a_card_says_who_a_server_is_and_where() -> None:
    """And which versions of the protocol it speaks; not how it is at the moment."""
    entry = shown(
        "pm-2",
        path="/mcp/v2/pm",
        card=True,
        title="Projects",
        docs_url="https://docs.example/pm",
        protocol_versions=["2026-07-28"],
    )
    assert read(card_at(arrange(entry), "/mcp/v2/pm/mcp/server-card", everybody)) == {
        "$schema": "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json",
        "name": "com.example.mcp/pm",
        "version": "2.0.0",
        "description": "Projects",
        "title": "Projects",
        "websiteUrl": "https://docs.example/pm",
        "remotes": [
            {
                "type": "streamable-http",
                "url": "https://mcp.example.com/mcp/v2/pm/mcp",
                "supportedProtocolVersions": ["2026-07-28"],
            }
        ],
    }


def test_a_card_is_behind_each_endpoint_of_a_server_that_wants_it() -> None:
    """One slash between them; nobody else's, and only for who may see the server."""
    both = shown("x", card=True, endpoints={"sse": "/sse", "streamable-http": "/"})
    assert card_paths(both.settings) == ["/mcp/x/server-card", "/mcp/x/sse/server-card"]
    arrangement = arrange(both, shown("y"))
    assert read(card_at(arrangement, "/mcp/x/sse/server-card", everybody))["name"] == "com.example.mcp/x"
    for path in ("/mcp/x/mcp/server-card", "/mcp/y/mcp/server-card", "/server-card"):
        assert card_at(arrangement, path, everybody) is None
    assert card_at(arrangement, "/mcp/x/server-card", lambda entry: False) is None


def test_the_catalog_names_the_address_of_a_card_or_holds_it() -> None:
    """The address only if the gateway serves it: else it is the server's own, and may not be there."""
    told = read(catalog(arrange(shown("a", card=True), shown("b", title="B")), everybody))
    assert told["specVersion"] == "1.0"
    first, second = told["entries"]
    assert first == {
        "identifier": "urn:air:mcp.example.com:mcp:a",
        "displayName": "a",
        "version": "0.0.0",
        "type": "application/mcp-server-card+json",
        "url": "https://mcp.example.com/mcp/a/mcp/server-card",
    }
    assert (second["displayName"], second["data"]["name"]) == ("B", "com.example.mcp/b")
    assert read(catalog(arrange(shown("a")), lambda entry: False)) == {"specVersion": "1.0", "entries": []}


@PURE
@given(servers())
def test_cards_and_catalog_have_the_published_shape(found: list[Shown]) -> None:
    """Whatever stands in the configuration; versions of one server are told apart; nothing internal comes out."""
    arrangement = arrange(*found)
    pieces = b"".join(catalog(arrangement, everybody))
    told = read(pieces)
    assert faults(told, AI_CATALOG) == []
    assert len({(entry["identifier"], entry["version"]) for entry in told["entries"]}) == len(found)
    assert not SECRET.search(pieces.decode())
    for entry in found:
        for path in card_paths(entry.settings):
            assert faults(read(card_at(arrangement, path, everybody)), CARD) == []
