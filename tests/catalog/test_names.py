"""What registries call us: the publisher, and texts within their lengths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.catalog.names import publisher_of, shortened


@pytest.mark.parametrize(
    ("configured", "origin", "name", "domain"),
    [
        (None, "https://mcp.example.com", "com.example.mcp", "mcp.example.com"),
        (None, "https://mcp.example.com:8443", "com.example.mcp", "mcp.example.com"),
        ("org.acme", "https://mcp.example.com", "org.acme", "acme.org"),
        (None, "http://localhost:8700", "localhost", "localhost"),
        (None, "http://127.0.0.1:8700", "127.0.0.1", "127.0.0.1"),
        (None, "http://[::1]:8700", "--1", "--1"),
        (None, "http://a_b.example", "example.a-b", "a-b.example"),
        (None, "", "localhost", "localhost"),
    ],
)
def test_the_publisher_is_the_public_host_turned_around(
    configured: str | None, origin: str, name: str, domain: str
) -> None:
    """Unless it is configured; addresses stay as they are."""
    assert publisher_of(configured, origin) == (name, domain)


@PURE
@given(st.text(max_size=300))
def test_any_host_makes_a_publisher_that_registries_take(host: str) -> None:
    """A trusted proxy may forward what it likes."""
    name = publisher_of(None, f"https://{host}").name
    assert re.fullmatch(r"[a-zA-Z0-9.-]{1,136}", name)


def test_a_long_text_is_cut_between_words() -> None:
    """With an ellipsis, within a hundred characters; a word without end is cut in the middle."""
    assert shortened("short") == "short"
    assert shortened("a" * 100) == "a" * 100
    assert shortened("words, " * 30) == "words, " * 13 + "words\u2026"
    assert shortened("a" * 101) == "a" * 99 + "\u2026"


@PURE
@given(st.text(max_size=300))
def test_no_text_becomes_too_long_or_empty(text: str) -> None:
    """Whatever it is made of."""
    assert len(shortened(text)) <= 100
    assert bool(shortened(text)) == bool(text)
