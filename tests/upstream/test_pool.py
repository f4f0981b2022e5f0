"""The connections to one replica: dialled, kept for a while, and let go."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any, cast

import pytest
from tests.net.lines import real_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from mcpgate.errors import GatewayError, ServerRemoved
from mcpgate.net.deadlines import Deadlines
from mcpgate.net.memory import MemoryTransport
from mcpgate.net.reactor import LeanEPollReactor
from mcpgate.policy.egress import Egress
from mcpgate.settings import UpstreamSettings
from mcpgate.upstream.connection import UpstreamConnection
from mcpgate.upstream.pool import IDLE_S, MAX_IDLE, Dial, Environment, Replica, Status
from mcpgate.upstream.resolver import CACHE_S, Resolver

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Caller:
    """Wants a connection; notes what it gets."""

    def __init__(self) -> None:
        self.connections: list[tuple[UpstreamConnection, bool]] = []
        self.reasons: list[str] = []

    def take_connection(self, connection: UpstreamConnection, fresh: bool) -> None:
        self.connections.append((connection, fresh))

    def fail_connection(self, error: GatewayError) -> None:
        self.reasons.append(error.reason)


class Sink:
    """Takes an answer without looking at it; notes what went wrong."""

    def __init__(self) -> None:
        self.lost: list[str] = []

    def lose_upstream(self, error: GatewayError, untouched: bool) -> None:
        self.lost.append(error.reason)

    def take_head(self, head: object, body: bytes, ended: bool) -> None:
        """Somebody's answer."""


class World:
    """A replica, and the network that a test plays."""

    def __init__(
        self, url: str = "http://h.example:3010", connect_s: float = 3.0, tls: object = None, networks: str = ""
    ) -> None:
        self.reactor = MemoryReactorClock()
        self.found: Callable[[str], Deferred[list[str]]] = lambda host: succeed(["192.0.2.1", "192.0.2.2"])
        deadlines = Deadlines(self.reactor.callLater, self.reactor.seconds, on_error=print)
        resolver = Resolver(lambda host: self.found(host), self.reactor.seconds)
        self.rules = Egress([ip_network(each) for each in networks.split()])
        rules = (lambda: self.rules) if networks else None
        environment = Environment(self.reactor, resolver, deadlines, self.reactor.seconds, rules)
        self.replica = Replica(UpstreamSettings(url=url), connect_s, cast(Any, tls), environment)

    @property
    def _newest(self) -> Any:
        return self.reactor.tcpClients[-1][2]

    @property
    def dialled(self) -> list[str]:
        return [host for host, *_ in self.reactor.tcpClients]

    def accept(self) -> MemoryTransport:
        """The newest attempt succeeds."""
        protocol = self._newest.buildProtocol(None)
        assert protocol is not None
        transport = MemoryTransport(protocol, 3010)
        protocol.makeConnection(transport)
        return transport

    def refuse(self, reason: Exception | None = None) -> None:
        """The newest attempt fails."""
        self._newest.clientConnectionFailed(None, Failure(reason or ConnectionRefusedError()))

    def allow(self, networks: str) -> bool:
        """The rule is another now; whether exchanges are open where nobody may connect any more."""
        self.rules = Egress([ip_network(each) for each in networks.split()])
        return self.replica.part_from(self.rules.objection)

    def idle(self, count: int = 1) -> list[tuple[UpstreamConnection, MemoryTransport]]:
        """Connections that have served an exchange and wait for the next."""
        callers, transports = [Caller() for _ in range(count)], []
        for caller in callers:
            self.replica.dial(caller)
            transports.append(self.accept())
        pairs = [(caller.connections[0][0], transport) for caller, transport in zip(callers, transports, strict=True)]
        for connection, transport in pairs:
            connection.send(cast(Any, Sink()), b"GET / HTTP/1.1\r\n\r\n", head_only=False, body_follows=False)
            transport.take_data(ANSWER)
        return pairs


# --- dialling -----------------------------------------------------------------------------------------------------


