"""The command lines people try servers with, fastmcp and the Inspector: same output through the gateway."""

from __future__ import annotations

import pytest
from tests.interop.stage import Stage
from tests.interop.visits import Visitor, differences, side_by_side

LOAD_CALLS = 100

SERVERS = (("everything", "http"), ("everything-sse", "sse"), ("fixture", "http"))
CALLS = {
    "everything": ("echo", "message=hello"),
    "everything-sse": ("echo", "message=hello"),
    "fixture": ("test_x_mcp_header", "region=north"),
}


@pytest.mark.parametrize(("server", "transport"), SERVERS)
def test_fastmcp_lists_and_calls_the_same(server: str, transport: str, stage: Stage, visitor: Visitor) -> None:
    """`fastmcp list` and `fastmcp call` print the same for the public URL as for the server's own."""
    urls = stage.direct(server, transport), stage.public(server, transport)
    direct, public = side_by_side(lambda url: visitor.fastmcp("list", url), *urls)
    assert direct["tools"]
    assert differences(direct, public) == []
    direct, public = side_by_side(lambda url: visitor.fastmcp("call", url, *CALLS[server]), *urls)
    assert not direct["is_error"]
    assert differences(direct, public) == []


@pytest.mark.parametrize(("server", "transport"), SERVERS)
def test_inspector_lists_and_calls_the_same(server: str, transport: str, stage: Stage, visitor: Visitor) -> None:
    """The Inspector's tools/list and tools/call print the same for the public URL as for the server's own."""
    urls = stage.direct(server, transport), stage.public(server, transport)
    listing = ("--method", "tools/list")
    direct, public = side_by_side(lambda url: visitor.inspector(url, transport, *listing), *urls)
    assert direct["tools"]
    assert differences(direct, public) == []
    tool, given = CALLS[server]
    call = ("--method", "tools/call", "--tool-name", tool, "--tool-arg", given)
    direct, public = side_by_side(lambda url: visitor.inspector(url, transport, *call), *urls)
    assert direct["content"]
    assert not direct.get("isError")
    assert differences(direct, public) == []


def test_inspector_speaks_stateless_revision(stage: Stage, visitor: Visitor) -> None:
    """The Inspector held to the stateless revision lists the same tools through the gateway."""
    urls = stage.direct("fixture", "http"), stage.public("fixture", "http")
    modern = ("--protocol-era", "modern", "--method", "tools/list")
    direct, public = side_by_side(lambda url: visitor.inspector(url, "http", *modern), *urls)
    assert direct["tools"]
    assert differences(direct, public) == []


def test_inspector_load_has_no_errors(stage: Stage, visitor: Visitor) -> None:
    """A hundred calls, four at a time, all succeed through the gateway."""
    call = ("--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hello")
    load = ("--load", "--load-requests", str(LOAD_CALLS), "--load-concurrency", "4", "--load-rate", "100")
    summary = visitor.inspector(stage.public("everything", "http"), "http", *call, *load)
    assert (summary["requests"], summary["ok"]) == (LOAD_CALLS, LOAD_CALLS), summary
