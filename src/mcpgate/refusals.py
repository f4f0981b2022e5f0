"""
What the registry refuses to those who register: errors of `mcpgate.errors`, told as problem+json.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from mcpgate.errors import GatewayError


class RegistrationRefused(GatewayError):
    """
    A registration that says something impossible.

    :ivar faults: where in it (a key, or a path of keys with dots) and what is wrong, all of them.
    """

    status, reason, source = 422, "registration", "downstream"
    message = "the registration cannot be taken; see faults"
    faults: tuple[tuple[str, str], ...] = ()

    @classmethod
    def for_faults(cls, faults: Iterable[tuple[str, str]]) -> Self:
        """The error that tells what is wrong with each part."""
        found = tuple(faults)
        error = cls("; ".join(f"{where}: {what}" if where else what for where, what in found))
        error.faults = found
        return error


class AddressForbidden(GatewayError):
    """A registration of an address to which the gateway must not connect on somebody else's word."""

    status, reason, source = 403, "address", "downstream"
    message = "registrations may not point there; see registry.allow_networks"


class RegistrationForbidden(GatewayError):
    """A token that may not register this server."""

    status, reason, source = 403, "server_not_registrable", "downstream"
    message = "this token may not register a server of that name"


class Taken(GatewayError):
    """A name or path that belongs to somebody else."""

    status, reason, source = 409, "taken", "downstream"
    message = "the name or path is taken by another server; choose another one"


class ChangedMeanwhile(GatewayError):
    """A condition that does not hold (RFC 9110 section 13.1)."""

    status, reason, source = 412, "changed", "downstream"
    message = "the registration is not, or no longer, what the condition names; read it again"


class NotRegistered(GatewayError):
    """A replica that is not there, or not any more."""

    status, reason, source = 404, "not_registered", "downstream"
    message = "no such registration; register again"


class StoreUnavailable(GatewayError):
    """What should be kept cannot be written at the moment; everything else goes on."""

    status, reason, retry_after_s = 503, "store", 2
    message = "registrations cannot be written at the moment; try again"
