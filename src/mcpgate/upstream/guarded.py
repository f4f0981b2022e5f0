"""
Addresses for what somebody else has named: only those that may be dialled, checked at every connect.

Between a registration and a connect a name may have got another address (DNS rebinding). So nothing that was once
found good is kept: whoever dials asks here, and dials what this gives, as it was given. Twisted takes such a literal
to ``connect(2)`` without a further look-up, so that the peer is the address that was checked, by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mcpgate.errors import Overloaded
from mcpgate.policy.egress import Egress
from mcpgate.refusals import AddressForbidden, RegistrationRefused
from mcpgate.upstream.resolver import Resolver, TooManyLookups
from mcpgate.values.addresses import UpstreamUrl

#: How long a registration waits for the look-up of its name.
LOOKUP_S: Final = 3.0


class AddressRefused(OSError):
    """
    A host that may not be dialled. The text is for the log, which tells the host anyway; it names the address.

    :ivar told: for whoever has registered the host, who may not learn what a name stands for here.
    """

    def __init__(self, host: str, address: str, objection: str) -> None:
        super().__init__(f"{address} is {objection}")
        self.told = f"{host} is {objection}" if host == address else f"{host} has an address that is {objection}"


class GuardedResolver:
    """
    A resolver for one replica that is not from the local configuration; takes the place of a `Resolver`.

    :param resolver: who really looks up; its own threads, so that a silent name server of a registrant holds nobody
        else up.
    :param rules: the rule of the moment, asked for at every look-up.
    :param port: the one that will be dialled.
    """

    def __init__(self, resolver: Resolver, rules: Callable[[], Egress], port: int) -> None:
        self._resolver = resolver
        self._rules = rules
        self._port = port

    def resolve(self, host: str) -> Deferred[list[str]]:
        """
        The addresses of a host, at least one; literals, each of which may be dialled.

        Fails with `AddressRefused` if one of them may not, with another ``OSError`` if there is none. Cancelling drops
        the caller, as in `Resolver`.
        """
        return self._resolver.resolve(host).addCallback(self._checked, host)

    def _checked(self, addresses: list[str], host: str) -> list[str]:
        for address in addresses:
            self.ensure_allowed(host, address)
        return addresses

    def ensure_allowed(self, host: str, address: str) -> None:
        """
        Ask again right before an address of the host is dialled: the rule may have changed since the look-up.

        :raises AddressRefused: it may not be dialled now.
        """
        objection = self._rules().objection(address, self._port)
        if objection:
            raise AddressRefused(host, address, objection)


def check_url(
    url: UpstreamUrl,
    resolver: Resolver,
    rules: Callable[[], Egress],
    clock: IReactorTime,
    deadline_s: float = LOOKUP_S,
) -> Deferred[None]:
    """
    Whether a replica may be registered there: at once for an IP literal, for a name when it has been looked up.

    Fails with `AddressForbidden`, which tells the rule but no address that was not in the URL, with
    `RegistrationRefused` for a name without an address, or without an answer in time, and with `Overloaded` if too many
    names are being looked up. Cancelling drops the caller.
    """
    found = GuardedResolver(resolver, rules, url.port).resolve(url.host)
    found.addTimeout(deadline_s, clock, partial(_too_late, url.host))
    return found.addCallbacks(lambda _: None, partial(_explain, url.host))


def _too_late(host: str, _cancelled: object, deadline_s: float) -> Failure:
    return Failure(_refusal(f"no address of {host} could be had within {deadline_s:g} s"))


def _explain(host: str, failure: Failure) -> Failure:
    if isinstance(failure.value, AddressRefused):
        return Failure(AddressForbidden(failure.value.told, f"{host}: {failure.value}"))
    if failure.check(TooManyLookups):
        return Failure(Overloaded("too many names are being looked up; try again", host))
    if failure.check(OSError):
        return Failure(_refusal(f"{host} has no address"))
    return failure


def _refusal(what: str) -> RegistrationRefused:
    return RegistrationRefused.for_faults([("url", what)])
