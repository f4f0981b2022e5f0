"""
The connections to one replica: newest first, short-lived when idle, never shared with another server.

Idle connections are kept 4 s: below the 5 s after which uvicorn and Node close theirs, since a request written to a
connection that the upstream is just closing is lost, and a POST may not be sent twice.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IAddress, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import ClientFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from mcpgate.errors import ConnectFailed, ConnectTimeout, GatewayError
from mcpgate.net import dialing
from mcpgate.net.deadlines import Deadlines
from mcpgate.net.dialing import Pending
from mcpgate.policy.egress import Egress
from mcpgate.settings import UpstreamSettings
from mcpgate.upstream.connection import UpstreamConnection
from mcpgate.upstream.guarded import GuardedResolver
from mcpgate.upstream.ports import Caller
from mcpgate.upstream.resolver import Resolver, literal
from mcpgate.wire.http1 import AnswerHead
from mcpgate.wire.last_head import LastHead

IDLE_S = 4.0
#: More idle connections than this are closed at once; 256 is what a burst leaves that comes again.
MAX_IDLE = 256
#: How long a replica that could not be dialled is passed over while others can be had; then one request tries it again.
AVOIDED_S = 2.0


@dataclass(frozen=True, slots=True)
class Environment:
    """
    What a replica is given: the process's parts, passed in.

    :ivar rules: where it may be, if it is not from the local configuration; asked before every connect.
    """

    reactor: Any  # IReactorTCP and IReactorTime; zope has no way to say both
    resolver: Resolver
    deadlines: Deadlines
    now: Callable[[], float]
    rules: Callable[[], Egress] | None = None

    def resolver_for(self, port: int) -> Resolver | GuardedResolver:
        """What gives the addresses to dial; with rules, an address that may not be dialled is as one that is not."""
        return self.resolver if self.rules is None else GuardedResolver(self.resolver, self.rules, port)


class Status(enum.Enum):
    """What the last attempt to connect has shown."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Replica:
    """
    One address of a server, and its connections.

    :param tls: how to speak TLS to it; ``None`` for plain HTTP.
    :param connect_s: seconds for name, connection and TLS handshake together.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        connect_s: float,
        tls: IOpenSSLClientConnectionCreator | None,
        environment: Environment,
    ) -> None:
        self.host = settings.address.host
        self.port = settings.address.port
        self.literal = literal(self.host)
        self.name = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        self.connect_s = connect_s
        self.tls = tls
        self.environment = environment
        self.status = Status.UNKNOWN
        #: Its lease is over or it says so itself: others come first.
        self.is_critical = False
        #: The last attempt to connect was answered that nobody is there.
        self.is_refusing = False
        #: Told when ``status`` has changed.
        self.on_status: Callable[[Replica], None] | None = None
        self.open_count = 0
        self.connects_ok = self.connects_failed = 0
        self._avoided_until_s = 0.0
        self._retired = False
        #: A server begins all its streams alike: 0.5 us to recognise that, against 9 to read it again.
        self.stream_heads: LastHead[AnswerHead] = LastHead()
        self._idle: list[UpstreamConnection] = []
        #: What may come under another rule while it is open.
        self._guarded: set[UpstreamConnection] = set()
        self._dials: set[Dial] = set()

    def __repr__(self) -> str:
        return f"<Replica {self.host}:{self.port}: {self.open_count} open, {len(self._idle)} idle>"

    @property
    def idle_count(self) -> int:
        """Open connections that nobody uses."""
        return len(self._idle)

    def acquire(self, caller: Caller) -> Dial | None:
        """
        Give the caller a connection, now or later.

        :returns: the attempt to cancel if the caller leaves first; ``None`` if it has its connection already.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                caller.take_connection(connection, False)
                return None
            connection.abort()
        return self.dial(caller)

    def dial(self, caller: Caller) -> Dial | None:
        """As `acquire`, but always a new connection, past the pool."""
        dial = Dial(self, caller)
        self._dials.add(dial)
        dial.begin()
        return None if dial.is_over else dial

    def end_dial(self, dial: Dial) -> None:
        """It has led to a connection, or to none."""
        self._dials.discard(dial)

    def note_success(self) -> None:
        """It could be dialled."""
        self.connects_ok += 1
        self._take_status(Status.UP, False)

    def note_failure(self, refused: bool) -> None:
        """It could not be dialled: others come first for a while."""
        self.connects_failed += 1
        self._avoided_until_s = self.environment.now() + AVOIDED_S
        self._take_status(Status.DOWN, refused)

    def _take_status(self, status: Status, refused: bool) -> None:
        if self.status is status and self.is_refusing == refused:
            return
        self.status, self.is_refusing = status, refused
        if self.on_status is not None:
            self.on_status(self)

    def may_be_up(self) -> bool:
        """Whether it should get new work, if there is a choice."""
        if self.is_critical:
            return False
        return self.status is not Status.DOWN or self.environment.now() >= self._avoided_until_s

    def probe(self, told: Callable[[bool], None] | None = None, *, keeps_connection: bool = True) -> None:
        """
        Connect once, on the next turn, so that ``status`` is known and the first request finds a connection.

        :param told: called with whether that went well, once, when it is over.
        :param keeps_connection: false to close it again at once: thousands of probes need not hold as many files.
        """
        # A neighbour is reached at once; but whoever asks has more to do first, and counts how many are under way.
        self.environment.reactor.callLater(0, self.dial, _Probe(self, told, keeps_connection))

    def put_back(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose exchange ended well."""
        if self._retired or connection.is_forbidden or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        self._idle.append(connection)
        now = self.environment.now
        connection.watch(now() + IDLE_S)

    def note_open(self, connection: UpstreamConnection) -> None:
        """There is a connection more."""
        self.open_count += 1
        if self.environment.rules is not None:
            self._guarded.add(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""
        self.open_count -= 1
        self._guarded.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def part_from(self, objection: Callable[[str, int], str]) -> bool:
        """
        Where nobody may connect any more, nothing new happens: what is dialled or idle is closed, what is busy is not
        used again. To be called whenever the rule has changed, since nobody asks it again for an open connection; a
        wider rule takes back what was said of those that are still open.

        :param objection: why an address and port may not be dialled; empty if they may (`Egress.objection`).
        :returns: whether exchanges are open on such connections; see `cut_forbidden`.
        """
        for dial in list(self._dials):
            dial.part_from(objection)
        for connection in list(self._guarded):
            connection.is_forbidden = bool(objection(connection.address, self.port))
            if connection.is_forbidden and connection in self._idle:
                self._idle.remove(connection)
                connection.abort()
        return any(each.is_forbidden and each.is_busy for each in self._guarded)

    def cut_forbidden(self, error: GatewayError) -> None:
        """End the exchanges that are still open where nobody may connect any more, and no others."""
        for connection in list(self._guarded):
            if connection.is_forbidden:
                connection.cut(error)

    @property
    def is_retired(self) -> bool:
        """Whether it only finishes what is open."""
        return self._retired

    def retire(self) -> None:
        """Keep no connection any more: the server left the configuration, or the gateway stops."""
        self._retired = True
        while self._idle:
            self._idle.pop().abort()


class _Probe:
    """A caller that only wants to know whether there is somebody."""

    def __init__(self, replica: Replica, told: Callable[[bool], None] | None, keeps_connection: bool) -> None:
        self._replica = replica
        self._told = told
        self._keeps_connection = keeps_connection

    def take_connection(self, connection: UpstreamConnection, fresh: bool) -> None:
        if self._keeps_connection:
            self._replica.put_back(connection)
        else:
            connection.abort()
        self._end(True)

    def fail_connection(self, error: GatewayError) -> None:
        self._end(False)

    def _end(self, successful: bool) -> None:
        if self._told is not None:
            self._told(successful)


class Dial(ClientFactory):
    """One attempt to connect: the addresses of the name in turn, within one deadline."""

    noisy = False

    def __init__(self, replica: Replica, caller: Caller) -> None:
        self._replica = replica
        self._caller: Caller | None = caller
        self._deadline_s = replica.environment.now() + replica.connect_s
        self._addresses: list[str] = []
        self._address = ""
        self._resolver = replica.environment.resolver_for(replica.port)
        self._lookup: Deferred[None] | None = None
        self._pending: Pending | None = None
        self._connection: UpstreamConnection | None = None

    @property
    def is_over(self) -> bool:
        """The caller has what it wanted, or heard that it cannot be had, or has left."""
        return self._caller is None

    def begin(self) -> None:
        """Look the name up, if it is one, then connect."""
        if self._replica.literal:
            self._addresses = [self._replica.literal]
            self._next_address()
            return
        environment = self._replica.environment
        found = self._resolver.resolve(self._replica.host)
        self._lookup = found.addCallbacks(self._resolved, self._unresolved).addErrback(self._unresolved)
        if not self._address and self._caller is not None:
            # A silent name server: the connect timeout counts for the look-up too.
            timer = environment.reactor.callLater(self._replica.connect_s, self._lookup.cancel)
            self._lookup.addBoth(lambda _: timer.cancel() if timer.active() else None)

    def cancel(self) -> None:
        """The caller has left; it hears no more."""
        self._caller = None
        self._replica.end_dial(self)
        if self._lookup is not None:
            self._lookup.cancel()
        if self._connection is not None:
            self._connection.abort()
        elif self._pending is not None:
            self._pending.disconnect()

    def part_from(self, objection: Callable[[str, int], str]) -> None:
        """Give up if what is being dialled may not be dialled any more."""
        found = self._address and objection(self._address, self._replica.port)
        if found:
            self._fail(ConnectFailed(detail=f"{self._replica.host}: {self._address} is {found}"))
            self.cancel()

    def _resolved(self, addresses: list[str]) -> None:
        self._addresses = list(addresses)
        self._next_address()

    def _unresolved(self, failure: Failure) -> None:
        if self._caller is None:
            if not failure.check(CancelledError):  # that was the caller who left; anything else is for the log
                failure.raiseException()
        elif failure.check(CancelledError):
            self._fail(ConnectTimeout(detail=f"no address for {self._replica.host} in time"))
        else:
            self._fail(ConnectFailed(detail=f"{self._replica.host}: {failure.getErrorMessage()}"))

    def _next_address(self) -> None:
        replica = self._replica
        left_s = self._deadline_s - replica.environment.now()
        if left_s <= 0:
            self._fail(ConnectTimeout())
            return
        share_s = left_s / len(self._addresses)  # a silent address must leave time for the next
        self._address = self._addresses.pop(0)
        try:
            self._resolver.ensure_allowed(replica.host, self._address)
        except OSError as refused:
            self._fail(ConnectFailed(detail=f"{replica.host}: {refused}"))
            return
        reactor = replica.environment.reactor
        if replica.tls is None:
            self._pending = dialing.dial(reactor, self._address, replica.port, self, share_s)
        else:
            factory = TLSMemoryBIOFactory(replica.tls, True, self, clock=reactor)
            self._pending = reactor.connectTCP(self._address, replica.port, factory, timeout=share_s)

    def buildProtocol(self, addr: IAddress | None) -> UpstreamConnection:
        replica = self._replica
        connection = self._connection = UpstreamConnection(
            replica.environment.deadlines, self._opened, replica.put_back, self._lost, replica.tls is not None
        )
        connection.address = self._address
        connection.stream_heads = replica.stream_heads
        replica.note_open(connection)
        if replica.tls is not None:
            connection.watch(self._deadline_s)  # for the handshake
        return connection

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        if self._caller is None:
            return
        if self._addresses:
            self._next_address()
        elif reason.check(TimeoutError):
            self._fail(ConnectTimeout())
        else:
            refused = reason.check(ConnectionRefusedError) is not None
            self._fail(ConnectFailed(detail=reason.getErrorMessage()), refused)

    def _opened(self, connection: UpstreamConnection) -> None:
        self._replica.note_success()
        self._replica.end_dial(self)
        self._connection = None  # it outlives this dial; neither keeps the other
        connection.report_to(self._replica.forget)
        caller, self._caller = self._caller, None
        if caller is None:
            connection.abort()
        else:
            caller.take_connection(connection, True)

    def _lost(self, connection: UpstreamConnection) -> None:
        self._replica.forget(connection)
        if self._caller is not None:  # lost before it was open: the TLS handshake failed or took too long
            timed_out = self._replica.environment.now() >= self._deadline_s
            self._fail(ConnectTimeout() if timed_out else ConnectFailed(detail="TLS handshake failed"))

    def _fail(self, error: GatewayError, refused: bool = False) -> None:
        caller, self._caller = self._caller, None
        self._replica.end_dial(self)
        if caller is not None:  # one who has left says nothing about the replica
            self._replica.note_failure(refused)
            caller.fail_connection(error)
