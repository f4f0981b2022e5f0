"""What holds for every part of the configuration."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.settings.written import refused, server, settings

from mcpgate.settings import DrainSettings, HttpSettings, Settings, UpstreamSettings


def test_settings_made_in_code_are_checked_like_written_ones() -> None:
    """There is no way around the checks."""
    with pytest.raises(ValidationError):
        UpstreamSettings(url="ftp://h")
    with pytest.raises(ValidationError):
        HttpSettings(header_timeout=0)


def test_nothing_can_be_changed_or_added() -> None:
    """Settings are the same for everybody who holds them."""
    found = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        found.public_url = "http://h"
    assert refused(Settings, liste="x") == [("liste", "Extra inputs are not permitted")]


def test_a_part_without_lines_is_its_defaults() -> None:
    """In YAML a key with nothing but comments below it has no value."""
    found = Settings.model_validate({"http": None, "drain": None, "servers": [server(timeouts=None)]})
    assert (found.http, found.drain) == (HttpSettings(), DrainSettings())


def test_an_error_does_not_show_the_value() -> None:
    """Even the library's own text, should it be logged, keeps values back."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"servers": [server(headers={"set": {"X-Key": "s3cret\n"}})]})
    assert "s3cret" not in str(caught.value)


def test_one_listener_or_several() -> None:
    """A listen address may be text or a list of texts."""
    assert settings(listen="tcp:1").listen == ("tcp:1",)
    assert settings(listen=["tcp:1", "unix:/x"]).listen == ("tcp:1", "unix:/x")
    assert [where for where, _ in refused(Settings, listen=[])] == ["listen"]
    assert [where for where, _ in refused(Settings, listen=["tcp:1", "tcp:x"])] == ["listen.1"]
