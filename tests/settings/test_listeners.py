"""The listeners beside the one for clients."""

from __future__ import annotations

from tests.settings.written import refused, settings

from mcpgate.settings import AdminSettings, AdminToken, DemoSettings, HttpSettings


def test_admin_tokens() -> None:
    """A hash, a name and at least one known scope."""
    token = {"id": "ops", "sha256": "AB" * 32, "scopes": ["read", "write"]}
    (found,) = AdminSettings.model_validate({"tokens": [token]}).tokens
    assert (found.id, found.sha256, found.scopes) == ("ops", "ab" * 32, frozenset({"read", "write"}))
    assert "sha256sum" in refused(AdminToken, **token | {"sha256": "clear-text"})[0][1]
    assert "sha256sum" in refused(AdminSettings, tokens=["clear-text"])[0][1]
    assert [where for where, _ in refused(AdminToken, **token | {"scopes": []})] == ["scopes"]
    assert [where for where, _ in refused(AdminToken, **token | {"scopes": ["red"]})] == ["scopes.0"]
    assert [where for where, _ in refused(AdminSettings, tokens=[token, token])] == ["tokens.1.id"]


def test_bodies_that_are_looked_into_have_a_bound() -> None:
    """What is held back to be read is a part of what may be sent."""
    assert HttpSettings().max_inspect_bytes == 256 << 10
    assert HttpSettings(max_inspect_bytes="64KiB").max_inspect_bytes == 64 << 10
    assert [where for where, _ in refused(HttpSettings, max_inspect_bytes="2GiB")] == ["max_inspect_bytes"]


def test_the_demo_stays_on_loopback() -> None:
    """A server without any authentication is not offered to the network."""
    assert settings(demo=DemoSettings()).demo == DemoSettings(listen="tcp:8710:interface=127.0.0.1")
    assert DemoSettings(listen="unix:/run/demo").listen == "unix:/run/demo"
    assert "expected a loopback one" in refused(DemoSettings, listen="tcp:8710")[0][1]
