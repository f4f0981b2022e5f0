"""Who may join, from which lists, and what discovery tells."""

from __future__ import annotations

from typing import Any

import pytest
from tests.settings.written import refused

from mcpgate.settings.registry import DiscoverySettings, RegistrySettings, SourceSettings, network_text
from mcpgate.values.addresses import network


def test_by_default_nothing_may_join() -> None:
    """And what joins is kept."""
    found = RegistrySettings()
    assert (found.is_open, found.store, found.ttl, found.allow_ports, found.sources) == (
        False,
        "sqlite:var/registry.db",
        30.0,
        (),
        (),
    )
    assert RegistrySettings.model_validate({"allow_networks": ["10.0.0.0/8"]}).is_open


@pytest.mark.parametrize("text", ["sqlite:x.db", "sqlite:/var/lib/x.db", "none"])
def test_where_registrations_are_kept(text: str) -> None:
    """In a file, or nowhere."""
    assert RegistrySettings(store=text).store == text


@pytest.mark.parametrize("text", ["", "sqlite:", "x.db", "None", "sqlite:a\nb", "postgres://x"])
def test_where_they_are_not_kept(text: str) -> None:
    """The fault says what can be."""
    assert refused(RegistrySettings, store=text) == [
        ("store", "not a store, expected sqlite:PATH, or none to keep nothing over a restart")
    ]


@pytest.mark.parametrize(
    ("key", "value"), [("ttl", "0s"), ("ttl", "2d"), ("allow_ports", [0]), ("allow_ports", [65536]), ("allow_networks", ["x"])]
)
def test_what_cannot_be(key: str, value: Any) -> None:
    """Times, ports and networks have their bounds."""
    ((where, what),) = refused(RegistrySettings, **{key: value})
    assert where.startswith(key)
    assert "expected" in what


def test_a_network_is_text_or_one_already() -> None:
    """A default that was made stays what it is."""
    assert network_text("10.0.0.0/8") == network_text(network("10.0.0.0/8")) == network("10.0.0.0/8")
    with pytest.raises(ValueError, match="not text"):
        network_text(10)


def test_a_list_is_called_by_its_host() -> None:
    """Unless it has a name; two of one name, or of one URL, are a fault."""
    assert SourceSettings.model_validate({"url": "https://r.example:8443/mcps"}).name == "r.example"
    assert SourceSettings.model_validate({"url": "https://r.example/mcps", "name": "own"}).name == "own"
    one, other = {"url": "https://r.example/a"}, {"url": "https://r.example/b"}
    assert refused(RegistrySettings, sources=[one, other])
    assert refused(RegistrySettings, sources=[{**one, "name": "a"}, {**one, "name": "b"}])
    assert len(RegistrySettings.model_validate({"sources": [one, {**other, "name": "b"}]}).sources) == 2


@pytest.mark.parametrize("text", ["com.example:80", "[::1]", "a b", ""])
def test_a_publisher_is_a_name(text: str) -> None:
    """No address, as it stands in the names of servers."""
    assert [where for where, _ in refused(DiscoverySettings, publisher=text)] == ["publisher"]


def test_whether_every_page_may_read_is_open_by_default() -> None:
    """It follows from `public_url` then."""
    assert DiscoverySettings().any_origin is None
    assert DiscoverySettings.model_validate({"publisher": "com.example"}).publisher == "com.example"
