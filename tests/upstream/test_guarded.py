"""What somebody else has named is dialled only where it may be, at every connect anew."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted is not annotated everywhere.)
from __future__ import annotations

import ipaddress
import itertools
from typing import Any, cast

import pytest
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mcpgate.errors import GatewayError, Overloaded
from mcpgate.net.deadlines import Deadlines
from mcpgate.policy.egress import Egress
from mcpgate.refusals import AddressForbidden, RegistrationRefused
from mcpgate.settings import UpstreamSettings
from mcpgate.upstream.connection import UpstreamConnection
from mcpgate.upstream.guarded import LOOKUP_S, AddressRefused, GuardedResolver, check_url
from mcpgate.upstream.pool import Environment, Replica
from mcpgate.upstream.resolver import CACHE_S, Resolver
from mcpgate.values.addresses import upstream_url


class World:
    """Names, rules and time as a test wants them."""

    def __init__(self, *networks: str) -> None:
        self.clock = Clock()
        self.rules = Egress([ipaddress.ip_network(each) for each in networks])
        self.asked: list[str] = []
        self.found: list[Deferred[list[str]]] = []
        self.resolver = Resolver(self._look_up, self.clock.seconds)
        self.results: list[Any] = []

    def _look_up(self, host: str) -> Deferred[list[str]]:
        self.asked.append(host)
        self.found.append(Deferred())
        return self.found[-1]

    def resolve(self, host: str, port: int = 80) -> Deferred[list[str]]:
        """Somebody dials."""
        return GuardedResolver(self.resolver, lambda: self.rules, port).resolve(host).addBoth(self._note)

    def check(self, url: str) -> Deferred[None]:
        """Somebody registers."""
        return check_url(upstream_url(url), self.resolver, lambda: self.rules, self.clock).addBoth(self._note)

    def _note(self, result: Any) -> None:
        self.results.append(result.value if isinstance(result, Failure) else result)

    @property
    def refusal(self) -> GatewayError:
        """Why the only registration was refused."""
        (error,) = self.results
        assert isinstance(error, GatewayError)
        return error


# --- at every connect ---------------------------------------------------------------------------------------------


def test_a_name_is_dialled_if_all_its_addresses_may_be() -> None:
    """In the order of the name server."""
    world = World("10.0.0.0/8", "fd00::/16")
    world.resolve("weather.example")
    world.found[0].callback(["fd00::5", "10.0.0.5"])
    assert world.results == [["fd00::5", "10.0.0.5"]]


@pytest.mark.parametrize("bad", ["11.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "127.1", "fe80::1%eth0"])
def test_one_bad_address_refuses_all(bad: str) -> None:
    """Whoever can put one in can put it first; the log says which."""
    world = World("10.0.0.0/8")
    world.resolve("weather.example")
    world.found[0].callback(["10.0.0.5", bad])
    (error,) = world.results
    assert isinstance(error, AddressRefused)
    assert str(error).startswith(f"{bad} is ")
    assert error.told.startswith("weather.example has an address that is ")


def test_a_literal_is_checked_too() -> None:
    """At once, and told as what it is."""
    world = World("10.0.0.0/8")
    world.resolve("10.0.0.5")
    world.resolve("127.0.0.1")
    good, error = world.results
    assert good == ["10.0.0.5"]
    assert str(error) == error.told == "127.0.0.1 is in none of the networks of registry.allow_networks"


def test_a_name_without_an_address_stays_that() -> None:
    """As with any other resolver."""
    world = World("10.0.0.0/8")
    world.resolve("weather.example")
    world.found[0].errback(OSError("no such name"))
    (error,) = world.results
    assert isinstance(error, OSError)
    assert not isinstance(error, AddressRefused)


def test_rules_of_the_moment_count() -> None:
    """A reload that takes a network away holds for the next connect, also for a name whose addresses are known."""
    world = World("10.0.0.0/8")
    world.resolve("weather.example")
    world.found[0].callback(["10.0.0.5"])
    world.rules = Egress()
    world.resolve("weather.example")
    assert world.results[0] == ["10.0.0.5"]
    assert isinstance(world.results[1], AddressRefused)
    assert len(world.asked) == 1


def test_addresses_of_a_while_ago_are_checked_as_new_ones() -> None:
    """That a name server is silent opens no way to where nobody may go any more."""
    world = World("10.0.0.0/8")
    world.resolve("weather.example")
    world.found[0].callback(["10.0.0.5"])
    world.clock.advance(CACHE_S)
    world.resolve("weather.example")
    world.rules = Egress()
    world.found[1].errback(OSError("temporary failure"))
    assert world.results[0] == ["10.0.0.5"]
    assert isinstance(world.results[1], AddressRefused)


def test_the_port_counts_too() -> None:
    """It is the one that will be dialled."""
    world = World()
    world.rules = Egress([ipaddress.ip_network("10.0.0.0/8")], [443])
    world.resolve("10.0.0.5", 443)
    world.resolve("10.0.0.5", 22)
    assert world.results[0] == ["10.0.0.5"]
    assert "registry.allow_ports" in str(world.results[1])


def test_a_name_that_changes_its_address_is_caught() -> None:
    """The second answer is checked as the first one was (DNS rebinding)."""
    world = World("10.0.0.0/8")
    world.check("http://rebind.example/")
    world.found[0].callback(["10.0.0.5"])
    world.clock.advance(CACHE_S)
    world.resolve("rebind.example")
    world.found[1].callback(["169.254.169.254"])
    assert world.results[0] is None
    assert isinstance(world.results[1], AddressRefused)


def test_who_leaves_is_not_told() -> None:
    """Cancelling ends the waiting, the look-up runs on for others."""
    world = World("10.0.0.0/8")
    waiting = world.resolve("weather.example")
    world.resolve("weather.example")
    waiting.cancel()
    world.found[0].callback(["10.0.0.5"])
    left, stayed = world.results
    assert isinstance(left, CancelledError)
    assert stayed == ["10.0.0.5"]


# --- at a registration --------------------------------------------------------------------------------------------


def test_an_address_is_judged_at_once() -> None:
    """Nobody is asked; the answer may name what was sent."""
    world = World("10.0.0.0/8")
    world.check("http://10.0.0.5:3010/base")
    assert (world.results, world.asked) == ([None], [])
    world.results.clear()
    world.check("http://[::ffff:169.254.169.254]/")
    assert isinstance(world.refusal, AddressForbidden)
    assert world.refusal.text.endswith("is link-local, where registrations may never point")
    assert world.asked == []


def test_a_name_is_looked_up_and_its_address_kept_from_the_registrar() -> None:
    """Nobody maps a network by registering names; the log of the gateway knows more."""
    world = World("10.0.0.0/8")
    world.check("http://internal.example:3010/")
    assert world.results == []
    world.found[0].callback(["192.168.7.7"])
    assert isinstance(world.refusal, AddressForbidden)
    told = "internal.example has an address that is in none of the networks of registry.allow_networks"
    assert world.refusal.text == told
    assert world.refusal.detail.startswith("internal.example: 192.168.7.7 is in none of ")


def test_a_good_name_is_good() -> None:
    """When it has been looked up."""
    world = World("10.0.0.0/8")
    world.check("https://weather.example/")
    world.found[0].callback(["10.0.0.5"])
    assert world.results == [None]
    assert world.clock.getDelayedCalls() == []


def test_a_name_without_an_address_is_a_fault_of_the_registration() -> None:
    """Of its URL."""
    world = World("10.0.0.0/8")
    world.check("http://weather.example/")
    world.found[0].errback(OSError("Name or service not known"))
    assert isinstance(world.refusal, RegistrationRefused)
    assert world.refusal.faults == (("url", "weather.example has no address"),)


def test_a_silent_name_server_is_not_waited_for() -> None:
    """Fifty such registrations end after three seconds, with one look-up among them."""
    world = World("10.0.0.0/8")
    for _ in range(50):
        world.check("http://blackhole.example/")
    world.clock.advance(LOOKUP_S - 0.1)
    assert world.results == []
    world.clock.advance(0.1)
    assert {str(error) for error in world.results} == {"url: no address of blackhole.example could be had within 3 s"}
    assert {type(error) for error in world.results} == {RegistrationRefused}
    assert (len(world.results), len(world.asked)) == (50, 1)
    world.found[0].callback(["10.0.0.5"])


def test_too_many_names_at_once_are_not_the_registrars_fault() -> None:
    """It may try again; nobody waits for what would not be looked up in time."""
    world = World("10.0.0.0/8")
    world.resolver = Resolver(world._look_up, world.clock.seconds, at_once=1, max_waiting=1)
    for number in range(3):
        world.check(f"http://h{number}.example/")
    assert isinstance(world.refusal, Overloaded)
    assert world.refusal.text == "too many names are being looked up; try again"
    assert (world.refusal.status, world.refusal.retry_after_s, world.asked) == (503, 1, ["h0.example"])
    world.clock.advance(LOOKUP_S)
    assert [type(each) for each in world.results[1:]] == [RegistrationRefused] * 2
    world.check("http://later.example/")
    world.found[0].callback(["10.0.0.5"])
    assert world.asked == ["h0.example", "later.example"]


def test_a_registrar_that_leaves_is_forgotten() -> None:
    """Its timer, too."""
    world = World("10.0.0.0/8")
    world.check("http://weather.example/").cancel()
    assert isinstance(world.results[0], CancelledError)
    assert world.clock.getDelayedCalls() == []


# --- over the wire ------------------------------------------------------------------------------------------------


class _Caller:
    """Wants a connection; notes whom it has reached."""

    def __init__(self) -> None:
        self.reached: Deferred[Any] = Deferred()

    def take_connection(self, connection: UpstreamConnection, fresh: bool) -> None:
        peer = cast(Any, connection.transport).getPeer()
        connection.abort()
        self.reached.callback((peer.host, peer.port))

    def fail_connection(self, error: GatewayError) -> None:
        self.reached.callback((error.reason, error.detail))


class RebindingTests(TestCase):
    """A name whose address changes between two look-ups, on real sockets."""

    def _replica(self, answers: list[list[str]], port: int) -> Replica:
        reactor: Any = real_reactor
        clock = itertools.count(0, 10 * CACHE_S)  # each look-up is anew
        resolver = Resolver(lambda host: succeed(answers.pop(0)), lambda: next(clock))
        rules = Egress([ipaddress.ip_network("127.0.0.1/32")])
        deadlines = Deadlines(reactor.callLater, reactor.seconds, on_error=print)
        environment = Environment(reactor, resolver, deadlines, reactor.seconds, lambda: rules)
        return Replica(UpstreamSettings(url=f"http://rebind.example:{port}"), 5.0, None, environment)

    async def test_what_is_dialled_is_what_was_checked(self) -> None:
        """The peer is the checked address, nobody asks again behind the check; the next answer is checked in turn."""
        reactor: Any = real_reactor
        listening = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port
        answers = [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.3"]]
        replica = self._replica(answers, port)
        good, bad = _Caller(), _Caller()
        replica.dial(good)
        assert await good.reached == ("127.0.0.1", port)
        assert answers == [["127.0.0.2"], ["127.0.0.3"]]
        replica.dial(bad)
        told = "rebind.example: 127.0.0.2 is in none of the networks of registry.allow_networks"
        assert await bad.reached == ("connect_failed", told)
        assert answers == [["127.0.0.3"]]
