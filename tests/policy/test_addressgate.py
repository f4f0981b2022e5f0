"""What one address may do before anybody knows who it is."""

from __future__ import annotations

import pytest

from mcpgate.policy.addressgate import AddressGate, address_key
from mcpgate.policy.buckets import Allowance

HOME, OFFICE = b"203.0.113.7", b"198.51.100.1"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (b"203.0.113.7", b"203.0.113.7", True),
        (b"203.0.113.7", b"203.0.113.8", False),
        (b"2001:db8:1:2::1", b"2001:db8:1:2:ffff::9", True),
        (b"2001:db8:1:2::1", b"2001:db8:1:3::1", False),
        (b"2001:DB8:1:2::1", b"2001:db8:1:2::1", True),
        (b"fe80::1%eth0", b"fe80::1%eth1", True),
        (b"::ffff:203.0.113.7", b"203.0.113.7", True),
        (b"::ffff:cb00:7107", b"203.0.113.7", True),
        (b"::ffff:203.0.113.7", b"::ffff:203.0.113.8", False),
        (b"3132:2e33:2e34:2e35::", b"12.3.4.5", False),
        (b"unix", b"", False),
        (b"no:address", b"no:address", True),
        (b"\xff:", b"\xfe:", False),
    ],
)
def test_who_is_counted_as_one(one: bytes, other: bytes, is_same: bool) -> None:
    """An IPv4 address, or an IPv6 network of 64 bits; nothing is refused for how it looks."""
    assert (address_key(one) == address_key(other)) is is_same


def test_connections_come_at_a_rate() -> None:
    """A burst, then as many as the allowance gives; another address does not feel it."""
    gate = AddressGate(Allowance(1, 1, 2), None, 0)
    assert [gate.admits_connection(HOME, 10.0) for _ in range(3)] == [True, True, False]
    assert gate.admits_connection(OFFICE, 10.0)
    assert [gate.admits_connection(HOME, 11.0) for _ in range(2)] == [True, False]


def test_so_many_connections_may_be_open() -> None:
    """One more only when one has gone."""
    gate = AddressGate(None, None, 2)
    for _ in range(2):
        assert gate.admits_connection(HOME, 0.0)
        gate.opened(HOME)
    assert not gate.admits_connection(HOME, 0.0)
    assert gate.admits_connection(OFFICE, 0.0)
    gate.closed(HOME)
    assert gate.admits_connection(HOME, 0.0)


def test_a_refused_connection_is_not_charged() -> None:
    """Knocking at a full house does not use up the rate."""
    gate = AddressGate(Allowance(1, 3600, 2), None, 1)
    gate.opened(HOME)
    assert not gate.admits_connection(HOME, 0.0)
    gate.closed(HOME)
    assert [gate.admits_connection(HOME, 0.0) for _ in range(3)] == [True, True, False]


def test_a_connection_too_many_closed_harms_nobody() -> None:
    """The count of an address does not go below nothing."""
    gate = AddressGate(None, None, 1)
    gate.closed(HOME)
    gate.opened(HOME)
    assert not gate.admits_connection(HOME, 0.0)


def test_tokens_are_tried_at_a_rate() -> None:
    """Only failures count; who has failed enough hears how long to wait."""
    gate = AddressGate(None, Allowance(1, 10, 2), 0)
    assert gate.wait_s(HOME, 0.0) == 0
    for _ in range(2):
        gate.failed(HOME, 0.0)
    assert gate.wait_s(HOME, 0.0) == 10.0
    assert gate.wait_s(HOME, 4.0) == 6.0
    assert gate.wait_s(OFFICE, 4.0) == 0
    assert gate.wait_s(HOME, 10.0) == 0


def test_failures_make_no_debt() -> None:
    """A hundred at once lock an address out for as long as two do: others share it."""
    gate = AddressGate(None, Allowance(1, 10, 2), 0)
    for _ in range(100):
        gate.failed(HOME, 0.0)
    assert gate.wait_s(HOME, 0.0) == 10.0


def test_a_gate_without_limits_admits() -> None:
    """Everything, always."""
    gate = AddressGate(None, None, 0)
    for _ in range(1000):
        assert gate.admits_connection(HOME, 0.0)
        gate.opened(HOME)
        gate.failed(HOME, 0.0)
    assert gate.wait_s(HOME, 0.0) == 0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    """The same seconds do not fill a bucket twice."""
    gate = AddressGate(Allowance(1, 1, 1), None, 0)
    moments_s = (5.0, 6.0, 5.0, 6.0, 6.5)
    assert [gate.admits_connection(HOME, now_s) for now_s in moments_s] == [True, True, False, False, False]


def test_a_revised_gate_knows_who_is_connected() -> None:
    """A reload forgets neither open connections nor, where the allowance is the same, what was used of it."""
    gate = AddressGate(Allowance(1, 3600, 1), Allowance(1, 3600, 1), 1)
    assert gate.admits_connection(HOME, 0.0)
    gate.opened(HOME)
    gate.failed(HOME, 0.0)
    revised = gate.revised(AddressGate(Allowance(1, 3600, 1), Allowance(1, 3600, 2), 2))
    assert not revised.admits_connection(HOME, 0.0)
    assert revised.wait_s(HOME, 0.0) == 0
    wider = gate.revised(AddressGate(Allowance(1, 3600, 5), None, 1))
    assert not wider.admits_connection(HOME, 0.0)
    gate.closed(HOME)
    assert wider.admits_connection(HOME, 0.0)