def test_a_caller_gets_a_fresh_connection() -> None:
    """And the replica is known to be up, and counts it."""
    world, caller = World(), Caller()
    dial = world.replica.acquire(caller)
    assert dial is not None
    assert (world.replica.status, world.dialled) == (Status.UNKNOWN, ["192.0.2.1"])
    world.accept()
    assert [fresh for _, fresh in caller.connections] == [True]
    assert (world.replica.status, world.replica.open_count) == (Status.UP, 1)
    assert repr(world.replica) == "<Replica h.example:3010: 1 open, 0 idle>"


@pytest.mark.parametrize(
    ("last", "reason"), [(ConnectionRefusedError(), "connect_failed"), (TimeoutError(), "connect_timeout")]
)
def test_all_addresses_are_tried_before_giving_up(last: Exception, reason: str) -> None:
    """What the last attempt says is what the caller hears; the replica is down."""
    world, caller = World(), Caller()
    world.replica.acquire(caller)
    world.refuse()
    assert (world.dialled, caller.reasons) == (["192.0.2.1", "192.0.2.2"], [])
    world.refuse(last)
    assert (caller.reasons, world.replica.status, world.replica.open_count) == ([reason], Status.DOWN, 0)


def test_all_addresses_share_one_deadline() -> None:
    """A name with many dead addresses does not take many times the time."""
    world, caller = World(connect_s=3.0), Caller()
    world.replica.acquire(caller)
    world.reactor.advance(2)
    world.refuse()
    assert world.reactor.tcpClients[-1][3] == pytest.approx(1.0)
    world.replica.acquire(caller)
    world.reactor.advance(4)
    world.refuse()
    assert caller.reasons == ["connect_timeout"]


@pytest.fixture
def reactor() -> Iterator[LeanEPollReactor]:
    """A real one."""
    with real_reactor() as reactor:
        yield reactor


def replica_at(reactor: LeanEPollReactor, port: int) -> Replica:
    def nobody(host: str) -> Deferred[list[str]]:
        raise AssertionError("a literal is not looked up")

    deadlines = Deadlines(reactor.callLater, reactor.seconds, on_error=print)
    environment = Environment(reactor, Resolver(nobody, reactor.seconds), deadlines, reactor.seconds)
    return Replica(UpstreamSettings(url=f"http://127.0.0.1:{port}"), 3.0, None, environment)


def test_a_replica_on_this_machine_is_there_before_acquire_returns(reactor: LeanEPollReactor) -> None:
    """No look-up, no timer, no turn of the reactor; and nothing that could still be called off."""
    caller = Caller()
    with socket.create_server(("127.0.0.1", 0)) as server:
        replica = replica_at(reactor, server.getsockname()[1])
        assert replica.acquire(caller) is None
        assert [fresh for _, fresh in caller.connections] == [True]
        assert (replica.open_count, replica.connects_ok, reactor.getDelayedCalls()) == (1, 1, [])
        caller.connections[0][0].abort()
        reactor.iterate(0)
    assert replica.open_count == 0


def test_a_replica_on_this_machine_that_is_down(reactor: LeanEPollReactor) -> None:
    """The caller hears it after it has what it may call off."""
    caller = Caller()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    replica = replica_at(reactor, port)
    assert replica.acquire(caller) is not None
    assert caller.reasons == []
    reactor.iterate(0)
    assert (caller.reasons, replica.is_refusing) == (["connect_failed"], True)


def test_a_silent_name_server_counts_too() -> None:
    """The time for a connection begins with the question for its address."""
    world, caller = World(connect_s=3.0), Caller()
    world.found = lambda host: Deferred()
    world.replica.acquire(caller)
    world.reactor.advance(2.9)
    assert caller.reasons == []
    world.reactor.advance(0.2)
    assert (caller.reasons, world.replica.status) == (["connect_timeout"], Status.DOWN)


