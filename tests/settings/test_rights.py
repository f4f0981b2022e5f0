"""What may be granted: scopes, servers, tools, and the entry of a token."""

from __future__ import annotations

from typing import Any

import pytest
from tests.settings.written import TOKEN, refused

from mcpgate.settings import AdminToken, GrantedToolsSettings, TokenSettings, ToolsSettings

CLEAR = "mcpg_0123456789-in-the-clear"


def test_every_tool_is_allowed_unless_something_else_is_said() -> None:
    """A list that allows nothing is not the same as none."""
    for section in (ToolsSettings, GrantedToolsSettings):
        assert (section().allow, section().deny) == (None, ())
        assert section.model_validate({"allow": []}).allow == ()


def test_whoever_gets_rights_may_be_given_them_for_certain_servers() -> None:
    """A server names its own tools alone."""
    allow = ["github:*", "get_*", "*:read"]
    assert GrantedToolsSettings.model_validate({"allow": allow}).allow == tuple(allow)
    assert [where for where, _ in refused(ToolsSettings, allow=allow)] == ["allow.0", "allow.2"]


@pytest.mark.parametrize("section", [TokenSettings, AdminToken])
@pytest.mark.parametrize("value", [CLEAR, {"id": "a", "sha256": CLEAR, "scopes": []}])
def test_a_token_in_clear_text_is_told_how_to_hash_it(section: Any, value: Any) -> None:
    """Where the entry or its hash should be; the token itself is not repeated."""
    texts = [text for _, text in refused_value(section, value)]
    assert any("mcpgate token new NAME" in text and "printf %s TOKEN | sha256sum" in text for text in texts)
    assert CLEAR not in str(texts)


def refused_value(section: Any, value: Any) -> list[tuple[str, str]]:
    """Why a value that need not be a section is refused."""
    return refused(section, **value) if isinstance(value, dict) else refused_text(section, value)


def refused_text(section: Any, value: str) -> list[tuple[str, str]]:
    """Why text is refused where a section is due."""
    with pytest.raises(ValueError) as caught:
        section.model_validate(value)
    return [("", str(caught.value))]


def test_the_hash_of_nothing_is_refused() -> None:
    """It would let in whoever comes with no token, or shows that a variable was empty when it was made."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for section in (TokenSettings, AdminToken):
        found = dict(refused(section, **TOKEN | {"sha256": empty.upper(), "scopes": ["read"]}))
        assert found["sha256"].startswith("the hash of no text at all")


def test_hashes_are_not_shown() -> None:
    """Neither in a printed object nor where settings are shown."""
    found = TokenSettings.model_validate(TOKEN)
    assert TOKEN["sha256"] not in repr(found)
    assert found.model_dump()["sha256"] == "***"
