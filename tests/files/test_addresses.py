"""The tables of what is public, and the operator's allow-list."""

import ipaddress
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.errors import ConfigurationError
from stillmotion.files.addresses import METADATA, NOT_PUBLIC_V4, AllowList, embedded_v4, is_metadata, is_public

PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.1", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.1", "192.0.3.1", "192.88.98.1", "192.88.100.1", "192.167.255.255", "192.169.0.0"),
    *("198.17.255.255", "198.20.0.0", "198.51.99.1", "198.51.101.1", "203.0.112.1", "203.0.114.1", "223.255.255.255"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001:829::200e", "2001:200::1", "2620:fe::fe"),
    *("2001:db7::1", "2001:db9::1", "2003::1", "3ffe::1", "3fff:1000::1", "64:ff9b::8.8.8.8"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("network", NOT_PUBLIC_V4, ids=str)
def test_first_and_last_of_each_table_row_are_not_public(network: IPv4Network) -> None:
    for address in (network[0], network[-1]):
        assert not is_public(address)
        for form in (f"::{address}", f"::ffff:{address}", f"::ffff:0:{address}", f"64:ff9b::{address}"):
            assert not is_public(IPv6Address(form))


@pytest.mark.parametrize("network", METADATA, ids=str)
def test_metadata_is_not_public(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    assert is_metadata(network[0])
    assert not is_public(network[0])


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_not_public(address: IPv4Address | IPv6Address) -> None:
    """A second opinion; ours is the stricter one but for NAT64, where the address inside counts."""
    if isinstance(address, IPv6Address) and address in ipaddress.ip_network("64:ff9b::/96"):
        return
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_public(address)


@given(st.ip_addresses(v=4), st.integers(0, 2**32 - 1))
def test_address_inside_is_found(inside: IPv4Address, noise: int) -> None:
    low, high = int(inside), 0x2600 << 112
    forms = {
        "compatible": low,
        "mapped": 0xFFFF << 32 | low,
        "translated": 0xFFFF << 48 | low,
        "NAT64": 0x64FF9B << 96 | low,
        "NAT64, local, last": 0x64FF9B0001 << 80 | low,
        "NAT64, local, split": 0x64FF9B0001 << 80 | (low >> 16) << 64 | (low & 0xFFFF) << 40,
        "6to4": 0x2002 << 112 | low << 80 | noise,
        "Teredo, client": 0x20010000 << 96 | noise << 64 | (low ^ 0xFFFFFFFF),
        "Teredo, server": 0x20010000 << 96 | low << 64 | noise,
        "ISATAP": high | noise << 64 | 0x5EFE << 32 | low,
        "ISATAP, unique": high | noise << 64 | 0x02005EFE << 32 | low,
    }
    for name, number in forms.items():
        address = IPv6Address(number)
        assert inside in embedded_v4(address), name
        assert is_public(address) == (name == "NAT64" and is_public(inside)), name
        assert is_metadata(address) or not is_metadata(inside), name


def test_ordinary_address_embeds_nothing() -> None:
    assert embedded_v4(IPv6Address("2606:4700:4700::1111")) == []


ALLOWED = [
    ("10.0.0.0/8", "any.test", "10.1.2.3", 9000),
    ("10.0.0.0/8:9000", "any.test", "10.1.2.3", 9000),
    ("192.168.1.5", "192.168.1.5", "192.168.1.5", 80),
    ("192.168.1.5:9000", "nas.test", "192.168.1.5", 9000),
    ("fd00::/8", "x.test", "fd12::1", 80),
    ("fd00::5", "x.test", "fd00::5", 80),
    ("[fd00::5]", "x.test", "fd00::5", 80),
    ("[fd00::5]:81", "x.test", "fd00::5", 81),
    ("nas.lan", "nas.lan", "192.168.1.5", 8000),
    (" NAS.lan:8000 ", "nas.lan", "127.0.0.1", 8000),
    ("nas", "nas", "10.0.0.1", 80),
    ("*.corp.example", "a.corp.example", "10.0.0.1", 1),
    ("*.corp.example:90", "a.b.corp.example", "10.0.0.1", 90),
    ("0.0.0.0/0", "x.test", "127.0.0.1", 80),
]


@pytest.mark.parametrize(("item", "host", "address", "port"), ALLOWED)
def test_allowed(item: str, host: str, address: str, port: int) -> None:
    assert AllowList.parse([item]).permits(host, ipaddress.ip_address(address), port)
    assert AllowList.parse(["8.8.8.8", item]).permits(host, ipaddress.ip_address(address), port)
    assert not AllowList().permits(host, ipaddress.ip_address(address), port)


@pytest.mark.parametrize(
    ("item", "host", "address", "port"),
    [
        ("10.0.0.0/8", "x.test", "11.0.0.1", 80),
        ("192.168.1.5:9000", "x.test", "192.168.1.5", 80),
        ("nas.lan", "notnas.lan", "10.0.0.1", 80),
        ("nas.lan", "a.nas.lan", "10.0.0.1", 80),
        ("nas.lan:8000", "nas.lan", "10.0.0.1", 80),
        ("*.corp.example", "corp.example", "10.0.0.1", 80),
        ("*.corp.example", "evilcorp.example", "10.0.0.1", 80),
        ("*.corp.example", "corp.example.evil.test", "10.0.0.1", 80),
        ("127.0.0.1", "x.test", "::ffff:127.0.0.1", 80),
        ("0.0.0.0/0", "x.test", "169.254.169.254", 80),
        ("nas.lan", "nas.lan", "169.254.169.254", 80),
        ("::/0", "x.test", "::ffff:169.254.169.254", 80),
        ("::/0", "x.test", "fd00:ec2::254", 80),
    ],
)
def test_not_allowed(item: str, host: str, address: str, port: int) -> None:
    assert not AllowList.parse([item]).permits(host, ipaddress.ip_address(address), port)


@pytest.mark.parametrize(
    "item",
    [
        *("", " ", "*", "*.", "**.lan", "a.*", "*.*.lan", "http://nas.lan", "nas.lan/", "nas.lan:", "nas.lan:0"),
        *("nas.lan:65536", "nas.lan:x", "nas lan", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8:0", "127.1", "0x7f.1"),
        *(
            "2130706433",
            "256.1.1.1",
            "1.2.3.4.5",
            "[::1",
            "::1]",
            "[::1]:x",
            "[nas]",
            "fe80::1%eth0",
            "user@nas",
            "é.lan",
        ),
        *("169.254.169.254", "169.254.169.254:80", "169.254.169.254/32", "100.100.100.200", "fd00:ec2::254", "a" * 64),
    ],
)
def test_junk(item: str) -> None:
    with pytest.raises(ConfigurationError):
        AllowList.parse([item])


@given(st.text(max_size=20) | st.text("0123456789abc.:/[]*%", max_size=20))
def test_any_text_is_an_entry_or_a_configuration_error(item: str) -> None:
    with suppress(ConfigurationError):
        assert len(AllowList.parse([item]).entries) == 1