def test_a_late_answer_of_the_name_server_leaves_the_rest_of_the_time() -> None:
    """And no timer behind."""
    world, caller = World(connect_s=3.0), Caller()
    answer: Deferred[list[str]] = Deferred()
    world.found = lambda host: answer
    world.replica.acquire(caller)
    world.reactor.advance(2)
    answer.callback(["192.0.2.1"])
    assert world.reactor.tcpClients[-1][3] == pytest.approx(1.0)
    world.accept()
    assert len(caller.connections) == 1


@pytest.mark.parametrize("when", ["looking up", "dialling", "open"])
def test_a_caller_that_leaves_hears_no_more(when: str) -> None:
    """A connection that comes all the same is closed, and the replica is not to blame."""
    world, caller = World(), Caller()
    if when == "looking up":
        world.found = lambda host: Deferred()
    dial = world.replica.acquire(caller)
    assert dial is not None
    if when == "open":
        world.accept()
        caller.connections.clear()
    dial.cancel()
    if when == "dialling":
        transport = world.accept()
        transport.deliver_loss()
        assert transport.closed == "reset"
        assert world.replica.open_count == 0
    world.reactor.advance(10)
    assert (caller.connections, caller.reasons) == ([], [])
    assert world.replica.status is not Status.DOWN


def test_a_probe_finds_out_and_leaves_a_connection() -> None:
    """The first request need not wait."""
    world = World()
    world.replica.probe()
    world.reactor.advance(0)
    world.accept()
    assert (world.replica.status, repr(world.replica)) == (Status.UP, "<Replica h.example:3010: 1 open, 1 idle>")
    caller = Caller()
    assert world.replica.acquire(caller) is None
    assert [fresh for _, fresh in caller.connections] == [False]


def test_an_open_connection_does_not_keep_its_dial() -> None:
    """Memory per stream counts; its replica is told when it goes."""
    world, caller = World(), Caller()
    world.replica.acquire(caller)
    transport = world.accept()
    connection, _ = caller.connections[0]
    assert not any(isinstance(getattr(kept, "__self__", kept), Dial) for kept in vars(connection).values())
    connection.abort()
    transport.deliver_loss()
    assert world.replica.open_count == 0


def test_a_probe_of_nobody_says_down() -> None:
    """And raises nothing."""
    world = World("http://127.0.0.1:1")
    world.replica.probe()
    world.reactor.advance(0)
    world.refuse()
    assert world.replica.status is Status.DOWN


# --- keeping ------------------------------------------------------------------------------------------------------


def test_the_newest_idle_connection_is_taken_first() -> None:
    """The old ones may grow cold."""
    world = World()
    pairs = world.idle(3)
    for connection, _ in reversed(pairs):
        caller = Caller()
        world.replica.acquire(caller)
        assert caller.connections == [(connection, False)]


def test_idle_connections_are_closed_after_a_while() -> None:
    """Before uvicorn and Node would do it."""
    world = World()
    ((_, transport),) = world.idle()
    world.reactor.advance(IDLE_S - 0.1)
    assert transport.closed is None
    world.reactor.advance(0.4)
    assert transport.closed is not None
    transport.deliver_loss()
    assert repr(world.replica) == "<Replica h.example:3010: 0 open, 0 idle>"


@pytest.mark.parametrize("what", ["bytes", "end", "reset"])
def test_what_happens_on_an_idle_connection_takes_it_out(what: str) -> None:
    """Nobody asked, so nobody may get it as an answer."""
    world = World()
    ((_, transport),) = world.idle()
    {"bytes": lambda: transport.take_data(ANSWER), "end": transport.take_end, "reset": transport.take_reset}[what]()
    if what != "bytes":
        transport.deliver_loss()
    caller = Caller()
    assert world.replica.acquire(caller) is not None
    transport.deliver_loss()
    assert caller.connections == []
    assert repr(world.replica) == "<Replica h.example:3010: 0 open, 0 idle>"


def test_a_connection_that_died_unheard_is_passed_over() -> None:
    """The next one is tried, and the dead one is gone."""
    world = World()
    (alive, _), (_, dead) = world.idle(2)
    dead.abortConnection()
    dead.deliver_loss()
    caller = Caller()
    world.replica.acquire(caller)
    assert caller.connections == [(alive, False)]


