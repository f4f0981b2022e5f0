"""How entries and servers are shown to operators."""

from __future__ import annotations

import pytest

from mcpgate.registry import leases, views
from mcpgate.registry.leases import State
from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Entry
from mcpgate.settings import ServerSettings, UpstreamSettings

SINCE_S = 1_800_000_000.0


def _entry(origin: str = "api", conflict: str = "", **said: object) -> Entry:
    registration = Registration.model_validate({"url": "http://127.0.0.1:4001", **said})
    return Entry("weather", "a", origin, registration, 7, SINCE_S, SINCE_S + 0.5, conflict)


def test_moments_are_written_as_people_and_programs_read_them() -> None:
    """RFC 3339, to the millisecond."""
    assert views.moment_text(SINCE_S) == "2027-01-15T08:00:00.000Z"
    assert views.moment_text(SINCE_S + 0.0625) == "2027-01-15T08:00:00.062Z"


@pytest.mark.parametrize(
    ("wall_s", "text"),
    [
        (1e300, "9999-12-31T00:00:00.000Z"),
        (float("inf"), "9999-12-31T00:00:00.000Z"),
        (float("-inf"), "1970-01-01T00:00:00.000Z"),
        (float("nan"), "1970-01-01T00:00:00.000Z"),
    ],
)
def test_what_is_no_moment_is_written_all_the_same(wall_s: float, text: str) -> None:
    """As the nearest that is: no answer may fail for it."""
    assert views.moment_text(wall_s) == text


def test_of_a_url_nothing_is_told_that_may_be_a_key() -> None:
    """Neither its query nor its fragment."""
    assert views.told_url("http://h.example/mcps?key=s3cret#s3cret") == "http://h.example/mcps"


def test_an_entry_tells_how_its_lease_stands() -> None:
    """How often to beat, how long is left, and what was said; of headers only the names."""
    lease = leases.beaten(leases.granted(30.0, None, 100.0), 104.0, State.WARNING, "hot")
    told = views.entry_view(_entry(headers={"X-Api-Key": "secret"}), lease, 110.0)
    assert (told["state"], told["stateSeconds"], told["note"]) == ("warning", 6.0, "hot")
    assert (told["ttlSeconds"], told["heartbeatSeconds"], told["expiresInSeconds"]) == (30.0, 10.0, 24.0)
    assert (told["deregisterCriticalAfterSeconds"], "held" in told) == (90.0, False)
    assert (told["revision"], told["registeredAt"]) == (7, "2027-01-15T08:00:00.000Z")
    assert (told["headers"], "secret" in repr(told)) == (["X-Api-Key"], False)


def test_an_entry_without_a_lease_is_listed_or_probed() -> None:
    """No beats are expected of either."""
    assert views.entry_view(_entry("list:l"), None, 0.0)["state"] == "listed"
    told = views.entry_view(_entry(), leases.granted(0.0, None, 100.0), 101.0)
    assert (told["state"], told["stateSeconds"]) == ("starting", 1.0)
    assert not {"ttlSeconds", "heartbeatSeconds", "expiresInSeconds", "deregisterCriticalAfterSeconds"} & told.keys()


def test_a_conflict_is_told_with_its_reason_and_without_a_lease() -> None:
    """Whatever the lease says, the entry is not used."""
    told = views.entry_view(_entry(conflict="taken"), leases.granted(30.0, None, 100.0), 101.0)
    assert (told["state"], told["conflict"], "ttlSeconds" in told) == ("conflict", "taken", False)


@pytest.mark.parametrize(
    ("url", "endpoint", "more"),
    [
        ("http://127.0.0.1:4001", "127.0.0.1:4001", {}),
        ("http://[::1]:4001", "[::1]:4001", {}),
        ("https://h.example/base", "h.example:443", {"url": "https://h.example/base"}),
    ],
)
def test_the_simple_form_has_an_address_and_an_id(url: str, endpoint: str, more: dict[str, object]) -> None:
    """What it has no words for stands beside."""
    told = views.simple_view(_entry(url=url, title="Weather"))
    assert told == {
        "id": "weather~a",
        "name": "Weather",
        "version": None,
        "basePath": "/mcp/weather",
        "endpoint": endpoint,
        "registeredAt": "2027-01-15T08:00:00.000Z",
    } | more


def test_a_server_is_shown_with_its_replicas() -> None:
    """Those of the configuration, too."""
    upstream = UpstreamSettings(url="http://127.0.0.1:3010", weight=3)
    server = ServerSettings(name="x", path="/mcp/x", title="X", upstreams=(upstream,))
    replica = views.configured_view(upstream, "up")
    told = views.server_view(server, "config", "up", [replica])
    assert (told["name"], told["origin"], told["status"], told["title"]) == ("x", "config", "up", "X")
    assert (told["replicas"], "version" in told) == ([replica], False)
    assert replica == {"origin": "config", "url": "http://127.0.0.1:3010", "weight": 3, "state": "up"}
