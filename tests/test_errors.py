"""Every way to be refused: its status, whether the connection goes on, and who may read what of it."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from tests.error_table import all_errors

from mcpgate import errors, refusals
from mcpgate.errors import GatewayError


@pytest.mark.parametrize("kind", all_errors())
def test_an_error_has_an_http_status(kind: type[GatewayError]) -> None:
    """One that HTTP knows, except for the client that has left, which is told nothing."""
    assert kind.status in [status.value for status in HTTPStatus]
    assert 400 <= kind.status <= 599 or kind is errors.ToolDenied  # answered as the protocol answers an unknown one


@pytest.mark.parametrize("kind", all_errors())
def test_the_client_reads_the_message_and_the_log_the_detail(kind: type[GatewayError]) -> None:
    """Addresses and bytes of others stay in the house."""
    error = kind(detail="10.0.0.7:3010 said b'x'")
    assert (error.text, str(error), error.detail) == (kind.message, kind.message, "10.0.0.7:3010 said b'x'")
    assert (kind("another").text, kind("another").detail) == ("another", "")


@pytest.mark.parametrize("kind", all_errors())
def test_a_connection_goes_on_only_after_a_request_that_was_understood(kind: type[GatewayError]) -> None:
    """Behind bytes that could not be read, and before ones that are not wanted, there is nothing to answer."""
    understood = (
        errors.Unauthenticated, errors.Forbidden, errors.ForeignOrigin, errors.RouteNotFound, errors.MethodRefused,
        errors.WrongMediaType, errors.ForeignHost, errors.Loop, errors.ServerRemoved, errors.InvalidToken,
        errors.ExpiredToken, errors.ServerForbidden, errors.InsufficientScope, errors.UncheckedTunnel,
        errors.SessionLost, errors.ToolDenied, errors.AmbiguousBody, errors.HeaderMismatch, errors.EncodedBody,
        errors.RateLimited, errors.TooManyStreams, errors.AddressLimited, errors.KeysUnavailable, errors.NoReplica,
        refusals.RegistrationRefused, refusals.AddressForbidden, refusals.RegistrationForbidden, refusals.Taken,
        refusals.ChangedMeanwhile, refusals.NotRegistered, refusals.StoreUnavailable,
    )  # fmt: skip
    upstream = kind.source == "upstream" or kind is GatewayError
    assert kind.closes is not (upstream or kind in understood)


@pytest.mark.parametrize("kind", all_errors())
def test_who_may_come_back_is_told_when(kind: type[GatewayError]) -> None:
    """429 and 503 with Retry-After, in whole seconds; nothing else invites a client to try again."""
    if kind.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        assert kind.retry_after_s is not None
        assert kind.retry_after_s > 0
    else:
        assert kind.retry_after_s is None


def test_an_error_of_the_gateway_itself_tells_nothing() -> None:
    """What went wrong inside is in the log, under the id that the client has."""
    assert (GatewayError.status, GatewayError.reason, GatewayError.source) == (500, "internal", "gateway")
    assert "log" in GatewayError().text