def test_idle_connections_are_bounded() -> None:
    """A burst does not leave a thousand open files behind."""
    world = World()
    pairs = world.idle(MAX_IDLE + 3)
    assert sum(transport.closed is None for _, transport in pairs) == MAX_IDLE


def test_a_retired_replica_keeps_nothing() -> None:
    """What is idle is closed at once, what is busy when it is done."""
    world = World()
    busy = Caller()
    world.replica.acquire(busy)
    transport = world.accept()
    ((_, idle),) = world.idle()
    world.replica.retire()
    assert idle.closed is not None
    assert transport.closed is None
    busy.connections[0][0].send(cast(Any, Sink()), b"", head_only=False, body_follows=False)
    transport.take_data(ANSWER)
    assert transport.closed is not None


# --- what is known, and told ----------------------------------------------------------------------------------------


def test_a_change_of_its_status_is_told_once() -> None:
    """Also whether somebody refused: that nobody answers may be the network's fault."""
    world = World()
    told: list[tuple[Status, bool]] = []
    world.replica.on_status = lambda replica: told.append((replica.status, replica.is_refusing))
    world.replica.note_failure(refused=False)
    world.replica.note_failure(refused=False)
    world.replica.note_failure(refused=True)
    world.replica.note_success()
    world.replica.note_success()
    assert told == [(Status.DOWN, False), (Status.DOWN, True), (Status.UP, False)]
    assert (world.replica.connects_ok, world.replica.connects_failed) == (2, 3)


@pytest.mark.parametrize(("reason", "refusing"), [(ConnectionRefusedError(), True), (TimeoutError(), False)])
def test_a_probe_tells_its_outcome_each_time(reason: Exception, refusing: bool) -> None:
    """Also if it is that of the last one."""
    world = World("http://127.0.0.1:1")
    world.found = lambda host: succeed([host])
    told: list[bool] = []
    for _ in range(2):
        world.replica.probe(told.append)
        world.reactor.advance(0)
        world.refuse(reason)
    assert (told, world.replica.is_refusing) == ([False, False], refusing)
    world.replica.probe(told.append)
    assert not world.reactor.tcpClients[2:]  # never within the call
    world.reactor.advance(0)
    world.accept()
    assert (told, world.replica.is_refusing) == ([False, False, True], False)


def test_one_that_is_critical_comes_last() -> None:
    """However well it can be reached."""
    world = World()
    world.replica.note_success()
    assert world.replica.may_be_up()
    world.replica.is_critical = True
    assert not world.replica.may_be_up()


def test_what_has_retired_keeps_nothing_and_says_so() -> None:
    """What it has open goes on."""
    world = World()
    ((_, idle),) = world.idle()
    assert not world.replica.is_retired
    world.replica.retire()
    idle.deliver_loss()
    assert (world.replica.is_retired, world.replica.idle_count, idle.closed) == (True, 0, "reset")


@pytest.mark.parametrize("well", [True, False])
def test_a_probe_may_leave_nothing_behind(well: bool) -> None:
    """So that ten thousand of them do not hold as many files; who counts them hears when each is over."""
    world = World("http://127.0.0.1:1")
    told: list[bool] = []
    world.replica.probe(told.append, keeps_connection=False)
    world.reactor.advance(0)
    assert told == []
    if well:
        transport = world.accept()
        assert transport.closed is not None
        transport.deliver_loss()
    else:
        world.refuse()
    assert told == [well]
    assert (world.replica.status, world.replica.open_count) == (Status.UP if well else Status.DOWN, 0)


# --- rules that change ----------------------------------------------------------------------------------------------


def test_a_rule_that_has_changed_holds_for_the_next_address() -> None:
    """Of the same look-up: it is asked right before each is dialled."""
    world, caller = World(networks="192.0.2.0/24"), Caller()
    world.replica.acquire(caller)
    world.rules = Egress([ip_network("192.0.2.1/32")])
    world.refuse()
    assert (world.dialled, caller.reasons) == (["192.0.2.1"], ["connect_failed"])


