"""The terms of a server: which tools, which scopes, and what the server itself is sent."""

from __future__ import annotations

import pytest

from mcpgate.policy.access import Auth, Credentials, Terms
from mcpgate.policy.authn import Grant
from mcpgate.policy.authz import NamePatterns, ToolRights


def _grant(*scopes: str, tools: ToolRights | None = None) -> Grant:
    return Grant("alice", frozenset(scopes), frozenset({"x"}), tools or ToolRights())


def test_nobody_looks_for_a_tool_where_every_tool_may_be_called() -> None:
    """Reading a body costs time, so it is asked first whether anything depends on it."""
    assert not Terms(Auth.REQUIRED).decides_on_tools(_grant())
    assert not Terms().decides_on_tools(None)
    assert Terms(tools=ToolRights(deny=["rm"])).decides_on_tools(None)
    assert Terms(tool_scopes=((NamePatterns(["rm"]), frozenset({"a"})),)).decides_on_tools(_grant())
    assert Terms().decides_on_tools(_grant(tools=ToolRights(["read_*"])))


@pytest.mark.parametrize(
    ("of_server", "of_token", "admitted"),
    [
        (ToolRights(), ToolRights(), True),
        (ToolRights(deny=["rm"]), ToolRights(["rm"]), False),
        (ToolRights(["rm"]), ToolRights(deny=["x:rm"]), False),
        (ToolRights(["rm"]), ToolRights(["y:rm"]), False),
        (ToolRights(["r*"]), ToolRights(["x:rm"]), True),
    ],
)
def test_a_tool_must_be_allowed_by_server_and_token(of_server: ToolRights, of_token: ToolRights, admitted: bool) -> None:
    """Neither can give what the other refuses."""
    assert Terms(tools=of_server).admits_tool(_grant(tools=of_token), "x", "rm") is admitted


def test_calls_need_the_scopes_of_the_server_and_of_their_tools() -> None:
    """All of them at once, so that a client asks for a better token once."""
    terms = Terms(
        scopes=frozenset({"use"}),
        tool_scopes=((NamePatterns(["delete_*"]), frozenset({"delete"})), (NamePatterns(["*_repo"]), frozenset({"repo"}))),
    )
    assert terms.scopes_for([]) == {"use"}
    assert terms.scopes_for(["list"]) == {"use"}
    assert terms.scopes_for(["list", "delete_repo"]) == {"use", "delete", "repo"}


def test_a_principal_of_its_own_credentials_gets_them_over_those_of_everybody() -> None:
    """By name and regardless of case; what they do not name stays."""
    common = Credentials.of({"X-Key": "common", "X-Team": "tools"})
    personal = Credentials.of({"x-key": "hers"}).over(common)
    terms = Terms(credentials=common, personal={"alice": personal})
    assert terms.credentials_for("bob").lines == b"X-Key: common\r\nX-Team: tools\r\n"
    assert terms.credentials_for("alice").lines == b"X-Team: tools\r\nx-key: hers\r\n"
    assert terms.credentials_for("alice").names == {b"x-key", b"x-team"}
