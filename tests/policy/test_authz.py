"""Which tools may be called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import PURE

from mcpgate.policy.authz import EVERY_TOOL, NamePatterns, ToolRights


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("search", "search", True),
        ("search", "Search", False),
        ("search", "search2", False),
        ("search", "", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "any\nthing", True),
        ("get_*", "get_issue", True),
        ("get_*", "get_", True),
        ("get_*", "forget_it", False),
        ("*_issue", "get_issue", True),
        ("*_issue", "get_issues", False),
        ("*issue*", "get_issues", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "acb", False),
        ("aa*aa", "aaa", False),
        ("aa*aa", "aaaa", True),
        ("a*a*a", "aa", False),
        ("*ab*ba*", "aba", False),
        ("*ab*ba*", "abba", True),
        ("**", "x", True),
        ("get.issue", "get-issue", False),
        ("[ab]", "a", False),
        ("?", "a", False),
    ],
)
def test_which_names_a_pattern_fits(pattern: str, name: str, expected: bool) -> None:
    """A star stands for anything; nothing else means anything; the whole name must fit."""
    assert NamePatterns([pattern]).matches(name) is expected


_patterns = st.lists(st.text("ab*", max_size=6), max_size=4)


@PURE
@given(patterns=_patterns, name=st.text("ab", max_size=8))
def test_patterns_mean_what_their_expressions_mean(patterns: list[str], name: str) -> None:
    """One of them fits, as regular expressions say it."""
    expressions = (".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
    expected = any(re.fullmatch(expression, name) for expression in expressions)
    assert NamePatterns(patterns).matches(name) is expected


def test_a_name_that_a_client_makes_long_costs_no_more_than_its_length() -> None:
    """A regular expression would take hours for this."""
    assert not NamePatterns(["*a*a*a*a*a*a*b*"]).matches("a" * 20_000)


def test_the_same_patterns_are_equal() -> None:
    """A reload that changes nothing can be told from one that does."""
    assert NamePatterns(["a", "b*"]) == NamePatterns(["b*", "a"])
    assert hash(NamePatterns(["a", "b*"])) == hash(NamePatterns(["b*", "a"]))
    assert NamePatterns(["a"]) != NamePatterns(["a*"])
    assert NamePatterns(["a"]) != {"a"}
    assert repr(NamePatterns(["b*", "a"])) == "NamePatterns(['a', 'b*'])"


@pytest.mark.parametrize(
    ("rights", "server", "tool", "expected"),
    [
        (ToolRights(), "s", "any", True),
        (ToolRights([]), "s", "any", False),
        (ToolRights(["search"]), "s", "search", True),
        (ToolRights(["search"]), "s", "delete", False),
        (ToolRights(["search", "get_*"]), "s", "get_issue", True),
        (ToolRights(deny=["delete_*"]), "s", "delete_repo", False),
        (ToolRights(deny=["delete_*"]), "s", "search", True),
        (ToolRights(["*"], ["delete_*"]), "s", "delete_repo", False),
        (ToolRights(["delete_*"], ["*_repo"]), "s", "delete_repo", False),
        (ToolRights(["delete_*"], ["*_repo"]), "s", "delete_issue", True),
        (ToolRights(["github:search"]), "github", "search", True),
        (ToolRights(["github:search"]), "gitlab", "search", False),
        (ToolRights(["git*:get_*"]), "gitlab", "get_issue", True),
        (ToolRights(["git*:get_*"]), "mail", "get_issue", False),
        (ToolRights(["github:*", "search"]), "mail", "search", True),
        (ToolRights(["github:a", "github:b"]), "github", "b", True),
        (ToolRights(deny=["github:delete"]), "github", "delete", False),
        (ToolRights(deny=["github:delete"]), "gitlab", "delete", True),
        # A tool with a colon in its name: what allows must be meant so, what denies may be.
        (ToolRights(["a:b"]), "s", "a:b", False),
        (ToolRights(["*:a:b"]), "s", "a:b", True),
        (ToolRights(["b"]), "s", "a:b", False),
        (ToolRights(["*b"]), "s", "a:b", True),
        (ToolRights(deny=["a:b"]), "s", "a:b", False),
        (ToolRights(deny=["s:a:b"]), "s", "a:b", False),
        (ToolRights(["*"]), "s", "", True),
    ],
)
def test_what_may_be_called(rights: ToolRights, server: str, tool: str, expected: bool) -> None:
    """What is allowed, less what is denied; for one server, or for any."""
    assert rights.admits(server, tool) is expected


@pytest.mark.parametrize(
    ("rights", "expected"),
    [
        (EVERY_TOOL, False),
        (ToolRights(["*"]), False),
        (ToolRights(["x", "*:*"]), False),
        (ToolRights([]), True),
        (ToolRights(["x"]), True),
        (ToolRights(["github:*"]), True),
        (ToolRights(deny=["x"]), True),
        (ToolRights(["*"], ["x"]), True),
    ],
)
def test_whether_anybody_needs_to_look(rights: ToolRights, expected: bool) -> None:
    """Bodies are held back and read only where something is restricted."""
    assert rights.decides is expected


_rights = st.lists(st.text("ab:*", max_size=5), max_size=3)
_names = st.text("ab:", max_size=4)


@PURE
@given(
    allow=st.none() | _rights,
    deny=_rights,
    more=st.text("ab:*", max_size=5),
    server=st.text("ab", min_size=1, max_size=3),
    tool=_names,
)
def test_more_patterns_never_do_the_opposite(
    allow: list[str] | None, deny: list[str], more: str, server: str, tool: str
) -> None:
    """Whoever denies one thing more opens nothing, whoever allows one more closes nothing."""
    admitted = ToolRights(allow, deny).admits(server, tool)
    assert admitted or not ToolRights(allow, [*deny, more]).admits(server, tool)
    assert not admitted or ToolRights(None if allow is None else [*allow, more], deny).admits(server, tool)


@PURE
@given(allow=st.none() | _rights, deny=_rights, server=st.text("ab", min_size=1, max_size=3), tool=_names)
def test_rights_that_decide_nothing_admit_everything(
    allow: list[str] | None, deny: list[str], server: str, tool: str
) -> None:
    """Nobody looks, so nobody may be refused."""
    rights = ToolRights(allow, deny)
    assert rights.decides or rights.admits(server, tool)


def test_the_same_rights_are_equal() -> None:
    """A grant that a reload does not change is the same grant."""
    assert ToolRights(["a", "s:b"], ["c"]) == ToolRights(["s:b", "a"], ["c"])
    assert hash(ToolRights(["a", "s:b"], ["c"])) == hash(ToolRights(["s:b", "a"], ["c"]))
    assert ToolRights(["a"]) != ToolRights(deny=["a"])
    assert ToolRights([]) != EVERY_TOOL
    assert ToolRights(["a"]) != ["a"]
    assert repr(ToolRights(["b", "a"], ["s:c"])) == "ToolRights(allow=['a', 'b'], deny=['s:c'])"
