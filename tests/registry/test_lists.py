"""Lists that others keep: three forms, whatever is wrong in one entry, and nothing that can make them fail."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.registry.lists import (
    MAX_FAULTS,
    MAX_LISTED,
    Key,
    Listing,
    cursor_of,
    page_url,
    pages_of,
    read_in_steps,
)
from mcpgate.registry.registration import Registration, gateways_of

REGISTRY = "http://registry.example:3100/mcps?all=1"
GATEWAY = "http://gate.example:8700/mcp/discovery"
CATALOGUE = "https://registry.example/v0.1/servers"


def read_list(body: bytes, url: str) -> Listing:
    """One list, read to its end."""
    reading = read_in_steps(pages_of(body), url)
    while True:
        try:
            next(reading)
        except StopIteration as done:
            return cast(Listing, done.value)


def _read(found: object, base: str = REGISTRY) -> Listing:
    return read_list(json.dumps(found).encode(), base)


def _only(listing: Listing) -> tuple[Key, Registration]:
    assert listing.faults == []
    (found,) = listing.registrations.items()
    return found


# --- a registry of the simple form --------------------------------------------------------------------------------


def _simple(**said: object) -> dict[str, object]:
    entry = {
        "id": "1732300000000",
        "name": "GitHub Project Manager",
        "version": "1.0.0",
        "basePath": "/mcp/github-pm/",
        "endpoint": "localhost:3010",
        "registeredAt": "2026-11-22T10:00:00.000Z",
    }
    return entry | said


def test_a_simple_registry_lists_replicas() -> None:
    """As whoever registered there has said it; the address stands in ``endpoint``."""
    key, said = _only(_read([_simple()]))
    assert key == ("github-project-manager", "localhost-3010")
    assert (said.url, said.path, said.version) == ("http://localhost:3010", "/mcp/github-pm", "1.0.0")
    assert (said.title, said.endpoints) == ("GitHub Project Manager", {"streamable-http": "/mcp", "sse": "/sse"})
    assert said.ttl == 0.0


def test_the_address_may_stand_in_host_and_port() -> None:
    """Which is how it was registered."""
    _, said = _only(_read([_simple(host="10.0.0.5", port="3011")]))
    assert said.url == "http://10.0.0.5:3011"


def test_this_gateways_own_list_tells_tls_and_a_base_path() -> None:
    """For which the simple form has no word."""
    key, said = _only(_read([_simple(url="https://github.example/base", endpoint="github.example:443")]))
    assert (key[1], said.url) == ("github.example-443", "https://github.example/base")


def test_replicas_of_one_server_are_replicas() -> None:
    """And who registered twice, as after a restart, is one; the last word counts."""
    listing = _read([_simple(), _simple(endpoint="localhost:3011"), _simple(version="1.1.0")])
    assert {key[1]: said.version for key, said in listing.registrations.items()} == {
        "localhost-3010": "1.1.0",
        "localhost-3011": "1.0.0",
    }


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (7, "entry 0: a number, expected an object"),
        (None, "entry 0: nothing, expected an object"),
        (_simple(name="x; rm -rf /"), "entry 0: name: not a name"),
        (_simple(name="weather", endpoint="http://localhost:3010"), "entry 0 (weather): not a host"),
        (_simple(name="weather", endpoint="localhost"), "entry 0 (weather): port: "),
        (_simple(name="weather", endpoint=None), "entry 0 (weather): host: missing"),
        (_simple(name="weather", endpoint=["localhost", 3010]), "entry 0 (weather): endpoint: a list, expected text"),
        (_simple(name="weather", basePath="/mcp/../x"), "entry 0 (weather): basePath: "),
        (_simple(name="weather", basePath="/mcp/discovery"), "entry 0 (weather): basePath: "),
        (_simple(name="weather", endpoint="127.1:80"), "entry 0 (weather): not an IPv4 address"),
        (_simple(name="weather", url="gopher://x/"), "entry 0 (weather): a URL with another scheme"),
        (_simple(name="weather", url="http://x/" + "y" * 2000), "entry 0 (weather): a URL that is too long"),
        (_simple(name="weather", version={"a": 1}), "entry 0 (weather): version: "),
    ],
)
def test_a_bad_entry_is_told_and_the_others_count(entry: object, fault: str) -> None:
    """With its place, without its values."""
    listing = _read([entry, _simple()])
    assert list(listing.registrations) == [("github-project-manager", "localhost-3010")]
    assert [told[: len(fault)] for told in listing.faults] == [fault]


def test_variables_of_the_environment_stay_text() -> None:
    """Nobody else than the operator may use them."""
    listing = _read([_simple(version="${HOME}"), _simple(endpoint="${HOME}:80")])
    assert [said.version for said in listing.registrations.values()] == ["${HOME}"]
    assert len(listing.faults) == 1


# --- another gateway ----------------------------------------------------------------------------------------------


def _discovery(*entries: object) -> dict[str, object]:
    return {"mcpServers": list(entries)}


def test_a_path_is_a_path_of_the_gateway_that_lists_it() -> None:
    """There is no more than a name and a path in the smallest form."""
    key, said = _only(_read(_discovery({"name": "GitHub PM", "path": "/mcp/github-pm"}), GATEWAY))
    assert key == ("github-pm", "gate.example-8700")
    assert (said.url, said.path) == ("http://gate.example:8700/mcp/github-pm", "/mcp/github-pm")
    assert (said.title, said.endpoints) == ("GitHub PM", {"streamable-http": "/mcp", "sse": "/sse"})


def test_what_another_gateway_tells_is_taken_over() -> None:
    """Its public URLs name the place; the path here is the path there, the endpoints are what is behind it."""
    entry = {
        "name": "weather",
        "path": "/mcp/weather",
        "title": "Weather",
        "version": "2.0.0",
        "description": "Rain\nand sun",
        "docs_url": "https://docs.example/",
        "tags": ["sky"],
        "url": "https://mcp.example.com/mcp/weather/mcp",
        "transports": [
            {"type": "streamable-http", "url": "https://mcp.example.com/mcp/weather/mcp"},
            {"type": "sse", "url": "https://mcp.example.com/mcp/weather/sse/"},
            {"type": "pigeon", "url": "https://mcp.example.com/mcp/weather/roof"},
        ],
        "status": "down",
    }
    key, said = _only(_read(_discovery(entry), GATEWAY))
    assert key == ("weather", "mcp.example.com-443")
    assert (said.url, said.path) == ("https://mcp.example.com/mcp/weather", "/mcp/weather")
    assert said.endpoints == {"streamable-http": "/mcp", "sse": "/sse/"}
    assert (said.title, said.version, said.description) == ("Weather", "2.0.0", "Rain and sun")
    assert (said.docs_url, said.tags) == ("https://docs.example/", ("sky",))


@pytest.mark.parametrize(
    ("entry", "url", "endpoints"),
    [
        ({"url": "/mcp/weather/mcp"}, "http://gate.example:8700/mcp/weather", {"streamable-http": "/mcp"}),
        ({"url": "http://far.example/deep/mcp"}, "http://far.example", {"streamable-http": "/deep/mcp"}),
        ({"url": "http://far.example/"}, "http://far.example", {"streamable-http": "/"}),
        ({"url": "http://far.example/mcp/weatherman"}, "http://far.example", {"streamable-http": "/mcp/weatherman"}),
        (
            {
                "transports": [
                    {"type": "sse", "url": "http://a.example/sse"},
                    {"type": "sse", "url": "http://b.example/"},
                ]
            },
            "http://a.example",
            {"sse": "/sse"},
        ),
        (
            {
                "transports": [
                    {"type": "sse", "url": "http://b.example/mcp/weather/sse"},
                    {"type": "streamable-http", "url": "http://a.example/mcp/weather/mcp"},
                ]
            },
            "http://a.example/mcp/weather",
            {"streamable-http": "/mcp"},
        ),
    ],
)
def test_where_a_listed_server_is(entry: dict[str, object], url: str, endpoints: dict[str, str]) -> None:
    """One replica is in one place: that of the first transport that is known, Streamable HTTP before SSE."""
    _, said = _only(_read(_discovery({"name": "weather", **entry}), GATEWAY))
    assert (said.url, said.endpoints, said.path) == (url, endpoints, None)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "weather"},
        {"path": "/mcp/weather"},
        {"name": "weather", "path": ".evil.example/mcp"},
        {"name": "weather", "path": "@evil.example/mcp"},
        {"name": "weather", "path": "//evil.example/mcp"},
        {"name": "weather", "path": "/mcp/a%2fb"},
        {"name": "weather", "url": "http://user@far.example/mcp"},
        {"name": "weather", "url": "http://far.example/mcp?x=1"},
        {"name": "weather", "url": "http://far.example/{tenant}/mcp"},
        {"name": "weather", "transports": {"type": "sse"}},
        {"name": "weather", "transports": ["sse"]},
        {"name": "weather", "transports": [{"type": "sse", "url": 7}]},
        {"name": "weather", "transports": [{"type": "sse"}]},
        {"name": "weather", "path": 7},
        {"name": ["weather"], "path": "/mcp/weather"},
        {"name": "discovery", "path": "/mcp/x"},
        {"name": "weather", "path": "/mcp/weather", "title": "a\u0000b"},
        {"name": "weather", "path": "/mcp/weather", "tags": ["x"] * 21},
    ],
)
def test_an_entry_that_leads_nowhere_is_left_out(entry: dict[str, object]) -> None:
    """Or elsewhere than it seems."""
    listing = _read(_discovery(entry, {"name": "good", "path": "/mcp/good"}), GATEWAY)
    assert [key[0] for key in listing.registrations] == ["good"]
    assert len(listing.faults) == 1


def test_two_servers_of_one_name_are_not_replicas_of_one() -> None:
    """Calls to the one must not end at the other."""
    entries = [{"name": "weather", "url": f"https://{host}.example/mcp"} for host in ("a", "b")]
    listing = _read(_discovery(*entries), GATEWAY)
    assert [said.url for said in listing.registrations.values()] == ["https://a.example"]
    assert listing.faults == ["entry 1 (weather): a second server with the name weather, expected each once"]


# --- an MCP Registry ----------------------------------------------------------------------------------------------


def _published(name: str = "com.example/weather", version: str = "1.0.0", **about: Any) -> dict[str, Any]:
    status: dict[str, Any] = about.pop("official", {})
    remotes = [{"type": "streamable-http", "url": f"https://api.example.com/{version}/mcp"}]
    server = {"name": name, "description": "Rain", "version": version, "remotes": remotes} | about
    return {"server": server, "_meta": {"io.modelcontextprotocol.registry/official": status}}


def _catalogue(*items: object, **metadata: object) -> dict[str, object]:
    return {"servers": list(items), "metadata": metadata}


def test_a_published_server_is_reached_at_its_remote() -> None:
    """Under the last part of its name."""
    item = _published(title="Weather", websiteUrl="https://weather.example/")
    key, said = _only(_read(_catalogue(item), CATALOGUE))
    assert key == ("weather", "api.example.com-443")
    assert (said.url, said.path_of("weather")) == ("https://api.example.com", "/mcp/weather")
    assert said.endpoints == {"streamable-http": "/1.0.0/mcp"}
    assert (said.title, said.version, said.description) == ("Weather", "1.0.0", "Rain")
    assert said.docs_url == "https://weather.example/"


@pytest.mark.parametrize(
    ("items", "version"),
    [
        ([_published(version="1.9.0"), _published(version="1.10.0"), _published(version="1.2.0")], "1.10.0"),
        ([_published(version="1.0.0", official={"isLatest": True}), _published(version="2.0.0-beta")], "1.0.0"),
        ([_published(version="2.0.0", official={"status": "deleted"}), _published(version="1.0.0")], "1.0.0"),
        ([_published(version="2.0.0", official={"status": "deprecated"}), _published(version="1.0.0")], "1.0.0"),
        ([_published(version="2.0.0", status="deleted"), _published(version="1.0.0")], "1.0.0"),
        ([_published(version="2.0.0", remotes=[]), _published(version="1.0.0")], "1.0.0"),
        ([_published(version="blue"), _published(version="green")], "green"),
    ],
)
def test_of_several_versions_the_latest_counts(items: list[object], version: str) -> None:
    """The one that the registry says is it, else the highest, else the last; of those that are there and reachable."""
    _, said = _only(_read(_catalogue(*items), CATALOGUE))
    assert said.version == version


def test_what_runs_only_from_a_package_is_passed_over() -> None:
    """Without a fault: it is a good entry, for others."""
    item = {"server": {"name": "com.example/tool", "version": "1", "packages": [{"registryType": "npm"}]}}
    assert _read(_catalogue(item), CATALOGUE) == Listing({}, "", [])


@pytest.mark.parametrize(
    "item",
    [
        7,
        {},
        {"server": []},
        {"server": {"name": 7}},
        {"server": {"name": "com.example/x", "remotes": "x"}},
        {"server": {"name": "com.example/x", "remotes": [{"type": "stdio"}]}},
        {"server": {"name": "com.example/", "remotes": [{"type": "sse", "url": "https://x/"}]}},
        {"server": {"name": "com.example/x", "remotes": [{"type": "sse", "url": "https://{tenant}.example/"}]}},
    ],
)
def test_a_bad_item_is_left_out(item: object) -> None:
    """And told."""
    listing = _read(_catalogue(item, _published()), CATALOGUE)
    assert [key[0] for key in listing.registrations] == ["weather"]
    assert len(listing.faults) == 1


def test_versions_may_stand_on_different_pages() -> None:
    """Pages that are kept together are read together."""
    pages = [_catalogue(_published(version="1.9.0"), nextCursor="a"), _catalogue(_published(version="1.10.0"))]
    listing = _read(pages, CATALOGUE)
    assert [said.version for said in listing.registrations.values()] == ["1.10.0"]
    assert listing.next_cursor == ""


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ("com.example/x:1.0.0", "com.example/x:1.0.0"),
        *((cursor, "") for cursor in ("", None, 7, "a b", "ä", "x" * 501, "a\r\nb")),
    ],
)
def test_the_next_page_is_told(cursor: object, expected: str) -> None:
    """If what is said can stand in a URL."""
    assert _read(_catalogue(nextCursor=cursor), CATALOGUE).next_cursor == expected
    assert cursor_of(_catalogue(nextCursor=cursor)) == expected
    assert cursor_of([]) == cursor_of({"metadata": []}) == cursor_of({"metadata": {"nextCursor": "a"}}) == ""


@pytest.mark.parametrize(
    ("url", "cursor", "expected"),
    [
        ("http://r.example/mcps", "", "http://r.example/mcps"),
        ("http://r.example/mcps?all=1#x", "", "http://r.example/mcps?all=1"),
        ("https://r.example/v0.1/servers", "", "https://r.example/v0.1/servers?limit=100"),
        (
            "https://r.example/v0.1/servers?version=latest",
            "",
            "https://r.example/v0.1/servers?version=latest&limit=100",
        ),
        ("https://r.example/v0.1/servers?limit=5", "", "https://r.example/v0.1/servers?limit=5"),
        ("https://r.example/list?cursor=old", "a/b:1&x", "https://r.example/list?limit=100&cursor=a%2Fb%3A1%26x"),
    ],
)
def test_where_a_page_is(url: str, cursor: str, expected: str) -> None:
    """As large as a registry gives it, and nothing of a cursor can become another parameter."""
    assert page_url(url, cursor) == expected


def test_a_page_of_another_form_adds_nothing() -> None:
    """Whoever sends it."""
    pages: list[object] = [_catalogue(_published()), _discovery({"name": "x", "path": "/mcp/x"}), [_simple()]]
    steps = read_in_steps(pages, CATALOGUE)
    with pytest.raises(StopIteration) as done:
        next(steps)
    assert [key[0] for key in done.value.value.registrations] == ["weather"]


# --- what may come ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"7", b"null", b'"x"', b"{}", b'{"servers":{}}', b'{"mcpServers":{"x":{"url":"http://x"}}}'),
        *(b"\xff[]", b"[" * 100_000, b'{"servers":[],"servers":[]}', b"<html>", b"[NaN]", b'["\\ud800"]'),
    ],
)
def test_what_is_no_list_is_refused_as_a_whole(body: bytes) -> None:
    """So that the last good one stays."""
    with pytest.raises(ValueError, match=r"^(not|nested|a key|NaN)"):
        read_list(body, REGISTRY)


def test_an_empty_list_is_a_list() -> None:
    """Of each form."""
    empty: list[object] = [[], _discovery(), _catalogue()]
    assert [_read(each) for each in empty] == [Listing({}, "", [])] * 3


def test_a_list_is_bounded() -> None:
    """What is too much is left out, and told once."""
    listing = _read([7] * MAX_LISTED + [_simple()])
    assert listing.registrations == {}
    assert listing.faults[0] == f"the list: longer than {MAX_LISTED} entries, the rest is left out"
    assert len(listing.faults) == MAX_FAULTS
    assert len(_read([7] * (MAX_LISTED - 1) + [_simple()]).registrations) == 1


def test_a_long_list_is_read_in_steps() -> None:
    """Between which the gateway does other things."""
    entries = [_simple(endpoint=f"10.0.0.1:{port}") for port in range(1, 101)]
    steps = read_in_steps(pages_of(json.dumps(entries).encode()), REGISTRY)
    assert len(list(steps)) == 10


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
_KEYS = (
    *("name", "path", "url", "transports", "type", "server", "remotes", "version", "basePath", "endpoint", "host"),
    *("port", "title", "description", "tags", "docs_url", "status", "_meta", "id", "websiteUrl", "endpoints"),
)
_words = st.sampled_from(["weather", "sse", "streamable-http", "/mcp/x", "http://h.example/mcp", "h:1", "1.0.0"])
_near = st.recursive(
    _words | _json,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=12,
)


@given(st.lists(_near, max_size=4), st.sampled_from(["", "mcpServers", "servers"]))
def test_nothing_in_a_list_makes_it_fail(entries: list[Any], form: str) -> None:
    """Each entry is a registration that can be used, or a fault of one line, or passed over."""
    listing = _read({form: entries} if form else entries, GATEWAY)
    for (server, _), said in listing.registrations.items():
        assert Registration.model_validate(said.model_dump()) == said
        assert said.ttl == 0.0
        assert server != "discovery"
    assert all(told.isprintable() for told in listing.faults)
    assert len(listing.registrations) + len(listing.faults) <= len(entries)


@given(st.binary(max_size=60) | _json.map(lambda found: json.dumps(found).encode()))
def test_no_bytes_make_it_fail_but_in_words(body: bytes) -> None:
    """Whatever answers at the address of a list."""
    try:
        read_list(body, REGISTRY)
    except ValueError as refused:
        assert str(refused).isprintable()


def test_a_server_of_another_gateway_says_through_whom_it_came() -> None:
    """Two gateways that follow each other's lists would else keep a server alive between them for ever."""
    entry = {"name": "x", "path": "/mcp/x", "gateways": ["b" * 16, "not an id", 7]}
    body = json.dumps({"mcpServers": [entry], "gateway": "a" * 16}).encode()
    (registration,) = read_list(body, "http://10.0.0.1:8700/mcp/discovery").registrations.values()
    assert gateways_of(registration) == ("a" * 16, "b" * 16)
    (plain,) = read_list(b'{"mcpServers":[{"name":"x","path":"/mcp/x"}]}', "http://10.0.0.1/l").registrations.values()
    assert gateways_of(plain) == ()


def test_a_published_server_says_so_too() -> None:
    """In the words of our own kind of registry; those of others say nothing of it."""
    server = {"name": "com.example/x", "remotes": [{"type": "streamable-http", "url": "http://10.0.0.1/mcp/x/mcp"}]}
    for own, expected in (({"gateways": ["a" * 16]}, ("a" * 16,)), ({"gateways": 7}, ()), (None, ())):
        listed = {"server": server, "_meta": {"mcpgate/server": own}}
        body = json.dumps({"servers": [listed], "metadata": {"count": 1}}).encode()
        (registration,) = read_list(body, "http://10.0.0.1/v0.1/servers").registrations.values()
        assert gateways_of(registration) == expected
