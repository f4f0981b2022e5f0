"""Where registrations may point: nowhere by default, never to what only looks like a server, whatever it is dressed as."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpgate.policy.egress import Egress

EVERYWHERE = Egress([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])

# In the order of RFC 6052 section 2.4, beside the other ways to put an IPv4 address into an IPv6 one.
_SHELLS = {
    "mapped": lambda four: "::ffff:" + four,
    "NAT64": lambda four: "64:ff9b::" + four,
    "local NAT64, 48": lambda four: _six("0064ff9b0001", _hex(four)[:4], "00", _hex(four)[4:], "0" * 10),
    "local NAT64, 56": lambda four: _six("0064ff9b0001aa", _hex(four)[:2], "00", _hex(four)[2:], "0" * 8),
    "local NAT64, 64": lambda four: _six("0064ff9b0001aaaa", "00", _hex(four), "0" * 6),
    "local NAT64, 96": lambda four: "64:ff9b:1::" + four,
    "6to4": lambda four: _six("2002", _hex(four), "0" * 19, "1"),
    "Teredo server": lambda four: _six("20010000", _hex(four), "0000ffff", "f7f7f7f7"),
    "Teredo client": lambda four: _six("20010000", "08080808", "0000ffff", _hex(four, veil=0xFF)),
    "ISATAP": lambda four: _six("20010db800000000", "00005efe", _hex(four)),
    "ISATAP, global": lambda four: _six("20010db800000000", "02005efe", _hex(four)),
}


def _hex(four: str, veil: int = 0) -> str:
    return bytes(byte ^ veil for byte in ipaddress.IPv4Address(four).packed).hex()


def _six(*parts: str) -> str:
    return str(ipaddress.IPv6Address(bytes.fromhex("".join(parts))))


def _to(*networks: str) -> Egress:
    return Egress([ipaddress.ip_network(each) for each in networks])


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "8.8.8.8", "::1", "fd00::5", "2606:4700::1111"])
def test_without_networks_nothing_may_be_dialled(address: str) -> None:
    """Registration at run time begins with the operator naming where; the objection says which setting that is."""
    assert Egress().objection(address, 80) == "in none of the networks of registry.allow_networks"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "8.8.8.8", "192.168.1.1", "::1", "fd00::5", "2606::1"])
def test_what_lies_in_a_named_network_may_be_dialled(address: str) -> None:
    """Loopback and private networks, too: that is where servers are."""
    assert EVERYWHERE.objection(address, 3010) == ""
    assert _to(f"{address}").objection(address, 3010) == ""


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("169.254.169.254", "link-local"),
        ("169.254.0.1", "link-local"),
        ("0.0.0.0", "of this network"),
        ("0.1.2.3", "of this network"),
        ("224.0.0.1", "a multicast group"),
        ("239.255.255.255", "a multicast group"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "the broadcast address"),
        ("100.100.100.200", "a metadata service of a cloud"),
        ("168.63.129.16", "a metadata service of a cloud"),
        ("192.0.0.192", "a metadata service of a cloud"),
        ("::", "unspecified"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("feff::1", "site-local"),
        ("ff02::1", "a multicast group"),
        ("fd00:ec2::254", "a metadata service of a cloud"),
        ("fd00:ec2::23", "a metadata service of a cloud"),
        ("fd20:ce::254", "a metadata service of a cloud"),
        ("fd00:c1::a9fe:a9fe", "a metadata service of a cloud"),
        ("::2", "reserved"),
        ("::127.0.0.1", "reserved"),
        ("::ffff:0:127.0.0.1", "reserved"),
        ("100::1", "reserved"),
        ("4000::1", "reserved"),
        ("fe00::1", "reserved"),
    ],
)
def test_some_addresses_may_never_be_dialled(address: str, what: str) -> None:
    """Not even if the operator has named them."""
    expected = f"{what}, where registrations may never point"
    assert EVERYWHERE.objection(address, 80) == expected
    assert _to(address).objection(address, 80) == expected


@pytest.mark.parametrize("shell", _SHELLS)
def test_an_address_is_only_as_good_as_the_one_it_carries(shell: str) -> None:
    """Metadata in another dress stays metadata, and a private address private; a good one passes."""
    dress = _SHELLS[shell]
    told = EVERYWHERE.objection(dress("169.254.169.254"), 80)
    assert told.endswith("link-local, where registrations may never point")
    assert EVERYWHERE.objection(dress("10.9.8.7"), 80) == ""
    public = ipaddress.IPv4Network("0.0.0.0/0").address_exclude(ipaddress.IPv4Network("10.0.0.0/8"))
    outside_only = Egress([*public, ipaddress.ip_network("::/0")])
    assert outside_only.objection(dress("10.9.8.7"), 80).endswith("in none of the networks of registry.allow_networks")
    assert outside_only.objection(dress("11.9.8.7"), 80) == ""


def test_a_mapped_address_counts_as_its_ipv4_address_only() -> None:
    """The system dials the IPv4 address, so a network of IPv6 does not open it."""
    assert _to("127.0.0.0/8").objection("::ffff:127.0.0.1", 80) == ""
    assert _to("::/0").objection("::ffff:127.0.0.1", 80) == "in none of the networks of registry.allow_networks"


@pytest.mark.parametrize(
    "text",
    [
        *("127.1", "2130706433", "0x7f.0.0.1", "0x7f000001", "0177.0.0.1", "127.0.0.01", "127.0.0.1.", " 127.0.0.1"),
        *("127.0.0.1%lo", "fe80::1%eth0", "::1%1", "[::1]", "1.2.3.4:80", "localhost", ""),
        *("\uff11.0.0.1", "1\u30020\u30020\u30021"),
    ],
)
def test_only_a_canonical_literal_is_an_address(text: str) -> None:
    """What one reader takes for a name and another for 127.0.0.1 is neither."""
    assert EVERYWHERE.objection(text, 80) == "not an IP address in its usual form"


def test_ports_are_bounded_if_some_are_named() -> None:
    """By default every one is good."""
    some = Egress(EVERYWHERE.networks, [80, 3010])
    assert [some.objection("10.0.0.1", port) for port in (80, 3010)] == ["", ""]
    assert some.objection("10.0.0.1", 22) == "at port 22, which registry.allow_ports does not name"
    assert EVERYWHERE.objection("10.0.0.1", 22) == ""
    assert EVERYWHERE.objection("10.0.0.1", 0) != "" != EVERYWHERE.objection("10.0.0.1", 65536)


def test_of_a_name_only_the_port_is_known_before_it_is_looked_up() -> None:
    """An address in its place is judged as an address."""
    some = Egress([ipaddress.ip_network("10.0.0.0/8")], [80])
    assert some.objection_to_host("weather.example", 80) == ""
    assert some.objection_to_host("weather.example", 22) == "at port 22, which registry.allow_ports does not name"
    for address in ("10.0.0.5", "11.0.0.5", "::1", "fe80::1%eth0"):
        assert some.objection_to_host(address, 80) == some.objection(address, 80)


@given(st.ip_addresses(), st.sampled_from(list(_SHELLS)))
def test_no_dress_makes_a_forbidden_address_good(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, shell: str
) -> None:
    """Whatever IPv4 address is refused plainly is refused in every dress; and nothing is good without networks."""
    assert Egress().objection(str(address), 80)
    if address.version == 4 and EVERYWHERE.objection(str(address), 80) and address.packed[0]:
        assert EVERYWHERE.objection(_SHELLS[shell](str(address)), 80)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_one_named_address_opens_that_one_only(named: ipaddress.IPv4Address, dialled: ipaddress.IPv4Address) -> None:
    """A network is what it says, not what is near."""
    assert named == dialled or _to(str(named)).objection(str(dialled), 80)


@given(st.ip_addresses(v=6))
def test_whatever_is_good_is_unicast_and_of_a_known_kind(address: ipaddress.IPv6Address) -> None:
    """The library's own opinion is never stricter than ours."""
    if not EVERYWHERE.objection(str(address), 80):
        carried = address.ipv4_mapped or address
        kinds = ("is_multicast", "is_link_local", "is_unspecified", "is_site_local")
        assert not [kind for kind in kinds if getattr(carried, kind, False)]


@given(st.text(max_size=40))
def test_no_text_is_too_strange(text: str) -> None:
    """It is refused, or it is an address."""
    if not EVERYWHERE.objection(text, 80):
        ipaddress.ip_address(text)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.0.0.1"])
def test_nobody_is_led_to_the_gateway_itself(address: str) -> None:
    """Its admin listener tells neighbours what is not for clients; another machine may use the same port."""
    everywhere = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    rules = Egress(everywhere, own=frozenset({("10.0.0.1", 8701), ("", 8700)}))
    assert "the gateway itself" in rules.objection(address, 8701)
    assert rules.objection(address, 8702) == ""
    assert rules.objection("10.0.0.2", 8701) == ""
    assert ("the gateway itself" in rules.objection(address, 8700)) is (address != "10.0.0.1")
