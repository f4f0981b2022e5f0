"""What the registry offers to those who ask it over the network: interfaces, and the values that pass them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from mcpgate.registry.registration import Registration
from mcpgate.registry.roster import Conditions

Json = dict[str, object]


class Receipt(NamedTuple):
    """
    A registration as it stands.

    :ivar entry: how it is shown (`mcpgate.registry.views.entry_view`); nothing secret.
    :ivar etag: by which conditions name it, in its quotes.
    :ivar created: whether there was none before.
    """

    entry: Json
    etag: str
    created: bool


class RegistryPort(Protocol):
    """
    The registry, as the routes of the admin listener use it.

    Names are valid, and who asks may register that server, before any of these is called. What cannot be done is a
    `mcpgate.errors.GatewayError`: raised, or what the Deferred fails with.
    """

    @property
    def index(self) -> int:
        """Grows with every change that can be seen."""

    def register(
        self, server: str, replica: str, registration: Registration, conditions: Conditions
    ) -> Deferred[Receipt]:
        """Take a registration, or the same again; fires when it is kept and live. Cancelling does not undo it."""

    def beat(self, server: str, replica: str, health: str, note: str) -> Json:
        """
        Take a sign of life, and tell how the lease stands.

        :param health: ``passing``, ``warning`` or ``critical``; empty if the replica did not say.
        :raises mcpgate.refusals.NotRegistered: it has to register again.
        """

    def deregister(self, server: str, replica: str, drain_s: float | None, conditions: Conditions) -> Deferred[Json]:
        """
        Take a replica out; fires with the entry as it is then. Cancelling does not undo it.

        :param drain_s: how long its streams may go on; ``None`` takes that of the configuration.
        """

    def entry(self, server: str, replica: str) -> Receipt | None:
        """One registration; ``None`` if there is none."""

    def servers(self) -> list[Json]:
        """Every server of every origin, each with ``name`` and ``replicas``; nothing secret."""

    def server(self, name: str) -> Json | None:
        """One of them, without the work of showing the others; ``None`` if there is none of this name."""

    def simple(self) -> list[Json]:
        """All entries in the simple form: ``id``, ``name``, ``version``, ``basePath``, ``endpoint``, and since when."""

    def find_id(self, simple_id: str) -> tuple[str, str] | None:
        """Server and replica of an id of the simple form (`mcpgate.registry.views.simple_id`), if they are there."""

    def await_change(self, index: int, wait_s: float) -> Deferred[None]:
        """
        Fires when `index` is greater than that, or after so many seconds. Cancelling it is harmless.

        Fails with `mcpgate.errors.Overloaded` if as many wait as may.
        """

    def refresh(self) -> Deferred[Json]:
        """Read all lists now: ``success``, ``message``, and ``sources``, each with what came of it."""

    def sources(self) -> list[Json]:
        """The lists, and how each was read last."""
