"""Documents of protected resources: ours, those we publish for servers, and where servers have theirs."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.wire.metadata import (
    MAX_DOCUMENT_BYTES,
    WELL_KNOWN,
    document,
    document_path,
    republished,
    resource_path,
    upstream_candidates,
)

RESOURCE = "https://gw.example/mcp/x"
THEIRS = {"resource": "http://u:1/mcp", "authorization_servers": ["https://as.example"]}


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (WELL_KNOWN, b""),
        (WELL_KNOWN + b"/mcp/x", b"/mcp/x"),
        (WELL_KNOWN + b"/mcp/x/mcp", b"/mcp/x/mcp"),
        (WELL_KNOWN + b"/", b"/"),
        (WELL_KNOWN + b"x", None),
        (WELL_KNOWN[:-1], None),
        (b"/mcp/x" + WELL_KNOWN, None),
        (b"/.well-known/oauth-authorization-server", None),
        (b"", None),
    ],
)
def test_the_path_of_a_document_names_its_resource(path: bytes, resource: bytes | None) -> None:
    """RFC 9728 section 3.1: the well-known path stands in front of the resource's own."""
    assert resource_path(path) == resource
    if resource and resource != b"/":
        assert document_path(resource) == path


def test_the_root_has_its_document_at_the_well_known_path() -> None:
    """A lone slash is no path."""
    assert document_path(b"") == document_path(b"/") == WELL_KNOWN


def test_a_document_tells_what_clients_need() -> None:
    """Where tokens come from, for what, with which scopes, and that they travel in a header only."""
    body = document(RESOURCE, ["https://as.example"], ["a", "b"], "Search")
    assert json.loads(body) == {
        "resource": RESOURCE,
        "authorization_servers": ["https://as.example"],
        "scopes_supported": ["a", "b"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Search",
    }


def test_a_document_has_no_empty_members() -> None:
    """RFC 9728 section 3.2."""
    assert json.loads(document(RESOURCE, [])) == {"resource": RESOURCE, "bearer_methods_supported": ["header"]}


def test_a_servers_document_is_published_about_our_address() -> None:
    """Clients refuse one about another address than they use; the rest is the server's to say."""
    more = {"scopes_supported": ["a"], "x-own": {"deep": [1, 2.5, None, "é"]}, "resource_documentation": "https://d"}
    body = json.dumps({**THEIRS, **more}).encode()
    assert json.loads(republished(body, RESOURCE)) == {**THEIRS, **more, "resource": RESOURCE}


def test_signed_metadata_are_not_published() -> None:
    """They rank above the plain members and name the server's own address (RFC 9728 section 2.2)."""
    body = json.dumps({**THEIRS, "signed_metadata": "eyJ.eyJ.sig"}).encode()
    assert json.loads(republished(body, RESOURCE)) == {**THEIRS, "resource": RESOURCE}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}",
        b'{"resource": 1}',
        b'{"resource": "http://u"} x',
        b'{"resource": "http://u", "authorization_servers": "https://as"}',
        b'{"resource": "http://u", "authorization_servers": [1]}',
        b'{"resource": "http://u", "authorization_servers": null}',
        b'{"resource": "http://u", "n": NaN}',
        b'{"resource": "http://u", "n": 1e999}',
        b'{"resource": "\xff"}',
        b'{"resource": "\\ud800"}',
        b'\xef\xbb\xbf{"resource": "http://u"}',
        '{"resource": "http://u"}'.encode("utf-16"),
        b"<html>",
        b'{"resource": "http://u", "n": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"resource": "http://u", "n": "' + b"a" * MAX_DOCUMENT_BYTES + b'"}',
    ],
)
def test_what_is_no_document_is_not_published(body: bytes) -> None:
    """A login page, another JSON value, too much of it: none goes out under our name."""
    with pytest.raises(ValueError):
        republished(body, RESOURCE)


@pytest.mark.parametrize("depth", range(900, 1010, 10))
def test_a_deep_document_is_published_or_refused(depth: int) -> None:
    """There is no depth that can be read but not written."""
    body = b'{"resource": "http://u", "n": ' + b"[" * depth + b"]" * depth + b"}"
    with contextlib.suppress(ValueError):
        assert republished(body, RESOURCE).count(b"[") == depth


@PURE
@given(
    body=st.one_of(st.binary(max_size=40), st.binary(max_size=20).map(lambda b: b'{"resource":"u","n":"' + b + b'"}'))
)
def test_anything_is_published_as_our_resource_or_not_at_all(body: bytes) -> None:
    """Whatever a server sends."""
    try:
        published = republished(body, RESOURCE)
    except ValueError:
        return
    assert json.loads(published)["resource"] == RESOURCE


@pytest.mark.parametrize(
    ("base", "resources", "expected"),
    [
        (b"", [b"/mcp"], [WELL_KNOWN + b"/mcp", WELL_KNOWN]),
        (b"", [b"/"], [WELL_KNOWN]),
        (
            b"",
            [b"/mcp", b"/mcp/x/mcp", b"/mcp"],
            [WELL_KNOWN + b"/mcp", WELL_KNOWN + b"/mcp/x/mcp", WELL_KNOWN],
        ),
        (
            b"/base",
            [b"/base/mcp", b"/mcp/x/mcp"],
            [
                WELL_KNOWN + b"/base/mcp",
                b"/base" + WELL_KNOWN + b"/mcp",
                WELL_KNOWN + b"/mcp/x/mcp",
                WELL_KNOWN,
                b"/base" + WELL_KNOWN,
            ],
        ),
        (b"/base", [b"/base"], [WELL_KNOWN + b"/base", b"/base" + WELL_KNOWN, WELL_KNOWN]),
        (b"/base", [b"/base/"], [WELL_KNOWN + b"/base/", b"/base" + WELL_KNOWN, WELL_KNOWN]),
        (b"/base", [b"/based"], [WELL_KNOWN + b"/based", WELL_KNOWN, b"/base" + WELL_KNOWN]),
    ],
)
def test_where_a_server_may_have_its_document(base: bytes, resources: list[bytes], expected: list[bytes]) -> None:
    """In front of its path or behind the base, under the public path if it knows that, at the root; each once."""
    assert upstream_candidates(base, resources) == expected
