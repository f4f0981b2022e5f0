"""The status page needs no other file and no other host, and a browser is told to hold it to that."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from mcpgate.downstream.page import page_of, status_page

PAGE = status_page()


def directives(policy: bytes) -> dict[str, list[str]]:
    parts = [part.split() for part in policy.decode("ascii").split(";")]
    return {part[0]: part[1:] for part in parts}


def test_the_page_names_no_other_host() -> None:
    """It works where there is no internet, and tells nobody that it is looked at."""
    assert not re.search(rb"(?i)(https?|wss?)://|[\"'(]//|@import|url\(", PAGE.body)


def test_the_page_loads_nothing() -> None:
    """All of it is in the one file; its empty icon, too."""
    assert re.findall(rb"\ssrc=|srcset=|<iframe|<object|<embed|<base", PAGE.body) == []
    assert re.findall(rb"<link[^>]*>", PAGE.body) == [b'<link rel="icon" href="data:,">']


def test_its_own_script_and_style_are_allowed_by_their_hash() -> None:
    """As a browser computes it: over exactly what stands between the tags."""
    for tag in ("script", "style"):
        start, end = PAGE.body.index(b"<%b>" % tag.encode()), PAGE.body.index(b"</%b>" % tag.encode())
        digest = b64encode(sha256(PAGE.body[start + len(tag) + 2 : end]).digest()).decode()
        assert directives(PAGE.policy)[f"{tag}-src"] == [f"'sha256-{digest}'"]


def test_everything_else_is_forbidden() -> None:
    """By the default, and by what has no default."""
    told = directives(PAGE.policy)
    assert told["default-src"] == told["base-uri"] == told["form-action"] == told["frame-ancestors"] == ["'none'"]
    assert told["connect-src"] == ["'self'"]
    assert "unsafe" not in PAGE.policy.decode()


def test_no_script_hides_in_an_attribute() -> None:
    """The policy would refuse it, and so would a style there."""
    assert re.findall(rb"<[^>]*\s(on\w+|style)=", PAGE.body.partition(b"<script>")[0]) == []


@pytest.mark.parametrize(
    "sink", [b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval(", b"Function("]
)
def test_nothing_that_is_shown_becomes_markup(sink: bytes) -> None:
    """Names and texts of clients are put in as text."""
    assert sink not in PAGE.body


def test_the_token_is_not_kept() -> None:
    """In memory only: not where the next user of the browser finds it."""
    assert re.findall(rb"localStorage|sessionStorage|indexedDB|document\.cookie", PAGE.body) == []


def test_the_markup_is_fit_for_screen_readers() -> None:
    """A language, a title, one live line, labelled regions that a keyboard reaches."""
    for part in (b'<html lang="en">', b"<title>", b'role="status"', b"<label>", b'name="viewport"'):
        assert part in PAGE.body
    regions = re.findall(rb'<div class="scroll"[^>]*>', PAGE.body)
    assert len(regions) == 4
    assert all(b'tabindex="0" role="region" aria-labelledby=' in region for region in regions)


def test_a_page_without_scripts_may_run_none() -> None:
    """What is not there is not allowed."""
    policy = directives(page_of(b"<p>").policy)
    assert policy["script-src"] == policy["style-src"] == ["'none'"]


def test_the_policy_follows_the_page() -> None:
    """Nobody has to write hashes down."""
    assert page_of(b"<script>1</script>").policy != page_of(b"<script>2</script>").policy
