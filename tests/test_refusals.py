"""What the registry refuses, as it is told."""

from __future__ import annotations

from mcpgate.refusals import AddressForbidden, RegistrationRefused


def test_all_faults_are_told_at_once() -> None:
    """Each with where it is, as text and as values; one of the whole body has no place."""
    error = RegistrationRefused.for_faults(iter([("url", "no host"), ("", "not JSON")]))
    assert error.faults == (("url", "no host"), ("", "not JSON"))
    assert (error.status, error.text) == (422, "url: no host; not JSON")
    assert RegistrationRefused().faults == ()


def test_an_address_that_is_refused_is_named_in_the_log_only() -> None:
    """The client is told the rule."""
    error = AddressForbidden("inside.test has an address that is private", "inside.test: 10.0.0.7")
    assert (error.status, "10.0.0.7" in error.text, error.detail) == (403, False, "inside.test: 10.0.0.7")