def test_what_is_dialled_is_given_up_when_it_is_forbidden() -> None:
    """Nobody is greeted there, however long it takes to answer."""
    world, caller, other = World(networks="192.0.2.0/24"), Caller(), Caller()
    world.replica.acquire(caller)
    late = world._newest
    world.allow("192.0.2.2/32")
    assert caller.reasons == ["connect_failed"]
    protocol = late.buildProtocol(None)
    protocol.makeConnection(transport := MemoryTransport(protocol, 3010))
    assert (caller.connections, transport.closed, transport.delivered) == ([], "reset", b"")
    world.found = lambda host: succeed(["192.0.2.2"])
    world.reactor.advance(CACHE_S)
    world.replica.acquire(other)
    world.allow("192.0.2.2/31")
    world.accept()
    assert (len(other.connections), other.reasons) == (1, [])


def _busy(world: World, address: str) -> tuple[UpstreamConnection, MemoryTransport, Sink]:
    """An exchange at an address."""
    caller, sink = Caller(), Sink()
    world.found = lambda host: succeed([address])
    world.reactor.advance(CACHE_S)
    world.replica.dial(caller)
    transport = world.accept()
    connection = caller.connections[0][0]
    connection.send(cast(Any, sink), b"GET / HTTP/1.1\r\n\r\n", head_only=False, body_follows=False)
    return connection, transport, sink


def test_what_is_idle_where_nobody_may_go_is_closed() -> None:
    """Whichever address was dialled last; what is idle elsewhere stays, and the replica keeps connections as before."""
    world = World(networks="192.0.2.0/24")
    (_, bad, _), (_, good, _) = _busy(world, "192.0.2.1"), _busy(world, "192.0.2.2")
    bad.take_data(ANSWER)
    good.take_data(ANSWER)
    assert not world.allow("192.0.2.2/32")
    assert (bad.closed, good.closed, world.replica.idle_count) == ("reset", None, 1)
    _, later, _ = _busy(world, "192.0.2.2")
    later.take_data(ANSWER)
    assert (world.replica.idle_count, world.replica.is_retired) == (2, False)


def test_what_is_busy_where_nobody_may_go_is_not_used_again() -> None:
    """It finishes what it carries."""
    world = World(networks="192.0.2.0/24")
    _, transport, sink = _busy(world, "192.0.2.1")
    assert world.allow("192.0.2.2/32")
    untouched = transport.closed
    transport.take_data(ANSWER)
    assert (untouched, transport.closed, sink.lost, world.replica.idle_count) == (None, "reset", [], 0)
    assert not world.allow("192.0.2.2/32")


def test_a_wider_rule_takes_it_back() -> None:
    """What was still open is as good as before."""
    world = World(networks="192.0.2.0/24")
    _, transport, _ = _busy(world, "192.0.2.1")
    assert world.allow("192.0.2.2/32")
    assert not world.allow("192.0.2.0/24")
    transport.take_data(ANSWER)
    assert (transport.closed, world.replica.idle_count) == (None, 1)


def test_exchanges_end_where_nobody_may_go() -> None:
    """When their time is over; those at other addresses of the same replica go on."""
    world = World(networks="192.0.2.0/24")
    (_, bad, cut), (_, good, kept) = _busy(world, "192.0.2.1"), _busy(world, "192.0.2.2")
    assert world.allow("192.0.2.2/32")
    world.replica.cut_forbidden(ServerRemoved())
    assert (bad.closed, cut.lost) == ("reset", [ServerRemoved.reason])
    assert (good.closed, kept.lost) == (None, [])


def test_what_the_configuration_names_is_under_no_rule() -> None:
    """Whatever registrations may do."""
    world = World()
    _, transport, _ = _busy(world, "192.0.2.1")
    assert not world.allow("")
    transport.take_data(ANSWER)
    assert world.replica.idle_count == 1
