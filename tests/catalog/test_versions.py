"""Versioned paths: what belongs together, and which is newer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.catalog.versions import label_of, place_of, rank_of, version_of


@pytest.mark.parametrize(
    ("path", "family", "version"),
    [
        ("/mcp/github-pm", "/mcp/github-pm", ""),
        ("/mcp/v1/github-pm", "/mcp/github-pm", "v1"),
        ("/mcp/github-pm/v2.1", "/mcp/github-pm", "v2.1"),
        ("/v10/pm", "/pm", "v10"),
        ("/mcp/v1/a/v2", "/mcp/a/v2", "v1"),
        ("/mcp/v1", "/mcp/v1", ""),
        ("/mcp/v1x/a", "/mcp/v1x/a", ""),
        ("/mcp/vault", "/mcp/vault", ""),
        ("/mcp/v1.2.3.4/a", "/mcp/v1.2.3.4/a", ""),
        ("/mcp/v" + "9" * 5000 + "/a", "/mcp/v" + "9" * 5000 + "/a", ""),
    ],
)
def test_a_version_is_a_segment_of_its_own(path: str, family: str, version: str) -> None:
    """What is left of the path is the family; without a name there is none."""
    assert place_of(path) == (family, version)


@pytest.mark.parametrize(
    ("family", "label"),
    [("/mcp/pm", "pm"), ("/tools/pm", "tools.pm"), ("/mcp", ""), ("/mcp/a+b", "a-b"), ("/mcp/" + "a" * 64, "")],
)
def test_a_family_is_called_by_its_path(family: str, label: str) -> None:
    """With dots for slashes, and nothing that registries do not take."""
    assert label_of(family) == label


@pytest.mark.parametrize(
    ("own", "path", "version"),
    [
        ("1.4.0", "/mcp/x", "1.4.0"),
        ("v1", "/mcp/v2/x", "v1"),
        (None, "/mcp/x", "0.0.0"),
        (None, "/mcp/v2/x", "2.0.0"),
        (None, "/mcp/v2.7/x", "2.7.0"),
        ("^1.2.3", "/mcp/v2/x", "2.0.0"),
        (">=1.0", "/mcp/x", "0.0.0"),
        ("1.x", "/mcp/x", "0.0.0"),
        ("1.*", "/mcp/x", "0.0.0"),
        ("latest", "/mcp/x", "0.0.0"),
        ("1.0 - 2.0", "/mcp/x", "0.0.0"),
        ("", "/mcp/x", "0.0.0"),
        ("1.0.0-next.1+5", "/mcp/x", "1.0.0-next.1+5"),
        ("9" * 300, "/mcp/x", "0.0.0"),
    ],
)
def test_a_version_is_its_own_or_that_of_the_path(own: str | None, path: str, version: str) -> None:
    """Ranges and "latest" are no versions to registries, so they count as none."""
    assert version_of(own, place_of(path)) == version


def test_newer_is_what_the_path_says_then_the_server() -> None:
    """Numbers count as numbers; a preview comes before its release; the name decides the rest."""
    in_order = [
        ("a", None, "/mcp/x"),
        ("a", "0.9", "/mcp/v1/x"),
        ("a", "1.0-rc", "/mcp/v1/x"),
        ("a", "1.0", "/mcp/v1/x"),
        ("b", "1.0", "/mcp/v1/x"),
        ("a", "1.0", "/mcp/v2/x"),
        ("a", "2.5", "/mcp/x"),
        ("a", None, "/mcp/v10/x"),
    ]
    ranks = [rank_of(name, own, place_of(path)) for name, own, path in in_order]
    assert sorted(ranks) == ranks


@PURE
@given(st.text(), st.text("/v0123456789.amcp", max_size=20))
def test_any_text_has_a_version_that_registries_take(own: str, path: str) -> None:
    """And can be compared."""
    place = place_of(path)
    version = version_of(own, place)
    assert re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,254}", version)
    assert rank_of("a", own, place) == rank_of("a", own, place)
