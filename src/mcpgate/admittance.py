"""
Who may pass, across reloads: what keeps its state when the rules change.

Buckets stay as full as they are, open connections counted, keys of issuers known, and seals open what they sealed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from mcpgate.assembly import AssemblyFault
from mcpgate.entitlement import address_gate, grants, issuer_terms, limit_policies, seal_keys, seals
from mcpgate.exchange import Exchange
from mcpgate.policy.access import Auth, Terms
from mcpgate.policy.authn import Authenticator, Grant, TokenTable
from mcpgate.policy.issuers import Issuer, Issuers
from mcpgate.policy.keys import KeySet, UnusableKeys
from mcpgate.policy.limits import LimitPolicy
from mcpgate.policy.ratelimit import Limiter, LimitTally
from mcpgate.policy.sessions import Seal
from mcpgate.settings import IssuerSettings, Settings
from mcpgate.snapshot import Access, Moment
from mcpgate.surroundings import Surroundings
from mcpgate.upstream.fetch import Fetcher
from mcpgate.upstream.keysource import KeyFeed, KeySource
from mcpgate.wire.websocket import is_upgrade


class Admittance:
    """
    The rules of a gateway, and their state.

    :ivar access: the rules, for a snapshot.
    :ivar gate: what counts for each address before anybody knows who it is.
    :raises AssemblyFault: as `take`.
    """

    def __init__(self, settings: Settings, lent: Surroundings) -> None:
        self._lent = lent
        self._runs = False
        self._settings = settings
        self._key_sets: dict[tuple[str, str], KeySet] = {}
        self._limiter = Limiter([])
        self._feeds: list[KeyFeed] = []
        self._source = KeySource([], lent.reactor, lent.now, lent.random)
        self.fetcher = Fetcher(lent.reactor, lent.resolver)
        self.gate = address_gate(settings, lent.max_connections)
        self.access = Access()
        self.take(settings)

    def take(self, settings: Settings) -> None:
        """
        Follow these settings from now on.

        :raises AssemblyFault: a key set, or the secret of sessions, that cannot be used; then nothing has changed.
        """
        key_sets = {_source_of(issuer): self._keys_of(issuer) for issuer in settings.auth.jwt}
        seal = self._seal(settings)
        issuers = [Issuer(issuer_terms(issuer), key_sets[_source_of(issuer)]) for issuer in settings.auth.jwt]
        if settings.gate != self._settings.gate:
            self.gate = self.gate.revised(address_gate(settings, self._lent.max_connections))
        self._limiter = self._limiter.revised(limit_policies(settings.limits))
        self._key_sets, self._settings = key_sets, settings
        self.access = Access(
            Authenticator(TokenTable(grants(settings.auth.tokens)), Issuers(issuers) if issuers else None),
            self._limiter if settings.limits else None,
            seal,
            tuple(dict.fromkeys(issuer.issuer for issuer in settings.auth.jwt)),
            settings.public_url.encode("ascii") if settings.public_url is not None else None,
            settings.http.max_inspect_bytes,
        )
        self._follow(settings.auth.jwt)

    def _keys_of(self, issuer: IssuerSettings) -> KeySet:
        """Those of a file, or those that are known already; else none yet."""
        if issuer.jwks_file is None:
            known = self._key_sets.get(_source_of(issuer))
            return KeySet() if known is None else known
        keys, path = KeySet(), os.path.join(self._lent.rundir, issuer.jwks_file)
        try:
            with open(path, "rb") as file:
                keys.replace(file.read(), self._lent.now())
        except (OSError, UnusableKeys) as error:
            raise AssemblyFault(f"auth.jwt: jwks_file of {issuer.id}: {path}: {error}")
        return keys

    def _seal(self, settings: Settings) -> Seal | None:
        """Made only where something is sealed: else there is no secret to be kept."""
        if not settings.registry.is_open and not any(seals(settings, server) for server in settings.servers):
            return None
        return Seal(seal_keys(settings.sessions.keys or (self._lent.session_secret(),)))

    # --- the keys of issuers ------------------------------------------------------------------------------------

    def _follow(self, issuers: tuple[IssuerSettings, ...]) -> None:
        """Fetch from where the present configuration says."""
        feeds = [
            KeyFeed(issuer.id, issuer.jwks_url, self._key_sets[_source_of(issuer)], self.fetcher, issuer.refresh)
            for issuer in issuers
            if issuer.jwks_url is not None
        ]
        if feeds == self._feeds:
            return  # who waits for keys goes on waiting for them
        self._feeds = feeds
        former, self._source = self._source, KeySource(feeds, self._lent.reactor, self._lent.now, self._lent.random)
        former.stop()
        if self._runs:
            self._source.start()

    def start(self) -> None:
        """The reactor runs: fetch what must be known."""
        self._runs = True
        self._source.start()

    def stop(self) -> None:
        """Fetch nothing any more."""
        self._runs = False
        self._source.stop()

    def await_keys(self, issuer_id: str, then: Callable[[], None]) -> Callable[[], None]:
        """See `mcpgate.upstream.keysource.KeySource.await_keys`; of the present source."""
        return self._source.await_keys(issuer_id, then)

    def limit_tallies(self) -> list[tuple[LimitPolicy, LimitTally]]:
        """What each limit has decided so far."""
        return self._limiter.tallies()

    # --- what is open -------------------------------------------------------------------------------------------

    def still_knows(self, exchange: Exchange) -> bool:
        """Likewise for one that needs no token: whether the one that it has, if any, is still good."""
        return exchange.grant is None or self.renew(exchange, "", None)

    def renew(self, exchange: Exchange, server: str, terms: Terms | None) -> bool:
        """
        After a reload: whether an open exchange would be let in again; notes until when.

        :param server: its name; empty for an address of the gateway itself.
        :param terms: of its server; ``None`` if that is gone, and only the token counts.
        """
        is_tunnel = is_upgrade(exchange.head)
        if terms is not None and terms.auth is not Auth.REQUIRED:
            exchange.expires_s = math.inf  # nobody is asked for a token any more
            return terms.objection(None, server, is_tunnel) is None
        if not isinstance(exchange.grant, Grant):
            return terms is None
        moment = Moment(self._lent.now(), self._lent.wall())
        grant = self.access.authenticator.renew(exchange.grant, moment.wall_s)
        if grant is None or (server and not grant.admits_server(server)):
            return False
        if terms is not None and terms.objection(grant, server, is_tunnel) is not None:
            return False
        exchange.grant, exchange.expires_s = grant, moment.steady_s(grant.expires_s)
        return True


def _source_of(issuer: IssuerSettings) -> tuple[str, str]:
    """By what keys are known to be the same after a reload."""
    return issuer.id, issuer.jwks_url or f"file:{issuer.jwks_file}"
